//! Putting a log back from a copy: records in, and at the very end the `HEAD` that makes them a log.
//!
//! The database is built as `log.import/`. Once all of it is on stable storage, `HEAD.new` says what `HEAD`
//! will, the database gets its name, and then `HEAD` gets its own. A kill before the last step leaves what
//! every start refuses and the next import removes; a kill after it leaves the whole.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::damaged::Damaged;
use super::{Place, StartError, StartSettings, make_directory, sync_files};
use crate::domain::event::RestoredFrom;
use crate::domain::id::{Hash, LogId, Position};
use crate::event_log::codec::leaf_hash;
use crate::event_log::head::{self, Claim, DataFile, Head, Last, StopState, sync_directory};
use crate::event_log::sled_engine::MIN_FREE;
use crate::event_log::sled_guard::{self, Db};
use crate::event_log::tree::Frontier;

/// What is being built.
const BUILT: &str = "log.import";
/// Records that are written at once: so many, or so many bytes.
const GROUP: usize = 512;
const GROUP_BYTES: usize = 4 << 20;

/// A log that is being put back; dropping it leaves the directory as it was.
pub struct Import {
    place: Place,
    /// Whether there was no directory before.
    made: bool,
    /// The log whose place it takes, where there is one.
    over: Option<Damaged>,
    log: LogId,
    claim: Option<Claim>,
    db: Option<Db>,
    group: Vec<Bytes>,
    group_bytes: usize,
    /// The tree over what was written, and its leaves where it takes the place of a log.
    tree: Frontier,
    leaves: HashSet<Hash>,
    last: Option<Last>,
    /// Whether the last record that was acknowledged in the log whose place it takes is among them.
    is_whole: bool,
}

impl Import {
    /// Says whether a log could be put back in that directory; changes nothing.
    pub fn check(settings: &StartSettings) -> Result<(), StartError> {
        let place = Place::of(settings);
        if !place.data_dir.exists() {
            return Ok(());
        }
        place.check_owner()?;
        place.check_no_log()
    }

    /// Takes the directory, and removes what an earlier attempt left.
    pub fn begin(settings: &StartSettings, log: LogId) -> Result<Import, StartError> {
        let place = Place::of(settings);
        let made = !place.data_dir.exists();
        make_directory(&place.data_dir)?;
        place.check_owner()?;
        place.check_no_log()?;
        Import::claimed(place, made, None, log)
    }

    /// Puts the log back in the place of a damaged one, which stays as it is until the very end.
    pub fn begin_over(damaged: Damaged, log: LogId) -> Result<Import, StartError> {
        let place = damaged.place.clone();
        if damaged.head.is_some_and(|head| head.log != log) {
            return Err(StartError::Replaced { dir: place.data_dir });
        }
        Import::claimed(place, false, Some(damaged), log)
    }

    fn claimed(place: Place, made: bool, over: Option<Damaged>, log: LogId) -> Result<Import, StartError> {
        let claim = Claim::take(&place.data_dir, Arc::clone(&place.disk));
        let claim = claim.map_err(|error| place.unusable(error))?;
        if over.is_none() && place.data_dir.join(head::NAME).exists() {
            // Somebody was faster.
            let removed = claim.remove();
            removed.map_err(|source| place.failed("HEAD.new cannot be removed", source))?;
            return Err(StartError::LogThere { dir: place.data_dir, what: "HEAD" });
        }
        // From here on, dropping it cleans up.
        let mut import = Import {
            place,
            made,
            over,
            log,
            claim: Some(claim),
            db: None,
            group: Vec::new(),
            group_bytes: 0,
            tree: Frontier::new(),
            leaves: HashSet::new(),
            last: None,
            is_whole: false,
        };
        import.remove_leftovers()?;
        let built = import.built();
        make_directory(&built)?;
        import.db = Some(sled_guard::open(&built).map_err(|fault| import.place.damaged(fault))?);
        Ok(import)
    }

