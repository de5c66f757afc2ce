//! `doorbook import`: a log made again from its text.

use std::fs::File;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::flags::BriefFlags;
use super::keys::forget_gone;
use super::outside::Outside;
use super::progress::Progress;
use super::sessions::open_config;
use crate::audit::counted;
use crate::config::Local;
use crate::domain::event::RestoredFrom;
use crate::serve::{Imported, Salvaged, Where, World};

/// Make a log again from an export, in a data directory without one
///
/// Only the bytes of the records count. They are checked against the words beside them, the root and the signed
/// checkpoint at the end; what was edited or cut is refused, and nothing is left behind. The next start writes
/// down that the log was put back, and ends every session.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  doorbook import log.jsonl --data-dir /var/lib/doorbook\n  zstd -dc log.jsonl.zst | doorbook import -"
)]
pub(super) struct Args {
    /// The export; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    flags: BriefFlags,
}

pub(super) fn run(args: Args, outside: &mut Outside) -> Result<(), Failure> {
    let local = open_config(args.flags, outside)?;
    let progress = Progress::endless(outside, "importing");
    let imported = if args.file == Path::new("-") {
        put_back(
            &local,
            outside.world(),
            &mut *outside.stdin,
            RestoredFrom::Import,
            Where::Empty,
            true,
            &progress,
        )
    } else {
        let mut input = open(&outside.path(&args.file))?;
        put_back(&local, outside.world(), &mut input, RestoredFrom::Import, Where::Empty, true, &progress)
    };
    drop(progress);
    tell(&imported?, &local, outside)
}

/// Opens a copy.
pub(super) fn open(path: &Path) -> Result<BufReader<File>, Failure> {
    let opened = File::open(path);
    let file =
        opened.map_err(|source| Failure::File { what: "cannot be read", path: path.into(), source })?;
    Ok(BufReader::with_capacity(1 << 16, file))
}

pub(super) fn put_back(
    local: &Local,
    world: World,
    input: &mut dyn BufRead,
    source: RestoredFrom,
    into: Where,
    without_keys: bool,
    progress: &Progress,
) -> Result<Imported, Failure> {
    Ok(crate::serve::import(local, world, input, source, into, without_keys, |done| progress.done(done))?)
}

/// Says what is there now, and what comes next.
pub(super) fn tell(imported: &Imported, local: &Local, outside: &mut Outside) -> Result<(), Failure> {
    let Imported { copied, has_keys, salvaged } = imported;
    let dir = local.data_dir.display();
    let signed = match &copied.newest {
        Some(newest) => format!("for {} records", newest.size),
        None => "none".to_owned(),
    };
    let text = format!(
        "{} records of {} are in {dir}\n  root         {}\n  checkpoint   {signed}\n",
        copied.records, copied.origin, copied.root
    );
    outside.stdout.write_all(text.as_bytes()).map_err(Failure::Output)?;
    if let Some(position) = copied.not_understood {
        outside.say(format_args!(
            "From position {position} on it has events that only a newer doorbook understands: serve it with that one."
        ))?;
    }
    let is_whole = match salvaged {
        Some(Salvaged { records, is_whole }) => {
            outside.say(format_args!(
                "{} of the damaged log could still be read and proven, behind the backup; it is kept as log.lost-….",
                counted(*records, "record")
            ))?;
            *is_whole
        }
        None => false,
    };
    if *has_keys && is_whole {
        return outside
            .say("Nothing that was acknowledged is missing, and nobody is signed out. Its keys are there.");
    }
    if *has_keys {
        forget_gone(local, outside)?;
        return outside.say("Its keys are there. The next start writes down that the log was put back, and ends every session.");
    }
    outside.say(format_args!(
        "Its keys are not: it can be read and verified, but not served. Put keys/ of log {} into {dir}, or restore it from an escrow.",
        copied.log
    ))
}
