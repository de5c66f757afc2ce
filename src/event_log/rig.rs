//! A log in a directory of its own, on a disk that counts, fails and fills up when it is told to.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::codec::{decode_record, encode_record};
use super::engine::{Engine, Follow, FollowError};
use super::probe::Probe;
use super::sled_engine::Pace;
use super::start::{Begun, StartError, StartSettings, Started, begin};
use crate::clock::ManualClock;
use crate::disk::{Disk, RealDisk, Synced};
use crate::domain::event::{Event, MadeBy};
use crate::domain::id::{Hash, LogId, Position, RecordId, SessionId, WriterId};
use crate::domain::record::{Actor, Context, Record};
use crate::domain::time::Timestamp;
use crate::entropy::SeededEntropy;

/// Where a log lives, and the disk under it.
pub(super) struct Rig {
    pub(super) dir: PathBuf,
    #[expect(dead_code, reason = "it goes when the rig does")]
    temporary: Option<tempfile::TempDir>,
    pub(super) disk: Arc<TestDisk>,
    pub(super) clock: ManualClock,
    pub(super) pace: Pace,
}

impl Rig {
    pub(super) fn new() -> Rig {
        let temporary = tempfile::tempdir().expect("a directory");
        let rig = Rig::at(temporary.path());
        Rig { temporary: Some(temporary), ..rig }
    }

    /// A log in a directory that somebody else removes.
    pub(super) fn at(dir: &Path) -> Rig {
        Rig {
            dir: dir.into(),
            temporary: None,
            disk: Arc::default(),
            clock: ManualClock::new(Timestamp(1_767_323_045_000)),
            pace: Pace {
                ask_after: Duration::from_secs(10),
                stuck_after: Duration::from_secs(60),
                lost_after: Duration::from_secs(120),
                reopen_after: Duration::from_millis(5),
                look_for_space: Duration::from_millis(5),
            },
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.join("data")
    }

    pub(super) fn db(&self) -> PathBuf {
        self.path().join("log/db")
    }

    pub(super) fn settings(&self, accept_loss: bool) -> StartSettings {
        StartSettings {
            data_dir: self.path(),
            accept_loss,
            probe: Probe::InProcess,
            disk: Arc::clone(&self.disk) as _,
            clock: Arc::new(self.clock.clone()),
            entropy: Arc::new(SeededEntropy::new("a log")),
            pace: self.pace,
        }
    }

    /// Starts as a server does: with `log.created` where there is no log.
    pub(super) fn start(&self) -> Result<Started, StartError> {
        self.start_with(false)
    }

    pub(super) fn start_with(&self, accept_loss: bool) -> Result<Started, StartError> {
        match begin(self.settings(accept_loss))? {
            Begun::New(new) => {
                let created = created(new.log_id());
                new.finish(created)
            }
            Begun::Existing(existing) => existing.open(),
        }
    }

    /// Makes a log with this many records, closed in order or not.
    pub(super) async fn filled(records: u64, clean: bool) -> Rig {
        let rig = Rig::new();
        let started = rig.start().expect("a new log");
        append(&*started.engine, 1..records).await;
        if clean {
            started.engine.close().await.expect("closed");
        }
        rig
    }

    /// Starts, which must fail, and makes sure that not a byte has changed.
    pub(super) fn refused(&self) -> StartError {
        let before = bytes_of(&self.path());
        let error = self.start().expect_err("the start is refused");
        let after = bytes_of(&self.path());
        for (path, hash) in &before {
            assert_eq!(after.get(path), Some(hash), "{} has changed", path.display());
        }
        assert_eq!(before.len(), after.len(), "files have appeared: {after:?}");
        error
    }
}

/// Returns the hash of every file below a directory.
pub(super) fn bytes_of(dir: &Path) -> BTreeMap<PathBuf, Hash> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.extend(bytes_of(&path));
        } else {
            all.insert(path.clone(), Hash::of(&fs::read(&path).expect("a file")));
        }
    }
    all
}

/// Copies a directory.
pub(super) fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_tree(&path, &target)
        } else {
            fs::copy(&path, target).map(|_| ()).expect("a copy")
        }
    }
}

pub(super) fn record(number: u64, event: Event) -> Record {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());
    let at = Timestamp(1_767_323_045_000 + i64::try_from(number).expect("small"));
    let writer = WriterId([7; 8]);
    let context = Context { writer, actor: Actor::SYSTEM, request: None, cause: None, route: None };
    Record { id: RecordId(id), at, subject: None, context, events: vec![event], sealed: Vec::new() }
}

