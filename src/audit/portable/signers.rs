//! Whose signatures count in a log, and the newest note that stands in it.

use crate::crypto::verify_signer_succession;
use crate::domain::event::Event;
use crate::domain::id::{Hash, LogId, Position};
use crate::event_log::note::{self, Checkpoint, NoteError, VerifierKey, origin_of};

/// A signed note that stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// Where.
    pub position: Position,
    /// For how many records it signs.
    pub size: u64,
    /// The root that it names.
    pub root: Hash,
    /// The note itself.
    pub note: String,
}

/// What the records say about keys and notes, one event after the other.
#[derive(Clone, Debug)]
pub(super) struct Signers {
    pub(super) log: LogId,
    pub(super) origin: String,
    keys: Vec<(Position, VerifierKey)>,
    pub(super) newest: Option<Noted>,
}

impl Signers {
    /// Begins with the first event of a log; `None` where it begins none.
    pub(super) fn begin(first: &Event) -> Option<Signers> {
        let Event::LogCreated { log, origin, public_key, .. } = first else { return None };
        let name = origin_of(origin, *log);
        let key = VerifierKey::new(&name, public_key).ok().map(|key| (Position(0), key));
        Some(Signers { log: *log, origin: name, keys: key.into_iter().collect(), newest: None })
    }

    /// Takes in what an event says. A key counts only with the word of the one before it.
    pub(super) fn hear(&mut self, position: Position, event: &Event) {
        match event {
            Event::KeyRotated { signer: Some(next), .. } => {
                let Some((_, old)) = self.keys.last() else { return };
                if verify_signer_succession(self.log, &old.public(), &next.public_key, &next.signature) {
                    let key = VerifierKey::new(&self.origin, &next.public_key).ok();
                    self.keys.extend(key.map(|key| (position, key)));
                }
            }
            event => self.hear_note(position, event),
        }
    }

    /// Takes in a note alone; one that vouches for a stored state may stand far behind the records it signs for.
    pub(super) fn hear_note(&mut self, position: Position, event: &Event) {
        if let Event::CheckpointSigned { size, root, note, .. } = event
            && self.newest.as_ref().is_none_or(|newest| newest.size <= *size)
        {
            self.newest = Some(Noted { position, size: *size, root: *root, note: note.clone() });
        }
    }

    /// Returns the keys that signed up to there, as text, the current one last.
    pub(super) fn keys(&self, to: Position) -> Vec<String> {
        self.keys.iter().filter(|(since, _)| *since <= to).map(|(_, key)| key.to_string()).collect()
    }

    /// Believes a note that one of the keys has signed.
    pub(super) fn open(&self, note: &str) -> Result<Checkpoint, NoteError> {
        let mut opened = Err(NoteError::NotSigned { key: self.origin.clone() });
        for (_, key) in self.keys.iter().rev() {
            opened = note::verify(note.as_bytes(), key);
            if opened.is_ok() {
                break;
            }
        }
        opened
    }
}