    /// Takes the next record.
    pub fn push(&mut self, frame: Bytes) -> Result<(), StartError> {
        self.group_bytes += frame.len();
        self.group.push(frame);
        if self.group.len() >= GROUP || self.group_bytes >= GROUP_BYTES {
            self.write_group()?;
        }
        Ok(())
    }

    /// Takes, behind the copy, what can still be read of the damaged log; returns how many records that is.
    pub fn push_remains(&mut self) -> Result<u64, StartError> {
        self.write_group()?;
        let Some((over, last)) = self.over.as_ref().zip(self.last) else { return Ok(0) };
        let remains = over.remains(last, &self.leaves)?;
        let before = self.tree.size();
        for frame in remains.behind(self.tree.clone(), over.head.and_then(|head| head.last)) {
            self.push(frame)?;
        }
        self.write_group()?;
        Ok(self.tree.size() - before)
    }

    /// Makes a log of what was taken; from then on it is one, whatever happens.
    ///
    /// Returns whether nothing that was acknowledged is missing: known only where it takes the place of a log.
    pub fn finish(mut self, source: RestoredFrom) -> Result<bool, StartError> {
        self.write_group()?;
        let db = self.close()?;
        let over = self.over.as_ref().and_then(|over| over.head);
        let is_whole = self.is_whole;
        let head = Head {
            log: self.log,
            sequence: over.map_or(1, |head| head.sequence + 1),
            state: match source {
                _ if is_whole => StopState::Open,
                RestoredFrom::Backup => StopState::Restored,
                _ => StopState::Imported,
            },
            last: self.last,
            db,
        };
        let Some(claim) = self.claim.take() else { return Ok(is_whole) };
        let published = claim
            .write(head)
            .and_then(|()| self.take_the_place())
            .and_then(|()| sync_directory(&self.place.data_dir, &*self.place.disk));
        match published {
            Ok(()) => {}
            Err(source) => {
                self.claim = Some(claim);
                return Err(self.failed("the log cannot be put in place", source));
            }
        }
        let published = claim.publish(head).map(drop);
        published.map_err(|source| self.failed("HEAD cannot be put in place", source))?;
        Ok(is_whole)
    }

    /// Gives the database its name; the one that had it is kept.
    fn take_the_place(&self) -> io::Result<()> {
        let log = self.place.log();
        if self.over.is_none() || !log.exists() {
            return fs::rename(self.built(), log);
        }
        self.place.set_aside(&self.built()).map(drop).map_err(io::Error::other)
    }

    fn write_group(&mut self) -> Result<(), StartError> {
        if self.group.is_empty() {
            return Ok(());
        }
        let free = self.place.disk.free_space(&self.place.data_dir).unwrap_or(u64::MAX);
        if free < MIN_FREE {
            return Err(StartError::Full { dir: self.place.data_dir.clone(), free, needed: MIN_FREE });
        }
        let Some(db) = &self.db else { return Ok(()) };
        sled_guard::write(db, Position(self.tree.size()), &self.group)
            .map_err(|fault| self.place.damaged(fault))?;
        for frame in self.group.drain(..) {
            let leaf = leaf_hash(&frame);
            self.last = Some(Last { position: Position(self.tree.size()), leaf });
            self.tree.push(leaf);
            if let Some(over) = &self.over {
                self.is_whole |= over.head.is_some_and(|head| head.last == self.last);
                self.leaves.insert(leaf);
            }
        }
        self.group_bytes = 0;
        Ok(())
    }

    /// Closes the database and brings it to stable storage, as a clean stop does.
    fn close(&mut self) -> Result<DataFile, StartError> {
        let damaged = |fault| self.place.damaged(fault);
        if let Some(db) = self.db.take() {
            sled_guard::close(db).map_err(damaged)?;
        }
        let built = self.built();
        sled_guard::settle(&built, self.last.map(|last| last.position)).map_err(damaged)?;
        let synced = sync_files(&built, &*self.place.disk).and_then(|()| fs::metadata(built.join("db")));
        let found =
            synced.map_err(|source| self.failed("the log cannot be brought to stable storage", source))?;
        Ok(DataFile::of(&found))
    }

