//! The states that checkpoints name, made again from the records as they come by.

use std::collections::VecDeque;

use crate::audit::tampered::Tampered;
use crate::domain::id::{Hash, Position};
use crate::domain::record::Record;
use crate::domain::state::{State, Timeline};
use crate::event_log::codec;
use crate::event_log::states::REACH;
use crate::event_log::tree::Frontier;

/// The time of the last record, and the state of some records before it: a checkpoint names one that has passed.
#[derive(Default)]
pub(super) struct Folding {
    pub(super) time: Timeline,
    state: State,
    /// Not in the state yet.
    waiting: VecDeque<(Position, Record)>,
    /// The states that are named, as long as the state has not come that far.
    pub(super) named: Vec<NamedState>,
    /// How many were as they should be.
    right: u64,
    /// The first that was not.
    wrong: Option<Tampered>,
}

/// A state that a checkpoint names.
pub(super) struct NamedState {
    pub(super) position: Position,
    pub(super) frontier: Frontier,
    pub(super) hash: Hash,
}

impl Folding {
    pub(super) fn take(&mut self, position: Position, record: Record) {
        self.waiting.push_back((position, record));
        // Behind that nobody believes a checkpoint what it says of a state.
        if self.waiting.len() as u64 > REACH {
            self.apply_next();
        }
    }

    fn apply_next(&mut self) {
        if let Some((position, record)) = self.waiting.pop_front() {
            self.compare(position.0);
            self.state.apply(position, &record);
        }
    }

    /// Compares the state, which is of so many records, with what is said of it.
    fn compare(&mut self, size: u64) {
        for NamedState { position, frontier, hash } in
            self.named.extract_if(.., |named| named.frontier.size() == size)
        {
            match codec::write_state(&self.state, &frontier, std::io::sink()) {
                Ok(found) if found == hash => self.right += 1,
                _ => _ = self.wrong.get_or_insert(Tampered::State { position, size }),
            }
        }
    }

    /// Returns how many states were named and are as they should be.
    pub(super) fn finish(mut self, size: u64) -> Result<u64, Tampered> {
        while !self.waiting.is_empty() {
            self.apply_next();
        }
        self.compare(size);
        self.wrong.map_or(Ok(self.right), Err)
    }
}
