//! Whether anybody changed, removed or moved a record: said by whoever asks, with public keys alone.
//!
//! Every frame is hashed as it stands, and the root over the first so many must be the one that was signed. What
//! that cannot show is part of the answer: whoever owns the machine can cut the end off and sign again, and only
//! a checkpoint that was kept elsewhere tells.

use std::collections::{HashMap, VecDeque};

use super::succession::{Succession, Usurped};
use super::tampered::{OwnedUp, Tampered};
use super::view::decode;
use super::{ReadError, Reader};
use crate::domain::event::{Event, StateHash};
use crate::domain::id::{Hash, LogId, Position, RecordId};
use crate::domain::record::Record;
use crate::domain::state::{FOLD, REMEMBERED, State};
use crate::domain::time::Timestamp;
use crate::event_log::codec::{self, DecodeError, leaf_hash};
use crate::event_log::note::{self, Checkpoint};
use crate::event_log::tree::{Frontier, Tree};

/// So many records may stand without a signature, from the first one on.
pub const UNSIGNED_LIMIT: u64 = 2_048;

/// So many of the last trees are kept as they were; a checkpoint that stands further behind takes a moment longer.
const RECENT: usize = 1_024;

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
        let (mut verdict, stored) = look.finish()?;
        verdict.states = self.check_states(stored).await?;
        Ok(verdict)
    }

    /// Makes every state again that was signed for, and compares; returns how many.
    async fn check_states(&self, stored: Vec<SignedState>) -> Result<u64, VerifyError> {
        let Some(last) = stored.iter().map(|signed| signed.size).max() else { return Ok(0) };
        let mut records = self.source().records(Position(0), Some(Position(last.saturating_sub(1)))).await?;
        let (mut state, mut frontier) = (State::default(), Frontier::new());
        let mut checked = 0;
        while let Some(chunk) = records.next().await? {
            for (position, frame) in chunk {
                state.apply(position, &decode(position, &frame)?);
                frontier.push(leaf_hash(&frame));
                let size = frontier.size();
                let mut signed = stored.iter().filter(|signed| signed.size == size).peekable();
                if signed.peek().is_none() {
                    continue;
                }
                let hash = codec::write_state(&state, &frontier, std::io::sink()).ok();
                for SignedState { position, hash: expected, .. } in signed {
                    if hash != Some(*expected) {
                        return Err(Tampered::State { position: *position, size }.into());
                    }
                    checked += 1;
                }
            }
        }
        Ok(checked)
    }
}

/// A state that a checkpoint names.
struct SignedState {
    position: Position,
    size: u64,
    hash: Hash,
}

/// Everything that must be remembered from one record to the next.
struct Look {
    verdict: Verdict,
    frontier: Frontier,
    tree: Tree,
    /// What the tree was after each of the last records, the newest last.
    recent: VecDeque<Frontier>,
    ids: HashMap<RecordId, (Position, Hash)>,
    /// The keys that this log has signed with; nobody's before the first record.
    succession: Option<Succession>,
    signed: u64,
    state: Option<State>,
    kept: Vec<Kept>,
    stored: Vec<SignedState>,
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
            frontier: Frontier::new(),
            tree: Tree::new(),
            recent: VecDeque::from([Frontier::new()]),
            ids: HashMap::new(),
            succession: None,
            signed: 0,
            state: Some(State::default()),
            stored: Vec::new(),
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
        let raw = codec::decode_raw(frame).map_err(|source| Tampered::NotARecord { position, source })?;
        let leaf = leaf_hash(frame);
        let is_repeated = self.check_id(position, raw.id, leaf)?;
        match codec::decode_record(frame) {
            // Storage kept it twice; it counts once.
            Ok(record) if is_repeated => self.fold(position, &record),
            Ok(record) => self.understand(position, &record)?,
            Err(error @ (DecodeError::Unknown { .. } | DecodeError::UnknownContext { .. })) => {
                self.state = None;
                self.verdict.not_understood.get_or_insert_with(|| (position, error.to_string()));
            }
            Err(source) => return Err(Tampered::NotARecord { position, source }),
        }
        self.grow(leaf);
        if self.verdict.newest.is_some() && self.verdict.records - self.signed > UNSIGNED_LIMIT {
            return Err(Tampered::Unsigned { position });
        }
        Ok(())
    }

    fn grow(&mut self, leaf: Hash) {
        self.frontier.push(leaf);
        self.tree.push(leaf);
        self.verdict.records += 1;
        self.recent.push_back(self.frontier.clone());
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        let size = self.verdict.records;
        let at = self.state.as_ref().map(State::eff);
        for kept in self.kept.iter_mut().filter(|kept| kept.size == Some(size)) {
            (kept.root, kept.at) = (Some(self.frontier.root()), at);
        }
    }

    /// A record that storage kept twice stands near the first, byte for byte; anything else is forged.
    fn check_id(&mut self, position: Position, id: RecordId, leaf: Hash) -> Result<bool, Tampered> {
        if let Some((other, known)) = self.ids.get(&id) {
            let near = position.0 - other.0 <= REMEMBERED as u64;
            if *known != leaf || !near {
                return Err(Tampered::SameId { position, other: *other });
            }
            return Ok(true);
        }
        self.ids.insert(id, (position, leaf));
        Ok(false)
    }

    fn fold(&mut self, position: Position, record: &Record) {
        if let Some(state) = &mut self.state {
            state.apply(position, record);
        }
    }

    fn understand(&mut self, position: Position, record: &Record) -> Result<(), Tampered> {
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
        self.fold(position, record);
        let at = self.state.as_ref().map(State::eff);
        for event in &record.events {
            if let Event::CheckpointSigned { size, root, note, state } = event {
                self.check_checkpoint(position, *size, *root, note)?;
                // What another fold made of the records, this one cannot say.
                if let Some(StateHash { fold: FOLD, hash }) = *state
                    && self.state.is_some()
                {
                    self.stored.push(SignedState { position, size: *size, hash });
                }
                self.verdict.checkpoints += 1;
                // One that vouches for a stored state signs for fewer than others before it may.
                if self.verdict.newest.is_none_or(|newest| newest.size <= *size) {
                    self.verdict.newest = Some(Signed { position: Some(position), size: *size, at });
                }
                self.signed = self.signed.max(*size);
            }
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
    ) -> Result<(), Tampered> {
        let key = self.succession.as_ref().and_then(Succession::current).ok_or(Tampered::NoBeginning)?;
        let signed = note::verify(text.as_bytes(), key);
        let signed = signed.map_err(|source| Tampered::Signature { position, source })?;
        if signed.size != size || signed.root != root {
            return Err(Tampered::Note { position });
        }
        if size > position.0 {
            return Err(Tampered::Gone { position, size, fits: self.signed });
        }
        let behind = usize::try_from(self.verdict.records - size).unwrap_or(usize::MAX);
        let recent =
            self.recent.len().checked_sub(behind.saturating_add(1)).and_then(|at| self.recent.get(at));
        let found = recent.map(Frontier::root).or_else(|| self.tree.root_at(size).ok());
        if found == Some(root) { Ok(()) } else { Err(Tampered::Root { position, size, fits: self.signed }) }
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

    fn finish(mut self) -> Result<(Verdict, Vec<SignedState>), Tampered> {
        self.verdict.root = Some(self.frontier.root());
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
        Ok((self.verdict, self.stored))
    }
}
