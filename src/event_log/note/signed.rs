//! A text, an empty line, and who signed the text: <https://c2sp.org/signed-note>.

use super::NoteError;
use super::key::{VerifierKey, is_name};
use super::line::{base64, unbase64};

/// The longest note that is read: a checkpoint that 16 have signed with Ed25519 has room in it.
pub const MAX_NOTE: usize = 4_096;

/// What a signature line begins with.
const DASH: &str = "\u{2014} ";

/// Returns the text of a note that this key has signed, with its last newline.
///
/// What other keys signed is left alone, as it must be: a log may change its key, and witnesses may sign too.
pub fn open<'a>(note: &'a [u8], key: &VerifierKey) -> Result<&'a str, NoteError> {
    let (text, signatures) = split(note)?;
    let mut ours = Vec::new();
    for (number, line) in (1..).zip(signatures.split_terminator('\n')) {
        let (name, id, signature) = signature(line).ok_or(NoteError::NotASignature { number })?;
        if (name, id) == (key.name(), key.id()) {
            ours.push(signature);
        }
    }
    let key_name = || key.name().to_owned();
    match ours.as_slice() {
        [] => Err(NoteError::NotSigned { key: key_name() }),
        [signature] if key.has_signed(text.as_bytes(), signature) => Ok(text),
        [_] => Err(NoteError::WrongSignature { key: key_name() }),
        _ => Err(NoteError::SignedTwice { key: key_name() }),
    }
}

/// Writes a note; the text ends with a newline.
pub(super) fn seal(text: &str, key: &VerifierKey, sign: impl FnOnce(&[u8]) -> [u8; 64]) -> String {
    let signature = [&key.id()[..], &sign(text.as_bytes())].concat();
    format!("{text}\n{DASH}{} {}\n", key.name(), base64(&signature))
}

/// Returns the text and the lines of the signatures.
fn split(note: &[u8]) -> Result<(&str, &str), NoteError> {
    if note.len() > MAX_NOTE {
        return Err(NoteError::TooLong { bytes: note.len() });
    }
    let note = std::str::from_utf8(note).map_err(|error| NoteError::NotUtf8 { at: error.valid_up_to() })?;
    if let Some(at) = note.bytes().position(|byte| byte < b' ' && byte != b'\n') {
        return Err(NoteError::Control { at });
    }
    if !note.ends_with('\n') {
        return Err(NoteError::Unfinished);
    }
    // The text may have empty lines; the last one ends it.
    let end = note.rfind("\n\n").map(|at| at + 1).ok_or(NoteError::NoSignature)?;
    match (&note[..end], &note[end + 1..]) {
        (_, "") => Err(NoteError::NoSignature),
        parts => Ok(parts),
    }
}

/// Reads the name and the id of a key, and its signature.
fn signature(line: &str) -> Option<(&str, [u8; 4], Vec<u8>)> {
    let (name, bytes) = line.strip_prefix(DASH)?.split_once(' ')?;
    let bytes = unbase64(bytes)?;
    let (id, signature) = bytes.split_first_chunk()?;
    (is_name(name) && !signature.is_empty()).then(|| (name, *id, signature.to_vec()))
}
