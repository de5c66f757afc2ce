//! `doorbook retention`: addresses and user agents of past months are made unreadable.

use serde::Serialize;

use super::failure::Failure;
use super::flags::BriefFlags;
use super::outside::{Outside, block_on};
use super::rows::{Format, Row};
use super::sessions::{answers, open_config};
use crate::control::Answers;
use crate::domain::time::Month;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    Apply(Apply),
}

/// Make addresses and user agents unreadable that are older than DOORBOOK_RETENTION
///
/// A running server does this by itself once a day, and is asked to do it now. The key of each month that is wholly
/// past is destroyed; every record stays, and every proof. Says which months and asks first; without a terminal it
/// needs --yes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  doorbook retention apply --yes")]
pub(super) struct Apply {
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// How to print the months
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    flags: BriefFlags,
}

pub(super) fn run(command: Command, outside: &mut Outside) -> Result<(), Failure> {
    let Command::Apply(args) = command;
    // Before anything is opened: it would be asked for in vain.
    if !args.yes && !outside.stdin_is_terminal {
        outside.confirm("", false)?;
    }
    let local = open_config(args.flags, outside)?;
    let world = outside.world();
    block_on(async {
        let answers = answers(local, world).await?;
        let applied = apply(&*answers, args.yes, args.format, outside).await;
        answers.close().await?;
        applied
    })
}

async fn apply(
    answers: &dyn Answers,
    yes: bool,
    format: Format,
    outside: &mut Outside,
) -> Result<(), Failure> {
    let due = answers.apply_retention(true).await?;
    if !due.is_empty() && !yes {
        let question = format!(
            "Make the addresses and user agents of {} unreadable for good?",
            due.iter().copied().map(in_words).collect::<Vec<_>>().join(", ")
        );
        if !outside.confirm(&question, yes)? {
            return Err(Failure::No("nothing was changed".to_owned()));
        }
    }
    let ended = if due.is_empty() { due } else { answers.apply_retention(false).await? };
    let rows: Vec<Ended> = ended.iter().copied().map(Ended).collect();
    if !rows.is_empty() || format != Format::Table {
        outside.print(format, &rows)?;
    }
    outside.say(match rows.len() {
        0 => "nothing was due".to_owned(),
        1 => "1 month was made unreadable".to_owned(),
        months => format!("{months} months were made unreadable"),
    })
}

/// A month whose addresses nobody can read any more.
struct Ended(Month);

#[derive(Serialize)]
struct Json {
    month: String,
}

impl Row for Ended {
    const COLUMNS: &'static [&'static str] = &["month"];

    fn cells(&self) -> Vec<Option<String>> {
        vec![Some(in_words(self.0))]
    }

    fn json(&self) -> impl Serialize {
        Json { month: in_words(self.0) }
    }
}

fn in_words(Month(month): Month) -> String {
    format!("{:04}-{:02}", month / 100, month % 100)
}
