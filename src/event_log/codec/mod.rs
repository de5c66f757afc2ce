//! Events to bytes and back: the one place that knows what is on disk.
//!
//! The heart of the project is here: [`serialize_event`] and [`deserialize_event`]. The first always
//! writes the newest shape of an event; the second reads every shape ever written. Between an [`Event`],
//! which may be renamed and reordered at will, and the bytes stand the frozen structs of `wire`; a bit
//! that is wrong, missing or left over is an error and never another event.
//!
//! | file | what it knows |
//! |---|---|
//! | `event.rs` | the clear facts of an event |
//! | `private.rs` | the facts that are sealed, and the list of them in a box |
//! | `open.rs` | one fact of a box that was opened |
//! | `record.rs` | a record as a frame, and its leaf hash |
//! | `kinds.rs` | the table of kinds |
//! | `wire.rs` | the shapes on disk, frozen |
//! | `state/` | a stored state, which unlike all others is not for ever |
//! | `canonical.rs` | bincode, and the three checks that it lacks |

mod canonical;
mod event;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod kinds;
mod open;
mod private;
mod record;
mod state;
mod wire;

#[cfg(test)]
pub(crate) mod arbitrary;
#[cfg(test)]
mod tests;

pub use event::{deserialize_event, serialize_event};
pub(crate) use kinds::{
    CHECKPOINT_SIGNED, CLOCK_STEPPED, GRANT_ISSUED, GRANT_REFRESH_CLAIMED, GRANT_REFRESHED, GRANT_REVOKED,
    LOG_LOSS_ACCEPTED, LOG_RESTORED, MEMBERSHIP_OBSERVED, PROFILE_OBSERVED, RULES_CHANGED, SESSION_OPENED,
    SESSION_REVOKED, SESSION_SEEN, SIGN_IN_DENIED,
};
pub use kinds::{Kind, kind, kind_of, kinds};
pub use open::{origin_in, private_in};
pub use private::{
    CONTEXT, SealedFact, decode_sealed, deserialize_origin, deserialize_private, encode_sealed,
    serialize_origin,
};
pub use record::{
    FORMAT as FRAME_FORMAT, RawEvent, RawRecord, decode_raw, decode_record, encode_record, frame_length,
    leaf_hash,
};
pub use state::{StateError, StoredState, read_state, write_state};

use zeroize::Zeroizing;

#[cfg(doc)]
use crate::domain::event::Event;

/// The largest frame, and the largest anything that is decoded.
pub const MAX_FRAME: usize = 65_535;

/// An event as the log keeps it.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    /// What it is.
    pub kind: u16,
    /// Which shape of that kind.
    pub version: u8,
    /// What everybody who holds the log may read.
    pub clear: Vec<u8>,
    /// What only ever leaves the process sealed; wiped when dropped.
    pub sealed: Option<Zeroizing<Vec<u8>>>,
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stored")
            .field("kind", &self.kind)
            .field("version", &self.version)
            .field("clear", &hex::encode(&self.clear))
            .finish_non_exhaustive()
    }
}

/// Something cannot be written as bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// More than a frame can hold.
    #[error("{what} takes {bytes} bytes, more than {MAX_FRAME}")]
    TooLarge {
        /// What was to be written.
        what: &'static str,
        /// How long it is.
        bytes: usize,
    },
    /// A personal fact was given to an event that has none of that sort.
    #[error("an event of kind {kind} has no such sealed fact")]
    NotOfThisKind {
        /// The kind of the event.
        kind: u16,
    },
    /// A record without an event says nothing.
    #[error("a record has at least one event")]
    NoEvents,
    /// The value cannot be written at all.
    #[error("{what} cannot be written")]
    Unwritable {
        /// What was to be written.
        what: &'static str,
    },
}

/// Bytes are not what this version of doorbook writes or ever wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A kind or version that does not exist yet.
    #[error("this log was written by a newer doorbook (kind {kind} v{version})")]
    Unknown {
        /// The kind of the event.
        kind: u16,
        /// The version of its shape.
        version: u8,
    },
    /// A frame that does not exist yet.
    #[error("this log was written by a newer doorbook (format {format}, schema {schema})")]
    UnknownFormat {
        /// The first byte.
        format: u8,
        /// The two bytes after it.
        schema: u16,
    },
    /// A version of the context's sealed part that does not exist yet.
    #[error("this log was written by a newer doorbook (context v{version})")]
    UnknownContext {
        /// The version of its shape.
        version: u8,
    },
    /// More bytes than anything in the log may have.
    #[error("{what} of {bytes} bytes is longer than {MAX_FRAME}")]
    TooLarge {
        /// What was to be read.
        what: &'static str,
        /// How long it is.
        bytes: usize,
    },
    /// The frame says another length than it has.
    #[error("a frame of {found} bytes says that it has {said}")]
    WrongLength {
        /// What it says.
        said: u64,
        /// What it has.
        found: usize,
    },
    /// The bytes are no such thing.
    #[error("{what} cannot be read")]
    Malformed {
        /// What was to be read.
        what: &'static str,
    },
    /// Something follows.
    #[error("{what} is followed by {bytes} bytes that do not belong to it")]
    LeftOver {
        /// What was read.
        what: &'static str,
        /// How many.
        bytes: usize,
    },
    /// The bytes mean something, but are not those that doorbook writes for it.
    #[error("{what} is written in another way than doorbook writes it")]
    NotCanonical {
        /// What was read.
        what: &'static str,
    },
}

impl DecodeError {
    /// Returns whether a newer doorbook may know what it is.
    pub fn is_newer(&self) -> bool {
        matches!(
            self,
            DecodeError::Unknown { .. }
                | DecodeError::UnknownFormat { .. }
                | DecodeError::UnknownContext { .. }
        )
    }
}
