//! The tree over the log: one hash that stands for all records so far, and short proofs against it.
//!
//! It is the Merkle tree of RFC 6962. A leaf is [`leaf_hash`] of a frame, a node is
//! `SHA-256(0x01 || left || right)`, and the root of nothing is the SHA-256 of nothing. Nothing of it is in
//! the records: it follows from their order, so that it costs a writer nothing and anybody who has the
//! frames can build it again. [`Frontier`] knows the root and grows, [`Tree`] keeps the leaves and proves,
//! [`verify_inclusion`] and [`verify_consistency`] believe nobody.
//!
//! [`leaf_hash`]: super::codec::leaf_hash

mod frontier;
mod prover;
mod verify;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

pub use frontier::{Frontier, NotAFrontier};
pub use prover::{OutOfTree, Tree};
pub use verify::{NotProven, verify_consistency, verify_inclusion};

use sha2::{Digest, Sha256};

use crate::domain::id::Hash;

/// The most leaves that are ever talked about, as in Go's `tlog`.
pub const MAX_SIZE: u64 = u64::MAX / 2;

/// Returns the root of a tree without leaves.
pub fn empty_root() -> Hash {
    Hash::of(b"")
}

/// Returns the hash over two neighbours.
fn node(left: Hash, right: Hash) -> Hash {
    Hash(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
}
