//! From the log to whoever follows it: recent frames from memory, older ones from the engine's storage.
//!
//! A follower that keeps up takes what the append thread has just made durable, without a read. One that
//! is behind gets a thread of its own that reads ahead in chunks until memory has the rest. Neither can
//! hold an append up: the append thread only ever pushes into a bounded memory of recent frames.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::engine::FollowError;
use crate::domain::id::Position;

/// Consecutive records, each with its place; never empty.
pub type Chunk = Vec<(Position, Bytes)>;

/// How many records one chunk has at most.
pub(super) const CHUNK: usize = 256;

/// How many chunks are read ahead of a follower.
const READ_AHEAD: usize = 8;

/// How much the memory of recent frames holds.
const RECENT_FRAMES: usize = 4_096;
const RECENT_BYTES: usize = 4 << 20;

/// Where older records are read from; called on threads that may block.
pub(super) trait Storage: Send + Sync + 'static {
    /// Reads at most `CHUNK` records from `from` to `to`, both included, the first of them at `from`.
    fn read(&self, from: Position, to: Position) -> Result<Chunk, ReadError>;
}

/// Why nothing was read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The storage is closed, perhaps to be opened again.
    NotOpen,
    /// It holds something else than it should.
    Broken(FollowError),
}

/// What followers wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Records are read and written.
    Open,
    /// Nobody knows where the log ends.
    Interrupted,
    /// For good.
    Closed,
}

/// The published end of the log, and the frames right before it.
pub(super) struct Feed {
    storage: Arc<dyn Storage>,
    recent: Mutex<Recent>,
    phase: watch::Sender<(Phase, u64)>,
}

struct Recent {
    /// The position after the last published record.
    end: u64,
    frames: VecDeque<Bytes>,
    bytes: usize,
}

impl Feed {
    pub(super) fn new(storage: Arc<dyn Storage>, head: Option<Position>) -> Arc<Feed> {
        let end = head.map_or(0, |head| head.next().0);
        let recent = Mutex::new(Recent { end, frames: VecDeque::new(), bytes: 0 });
        Arc::new(Feed { storage, recent, phase: watch::Sender::new((Phase::Open, end)) })
    }

    /// Makes frames visible that have just become durable behind the published end.
    pub(super) fn publish(&self, frames: impl IntoIterator<Item = Bytes>) {
        let end = {
            let mut recent = self.recent();
            for frame in frames {
                recent.bytes += frame.len();
                recent.frames.push_back(frame);
                recent.end += 1;
            }
            while recent.frames.len() > RECENT_FRAMES || recent.bytes > RECENT_BYTES {
                let Some(oldest) = recent.frames.pop_front() else { break };
                recent.bytes -= oldest.len();
            }
            recent.end
        };
        self.phase.send_replace((Phase::Open, end));
    }

    /// Says where the log ends after the storage has been opened again.
    pub(super) fn reopened(&self, head: Option<Position>) {
        let end = head.map_or(0, |head| head.next().0);
        {
            let mut recent = self.recent();
            if recent.end != end {
                *recent = Recent { end, frames: VecDeque::new(), bytes: 0 };
            }
        }
        self.phase.send_replace((Phase::Open, end));
    }

    pub(super) fn interrupt(&self) {
        self.phase.send_modify(|(phase, _)| *phase = Phase::Interrupted);
    }

    pub(super) fn close(&self) {
        self.phase.send_modify(|(phase, _)| *phase = Phase::Closed);
    }

    /// Returns the phase and the last published position.
    pub(super) fn published(&self) -> (Phase, Option<Position>) {
        let (phase, _) = *self.phase.borrow();
        (phase, self.recent().end.checked_sub(1).map(Position))
    }

