//! Finds one fact in the plaintext of a box that somebody has opened.

use super::{CONTEXT, DecodeError, decode_sealed, deserialize_origin, deserialize_private};
use crate::domain::event::{Origin, Private};

/// Returns the personal fact of the event with that index and kind, where the box has one.
pub fn private_in(plaintext: &[u8], index: u16, kind: u16) -> Result<Option<Private>, DecodeError> {
    let facts = decode_sealed(plaintext)?;
    let found = facts.iter().find(|fact| fact.index == index && index != CONTEXT);
    found.map(|fact| deserialize_private(kind, fact.version, &fact.payload)).transpose()
}

/// Returns where the record came from, where the box says so.
pub fn origin_in(plaintext: &[u8]) -> Result<Option<Origin>, DecodeError> {
    let facts = decode_sealed(plaintext)?;
    let found = facts.iter().find(|fact| fact.index == CONTEXT);
    found.map(|fact| deserialize_origin(fact.version, &fact.payload)).transpose()
}
