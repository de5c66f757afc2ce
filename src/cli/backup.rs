//! `doorbook backup`: a copy of the log that was read back, in a directory of its own.

use std::fs;
use std::io::{self, BufReader, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::export::{note, of_export, survey, with_taking, write};
use super::failure::Failure;
use super::flags::BriefFlags;
use super::new_file::{NewFile, sync_directory_of};
use super::outside::Outside;
use super::progress::Progress;
use crate::audit::{Copied, CopyError, Survey};
use crate::domain::event::Question;
use crate::domain::id::Position;
use crate::serve::Taking;

/// The file in the directory.
pub(super) const FILE: &str = "log.jsonl";

/// Write a backup of the log into a directory, and read it back
///
/// With a running server or without one. It ends with the newest checkpoint, so that what is in it is signed for.
/// keys/ is NOT in it: without those files a log can be read and verified, but nobody can sign in with it again.
/// Back them up apart, and never beside the log.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  doorbook backup /mnt/backups/doorbook-2026-11-26")]
pub(super) struct Args {
    /// Where to; it must be empty, or not there yet
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    flags: BriefFlags,
}

pub(super) fn run(args: Args, outside: &mut Outside) -> Result<(), Failure> {
    let dir = outside.path(&args.dir);
    let is_empty = fs::read_dir(&dir).map(|mut entries| entries.next().is_none());
    let is_new = match is_empty {
        Ok(true) => false,
        Ok(false) => return Err(Failure::Usage(format!("{} is not empty", dir.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(Failure::Usage(format!("{} is not a directory", dir.display())));
        }
        Err(source) => return Err(Failure::File { what: "cannot be read", path: dir, source }),
    };
    let (copied, later) = with_taking(args.flags, outside, async |taking, outside| {
        let (survey, head) = survey(taking, outside).await?;
        let to = survey.newest().map_or(head, |newest| newest.position);
        make(&dir)?;
        let written = write_whole(taking, &survey, to, &dir, outside).await;
        if written.is_err() && is_new {
            // Whatever is in it by now is somebody else's.
            let _ = fs::remove_dir(&dir);
        }
        Ok((written?, head.0 - to.0))
    })?;
    let file = dir.join(FILE);
    let text = in_words(&copied, later, &file);
    outside.stdout.write_all(text.as_bytes()).map_err(Failure::Output)?;
    outside.say(
        "keys/ is NOT in this backup. Without it nobody's profile, tokens and addresses can be read again,",
    )?;
    outside.say("and the log cannot be served. Back keys/ up apart, and keep ENCRYPT_SECRET if you have one.")
}

async fn write_whole(
    taking: &Taking,
    survey: &Survey,
    to: Position,
    dir: &Path,
    outside: &mut Outside,
) -> Result<Copied, Failure> {
    let mut file = NewFile::create(&dir.join(FILE))?;
    note(taking, Question::Backup, None, to, outside).await?;
    let copied = write(taking, survey, to, &mut file, outside).await;
    let copied = copied.map_err(|error| of_export(error, |error| file.failed(error)))?;
    read_back(&mut file, &copied, outside)?;
    file.finish()?;
    sync_directory_of(dir).map_err(|error| cannot_be_made(dir, error))?;
    Ok(copied)
}

fn make(dir: &Path) -> Result<(), Failure> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| cannot_be_made(dir, error))
}

fn cannot_be_made(dir: &Path, source: io::Error) -> Failure {
    Failure::File { what: "cannot be made", path: dir.into(), source }
}

/// Reads what was written as a restore would, before it gets its name.
fn read_back(file: &mut NewFile, copied: &Copied, outside: &Outside) -> Result<(), Failure> {
    let mut input = BufReader::new(file.written()?);
    let progress = Progress::new(outside, "reading back", copied.records);
    let read = crate::serve::check_copy(&mut input, |done| progress.done(done));
    match read {
        Ok(read) if read == *copied => Ok(()),
        Ok(_) => Err(Failure::No("the backup reads back as another one than was written".to_owned())),
        Err(CopyError::Input(error)) => Err(file.failed(error)),
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            let cause = cause.unwrap_or_default();
            Err(Failure::No(format!("the backup could not be restored, and was not kept: {error}{cause}")))
        }
    }
}

fn in_words(copied: &Copied, later: u64, file: &Path) -> String {
    let mut text = format!("{} records of {} are in {}\n", copied.records, copied.origin, file.display());
    text.push_str(&format!("  root         {}\n", copied.root));
    text.push_str(&match &copied.newest {
        Some(newest) => {
            let Position(position) = newest.position;
            format!("  checkpoint   for {} records, at position {position}\n", newest.size)
        }
        None => {
            "  checkpoint   none: nobody has signed for this log yet, so everything up to its end is in it\n"
                .to_owned()
        }
    });
    if later > 0 {
        text.push_str(&format!("  not in it    the {later} records behind the newest checkpoint\n"));
    }
    text
}
