//! The only hands that touch sled: every call is caught when it panics, and says so in one sentence.
//!
//! sled 0.34 panics on much damage that it meets while it recovers. A caller gets a [`SledFault`]
//! instead, and the panic hook of the binary asks [`quiet_panics`] so that nothing is printed.

use std::cell::Cell;
use std::fs;
use std::io;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{PoisonError, RwLock};
use std::thread::sleep;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use serde::{Deserialize, Serialize};

use super::engine::FollowError;
use super::feed::{CHUNK, Chunk, ReadError, Storage};
use super::index::{Added, IndexStore, Mark};
use crate::domain::id::{Hash, Position};
use crate::domain::time::Timestamp;

/// What the path of every source file of sled contains, to know the panics of its own threads.
pub const SLED_SOURCE: &str = "sled-0.34";

/// The largest leaf, 17 records of 64 KiB, stays inline: blob files would never be synced.
const SEGMENT: usize = 8 << 20;
const CACHE: u64 = 24 << 20;
/// Housekeeping alone: without it segments are never cleaned. No acknowledgement waits for it.
const HOUSEKEEPING_MS: u64 = 5_000;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Returns whether a panic on this thread is expected and handled, so that a hook prints nothing.
pub fn quiet_panics() -> bool {
    QUIET.get()
}

/// Returns whether a panic at this source file happened within sled, whatever the thread.
pub fn is_sled_source(file: &str) -> bool {
    file.contains(SLED_SOURCE)
}

/// sled could not do something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{why}")]
pub(super) struct SledFault {
    pub(super) why: String,
    /// Whether the bytes are wrong, rather than the machine: only then may a loss be accepted.
    pub(super) damage: bool,
}

impl SledFault {
    pub(super) fn damage(why: impl Into<String>) -> SledFault {
        SledFault { why: why.into(), damage: true }
    }

    pub(super) fn machine(why: impl Into<String>) -> SledFault {
        SledFault { why: why.into(), damage: false }
    }
}

impl From<sled::Error> for SledFault {
    fn from(error: sled::Error) -> SledFault {
        match error {
            sled::Error::Corruption { .. } => SledFault::damage("the database is damaged there"),
            sled::Error::Io(error) => match error.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => {
                    SledFault::damage(format!("the database is damaged ({error})"))
                }
                _ => SledFault::machine(error.to_string()),
            },
            error => SledFault::damage(error.to_string()),
        }
    }
}

/// Calls sled; a panic becomes a fault.
pub(super) fn guarded<T>(call: impl FnOnce() -> Result<T, SledFault>) -> Result<T, SledFault> {
    let before = QUIET.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(call));
    QUIET.set(before);
    outcome.unwrap_or_else(|panic| {
        // What was thrown may itself panic when it is dropped.
        std::mem::forget(panic);
        Err(SledFault::damage("the database is damaged (sled stopped while it was read)"))
    })
}

/// An open database.
pub(super) struct Db(Option<sled::Db>);

impl Deref for Db {
    type Target = sled::Db;

    #[expect(clippy::expect_used, reason = "it is there until it is dropped")]
    fn deref(&self) -> &sled::Db {
        self.0.as_ref().expect("a database")
    }
}

impl Drop for Db {
    /// sled writes and syncs what is left, and panics where that fails.
    fn drop(&mut self) {
        let db = self.0.take();
        let dropped = guarded(|| {
            drop(db);
            Ok(())
        });
        if let Err(fault) = dropped {
            tracing::warn!(why = fault.why, "the database did not close");
        }
    }
}

/// Opens the database in `dir`.
pub(super) fn open(dir: &Path) -> Result<Db, SledFault> {
    let config = || {
        sled::Config::new()
            .path(dir)
            .segment_size(SEGMENT)
            .cache_capacity(CACHE)
            .flush_every_ms(Some(HOUSEKEEPING_MS))
    };
    // A thread of sled may hold the last handle of a database that was dropped a moment ago.
    for _ in 0..50 {
        match guarded(|| Ok(Db(Some(config().open()?)))) {
            Err(fault) if fault.why.contains("could not acquire lock") => sleep(Duration::from_millis(100)),
            outcome => return outcome,
        }
    }
    guarded(|| Ok(Db(Some(config().open()?))))
}

