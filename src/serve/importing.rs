//! Puts a log back from a copy, where there is none.

use std::io::BufRead;
use std::path::PathBuf;

use super::World;
use crate::audit::{Copied, CopyError, CopyReader, Next};
use crate::config::Local;
use crate::crypto::{KeyError, KeyRing};
use crate::domain::event::RestoredFrom;
use crate::domain::id::LogId;
use crate::event_log::Pace;
use crate::event_log::start::{Damaged, Import, StartError, StartSettings};

/// A log that was put back.
#[derive(Debug)]
pub struct Imported {
    /// What the copy was.
    pub copied: Copied,
    /// Whether its keys are there already.
    pub has_keys: bool,
    /// What the log that was damaged still gave, where it took the place of one.
    pub salvaged: Option<Salvaged>,
}

/// What was read behind a copy, from the damaged log whose place it took.
#[derive(Clone, Copy, Debug)]
pub struct Salvaged {
    /// How many records.
    pub records: u64,
    /// Whether nothing that was acknowledged is missing.
    pub is_whole: bool,
}

/// Where a copy becomes a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// In a data directory without a log.
    Empty,
    /// In the place of a damaged one, which adds whatever can still be read of it.
    Damaged,
}

/// Why no log was put back; nothing is left of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The copy is not one.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// The data directory.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The key files cannot be read.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The keys of another log are there.
    #[error(
        "{} holds the keys of log {found}, and the copy is of log {log}; nothing was changed",
        keys.display()
    )]
    OtherKeys {
        /// Where they are.
        keys: PathBuf,
        /// Of which log they are.
        found: LogId,
        /// Of which log the copy is.
        log: LogId,
    },
    /// Its keys are not there, and they were asked for.
    #[error(
        "the keys of log {log} are not in {}: put them there first, from where they are kept apart; \
         --without-keys goes on, and everything that is sealed stays so: profiles, tokens, addresses",
        keys.display()
    )]
    NoKeys {
        /// Where they should be.
        keys: PathBuf,
        /// Of which log the copy is.
        log: LogId,
    },
}

/// Reads a copy and makes a log of it; it blocks.
///
/// A log that is there already, or keys of another one, are found before anything is read or written. Whatever
/// goes wrong later leaves nothing behind.
pub fn import(
    local: &Local,
    world: World,
    input: &mut dyn BufRead,
    source: RestoredFrom,
    into: Where,
    without_keys: bool,
    mut progress: impl FnMut(u64),
) -> Result<Imported, ImportError> {
    let World { clock, entropy, disk, probe } = world;
    let data_dir = local.data_dir.clone();
    let keys = data_dir.join("keys");
    let settings =
        StartSettings { data_dir, accept_loss: false, probe, disk, clock, entropy, pace: Pace::default() };
    let damaged = match into {
        Where::Empty => Import::check(&settings).map(|()| None)?,
        Where::Damaged => Some(Damaged::begin(&settings)?),
    };
    let mut copy = CopyReader::begin(input)?;
    let log = copy.log();
    let has_keys = match KeyRing::log_of(&keys)? {
        Some(found) if found != log => return Err(ImportError::OtherKeys { keys, found, log }),
        None if !without_keys => return Err(ImportError::NoKeys { keys, log }),
        found => found.is_some(),
    };
    let mut import = match damaged {
        None => Import::begin(&settings, log)?,
        Some(damaged) => Import::begin_over(damaged, log)?,
    };
    let mut records = 0;
    let copied = loop {
        match copy.next()? {
            Next::Record(frame) => import.push(frame)?,
            Next::End(copied) => break *copied,
        }
        records += 1;
        progress(records);
    };
    let remains = if into == Where::Damaged { Some(import.push_remains()?) } else { None };
    let is_whole = import.finish(source)?;
    let salvaged = remains.map(|records| Salvaged { records, is_whole });
    Ok(Imported { copied, has_keys, salvaged })
}

/// Reads a copy as [`import`] does, and makes nothing of it.
pub fn check_copy(input: &mut dyn BufRead, mut progress: impl FnMut(u64)) -> Result<Copied, CopyError> {
    let mut copy = CopyReader::begin(input)?;
    let mut records = 0;
    loop {
        if let Next::End(copied) = copy.next()? {
            return Ok(*copied);
        }
        records += 1;
        progress(records);
    }
}
