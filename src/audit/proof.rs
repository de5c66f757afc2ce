//! What to give to somebody who has neither the log nor a secret: the newest checkpoint, and the proof of one record.

use super::succession::Succession;
use super::{ReadError, Reader};
use crate::domain::event::Event;
use crate::domain::id::Position;
use crate::domain::record::Record;
use crate::event_log::codec::leaf_hash;
use crate::event_log::note::VerifierKey;
use crate::event_log::proof::Proof;
use crate::event_log::tree::Tree;

/// A checkpoint as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandingCheckpoint {
    /// Where.
    pub position: Position,
    /// For how many records it signs.
    pub size: u64,
    /// The signed note.
    pub note: String,
}

/// Records are read in pieces of this length when the end of the log is looked through backwards.
const PIECE: u64 = 4_096;

impl Reader {
    /// Returns the newest checkpoint that stands in the log: the one that signs for the most records.
    ///
    /// One that vouches for a stored state may stand behind it and sign for fewer.
    pub async fn newest_checkpoint(&self) -> Result<Option<StandingCheckpoint>, ReadError> {
        let Some(head) = self.head().await? else { return Ok(None) };
        let mut newest: Option<StandingCheckpoint> = None;
        let mut end = head.next().0;
        // Whatever stands before `end` signs for no more than that.
        while newest.as_ref().map_or(0, |newest| newest.size) < end {
            let begin = end.saturating_sub(PIECE);
            self.each(Position(begin), Position(end - 1), |position, record| {
                let found = checkpoint_in(position, record);
                let size = newest.as_ref().map_or(0, |newest| newest.size);
                if let Some(found) = found.filter(|found| found.size >= size) {
                    newest = Some(found);
                }
            })
            .await?;
            end = begin;
        }
        Ok(newest)
    }

    /// Proves that a record stands in the log; `None` where nobody has signed for it yet.
    pub async fn prove(&self, position: Position) -> Result<Option<Proof>, ReadError> {
        let newest = self.newest_checkpoint().await?;
        let Some(signed) = newest.filter(|signed| signed.size > position.0) else { return Ok(None) };
        let mut tree = Tree::new();
        let mut records = self.source().records(Position(0), Some(Position(signed.size - 1))).await?;
        while let Some(chunk) = records.next().await? {
            chunk.iter().for_each(|(_, frame)| tree.push(leaf_hash(frame)));
        }
        let hashes = tree.inclusion(position.0, signed.size).map_err(|error| ReadError::Unavailable {
            why: format!("the log is shorter than its own checkpoint says: {error}"),
        })?;
        Ok(Some(Proof { extra: Vec::new(), index: position.0, hashes, note: signed.note }))
    }

    /// Returns the keys that this log has signed with, as others' tools read them, the current one last.
    pub async fn verifier_keys(&self) -> Result<Vec<VerifierKey>, ReadError> {
        let Some(head) = self.head().await? else { return Ok(Vec::new()) };
        let mut succession: Option<Succession> = None;
        let mut broken = None;
        self.each_while(Position(0), head, |position, record| {
            let heard = record.events.iter().try_for_each(|event| match &mut succession {
                Some(succession) => succession.hear(position, event).map(drop).map_err(|why| why.to_string()),
                none => {
                    *none = Succession::begin(event);
                    none.as_ref().map(drop).ok_or_else(|| "it does not begin a log".to_owned())
                }
            });
            broken = heard.err().map(|why| ReadError::Broken { position, why });
            broken.is_none()
        })
        .await?;
        let keys = succession.map(|succession| succession.keys().to_vec()).unwrap_or_default();
        broken.map_or(Ok(keys.into_iter().map(|(_, key)| key).collect()), Err)
    }
}

fn checkpoint_in(position: Position, record: &Record) -> Option<StandingCheckpoint> {
    record.events.iter().find_map(|event| match event {
        // Nobody can sign for what is not there yet.
        Event::CheckpointSigned { size, note, .. } if *size <= position.0 => {
            Some(StandingCheckpoint { position, size: *size, note: note.clone() })
        }
        _ => None,
    })
}
