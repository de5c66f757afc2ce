//! The data directory: opening what is in it, directly or by way of a copy.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{Access, AtFlags, CWD, RenameFlags, accessat, renameat_with};
use rustix::io::Errno;

use super::copy::{copy, size, sync_files};
use super::tail::Tail;
use super::{DATABASE, Loss, StartError, StartSettings, make_directory};
use crate::clock::Clock;
use crate::disk::Disk;
use crate::domain::id::Position;
use crate::event_log::codec::leaf_hash;
use crate::event_log::head::{
    DataFile, Head, HeadFile, Last, StopState, Unusable, WriteError, sync_directory,
};
use crate::event_log::probe::{Found, Probe};
use crate::event_log::sled_guard::{self, Db, SledFault};

/// What a copy needs beyond its own bytes: sled writes whole segments while it opens one.
pub(super) const PROBE_MARGIN: u64 = 32 << 20;

/// The data directory, and what is needed to look into it.
#[derive(Clone)]
pub(in super::super) struct Place {
    pub(in super::super) data_dir: PathBuf,
    pub(in super::super) probe: Probe,
    pub(in super::super) disk: Arc<dyn Disk>,
    pub(in super::super) clock: Arc<dyn Clock>,
}

/// What is expected of a log that is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Expected {
    /// Everything that was acknowledged, and that this version understands it.
    Whole,
    /// The same, but what is missing is accepted.
    Loss,
    /// Everything that was acknowledged. A newer doorbook may have written it: that can be proven and copied.
    ToBeRead,
}

/// A database that may be replayed and appended to.
pub(in super::super) struct Ready {
    pub(in super::super) db: Db,
    /// sled's data file, by a handle of our own that was opened after sled's.
    pub(in super::super) db_file: File,
    pub(in super::super) db_length: u64,
    pub(in super::super) end: Option<Position>,
    pub(in super::super) clean: bool,
    pub(in super::super) loss: Option<Loss>,
}

/// What a look at a copy gave.
struct Looked {
    /// What is in it, where it could be read.
    found: Option<Found>,
    /// Whether that may take the place of the log.
    verdict: Result<(), StartError>,
}

impl Place {
    pub(super) fn of(settings: &StartSettings) -> Place {
        let StartSettings { data_dir, probe, disk, clock, .. } = settings;
        Place {
            data_dir: data_dir.clone(),
            probe: probe.clone(),
            disk: Arc::clone(disk),
            clock: Arc::clone(clock),
        }
    }

    pub(in super::super) fn log(&self) -> PathBuf {
        self.data_dir.join("log")
    }

    fn db(&self) -> PathBuf {
        self.log().join("db")
    }

    pub(super) fn copy(&self) -> PathBuf {
        self.data_dir.join("log.probe")
    }

    /// Opens the log after a write of this process had an unknown outcome.
    pub(in super::super) fn reopen(&self, head: &mut HeadFile) -> Result<Ready, StartError> {
        self.open_unclean(head, Expected::Whole)
    }

    pub(in super::super) fn open(
        &self,
        head: &mut HeadFile,
        expected: Expected,
    ) -> Result<Ready, StartError> {
        let accept_loss = expected == Expected::Loss;
        self.remove_copy()?;
        let Some(found) = self.data_file()? else {
            let Some(Last { position: acknowledged, .. }) = head.current().last else {
                return self.start_over(head, None);
            };
            if accept_loss {
                return self.start_over(head, Some(Loss::new(head.current(), None)));
            }
            return Err(StartError::DatabaseMissing { path: self.db(), acknowledged });
        };
        self.check_access()?;
        self.check_blobs()?;
        let Head { state, db, .. } = *head.current();
        // Whoever accepts a loss has met one: then the log is looked at whatever HEAD says.
        if state == StopState::Clean && found == db && !accept_loss && self.has_snapshot()? {
            return self.open_clean(head);
        }
        self.open_unclean(head, expected)
    }

    /// Opens a log that was closed in order and whose data file nobody has written to since.
    fn open_clean(&self, head: &mut HeadFile) -> Result<Ready, StartError> {
        head.open_for_use().map_err(|error| self.head_failed(&error))?;
        let tail =
            Tail::of(&self.log()).map_err(|source| self.failed("the database cannot be read", source))?;
        let opened = self.open_and_compare(head.current());
        if opened.is_err() {
            let put_back = tail.put_back(&*self.disk);
            put_back.map_err(|source| self.failed("the database cannot be left as it was", source))?;
            head.put_back().map_err(|error| self.head_failed(&error))?;
        }
        let (db, end) = opened?;
        let ready = self.ready(db, end, true, None)?;
        self.catch_up(head, &ready)?;
        Ok(ready)
    }

