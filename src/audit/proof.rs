//! What to give to somebody who has neither the log nor a secret: the newest checkpoint, and the proof of one record.

use super::{ReadError, Reader};
use crate::domain::event::Event;
use crate::domain::id::Position;
use crate::domain::record::Record;
use crate::event_log::codec::leaf_hash;
use crate::event_log::note::{VerifierKey, origin_of};
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
    /// Returns the newest checkpoint that stands in the log.
    pub async fn newest_checkpoint(&self) -> Result<Option<StandingCheckpoint>, ReadError> {
        let Some(head) = self.head().await? else { return Ok(None) };
        let mut end = head.next().0;
        while end > 0 {
            let begin = end.saturating_sub(PIECE);
            let mut newest = None;
            self.each(Position(begin), Position(end - 1), |position, record| {
                newest = checkpoint_in(position, record).or(newest.take());
            })
            .await?;
            if newest.is_some() {
                return Ok(newest);
            }
            end = begin;
        }
        Ok(None)
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
        let mut keys = Vec::new();
        let mut name = String::new();
        self.each(Position(0), head, |_, record| {
            for event in &record.events {
                let public = match event {
                    Event::LogCreated { log, origin, public_key, .. } => {
                        name = origin_of(origin, *log);
                        public_key
                    }
                    Event::KeyRotated { signer: Some(signer), .. } => &signer.public_key,
                    _ => continue,
                };
                keys.extend(VerifierKey::new(&name, public).ok());
            }
        })
        .await?;
        Ok(keys)
    }
}

fn checkpoint_in(position: Position, record: &Record) -> Option<StandingCheckpoint> {
    record.events.iter().find_map(|event| match event {
        Event::CheckpointSigned { size, note, .. } => {
            Some(StandingCheckpoint { position, size: *size, note: note.clone() })
        }
        _ => None,
    })
}
