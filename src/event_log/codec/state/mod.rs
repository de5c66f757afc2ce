//! A state as bytes: what folding the first records of a log gave, to go on from there.
//!
//! ```text
//! file   = entry…                   a header first, an end with counts last, and nothing behind it
//! entry  = u32be length | u8 kind | body
//! header = u16be format=1 | u32be fold | size, and the hashes of the tree's frontier at that size
//! ```
//!
//! Equal states have equal bytes. They are not for ever, as those of events are: they follow from the log,
//! so whatever is of another format or fold is dropped and made again. And they prove nothing by
//! themselves; see [`states`](crate::event_log::states) for what makes one trusted.
//!
//! | file | what it knows |
//! |---|---|
//! | `write.rs` | from a state to bytes |
//! | `read.rs` | from bytes to entries |
//! | `gather.rs` | from entries to a state |
//! | `wire.rs` | the shapes of the entries, and their kinds |

mod gather;
mod read;
mod wire;
mod write;

#[cfg(test)]
mod tests;

pub use read::read_state;
pub use write::write_state;

use std::io;

use super::{DecodeError, EncodeError};
use crate::domain::id::Hash;
use crate::domain::state::{FOLD, NotAState, State};
use crate::event_log::tree::{Frontier, NotAFrontier};

/// Raised when a state is written in another way.
const FORMAT: u16 = 1;

/// A state as it was read, not yet trusted.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredState {
    /// What folding the first records gave.
    pub state: State,
    /// The edge of the tree over these records.
    pub frontier: Frontier,
    /// How many records they are.
    pub size: u64,
    /// SHA-256 of all bytes.
    pub hash: Hash,
}

/// A state cannot be written, or bytes are none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The file.
    #[error("the stored state cannot be read or written")]
    Io(#[source] io::Error),
    /// It ends before its end entry.
    #[error("the stored state is cut short")]
    Cut,
    /// Something follows its end entry.
    #[error("the stored state goes on behind its end")]
    LeftOver,
    /// It does not begin as a stored state does.
    #[error("this is not a stored state")]
    NoHeader,
    /// Another version of doorbook wrote it.
    #[error("the stored state has format {format}, not {FORMAT}")]
    OtherFormat {
        /// What it says.
        format: u16,
    },
    /// Another fold gave it.
    #[error("the stored state is of fold {fold}, not {FOLD}")]
    OtherFold {
        /// What it says.
        fold: u32,
    },
    /// An entry is longer than any is.
    #[error("an entry of {bytes} bytes is longer than any is")]
    TooLong {
        /// What it says.
        bytes: u32,
    },
    /// An entry of this kind does not belong there.
    #[error("an entry of kind {kind} does not stand where it belongs")]
    Misplaced {
        /// Which.
        kind: u8,
    },
    /// An entry names a box that does not stand before it.
    #[error("box {number} of a user is not there")]
    NoSuchBox {
        /// Which.
        number: u32,
    },
    /// A fact belongs to no kind of event.
    #[error("a fact belongs to an event of kind {of}, which have none")]
    NoSuchFact {
        /// What it says.
        of: u16,
    },
    /// The end entry counts other parts than there are.
    #[error("the stored state has not as many parts as it says")]
    Counts,
    /// State, tree and header are of different logs, or of different moments.
    #[error("a state of {state} records stands beside a tree of {tree}")]
    Sizes {
        /// How many records the state is of.
        state: u64,
        /// How many leaves the tree has.
        tree: u64,
    },
    /// An entry has no bytes.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// An entry cannot be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The parts are there but make no state.
    #[error(transparent)]
    Parts(#[from] NotAState),
    /// The hashes are those of another size.
    #[error(transparent)]
    Frontier(#[from] NotAFrontier),
}

/// Says whether state and tree are of as many records.
fn same_size(state: &State, frontier: &Frontier) -> Result<(), StateError> {
    let records = state.position().map_or(0, |position| position.0.saturating_add(1));
    if records == frontier.size() {
        return Ok(());
    }
    Err(StateError::Sizes { state: records, tree: frontier.size() })
}