    fn open_and_compare(&self, head: &Head) -> Result<(Db, Option<Position>), StartError> {
        let damaged = |fault| self.damaged(fault);
        let db = sled_guard::open(&self.log()).map_err(damaged)?;
        let compared = (|| {
            let mut found = Found { end: end(&db).map_err(damaged)?, ..Found::default() };
            let at = |position: Position| {
                let broken = |fault: SledFault| StartError::Broken { position, why: fault.why, behind: 0 };
                sled_guard::get(&db, position).map_err(broken)
            };
            if let Some(first) = at(Position(0))? {
                found.log = log_id(&first);
            }
            if let Some(last) = head.last
                && let Some(frame) = at(last.position)?
            {
                found.leaf = Some(leaf_hash(&frame).to_string());
            }
            self.compare(head, &found).map(|()| found.end.map(Position))
        })();
        match compared {
            Ok(end) => Ok((db, end)),
            Err(error) => {
                sled_guard::close(db).map_err(damaged)?;
                Err(error)
            }
        }
    }

    /// Opens a log that was not: only a copy that was found whole takes its place.
    fn open_unclean(&self, head: &mut HeadFile, expected: Expected) -> Result<Ready, StartError> {
        self.remove_copy()?;
        let Looked { found, verdict } = self.look_at_copy(head.current());
        let loss = match verdict {
            Ok(()) => None,
            Err(StartError::Unreadable { .. })
                if expected == Expected::ToBeRead && found.as_ref().is_some_and(|found| found.is_newer) =>
            {
                None
            }
            Err(error) if expected == Expected::Loss && error.can_be_accepted() => {
                let last_found = found.as_ref().and_then(|found| found.end).map(Position);
                Some(Loss::new(head.current(), last_found))
            }
            Err(error) => {
                self.remove_copy()?;
                return Err(error);
            }
        };
        let Some(found) = found else { return self.start_over(head, loss) };
        if let Some(loss) = &loss
            && found.broken.is_some()
        {
            return self.cut(head, &found, loss.clone());
        }
        self.exchange()?;
        self.use_database(head, found.end.map(Position), loss)
    }

    /// Copies the database and says what is in the copy.
    fn look_at_copy(&self, head: &Head) -> Looked {
        match self.copy_and_look(head) {
            Ok(found) => Looked { verdict: self.compare(head, &found), found: Some(found) },
            Err(error) => Looked { verdict: Err(error), found: None },
        }
    }

    fn copy_and_look(&self, head: &Head) -> Result<Found, StartError> {
        let io = |what| move |source| StartError::Io { what, path: self.data_dir.clone(), source };
        let needed = size(&self.log()).map_err(io("the log cannot be read"))? + PROBE_MARGIN;
        let free = self.disk.free_space(&self.data_dir);
        let free = free.map_err(io("the disk does not say how much is free"))?;
        if free < needed {
            return Err(StartError::NoRoom { dir: self.data_dir.clone(), needed, free });
        }
        copy(&self.log(), &self.copy(), &*self.disk).map_err(io("the log cannot be copied"))?;
        sync_directory(&self.data_dir, &*self.disk).map_err(io("the log cannot be copied"))?;
        let at = head.last.map(|last| last.position);
        self.probe.run(&self.copy(), at).map_err(|fault| self.damaged(fault))
    }

    /// Holds what was found against what was acknowledged.
    fn compare(&self, head: &Head, found: &Found) -> Result<(), StartError> {
        let end = found.end.map(Position);
        if end.is_some() && found.log != Some(head.log.to_string()) {
            if let Some((position, why)) = &found.unreadable {
                return Err(StartError::Unreadable { position: Position(*position), why: why.clone() });
            }
            return Err(StartError::Replaced { dir: self.data_dir.clone() });
        }
        if let Some(why) = &found.broken {
            let position = end.map_or(Position(0), Position::next);
            return Err(StartError::Broken { position, why: why.clone(), behind: found.behind });
        }
        if let Some(last) = head.last {
            // A loss that was accepted, but whose acknowledgement did not get as far as HEAD.
            let accepted = found
                .accepted
                .as_ref()
                .is_some_and(|(sequence, leaf)| *sequence == head.sequence && *leaf == last.leaf.to_string());
            if !accepted && end < Some(last.position) {
                return Err(StartError::Loss { found: end, acknowledged: last.position });
            }
            if !accepted && found.leaf != Some(last.leaf.to_string()) {
                return Err(StartError::Changed { position: last.position });
            }
        }
        if let Some((position, why)) = &found.unreadable {
            return Err(StartError::Unreadable { position: Position(*position), why: why.clone() });
        }
        Ok(())
    }

