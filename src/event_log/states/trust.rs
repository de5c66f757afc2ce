//! When a stored state counts: if the log itself says so, in a checkpoint with its hash.
//!
//! A state of N records counts if a `checkpoint.signed` within the next [`REACH`] records names that size,
//! this fold and exactly that hash, if the note in it is signed by the key that the state knows for its
//! log, and if the root in the note is that of the tree beside the state.

use super::StatesDir;
use crate::domain::event::{Event, StateHash};
use crate::domain::id::{Hash, LogId, Position};
use crate::domain::state::FOLD;
use crate::event_log::codec::{self, StateError, StoredState};
use crate::event_log::note::{self, NotAKey, NoteError, VerifierKey};
use crate::event_log::{EventLog, FollowError};

/// How far behind a state the checkpoint that vouches for it may stand.
pub const REACH: u64 = 16_384;

/// What a checkpoint says about a stored state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voucher {
    /// Of how many records the state is.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
    /// The signed note.
    pub note: String,
    /// Which state.
    pub state: StateHash,
}

impl Voucher {
    /// Returns what a record says about stored states; nothing where it cannot be read.
    pub fn in_frame(frame: &[u8]) -> Vec<Voucher> {
        let events = codec::decode_raw(frame).map(|record| record.events).unwrap_or_default();
        let signed = events.iter().filter(|event| event.kind == codec::CHECKPOINT_SIGNED);
        let read = signed.flat_map(|event| codec::deserialize_event(event.kind, event.version, &event.clear));
        read.filter_map(|event| match event {
            Event::CheckpointSigned { size, root, note, state } => {
                state.map(|state| Voucher { size, root, note, state })
            }
            _ => None,
        })
        .collect()
    }
}

/// Why a stored state does not count.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Distrust {
    /// There are not so many records.
    #[error("the log has only {records} records")]
    BeyondTheLog {
        /// How many there are.
        records: u64,
    },
    /// No checkpoint behind it speaks of a state of that size and fold.
    #[error("no checkpoint within the next {REACH} records vouches for it")]
    NoVoucher,
    /// It cannot be read.
    #[error("it cannot be read")]
    Unreadable(#[source] StateError),
    /// The file says another size than its name.
    #[error("it is of {found} records")]
    OtherSize {
        /// What it says.
        found: u64,
    },
    /// It is of another log, or of none.
    #[error("it is of another log")]
    OtherLog,
    /// Checkpoints vouch for others.
    #[error("its hash is not the one that a checkpoint vouches for")]
    OtherHash,
    /// The tree beside it is not the one that was signed for.
    #[error("the root of its tree is not the one that was signed")]
    OtherRoot,
    /// The public key in it is none.
    #[error("the key in it is none")]
    Key(#[source] NotAKey),
    /// The note does not count.
    #[error("the checkpoint that vouches for it does not count")]
    Note(#[source] NoteError),
    /// The records behind it cannot be read.
    #[error("the records behind it cannot be read")]
    Log(#[source] FollowError),
}

/// Returns the newest stored state that the log vouches for, to go on from there.
///
/// Others are traced and passed over. It reads the log, and must be called where that may block.
pub fn newest_trusted(
    states: &StatesDir,
    log: &EventLog,
    log_id: LogId,
    head: Option<Position>,
) -> Option<StoredState> {
    let records = head.map_or(0, |head| head.0.saturating_add(1));
    newest_within(states, log, log_id, records, u64::MAX)
}

/// Returns the newest stored state that the log vouches for and in which the record at `position` is the
/// last one at most, for a question about that moment.
pub fn nearest_before(
    states: &StatesDir,
    log: &EventLog,
    log_id: LogId,
    head: Option<Position>,
    position: Position,
) -> Option<StoredState> {
    let records = head.map_or(0, |head| head.0.saturating_add(1));
    newest_within(states, log, log_id, records, position.0.saturating_add(1))
}

fn newest_within(
    states: &StatesDir,
    log: &EventLog,
    log_id: LogId,
    records: u64,
    largest: u64,
) -> Option<StoredState> {
    let sizes = states.list().unwrap_or_else(|error| {
        let error: &dyn std::error::Error = &error;
        tracing::warn!(error, "stored states cannot be listed");
        vec![]
    });
    let candidates = sizes.into_iter().rev().filter(|size| *size <= largest);
    candidates.into_iter().find_map(|size| {
        let found = match records.checked_sub(size) {
            Some(_) => vouchers(log, size, records).map_err(Distrust::Log),
            None => Err(Distrust::BeyondTheLog { records }),
        };
        match found.and_then(|vouchers| states.trusted(size, log_id, &vouchers)) {
            Ok(stored) => Some(stored),
            Err(why) => {
                let error: &dyn std::error::Error = &why;
                tracing::warn!(size, error, "a stored state is not used");
                None
            }
        }
    })
}

/// Collects what the records from position `size` on say about the state of that size.
fn vouchers(log: &EventLog, size: u64, records: u64) -> Result<Vec<Voucher>, FollowError> {
    let end = records.min(size.saturating_add(REACH));
    let mut follow = log.follow(Position(size));
    let mut all = Vec::new();
    while follow.position().0 < end {
        let chunk = follow.blocking_next()?;
        let within = chunk.iter().filter(|(position, _)| position.0 < end);
        all.extend(within.flat_map(|(_, frame)| Voucher::in_frame(frame)));
    }
    Ok(all)
}

impl StatesDir {
    /// Reads the state of so many records if one of the vouchers is for it.
    ///
    /// They must come from the [`REACH`] records from position `size` on, of the log of that id.
    pub fn trusted(&self, size: u64, log_id: LogId, vouchers: &[Voucher]) -> Result<StoredState, Distrust> {
        let named = |voucher: &&Voucher| voucher.size == size && voucher.state.fold == FOLD;
        let vouchers: Vec<&Voucher> = vouchers.iter().filter(named).collect();
        // Before the file is read, because it may be large.
        if vouchers.is_empty() {
            return Err(Distrust::NoVoucher);
        }
        let stored = self.read(size).map_err(Distrust::Unreadable)?;
        if stored.size != size {
            return Err(Distrust::OtherSize { found: stored.size });
        }
        let log = stored.state.log().filter(|log| log.id == log_id).ok_or(Distrust::OtherLog)?;
        let key = VerifierKey::new(&note::origin_of(&log.origin, log.id), &log.public_key);
        let key = key.map_err(Distrust::Key)?;
        let mut why = Distrust::OtherHash;
        for voucher in vouchers.into_iter().filter(|voucher| voucher.state.hash == stored.hash) {
            match vouches(voucher, &stored, &key) {
                Ok(()) => return Ok(stored),
                Err(error) => why = error,
            }
        }
        Err(why)
    }
}

fn vouches(voucher: &Voucher, stored: &StoredState, key: &VerifierKey) -> Result<(), Distrust> {
    let signed = note::verify(voucher.note.as_bytes(), key).map_err(Distrust::Note)?;
    let root = stored.frontier.root();
    if signed.size != stored.size || signed.root != root || voucher.root != root {
        return Err(Distrust::OtherRoot);
    }
    Ok(())
}
