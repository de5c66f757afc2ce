//! How long a log is and the root over it, in three lines: <https://c2sp.org/tlog-checkpoint>.

use super::line::{base64, hash, number};
use super::signed::{open, seal};
use super::{NoteError, VerifierKey};
use crate::domain::id::{Hash, LogId};
use crate::event_log::tree::MAX_SIZE;

/// The longest origin that witnesses sign for.
const MAX_ORIGIN: usize = 255;

/// What a log says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log it is; see [`origin_of`].
    pub origin: String,
    /// How many records it has.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

/// Returns how a log is called in its checkpoints, and its key with it: the public origin without its
/// scheme, and the log's id, as in `login.example.org/doorbook/6f0d…`.
///
/// A public origin that is not one, or none, leaves `doorbook/6f0d…`. The id alone tells logs apart.
pub fn origin_of(public_origin: &str, log: LogId) -> String {
    let host = ["https://", "http://"].iter().find_map(|scheme| public_origin.strip_prefix(scheme));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    let host = host.filter(|host| !host.is_empty() && host.bytes().all(plain));
    let alone = format!("doorbook/{log}");
    let whole = host.map(|host| format!("{host}/{alone}"));
    whole.filter(|whole| whole.len() <= MAX_ORIGIN).unwrap_or(alone)
}

/// Writes a checkpoint as a note that the key of its log signs.
///
/// Nothing leaves here that [`verify`] would refuse: not a checkpoint of another log, nor the signature of
/// another key.
pub fn sign(
    checkpoint: &Checkpoint,
    key: &VerifierKey,
    sign: impl FnOnce(&[u8]) -> [u8; 64],
) -> Result<String, NoteError> {
    let Checkpoint { origin, size, root } = checkpoint;
    same_log(origin, key)?;
    let note = seal(&format!("{origin}\n{size}\n{}\n", base64(&root.0)), key, sign);
    verify(note.as_bytes(), key)?;
    Ok(note)
}

/// Returns what a note says if the key signed it, and if it is a checkpoint of the log whose key it is.
pub fn verify(note: &[u8], key: &VerifierKey) -> Result<Checkpoint, NoteError> {
    let checkpoint = read(open(note, key)?)?;
    same_log(&checkpoint.origin, key)?;
    Ok(checkpoint)
}

fn same_log(origin: &str, key: &VerifierKey) -> Result<(), NoteError> {
    if origin == key.name() {
        return Ok(());
    }
    Err(NoteError::OtherLog { found: origin.to_owned(), key: key.name().to_owned() })
}

/// Reads the text of a note.
pub(super) fn read(text: &str) -> Result<Checkpoint, NoteError> {
    let lines: Vec<&str> = text.split_terminator('\n').collect();
    let [origin, size, root] = lines[..] else {
        return Err(NoteError::NotThreeLines { lines: lines.len() });
    };
    let size = number(size).filter(|size| *size <= MAX_SIZE).ok_or(NoteError::NotASize)?;
    let root = hash(root).ok_or(NoteError::NotAHash)?;
    Ok(Checkpoint { origin: origin.to_owned(), size, root })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_log::note::key::is_name;

    #[test]
    fn a_log_is_called_by_its_address_and_its_id() {
        let log = LogId([0x6f; 16]);
        let id = "6f".repeat(16);
        for (public_origin, host) in [
            ("https://login.example.org", "login.example.org/"),
            ("http://localhost:3001", "localhost:3001/"),
            ("http://[::1]:3001", "[::1]:3001/"),
            ("https://xn--bcher-kva.example", "xn--bcher-kva.example/"),
        ] {
            assert_eq!(origin_of(public_origin, log), format!("{host}doorbook/{id}"));
        }
        let long = format!("https://{}.example", "a".repeat(250));
        for odd in [
            "",
            "https://",
            "null",
            "login.example.org",
            "ftp://login.example.org",
            "https://login.example.org/",
            "https://login.example.org/path",
            "https://user@login.example.org",
            "https://a b.example",
            "https://a+b.example",
            "https://a\nb.example",
            "https://bücher.example",
            &long,
        ] {
            assert_eq!(origin_of(odd, log), format!("doorbook/{id}"), "{odd:?}");
        }
        let origin = origin_of("https://login.example.org", log);
        assert!(is_name(&origin));
    }
}
