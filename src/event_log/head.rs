//! `HEAD`: the file that knows what was acknowledged, because sled alone cannot be asked.
//!
//! sled opens a database that was cut short without a word and holds nothing then. So the last
//! acknowledged position and its leaf hash stand in a file of our own: two slots of 4,096 bytes,
//! written in turn, of which the valid one with the larger sequence counts. The same file carries the
//! lock that keeps a second doorbook away.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::disk::{Disk, Synced};
use crate::domain::event::RestoredFrom;
use crate::domain::id::{Hash, LogId, Position};

/// The name of the file in the data directory.
pub(super) const NAME: &str = "HEAD";
/// The name under which it is made before it is there whole.
pub(super) const UNFINISHED: &str = "HEAD.new";

const SLOT: usize = 4_096;
const MAGIC: [u8; 8] = *b"DOORBOOK";
const FORMAT: u16 = 1;

/// How the log was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopState {
    /// Its creation did not come to an end.
    Creating,
    /// In use, or killed in use.
    Open,
    /// Closed in order.
    Clean,
    /// Put back from a backup, and not yet appended to.
    Restored,
    /// Put back from an export, and not yet appended to.
    Imported,
}

impl StopState {
    /// Returns what the log was put back from, for as long as no record says so.
    pub fn restored(self) -> Option<RestoredFrom> {
        match self {
            StopState::Restored => Some(RestoredFrom::Backup),
            StopState::Imported => Some(RestoredFrom::Import),
            StopState::Creating | StopState::Open | StopState::Clean => None,
        }
    }
}

/// What one slot says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) log: LogId,
    pub(super) sequence: u64,
    pub(super) state: StopState,
    /// The last acknowledged record; none while the log is empty.
    pub(super) last: Option<Last>,
    /// sled's data file, as it was.
    pub(super) db: DataFile,
}

/// What tells whether sled's data file is the one that was closed: whoever wrote to it or put another in
/// its place has changed this, and a start looks closely.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DataFile {
    pub(super) length: u64,
    /// When it was last written to, in seconds and nanoseconds; kept at a clean stop only.
    pub(super) modified: (i64, i64),
}

impl DataFile {
    pub(super) fn of(found: &std::fs::Metadata) -> DataFile {
        DataFile { length: found.len(), modified: (found.mtime(), found.mtime_nsec()) }
    }

    pub(super) fn of_length(length: u64) -> DataFile {
        DataFile { length, modified: (0, 0) }
    }
}

/// The last acknowledged record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Last {
    pub(super) position: Position,
    pub(super) leaf: Hash,
}

/// `HEAD`, open and locked.
pub(super) struct HeadFile {
    file: File,
    disk: Arc<dyn Disk>,
    current: Head,
    /// The slot that does not count, and is written next.
    spare: u64,
    /// The bytes before a clean log was opened, for as long as nothing was appended.
    untouched: Option<Vec<u8>>,
}

/// `HEAD` cannot be used.
#[derive(Debug)]
pub(super) enum Unusable {
    Missing,
    Locked,
    /// Neither slot is valid.
    Damaged,
    Newer {
        format: u16,
    },
    Io(io::Error),
}

/// `HEAD` was not written.
#[derive(Debug)]
pub(super) enum WriteError {
    /// Before the sync: the log can be opened again.
    Write(io::Error),
    /// The sync itself: what the disk holds can no longer be known in this process.
    Sync(io::Error),
}

impl HeadFile {
    /// Makes `HEAD` for a log that is about to be created.
    pub(super) fn create(dir: &Path, head: Head, disk: Arc<dyn Disk>) -> Result<HeadFile, Unusable> {
        let claim = Claim::take(dir, disk)?;
        claim.write(head).map_err(Unusable::Io)?;
        claim.publish(head).map_err(Unusable::Io)
    }

