//! What happens before the first record is read: is everything that was acknowledged still there?
//!
//! [`begin`] locks the data directory and reads `HEAD`. A new log is created in an order that any kill
//! leaves repairable; an old one is opened directly after a clean stop, and after any other only once a
//! copy of it was found whole by a child process. A refused start leaves the bytes as they were.

mod copy;
mod damaged;
mod error;
mod import;
mod loss;
mod place;
mod remains;
mod tail;

#[cfg(test)]
mod tests;

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

pub use copy::copy_aside;
pub(super) use copy::sync_files;
pub use damaged::Damaged;
pub use error::StartError;
pub use import::Import;
pub use loss::Loss;
pub(super) use place::{Expected, Place, Ready};

use super::codec::leaf_hash;
use super::engine::Engine;
use super::head::{DataFile, Head, HeadFile, Last, NAME as HEAD, StopState, Unusable, sync_directory};
use super::probe::Probe;
use super::sled_engine::{Pace, SledEngine};
use super::sled_guard;
use crate::clock::Clock;
use crate::disk::{Disk, Synced};
use crate::domain::event::RestoredFrom;
use crate::domain::id::{LogId, Position};
use crate::entropy::Entropy;

/// What a start needs.
pub struct StartSettings {
    /// The data directory; made where it is missing.
    pub data_dir: PathBuf,
    /// Whether the operator accepts that acknowledged records are gone.
    pub accept_loss: bool,
    /// How a copy of the database is looked at after an unclean stop.
    pub probe: Probe,
    /// The file system.
    pub disk: Arc<dyn Disk>,
    /// Names the file of salvaged records.
    pub clock: Arc<dyn Clock>,
    /// Draws the id of a new log.
    pub entropy: Arc<dyn Entropy>,
    /// How patient the engine is.
    pub pace: Pace,
}

/// A data directory that is locked, with nothing changed in it yet or with a `HEAD` that says *creating*.
#[derive(Debug)]
pub enum Begun {
    /// There is no log yet.
    New(NewLog),
    /// There is one.
    Existing(Existing),
}

/// A log that is being created.
///
/// The id is drawn and stands in `HEAD`; the caller makes the key files and then calls
/// [`NewLog::finish`]. A kill in between is repaired by doing the same once more.
pub struct NewLog {
    place: Place,
    head: HeadFile,
    resumed: bool,
    pace: Pace,
}

/// A log that was created before.
pub struct Existing {
    place: Place,
    head: HeadFile,
    accept_loss: bool,
    pace: Pace,
}

/// A log that can be replayed from its first record on, and appended to.
pub struct Started {
    /// The engine.
    pub engine: Arc<dyn Engine>,
    /// The last record.
    pub head: Option<Position>,
    /// Whether it was closed in order before.
    pub clean: bool,
    /// What the operator accepted to lose: the first append must say so, or the next start refuses again.
    pub loss: Option<Loss>,
    /// What it was put back from, where no record says so yet: the first append must.
    pub restored: Option<RestoredFrom>,
}

/// Locks the data directory and finds out whether there is a log.
pub fn begin(settings: StartSettings) -> Result<Begun, StartError> {
    let place = Place::of(&settings);
    let StartSettings { accept_loss, entropy, pace, .. } = settings;
    make_directory(&place.data_dir)?;
    place.check_owner()?;
    let head = match HeadFile::open(&place.data_dir, Arc::clone(&place.disk)) {
        Ok(head) => head,
        Err(Unusable::Missing) => {
            let head = create(&place, &*entropy)?;
            return Ok(Begun::New(NewLog { place, head, resumed: false, pace }));
        }
        Err(error) => return Err(place.unusable(error)),
    };
    if head.current().state == StopState::Creating {
        place.check_unfinished(&head)?;
        return Ok(Begun::New(NewLog { place, head, resumed: true, pace }));
    }
    Ok(Begun::Existing(Existing { place, head, accept_loss, pace }))
}

/// The data directory of a log, locked, so that nobody opens the log meanwhile.
pub struct Held {
    head: HeadFile,
}

impl Held {
    /// Returns the id of the log.
    pub fn log_id(&self) -> LogId {
        self.head.current().log
    }
}

/// Locks the log of a data directory where there is one; writes nothing.
pub fn hold(settings: &StartSettings) -> Result<Option<Held>, StartError> {
    let place = Place::of(settings);
    if !place.data_dir.exists() {
        return Ok(None);
    }
    place.check_owner()?;
    match HeadFile::open(&place.data_dir, Arc::clone(&place.disk)) {
        Ok(head) => Ok(Some(Held { head })),
        Err(Unusable::Missing) => Ok(None),
        Err(error) => Err(place.unusable(error)),
    }
}

/// Returns whether there is a log; refuses where there is all of one but the file that says where it ends.
pub fn is_begun(dir: &Path) -> Result<bool, StartError> {
    let holds = |name| std::fs::read_dir(dir.join(name)).is_ok_and(|mut entries| entries.next().is_some());
    match dir.join(HEAD).exists() {
        true => Ok(true),
        false if holds("log") => Err(StartError::HeadMissing { dir: dir.into(), beside: "log" }),
        false => Ok(false),
    }
}

