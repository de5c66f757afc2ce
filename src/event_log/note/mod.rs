//! A signed statement about the log that others' tools can check: how long it is, and the root over it.
//!
//! The forms are those of C2SP, which Go's checksum database uses too. [`sign`] writes a [`Checkpoint`] as a
//! signed note and [`verify`] believes one; [`VerifierKey`] is what it takes to believe it, and as text it is
//! what `golang.org/x/mod/sumdb/note` reads. Who signs is passed in: no secret key is here.
//!
//! | file | what it knows |
//! |---|---|
//! | `checkpoint.rs` | the three lines, signed and verified |
//! | `signed.rs` | a text and its signatures |
//! | `key.rs` | what others check signatures with |
//! | `line.rs` | numbers and hashes as lines have them |

mod checkpoint;
mod key;
pub(super) mod line;
mod signed;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

pub use checkpoint::{Checkpoint, origin_of, sign, verify};
pub use key::{NotAKey, VerifierKey};
pub use signed::{MAX_NOTE, open};

/// A note is not one, or nobody we know has signed it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// It is longer than any note of ours.
    #[error("a note of {bytes} bytes is longer than {MAX_NOTE}")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// It is not text.
    #[error("the note is not UTF-8 from byte {at} on")]
    NotUtf8 {
        /// Where that begins.
        at: usize,
    },
    /// It has a character that a terminal would obey.
    #[error("the note has a control character at byte {at}")]
    Control {
        /// Where.
        at: usize,
    },
    /// Its last line has no end.
    #[error("the note does not end with a newline")]
    Unfinished,
    /// It has no signature lines.
    #[error("the note ends without a signature")]
    NoSignature,
    /// Something else is among the signatures.
    #[error("signature {number} of the note is not one")]
    NotASignature {
        /// The first is 1.
        number: usize,
    },
    /// Others may have signed it, but not this key.
    #[error("the key {key} did not sign the note")]
    NotSigned {
        /// The name of the key.
        key: String,
    },
    /// Two signatures are said to be of this key.
    #[error("the key {key} signed the note more than once")]
    SignedTwice {
        /// The name of the key.
        key: String,
    },
    /// A signature is said to be of this key, and is not.
    #[error("the signature of the key {key} is not of this text")]
    WrongSignature {
        /// The name of the key.
        key: String,
    },
    /// It is a note about something else.
    #[error("a checkpoint has three lines, and here are {lines}")]
    NotThreeLines {
        /// How many there are.
        lines: usize,
    },
    /// It is a checkpoint of another log than the key is of.
    #[error("the checkpoint is of the log {found:?}, and the key of {key}")]
    OtherLog {
        /// The origin of the checkpoint.
        found: String,
        /// The name of the key.
        key: String,
    },
    /// The second line is not a size that a log can have.
    #[error("the second line of the checkpoint is not a size")]
    NotASize,
    /// The third line is not a hash.
    #[error("the third line of the checkpoint is not 32 bytes of base64")]
    NotAHash,
}
