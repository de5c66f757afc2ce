//! A tree that grows and knows its root, in at most 64 hashes.

use super::{MAX_SIZE, empty_root, node};
use crate::domain::id::Hash;

/// The right edge of a growing tree: the roots of its full subtrees, from the largest to the smallest.
///
/// There is one for each bit that is set in the size, so to push is to add one in binary: on average it
/// takes one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    roots: Vec<Hash>,
}

/// The hashes are not the edge of a tree of that size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{hashes} hashes are not the edge of a tree of {size} leaves")]
pub struct NotAFrontier {
    /// How many leaves there should be.
    pub size: u64,
    /// How many hashes there are.
    pub hashes: usize,
}

impl Frontier {
    /// Returns the edge of the empty tree.
    pub fn new() -> Frontier {
        Frontier::default()
    }

    /// Takes up what [`parts`](Self::parts) gave; only the count can be checked.
    pub fn from_parts(size: u64, roots: Vec<Hash>) -> Result<Frontier, NotAFrontier> {
        if size > MAX_SIZE || u32::try_from(roots.len()) != Ok(size.count_ones()) {
            return Err(NotAFrontier { size, hashes: roots.len() });
        }
        Ok(Frontier { size, roots })
    }

    /// Returns all there is to it: the size, and a hash for each bit that is set in it.
    pub fn parts(&self) -> (u64, Vec<Hash>) {
        (self.size, self.roots.clone())
    }

    /// Adds a leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut root = leaf;
        for _ in 0..self.size.trailing_ones() {
            let Some(left) = self.roots.pop() else { break };
            root = node(left, root);
        }
        self.roots.push(root);
        self.size += 1;
    }

    /// Returns how many leaves there are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns the root over all leaves.
    pub fn root(&self) -> Hash {
        let from_the_smallest = self.roots.iter().rev().copied();
        from_the_smallest.reduce(|right, left| node(left, right)).unwrap_or_else(empty_root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grown(size: u64) -> Frontier {
        let mut frontier = Frontier::new();
        (0..size).for_each(|n| frontier.push(Hash::of(&n.to_be_bytes())));
        frontier
    }

    #[test]
    fn a_frontier_goes_on_from_its_parts() {
        for size in [0, 1, 2, 7, 8, 255, 256, 257] {
            let (said, roots) = grown(size).parts();
            assert_eq!((said, roots.len()), (size, usize::try_from(size.count_ones()).unwrap()));
            let mut taken_up = Frontier::from_parts(said, roots).unwrap();
            assert_eq!(taken_up, grown(size));
            taken_up.push(Hash::of(&size.to_be_bytes()));
            assert_eq!(taken_up, grown(size + 1));
        }
    }

    #[test]
    fn a_wrong_count_of_hashes_is_no_frontier() {
        let hashes = |count| vec![Hash([7; 32]); count];
        for (size, count) in [(0, 1), (1, 0), (1, 2), (7, 2), (7, 4), (8, 3), (u64::MAX, 64), (1 << 63, 1)] {
            let refused = Frontier::from_parts(size, hashes(count));
            assert_eq!(refused, Err(NotAFrontier { size, hashes: count }));
        }
        assert!(Frontier::from_parts(MAX_SIZE, hashes(63)).is_ok());
    }
}
