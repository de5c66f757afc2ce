//! Whose signatures count in a log, and the newest note that stands in it.

use crate::audit::succession::Succession;
use crate::domain::event::Event;
use crate::domain::id::{Hash, Position};
use crate::event_log::note::{self, Checkpoint, NoteError};

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
    pub(super) succession: Succession,
    pub(super) newest: Option<Noted>,
}

impl Signers {
    /// Begins with the first event of a log; `None` where it begins none.
    pub(super) fn begin(first: &Event) -> Option<Signers> {
        Some(Signers { succession: Succession::begin(first)?, newest: None })
    }

    /// Takes in what an event says. A key counts only with the word of the one before it.
    pub(super) fn hear(&mut self, position: Position, event: &Event) {
        if let Err(usurped) = self.succession.hear(position, event) {
            tracing::debug!(position = position.0, why = %usurped, "a key does not count");
        }
        self.hear_note(position, event);
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
        let keys = self.succession.keys().iter().filter(|(since, _)| *since <= to);
        keys.map(|(_, key)| key.to_string()).collect()
    }

    /// Believes a note that one of the keys has signed.
    pub(super) fn open(&self, note: &str) -> Result<Checkpoint, NoteError> {
        let mut opened = Err(NoteError::NotSigned { key: self.succession.name.clone() });
        for (_, key) in self.succession.keys().iter().rev() {
            opened = note::verify(note.as_bytes(), key);
            if opened.is_ok() {
                break;
            }
        }
        opened
    }
}