    /// Opens and locks `HEAD`; writes nothing.
    pub(super) fn open(dir: &Path, disk: Arc<dyn Disk>) -> Result<HeadFile, Unusable> {
        let file = match OpenOptions::new().read(true).write(true).open(dir.join(NAME)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Unusable::Missing),
            Err(error) => return Err(Unusable::Io(error)),
        };
        lock(&file)?;
        let slots = read_slots(&file).map_err(Unusable::Io)?;
        let (current, spare) = match slots {
            [Slot::Valid(a), Slot::Valid(b)] if b.sequence > a.sequence => (b, 0),
            [Slot::Valid(a), _] => (a, 1),
            [_, Slot::Valid(b)] => (b, 0),
            [Slot::Newer(format), _] | [_, Slot::Newer(format)] => return Err(Unusable::Newer { format }),
            _ => return Err(Unusable::Damaged),
        };
        if slots.iter().any(|slot| matches!(slot, Slot::Damaged)) {
            tracing::warn!(sequence = current.sequence, "one of the two slots of HEAD is damaged");
        }
        Ok(HeadFile { file, disk, current, spare, untouched: None })
    }

    /// Returns what counts.
    pub(super) fn current(&self) -> &Head {
        &self.current
    }

    /// Overwrites the slot that does not count, and brings it to stable storage; then it counts.
    pub(super) fn write(
        &mut self,
        state: StopState,
        last: Option<Last>,
        db: DataFile,
    ) -> Result<(), WriteError> {
        let head = Head { log: self.current.log, sequence: self.current.sequence + 1, state, last, db };
        let at = self.spare * u64::try_from(SLOT).unwrap_or(u64::MAX);
        self.file.write_all_at(&encode(&head), at).map_err(WriteError::Write)?;
        self.disk.sync_data(Synced::Head, &self.file).map_err(WriteError::Sync)?;
        self.current = head;
        self.spare = 1 - self.spare;
        self.untouched = None;
        Ok(())
    }

    /// Says that the log is in use, but remembers the bytes in case that nothing comes of it.
    pub(super) fn open_for_use(&mut self) -> Result<(), WriteError> {
        let mut bytes = vec![0; 2 * SLOT];
        self.file.read_exact_at(&mut bytes, 0).map_err(WriteError::Write)?;
        let Head { last, db, .. } = self.current;
        self.write(StopState::Open, last, db)?;
        self.untouched = Some(bytes);
        Ok(())
    }

    /// Returns whether nothing was written since a clean log was opened.
    pub(super) fn is_untouched(&self) -> bool {
        self.untouched.is_some()
    }

    /// Gives the file the bytes back that it had before a clean log was opened and left as it was.
    pub(super) fn put_back(&mut self) -> Result<(), WriteError> {
        if let Some(bytes) = self.untouched.take() {
            self.file.write_all_at(&bytes, 0).map_err(WriteError::Write)?;
            self.disk.sync_data(Synced::Head, &self.file).map_err(WriteError::Sync)?;
        }
        Ok(())
    }
}

/// `HEAD.new`, locked: the directory is ours, and `HEAD` is not there yet.
pub(super) struct Claim {
    dir: PathBuf,
    file: File,
    disk: Arc<dyn Disk>,
}

impl Claim {
    /// Takes a directory without `HEAD`; what an earlier attempt wrote stays for now.
    pub(super) fn take(dir: &Path, disk: Arc<dyn Disk>) -> Result<Claim, Unusable> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(dir.join(UNFINISHED)).map_err(Unusable::Io)?;
        lock(&file)?;
        Ok(Claim { dir: dir.into(), file, disk })
    }

    /// Writes what `HEAD` will say, to stable storage; it does not say so yet.
    pub(super) fn write(&self, head: Head) -> io::Result<()> {
        let mut bytes = encode(&head);
        bytes.resize(2 * SLOT, 0);
        self.file.set_len(0)?;
        self.file.write_all_at(&bytes, 0)?;
        self.disk.sync_all(Synced::Head, &self.file)
    }

    /// Makes it `HEAD`.
    pub(super) fn publish(self, head: Head) -> io::Result<HeadFile> {
        std::fs::rename(self.dir.join(UNFINISHED), self.dir.join(NAME))?;
        sync_directory(&self.dir, &*self.disk)?;
        Ok(HeadFile { file: self.file, disk: self.disk, current: head, spare: 1, untouched: None })
    }

    /// Gives the directory up again.
    pub(super) fn remove(self) -> io::Result<()> {
        std::fs::remove_file(self.dir.join(UNFINISHED))
    }
}

/// Returns what counts in an open `HEAD`, where anything does.
pub(super) fn newest(file: &File) -> Option<Head> {
    let valid = read_slots(file).ok()?.into_iter().filter_map(|slot| match slot {
        Slot::Valid(head) => Some(head),
        _ => None,
    });
    valid.max_by_key(|head| head.sequence)
}

