//! `doorbook rules`: what other rules would change.

use std::path::PathBuf;

use serde::Serialize;

use super::access::{parse, unanswered};
use super::audit::with_reading;
use super::failure::Failure;
use super::flags::BriefFlags;
use super::outside::Outside;
use super::rows::{Format, Row};
use crate::audit::{AccessChange, Replay, Shift};
use crate::config::{Local, Sources, is_given};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    Replay(Args),
}

/// Say who would gain and who would lose access under other rules
///
/// NEW.toml takes the place of the configuration file; flags and the environment count as they do for `serve`. The
/// rules of now and the new ones are asked about everybody who signed in, was signed in or was turned away since
/// then, with the facts as last seen, and about whoever is not signed in. What they are asked: signing in, the
/// pages of an administrator, and a GET of the host and path of each rule of either. `*.example.org` is asked as one
/// host below it that no rule names. Where rules of a place name methods or networks, each is asked, and one that
/// none names.
///
/// A setting that only the environment of the server has, as with an EnvironmentFile of systemd, counts here only where
/// it is in the environment of this command as well; it warns of the most important ones.
///
/// Exit code 1 where anybody loses access, or may lose it because a fact has never been asked for; 0 where nobody
/// does; 2 where NEW.toml has a mistake.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  doorbook rules replay --rules new.toml\n  doorbook rules replay --rules new.toml --since 90d --format jsonl"
)]
pub(super) struct Args {
    /// The configuration file with the new rules
    #[arg(long, value_name = "NEW.toml")]
    rules: PathBuf,
    /// Whoever came then or later: 2h, 7d, a date, "2026-11-17 14:03" or RFC 3339
    #[arg(long, value_name = "TIME", default_value = "30d")]
    since: String,
    /// How to print them
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    flags: BriefFlags,
}

pub(super) fn run(command: Command, outside: &mut Outside) -> Result<(), Failure> {
    let Command::Replay(args) = command;
    let mut flags = args.flags.0.clone();
    flags.insert("config", outside.path(&args.rules).display().to_string());
    let sources = outside.sources(flags);
    let new = Local::read(&sources)?.rules;
    let since = outside.moment("since", &args.since)?;
    with_reading(args.flags, outside, async |reading, outside| {
        let now = outside.clock.now();
        let replay = reading.reader.replay(&new, since, now, parse).await?.map_err(unanswered)?;
        outside.print(args.format, &replay.shifts)?;
        warn_of_what_is_elsewhere(&replay, &sources, outside)?;
        conclude(&replay, outside)
    })
}

/// Warns of settings that the server has and this command does not see: much seems lost then, or won.
fn warn_of_what_is_elsewhere(
    replay: &Replay,
    sources: &Sources,
    outside: &mut Outside,
) -> Result<(), Failure> {
    for variable in replay.lacking.iter().filter(|variable| !is_given(variable, sources)) {
        outside.say(format_args!(
            "warning: {variable} is set in the server and not here; is it in its environment only?"
        ))?;
    }
    Ok(())
}

/// Says what was compared and what came of it.
fn conclude(replay: &Replay, outside: &mut Outside) -> Result<(), Failure> {
    let rules = replay.rules_at.map(|at| format!(" of position {at}")).unwrap_or_default();
    let Replay { people, questions, .. } = replay;
    outside.say(format_args!(
        "{people} people and {questions} questions; the rules{rules} against the new ones"
    ))?;
    if replay.is_cut {
        outside.say("the rules have more places than are asked about; what is missing is not compared")?;
    }
    if replay.untold > 0 {
        outside.say(format_args!("{} more differences are not shown", replay.untold))?;
    }
    let of_nobody = replay
        .changed_for_anybody
        .iter()
        .map(|change| format!("whoever is not signed in {} access", change.word()));
    let changed = of_nobody.chain(replay.changed.iter().map(|(change, many)| counted(*change, *many)));
    let changed = changed.collect::<Vec<_>>().join(", ");
    match replay.has_losses() {
        true => Err(Failure::No(changed)),
        false if changed.is_empty() => outside.say("nobody gains or loses access"),
        false => outside.say(changed),
    }
}

fn counted(change: AccessChange, many: usize) -> String {
    match many {
        1 => format!("1 person {} access", change.word()),
        // One gains, many gain.
        many => format!("{many} people {} access", change.word().trim_end_matches('s')),
    }
}

impl Row for Shift {
    const COLUMNS: &'static [&'static str] =
        &["change", "user_id", "user", "host", "path", "method", "ip", "before", "after", "why", "position"];

    const HEADINGS: &'static [&'static str] = &[
        "change",
        "user_id",
        "user",
        "host",
        "path",
        "method",
        "ip",
        "before → after",
        "after",
        "why",
        "position",
    ];

    const WHOLE: &'static [usize] = &[0, 1, 5, 6, 10];

    const WEIGHT: &'static [usize] = &[0, 2, 7, 3, 9, 4, 10, 5, 6];

    fn stands_out(&self) -> bool {
        self.change.is_loss()
    }

    fn cells(&self) -> Vec<Option<String>> {
        let user = self.user.as_ref();
        let name = match user {
            None => Some("anybody".to_owned()),
            Some(user) => user.username.clone().or_else(|| user.sub.clone()),
        };
        let host = match self.question {
            "open" => self.host.clone(),
            question => Some(format!("({})", question.replace('_', " "))),
        };
        vec![
            Some(self.change.word().to_owned()),
            user.and_then(|user| user.id.clone()),
            name,
            host,
            self.path.clone(),
            self.method.clone(),
            self.ip.map(|ip| ip.to_string()),
            Some(self.before.to_owned()),
            Some(self.after.to_owned()),
            Some(self.why.clone()),
            self.position.map(|position| position.to_string()),
        ]
    }

    fn shown(&self) -> Vec<Option<String>> {
        let mut cells = self.cells();
        // One says nothing without the other, so a table has both in one column.
        cells[7] = Some(format!("{} → {}", self.before, self.after));
        cells
    }

    fn json(&self) -> impl Serialize {
        self
    }
}