    /// Opens the database that now stands in its place.
    pub(super) fn use_database(
        &self,
        head: &mut HeadFile,
        expected: Option<Position>,
        loss: Option<Loss>,
    ) -> Result<Ready, StartError> {
        let Head { state, last, db, .. } = *head.current();
        if state == StopState::Clean {
            let written = head.write(StopState::Open, last, db);
            written.map_err(|error| self.head_failed(&error))?;
        }
        let db = sled_guard::open(&self.log()).map_err(|fault| self.damaged(fault))?;
        let found = end(&db).map_err(|fault| self.damaged(fault))?.map(Position);
        if found != expected {
            let why = "it holds something else than a moment ago".into();
            return Err(self.damaged(SledFault { why, damage: true }));
        }
        // Nobody has looked at the index, and what it knows of may be what is gone.
        if let Err(fault) = sled_guard::forget_index(&db) {
            tracing::warn!(why = fault.why, "the index of the log cannot be made again");
        }
        let ready = self.ready(db, found, false, loss)?;
        self.catch_up(head, &ready)?;
        Ok(ready)
    }

    fn ready(
        &self,
        db: Db,
        end: Option<Position>,
        clean: bool,
        loss: Option<Loss>,
    ) -> Result<Ready, StartError> {
        self.sync_log()?;
        let (db_file, db_length) = self.open_database_file()?;
        Ok(Ready { db, db_file, db_length, end, clean, loss })
    }

    /// Brings records that nobody was told about to stable storage, before anybody sees them.
    ///
    /// After an accepted loss `HEAD` stays: the first append says so, and until then every start refuses.
    fn catch_up(&self, head: &mut HeadFile, ready: &Ready) -> Result<(), StartError> {
        let Some(end) = ready.end else { return Ok(()) };
        let current = head.current().last.map(|last| last.position);
        if ready.loss.is_some() || current == Some(end) {
            return Ok(());
        }
        let damaged = |fault| self.damaged(fault);
        let frame = sled_guard::get(&ready.db, end).map_err(damaged)?.unwrap_or_default();
        let (_, length) = self.sync_database()?;
        let last = Last { position: end, leaf: leaf_hash(&frame) };
        let state = match head.current().state {
            restored @ (StopState::Restored | StopState::Imported) => restored,
            _ => StopState::Open,
        };
        head.write(state, Some(last), DataFile::of_length(length)).map_err(|error| self.head_failed(&error))
    }

    /// Refuses where `HEAD` says *creating* beside more than the first record.
    pub(super) fn check_unfinished(&self, head: &HeadFile) -> Result<(), StartError> {
        self.remove_copy()?;
        let never = |why: String| StartError::NeverFinished { dir: self.data_dir.clone(), why };
        if self.data_file()?.is_none_or(|found| found.length == 0) {
            return Ok(());
        }
        self.check_blobs()?;
        let Looked { found, verdict } = self.look_at_copy(head.current());
        let whole = verdict.and_then(|()| match found.and_then(|found| found.end) {
            None | Some(0) => Ok(()),
            Some(end) => Err(never(format!("it has {} records", end + 1))),
        });
        match whole {
            Ok(()) => self.exchange(),
            // Its very first bytes did not all get to the disk. Nobody was told of anything that they held.
            Err(StartError::Damaged { .. }) => {
                self.remove_copy()?;
                make_directory(&self.copy())?;
                self.set_aside(&self.copy()).map(drop)
            }
            Err(error) => {
                self.remove_copy()?;
                Err(error)
            }
        }
    }

    /// Puts the copy in the place of the log, in one step, and removes the log.
    fn exchange(&self) -> Result<(), StartError> {
        self.exchange_with(&self.copy())?;
        self.remove_copy()
    }

    pub(super) fn exchange_with(&self, other: &Path) -> Result<(), StartError> {
        let exchanged = renameat_with(CWD, other, CWD, self.log(), RenameFlags::EXCHANGE);
        exchanged
            .map_err(io::Error::from)
            .and_then(|()| sync_directory(&self.data_dir, &*self.disk))
            .map_err(|source| self.failed("the log cannot be put in place", source))
    }

    pub(super) fn remove_copy(&self) -> Result<(), StartError> {
        self.remove(&self.copy())
    }

