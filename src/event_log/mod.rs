//! What is kept: records in one order, durable before they count, as bytes that are read for ever.
//!
//! [`codec`] turns events into bytes and back, [`engine`] is the seam behind which bytes are ordered and
//! kept, [`start`] finds out at every start whether what was acknowledged is still there, and `head` is
//! the file that knows what was acknowledged. [`EventLog`] is what the rest of doorbook sees.
//!
//! Beside it stands what proves the log to others, pure functions all of it. [`tree`] is one hash over all
//! records, and short proofs against it; [`note`] is that hash, signed, in the form that others' tools read;
//! [`proof`] is one record with all that it takes to check that it is in the log. And [`states`] are what
//! folding the first records gave, kept so that a start need not do it again, and trusted by such a note only.

pub mod codec;
pub mod engine;
mod feed;
mod head;
pub mod index;
pub mod memory_engine;
pub mod note;
mod probe;
pub mod proof;
mod sled_engine;
mod sled_guard;
pub mod start;
pub mod states;
pub mod tree;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod rig;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

pub use codec::{deserialize_event, serialize_event};
pub use engine::{
    AppendError, Chunk, CloseError, Engine, Follow, FollowError, HeadError, Health, NotWritten,
};
pub use head::StopState;
pub use index::{Found, Index, Lookup};
pub use memory_engine::MemoryEngine;
pub use probe::{Probe, probe_child};
pub use sled_engine::{Pace, SledEngine};
pub use sled_guard::{SLED_SOURCE, is_sled_source, quiet_panics};

use crate::domain::id::Position;

/// The log in records; cheap to clone.
///
/// Everybody may read. Only `app` appends, because only `app` decides.
#[derive(Clone)]
pub struct EventLog {
    engine: Arc<dyn Engine>,
}

impl EventLog {
    /// Wraps an engine that has been started.
    pub fn new(engine: Arc<dyn Engine>) -> EventLog {
        EventLog { engine }
    }

    /// Appends frames in this order and returns the position of the first; see [`Engine::append`].
    // Only `app::App::execute` may change the log.
    pub(crate) fn append(
        &self,
        frames: Vec<Vec<u8>>,
        expected: Option<Position>,
    ) -> BoxFuture<'_, Result<Position, AppendError>> {
        self.engine.append(frames, expected)
    }

    /// Reads from `from` on, and goes on with what is appended; see [`Engine::follow`].
    pub fn follow(&self, from: Position) -> Follow {
        self.engine.follow(from)
    }

    /// Returns the position of the last record; see [`Engine::head`].
    pub async fn head(&self) -> Result<Option<Position>, HeadError> {
        self.engine.head().await
    }

    /// Returns the index beside the log, where there is one.
    pub fn index(&self) -> Option<Index> {
        self.engine.index()
    }

    /// Keeps the index level with the log until that is closed, on a thread of its own.
    pub fn keep_index(&self) -> std::io::Result<()> {
        let Some(index) = self.index() else { return Ok(()) };
        let log = self.clone();
        let thread = std::thread::Builder::new().name("log-index".into());
        thread.spawn(move || index.run(|from| log.follow(from))).map(drop)
    }

    /// Tells whether appends are possible, and every change of that.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.engine.health()
    }

    /// Writes what waits and closes the log in order; see [`Engine::close`].
    pub async fn close(&self) -> Result<(), CloseError> {
        self.engine.close().await
    }
}

impl std::fmt::Debug for EventLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EventLog(..)")
    }
}
