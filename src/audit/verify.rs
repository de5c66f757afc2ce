//! Whether anybody changed, removed or moved a record: said by whoever asks, with public keys alone.
//!
//! Every frame is hashed as it stands, and the root over the first so many must be the one that was signed. What
//! that cannot show is part of the answer: whoever owns the machine can cut the end off and sign again, and only
//! a checkpoint that was kept elsewhere tells.

mod folding;
mod roots;

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use self::folding::{Folding, NamedState};
use self::roots::Roots;
use super::succession::{Succession, Usurped};
use super::tampered::{OwnedUp, Tampered};
use super::{ReadError, Reader};
use crate::domain::event::{Event, StateHash};
use crate::domain::id::{Hash, LogId, Position, RecordId};
use crate::domain::record::Record;
use crate::domain::state::{FOLD, REMEMBERED};
use crate::domain::time::Timestamp;
use crate::event_log::codec::{self, DecodeError, leaf_hash};
use crate::event_log::note::{self, Checkpoint};
use crate::event_log::states::REACH;
use crate::event_log::tree::Frontier;

/// So many records may stand without a signature, from the first one on.
pub const UNSIGNED_LIMIT: u64 = 2_048;

/// What somebody found who looked at every record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Which log it is.
    pub log: Option<LogId>,
    /// Under which name it signs.
    pub origin: Option<String>,
    /// How many records it has.
    pub records: u64,
    /// The root of the tree over them.
    pub root: Option<Hash>,
    /// How many checkpoints were checked.
    pub checkpoints: u64,
    /// How many stored states were made again and had the hash that was signed.
    pub states: u64,
    /// The newest checkpoint in the log: the one that signs for the most records.
    pub newest: Option<Signed>,
    /// Records behind it, that nobody has signed for.
    pub unsigned: u64,
    /// Where the operator owned up to a break.
    pub breaks: Vec<Break>,
    /// Where another key took over.
    pub keys: Vec<Position>,
    /// The first record that only a newer doorbook understands; the state was not followed beyond it.
    pub not_understood: Option<(Position, String)>,
    /// Checkpoints that were kept elsewhere, and fit.
    pub kept: Vec<Signed>,
}

/// A checkpoint that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Where it stands; nowhere, where it was kept elsewhere.
    pub position: Option<Position>,
    /// For how many records.
    pub size: u64,
    /// When it was written, where it stands in the log; otherwise when the last record was that it signs for.
    pub at: Option<Timestamp>,
}

/// A break that the operator owned up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Break {
    /// Where it is owned up to.
    pub position: Position,
    /// Whether the log was put back from a copy, rather than gone on with after a loss.
    pub restored: bool,
}

/// Why there is no verdict that all is well.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The log is not what was signed.
    #[error(transparent)]
    Tampered(#[from] Tampered),
    /// The log could not be read to its end.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Reader {
    /// Looks at every record, and at checkpoints that were kept elsewhere.
    ///
    /// `progress` is told how many records have been looked at.
    pub async fn verify(
        &self,
        kept: &[String],
        mut progress: impl FnMut(u64),
    ) -> Result<Verdict, VerifyError> {
        let mut look = Look::new(kept);
        let Some(head) = self.head().await? else { return look.nothing().map_err(Into::into) };
        let mut records = self.source().records(Position(0), Some(head)).await?;
        while let Some(chunk) = records.next().await? {
            for (position, frame) in chunk {
                look.take(position, &frame)?;
            }
            progress(look.verdict.records);
        }
        Ok(look.finish()?)
    }
}

/// Everything that must be remembered from one record to the next.
struct Look {
    verdict: Verdict,
    roots: Roots,
    ids: HashMap<RecordId, Position>,
    /// The keys that this log has signed with; nobody's before the first record.
    succession: Option<Succession>,
    signed: u64,
    /// As long as every record is understood.
    folding: Option<Folding>,
    /// What was found of the states, once a record is not understood.
    states: Result<u64, Tampered>,
    kept: Vec<Kept>,
}

/// A checkpoint that was kept elsewhere.
struct Kept {
    note: String,
    size: Option<u64>,
    root: Option<Hash>,
    at: Option<Timestamp>,
}