/// Returns what a `HEAD` says that was written and did not get its name; writes nothing.
pub(super) fn unfinished(dir: &Path) -> Result<Option<StopState>, Unusable> {
    let file = match File::open(dir.join(UNFINISHED)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Unusable::Io(error)),
    };
    lock(&file)?;
    let said = read_slots(&file).map_err(Unusable::Io)?.into_iter().find_map(|slot| match slot {
        Slot::Valid(head) => Some(head.state),
        _ => None,
    });
    Ok(said)
}

impl std::fmt::Display for WriteError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            WriteError::Write(error) => write!(f, "HEAD could not be written: {error}"),
            WriteError::Sync(error) => write!(f, "HEAD could not be brought to stable storage: {error}"),
        }
    }
}

/// Brings names in a directory to stable storage.
pub(super) fn sync_directory(dir: &Path, disk: &dyn Disk) -> io::Result<()> {
    disk.sync_all(Synced::Directory, &File::open(dir)?)
}

/// Returns the path of `HEAD` in a data directory.
#[cfg(test)]
pub(super) fn path(dir: &Path) -> std::path::PathBuf {
    dir.join(NAME)
}

/// Keeps every other process from an open `HEAD`, for as long as it is open.
pub(super) fn lock(file: &File) -> Result<(), Unusable> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => Unusable::Locked,
        TryLockError::Error(error) => Unusable::Io(error),
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Valid(Head),
    /// Never written.
    Empty,
    Newer(u16),
    Damaged,
}

fn read_slots(file: &File) -> io::Result<[Slot; 2]> {
    let mut slots = [Slot::Damaged; 2];
    for (slot, at) in slots.iter_mut().zip([0, 1]) {
        let mut bytes = [0; SLOT];
        *slot = match file.read_exact_at(&mut bytes, at * u64::try_from(SLOT).unwrap_or(u64::MAX)) {
            Ok(()) => decode(&bytes),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Slot::Damaged,
            Err(error) => return Err(error),
        };
    }
    Ok(slots)
}

/// magic 8 | format u16 | log 16 | sequence u64 | state u8 | 0 or 1 | position u64 | leaf 32 | db length
/// u64 | modified 2 × i64 | zeros | SHA-256 of all before; numbers are big-endian.
fn encode(head: &Head) -> Vec<u8> {
    let mut out = Vec::with_capacity(SLOT);
    out.extend(MAGIC);
    out.extend(FORMAT.to_be_bytes());
    out.extend(head.log.0);
    out.extend(head.sequence.to_be_bytes());
    out.push(match head.state {
        StopState::Creating => 1,
        StopState::Open => 2,
        StopState::Clean => 3,
        StopState::Restored => 4,
        StopState::Imported => 5,
    });
    out.push(u8::from(head.last.is_some()));
    out.extend(head.last.map_or(0, |last| last.position.0).to_be_bytes());
    out.extend(head.last.map_or([0; 32], |last| last.leaf.0));
    out.extend(head.db.length.to_be_bytes());
    out.extend(head.db.modified.0.to_be_bytes());
    out.extend(head.db.modified.1.to_be_bytes());
    out.resize(SLOT - 32, 0);
    let checksum = Sha256::digest(&out);
    out.extend_from_slice(&checksum);
    out
}

fn decode(slot: &[u8; SLOT]) -> Slot {
    if slot.iter().all(|byte| *byte == 0) {
        return Slot::Empty;
    }
    let (facts, checksum) = slot.split_at(SLOT - 32);
    if Sha256::digest(facts)[..] != *checksum {
        return Slot::Damaged;
    }
    read_facts(facts).unwrap_or(Slot::Damaged)
}

