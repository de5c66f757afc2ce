//! The leaves of a log, and what is proven with them: inclusion of a record, consistency of two sizes.

use super::{empty_root, node};
use crate::domain::id::Hash;

/// How many leaves a tile has.
const TILE: usize = 256;

/// The leaf hashes of a log in order, and the root of each full tile of 256.
///
/// There is no store of nodes: with the tiles a proof among a million records takes some thousand hashes,
/// and there is nothing beside the leaves that could be wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    leaves: Vec<Hash>,
    tiles: Vec<Hash>,
}

/// What was asked for is not in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutOfTree {
    /// The tree is smaller.
    #[error("the tree has {has} leaves, not {size}")]
    Size {
        /// How many were asked for.
        size: u64,
        /// How many there are.
        has: u64,
    },
    /// A tree of that size does not reach there.
    #[error("leaf {index} is not among {size}")]
    Index {
        /// Which was asked for.
        index: u64,
        /// Among how many.
        size: u64,
    },
    /// The old size is the larger one.
    #[error("a tree of {old} leaves is no beginning of one of {new}")]
    Order {
        /// The size that should come first.
        old: u64,
        /// The size that should come after it.
        new: u64,
    },
}

impl Tree {
    /// Returns the empty tree.
    pub fn new() -> Tree {
        Tree::default()
    }

    /// Adds a leaf.
    pub fn push(&mut self, leaf: Hash) {
        self.leaves.push(leaf);
        let end = self.leaves.len();
        if end.is_multiple_of(TILE) {
            self.tiles.push(self.root_between(end - TILE, end));
        }
    }

    /// Returns how many leaves there are.
    pub fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    /// Returns a leaf.
    pub fn leaf(&self, index: u64) -> Option<Hash> {
        self.leaves.get(usize::try_from(index).ok()?).copied()
    }

    /// Returns the root over all leaves.
    pub fn root(&self) -> Hash {
        self.root_between(0, self.leaves.len())
    }

    /// Returns the root as it was when there were `size` leaves.
    pub fn root_at(&self, size: u64) -> Result<Hash, OutOfTree> {
        Ok(self.root_between(0, self.within(size)?))
    }

    /// Proves that the leaf at `index` is in the tree of the first `size`: `PATH(m, D[n])` of RFC 6962.
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Hash>, OutOfTree> {
        let mut end = self.within(size)?;
        let beyond = OutOfTree::Index { index, size };
        let leaf = usize::try_from(index).ok().filter(|leaf| *leaf < end).ok_or(beyond)?;
        let mut start = 0;
        let mut path = Vec::new();
        while end - start > 1 {
            let middle = start + left_width(end - start);
            if leaf < middle {
                path.push(self.root_between(middle, end));
                end = middle;
            } else {
                path.push(self.root_between(start, middle));
                start = middle;
            }
        }
        path.reverse();
        Ok(path)
    }

    /// Proves that the tree of the first `new` begins with that of the first `old`: `PROOF(m, D[n])` of
    /// RFC 6962. From nothing, and from the same size, there is nothing to prove.
    pub fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, OutOfTree> {
        let mut end = self.within(new)?;
        if old > new {
            return Err(OutOfTree::Order { old, new });
        }
        let old = self.within(old)?;
        let mut start = 0;
        let mut path = Vec::new();
        while 0 < old && old < end {
            let middle = start + left_width(end - start);
            if old <= middle {
                path.push(self.root_between(middle, end));
                end = middle;
            } else {
                path.push(self.root_between(start, middle));
                start = middle;
            }
        }
        // Who has turned right has left the old root behind, and does not know this part of it.
        if start > 0 {
            path.push(self.root_between(start, end));
        }
        path.reverse();
        Ok(path)
    }

    fn within(&self, size: u64) -> Result<usize, OutOfTree> {
        let within = usize::try_from(size).ok().filter(|size| *size <= self.leaves.len());
        within.ok_or(OutOfTree::Size { size, has: self.size() })
    }

    /// Returns the root over a range that the tree itself splits off.
    fn root_between(&self, start: usize, end: usize) -> Hash {
        match &self.leaves[start..end] {
            [] => empty_root(),
            [leaf] => *leaf,
            leaves => {
                let is_tile = leaves.len() == TILE && start.is_multiple_of(TILE);
                if let Some(tile) = self.tiles.get(start / TILE).filter(|_| is_tile) {
                    return *tile;
                }
                let middle = start + left_width(leaves.len());
                node(self.root_between(start, middle), self.root_between(middle, end))
            }
        }
    }
}

impl FromIterator<Hash> for Tree {
    fn from_iter<I: IntoIterator<Item = Hash>>(leaves: I) -> Tree {
        let mut tree = Tree::new();
        leaves.into_iter().for_each(|leaf| tree.push(leaf));
        tree
    }
}

/// Returns how many of `width` leaves, at least two, go to the left: the largest power of two below it.
fn left_width(width: usize) -> usize {
    width.next_power_of_two() / 2
}
