//! Maps by ids that were drawn at random or are a hash already: they are not hashed once more.
//!
//! A session check and the fold look such ids up again and again, and what keeps strangers from choosing keys that
//! collide is that none of these ids is chosen by them: we draw them, or take the SHA-256 of what we drew.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// A map by drawn ids.
pub type DrawnMap<K, V> = HashMap<K, V, BuildDrawn>;

/// A set of drawn ids.
pub type DrawnSet<K> = HashSet<K, BuildDrawn>;

/// Makes a [`Drawn`] for each id.
pub type BuildDrawn = BuildHasherDefault<Drawn>;

/// Takes the last eight bytes of an id as they are: in those of a record, which begin with the time, they are random
/// but for two bits of the first of them. Those go to the middle, where a map looks last.
#[derive(Clone, Copy, Debug, Default)]
pub struct Drawn(u64);

impl Hasher for Drawn {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last_chunk() {
            self.0 = u64::from_le_bytes(*last).rotate_left(32);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher as _;

    use super::*;
    use crate::domain::id::{RecordId, SessionKey};

    #[test]
    fn an_id_is_its_own_hash() {
        let hash = BuildDrawn::default();
        let mut id = [7; 16];
        id[12..].copy_from_slice(&99_u32.to_le_bytes());
        assert_eq!(hash.hash_one(RecordId(id)) & 0xFFFF_FFFF, 99);
        assert_ne!(hash.hash_one(SessionKey([1; 32])), hash.hash_one(SessionKey([2; 32])));
    }
}
