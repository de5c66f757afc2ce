//! The log in sled: one append thread, and an acknowledgement that means stable storage.
//!
//! The thread takes all that waits, gives positions, writes one sled batch, flushes, syncs sled's data
//! file through a handle of its own (sled's flush is `sync_file_range`, which is not enough), overwrites
//! a slot of `HEAD`, syncs that, makes the records visible, and only then answers. Whatever goes wrong
//! once sled was touched has an unknown outcome: sled is closed and opened again the way of an unclean
//! stop, and what is found counts. A failed sync ends the engine for good, and so does a disk that does
//! not answer for a minute.

mod shared;
mod writer;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::future::{BoxFuture, ready};
use tokio::sync::{oneshot, watch};

use self::shared::{End, Late, Shared, lock, watch_over};
pub(super) use self::writer::MIN_FREE;
use self::writer::Writer;
use super::engine::{AppendError, CloseError, Engine, Follow, HeadError, Health};
use super::feed::Phase;
use super::head::HeadFile;
use super::index::Index;
use super::start::{Place, Ready};
use crate::domain::id::Position;

/// How patient the engine is; in real time, because it waits for a disk.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// After how long sled is asked once more for what it has not written.
    pub ask_after: Duration,
    /// After how long a group counts as stuck, and its outcome as unknown.
    pub stuck_after: Duration,
    /// After how long a group that is stuck is given up: the log has failed, and the process must end.
    pub lost_after: Duration,
    /// How long to wait before the log is opened again; doubled after each failure, up to 64 times.
    pub reopen_after: Duration,
    /// How often a full disk is looked at while nothing is appended.
    pub look_for_space: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            ask_after: Duration::from_secs(5),
            stuck_after: Duration::from_secs(30),
            lost_after: Duration::from_secs(60),
            reopen_after: Duration::from_millis(500),
            look_for_space: Duration::from_secs(1),
        }
    }
}

impl Pace {
    /// How much longer the watchdog waits.
    fn patience(&self, late: Late) -> Duration {
        match late {
            Late::No => self.ask_after,
            Late::Asked => self.stuck_after.saturating_sub(self.ask_after),
            Late::Stuck | Late::Lost => self.lost_after.saturating_sub(self.stuck_after),
        }
    }
}

/// The log in sled; made by [`super::start::begin`].
pub struct SledEngine {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl SledEngine {
    pub(super) fn start(
        place: Place,
        head: HeadFile,
        ready: Ready,
        pace: Pace,
    ) -> std::io::Result<SledEngine> {
        let shared = Shared::new(ready.db, ready.end, pace);
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
}

impl Engine for SledEngine {
    fn append(
        &self,
        records: Vec<Vec<u8>>,
        expected: Option<Position>,
    ) -> BoxFuture<'_, Result<Position, AppendError>> {
        let (reply, answer) = oneshot::channel();
        self.shared.enqueue(records, expected, reply);
        // Whoever drops the other end without a word may have written.
        Box::pin(async move { answer.await.unwrap_or(Err(AppendError::Unknown)) })
    }

    fn follow(&self, from: Position) -> Follow {
        self.shared.feed.follow(from)
    }

    fn head(&self) -> BoxFuture<'_, Result<Option<Position>, HeadError>> {
        let stuck = self.shared.in_flight().late >= Late::Stuck;
        Box::pin(ready(match self.shared.feed.published() {
            (Phase::Open, head) if !stuck => Ok(head),
            (Phase::Open | Phase::Interrupted, _) => Err(HeadError::Unavailable),
            (Phase::Closed, _) => Err(HeadError::Closed),
        }))
    }

    fn index(&self) -> Option<Index> {
        Some(Index::new(Arc::clone(&self.shared.store) as _))
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
        // A disk that does not answer must not keep the process from ending.
        if !self.shared.has_landed() {
            return;
        }
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            drop(thread.join());
        }
    }
}

impl std::fmt::Debug for SledEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SledEngine(..)")
    }
}