/// Refuses a path where there can be no directory, because it or what it should lie in is something else.
pub fn check_path(dir: &Path) -> Result<(), StartError> {
    // Without the slash at the end that keeps a file from being found.
    let path: PathBuf = dir.components().collect();
    match path.ancestors().find(|above| above.symlink_metadata().is_ok()) {
        Some(found) if !found.is_dir() => {
            Err(StartError::NotADirectory { dir: dir.into(), blocker: found.into() })
        }
        _ => Ok(()),
    }
}

/// Makes a directory that only we may enter, where there is none.
pub fn make_directory(dir: &Path) -> Result<(), StartError> {
    if dir.is_dir() {
        return Ok(());
    }
    check_path(dir)?;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => {
            let (uid, gid) = place::us();
            StartError::NotMade { dir: dir.into(), uid, gid }
        }
        io::ErrorKind::ReadOnlyFilesystem => StartError::ReadOnly { dir: dir.into() },
        _ => StartError::Io { what: "the directory cannot be made", path: dir.into(), source },
    })
}

fn create(place: &Place, entropy: &dyn Entropy) -> Result<HeadFile, StartError> {
    place.check_no_import()?;
    for name in ["log", "log.probe", "keys", "states"] {
        if place.holds_anything(name)? {
            return Err(StartError::HeadMissing { dir: place.data_dir.clone(), beside: name });
        }
    }
    let head = Head {
        log: LogId(entropy.draw()),
        sequence: 1,
        state: StopState::Creating,
        last: None,
        db: DataFile::default(),
    };
    HeadFile::create(&place.data_dir, head, Arc::clone(&place.disk)).map_err(|error| place.unusable(error))
}

impl NewLog {
    /// Returns the id of the log.
    pub fn log_id(&self) -> LogId {
        self.head.current().log
    }

    /// Returns whether an earlier creation did not come to an end.
    ///
    /// Then key files may be there already. The caller refuses if they know a user: nobody can have
    /// signed in to a log that was never created.
    pub fn resumed(&self) -> bool {
        self.resumed
    }

    /// Writes the first record, unless it stands already, and opens the log.
    pub fn finish(mut self, created: Vec<u8>) -> Result<Started, StartError> {
        let log = self.place.log();
        make_directory(&log)?;
        let db = sled_guard::open(&log).map_err(|fault| self.place.damaged(fault))?;
        let damaged = |fault| self.place.damaged(fault);
        let first = match sled_guard::get(&db, Position(0)).map_err(damaged)? {
            Some(frame) => frame,
            None => {
                let frame = Bytes::from(created);
                let frames = std::slice::from_ref(&frame);
                sled_guard::write(&db, Position(0), frames).map_err(damaged)?;
                frame
            }
        };
        let (db_file, db_length) = self.place.sync_database()?;
        self.place.sync_log()?;
        sync_directory(&self.place.data_dir, &*self.place.disk).map_err(|source| StartError::Io {
            what: "the directory cannot be brought to stable storage",
            path: self.place.data_dir.clone(),
            source,
        })?;
        let last = Last { position: Position(0), leaf: leaf_hash(&first) };
        let written = self.head.write(StopState::Open, Some(last), DataFile::of_length(db_length));
        written.map_err(|error| self.place.head_failed(&error))?;
        let ready = Ready { db, db_file, db_length, end: Some(Position(0)), clean: true, loss: None };
        started(self.place, self.head, ready, self.pace)
    }
}

impl Existing {
    /// Returns the id of the log.
    pub fn log_id(&self) -> LogId {
        self.head.current().log
    }

    /// Returns how the log was left.
    pub fn was(&self) -> StopState {
        self.head.current().state
    }

    /// Opens the log, after making sure that nothing that was acknowledged is missing.
    ///
    /// This may copy the whole log and read all of it; it belongs on a thread that may block.
    pub fn open(mut self) -> Result<Started, StartError> {
        let expected = if self.accept_loss { Expected::Loss } else { Expected::Whole };
        let ready = self.place.open(&mut self.head, expected)?;
        started(self.place, self.head, ready, self.pace)
    }

    /// Opens the log to be read, as [`open`](Self::open) does; a newer doorbook may have written it.
    pub fn open_to_read(mut self) -> Result<Started, StartError> {
        let ready = self.place.open(&mut self.head, Expected::ToBeRead)?;
        started(self.place, self.head, ready, self.pace)
    }
}

fn started(place: Place, head: HeadFile, ready: Ready, pace: Pace) -> Result<Started, StartError> {
    let (end, clean, loss) = (ready.end, ready.clean, ready.loss.clone());
    let restored = head.current().state.restored();
    let path = place.data_dir.clone();
    let engine = SledEngine::start(place, head, ready, pace).map_err(|source| StartError::Io {
        what: "a thread cannot be started for the log",
        path,
        source,
    })?;
    Ok(Started { engine: Arc::new(engine), head: end, clean, loss, restored })
}

impl std::fmt::Debug for NewLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewLog").field("resumed", &self.resumed).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Existing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Existing").field("was", &self.was()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Started {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Started { engine: _, head, clean, loss, restored } = self;
        let mut out = f.debug_struct("Started");
        out.field("head", head).field("clean", clean).field("loss", loss).field("restored", restored);
        out.finish_non_exhaustive()
    }
}

/// What a file is synced as.
const DATABASE: Synced = Synced::Database;
