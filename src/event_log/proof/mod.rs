//! That a record is in the log, in one file that can be checked alone: <https://c2sp.org/tlog-proof>.
//!
//! It has the place of the record, the hashes that lead from it to the root, and the checkpoint with that
//! root. Who has it, the frame and the log's [`VerifierKey`] needs neither a server nor the other records.

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use super::note::line::{base64, hash, number, unbase64};
use super::note::{self, Checkpoint, NoteError, VerifierKey};
use super::tree::{NotProven, verify_inclusion};
use crate::domain::id::Hash;

/// The longest proof that is read: 63 hashes and a note take less than half of it.
pub const MAX_PROOF: usize = 16_384;

const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// A proof, read and not yet believed. As text it is what stands in a `.tlog-proof` file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// What somebody put beside it; nothing proves it. Ours have none.
    pub extra: Vec<u8>,
    /// The position of the record.
    pub index: u64,
    /// From the neighbour of the record to below the root; see [`Tree::inclusion`](super::tree::Tree::inclusion).
    pub hashes: Vec<Hash>,
    /// The checkpoint as it was signed.
    pub note: String,
}

/// What was proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The position of the record.
    pub index: u64,
    /// In which log, and how long it was.
    pub checkpoint: Checkpoint,
}

/// It is no proof, or of something else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// It is longer than any proof.
    #[error("a proof of {bytes} bytes is longer than {MAX_PROOF}")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// It is not text.
    #[error("the proof is not UTF-8 from byte {at} on")]
    NotUtf8 {
        /// Where that begins.
        at: usize,
    },
    /// It is something else, or of a later version.
    #[error("a proof begins with the line {HEADER}")]
    NoHeader,
    /// What was put beside it is not base64.
    #[error("the line `extra` of the proof is not base64")]
    Extra,
    /// It does not say which record it is about.
    #[error("the proof has no line `index` with a number")]
    NoIndex,
    /// A line where the hashes are is none.
    #[error("hash {number} of the proof is not 32 bytes of base64")]
    NotAHash {
        /// The first is 1.
        number: usize,
    },
    /// It ends before the checkpoint.
    #[error("the proof has no checkpoint")]
    NoCheckpoint,
    /// The checkpoint is not to be believed.
    #[error("the checkpoint of the proof does not count")]
    Checkpoint(#[from] NoteError),
    /// The checkpoint is right, and the record is not in its tree.
    #[error("the proof is not of this record")]
    NotProven(#[from] NotProven),
}

/// Says where in its log a frame stands, byte for byte as it was stored, if the proof and the key hold.
pub fn verify(proof: &[u8], frame: &[u8], key: &VerifierKey) -> Result<Verified, ProofError> {
    let text = std::str::from_utf8(proof).map_err(|error| ProofError::NotUtf8 { at: error.valid_up_to() })?;
    let Proof { index, hashes, note, .. } = text.parse()?;
    let checkpoint = note::verify(note.as_bytes(), key)?;
    verify_inclusion(frame, index, (checkpoint.size, checkpoint.root), &hashes)?;
    Ok(Verified { index, checkpoint })
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if !self.extra.is_empty() {
            writeln!(f, "extra {}", base64(&self.extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{}", base64(&hash.0)))?;
        write!(f, "\n{}", self.note)
    }
}

impl FromStr for Proof {
    type Err = ProofError;

    fn from_str(text: &str) -> Result<Proof, ProofError> {
        if text.len() > MAX_PROOF {
            return Err(ProofError::TooLong { bytes: text.len() });
        }
        let rest = text.strip_prefix(HEADER).and_then(|rest| rest.strip_prefix('\n'));
        let mut rest = rest.ok_or(ProofError::NoHeader)?;
        let mut extra = Vec::new();
        if let Some(after) = rest.strip_prefix("extra ") {
            let (line, after) = after.split_once('\n').ok_or(ProofError::Extra)?;
            // Without extra data there is no line.
            extra = unbase64(line).filter(|extra| !extra.is_empty()).ok_or(ProofError::Extra)?;
            rest = after;
        }
        let index = rest.strip_prefix("index ").and_then(|rest| rest.split_once('\n'));
        let (index, mut rest) = index.ok_or(ProofError::NoIndex)?;
        let index = number(index).ok_or(ProofError::NoIndex)?;
        let mut hashes = Vec::new();
        loop {
            let (line, after) = rest.split_once('\n').ok_or(ProofError::NoCheckpoint)?;
            rest = after;
            if line.is_empty() {
                break;
            }
            hashes.push(hash(line).ok_or(ProofError::NotAHash { number: hashes.len() + 1 })?);
        }
        if rest.is_empty() {
            return Err(ProofError::NoCheckpoint);
        }
        Ok(Proof { extra, index, hashes, note: rest.to_owned() })
    }
}
