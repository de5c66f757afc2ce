//! `doorbook audit`: the log, read by this program, whether a server runs on it or not.

mod checkpoint;
mod diff;
mod listing;
mod log;
mod show;
mod state;
mod stats;
mod verify;

use std::collections::BTreeSet;

use super::failure::Failure;
use super::flags::BriefFlags;
use super::outside::{Outside, block_on};
use super::rows::visible;
use super::sessions::open_config;
use crate::audit::{NotOnePerson, Opener, People, Person, Reader, View, When, Who};
use crate::domain::id::{Position, Sub};
use crate::domain::time::Timestamp;
use crate::serve::Reading;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    Log(log::Args),
    Show(show::Args),
    State(state::Args),
    Diff(diff::Args),
    Verify(verify::Args),
    Checkpoint(checkpoint::Args),
    Stats(stats::Args),
}

pub(super) fn run(command: Command, outside: &mut Outside) -> Result<(), Failure> {
    match command {
        Command::Log(args) => log::run(args, outside),
        Command::Show(args) => show::run(args, outside),
        Command::State(args) => state::run(args, outside),
        Command::Diff(args) => diff::run(args, outside),
        Command::Stats(args) => stats::run(args, outside),
        Command::Checkpoint(args) => checkpoint::run(args, outside),
        Command::Verify(args) => verify::run(args, outside),
    }
}

/// Opens the log, lets `work` read it, and closes it whatever came of that.
pub(super) fn with_reading<T>(
    flags: BriefFlags,
    outside: &mut Outside,
    work: impl AsyncFnOnce(&Reading, &mut Outside) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let local = open_config(flags, outside)?;
    let world = outside.world();
    block_on(async {
        let reading = crate::serve::read(&local, world).await?;
        if let Some(error) = &reading.without_keys {
            outside.say(format_args!(
                "doorbook: names and addresses stay unknown, because the keys cannot be read: {error}"
            ))?;
        }
        let done = work(&reading, outside).await;
        reading.close().await?;
        done
    })
}

/// Reads a moment: a time as everywhere, or the position of a record.
pub(super) fn when(word: &str, text: &str, outside: &mut Outside) -> Result<When, Failure> {
    match text.trim().parse() {
        Ok(position) => Ok(When::After(Position(position))),
        Err(_) => Ok(When::At(outside.moment(word, text)?)),
    }
}

/// Returns the state at that moment, or says that the log had not begun.
pub(super) async fn view(reader: &Reader, when: When, outside: &Outside) -> Result<View, Failure> {
    let found = reader.view(when, outside.clock.now()).await?;
    match found {
        Some(view) => Ok(view),
        None => Err(not_begun(reader).await),
    }
}

/// Says that the log had not begun, and when it did.
pub(super) async fn not_begun(reader: &Reader) -> Failure {
    match reader.begins().await {
        Ok(Some(at)) => Failure::No(format!("the log had not begun by then: its first record is of {at}")),
        Ok(None) => Failure::No("the log is empty".to_owned()),
        Err(error) => error.into(),
    }
}

/// Refuses a span that ends before it begins.
pub(super) fn in_order(since: Option<Timestamp>, until: Option<Timestamp>) -> Result<(), Failure> {
    match since.zip(until) {
        Some((since, until)) if until <= since => {
            Err(Failure::Usage("--until is not later than --since; turn them round".to_owned()))
        }
        _ => Ok(()),
    }
}

/// Finds one person by id, username, display name or pseudonym.
pub(super) fn person(text: &str, people: &People, opener: &Opener) -> Result<Sub, Failure> {
    people.find(text, opener).map_err(not_one)
}

/// Finds one person who was let in, or else one who never was, up to that record.
pub(super) async fn who(
    text: &str,
    people: &People,
    up_to: Position,
    reader: &Reader,
) -> Result<Who, Failure> {
    reader.who(text, people, up_to).await?.map_err(not_one)
}

fn not_one(error: NotOnePerson) -> Failure {
    match error {
        NotOnePerson::Nobody => Failure::No(error.to_string()),
        NotOnePerson::Ambiguous(people) => Failure::Ambiguous(people),
    }
}

/// Names somebody: what they are called, and their id as far as it is known.
pub(super) fn named(person: &Person) -> String {
    let name = person.name.as_deref().unwrap_or("somebody without a name");
    let id = person.id.as_deref().unwrap_or("no Discord id: erased, or no keys");
    match &person.sub {
        Some(sub) => format!("{} ({id}), pseudonym {sub}", visible(name)),
        None => format!("{} ({id})", visible(name)),
    }
}

fn only(sub: Sub) -> BTreeSet<Sub> {
    BTreeSet::from([sub])
}
