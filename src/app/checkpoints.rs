//! Signing for the log: when it is due, what is signed, and the stored states that a signature vouches for.
//!
//! Whoever appends signs. A server does so off everybody's way, after 256 records or an hour after the first that
//! nobody signed for; where 1,024 may be unsigned, whoever wants to append signs first (see [`super::room`]). A command
//! that changed something signs before it closes the log, and a server at its end, with the state beside it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::stored::StoreError;
use super::{App, By, ExecuteError};
use crate::crypto::KeyError;
use crate::domain::command::{Command, SignCheckpoint};
use crate::domain::event::StateHash;
use crate::domain::id::{Hash, Position};
use crate::domain::state::{FOLD, State, Unsigned};
use crate::domain::time::Timestamp;
use crate::event_log::codec;
use crate::event_log::note::{self, Checkpoint, NotAKey, NoteError, VerifierKey, origin_of};
use crate::event_log::states::{EVERY, REACH, nearest_before};
use crate::event_log::tree::Frontier;

/// After so many records a signature is due.
const DUE_RECORDS: u64 = 256;
/// And so long after the first of them.
const DUE_AFTER: Duration = Duration::from_secs(3_600);
/// How often the clock is looked at for what is due.
const LOOK: Duration = Duration::from_secs(10);

/// Nobody signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// There is no log to sign for yet.
    #[error("the log has not begun")]
    NoLog,
    /// The key is none that others could check.
    #[error("the signing key cannot be used")]
    Key(#[source] NotAKey),
    /// The log names another key, and it cannot take over.
    #[error("the key that signs for the log cannot be used")]
    NotHere(#[source] KeyError),
    /// There is no note to sign.
    #[error("the checkpoint cannot be signed")]
    Note(#[source] NoteError),
    /// The signature could not be recorded.
    #[error("the checkpoint could not be recorded")]
    Execute(#[source] ExecuteError),
}

/// What a signature is to be over, where that is not everything so far.
struct Over {
    size: u64,
    root: Hash,
    state: Option<StateHash>,
}

impl App {
    /// Signs for everything that has been applied; nothing happens where that was done already.
    pub async fn sign_checkpoint(&self) -> Result<Option<Position>, SignError> {
        let _one_at_a_time = self.signing.lock().await;
        if self.state().unsigned().records == 0 {
            return Ok(None);
        }
        self.sign_for_all().await
    }

    /// Lets appends through while few enough records may be unsigned; otherwise signs first.
    ///
    /// Of all who wait here one signs, and the others find that done. Where nobody can, nothing is appended: more
    /// than twice as many without a signature would be a log that nobody believes any more.
    pub(super) async fn make_room_for_records(&self) -> Result<(), ExecuteError> {
        if self.room.is_there(self.signed_for()) {
            return Ok(());
        }
        let _one_at_a_time = self.signing.lock().await;
        if self.room.is_there(self.signed_for()) {
            return Ok(());
        }
        // So that one signature is enough for all of them.
        self.room.is_settled().await;
        match self.sign_for_all().await {
            Ok(_) => Ok(()),
            Err(SignError::Execute(error)) => Err(error),
            Err(error) => Err(ExecuteError::Unsigned(Box::new(error))),
        }
    }

    /// Returns for how many records somebody has signed.
    pub(super) fn signed_for(&self) -> u64 {
        self.state().checkpoint().map_or(0, |known| known.size)
    }

    async fn sign_for_all(&self) -> Result<Option<Position>, SignError> {
        let frontier = self.frontier();
        self.sign(Over { size: frontier.size(), root: frontier.root(), state: None }).await
    }

    /// Tells whoever signs that something was appended.
    pub(super) fn appended(&self) {
        self.has_appended.store(true, Ordering::Relaxed);
        if self.state().unsigned().records >= DUE_RECORDS {
            self.signature_due.notify_one();
        }
    }

    /// Signs when it is due, and stores a state now and then, until the process ends.
    pub(super) async fn run_clerk(self: Arc<Self>) {
        loop {
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => return,
                () = self.signature_due.notified() => {}
                () = self.clock.sleep(LOOK) => {}
            }
            if is_due(self.state().unsigned(), self.clock.now()) {
                self.sign_and_say().await;
            }
            self.store_every_so_often();
        }
    }

    /// Signs at the end: a server with its state, a command for what it changed.
    pub(super) async fn sign_at_the_end(&self) {
        if !self.has_appended.load(Ordering::Relaxed) {
            return;
        }
        if !self.is_server {
            return self.sign_and_say().await;
        }
        let stored = self.store_state().await;
        let frontier = self.frontier();
        let state = match stored {
            Ok((size, hash)) if size == frontier.size() => Some(StateHash { fold: FOLD, hash }),
            Ok(_) => None,
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "the state was not stored; the next start replays more of the log");
                None
            }
        };
        let _one_at_a_time = self.signing.lock().await;
        said(self.sign(Over { size: frontier.size(), root: frontier.root(), state }).await);
    }

    async fn sign_and_say(&self) {
        said(self.sign_checkpoint().await);
    }

    async fn sign(&self, over: Over) -> Result<Option<Position>, SignError> {
        self.sign_as_the_log_says().await.map_err(SignError::NotHere)?;
        let log = self.state().log().cloned().ok_or(SignError::NoLog)?;
        let name = origin_of(&log.origin, log.id);
        let key = VerifierKey::new(&name, &self.keys.signer_public_key()).map_err(SignError::Key)?;
        let Over { size, root, state } = over;
        let checkpoint = Checkpoint { origin: name, size, root };
        let note =
            note::sign(&checkpoint, &key, |message| self.keys.sign(message)).map_err(SignError::Note)?;
        let command = Command::SignCheckpoint(SignCheckpoint { size, root, note, state });
        // Whoever executes may have to sign first, but never for this.
        let done = Box::pin(self.execute(command, &By::SYSTEM)).await.map_err(SignError::Execute)?;
        Ok(done.position())
    }

    /// Begins to store the state of the last multiple of [`EVERY`] records, unless that is there or under way.
    ///
    /// It is made by a fold of its own from the stored state before it, so that nobody waits.
    fn store_every_so_often(self: &Arc<Self>) {
        let last_stored = self.last_stored.load(Ordering::Relaxed);
        let Some(size) = to_store(self.frontier().size(), last_stored) else { return };
        self.last_stored.fetch_max(size, Ordering::Relaxed);
        let app = self.clone();
        self.tasks.spawn(async move {
            let folding = {
                let app = app.clone();
                tokio::task::spawn_blocking(move || app.fold_and_store(size))
            };
            let stored = folding
                .await
                .unwrap_or_else(|panicked| Err(StoreError::Unfinished { why: panicked.to_string() }));
            match stored {
                Ok((root, hash)) => {
                    let _one_at_a_time = app.signing.lock().await;
                    if app.frontier().size() - size >= REACH {
                        tracing::warn!(size, "a state was stored too late to be vouched for; it is removed");
                        return app.remove_state(size);
                    }
                    let state = Some(StateHash { fold: FOLD, hash });
                    said(app.sign(Over { size, root, state }).await);
                }
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, size, "a state was not stored; a start may replay more of the log");
                }
            }
        });
    }

    fn fold_and_store(&self, size: u64) -> Result<(Hash, Hash), StoreError> {
        let unfinished = |why: String| StoreError::Unfinished { why };
        let last = Position(size - 1);
        let (log_id, head) = (self.keys.log_id(), self.state().position());
        let before = nearest_before(&self.states, &self.log, log_id, head, last);
        let (mut state, mut frontier) =
            before.map_or_else(|| (State::default(), Frontier::new()), |found| (found.state, found.frontier));
        let mut follow = self.log.follow(Position(frontier.size()));
        while frontier.size() < size {
            for (position, frame) in follow.blocking_next().map_err(|error| unfinished(error.to_string()))? {
                if position > last {
                    break;
                }
                let record = codec::decode_record(&frame).map_err(|error| unfinished(error.to_string()))?;
                state.apply(position, &record);
                frontier.push(codec::leaf_hash(&frame));
            }
        }
        let hash = self.states.write(&state, &frontier)?;
        Ok((frontier.root(), hash))
    }
}

