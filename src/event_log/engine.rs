//! The storage seam: a totally ordered, gap-free, durable log of opaque records.
//!
//! Two engines stand behind it, sled and memory, and one conformance suite runs on both. The words are
//! chosen so that a replicated log can stand there too: an append may end without anybody knowing its
//! outcome, a record may be stored twice after a lost acknowledgement (the fold ignores the second), and
//! reading your own write is "append, then wait until the fold has passed that position".

use futures_util::future::BoxFuture;
use tokio::sync::watch;

pub use super::feed::{Chunk, Follow};
use super::index::Index;
use crate::domain::id::Position;

/// Bytes in order, on stable storage.
pub trait Engine: Send + Sync + 'static {
    /// Appends records next to each other and returns the position of the first.
    ///
    /// `Ok` means on stable storage: a kill and a power cut do not take it back. `expected`, where it is
    /// given, is the position that the first record must get. The records are handed over when this is
    /// called, not when the future is first polled, and dropping the future does not call them back.
    fn append(
        &self,
        records: Vec<Vec<u8>>,
        expected: Option<Position>,
    ) -> BoxFuture<'_, Result<Position, AppendError>>;

    /// Reads from `from`, then live; strictly the next position each time. Replay is this as well.
    ///
    /// A slow follower never holds an append up.
    fn follow(&self, from: Position) -> Follow;

    /// Returns the position of the last acknowledged record, `None` where there is none yet.
    ///
    /// Linearizable: whoever has applied this much is current.
    fn head(&self) -> BoxFuture<'_, Result<Option<Position>, HeadError>>;

    /// Returns the index beside the log, where this engine keeps one.
    fn index(&self) -> Option<Index> {
        None
    }

    /// Tells whether appends are possible, and every change of that.
    fn health(&self) -> watch::Receiver<Health>;

    /// Writes what waits, closes in order and releases the data directory; then followers end.
    fn close(&self) -> BoxFuture<'_, Result<(), CloseError>>;
}

/// Whether appends are possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// They are.
    Ok,
    /// Not now; it is tried again without anybody's help.
    Unavailable {
        /// Why, for the operator.
        why: String,
    },
    /// Never again in this process: it must end with exit code 3.
    Failed {
        /// Why, for the operator.
        why: String,
    },
}

/// Records are not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// They are not in the log and will not be.
    #[error("the records were not written")]
    NotWritten(#[source] NotWritten),
    /// Nobody can know yet whether they are in the log; following it will tell.
    #[error("it is not known whether the records were written")]
    Unknown,
}

impl From<NotWritten> for AppendError {
    fn from(why: NotWritten) -> AppendError {
        AppendError::NotWritten(why)
    }
}

/// Why records were refused before anything was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotWritten {
    /// The disk is as good as full.
    #[error("only {free} bytes are free, and {needed} must be")]
    NoSpace {
        /// What there is.
        free: u64,
        /// What there must be.
        needed: u64,
    },
    /// Too much waits already.
    #[error("too many appends are waiting")]
    QueueFull,
    /// The log is being opened again.
    #[error("the log is not available")]
    Unavailable,
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
    /// Another record stands where the first was to stand, or none stands before it.
    #[error("the next position is {actual}, not {expected}")]
    Conflict {
        /// What the caller had expected.
        expected: Position,
        /// What it is.
        actual: Position,
    },
    /// A record is longer than any frame may be.
    #[error("a record of {bytes} bytes is too long")]
    TooLarge {
        /// How long it is.
        bytes: usize,
    },
    /// There is nothing to append.
    #[error("there is no record to append")]
    Empty,
}

/// Reading cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FollowError {
    /// A record is missing or unreadable; what stands before it was delivered.
    #[error("the record at position {position} cannot be read: {why}")]
    Broken {
        /// Where.
        position: Position,
        /// What is known about it.
        why: String,
    },
    /// The log was closed, or failed.
    #[error("the log is closed")]
    Closed,
}

/// Nobody can say where the log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// The log is being opened again.
    #[error("the log is not available")]
    Unavailable,
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

/// The log was not closed in order; the next start will look at it closely.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log was not closed in order: {why}")]
pub struct CloseError {
    /// What happened.
    pub why: String,
}