impl Look {
    fn new(kept: &[String]) -> Look {
        Look {
            verdict: Verdict::default(),
            roots: Roots::default(),
            ids: HashMap::new(),
            succession: None,
            signed: 0,
            folding: Some(Folding::default()),
            states: Ok(0),
            kept: kept
                .iter()
                .map(|note| Kept {
                    note: note.clone(),
                    size: note.lines().nth(1).and_then(|line| line.parse().ok()),
                    root: None,
                    at: None,
                })
                .collect(),
        }
    }

    fn take(&mut self, position: Position, frame: &[u8]) -> Result<(), Tampered> {
        let not_a_record = |source| Tampered::NotARecord { position, source };
        let decoded = codec::decode_record(frame);
        let id = match &decoded {
            Ok(record) => record.id,
            Err(_) => codec::decode_raw(frame).map_err(not_a_record)?.id,
        };
        let leaf = leaf_hash(frame);
        let is_repeated = self.check_id(position, id, leaf)?;
        match decoded {
            // Storage kept it twice; it counts once.
            Ok(record) if is_repeated => self.fold(position, record),
            Ok(record) => self.understand(position, record)?,
            Err(error @ (DecodeError::Unknown { .. } | DecodeError::UnknownContext { .. })) => {
                if let Some(folding) = self.folding.take() {
                    self.states = folding.finish(position.0);
                }
                self.verdict.not_understood.get_or_insert_with(|| (position, error.to_string()));
            }
            Err(source) => return Err(not_a_record(source)),
        }
        self.grow(leaf);
        if self.verdict.newest.is_some() && self.verdict.records - self.signed > UNSIGNED_LIMIT {
            return Err(Tampered::Unsigned { position });
        }
        Ok(())
    }

    fn grow(&mut self, leaf: Hash) {
        self.roots.push(leaf);
        self.verdict.records += 1;
        let (size, at) = (self.verdict.records, self.eff());
        for kept in self.kept.iter_mut().filter(|kept| kept.size == Some(size)) {
            (kept.root, kept.at) = (Some(self.roots.now.root()), at);
        }
    }

    /// A record that storage kept twice stands near the first, byte for byte; anything else is forged.
    fn check_id(&mut self, position: Position, id: RecordId, leaf: Hash) -> Result<bool, Tampered> {
        match self.ids.entry(id) {
            Entry::Vacant(new) => {
                new.insert(position);
                Ok(false)
            }
            Entry::Occupied(known) => {
                let other = *known.get();
                let near = position.0 - other.0 <= REMEMBERED as u64;
                if self.roots.leaf(other) != Some(leaf) || !near {
                    return Err(Tampered::SameId { position, other });
                }
                Ok(true)
            }
        }
    }

    fn fold(&mut self, position: Position, record: Record) {
        if let Some(folding) = &mut self.folding {
            folding.time.advance(&record);
            folding.take(position, record);
        }
    }

    fn eff(&self) -> Option<Timestamp> {
        self.folding.as_ref().map(|folding| folding.time.eff())
    }

    fn understand(&mut self, position: Position, record: Record) -> Result<(), Tampered> {
        let mut events = record.events.iter();
        if position == Position(0) {
            let begun = events.next().and_then(Succession::begin).ok_or(Tampered::NoBeginning)?;
            (self.verdict.log, self.verdict.origin) = (Some(begun.log), Some(begun.name.clone()));
            self.succession = Some(begun);
        }
        for event in events {
            match event {
                // After a loss of everything it is written again, but then it is the first record again.
                Event::LogCreated { .. } => return Err(Tampered::SecondBeginning { position }),
                Event::KeyRotated { .. } => self.succeed(position, event)?,
                Event::LogLossAccepted { .. } => {
                    self.verdict.breaks.push(Break { position, restored: false })
                }
                Event::LogRestored { .. } => self.verdict.breaks.push(Break { position, restored: true }),
                _ => {}
            }
        }
        if let Some(folding) = &mut self.folding {
            folding.time.advance(&record);
        }
        let at = self.eff();
        for event in &record.events {
            if let Event::CheckpointSigned { size, root, note, state } = event {
                let frontier = self.check_checkpoint(position, *size, *root, note)?;
                // What another fold made of the records, this one cannot say.
                if let Some(StateHash { fold: FOLD, hash }) = *state
                    && let Some(folding) = &mut self.folding
                    && position.0 - size < REACH
                {
                    folding.named.push(NamedState { position, frontier, hash });
                }
                self.verdict.checkpoints += 1;
                // One that vouches for a stored state signs for fewer than others before it may.
                if self.verdict.newest.is_none_or(|newest| newest.size <= *size) {
                    self.verdict.newest = Some(Signed { position: Some(position), size: *size, at });
                }
                self.signed = self.signed.max(*size);
            }
        }
        if let Some(folding) = &mut self.folding {
            folding.take(position, record);
        }
        Ok(())
    }

