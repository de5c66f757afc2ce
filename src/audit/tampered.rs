//! The ways in which a log is not what was signed, each with the place that shows it.

use super::UNSIGNED_LIMIT;
use crate::domain::id::Position;
use crate::event_log::codec::DecodeError;
use crate::event_log::note::NoteError;

/// The log is not what was signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Tampered {
    /// What stands there is no record.
    #[error("what stands at position {position} is not a record")]
    NotARecord {
        /// Where.
        position: Position,
        /// Why not.
        #[source]
        source: DecodeError,
    },
    /// The first record does not begin a log.
    #[error("the record at position 0 does not begin a log")]
    NoBeginning,
    /// A log begins once; a second beginning would name a signer that has nobody's word.
    #[error("the record at position {position} begins the log a second time")]
    SecondBeginning {
        /// Where.
        position: Position,
    },
    /// Two different records have one id, or one stands twice far apart.
    #[error("the record at position {position} has the id of another one, at {other}")]
    SameId {
        /// Where.
        position: Position,
        /// Where the other one stands.
        other: Position,
    },
    /// A signature does not fit.
    #[error("the checkpoint at position {position} is not signed by this log")]
    Signature {
        /// Where.
        position: Position,
        /// Why not.
        #[source]
        source: NoteError,
    },
    /// A key takes over without the word of the one before it.
    #[error("at position {position} another key takes over without the signature of the one before it")]
    Succession {
        /// Where.
        position: Position,
    },
    /// A record says another thing than its note, or signs for records behind it.
    #[error("the checkpoint at position {position} says another thing than its signed note")]
    Note {
        /// Where.
        position: Position,
    },
    /// More records were signed for than stand before the signature.
    #[error(
        "the checkpoint at position {position} signs for {size} records, and only {position} stand before it: some are gone; the last one that fits signs for {fits}"
    )]
    Gone {
        /// Where the checkpoint stands.
        position: Position,
        /// For how many records it signs.
        size: u64,
        /// For how many the last one signs that fits.
        fits: u64,
    },
    /// The records are not those that were signed.
    #[error(
        "the first {size} records are not those that were signed: the checkpoint at position {position} has another root; the last one that fits signs for {fits}"
    )]
    Root {
        /// Where the checkpoint stands.
        position: Position,
        /// For how many records it signs.
        size: u64,
        /// For how many the last one signs that fits.
        fits: u64,
    },
    /// Records are not those that a checkpoint kept elsewhere has.
    #[error("the first {size} records are not those of the checkpoint that was kept elsewhere{owned_up}")]
    KeptRoot {
        /// For how many it signs.
        size: u64,
        /// Whether the operator said so.
        owned_up: OwnedUp,
    },
    /// Records are gone that a checkpoint kept elsewhere signs for.
    #[error(
        "the checkpoint that was kept elsewhere signs for {size} records, and the log has {has}{owned_up}"
    )]
    Cut {
        /// For how many it signs.
        size: u64,
        /// How many there are.
        has: u64,
        /// Whether the operator said so.
        owned_up: OwnedUp,
    },
    /// A checkpoint kept elsewhere is of another log.
    #[error(
        "the checkpoint that was kept elsewhere is of {found}, and this log is {log}: it is the wrong file, or this is not the log that was there"
    )]
    KeptOther {
        /// The log that it names.
        found: String,
        /// The log that is there.
        log: String,
    },
    /// A checkpoint kept elsewhere is not signed by a key of this log.
    #[error("the checkpoint that was kept elsewhere is not signed by this log")]
    KeptSignature {
        /// Why not.
        #[source]
        source: NoteError,
    },
    /// Too many records without a signature.
    #[error("more than {UNSIGNED_LIMIT} records before position {position} were not signed for")]
    Unsigned {
        /// Where that was found.
        position: Position,
    },
    /// The state that was signed is not what the records give.
    #[error("the state after {size} records is not the one that the checkpoint at position {position} names")]
    State {
        /// Where the checkpoint stands.
        position: Position,
        /// For how many records it signs.
        size: u64,
    },
}

impl Tampered {
    /// Returns the first position that may be bad, where that is known.
    ///
    /// The first bad record stands there or, where only roots can be compared, not behind [`last`](Self::last).
    pub fn position(&self) -> Option<Position> {
        match self {
            Tampered::NotARecord { position, .. }
            | Tampered::SecondBeginning { position }
            | Tampered::SameId { position, .. }
            | Tampered::Signature { position, .. }
            | Tampered::Note { position }
            | Tampered::Succession { position }
            | Tampered::Unsigned { position }
            | Tampered::State { position, .. } => Some(*position),
            // Somewhere among the records since the last signature that fits.
            Tampered::Root { fits, .. } | Tampered::Gone { fits, .. } => Some(Position(*fits)),
            Tampered::NoBeginning => Some(Position(0)),
            Tampered::Cut { has, .. } => Some(Position(*has)),
            Tampered::KeptRoot { .. } | Tampered::KeptSignature { .. } | Tampered::KeptOther { .. } => None,
        }
    }

    /// Returns the last position at which the first bad record may stand, where that is not known exactly.
    pub fn last(&self) -> Option<Position> {
        match self {
            Tampered::Root { size, .. } => size.checked_sub(1).map(Position),
            // One of those that were signed for, or the place where the last of them should stand.
            Tampered::Gone { position, .. } => Some(*position),
            _ => None,
        }
    }
}

/// Whether a missing end is one that the operator owned up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnedUp(pub Option<Position>);

impl std::fmt::Display for OwnedUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(position) => write!(f, "; the operator owned up to a loss at position {position}"),
            None => Ok(()),
        }
    }
}
