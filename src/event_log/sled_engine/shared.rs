//! What waits for the append thread, and the watchdog over what it is writing.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::{oneshot, watch};

use super::Pace;
use crate::domain::id::Position;
use crate::event_log::engine::{AppendError, CloseError, Health, NotWritten};
use crate::event_log::feed::Feed;
use crate::event_log::sled_guard::{Db, Store};

/// What waits at most.
const QUEUE_RECORDS: usize = 16_384;
const QUEUE_BYTES: usize = 32 << 20;

/// No append is added to a group that has so much; the rest waits for the next.
const GROUP_RECORDS: usize = 2_048;
const GROUP_BYTES: usize = 8 << 20;

pub(super) struct Shared {
    pub(super) queue: Mutex<Queue>,
    /// Something waits in the queue, or it is time to end.
    pub(super) work: Condvar,
    pub(super) in_flight: Mutex<InFlight>,
    /// A group began that nobody watches, the watchdog has done something, or it is over.
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
    pub(super) late: Late,
    pub(super) ended: bool,
    /// The watchdog looks by itself; otherwise it waits to be told that a group begins.
    pub(super) is_watched: bool,
}

/// How often the watchdog looks at a group before it calls it late: it is not woken for each that comes and goes.
const LOOKS: u32 = 8;

/// What the watchdog has done about what takes so long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Late {
    #[default]
    No,
    /// sled was asked once more.
    Asked,
    /// Whoever waited was told that nobody knows, and nothing more is taken.
    Stuck,
    /// The log has failed.
    Lost,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(db: Db, end: Option<Position>, pace: Pace) -> Arc<Shared> {
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
        self.set_health(Health::Ok);
    }

    pub(super) fn unavailable(&self, why: String) {
        tracing::warn!(why, "the log is not available; sessions are answered from memory");
        self.set_health(Health::Unavailable { why });
    }

    /// Never acknowledges anything again.
    pub(super) fn fail(&self, why: String) {
        tracing::error!(why, "the log failed; this process must end");
        self.refuse();
        self.feed.close();
        self.set_health(Health::Failed { why });
    }

    /// Says how the log is; what has failed stays so.
    fn set_health(&self, health: Health) {
        self.health.send_if_modified(|now| {
            let may_change = !matches!(now, Health::Failed { .. });
            if may_change {
                *now = health;
            }
            may_change
        });
    }

    /// Something begins that must not take for ever, and the waiters who are answered when it is done.
    pub(super) fn depart(&self, replies: Vec<(Reply, Position)>) {
        let mut flight = self.in_flight();
        flight.group += 1;
        (flight.writing, flight.replies) = (true, replies);
        if !flight.is_watched {
            self.flight.notify_all();
        }
    }

    /// Returns the waiters that the watchdog has not answered, and what it has done.
    pub(super) fn arrive(&self) -> (Vec<(Reply, Position)>, Late) {
        let mut flight = self.in_flight();
        flight.writing = false;
        if flight.late != Late::No {
            self.flight.notify_all();
        }
        (std::mem::take(&mut flight.replies), std::mem::take(&mut flight.late))
    }

    /// Waits until the append thread has ended, or is stuck; true if it has ended.
    pub(super) fn has_landed(&self) -> bool {
        let flight = self.in_flight();
        let waited = self.flight.wait_while(flight, |flight| !flight.ended && flight.late < Late::Stuck);
        waited.unwrap_or_else(PoisonError::into_inner).ended
    }

    /// Does the next thing about what takes too long.
    fn escalate(&self, flight: &mut InFlight) {
        flight.late = match flight.late {
            Late::No => {
                self.store.ask_again();
                Late::Asked
            }
            Late::Asked => {
                self.refuse();
                self.unavailable("the disk does not answer".into());
                answer_unknown(std::mem::take(&mut flight.replies));
                Late::Stuck
            }
            Late::Stuck | Late::Lost => {
                self.fail(format!("the disk has not answered for {} s", self.pace.lost_after.as_secs()));
                Late::Lost
            }
        };
        self.flight.notify_all();
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

/// Lets nobody wait for ever for what takes too long, and the process end where it never ends.
pub(super) fn watch_over(shared: &Shared) {
    let mut flight = shared.in_flight();
    let (mut group, mut looks) = (0, 0);
    loop {
        flight.is_watched = false;
        let idle = shared
            .flight
            .wait_while(flight, |flight| !flight.ended && (!flight.writing || flight.late == Late::Lost));
        flight = idle.unwrap_or_else(PoisonError::into_inner);
        flight.is_watched = true;
        if flight.group != group {
            (group, looks) = (flight.group, 0);
        }
        let late = flight.late;
        let a_while = shared.pace.patience(late) / LOOKS;
        let waited =
            shared.flight.wait_timeout_while(flight, a_while, |flight| !flight.ended && flight.late == late);
        (flight, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if flight.ended {
            return;
        }
        looks = if flight.writing && flight.group == group { looks + 1 } else { 0 };
        if looks == LOOKS {
            shared.escalate(&mut flight);
            looks = 0;
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