    pub(super) fn follow(self: &Arc<Self>, from: Position) -> Follow {
        Follow {
            feed: Arc::clone(self),
            next: from,
            phase: self.phase.subscribe(),
            behind: None,
            ended: None,
        }
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what memory has from `next` on.
    fn take(&self, next: Position) -> Taken {
        let recent = self.recent();
        let Some(missing) = recent.end.checked_sub(next.0).filter(|missing| *missing > 0) else {
            return Taken::NothingYet;
        };
        let Some(skip) = usize::try_from(missing).ok().and_then(|n| recent.frames.len().checked_sub(n))
        else {
            return Taken::Older;
        };
        let frames = recent.frames.iter().skip(skip).take(CHUNK);
        Taken::Chunk((next.0..).map(Position).zip(frames.cloned()).collect())
    }

    /// Reads older records into `chunks` until memory has the rest or nobody listens any more.
    fn read_behind(&self, mut next: Position, chunks: &mpsc::Sender<Result<Chunk, FollowError>>) {
        while let (Taken::Older, (Phase::Open, Some(head))) = (self.take(next), self.published()) {
            let read = match self.storage.read(next, head) {
                Ok(chunk) => match chunk.last() {
                    Some((last, _)) => {
                        next = last.next();
                        Ok(chunk)
                    }
                    None => Err(FollowError::Broken { position: next, why: "it is missing".into() }),
                },
                Err(ReadError::NotOpen) => return,
                Err(ReadError::Broken(error)) => Err(error),
            };
            let last = read.is_err();
            if chunks.blocking_send(read).is_err() || last {
                return;
            }
        }
    }
}

enum Taken {
    Chunk(Chunk),
    Older,
    NothingYet,
}

/// Reads the log from some position on, first what is there and then what comes.
///
/// It delivers each position once and in order, and ends with an error: at a hole or at an unreadable
/// record at once, and where the log was closed after the last record.
pub struct Follow {
    feed: Arc<Feed>,
    next: Position,
    phase: watch::Receiver<(Phase, u64)>,
    behind: Option<mpsc::Receiver<Result<Chunk, FollowError>>>,
    ended: Option<FollowError>,
}

impl Follow {
    /// Returns the position that comes next.
    pub fn position(&self) -> Position {
        self.next
    }

    /// Waits for the next records; cancel-safe.
    pub async fn next(&mut self) -> Result<Chunk, FollowError> {
        loop {
            if let Some(error) = &self.ended {
                return Err(error.clone());
            }
            if let Some(behind) = &mut self.behind {
                match behind.recv().await {
                    Some(Ok(chunk)) => return self.deliver(chunk),
                    Some(Err(error)) => self.ended = Some(error),
                    None => self.behind = None,
                }
                continue;
            }
            // Seen before memory is looked at, so that what comes after that wakes us.
            let (phase, _) = *self.phase.borrow_and_update();
            match self.feed.take(self.next) {
                Taken::Chunk(chunk) => return self.deliver(chunk),
                Taken::Older if phase == Phase::Open => {
                    self.behind = self.read_behind();
                    continue;
                }
                Taken::Older | Taken::NothingYet => {}
            }
            if phase == Phase::Closed || self.phase.changed().await.is_err() {
                self.ended = Some(FollowError::Closed);
            }
        }
    }

    /// Waits for the next records, on a thread that may block.
    pub fn blocking_next(&mut self) -> Result<Chunk, FollowError> {
        block_on(self.next())
    }

    fn deliver(&mut self, chunk: Chunk) -> Result<Chunk, FollowError> {
        for (position, _) in &chunk {
            if *position != self.next {
                let why = format!("position {position} stands there");
                let error = FollowError::Broken { position: self.next, why };
                self.ended = Some(error.clone());
                return Err(error);
            }
            self.next = position.next();
        }
        Ok(chunk)
    }

    fn read_behind(&mut self) -> Option<mpsc::Receiver<Result<Chunk, FollowError>>> {
        let (sender, receiver) = mpsc::channel(READ_AHEAD);
        let (feed, next) = (Arc::clone(&self.feed), self.next);
        let thread = std::thread::Builder::new().name("log-read".into());
        match thread.spawn(move || feed.read_behind(next, &sender)) {
            Ok(_) => Some(receiver),
            Err(error) => {
                let why = format!("no thread to read it: {error}");
                self.ended = Some(FollowError::Broken { position: self.next, why });
                None
            }
        }
    }
}

impl std::fmt::Debug for Follow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follow").field("next", &self.next).finish_non_exhaustive()
    }
}

/// Runs a future that needs no runtime to its end on this thread.
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
