//! Stored states at work: a start goes on from one, checks later what it took for granted, and another is
//! written.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::App;
use super::applier::{Beginning, Folded, Progress, StateGuard};
use crate::domain::id::{Hash, LogId, Position};
use crate::event_log::codec::StoredState;
use crate::event_log::states::{StatesDir, StatesError, newest_trusted};
use crate::event_log::tree::Frontier;
use crate::event_log::{EventLog, FollowError, codec};

/// A state was not stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file.
    #[error(transparent)]
    States(#[from] StatesError),
    /// It was not written to its end.
    #[error("the state was not written: {why}")]
    Unfinished {
        /// What happened.
        why: String,
    },
}

impl App {
    /// Writes the state as it is now beside the log, and returns of how many records it is and its SHA-256.
    ///
    /// It does not count before a checkpoint in the log names both; to append it is up to the caller, soon,
    /// with a note over the root of these records: see [`App::frontier`].
    pub async fn store_state(&self) -> Result<(u64, Hash), StoreError> {
        let (folded, states) = (self.folded.clone(), self.states.clone());
        let writing = tokio::task::spawn_blocking(move || {
            // A copy, so that nobody waits for the disk.
            let Folded { state, frontier } = folded.read().unwrap_or_else(PoisonError::into_inner).clone();
            let hash = states.write(&state, &frontier)?;
            Ok((frontier.size(), hash))
        });
        writing.await.unwrap_or_else(|panicked| Err(StoreError::Unfinished { why: panicked.to_string() }))
    }

    /// Removes a stored state that is of no use.
    pub(super) fn remove_state(&self, size: u64) {
        if let Err(error) = self.states.remove(size) {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, size, "a stored state that is of no use could not be removed");
        }
    }

    /// Returns the edge of the tree over all records that have been applied: its size says how many.
    pub fn frontier(&self) -> Frontier {
        StateGuard::new(&self.folded).frontier().clone()
    }

    /// Returns where stored states are.
    pub fn states(&self) -> &Arc<StatesDir> {
        &self.states
    }

    /// Reads the records that the start did not, in the background.
    pub(super) fn check_beginning(&self, beginning: Beginning) {
        let (log, stopping) = (self.log.clone(), self.stopping.clone());
        self.tasks.spawn(async move {
            let records = beginning.records;
            match check(&log, beginning, &stopping).await {
                Ok(true) => tracing::debug!(records, "the records before the stored state are whole"),
                Ok(false) => {}
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(
                        records,
                        error,
                        "the log is damaged before the stored state; restore the newest backup"
                    );
                }
            }
        });
    }
}

/// Puts the newest stored state that counts in the place of the empty one, and returns where to fold on.
pub(super) fn take_up(
    states: &StatesDir,
    log: &EventLog,
    log_id: LogId,
    head: Option<Position>,
    folded: &RwLock<Folded>,
    progress: &watch::Sender<Progress>,
) -> Position {
    if let Err(error) = states.remove_beyond(head.map_or(0, |head| head.0.saturating_add(1))) {
        let error: &dyn std::error::Error = &error;
        tracing::warn!(error, "stored states that are of no use could not be removed");
    }
    let Some(StoredState { state, frontier, size, .. }) = newest_trusted(states, log, log_id, head) else {
        return Position(0);
    };
    let begun_at = Some(Beginning { records: size, root: frontier.root() });
    let position = state.position();
    *folded.write().unwrap_or_else(PoisonError::into_inner) = Folded { state, frontier };
    progress.send_modify(|progress| *progress = Progress { position, begun_at, ..*progress });
    Position(size)
}

/// The records before a stored state are not those that it was made of.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum BadBeginning {
    /// One cannot be read.
    #[error("the record at position {position} cannot be read: {why}")]
    Broken {
        /// The first.
        position: Position,
        /// What is known about it.
        why: String,
    },
    /// They can all be read, and at least one is another.
    #[error("the root over the first {records} records is {found}, not {signed}")]
    OtherRoot {
        /// How many.
        records: u64,
        /// What they give.
        found: Hash,
        /// What the log has signed for.
        signed: Hash,
    },
}

/// Compares the records with the root that was signed for; returns whether it came to their end.
async fn check(
    log: &EventLog,
    beginning: Beginning,
    stopping: &CancellationToken,
) -> Result<bool, BadBeginning> {
    let Beginning { records, root: signed } = beginning;
    let mut follow = log.follow(Position(0));
    let mut frontier = Frontier::new();
    while frontier.size() < records {
        // Not on a thread that blocks: while the log is being opened again there is nothing to read.
        let chunk = tokio::select! {
            biased;
            () = stopping.cancelled() => return Ok(false),
            chunk = follow.next() => chunk,
        };
        match chunk {
            Ok(chunk) => {
                let before = chunk.iter().filter(|(position, _)| position.0 < records);
                before.for_each(|(_, frame)| frontier.push(codec::leaf_hash(frame)));
            }
            Err(FollowError::Closed) => return Ok(false),
            Err(FollowError::Broken { position, why }) => return Err(BadBeginning::Broken { position, why }),
        }
    }
    let found = frontier.root();
    if found == signed { Ok(true) } else { Err(BadBeginning::OtherRoot { records, found, signed }) }
}

#[cfg(test)]
pub(super) mod tests;