fn said(signed: Result<Option<Position>, SignError>) {
    if let Err(error) = signed {
        let error: &dyn std::error::Error = &error;
        tracing::warn!(error, "the log could not be signed for; it is tried again");
    }
}

/// Returns of how many records a state is to be stored, where one is.
///
/// Not where it is a long way behind: it counts only where a signature soon after it vouches for it, and to make
/// it takes time, at every start anew.
fn to_store(records: u64, last_stored: u64) -> Option<u64> {
    let size = records / EVERY * EVERY;
    (size > last_stored && records - size < REACH / 2).then_some(size)
}

fn is_due(unsigned: Unsigned, now: Timestamp) -> bool {
    unsigned.records >= DUE_RECORDS || unsigned.since.is_some_and(|since| now.since(since) >= DUE_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_stored_once_and_only_while_a_signature_can_still_vouch_for_it() {
        for (records, last_stored, expected) in [
            (0, 0, None),
            (EVERY - 1, 0, None),
            (EVERY, 0, Some(EVERY)),
            (EVERY, EVERY, None),
            // A start that went on from the state of an orderly stop.
            (EVERY + 10, EVERY + 8, None),
            (EVERY + 10, EVERY - 8, Some(EVERY)),
            (EVERY + REACH / 2 - 1, 0, Some(EVERY)),
            (EVERY + REACH / 2, 0, None),
            (2 * EVERY - 1, 0, None),
            (2 * EVERY, EVERY, Some(2 * EVERY)),
        ] {
            assert_eq!(to_store(records, last_stored), expected, "{records} {last_stored}");
        }
    }

    #[test]
    fn a_signature_is_due_after_enough_records_or_an_hour_after_the_first() {
        let since = Timestamp(1_767_323_045_000);
        let unsigned = |records| Unsigned { records, since: (records > 0).then_some(since) };
        let hour = since.plus(DUE_AFTER);
        assert!(!is_due(unsigned(0), hour), "nothing has happened");
        assert!(!is_due(unsigned(255), since) && is_due(unsigned(256), since));
        assert!(!is_due(unsigned(1), Timestamp(hour.0 - 1)) && is_due(unsigned(1), hour));
    }
}
