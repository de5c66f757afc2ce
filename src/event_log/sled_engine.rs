//! The log in sled: one append thread, and an acknowledgement that means stable storage.
//!
//! The thread takes all that waits, gives positions, writes one sled batch, flushes, syncs sled's data
//! file through a handle of its own (sled's flush is `sync_file_range`, which is not enough), overwrites
//! a slot of `HEAD`, syncs that, makes the records visible, and only then answers. Whatever goes wrong
//! once sled was touched has an unknown outcome: sled is closed and opened again the way of an unclean
//! stop, and what is found counts. A failed sync ends the engine for good.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, ready};
use tokio::sync::{oneshot, watch};

use super::codec::leaf_hash;
use super::engine::{AppendError, CloseError, Engine, Follow, HeadError, Health, NotWritten};
use super::feed::{Feed, Phase};
use super::head::{HeadFile, Last, StopState, WriteError, sync_directory};
use super::memory_engine::check;
use super::sled_guard::{self, Store};
use super::start::{Place, Ready};
use crate::disk::Synced;
use crate::domain::id::Position;

/// An append is refused where less is free: sled and `HEAD` must never meet a full disk.
pub(super) const MIN_FREE: u64 = 64 << 20;

/// What waits at most.
const QUEUE_RECORDS: usize = 16_384;
const QUEUE_BYTES: usize = 32 << 20;

/// What one group has at most; the rest waits for the next.
const GROUP_RECORDS: usize = 2_048;
const GROUP_BYTES: usize = 8 << 20;

/// How patient the engine is; in real time, because it waits for a disk.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// After how long a group counts as stuck, and its outcome as unknown.
    pub stuck_after: Duration,
    /// How long to wait before the log is opened again; doubled after each failure, up to 64 times.
    pub reopen_after: Duration,
    /// How often a full disk is looked at while nothing is appended.
    pub look_for_space: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            stuck_after: Duration::from_secs(30),
            reopen_after: Duration::from_millis(500),
            look_for_space: Duration::from_secs(1),
        }
    }
}

/// The log in sled; made by [`super::start::begin`].
pub struct SledEngine {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// Something waits in the queue, or it is time to end.
    work: Condvar,
    in_flight: Mutex<InFlight>,
    /// A group began or ended.
    flight: Condvar,
    store: Arc<Store>,
    feed: Arc<Feed>,
    health: watch::Sender<Health>,
    pace: Pace,
}

struct Queue {
    waiting: VecDeque<Waiting>,
    records: usize,
    bytes: usize,
    /// Why nothing is taken, where nothing is.
    refusing: Option<NotWritten>,
    end: Option<End>,
}

struct Waiting {
    records: Vec<Vec<u8>>,
    expected: Option<Position>,
    reply: Reply,
}

type Reply = oneshot::Sender<Result<Position, AppendError>>;

enum End {
    Close(oneshot::Sender<Result<(), CloseError>>),
    /// The engine was dropped.
    Abandon,
}

/// The group that is being written.
#[derive(Default)]
struct InFlight {
    group: u64,
    writing: bool,
    replies: Vec<(Reply, Position)>,
    stuck: bool,
    ended: bool,
}

impl SledEngine {
    pub(super) fn start(
        place: Place,
        head: HeadFile,
        ready: Ready,
        pace: Pace,
    ) -> std::io::Result<SledEngine> {
        let store = Arc::new(Store::default());
        store.open(ready.db);
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue {
                waiting: VecDeque::new(),
                records: 0,
                bytes: 0,
                refusing: None,
                end: None,
            }),
            work: Condvar::new(),
            in_flight: Mutex::new(InFlight::default()),
            flight: Condvar::new(),
            feed: Feed::new(Arc::clone(&store) as _, ready.end),
            store,
            health: watch::Sender::new(Health::Ok),
            pace,
        });
        let writer = Writer {
            shared: Arc::clone(&shared),
            place,
            head,
            next: ready.end.map_or(Position(0), Position::next),
            db: ready.db_file,
            db_length: ready.db_length,
            full: false,
        };
        let watched = Arc::clone(&shared);
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        // The watchdog first: when the writer has not started, nothing keeps the watchdog.
        let watchdog = thread("log-watchdog").spawn(move || watch_over(&watched))?;
        let writer = match thread("log-append").spawn(move || writer.run()) {
            Ok(writer) => writer,
            Err(error) => {
                shared.end_flights();
                return Err(error);
            }
        };
        Ok(SledEngine { shared, threads: Mutex::new(vec![writer, watchdog]) })
    }

    fn enqueue(&self, records: Vec<Vec<u8>>, expected: Option<Position>, reply: Reply) {
        let mut queue = self.shared.queue();
        let bytes = records.iter().map(Vec::len).sum::<usize>();
        let full = !queue.waiting.is_empty()
            && (queue.records + records.len() > QUEUE_RECORDS || queue.bytes + bytes > QUEUE_BYTES);
        let refused = match &queue.refusing {
            Some(why) => Some(why.clone()),
            None if full => Some(NotWritten::QueueFull),
            None => None,
        };
        if let Some(why) = refused {
            drop(reply.send(Err(why.into())));
            return;
        }
        queue.records += records.len();
        queue.bytes += bytes;
        queue.waiting.push_back(Waiting { records, expected, reply });
        self.shared.work.notify_one();
    }
}