    fn built(&self) -> PathBuf {
        self.place.data_dir.join(BUILT)
    }

    fn remove_leftovers(&self) -> Result<(), StartError> {
        if self.over.is_none() {
            // That it is ours, `check_no_log` has found out.
            self.place.remove(&self.place.log())?;
        }
        self.place.remove(&self.built())
    }

    fn failed(&self, what: &'static str, source: io::Error) -> StartError {
        self.place.failed(what, source)
    }
}

impl Drop for Import {
    fn drop(&mut self) {
        let Some(claim) = self.claim.take() else { return };
        if let Some(db) = self.db.take() {
            drop(sled_guard::close(db));
        }
        let removed = self.remove_leftovers().map_err(io::Error::other).and_then(|()| claim.remove());
        let removed = removed.and_then(|()| match self.made {
            true => fs::remove_dir(&self.place.data_dir),
            false => Ok(()),
        });
        if let Err(error) = removed {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "what was begun could not be removed; the next import does it");
        }
    }
}

impl std::fmt::Debug for Import {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Import")
            .field("log", &self.log)
            .field("written", &self.tree.size())
            .finish_non_exhaustive()
    }
}

impl Place {
    /// Refuses where there is a log, or what may be left of one.
    fn check_no_log(&self) -> Result<(), StartError> {
        let there = |what| Err(StartError::LogThere { dir: self.data_dir.clone(), what });
        if self.data_dir.join(head::NAME).exists() {
            return there("HEAD");
        }
        // An import that was killed between its last two steps: nothing else writes such a file.
        let ours = self.unfinished()?.is_some_and(|state| state.restored().is_some());
        for name in ["log", "log.probe", "states"] {
            if self.holds_anything(name)? && !(ours && name == "log") {
                return there(name);
            }
        }
        Ok(())
    }

    /// Refuses to make a new log where one was to be put back.
    pub(super) fn check_no_import(&self) -> Result<(), StartError> {
        let half_done = self.unfinished()?.is_some_and(|state| state.restored().is_some());
        if half_done || self.data_dir.join(BUILT).exists() {
            return Err(StartError::Unfinished { dir: self.data_dir.clone() });
        }
        Ok(())
    }

