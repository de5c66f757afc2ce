//! `data/states/`: what folding the first records gave, so that a start and a question need not begin at 0.
//!
//! A file is named after how many records it is of, as in `00000000000000065536.state`. It is a projection
//! and never the truth: whatever is missing, damaged or not vouched for costs time and nothing else.
//! [`newest_trusted`] and [`nearest_before`] find the one to go on from.
//!
//! Those at a multiple of [`EVERY`] are kept for questions about the past. Of all others the newest is kept,
//! and until the one after it is there whole, the one before it: two at most.

mod trust;

#[cfg(test)]
mod tests;

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

pub use trust::{Distrust, REACH, Voucher, nearest_before, newest_trusted};

use super::codec::{StateError, StoredState, read_state, write_state};
use super::head::sync_directory;
use super::tree::Frontier;
use crate::disk::{Disk, Synced};
use crate::domain::id::Hash;
use crate::domain::state::State;

/// How many records lie between two states that are kept for good.
pub const EVERY: u64 = 65_536;

/// What must stay free on the disk for the log itself.
const SPARE: u64 = 128 << 20;

const ENDING: &str = ".state";
const UNFINISHED: &str = "new";

/// The directory of stored states.
pub struct StatesDir {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    /// Held while one is written: whoever begins removes what a crash left half-written.
    writing: Mutex<()>,
}

/// A stored state could not be written or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatesError {
    /// The file system.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The disk is needed for the log.
    #[error("only {free} bytes are free, and {needed} must be to store a state")]
    NoSpace {
        /// What there is.
        free: u64,
        /// What there must be.
        needed: u64,
    },
    /// The state has no bytes.
    #[error(transparent)]
    State(#[from] StateError),
}

impl StatesDir {
    /// Says where stored states are; nothing is touched yet.
    pub fn new(dir: PathBuf, disk: Arc<dyn Disk>) -> StatesDir {
        StatesDir { dir, disk, writing: Mutex::new(()) }
    }

    /// Returns the sizes of those that are there, in ascending order.
    ///
    /// What is no file or has another name is left alone, with a trace.
    pub fn list(&self) -> Result<Vec<u64>, StatesError> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(vec![]),
            found => found.map_err(failed("read", &self.dir))?,
        };
        let mut sizes = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed("read", &self.dir))?;
            let is_file = entry.file_type().is_ok_and(|found| found.is_file());
            match entry.file_name().to_str().and_then(size_of).filter(|_| is_file) {
                Some(size) => sizes.push(size),
                None if is_unfinished(&entry.path()) => {}
                None => {
                    tracing::warn!(path = %entry.path().display(), "this is no stored state; it is skipped")
                }
            }
        }
        sizes.sort_unstable();
        Ok(sizes)
    }

    /// Writes a state and the edge of the tree over its records, on stable storage before this returns.
    ///
    /// Older ones that are not kept for good are removed first, but for the newest of them: the one written now
    /// is not vouched for yet.
    pub fn write(&self, state: &State, frontier: &Frontier) -> Result<Hash, StatesError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.dir);
        made.map_err(failed("make", &self.dir))?;
        self.remove_unfinished()?;
        self.look_for_space()?;
        self.prune(frontier.size())?;
        let path = self.path(frontier.size());
        let new = path.with_extension(UNFINISHED);
        let written = self.write_new(&new, state, frontier);
        let renamed = written.and_then(|hash| {
            fs::rename(&new, &path).map_err(failed("rename", &new))?;
            Ok(hash)
        });
        if renamed.is_err() {
            // It could fill the disk up; if this fails too, the next one to write removes it.
            let _ = fs::remove_file(&new);
        }
        let hash = renamed?;
        sync_directory(&self.dir, &*self.disk).map_err(failed("sync", &self.dir))?;
        if let Some(parent) = self.dir.parent() {
            sync_directory(parent, &*self.disk).map_err(failed("sync", parent))?;
        }
        Ok(hash)
    }

    /// Reads the state of so many records; that it can be read is no reason to trust it.
    pub fn read(&self, size: u64) -> Result<StoredState, StateError> {
        let file = File::open(self.path(size)).map_err(StateError::Io)?;
        read_state(file)
    }

    /// Removes the state of so many records, if it is there.
    pub fn remove(&self, size: u64) -> Result<(), StatesError> {
        let path = self.path(size);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(failed("remove", &path)),
        }
    }

    /// Removes states of more records than the log has: their records were lost, or are of another log.
    pub fn remove_beyond(&self, records: u64) -> Result<(), StatesError> {
        for size in self.list()?.into_iter().filter(|size| *size > records) {
            tracing::warn!(size, records, "a stored state of more records than the log has is removed");
            self.remove(size)?;
        }
        Ok(())
    }

    /// Of those that are not kept for good, leaves the newest and the one that is about to be written anew.
    fn prune(&self, size: u64) -> Result<(), StatesError> {
        let passing = self.list()?.into_iter().filter(|found| found % EVERY != 0 && *found != size);
        let mut passing: Vec<u64> = passing.collect();
        passing.pop();
        for size in passing {
            tracing::debug!(size, "an old stored state is removed");
            self.remove(size)?;
        }
        Ok(())
    }

    fn remove_unfinished(&self) -> Result<(), StatesError> {
        for entry in fs::read_dir(&self.dir).map_err(failed("read", &self.dir))? {
            let path = entry.map_err(failed("read", &self.dir))?.path();
            if is_unfinished(&path) {
                tracing::info!(path = %path.display(), "a stored state that was left half-written is removed");
                fs::remove_file(&path).map_err(failed("remove", &path))?;
            }
        }
        Ok(())
    }

    /// A state about as long as the last one must leave enough for the log.
    fn look_for_space(&self) -> Result<(), StatesError> {
        let last = self.list()?.last().map(|size| self.path(*size));
        let last = last.and_then(|path| fs::metadata(path).ok()).map_or(0, |found| found.len());
        let needed = last.saturating_mul(2).saturating_add(SPARE);
        let free = self.disk.free_space(&self.dir).map_err(failed("look at", &self.dir))?;
        if free < needed { Err(StatesError::NoSpace { free, needed }) } else { Ok(()) }
    }

    fn write_new(&self, new: &Path, state: &State, frontier: &Frontier) -> Result<Hash, StatesError> {
        let file = File::options().write(true).create_new(true).mode(0o600).open(new);
        let file = file.map_err(failed("create", new))?;
        let hash = write_state(state, frontier, &file)?;
        self.disk.sync_all(Synced::Other, &file).map_err(failed("sync", new))?;
        Ok(hash)
    }

    fn path(&self, size: u64) -> PathBuf {
        self.dir.join(format!("{size:020}{ENDING}"))
    }
}

impl std::fmt::Debug for StatesDir {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("StatesDir").field(&self.dir).finish()
    }
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StatesError + use<'a> {
    move |source| StatesError::Io { action, path: path.to_owned(), source }
}

/// Returns the size that a name says, written as it always is.
fn size_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(ENDING)?;
    let plain = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

fn is_unfinished(path: &Path) -> bool {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let ours = stem.is_some_and(|stem| size_of(&format!("{stem}{ENDING}")).is_some());
    ours && path.extension().is_some_and(|extension| extension == UNFINISHED)
}
