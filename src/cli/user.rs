//! `doorbook user`: everything that is held on one person, and erasing them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::audit::{person, with_reading};
use super::failure::Failure;
use super::flags::BriefFlags;
use super::outside::{Outside, block_on};
use super::rows::visible;
use super::sessions::open_config;
use crate::audit::{Certificate, Person, Reader};
use crate::control::{Answers, Client};
use crate::domain::event::Requester;
use crate::domain::id::{Position, Sub};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    Erase(Erase),
}

/// Erase a person for good, and print a certificate of it
///
/// Their sessions end at once. Discord is asked to end the authorization, for 30 seconds at most. Then the erasure
/// is recorded and their keys are destroyed: whatever was sealed of them can never be read again, in no copy of
/// the log. The certificate proves the record to anybody, offline: `doorbook audit verify --certificate FILE`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  doorbook user erase nelly > nelly.certificate.json")]
pub(super) struct Erase {
    /// Whom: a Discord id, a username or a display name
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

pub(super) fn run(command: Command, outside: &mut Outside) -> Result<(), Failure> {
    match command {
        Command::Erase(args) => erase(args, outside),
    }
}

fn erase(args: Erase, outside: &mut Outside) -> Result<(), Failure> {
    // Before anything is read: it would be asked for in vain.
    if !args.yes && !outside.stdin_is_terminal {
        outside.confirm("", false)?;
    }
    let output = args.output.as_ref().map(|path| outside.path(path));
    if let Some(path) = output.as_ref().filter(|path| path.exists()) {
        return Err(Failure::Usage(format!("{} is there already", path.display())));
    }
    let (sub, who) = with_reading(args.flags.clone(), outside, async |reading, outside| {
        let today = reading.reader.today(outside.clock.now()).await?;
        let (_, today) = today.ok_or_else(|| Failure::No("the log is empty".to_owned()))?;
        let sub = person(&args.user, &today.people, reading.reader.opener())?;
        if today.state.is_erased(sub) {
            return Err(Failure::No("they were erased before".to_owned()));
        }
        Ok((sub, today.people.person(sub, reading.reader.opener())))
    })?;
    let question = format!("Erase {} for good? Nobody can undo it.", named(&who));
    if !outside.confirm(&question, args.yes)? {
        return Err(Failure::No("nothing was changed".to_owned()));
    }
    let position = erase_by(&args, sub, outside)?;
    let certificate =
        with_reading(args.flags, outside, async |reading, _| certify(&reading.reader, position).await)?;
    let text = serde_json::to_string_pretty(&certificate).unwrap_or_default() + "\n";
    match output {
        Some(path) => write_new(&path, &text),
        None => outside.stdout.write_all(text.as_bytes()).map_err(Failure::Output),
    }
}

fn erase_by(args: &Erase, sub: Sub, outside: &mut Outside) -> Result<Position, Failure> {
    let local = open_config(args.flags.clone(), outside)?;
    let clock = Arc::clone(&outside.clock);
    let wish = match args.requested_by {
        Wish::User => Requester::User,
        Wish::Operator => Requester::Operator,
    };
    let sources = outside.sources(args.flags.0.clone());
    let erased = block_on(async {
        let answers: Box<dyn Answers> = match Client::connect(&local.data_dir, clock).await? {
            Some(client) => Box::new(client),
            None => crate::serve::open_with_discord(local, &sources).await?,
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
    outside.say(format_args!("erased at position {}; {discord}", erased.position))?;
    Ok(erased.position)
}

async fn certify(reader: &Reader, position: Position) -> Result<Certificate, Failure> {
    let certificate = reader.certificate(position).await?;
    let later = format!(
        "they are erased, but nobody has signed for the record yet; in an hour, `doorbook audit show {position} --proof` proves it"
    );
    certificate.ok_or(Failure::No(later))
}

fn named(person: &Person) -> String {
    let name = person.name.as_deref().unwrap_or("somebody without a name");
    format!("{} ({})", visible(name), person.id.as_deref().unwrap_or(&person.sub))
}

/// Writes a file that was not there, for this user alone.
fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    use std::os::unix::fs::OpenOptionsExt as _;

    let opened = std::fs::File::options().write(true).create_new(true).mode(0o600).open(path);
    opened
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .map_err(Failure::Output)
}