    /// Another key takes over only with the word of the one before it.
    fn succeed(&mut self, position: Position, event: &Event) -> Result<(), Tampered> {
        let succession = self.succession.as_mut().ok_or(Tampered::NoBeginning)?;
        match succession.hear(position, event) {
            Ok(true) => self.verdict.keys.push(position),
            Ok(false) => {}
            Err(Usurped::Beginning) => return Err(Tampered::SecondBeginning { position }),
            Err(Usurped::NoWord) => return Err(Tampered::Succession { position }),
        }
        Ok(())
    }

    fn check_checkpoint(
        &self,
        position: Position,
        size: u64,
        root: Hash,
        text: &str,
    ) -> Result<Frontier, Tampered> {
        let key = self.succession.as_ref().and_then(Succession::current).ok_or(Tampered::NoBeginning)?;
        let signed = note::verify(text.as_bytes(), key);
        let signed = signed.map_err(|source| Tampered::Signature { position, source })?;
        if signed.size != size || signed.root != root {
            return Err(Tampered::Note { position });
        }
        if size > position.0 {
            return Err(Tampered::Gone { position, size, fits: self.signed });
        }
        let found = self.roots.at(size).filter(|found| found.root() == root);
        found.ok_or(Tampered::Root { position, size, fits: self.signed })
    }

    /// Believes a checkpoint that was kept elsewhere: the log may sign with another key by now.
    fn open_kept(&self, text: &str) -> Result<Checkpoint, Tampered> {
        let mut opened = Err(Tampered::NoBeginning);
        for (_, key) in self.succession.iter().flat_map(Succession::keys) {
            opened = note::verify(text.as_bytes(), key).map_err(|source| Tampered::KeptSignature { source });
            if opened.is_ok() {
                return opened;
            }
        }
        // Nobody's word yet, but enough to say which file it may be.
        let found = text.lines().next().filter(|_| text.contains("\n\n\u{2014} "));
        match (found, self.verdict.origin.as_deref()) {
            (Some(found), Some(log)) if found != log => {
                Err(Tampered::KeptOther { found: found.into(), log: log.into() })
            }
            _ => opened,
        }
    }

    /// A log without a record is nothing to prove, unless it is known to have had some.
    fn nothing(self) -> Result<Verdict, Tampered> {
        match self.kept.iter().map(|kept| kept.size.unwrap_or(0)).max() {
            Some(size) => Err(Tampered::Cut { size, has: 0, owned_up: OwnedUp(None) }),
            None => Ok(self.verdict),
        }
    }

    fn finish(mut self) -> Result<Verdict, Tampered> {
        self.verdict.root = Some(self.roots.now.root());
        self.verdict.unsigned = self.verdict.records - self.signed;
        for kept in std::mem::take(&mut self.kept) {
            let signed = self.open_kept(&kept.note)?;
            let (size, has) = (signed.size, self.verdict.records);
            let broken = self.verdict.breaks.iter().find(|owned_up| owned_up.position.0 < size);
            let owned_up = OwnedUp(broken.map(|owned_up| owned_up.position));
            if size > has {
                return Err(Tampered::Cut { size, has, owned_up });
            }
            let root = if size == 0 { Some(signed.root) } else { kept.root };
            if root != Some(signed.root) {
                return Err(Tampered::KeptRoot { size, owned_up });
            }
            self.verdict.kept.push(Signed { position: None, size, at: kept.at });
        }
        let states = match self.folding {
            Some(folding) => folding.finish(self.verdict.records),
            None => self.states,
        };
        self.verdict.states = states?;
        Ok(self.verdict)
    }
}
