//! The fold, running: follows the log from its first record or from a stored state, and ever after.
//!
//! There is one way into the state. What this process has just appended and what it reads back after a
//! restart go through the same loop, so that a replayed state is the lived one.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::{oneshot, watch};

use crate::domain::id::{Hash, Position, RecordId};
use crate::domain::record::Record;
use crate::domain::state::{State, Verdict};
use crate::event_log::codec::{self, DecodeError};
use crate::event_log::tree::Frontier;
use crate::event_log::{Chunk, Follow, FollowError};

/// A record in its place, and what it did.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Its place.
    pub position: Position,
    /// The record.
    pub record: Record,
    /// What it did.
    pub verdict: Verdict,
}

/// Why the fold stopped.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// A record cannot be read, or one is missing.
    #[error("the log cannot be read on")]
    Follow(#[source] FollowError),
    /// A record does not make sense to this version.
    #[error("the record at position {position} cannot be read; {know_how}")]
    Decode {
        /// Where.
        position: Position,
        /// What can be done.
        know_how: &'static str,
        /// Why.
        #[source]
        source: DecodeError,
    },
}

/// How far the fold is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The last record applied.
    pub position: Option<Position>,
    /// Whether the fold has stopped for good.
    pub stopped: bool,
    /// Events folded so far, without those that a stored state stands for.
    pub events: u64,
    /// What the fold went on from, where there was a stored state.
    pub begun_at: Option<Beginning>,
}

/// The records that a stored state stands for, and that were not read at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beginning {
    /// How many.
    pub records: u64,
    /// The root of the tree over them, as the log has signed for it.
    pub root: Hash,
}

/// The state, and the edge of the tree over the same records.
#[derive(Clone, Debug, Default)]
pub(super) struct Folded {
    pub(super) state: State,
    pub(super) frontier: Frontier,
}

/// The state, to read; nothing is applied while it is held.
pub struct StateGuard<'a>(RwLockReadGuard<'a, Folded>);

impl<'a> StateGuard<'a> {
    pub(super) fn new(folded: &'a RwLock<Folded>) -> StateGuard<'a> {
        StateGuard(folded.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn frontier(&self) -> &Frontier {
        &self.0.frontier
    }
}

impl std::fmt::Debug for StateGuard<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        State::fmt(self, f)
    }
}

impl Deref for StateGuard<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0.state
    }
}

/// Those who wait for a record of theirs to be applied.
#[derive(Debug, Default)]
pub struct Waiting {
    answers: Mutex<HashMap<RecordId, oneshot::Sender<Applied>>>,
}

impl Waiting {
    /// Asks to be told when the record has been applied; to be called before it is appended.
    pub fn expect(&self, id: RecordId) -> oneshot::Receiver<Applied> {
        let (answer, applied) = oneshot::channel();
        self.lock().insert(id, answer);
        applied
    }

    /// Gives up waiting.
    pub fn forget(&self, id: RecordId) {
        self.lock().remove(&id);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<RecordId, oneshot::Sender<Applied>>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Folds from where `begin` says until the log is closed or cannot be read on; runs on a thread of its own.
pub(super) fn run(
    begin: impl FnOnce() -> Follow,
    folded: &RwLock<Folded>,
    waiting: &Waiting,
    progress: &watch::Sender<Progress>,
) -> Result<(), FoldError> {
    // However the fold ends, a panic included, nobody waits for it any more.
    let _ended = Ended { waiting, progress };
    let mut follow = begin();
    loop {
        let chunk = match follow.blocking_next() {
            Ok(chunk) => chunk,
            Err(FollowError::Closed) => return Ok(()),
            Err(error) => return Err(FoldError::Follow(error)),
        };
        fold_chunk(chunk, folded, waiting, progress)?;
    }
}

struct Ended<'a> {
    waiting: &'a Waiting,
    progress: &'a watch::Sender<Progress>,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.progress.send_modify(|progress| progress.stopped = true);
        // Whoever still waits is told so by the sender that is dropped.
        self.waiting.lock().clear();
    }
}

fn fold_chunk(
    chunk: Chunk,
    folded: &RwLock<Folded>,
    waiting: &Waiting,
    progress: &watch::Sender<Progress>,
) -> Result<(), FoldError> {
    // Decoding is the larger part of the work, and readers need not wait for it.
    let mut records = Vec::with_capacity(chunk.len());
    let mut leaves = Vec::with_capacity(chunk.len());
    let mut failed = None;
    for (position, frame) in chunk {
        match codec::decode_record(&frame) {
            Ok(record) => {
                records.push((position, record));
                leaves.push(codec::leaf_hash(&frame));
            }
            Err(source) => {
                failed = Some(FoldError::Decode { position, know_how: know_how(&source), source });
                break;
            }
        }
    }
    let mut events = 0;
    let mut last = None;
    let mut verdicts = Vec::with_capacity(records.len());
    {
        let mut folded = folded.write().unwrap_or_else(PoisonError::into_inner);
        for ((position, record), leaf) in records.iter().zip(leaves) {
            verdicts.push(folded.state.apply(*position, record));
            folded.frontier.push(leaf);
            events += record.events.len() as u64;
            last = Some(*position);
        }
    }
    if last.is_some() {
        progress.send_modify(|progress| {
            progress.position = last;
            progress.events += events;
        });
    }
    // At a start nobody waits, and then nobody is looked for.
    let mut answers = waiting.lock();
    for ((position, record), verdict) in records.into_iter().zip(verdicts) {
        if answers.is_empty() {
            break;
        }
        if let Some(answer) = answers.remove(&record.id) {
            // A waiter that has gone away needs no answer.
            let _ = answer.send(Applied { position, record, verdict });
        }
    }
    drop(answers);
    failed.map_or(Ok(()), Err)
}

fn know_how(error: &DecodeError) -> &'static str {
    match error {
        DecodeError::Unknown { .. } => "start the newer doorbook that wrote it; nothing has been changed",
        _ => "restore the newest backup; nothing has been changed",
    }
}