fn read_facts(mut facts: &[u8]) -> Option<Slot> {
    fn take<const N: usize>(facts: &mut &[u8]) -> Option<[u8; N]> {
        let (taken, rest) = facts.split_first_chunk::<N>()?;
        *facts = rest;
        Some(*taken)
    }
    let facts = &mut facts;
    if take(facts)? != MAGIC {
        return None;
    }
    let format = u16::from_be_bytes(take(facts)?);
    if format != FORMAT {
        return Some(Slot::Newer(format));
    }
    let log = LogId(take(facts)?);
    let sequence = u64::from_be_bytes(take(facts)?);
    let state = match take(facts)? {
        [1] => StopState::Creating,
        [2] => StopState::Open,
        [3] => StopState::Clean,
        [4] => StopState::Restored,
        [5] => StopState::Imported,
        _ => return None,
    };
    let [there] = take(facts)?;
    let last = Last { position: Position(u64::from_be_bytes(take(facts)?)), leaf: Hash(take(facts)?) };
    let length = u64::from_be_bytes(take(facts)?);
    let modified = (i64::from_be_bytes(take(facts)?), i64::from_be_bytes(take(facts)?));
    let db = DataFile { length, modified };
    Some(Slot::Valid(Head { log, sequence, state, last: (there == 1).then_some(last), db }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    fn head(sequence: u64) -> Head {
        let last = Some(Last { position: Position(41), leaf: Hash([7; 32]) });
        Head {
            log: LogId([3; 16]),
            sequence,
            state: StopState::Open,
            last,
            db: DataFile { length: 12_345, modified: (-7, 8) },
        }
    }

    fn created() -> (tempfile::TempDir, HeadFile) {
        let dir = tempfile::tempdir().expect("a directory");
        let file = HeadFile::create(dir.path(), head(1), Arc::new(RealDisk)).expect("made");
        (dir, file)
    }

    fn flip(dir: &Path, at: usize) {
        let mut bytes = std::fs::read(path(dir)).expect("HEAD");
        bytes[at] ^= 1;
        std::fs::write(path(dir), bytes).expect("HEAD");
    }

    fn reopen(dir: &Path) -> Result<HeadFile, Unusable> {
        HeadFile::open(dir, Arc::new(RealDisk))
    }

    #[test]
    fn what_is_written_is_read_back_and_the_larger_sequence_counts() {
        let (dir, mut file) = created();
        for length in 0..5 {
            file.write(StopState::Clean, None, DataFile::of_length(length)).expect("written");
        }
        drop(file);
        let current = *reopen(dir.path()).expect("opened").current();
        assert_eq!((current.sequence, current.db.length, current.last), (6, 4, None));
        assert_eq!(std::fs::metadata(path(dir.path())).expect("HEAD").len(), 8_192);
    }

    #[test]
    fn any_flipped_bit_spoils_its_slot_and_the_other_one_counts() {
        let (dir, mut file) = created();
        file.write(StopState::Open, head(1).last, DataFile::of_length(99)).expect("written");
        drop(file);
        for at in [SLOT, SLOT + 9, SLOT + 60, 2 * SLOT - 40, 2 * SLOT - 1] {
            flip(dir.path(), at);
            assert_eq!(*reopen(dir.path()).expect("the first slot").current(), head(1), "{at}");
            flip(dir.path(), at);
        }
        assert_eq!(reopen(dir.path()).expect("opened").current().sequence, 2);
    }

    #[test]
    fn two_damaged_slots_are_no_head() {
        let (dir, mut file) = created();
        file.write(StopState::Open, None, DataFile::default()).expect("written");
        drop(file);
        flip(dir.path(), 100);
        flip(dir.path(), SLOT + 100);
        assert!(matches!(reopen(dir.path()), Err(Unusable::Damaged)));
        std::fs::write(path(dir.path()), b"").expect("HEAD");
        assert!(matches!(reopen(dir.path()), Err(Unusable::Damaged)));
    }

    #[test]
    fn the_slot_that_counts_is_never_the_one_that_is_written() {
        let (dir, mut file) = created();
        for length in 0..4 {
            let before = std::fs::read(path(dir.path())).expect("HEAD");
            file.write(StopState::Open, None, DataFile::of_length(length)).expect("written");
            let after = std::fs::read(path(dir.path())).expect("HEAD");
            let kept = if length % 2 == 0 { 0..SLOT } else { SLOT..2 * SLOT };
            assert_eq!(before[kept.clone()], after[kept]);
        }
    }

    #[test]
    fn a_second_process_is_refused_and_a_log_left_as_it_was_gets_its_bytes_back() {
        let (dir, file) = created();
        assert!(matches!(reopen(dir.path()), Err(Unusable::Locked)));
        drop(file);
        let before = std::fs::read(path(dir.path())).expect("HEAD");
        let mut file = reopen(dir.path()).expect("opened");
        file.open_for_use().expect("written");
        assert!(file.is_untouched());
        assert_ne!(before, std::fs::read(path(dir.path())).expect("HEAD"));
        file.put_back().expect("written");
        assert_eq!(before, std::fs::read(path(dir.path())).expect("HEAD"));
    }
}