    fn unfinished(&self) -> Result<Option<StopState>, StartError> {
        head::unfinished(&self.data_dir).map_err(|error| self.unusable(error))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::event_log::rig::{Rig, append, bytes_of, copy_tree, created, frame, read_to};

    const LOG: LogId = LogId([5; 16]);
    const RECORDS: u64 = 600;

    fn frames() -> Vec<Bytes> {
        let all = (0..RECORDS).map(|at| if at == 0 { created(LOG) } else { frame(at) });
        all.map(Bytes::from).collect()
    }

    fn import(settings: &StartSettings, source: RestoredFrom) -> Result<(), StartError> {
        let mut import = Import::begin(settings, LOG)?;
        for frame in frames() {
            import.push(frame)?;
        }
        import.finish(source).map(drop)
    }

    async fn is_whole(rig: &Rig, source: RestoredFrom) {
        let started = rig.start().expect("a start");
        assert_eq!((started.head, started.restored), (Some(Position(RECORDS - 1)), Some(source)));
        let read = read_to(&mut started.engine.follow(Position(0)), RECORDS - 1).await;
        assert!(read.into_iter().map(|(_, frame)| frame).eq(frames()));
        started.engine.close().await.expect("closed");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_log_is_put_back_and_stays_so_until_the_first_append() {
        for source in [RestoredFrom::Backup, RestoredFrom::Import] {
            let rig = Rig::new();
            import(&rig.settings(false), source).expect("put back");
            assert!(!rig.path().join(head::UNFINISHED).exists() && !rig.path().join(BUILT).exists());
            // Whoever only reads it changes nothing of that.
            is_whole(&rig, source).await;
            is_whole(&rig, source).await;
            let started = rig.start().expect("a start");
            append(&*started.engine, RECORDS..RECORDS + 1).await;
            started.engine.close().await.expect("closed");
            assert_eq!(rig.start().expect("a start").restored, None);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_kill_leaves_nothing_that_is_used_or_the_whole() {
        let rig = Rig::new();
        let killed = tempfile::tempdir().expect("a directory");
        let kills = Arc::new(Mutex::new(0));
        let (from, to, count) = (rig.path(), killed.path().to_owned(), Arc::clone(&kills));
        *rig.disk.watch.lock().expect("not poisoned") = Some(Box::new(move |_| {
            let mut count = count.lock().expect("not poisoned");
            copy_tree(&from, &to.join(count.to_string()).join("data"));
            *count += 1;
        }));
        import(&rig.settings(false), RestoredFrom::Backup).expect("put back");
        let kills = *kills.lock().expect("not poisoned");
        assert_eq!(
            kills, 7,
            "three files of the database, its directory, HEAD.new, and the data directory twice"
        );
        for kill in 0..kills {
            let after = Rig::at(&killed.path().join(kill.to_string()));
            if kill + 1 == kills {
                is_whole(&after, RestoredFrom::Backup).await;
                continue;
            }
            assert!(matches!(after.refused(), StartError::Unfinished { .. }), "{kill}");
            import(&after.settings(false), RestoredFrom::Import).expect("put back");
            is_whole(&after, RestoredFrom::Import).await;
        }
    }

    #[test]
    fn an_import_that_is_given_up_leaves_the_directory_as_it_was() {
        let rig = Rig::new();
        let mut import = Import::begin(&rig.settings(false), LOG).expect("begun");
        frames().into_iter().for_each(|frame| import.push(frame).expect("taken"));
        drop(import);
        assert!(!rig.path().exists(), "it was not there before");

        fs::create_dir_all(rig.path().join("keys")).expect("made");
        fs::write(rig.path().join("keys/kek"), b"a key").expect("written");
        let before = bytes_of(&rig.path());
        let begun = Import::begin(&rig.settings(false), LOG).expect("begun");
        assert!(matches!(Import::begin(&rig.settings(false), LOG), Err(StartError::Locked { .. })));
        drop(begun);
        assert_eq!(bytes_of(&rig.path()), before);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn where_there_is_a_log_nothing_is_touched() {
        let rig = Rig::filled(5, true).await;
        for name in [head::NAME, "log"] {
            let before = bytes_of(&rig.path());
            let checked = Import::check(&rig.settings(false));
            let refused = import(&rig.settings(false), RestoredFrom::Import);
            for refused in [checked, refused] {
                assert!(matches!(refused, Err(StartError::LogThere { what, .. }) if what == name), "{name}");
            }
            assert_eq!(bytes_of(&rig.path()), before);
            // What is left without `HEAD` is still somebody's log.
            drop(fs::remove_file(rig.path().join(head::NAME)));
        }
    }

    #[test]
    fn a_full_disk_is_the_environments_and_leaves_nothing() {
        let rig = Rig::new();
        rig.disk.is_full.store(true, Ordering::SeqCst);
        let full = import(&rig.settings(false), RestoredFrom::Import).expect_err("it is full");
        assert!(matches!(full, StartError::Full { free: 1_000, .. }), "{full}");
        assert!(!rig.path().exists());
        for what in [crate::disk::Synced::Database, crate::disk::Synced::Head] {
            let rig = Rig::new();
            *rig.disk.failing.lock().expect("not poisoned") = Some(what);
            import(&rig.settings(false), RestoredFrom::Import).expect_err("the disk is broken");
            assert!(!rig.path().exists(), "{what:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_record_that_was_changed_after_it_was_put_back_is_found() {
        let rig = Rig::new();
        import(&rig.settings(false), RestoredFrom::Import).expect("put back");
        let db = sled_guard::open(&rig.path().join("log")).expect("a database");
        sled_guard::write(&db, Position(RECORDS - 1), &[Bytes::from(frame(3))]).expect("written");
        sled_guard::close(db).expect("closed");
        assert!(matches!(rig.refused(), StartError::Changed { position } if position.0 == RECORDS - 1));
    }
}