impl Engine for SledEngine {
    fn append(
        &self,
        records: Vec<Vec<u8>>,
        expected: Option<Position>,
    ) -> BoxFuture<'_, Result<Position, AppendError>> {
        let (reply, answer) = oneshot::channel();
        self.enqueue(records, expected, reply);
        // Whoever drops the other end without a word may have written.
        Box::pin(async move { answer.await.unwrap_or(Err(AppendError::Unknown)) })
    }

    fn follow(&self, from: Position) -> Follow {
        self.shared.feed.follow(from)
    }

    fn head(&self) -> BoxFuture<'_, Result<Option<Position>, HeadError>> {
        let stuck = self.shared.in_flight().stuck;
        Box::pin(ready(match self.shared.feed.published() {
            (Phase::Open, head) if !stuck => Ok(head),
            (Phase::Open | Phase::Interrupted, _) => Err(HeadError::Unavailable),
            (Phase::Closed, _) => Err(HeadError::Closed),
        }))
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), CloseError>> {
        let (reply, answer) = oneshot::channel();
        let ended = self.shared.end(End::Close(reply));
        Box::pin(async move {
            let gone = || CloseError { why: "it was closed before".into() };
            if !ended {
                return Err(gone());
            }
            answer.await.unwrap_or_else(|_| Err(gone()))
        })
    }
}

impl Drop for SledEngine {
    fn drop(&mut self) {
        self.shared.end(End::Abandon);
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads {
            // A disk that does not answer must not keep the process from ending.
            if self.shared.in_flight().stuck {
                return;
            }
            drop(thread.join());
        }
    }
}

impl std::fmt::Debug for SledEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SledEngine(..)")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    fn in_flight(&self) -> MutexGuard<'_, InFlight> {
        lock(&self.in_flight)
    }

    /// Takes no more appends, and lets the append thread end after what waits; false if it was told so.
    fn end(&self, end: End) -> bool {
        let mut queue = self.queue();
        if queue.end.is_some() || matches!(queue.refusing, Some(NotWritten::Closed)) {
            return false;
        }
        queue.refusing = Some(NotWritten::Closed);
        queue.end = Some(end);
        self.work.notify_all();
        true
    }

    /// Takes no more appends for now, and refuses those that wait.
    fn refuse(&self) {
        let mut queue = self.queue();
        queue.refusing.get_or_insert(NotWritten::Unavailable);
        (queue.records, queue.bytes) = (0, 0);
        for waiting in queue.waiting.drain(..) {
            drop(waiting.reply.send(Err(NotWritten::Unavailable.into())));
        }
    }

    /// Takes appends again, unless the log is being closed.
    fn accept(&self) {
        let mut queue = self.queue();
        if queue.refusing == Some(NotWritten::Unavailable) {
            queue.refusing = None;
        }
        drop(queue);
        self.health.send_replace(Health::Ok);
    }

    fn unavailable(&self, why: String) {
        tracing::warn!(why, "the log is not available; sessions are answered from memory");
        self.health.send_replace(Health::Unavailable { why });
    }

    fn depart(&self, replies: Vec<(Reply, Position)>) {
        let mut flight = self.in_flight();
        flight.group += 1;
        (flight.writing, flight.replies) = (true, replies);
        self.flight.notify_all();
    }

    /// Returns the waiters that the watchdog has not answered, and whether it was called.
    fn arrive(&self) -> (Vec<(Reply, Position)>, bool) {
        let mut flight = self.in_flight();
        flight.writing = false;
        self.flight.notify_all();
        (std::mem::take(&mut flight.replies), std::mem::take(&mut flight.stuck))
    }

    fn end_flights(&self) {
        self.in_flight().ended = true;
        self.flight.notify_all();
    }
}

