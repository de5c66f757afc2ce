//! An engine that keeps nothing: for tests, with the faults of a real one on demand.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::future::{BoxFuture, ready};
use tokio::sync::watch;

use super::codec::MAX_FRAME;
use super::engine::{AppendError, CloseError, Engine, Follow, FollowError, HeadError, Health, NotWritten};
use super::feed::{CHUNK, Chunk, Feed, Phase, ReadError, Storage};
use crate::domain::id::Position;

/// The log in memory.
pub struct MemoryEngine {
    kept: Arc<Kept>,
    feed: Arc<Feed>,
    health: watch::Sender<Health>,
    next: Mutex<Option<Fault>>,
}

/// What goes wrong with the next append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is refused; nothing is written.
    Refuse(NotWritten),
    /// Nobody knows, and the log is unavailable until [`MemoryEngine::recover`] is called.
    Unknown {
        /// Whether the records are found then.
        written: bool,
    },
    /// Its records are stored twice, as after a lost acknowledgement.
    Duplicate,
}

#[derive(Default)]
struct Kept(Mutex<Vec<Bytes>>);

impl MemoryEngine {
    /// Returns an empty log.
    pub fn new() -> Arc<MemoryEngine> {
        MemoryEngine::with(Vec::new())
    }

    /// Returns a log that holds these frames.
    pub fn with(frames: Vec<Vec<u8>>) -> Arc<MemoryEngine> {
        let kept = Arc::new(Kept(Mutex::new(frames.into_iter().map(Bytes::from).collect())));
        let storage: Arc<dyn Storage> = Arc::clone(&kept) as _;
        let feed = Feed::new(storage, kept.head());
        Arc::new(MemoryEngine { kept, feed, health: watch::Sender::new(Health::Ok), next: Mutex::new(None) })
    }

    /// Lets the next append fail in this way.
    pub fn fail_next(&self, fault: Fault) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }

    /// Opens the log again after an append with an unknown outcome; what was written is found.
    pub fn recover(&self) {
        self.feed.reopened(self.kept.head());
        self.health.send_replace(Health::Ok);
    }

    /// Returns everything that is kept.
    pub fn frames(&self) -> Vec<Vec<u8>> {
        self.kept.frames().iter().map(|frame| frame.to_vec()).collect()
    }

    fn write(&self, records: Vec<Vec<u8>>, expected: Option<Position>) -> Result<Position, AppendError> {
        let mut frames = self.kept.frames();
        match self.feed.published().0 {
            Phase::Open => {}
            Phase::Interrupted => return Err(NotWritten::Unavailable.into()),
            Phase::Closed => return Err(NotWritten::Closed.into()),
        }
        let first = Position(u64::try_from(frames.len()).unwrap_or(u64::MAX));
        check(&records, expected, first)?;
        let mut records: Vec<Bytes> = records.into_iter().map(Bytes::from).collect();
        match self.next.lock().unwrap_or_else(PoisonError::into_inner).take() {
            None => {}
            Some(Fault::Refuse(why)) => return Err(why.into()),
            Some(Fault::Duplicate) => records.extend(records.clone()),
            Some(Fault::Unknown { written }) => {
                if written {
                    frames.extend(records);
                }
                self.feed.interrupt();
                let why = "a fault was injected".into();
                self.health.send_replace(Health::Unavailable { why });
                return Err(AppendError::Unknown);
            }
        }
        frames.extend(records.iter().cloned());
        // Still under the lock of the frames: the order of publication is the order of positions.
        self.feed.publish(records);
        Ok(first)
    }
}

/// Refuses what no engine takes.
pub(super) fn check(
    records: &[Vec<u8>],
    expected: Option<Position>,
    actual: Position,
) -> Result<(), NotWritten> {
    if records.is_empty() {
        return Err(NotWritten::Empty);
    }
    if let Some(long) = records.iter().find(|record| record.len() > MAX_FRAME) {
        return Err(NotWritten::TooLarge { bytes: long.len() });
    }
    match expected {
        Some(expected) if expected != actual => Err(NotWritten::Conflict { expected, actual }),
        _ => Ok(()),
    }
}

impl Kept {
    fn frames(&self) -> MutexGuard<'_, Vec<Bytes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn head(&self) -> Option<Position> {
        self.frames().len().checked_sub(1).and_then(|last| u64::try_from(last).ok()).map(Position)
    }
}

impl Storage for Kept {
    fn read(&self, from: Position, to: Position) -> Result<Chunk, ReadError> {
        let frames = self.frames();
        let missing =
            || ReadError::Broken(FollowError::Broken { position: from, why: "it is missing".into() });
        let skip = usize::try_from(from.0).map_err(|_| missing())?;
        let chunk = (from.0..=to.0).map(Position).zip(frames.iter().skip(skip).take(CHUNK).cloned());
        let chunk: Chunk = chunk.collect();
        if chunk.is_empty() { Err(missing()) } else { Ok(chunk) }
    }
}

impl Engine for MemoryEngine {
    fn append(
        &self,
        records: Vec<Vec<u8>>,
        expected: Option<Position>,
    ) -> BoxFuture<'_, Result<Position, AppendError>> {
        Box::pin(ready(self.write(records, expected)))
    }

    fn follow(&self, from: Position) -> Follow {
        self.feed.follow(from)
    }

    fn head(&self) -> BoxFuture<'_, Result<Option<Position>, HeadError>> {
        Box::pin(ready(match self.feed.published() {
            (Phase::Open, head) => Ok(head),
            (Phase::Interrupted, _) => Err(HeadError::Unavailable),
            (Phase::Closed, _) => Err(HeadError::Closed),
        }))
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), CloseError>> {
        self.feed.close();
        Box::pin(ready(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_refused_append_leaves_nothing_behind_and_the_next_one_works() {
        let engine = MemoryEngine::new();
        assert_eq!(engine.head().await, Ok(None));
        engine.fail_next(Fault::Refuse(NotWritten::QueueFull));
        let refused = engine.append(vec![vec![1]], None).await;
        assert_eq!(refused, Err(AppendError::NotWritten(NotWritten::QueueFull)));
        assert_eq!(engine.append(vec![vec![2]], None).await, Ok(Position(0)));
        assert_eq!(engine.frames(), [[2]]);
    }

    #[tokio::test]
    async fn an_unknown_outcome_is_known_once_the_log_has_been_opened_again() {
        for written in [true, false] {
            let engine = MemoryEngine::new();
            let mut follow = engine.follow(Position(0));
            engine.fail_next(Fault::Unknown { written });
            assert_eq!(engine.append(vec![vec![1]], None).await, Err(AppendError::Unknown));
            assert_eq!(engine.head().await, Err(HeadError::Unavailable));
            let unavailable = Err(AppendError::NotWritten(NotWritten::Unavailable));
            assert_eq!(engine.append(vec![vec![2]], None).await, unavailable);
            engine.recover();
            assert_eq!(*engine.health().borrow(), Health::Ok);
            assert_eq!(engine.head().await, Ok(written.then_some(Position(0))));
            let next = Position(u64::from(written));
            assert_eq!(engine.append(vec![vec![2]], Some(next)).await, Ok(next));
            let first: u8 = if written { 1 } else { 2 };
            assert_eq!(follow.next().await.expect("a record")[0].1[..], [first]);
        }
    }

    #[tokio::test]
    async fn a_record_may_be_stored_twice() {
        let engine = MemoryEngine::new();
        engine.fail_next(Fault::Duplicate);
        assert_eq!(engine.append(vec![vec![1]], None).await, Ok(Position(0)));
        assert_eq!(engine.frames(), [[1], [1]]);
    }
}