pub(super) fn created(log: LogId) -> Vec<u8> {
    let event = Event::LogCreated {
        log,
        origin: "https://login.example.org".into(),
        made_by: MadeBy::Serve,
        public_key: [9; 32],
        version: "0.1.0".into(),
    };
    encode_record(&record(0, event)).expect("a frame")
}

/// The frame that these tests put at a position.
pub(super) fn frame(number: u64) -> Vec<u8> {
    let mut id = [1; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    let event = Event::SessionSeen { session: SessionId(id), idle_deadline: Timestamp(5) };
    encode_record(&record(number, event)).expect("a frame")
}

/// Appends the frames of these positions, one by one, where they belong.
pub(super) async fn append(engine: &dyn Engine, positions: std::ops::Range<u64>) {
    for number in positions {
        let position = engine.append(vec![frame(number)], Some(Position(number))).await;
        assert_eq!(position, Ok(Position(number)));
    }
}

/// Reads what a follower gets up to and including a position.
pub(super) async fn read_to(follow: &mut Follow, last: u64) -> Vec<(u64, Vec<u8>)> {
    let mut all = Vec::new();
    while all.last().is_none_or(|(position, _)| *position < last) {
        let chunk = follow.next().await.expect("records");
        all.extend(chunk.into_iter().map(|(position, frame)| (position.0, frame.to_vec())));
    }
    all
}

/// Reads until it ends.
pub(super) fn read_all(mut follow: Follow) -> (u64, FollowError) {
    let mut records = 0;
    loop {
        match follow.blocking_next() {
            Ok(chunk) => {
                for (_, frame) in &chunk {
                    decode_record(frame).expect("a record");
                }
                records += u64::try_from(chunk.len()).expect("small");
            }
            Err(error) => return (records, error),
        }
    }
}

/// A real disk that can be told to be another.
#[derive(Default)]
pub(super) struct TestDisk {
    pub(super) syncs: Mutex<Vec<Synced>>,
    /// Syncs of this file fail.
    pub(super) failing: Mutex<Option<Synced>>,
    /// Syncs wait while this is set.
    pub(super) blocked: Mutex<bool>,
    pub(super) unblock: Condvar,
    /// How many wait.
    pub(super) held: AtomicU64,
    pub(super) is_full: AtomicBool,
    /// What is free, where it is said to be anything.
    pub(super) free: AtomicU64,
    /// Called before each sync.
    pub(super) watch: Mutex<Option<Watch>>,
}

/// Sees each sync when it has been done.
pub(super) type Watch = Box<dyn Fn(Synced) + Send>;

impl TestDisk {
    pub(super) fn count(&self, what: Synced) -> usize {
        self.syncs.lock().expect("not poisoned").iter().filter(|synced| **synced == what).count()
    }

    pub(super) fn forget(&self) {
        self.syncs.lock().expect("not poisoned").clear();
    }

    pub(super) fn block(&self, blocked: bool) {
        *self.blocked.lock().expect("not poisoned") = blocked;
        self.unblock.notify_all();
    }

    pub(super) fn waiting(&self) -> u64 {
        self.held.load(Ordering::SeqCst)
    }

    fn sync(&self, what: Synced, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let blocked = self.blocked.lock().expect("not poisoned");
        self.held.fetch_add(1, Ordering::SeqCst);
        drop(self.unblock.wait_while(blocked, |blocked| *blocked).expect("not poisoned"));
        self.held.fetch_sub(1, Ordering::SeqCst);
        if *self.failing.lock().expect("not poisoned") == Some(what) {
            return Err(io::Error::other("the disk is broken"));
        }
        sync()?;
        self.syncs.lock().expect("not poisoned").push(what);
        if let Some(watch) = &*self.watch.lock().expect("not poisoned") {
            watch(what);
        }
        Ok(())
    }
}

impl Disk for TestDisk {
    fn sync_data(&self, what: Synced, file: &File) -> io::Result<()> {
        self.sync(what, || RealDisk.sync_data(what, file))
    }

    fn sync_all(&self, what: Synced, file: &File) -> io::Result<()> {
        self.sync(what, || RealDisk.sync_all(what, file))
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        match self.free.load(Ordering::SeqCst) {
            _ if self.is_full.load(Ordering::SeqCst) => Ok(1_000),
            0 => RealDisk.free_space(path),
            free => Ok(free),
        }
    }
}
