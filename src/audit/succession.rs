//! Whose signatures count in a log: the key that it began with, and each that has the word of the one before it.

use crate::crypto::verify_signer_succession;
use crate::domain::event::Event;
use crate::domain::id::{LogId, Position};
use crate::event_log::note::{VerifierKey, origin_of};

/// The keys of a log, as its records name them one after the other.
#[derive(Clone, Debug)]
pub(super) struct Succession {
    pub(super) log: LogId,
    /// Under which name all of them sign.
    pub(super) name: String,
    keys: Vec<(Position, VerifierKey)>,
}

/// An event names a key that has nobody's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Usurped {
    /// It begins the log once more, with another key.
    #[error("it begins the log once more, with another key")]
    Beginning,
    /// The key before it has not signed for it.
    #[error("another key takes over without the signature of the one before it")]
    NoWord,
}

impl Succession {
    /// Begins with the first event of a log; `None` where it begins none.
    pub(super) fn begin(first: &Event) -> Option<Succession> {
        let Event::LogCreated { log, origin, public_key, .. } = first else { return None };
        let name = origin_of(origin, *log);
        let key = VerifierKey::new(&name, public_key).ok().map(|key| (Position(0), key));
        Some(Succession { log: *log, name, keys: key.into_iter().collect() })
    }

    /// Takes in what an event says, and returns whether another key signs from here on.
    ///
    /// What names the key that signs already changes nothing: storage may have kept a record twice.
    pub(super) fn hear(&mut self, position: Position, event: &Event) -> Result<bool, Usurped> {
        let current = self.current().map(VerifierKey::public);
        match event {
            Event::LogCreated { log, origin, public_key, .. } => {
                let same = *log == self.log
                    && origin_of(origin, *log) == self.name
                    && current.is_none_or(|current| current == *public_key);
                if same { Ok(false) } else { Err(Usurped::Beginning) }
            }
            Event::KeyRotated { signer: Some(next), .. } if current == Some(next.public_key) => Ok(false),
            Event::KeyRotated { signer: Some(next), .. } => {
                let old = current.ok_or(Usurped::NoWord)?;
                if !verify_signer_succession(self.log, &old, &next.public_key, &next.signature) {
                    return Err(Usurped::NoWord);
                }
                let key = VerifierKey::new(&self.name, &next.public_key).map_err(|_| Usurped::NoWord)?;
                self.keys.push((position, key));
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Returns the key that signs now.
    pub(super) fn current(&self) -> Option<&VerifierKey> {
        self.keys.last().map(|(_, key)| key)
    }

    /// Returns every key and since when it signs, the current one last.
    pub(super) fn keys(&self) -> &[(Position, VerifierKey)] {
        &self.keys
    }
}
