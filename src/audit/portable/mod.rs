//! The log as text that can be carried elsewhere: one JSON object per line, the same bytes from everybody.
//!
//! ```text
//! {"doorbook_export":1,"log":"<id>","origin":"<signing name>","format":1,"public_keys":["<verifier key>"]}
//! {"position":0,"raw":"<base64 of the frame>","event":{"id":…,"at":…,"subject":…,"context":…,"events":[…]}}
//! …
//! {"records":4711,"root":"<hexadecimal>","checkpoint":"<the newest signed note among them, or null>"}
//! ```
//!
//! `raw` is the record, and all that is ever read back; boxes are in it as they are, sealed. `event` says the same
//! in the clear for people and their tools: nothing that takes a key, so that an export is the same bytes with
//! keys and without. An event is `{"kind":"session.opened","data":{…}}`, with the members that `audit show` gives;
//! one that only a newer doorbook understands is `{"kind":61,"version":1,"payload":"<hexadecimal>"}`.
//! `format` is that of the frames. `public_keys` are those that the log has signed with, the current one last.
//! Checkpoints are records like all others. The last line must be there: without it, something was cut off.
//!
//! The members and their order are those of `doorbook_export` 1, and stay. Another shape gets another number.
//!
//! | file | what it knows |
//! |---|---|
//! | `clear.rs` | a record in the clear, and whether somebody else's words for it agree |
//! | `signers.rs` | whose signatures count, and the newest note |
//! | `export.rs` | from the log to text |
//! | `copy.rs` | from text back to records, believing nothing |
//! | `refusal.rs` | everything that can be wrong with a copy |

mod clear;
mod copy;
mod export;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod refusal;
mod signers;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::domain::id::{Hash, LogId, Position};

pub use copy::{CopyReader, Next};
pub use export::{ExportError, Survey};
pub use refusal::CopyError;
pub use signers::Noted;

/// The number of this shape.
const VERSION: u32 = 1;

/// The first line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    doorbook_export: u32,
    log: String,
    origin: String,
    format: u8,
    public_keys: Vec<String>,
}

/// The line of a record.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<E> {
    position: u64,
    raw: String,
    event: E,
}

/// The last line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trailer {
    records: u64,
    root: String,
    checkpoint: Option<String>,
}

/// A copy of a log, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Which log it is.
    pub log: LogId,
    /// Under which name it signs.
    pub origin: String,
    /// How many records the copy has.
    pub records: u64,
    /// The root of the tree over them.
    pub root: Hash,
    /// The newest signed note among them.
    pub newest: Option<Noted>,
    /// The first record that only a newer doorbook understands.
    pub not_understood: Option<Position>,
}
