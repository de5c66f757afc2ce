//! `doorbook user`: everything that is held on one person, and erasing them.

use std::io::Write as _;
use std::path::PathBuf;

use serde::Serialize;

use super::audit::{who, with_reading};
use super::export::{note, with_taking_of};
use super::failure::Failure;
use super::flags::BriefFlags;
use super::json;
use super::new_file::NewFile;
use super::outside::{Outside, block_on};
use super::rows::visible;
use super::sessions::open_config;
use crate::audit::{Certificate, People, Person, Reader, When, Who};
use crate::control::{Answers, Client, Trouble};
use crate::domain::event::{Question, Requester};
use crate::domain::id::{Position, Sub};
use crate::serve::keys_of_another_log;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    Export(Export),
    Erase(Erase),
}

/// Write everything that is held on one person, readable, as JSON
///
/// Profile, sessions, addresses and agents as far as they are kept, and every event. Tokens are held too and never
/// shown. That it was read is written down in the log.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  doorbook user export nelly --output nelly.json")]
pub(super) struct Export {
    /// Whom: a Discord id, a username or a display name
    #[arg(value_name = "USER")]
    user: String,
    /// Where to write it; standard output, where it is left out
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    flags: BriefFlags,
}

/// Erase a person for good, and print a certificate of it
///
/// Their sessions end at once. Discord is asked to end the authorization, for 30 seconds at most. Then the erasure
/// is recorded and their keys are destroyed: whatever was sealed of them can never be read again, in no copy of
/// the log. The certificate proves the record to anybody who has the key of the log, offline: `doorbook audit verify
/// --certificate FILE --key KEY`. For somebody who was erased before, it is written again; only the pseudonym
/// names them then.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  doorbook user erase nelly --output nelly.certificate.json\n  doorbook user erase 7f3c5a0e9b1d48e2a6c4d0f1b2e38a97 > again.certificate.json"
)]
pub(super) struct Erase {
    /// Whom: a Discord id, a username, a display name or a pseudonym
    #[arg(value_name = "USER")]
    user: String,
    /// On whose wish
    #[arg(long, value_enum, default_value_t = Wish::User)]
    requested_by: Wish,
    /// Even where Discord has not confirmed; the certificate says so
    #[arg(long)]
    now: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Where to write the certificate; standard output, where it is left out
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    flags: BriefFlags,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Wish {
    /// Their own
    User,
    /// The operator's
    Operator,
}

impl From<Wish> for Requester {
    fn from(wish: Wish) -> Requester {
        match wish {
            Wish::User => Requester::User,
            Wish::Operator => Requester::Operator,
        }
    }
}

pub(super) fn run(command: Command, outside: &mut Outside) -> Result<(), Failure> {
    match command {
        Command::Export(args) => export(args, outside),
        Command::Erase(args) => erase(args, outside),
    }
}

fn export(args: Export, outside: &mut Outside) -> Result<(), Failure> {
    let output = output(args.output.as_ref(), outside)?;
    let local = open_config(args.flags, outside)?;
    let (opener, without_keys) = crate::serve::opener(&local, &outside.world());
    if let Some(error) = without_keys {
        return Err(nothing_opens(&error));
    }
    let output = begin(output)?;
    let holdings = with_taking_of(local.clone(), opener, outside, async |taking, outside| {
        if let Some(error) = keys_of_another_log(&taking.reader, &local).await {
            return Err(nothing_opens(&error));
        }
        let now = outside.clock.now();
        let head = taking.head().await?.ok_or_else(|| Failure::No("the log is empty".to_owned()))?;
        let today = taking.reader.view(When::After(head), now).await?;
        let today = today.ok_or_else(|| Failure::No("the log is empty".to_owned()))?;
        let sub = let_in(&args.user, &today.people, head, &taking.reader).await?;
        note(taking, Question::User, Some(sub), head, outside).await?;
        Ok(taking.reader.holdings(sub, head, now).await?)
    })?;
    write(output, &holdings, outside)
}

/// Finds one person who was let in; of anybody else nothing is sealed with a key of their own.
async fn let_in(text: &str, people: &People, head: Position, reader: &Reader) -> Result<Sub, Failure> {
    match who(text, people, head, reader).await? {
        Who::User(sub) => Ok(sub),
        Who::Stranger(stranger) => Err(Failure::No(format!(
            "{} was never let in, so nothing is sealed with a key of their own: their refused sign-ins fade with their month (DOORBOOK_RETENTION); `doorbook audit log --user {}` shows them",
            named(&stranger.person()),
            stranger.id
        ))),
    }
}

fn nothing_opens(error: &dyn std::error::Error) -> Failure {
    Failure::Trouble(Trouble::Failed(format!("nothing can be opened without the keys: {error}")))
}

/// Returns where the answer is to be written, if nothing stands there.
fn output(given: Option<&PathBuf>, outside: &Outside) -> Result<Option<PathBuf>, Failure> {
    let path = given.map(|path| outside.path(path));
    match path.as_ref().filter(|path| path.exists()) {
        Some(path) => Err(Failure::Usage(format!("{} is there already", path.display()))),
        None => Ok(path),
    }
}

/// Begins the file before anything happens that cannot be undone: a place where none can be is told now.
fn begin(output: Option<PathBuf>) -> Result<Option<NewFile>, Failure> {
    output.map(|path| NewFile::create(&path)).transpose()
}

fn write(output: Option<NewFile>, what: &impl Serialize, outside: &mut Outside) -> Result<(), Failure> {
    let text = json::pretty(what).map_err(Failure::Output)? + "\n";
    match output {
        Some(mut file) => {
            file.write_all(text.as_bytes()).map_err(|error| file.failed(error))?;
            file.finish()
        }
        None => outside.stdout.write_all(text.as_bytes()).map_err(Failure::Output),
    }
}

fn erase(args: Erase, outside: &mut Outside) -> Result<(), Failure> {
    // Before anything is read: it would be asked for in vain.
    if !args.yes && !outside.stdin_is_terminal {
        outside.confirm("", false)?;
    }
    let output = output(args.output.as_ref(), outside)?;
    let Found { sub, who, before } = find(&args, outside)?;
    if before.is_none() {
        let question = format!("Erase {} for good? Nobody can undo it.", named(&who));
        if !outside.confirm(&question, args.yes)? {
            return Err(Failure::No("nothing was changed".to_owned()));
        }
    }
    let output = begin(output)?;
    let position = match before {
        Some(position) => again(&args, sub, position, outside)?,
        None => erase_by(&args, sub, outside)?,
    };
    let certificate =
        with_reading(args.flags, outside, async |reading, _| certify(&reading.reader, sub, position).await)?;
    write(output, &certificate, outside)
}

/// Who is to be erased.
struct Found {
    sub: Sub,
    who: Person,
    /// Where the log says so, if they were erased before.
    before: Option<Position>,
}

fn find(args: &Erase, outside: &mut Outside) -> Result<Found, Failure> {
    with_reading(args.flags.clone(), outside, async |reading, outside| {
        let reader = &reading.reader;
        let today = reader.today(outside.clock.now()).await?;
        let (head, today) = today.ok_or_else(|| Failure::No("the log is empty".to_owned()))?;
        let sub = let_in(&args.user, &today.people, head, reader).await?;
        let before = if today.state.is_erased(sub) { reader.erasure_of(sub).await? } else { None };
        Ok(Found { sub, who: today.people.person(sub, reader.opener()), before })
    })
}

/// Lets a running server destroy the keys again, should the first time not have got that far; a start does so too.
fn again(args: &Erase, sub: Sub, position: Position, outside: &mut Outside) -> Result<Position, Failure> {
    let local = open_config(args.flags.clone(), outside)?;
    let clock = outside.clock.clone();
    let wish = args.requested_by.into();
    block_on(async {
        let Some(client) = Client::connect(&local.data_dir, clock).await? else { return Ok(()) };
        match client.erase(sub, wish, args.now).await {
            // It says that there is nobody to erase any more.
            Ok(_) | Err(Trouble::No(_)) => Ok(()),
            Err(trouble) => Err(trouble.into()),
        }
    })?;
    outside.say(format_args!("they were erased before, at position {position}"))?;
    Ok(position)
}

fn erase_by(args: &Erase, sub: Sub, outside: &mut Outside) -> Result<Position, Failure> {
    let local = open_config(args.flags.clone(), outside)?;
    let world = outside.world();
    let wish = args.requested_by.into();
    let sources = outside.sources(args.flags.0.clone());
    let erased = block_on(async {
        let answers: Box<dyn Answers> = match Client::connect(&local.data_dir, world.clock.clone()).await? {
            Some(client) => Box::new(client),
            None => crate::serve::open_with_discord(local, &sources, world).await?,
        };
        let erased = answers.erase(sub, wish, args.now).await;
        answers.close().await?;
        Ok(erased?)
    })?;
    let discord = match erased.confirmed {
        Some(true) => "Discord has confirmed the end of the authorization",
        Some(false) => "Discord has NOT confirmed the end of the authorization",
        None => "there was no authorization at Discord to end",
    };
    outside
        .say(format_args!("erased at position {}; {discord}; their pseudonym is {sub}", erased.position))?;
    Ok(erased.position)
}

async fn certify(reader: &Reader, sub: Sub, position: Position) -> Result<Certificate, Failure> {
    let certificate = reader.certificate(position).await?;
    let later = format!(
        "they are erased, but nobody has signed for the record yet; in an hour, `doorbook user erase {sub}` writes the certificate"
    );
    certificate.ok_or(Failure::No(later))
}

fn named(person: &Person) -> String {
    let name = person.name.as_deref().unwrap_or("somebody without a name");
    format!("{} ({})", visible(name), person.id.as_deref().or(person.sub.as_deref()).unwrap_or_default())
}