    pub(super) fn remove(&self, dir: &Path) -> Result<(), StartError> {
        match fs::remove_dir_all(dir) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(StartError::Io {
                what: "an old copy of the log cannot be removed",
                path: dir.into(),
                source,
            }),
            _ => Ok(()),
        }
    }

    fn check_blobs(&self) -> Result<(), StartError> {
        let path = self.log().join("blobs");
        match sled_guard::has_blobs(&self.log()) {
            Ok(false) => Ok(()),
            Ok(true) => Err(StartError::Blobs { path }),
            Err(source) => Err(StartError::Io { what: "a directory cannot be read", path, source }),
        }
    }

    /// Returns whether sled has left the file that it leaves when it is closed.
    fn has_snapshot(&self) -> Result<bool, StartError> {
        let read =
            fs::read_dir(self.log()).map_err(|source| self.failed("the log cannot be read", source))?;
        Ok(read.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("snap.")))
    }

    fn not_writable(&self) -> StartError {
        let (uid, gid) = us();
        StartError::NotWritable { dir: self.data_dir.clone(), uid, gid }
    }

    /// Refuses where a file is not ours to write, before anything takes that for damage.
    fn check_access(&self) -> Result<(), StartError> {
        match File::options().read(true).write(true).open(self.db()) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(self.not_writable()),
            _ => Ok(()),
        }
    }

    pub(super) fn check_owner(&self) -> Result<(), StartError> {
        let found = fs::metadata(&self.data_dir)
            .map_err(|source| self.failed("the data directory cannot be read", source))?;
        let (uid, gid) = us();
        let dir = self.data_dir.clone();
        let access = Access::WRITE_OK | Access::READ_OK | Access::EXEC_OK;
        match accessat(CWD, &dir, access, AtFlags::EACCESS) {
            Ok(()) => {}
            Err(Errno::ROFS) => return Err(StartError::ReadOnly { dir }),
            Err(_) => return Err(self.not_writable()),
        }
        if found.uid() != uid {
            return Err(StartError::NotOurs { dir, owner: found.uid(), uid, gid });
        }
        Ok(())
    }

    pub(super) fn holds_anything(&self, name: &str) -> Result<bool, StartError> {
        match fs::read_dir(self.data_dir.join(name)) {
            Ok(mut entries) => Ok(entries.next().is_some()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(self.failed("a directory cannot be read", source)),
        }
    }

    fn data_file(&self) -> Result<Option<DataFile>, StartError> {
        match fs::metadata(self.db()) {
            Ok(found) => Ok(Some(DataFile::of(&found))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.failed("the database cannot be read", source)),
        }
    }

    fn open_database_file(&self) -> Result<(File, u64), StartError> {
        let opened = File::open(self.db()).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (length, file) = opened.map_err(|source| self.failed("the database cannot be opened", source))?;
        Ok((file, length))
    }

    pub(super) fn sync_database(&self) -> Result<(File, u64), StartError> {
        let (file, length) = self.open_database_file()?;
        let synced = self.disk.sync_all(DATABASE, &file);
        synced.map_err(|source| self.failed("the database cannot be brought to stable storage", source))?;
        Ok((file, length))
    }

    /// Brings all that sled has made to stable storage.
    pub(super) fn sync_log(&self) -> Result<(), StartError> {
        sync_files(&self.log(), &*self.disk)
            .map_err(|source| self.failed("the database cannot be brought to stable storage", source))
    }

    pub(super) fn damaged(&self, fault: SledFault) -> StartError {
        let (path, why) = (self.log(), fault.why);
        if fault.damage { StartError::Damaged { path, why } } else { StartError::Unopened { path, why } }
    }

    pub(super) fn head_failed(&self, error: &WriteError) -> StartError {
        let source = io::Error::other(error.to_string());
        StartError::Io { what: "HEAD cannot be written", path: self.data_dir.clone(), source }
    }

    pub(super) fn unusable(&self, error: Unusable) -> StartError {
        let dir = self.data_dir.clone();
        match error {
            Unusable::Missing => StartError::HeadMissing { dir, beside: "log" },
            Unusable::Locked => StartError::Locked { dir },
            Unusable::Damaged => StartError::HeadDamaged { dir },
            Unusable::Newer { format } => StartError::HeadNewer { dir, format },
            Unusable::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => self.not_writable(),
            Unusable::Io(source) => StartError::Io { what: "HEAD cannot be used", path: dir, source },
        }
    }

    pub(super) fn failed(&self, what: &'static str, source: io::Error) -> StartError {
        StartError::Io { what, path: self.data_dir.clone(), source }
    }
}

/// Returns the user and the group that this process writes as.
pub(super) fn us() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

fn end(db: &Db) -> Result<Option<u64>, SledFault> {
    Ok(sled_guard::end(db)?.map(|position| position.0))
}

fn log_id(frame: &Bytes) -> Option<String> {
    match crate::event_log::codec::decode_record(frame).ok()?.events.first()? {
        crate::domain::event::Event::LogCreated { log, .. } => Some(log.to_string()),
        _ => None,
    }
}
