//! `doorbook restore`: the log put back from a backup.

use std::path::PathBuf;

use super::backup::FILE;
use super::failure::Failure;
use super::flags::BriefFlags;
use super::import::{open, put_back, tell};
use super::outside::Outside;
use super::progress::Progress;
use super::sessions::open_config;
use crate::domain::event::RestoredFrom;
use crate::serve::Where;

/// Put the log back from a backup, into a data directory without one or in the place of a damaged one
///
/// keys/ of the log must be there already, because a backup never has them. What was edited or cut is refused,
/// and nothing is left behind. The next start writes down that the log was put back, and ends every session:
/// somebody may have signed out since the backup was taken.
///
/// With --salvage the log that is there is looked through for the records that came after the backup, whether or
/// not it can be opened. Those that follow without a gap are taken over, and it is kept as log.lost-…. Where they
/// reach the last one that was acknowledged, nothing is lost and nobody is signed out.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  doorbook restore /mnt/backups/doorbook-2026-11-26 --data-dir /var/lib/doorbook\n  \
    doorbook restore --salvage /mnt/backups/doorbook-2026-11-26"
)]
pub(super) struct Args {
    /// The directory that `backup` wrote
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Without its keys: the log can then be read and verified, but not served
    #[arg(long)]
    without_keys: bool,
    /// In the place of a log that is damaged, which adds whatever can still be read of it
    #[arg(long)]
    salvage: bool,
    #[command(flatten)]
    flags: BriefFlags,
}

pub(super) fn run(args: Args, outside: &mut Outside) -> Result<(), Failure> {
    let local = open_config(args.flags, outside)?;
    let mut input = open(&outside.path(&args.dir).join(FILE))?;
    let progress = Progress::endless(outside, "restoring");
    let into = if args.salvage { Where::Damaged } else { Where::Empty };
    let restored = put_back(
        &local,
        outside.world(),
        &mut input,
        RestoredFrom::Backup,
        into,
        args.without_keys,
        &progress,
    );
    drop(progress);
    let restored = restored?;
    tell(&restored, &local, outside)?;
    if !restored.has_keys {
        outside.say("Without them every box is lost: profiles, tokens, addresses. Who comes back to a new log is somebody new to it.")?;
    }
    Ok(())
}