/// Returns whether sled has moved values into files of their own, which it never syncs.
pub(super) fn has_blobs(dir: &Path) -> io::Result<bool> {
    match fs::read_dir(dir.join("blobs")) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns the position of the last record.
pub(super) fn end(db: &Db) -> Result<Option<Position>, SledFault> {
    guarded(|| match db.last()? {
        None => Ok(None),
        Some((key, _)) => position(&key).map(Some),
    })
}

/// Returns the record at a position.
pub(super) fn get(db: &Db, position: Position) -> Result<Option<Bytes>, SledFault> {
    guarded(|| Ok(db.get(position.0.to_be_bytes())?.map(|value| Bytes::copy_from_slice(&value))))
}

/// Writes records next to each other, all or none, and hands them to the operating system.
pub(super) fn write(db: &Db, first: Position, frames: &[Bytes]) -> Result<(), SledFault> {
    guarded(|| {
        let mut batch = sled::Batch::default();
        for (position, frame) in (first.0..).zip(frames) {
            batch.insert(&position.to_be_bytes(), &frame[..]);
        }
        db.apply_batch(batch)?;
        db.flush()?;
        Ok(())
    })
}

/// Reads a key.
pub(super) fn position(key: &[u8]) -> Result<Position, SledFault> {
    let bytes = <[u8; 8]>::try_from(key);
    let foreign = |_| SledFault::damage("the database holds a key that doorbook never writes");
    bytes.map(u64::from_be_bytes).map(Position).map_err(foreign)
}

/// The database as followers read it, while it is open.
#[derive(Default)]
pub(super) struct Store {
    db: RwLock<Option<Db>>,
}

impl Store {
    pub(super) fn open(&self, db: Db) {
        *self.db.write().unwrap_or_else(PoisonError::into_inner) = Some(db);
    }

    /// Takes the database out, as soon as no reader has it any more.
    pub(super) fn take(&self) -> Option<Db> {
        self.db.write().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Asks sled once more to write what it has, and waits for nothing.
    ///
    /// Where a write fails, sled 0.34 tells whoever asks next; who waited for it already is woken by that alone.
    pub(super) fn ask_again(&self) {
        if let Ok(db) = self.db.try_read()
            && let Some(db) = &*db
        {
            // The first look at it hands it to a thread of sled.
            drop(guarded(|| Ok(db.flush_async().now_or_never().transpose()?)));
        }
    }

    pub(super) fn with<T>(&self, call: impl FnOnce(&Db) -> T) -> Option<T> {
        self.db.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(call)
    }
}

/// Drops a database: its threads end, and what they hold is written.
pub(super) fn close(mut db: Db) -> Result<(), SledFault> {
    let db = db.0.take();
    guarded(|| {
        drop(db);
        Ok(())
    })
}

/// Opens and drops a closed database once more, so that the next open changes no byte of it.
///
/// sled tidies up when it opens, not when it closes: it fills the last segment up and writes down where
/// it ends. A start that is refused must leave the bytes as they were, so this is done at a clean stop.
pub(super) fn settle(dir: &Path, expected: Option<Position>) -> Result<(), SledFault> {
    let db = open(dir)?;
    let found = end(&db);
    close(db)?;
    match found? {
        found if found == expected => Ok(()),
        _ => Err(SledFault::damage("the database does not end where it did when it was closed")),
    }
}

impl Storage for Store {
    fn read(&self, from: Position, to: Position) -> Result<Chunk, ReadError> {
        self.with(|db| read(db, from, to)).unwrap_or(Err(ReadError::NotOpen))
    }
}

/// The name of the tree beside the log that finds records; it can be made again from the log.
const INDEX: &str = "index";
/// The key of how far the index is; no entry begins like that.
const MARK: &[u8] = b"mark";

/// Lets an index count no more that may be of other records, or not whole; the rest of it goes when it is made again.
pub(super) fn forget_index(db: &Db) -> Result<(), SledFault> {
    guarded(|| {
        if db.tree_names().iter().any(|name| *name == INDEX) {
            db.open_tree(INDEX)?.remove(MARK)?;
        }
        Ok(())
    })
}

fn mark(index: &sled::Tree) -> Result<Option<Mark>, SledFault> {
    let Some(value) = index.get(MARK)? else { return Ok(None) };
    // Another length is that of another version.
    let Some((position, rest)) = value.split_first_chunk::<8>() else { return Ok(None) };
    let Some((eff, leaf)) = rest.split_first_chunk::<8>() else { return Ok(None) };
    let Ok(leaf) = <[u8; 32]>::try_from(leaf) else { return Ok(None) };
    let position = Position(u64::from_be_bytes(*position));
    Ok(Some(Mark { position, eff: Timestamp(i64::from_be_bytes(*eff)), leaf: Hash(leaf) }))
}

impl Store {
    fn with_index<T>(&self, call: impl FnOnce(&sled::Tree) -> Result<T, SledFault>) -> Result<T, SledFault> {
        let closed = || Err(SledFault::machine("the database is not open"));
        self.with(|db| guarded(|| call(&db.open_tree(INDEX)?))).unwrap_or_else(closed)
    }
}

impl IndexStore for Store {
    fn add(
        &self,
        entries: &[(Vec<u8>, Timestamp)],
        from: Option<Mark>,
        to: Mark,
    ) -> Result<Added, SledFault> {
        self.with_index(|index| {
            if mark(index)? != from {
                return Ok(Added::Elsewhere);
            }
            let mut batch = sled::Batch::default();
            for (key, eff) in entries {
                batch.insert(&key[..], &eff.0.to_be_bytes());
            }
            let value = [&to.position.0.to_be_bytes()[..], &to.eff.0.to_be_bytes(), &to.leaf.0].concat();
            batch.insert(MARK, value);
            index.apply_batch(batch)?;
            Ok(Added::Yes)
        })
    }

    fn find(&self, prefix: &[u8]) -> Result<Vec<(Position, Timestamp)>, SledFault> {
        let foreign = || SledFault::damage("the index holds an entry that doorbook never writes");
        self.with_index(|index| {
            let mut found = Vec::new();
            for entry in index.scan_prefix(prefix) {
                let (key, value) = entry?;
                let position = key.get(prefix.len()..).and_then(|rest| <[u8; 8]>::try_from(rest).ok());
                let eff = <[u8; 8]>::try_from(&value[..]).ok();
                let (position, eff) = position.zip(eff).ok_or_else(foreign)?;
                found.push((Position(u64::from_be_bytes(position)), Timestamp(i64::from_be_bytes(eff))));
            }
            Ok(found)
        })
    }

    fn mark(&self) -> Result<Option<Mark>, SledFault> {
        self.with_index(mark)
    }

    fn clear(&self) -> Result<(), SledFault> {
        self.with_index(|index| {
            // sled clears entry by entry: whoever is killed meanwhile must not leave half an index that counts.
            index.remove(MARK)?;
            Ok(index.clear()?)
        })
    }

    fn record(&self, position: Position) -> Result<Bytes, FollowError> {
        let broken = |why: String| FollowError::Broken { position, why };
        match self.with(|db| get(db, position)) {
            Some(Ok(Some(frame))) => Ok(frame),
            Some(Ok(None)) => Err(broken("it is missing".into())),
            Some(Err(fault)) => Err(broken(fault.why)),
            None => Err(FollowError::Closed),
        }
    }
}

fn read(db: &Db, from: Position, to: Position) -> Result<Chunk, ReadError> {
    let mut expected = from;
    let mut buffer = Vec::new();
    let mut ends = Vec::with_capacity(CHUNK);
    let outcome = guarded(|| {
        for entry in db.range(from.0.to_be_bytes()..=to.0.to_be_bytes()).take(CHUNK) {
            let (key, value) = entry?;
            let found = position(&key)?;
            if found != expected {
                return Err(SledFault::damage(format!("it is missing; the next one stands at {found}")));
            }
            buffer.extend_from_slice(&value);
            ends.push(buffer.len());
            expected = expected.next();
        }
        Ok(())
    });
    if ends.is_empty() {
        let why = outcome.err().map_or_else(|| "it is missing".into(), |fault| fault.why);
        return Err(ReadError::Broken(FollowError::Broken { position: from, why }));
    }
    // What was read before a fault is good; the next call meets the fault first.
    let buffer = Bytes::from(buffer);
    let mut start = 0;
    let slices = ends.into_iter().map(|end| buffer.slice(std::mem::replace(&mut start, end)..end));
    Ok((from.0..).map(Position).zip(slices).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_fault_and_is_quiet_only_while_sled_is_called() {
        let fault = guarded::<()>(|| {
            assert!(quiet_panics());
            panic!("as sled would");
        });
        assert!(fault.expect_err("a fault").damage);
        assert!(!quiet_panics());
        assert!(is_sled_source("/home/x/.cargo/registry/src/index-1/sled-0.34.7/src/pagecache/mod.rs"));
        assert!(!is_sled_source(file!()));
    }

    #[test]
    fn only_wrong_bytes_are_damage() {
        let of = |kind: io::ErrorKind| SledFault::from(sled::Error::Io(kind.into())).damage;
        assert!(of(io::ErrorKind::UnexpectedEof));
        for machine in [io::ErrorKind::PermissionDenied, io::ErrorKind::StorageFull, io::ErrorKind::Other] {
            assert!(!of(machine), "{machine}");
        }
    }

    #[test]
    fn the_database_keeps_its_records_in_its_one_file_even_when_they_are_large() {
        let dir = tempfile::tempdir().expect("a directory");
        let db = open(dir.path()).expect("a database");
        // As much as the append thread ever puts into one group.
        for group in 0..3 {
            let frames: Vec<_> = (0..129).map(|_| Bytes::from(vec![0x5A; 65_535])).collect();
            write(&db, Position(group * 129), &frames).expect("written");
        }
        assert_eq!(end(&db).expect("read"), Some(Position(386)));
        close(db).expect("closed");
        settle(dir.path(), Some(Position(386))).expect("settled");
        assert!(!has_blobs(dir.path()).expect("read"));
    }
}
