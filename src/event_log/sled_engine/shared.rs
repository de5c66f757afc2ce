//! What waits for the append thread, and the watchdog over what it is writing.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::{oneshot, watch};

use super::Pace;
use crate::domain::id::Position;
use crate::event_log::engine::{AppendError, CloseError, Health, NotWritten};
use crate::event_log::feed::Feed;
use crate::event_log::sled_guard::Store;

/// What waits at most.
const QUEUE_RECORDS: usize = 16_384;
const QUEUE_BYTES: usize = 32 << 20;

/// What one group has at most; the rest waits for the next.
const GROUP_RECORDS: usize = 2_048;
const GROUP_BYTES: usize = 8 << 20;

pub(super) struct Shared {
    pub(super) queue: Mutex<Queue>,
    /// Something waits in the queue, or it is time to end.
    pub(super) work: Condvar,
    pub(super) in_flight: Mutex<InFlight>,
    /// A group began or ended.
    pub(super) flight: Condvar,
    pub(super) store: Arc<Store>,
    pub(super) feed: Arc<Feed>,
    pub(super) health: watch::Sender<Health>,
    pub(super) pace: Pace,
}

pub(super) struct Queue {
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) records: usize,
    pub(super) bytes: usize,
    /// Why nothing is taken, where nothing is.
    pub(super) refusing: Option<NotWritten>,
    pub(super) end: Option<End>,
}

pub(super) struct Waiting {
    pub(super) records: Vec<Vec<u8>>,
    pub(super) expected: Option<Position>,
    pub(super) reply: Reply,
}

pub(super) type Reply = oneshot::Sender<Result<Position, AppendError>>;

pub(super) enum End {
    Close(oneshot::Sender<Result<(), CloseError>>),
    /// The engine was dropped.
    Abandon,
}

/// The group that is being written.
#[derive(Default)]
pub(super) struct InFlight {
    pub(super) group: u64,
    pub(super) writing: bool,
    pub(super) replies: Vec<(Reply, Position)>,
    pub(super) stuck: bool,
    pub(super) ended: bool,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(db: sled::Db, end: Option<Position>, pace: Pace) -> Arc<Shared> {
        let store = Arc::new(Store::default());
        store.open(db);
        Arc::new(Shared {
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
            feed: Feed::new(Arc::clone(&store) as _, end),
            store,
            health: watch::Sender::new(Health::Ok),
            pace,
        })
    }

    /// Puts records in the queue, or refuses them at once.
    pub(super) fn enqueue(&self, records: Vec<Vec<u8>>, expected: Option<Position>, reply: Reply) {
        let mut queue = self.queue();
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
        self.work.notify_one();
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    pub(super) fn in_flight(&self) -> MutexGuard<'_, InFlight> {
        lock(&self.in_flight)
    }

    /// Takes no more appends, and lets the append thread end after what waits; false if it was told so.
    pub(super) fn end(&self, end: End) -> bool {
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
    pub(super) fn refuse(&self) {
        let mut queue = self.queue();
        queue.refusing.get_or_insert(NotWritten::Unavailable);
        (queue.records, queue.bytes) = (0, 0);
        for waiting in queue.waiting.drain(..) {
            drop(waiting.reply.send(Err(NotWritten::Unavailable.into())));
        }
    }

    /// Takes appends again, unless the log is being closed.
    pub(super) fn accept(&self) {
        let mut queue = self.queue();
        if queue.refusing == Some(NotWritten::Unavailable) {
            queue.refusing = None;
        }
        drop(queue);
        self.health.send_replace(Health::Ok);
    }

    pub(super) fn unavailable(&self, why: String) {
        tracing::warn!(why, "the log is not available; sessions are answered from memory");
        self.health.send_replace(Health::Unavailable { why });
    }

    pub(super) fn depart(&self, replies: Vec<(Reply, Position)>) {
        let mut flight = self.in_flight();
        flight.group += 1;
        (flight.writing, flight.replies) = (true, replies);
        self.flight.notify_all();
    }

    /// Returns the waiters that the watchdog has not answered, and whether it was called.
    pub(super) fn arrive(&self) -> (Vec<(Reply, Position)>, bool) {
        let mut flight = self.in_flight();
        flight.writing = false;
        self.flight.notify_all();
        (std::mem::take(&mut flight.replies), std::mem::take(&mut flight.stuck))
    }

    pub(super) fn end_flights(&self) {
        self.in_flight().ended = true;
        self.flight.notify_all();
    }
}

/// Tells waiters that nobody knows.
pub(super) fn answer_unknown(replies: Vec<(Reply, Position)>) {
    for (reply, _) in replies {
        drop(reply.send(Err(AppendError::Unknown)));
    }
}

/// Answers the waiters of a group that takes too long, and lets nobody else wait.
pub(super) fn watch_over(shared: &Shared) {
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
            shared.refuse();
            shared.unavailable("the disk does not answer".into());
            answer_unknown(replies);
            flight = shared.in_flight();
        }
    }
}

pub(super) fn take_group(queue: &mut Queue) -> Vec<Waiting> {
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
