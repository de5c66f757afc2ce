//! The tree over the records: as it is, and as it was at any size.

use crate::domain::id::{Hash, Position};
use crate::event_log::tree::Frontier;

/// So many leaves lie between the trees that are kept as they were.
const STEP: usize = 256;

/// The tree as it is, and as it was at any size.
#[derive(Default)]
pub(super) struct Roots {
    leaves: Vec<Hash>,
    pub(super) now: Frontier,
    /// What it was before each [`STEP`] of the leaves.
    past: Vec<Frontier>,
}

impl Roots {
    pub(super) fn push(&mut self, leaf: Hash) {
        if self.leaves.len().is_multiple_of(STEP) {
            self.past.push(self.now.clone());
        }
        self.leaves.push(leaf);
        self.now.push(leaf);
    }

    pub(super) fn leaf(&self, position: Position) -> Option<Hash> {
        self.leaves.get(usize::try_from(position.0).ok()?).copied()
    }

    /// Returns the edge of the tree as it was when it had so many leaves.
    pub(super) fn at(&self, size: u64) -> Option<Frontier> {
        let size = usize::try_from(size).ok()?;
        let Some(step) = self.past.get(size / STEP) else {
            return (size == self.leaves.len()).then(|| self.now.clone());
        };
        let mut frontier = step.clone();
        self.leaves.get(size / STEP * STEP..size)?.iter().for_each(|leaf| frontier.push(*leaf));
        Some(frontier)
    }
}
