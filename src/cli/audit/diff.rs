//! `doorbook audit diff`: what changed between two moments.

use serde::Serialize;

use super::{not_begun, when, with_reading};
use crate::audit::{Change, When};
use crate::cli::failure::Failure;
use crate::cli::flags::BriefFlags;
use crate::cli::outside::Outside;
use crate::cli::rows::{Format, Row};

/// Print what changed between two moments, with the positions that say so
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  doorbook audit diff 2026-11-20\n  doorbook audit diff \"2026-11-17 14:00\" \"2026-11-17 15:00\"\n  doorbook audit diff 4000 4711 --format json"
)]
pub(in crate::cli) struct Args {
    /// The first moment: 2h, 7d, a date, "2026-11-17 14:03", RFC 3339, or the position of a record
    #[arg(value_name = "FROM")]
    from: String,
    /// The second one; now, where it is left out
    #[arg(value_name = "TO")]
    to: Option<String>,
    /// How to print them
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    flags: BriefFlags,
}

pub(super) fn run(args: Args, outside: &mut Outside) -> Result<(), Failure> {
    let from = when("from", &args.from, outside)?;
    let to = args.to.as_deref().map_or(Ok(When::Now), |text| when("to", text, outside))?;
    with_reading(args.flags, outside, async |reading, outside| {
        let (reader, now) = (&reading.reader, outside.clock.now());
        let begun = (reader.position(from).await?, reader.position(to).await?);
        if begun.1 < begun.0 {
            return Err(Failure::Usage("FROM is later than TO; turn them round".to_owned()));
        }
        let Some(changes) = reader.diff(from, to, now).await? else {
            return Err(not_begun(reader).await);
        };
        if begun.0.is_none()
            && let Some(begins) = reader.begins().await?
        {
            outside.say(format_args!("the log begins later, at {begins}: everything until then is new"))?;
        }
        outside.print(args.format, &changes)
    })
}

impl Row for Change {
    const COLUMNS: &'static [&'static str] =
        &["position", "time", "what", "user_id", "user", "id", "summary"];

    const WHOLE: &'static [usize] = &[0, 1, 2, 5];

    const WEIGHT: &'static [usize] = &[0, 1, 2, 4, 6, 5];

    fn cells(&self) -> Vec<Option<String>> {
        let user = self.user.as_ref();
        vec![
            self.position.map(|position| position.to_string()),
            self.time.clone(),
            Some(self.what.to_owned()),
            user.and_then(|user| user.id.clone()),
            user.map(|user| user.username.clone().or_else(|| user.sub.clone()).unwrap_or_default()),
            self.id.clone(),
            (!self.summary.is_empty()).then(|| self.summary.clone()),
        ]
    }

    fn json(&self) -> impl Serialize {
        self
    }
}
