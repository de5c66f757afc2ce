//! What a proof proves, asked of the crate `ct-merkle`: other hands than those that made the proof.

use ct_merkle::{ConsistencyProof, ConsistencyVerifError, InclusionProof, InclusionVerifError, RootHash};
use sha2::Sha256;

use super::{MAX_SIZE, empty_root};
use crate::domain::id::Hash;

/// The hashes do not prove what they are said to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotProven {
    /// No log is that long.
    #[error("no log has {size} records")]
    Size {
        /// How long it is said to be.
        size: u64,
    },
    /// The tree does not reach there.
    #[error("record {index} is not among {size}")]
    Index {
        /// Which record.
        index: u64,
        /// Among how many.
        size: u64,
    },
    /// The old size is the larger one.
    #[error("a log of {old} records is no beginning of one of {new}")]
    Order {
        /// The size that should come first.
        old: u64,
        /// The size that should come after it.
        new: u64,
    },
    /// There are more hashes, or fewer, than such a proof has.
    #[error("a proof of this has not {hashes} hashes")]
    Length {
        /// How many there are.
        hashes: usize,
    },
    /// They lead to another root.
    #[error("the hashes lead to another root")]
    Root,
}

/// Says whether `frame`, byte for byte, stands at `index` in the tree of that size and root.
///
/// It takes the frame and never its hash: who may choose the hash of a leaf may give that of a node.
pub fn verify_inclusion(
    frame: &[u8],
    index: u64,
    (size, root): (u64, Hash),
    proof: &[Hash],
) -> Result<(), NotProven> {
    let root = root_hash(size, root)?;
    let length = NotProven::Length { hashes: proof.len() };
    let proof = InclusionProof::try_from_bytes(bytes(proof)).map_err(|_| length)?;
    root.verify_inclusion(&frame, index, &proof).map_err(|error| match error {
        InclusionVerifError::IndexOutOfRange | InclusionVerifError::TreeEmpty => {
            NotProven::Index { index, size }
        }
        InclusionVerifError::MalformedProof => length,
        InclusionVerifError::IncorrectHash => NotProven::Root,
    })
}

/// Says whether the tree of the new size and root begins with that of the old size and root.
pub fn verify_consistency(
    (old, old_root): (u64, Hash),
    (new, new_root): (u64, Hash),
    proof: &[Hash],
) -> Result<(), NotProven> {
    let (before, after) = (root_hash(old, old_root)?, root_hash(new, new_root)?);
    let length = NotProven::Length { hashes: proof.len() };
    if old == 0 {
        // RFC 6962 has no proof from nothing on; whatever comes begins with nothing.
        return match (proof, old_root == empty_root()) {
            ([], true) if new > 0 || new_root == empty_root() => Ok(()),
            ([], _) => Err(NotProven::Root),
            _ => Err(length),
        };
    }
    let proof = ConsistencyProof::try_from_bytes(bytes(proof)).map_err(|_| length)?;
    after.verify_consistency(&before, &proof).map_err(|error| match error {
        ConsistencyVerifError::OldTreeLarger => NotProven::Order { old, new },
        ConsistencyVerifError::MalformedProof => length,
        _ => NotProven::Root,
    })
}

/// Refuses what `ct-merkle` would panic on: it counts nodes, and there are twice as many as leaves.
fn root_hash(size: u64, root: Hash) -> Result<RootHash<Sha256>, NotProven> {
    if size > MAX_SIZE {
        return Err(NotProven::Size { size });
    }
    Ok(RootHash::new(root.0.into(), size))
}

fn bytes(proof: &[Hash]) -> Vec<u8> {
    proof.iter().flat_map(|hash| hash.0).collect()
}