/// Answers the waiters of a group that takes too long, and lets nobody else wait.
fn watch_over(shared: &Shared) {
    let mut flight = shared.in_flight();
    loop {
        let idle =
            shared.flight.wait_while(flight, |flight| !flight.ended && (!flight.writing || flight.stuck));
        flight = idle.unwrap_or_else(PoisonError::into_inner);
        if flight.ended {
            return;
        }
        let group = flight.group;
        let waited = shared.flight.wait_timeout_while(flight, shared.pace.stuck_after, |flight| {
            flight.writing && flight.group == group && !flight.ended
        });
        let (after, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        flight = after;
        if timeout.timed_out() && flight.writing && flight.group == group {
            flight.stuck = true;
            let replies = std::mem::take(&mut flight.replies);
            drop(flight);
            for (reply, _) in replies {
                drop(reply.send(Err(AppendError::Unknown)));
            }
            shared.refuse();
            shared.unavailable("the disk does not answer".into());
            flight = shared.in_flight();
        }
    }
}

/// What the append thread owns.
struct Writer {
    shared: Arc<Shared>,
    place: Place,
    head: HeadFile,
    /// The position that the next record gets.
    next: Position,
    /// sled's data file, by a handle of our own.
    db: File,
    db_length: u64,
    /// Whether the last look at the disk found it full.
    full: bool,
}

enum Work {
    Group(Vec<Waiting>),
    Look,
    End(End),
}

/// A group failed after sled was touched.
enum Fault {
    /// The log can be opened again.
    Interrupted(String),
    /// A sync failed: what the disk holds can no longer be known in this process.
    Final(String),
}

impl From<WriteError> for Fault {
    fn from(error: WriteError) -> Fault {
        match error {
            WriteError::Write(_) => Fault::Interrupted(error.to_string()),
            WriteError::Sync(_) => Fault::Final(error.to_string()),
        }
    }
}

impl Writer {
    fn run(mut self) {
        let end = loop {
            match self.wait() {
                Work::Group(group) => self.group(group),
                Work::Look => self.look_for_space(),
                Work::End(end) => break end,
            }
        };
        let closed = self.close(&end);
        self.shared.feed.close();
        self.shared.end_flights();
        let shared = Arc::clone(&self.shared);
        // The lock goes before anybody is told, so that whoever is told may start again.
        drop(self);
        if let End::Close(reply) = end {
            drop(reply.send(closed));
        }
        drop(shared);
    }

    fn wait(&self) -> Work {
        let shared = &self.shared;
        let mut queue = shared.queue();
        loop {
            let abandoned = matches!(queue.end, Some(End::Abandon));
            if !queue.waiting.is_empty() && !abandoned {
                return Work::Group(take_group(&mut queue));
            }
            if let Some(end) = queue.end.take() {
                return Work::End(end);
            }
            if self.full {
                let waited = shared.work.wait_timeout(queue, shared.pace.look_for_space);
                let (after, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                queue = after;
                if timeout.timed_out() {
                    return Work::Look;
                }
            } else {
                queue = shared.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn group(&mut self, group: Vec<Waiting>) {
        let first = self.next;
        let mut at = first;
        let mut frames: Vec<Bytes> = Vec::new();
        let mut replies = Vec::new();
        for Waiting { records, expected, reply } in group {
            if let Err(why) = check(&records, expected, at) {
                drop(reply.send(Err(why.into())));
                continue;
            }
            replies.push((reply, at));
            at = Position(at.0 + u64::try_from(records.len()).unwrap_or(u64::MAX));
            frames.extend(records.into_iter().map(Bytes::from));
        }
        let Some(last) = frames.last() else { return };
        let last = Last { position: Position(at.0 - 1), leaf: leaf_hash(last) };
        if let Err(why) = self.space() {
            for (reply, _) in replies {
                drop(reply.send(Err(why.clone().into())));
            }
            return;
        }
        self.shared.depart(replies);
        let written = self.write(first, &frames, last);
        let (replies, was_stuck) = self.shared.arrive();
        match written {
            Ok(()) => {
                self.next = at;
                self.shared.feed.publish(frames);
                for (reply, position) in replies {
                    drop(reply.send(Ok(position)));
                }
                if was_stuck {
                    self.shared.accept();
                }
            }
            Err(fault) => {
                for (reply, _) in replies {
                    drop(reply.send(Err(AppendError::Unknown)));
                }
                match fault {
                    Fault::Interrupted(why) => self.reopen(why),
                    Fault::Final(why) => self.fail(why),
                }
            }
        }
    }

    /// The order of these lines is what an acknowledgement is worth.
    fn write(&mut self, first: Position, frames: &[Bytes], last: Last) -> Result<(), Fault> {
        match self.shared.store.with(|db| sled_guard::write(db, first, frames)) {
            Some(Ok(())) => {}
            Some(Err(fault)) => return Err(Fault::Interrupted(fault.why)),
            None => return Err(Fault::Interrupted("the database is not open".into())),
        }
        self.sync_database()?;
        // A log that was restored is one until its first append stands.
        self.head.write(StopState::Open, Some(last), self.db_length)?;
        Ok(())
    }

    fn sync_database(&mut self) -> Result<(), Fault> {
        let failed = |error| Fault::Final(format!("the database could not be synced: {error}"));
        let length = self.db.metadata().map_err(failed)?.len();
        if length == self.db_length {
            self.place.disk.sync_data(Synced::Database, &self.db).map_err(failed)
        } else {
            self.db_length = length;
            self.place.disk.sync_all(Synced::Database, &self.db).map_err(failed)
        }
    }

    /// Refuses where the disk is as good as full, before sled is touched.
    fn space(&mut self) -> Result<(), NotWritten> {
        // A disk that does not say is tried.
        let free = self.place.disk.free_space(&self.place.data_dir).unwrap_or(u64::MAX);
        let full = free < MIN_FREE;
        if full != std::mem::replace(&mut self.full, full) {
            if full {
                self.shared.unavailable(format!("only {free} bytes are free, and {MIN_FREE} must be"));
            } else {
                tracing::info!("there is room on the disk again");
                self.shared.accept();
            }
        }
        if full { Err(NotWritten::NoSpace { free, needed: MIN_FREE }) } else { Ok(()) }
    }

    fn look_for_space(&mut self) {
        // The answer is in the health.
        drop(self.space());
    }

    /// Opens the log again the way of an unclean stop, until that works or the log is to be closed.
    fn reopen(&mut self, why: String) {
        self.shared.refuse();
        self.shared.feed.interrupt();
        self.shared.unavailable(why);
        if let Some(db) = self.shared.store.take()
            && let Err(fault) = sled_guard::close(db)
        {
            tracing::warn!(why = fault.why, "the database did not close");
        }
        let mut pause = self.shared.pace.reopen_after;
        while self.pause(pause) {
            match self.place.reopen(&mut self.head) {
                Ok(ready) => {
                    (self.db, self.db_length) = (ready.db_file, ready.db_length);
                    self.next = ready.end.map_or(Position(0), Position::next);
                    self.shared.store.open(ready.db);
                    self.shared.feed.reopened(ready.end);
                    self.full = false;
                    tracing::info!("the log is available again");
                    self.shared.accept();
                    return;
                }
                Err(error) if error.is_final() => return self.fail(error.to_string()),
                Err(error) => self.shared.unavailable(error.to_string()),
            }
            pause = (pause * 2).min(self.shared.pace.reopen_after * 64);
        }
    }

    /// Waits; false as soon as the log is to be closed.
    fn pause(&self, pause: Duration) -> bool {
        let queue = self.shared.queue();
        let waited = self.shared.work.wait_timeout_while(queue, pause, |queue| queue.end.is_none());
        let (queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        queue.end.is_none()
    }

    /// Never acknowledges anything again.
    fn fail(&mut self, why: String) {
        tracing::error!(why, "the log failed; this process must end");
        self.shared.refuse();
        self.shared.feed.close();
        self.shared.health.send_replace(Health::Failed { why });
    }

    fn close(&mut self, end: &End) -> Result<(), CloseError> {
        let failed = |why: String| CloseError { why };
        let open = self.shared.store.take();
        let health = self.shared.health.borrow().clone();
        if let Health::Failed { why } = health {
            if let Some(db) = open {
                drop(sled_guard::close(db));
            }
            return Err(failed(why));
        }
        let Some(db) = open else { return Err(failed("the database was not open".into())) };
        sled_guard::close(db).map_err(|fault| failed(fault.why))?;
        let untouched = self.head.is_untouched();
        if matches!(end, End::Abandon) && !untouched {
            return Ok(());
        }
        let before = self.db_length;
        self.sync_database().map_err(|fault| match fault {
            Fault::Interrupted(why) | Fault::Final(why) => failed(why),
        })?;
        sync_directory(&self.place.log(), &*self.place.disk)
            .map_err(|error| failed(format!("the directory could not be synced: {error}")))?;
        let written = if untouched && self.db_length == before {
            self.head.put_back()
        } else if matches!(end, End::Abandon) {
            Ok(())
        } else {
            let last = self.head.current().last;
            self.head.write(StopState::Clean, last, self.db_length)
        };
        written.map_err(|error| failed(error.to_string()))
    }
}

fn take_group(queue: &mut Queue) -> Vec<Waiting> {
    let mut group = Vec::new();
    let (mut records, mut bytes) = (0, 0);
    while let Some(waiting) = queue.waiting.pop_front() {
        records += waiting.records.len();
        bytes += waiting.records.iter().map(Vec::len).sum::<usize>();
        group.push(waiting);
        if records >= GROUP_RECORDS || bytes >= GROUP_BYTES {
            break;
        }
    }
    queue.records -= records;
    queue.bytes -= bytes;
    group
}
