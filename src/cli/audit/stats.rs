//! `doorbook audit stats`: how many, by day or by hour, and from where.

use serde::Serialize;

use super::{in_order, with_reading};
use crate::audit::{Address, Count, Span, Stats};
use crate::cli::failure::Failure;
use crate::cli::flags::BriefFlags;
use crate::cli::json;
use crate::cli::outside::Outside;
use crate::cli::rows::{self, Format, Row, Screen};

/// How wide the longest bar is.
const BAR: u64 = 18;

/// Count sign-ins, denials and refreshes, and name the addresses that most came from
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  doorbook audit stats --by hour --since 2d")]
pub(in crate::cli) struct Args {
    /// How to print them
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// By day or by hour, in UTC
    #[arg(long, value_enum, default_value_t = By::Day)]
    by: By,
    /// Then or later: 2h, 7d, a date, "2026-11-17 14:03" or RFC 3339
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// So many addresses
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
    #[command(flatten)]
    flags: BriefFlags,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum By {
    Day,
    Hour,
}

pub(super) fn run(args: Args, outside: &mut Outside) -> Result<(), Failure> {
    let since = args.since.as_deref().map(|text| outside.moment("since", text)).transpose()?;
    let until = args.until.as_deref().map(|text| outside.moment("until", text)).transpose()?;
    in_order(since, until)?;
    let span = match args.by {
        By::Day => Span::Day,
        By::Hour => Span::Hour,
    };
    with_reading(args.flags, outside, async |reading, outside| {
        let stats = reading.reader.stats(span, since, until, args.top).await?;
        print(&stats, args.format, outside)
    })
}

/// Both lists as they are for people; for programs JSON has both, and the other formats have the counts.
fn print(stats: &Stats, format: Format, outside: &mut Outside) -> Result<(), Failure> {
    let screen = outside.screen();
    let out = &mut *outside.stdout;
    let written = match format {
        Format::Json => json::pretty(stats).and_then(|text| writeln!(out, "{text}")),
        Format::Jsonl | Format::Csv => {
            let most = 0;
            let rows: Vec<_> = stats.counts.iter().map(|count| CountRow { count, most }).collect();
            rows::write(out, format, Screen::PIPE, &rows)
        }
        Format::Table => {
            let most = stats.counts.iter().map(|count| count.sign_ins).max().unwrap_or(0);
            let rows: Vec<_> = stats.counts.iter().map(|count| CountRow { count, most }).collect();
            let counted = rows::write(out, format, screen, &rows);
            counted
                .and_then(|()| writeln!(out))
                .and_then(|()| rows::write(out, format, screen, &stats.addresses))
        }
    };
    written.map_err(Failure::Output)
}

/// A count, and the most sign-ins that any row has.
struct CountRow<'a> {
    count: &'a Count,
    most: u64,
}

impl Row for CountRow<'_> {
    const COLUMNS: &'static [&'static str] =
        &["begins", "sign_ins", "first", "denied", "failed", "refreshed", "refresh_failed", "ended", "bar"];

    const WHOLE: &'static [usize] = &[0, 1, 2, 3, 4, 5, 6, 7, 8];

    const WEIGHT: &'static [usize] = &[0, 1, 8, 3, 4, 5, 2, 7, 6];

    fn cells(&self) -> Vec<Option<String>> {
        let Count { begins, sign_ins, first, denied, failed, refreshed, refresh_failed, ended } = self.count;
        let numbers = [sign_ins, first, denied, failed, refreshed, refresh_failed, ended];
        let length = (sign_ins * BAR).checked_div(self.most).unwrap_or(0);
        let bar = "█".repeat(usize::try_from(length).unwrap_or(0));
        let numbers = numbers.into_iter().map(|number| Some(number.to_string()));
        [Some(begins.clone())].into_iter().chain(numbers).chain([Some(bar)]).collect()
    }

    fn json(&self) -> impl Serialize {
        self.count
    }
}

impl Row for Address {
    const COLUMNS: &'static [&'static str] = &["ip", "sign_ins", "failed"];

    fn cells(&self) -> Vec<Option<String>> {
        vec![Some(self.ip.to_string()), Some(self.sign_ins.to_string()), Some(self.failed.to_string())]
    }

    fn json(&self) -> impl Serialize {
        self
    }
}
