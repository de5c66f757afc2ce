//! Questions about the log, answered from its records by whoever asks; it reads and changes nothing.
//!
//! A [`Source`] gives records: a running server over its socket, or the log itself where no server runs.
//! Everything else happens in the asking process: it folds the records, opens the boxes with the keys that it
//! was given, and checks what is to be checked. A server that is being looked into cannot talk its way out.

mod access;
mod certificate;
mod describe;
mod diff;
mod lookup;
mod opener;
mod people;
mod person;
mod portable;
mod proof;
mod record;
mod replay;
mod rows;
mod signed_in;
mod source;
mod stats;
mod story;
mod succession;
mod tampered;
mod turned_away;
mod verify;
mod view;
mod words;

use futures_util::future::BoxFuture;

pub use access::{Access, Ground, Request, Unanswered};
pub use certificate::{Certificate, CertificateError, MAX_CERTIFICATE, Proven};
pub use describe::describe;
pub use diff::Change;
pub use opener::Opener;
pub use people::{NotOnePerson, People, Person};
pub use person::Holdings;
#[cfg(any(test, fuzzing))]
pub use portable::fuzzing;
pub use portable::{Copied, CopyError, CopyReader, ExportError, Next, Noted, Survey};
pub use proof::StandingCheckpoint;
pub use record::{OneBox, OneEvent, Related, WholeRecord};
pub use replay::{AccessChange, Replay, Shift, Whom};
pub use rows::{Actor, EventRow, Filter, Rows};
pub use signed_in::{MembershipRow, SignedIn};
pub use source::LogSource;
pub use stats::{Address, Count, Span, Stats};
pub use story::{Line, Story};
pub use tampered::{OwnedUp, Tampered};
pub use turned_away::{TurnedAway, Who};
pub use verify::{Break, Signed, UNSIGNED_LIMIT, Verdict, VerifyError};
pub use view::{Reader, View, When};
pub use words::{counted, in_words};

use crate::domain::id::Position;
use crate::event_log::codec::DecodeError;
use crate::event_log::{Chunk, Found, Lookup};

/// Where records come from.
pub trait Source: Send + Sync {
    /// Returns the position of the last record; whoever has read this much is current.
    fn head(&self) -> BoxFuture<'_, Result<Option<Position>, ReadError>>;

    /// Finds records by the index beside the log; `None` where there is none.
    fn find(&self, lookup: Lookup) -> BoxFuture<'_, Result<Option<Found>, ReadError>>;

    /// Reads the records at these places, in this order.
    fn pick(&self, positions: Vec<Position>) -> BoxFuture<'_, Result<Chunk, ReadError>>;

    /// Reads from `from` to `to`, both included; without `to`, what is there and then what comes, for ever.
    fn records(
        &self,
        from: Position,
        to: Option<Position>,
    ) -> BoxFuture<'_, Result<Box<dyn Records>, ReadError>>;
}

/// Records in order, each position once.
pub trait Records: Send {
    /// Waits for the next ones; `None` after the last that was asked for.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Chunk>, ReadError>>;
}

/// Why the log could not be read on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// A record is missing, or what stands there cannot be read.
    #[error("the record at position {position} cannot be read: {why}")]
    Broken {
        /// Where.
        position: Position,
        /// What is known about it.
        why: String,
    },
    /// A position was asked for at which nothing stands yet.
    #[error("there is no record at position {position}: the log ends at position {head}")]
    BehindTheEnd {
        /// What was asked for.
        position: Position,
        /// Where the log ends.
        head: Position,
    },
    /// A record makes no sense to this version.
    #[error("the record at position {position} cannot be read")]
    Decode {
        /// Where.
        position: Position,
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// Whoever gives the records has stopped.
    #[error("the log was closed while it was read")]
    Closed,
    /// Whoever gives the records cannot do so now.
    #[error("the log cannot be read now: {why}")]
    Unavailable {
        /// Why.
        why: String,
    },
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod town;
