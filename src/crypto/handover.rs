//! `signer.past`: the word of each key that signed for the log on the one after it, kept when the key itself goes.
//!
//! ```text
//! entry = the old Ed25519 key (32) | the new one (32) | the old one's signature over signer_succession (64)
//! ```
//!
//! Nothing of it is secret: the log has the same words in `key.rotated`. But a log that was put back from before that
//! record has not, and names a key that is gone. With its word the log can go on, and whoever verifies it sees that one
//! key handed over to the other; without, nobody may sign for it. Each entry proves itself, so nothing seals it, and
//! what does not is passed over.

use std::path::Path;

use crate::disk::Disk;
use crate::domain::id::LogId;

use super::error::KeyError;
use super::files::PAST_SIGNERS;
use super::key_file::{read_if_there, replace};
use super::signer::{NewSigner, verify_signer_succession};

const ENTRY: usize = 128;

/// So many are kept, the newest: the file must not grow with whoever rotates every hour.
const KEPT: usize = 256;

/// One key that handed the log over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handover {
    /// The key that is gone.
    pub(super) old: [u8; 32],
    /// The key that follows it, with the word of the old one.
    pub(super) next: NewSigner,
}

/// Returns how one key handed the log over to another, by as many in between as there were.
///
/// `None` where the words of some are not there: then it cannot be shown.
pub fn handovers(
    dir: &Path,
    log: LogId,
    from: [u8; 32],
    to: [u8; 32],
) -> Result<Option<Vec<NewSigner>>, KeyError> {
    let all = read(dir, log)?;
    let (mut signer, mut way) = (from, Vec::new());
    while signer != to {
        // Nobody hands over twice, so a longer way would be a circle.
        let next = all.iter().rev().find(|handover| handover.old == signer).filter(|_| way.len() < all.len());
        let Some(Handover { next, .. }) = next else { return Ok(None) };
        signer = next.public;
        way.push(*next);
    }
    Ok(Some(way))
}

/// Keeps the word of a key that goes, on stable storage before this returns.
pub(super) fn keep(dir: &Path, log: LogId, handover: Handover, disk: &dyn Disk) -> Result<(), KeyError> {
    let mut all = read(dir, log)?;
    if all.contains(&handover) {
        return Ok(());
    }
    all.push(handover);
    let newest = &all[all.len().saturating_sub(KEPT)..];
    let bytes: Vec<u8> = newest.iter().flat_map(to_bytes).collect();
    replace(&dir.join(PAST_SIGNERS), &bytes, disk)
}

/// Reads those that prove themselves, the oldest first.
fn read(dir: &Path, log: LogId) -> Result<Vec<Handover>, KeyError> {
    let bytes = read_if_there(&dir.join(PAST_SIGNERS))?;
    let (entries, _) = bytes.as_deref().map(|bytes| bytes.as_chunks::<ENTRY>()).unwrap_or_default();
    let all = entries.iter().filter_map(from_bytes);
    let proven =
        |Handover { old, next }: &Handover| verify_signer_succession(log, old, &next.public, &next.signature);
    Ok(all.filter(proven).collect())
}

fn to_bytes(handover: &Handover) -> Vec<u8> {
    let Handover { old, next: NewSigner { public, signature } } = handover;
    [&old[..], public, signature].concat()
}

fn from_bytes(entry: &[u8; ENTRY]) -> Option<Handover> {
    let (old, rest) = entry.split_first_chunk()?;
    let (public, rest) = rest.split_first_chunk()?;
    let signature = rest.first_chunk()?;
    Some(Handover { old: *old, next: NewSigner { public: *public, signature: *signature } })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::crypto::escrow::read_escrow;
    use crate::crypto::trial::{Trial, block_on, words};

    /// Keys that were rotated so often, and the public half of each that signed.
    fn rotated(times: usize) -> (Trial, Vec<[u8; 32]>) {
        let trial = Trial::new();
        trial.lived_in();
        let ring = trial.open().unwrap();
        let mut signers = vec![ring.signer_public_key()];
        for _ in 0..times {
            let next = block_on(ring.prepare_signer()).unwrap();
            block_on(ring.signer_is(next.public)).unwrap();
            signers.push(next.public);
        }
        (trial, signers)
    }

    fn way(trial: &Trial, from: [u8; 32], to: [u8; 32]) -> Option<Vec<[u8; 32]>> {
        let log = trial.settings.log_id;
        let way = handovers(&trial.settings.dir, log, from, to).unwrap()?;
        let mut signer = from;
        for next in &way {
            assert!(verify_signer_succession(log, &signer, &next.public, &next.signature));
            signer = next.public;
        }
        Some(way.iter().map(|next| next.public).collect())
    }

    #[test]
    fn each_key_that_signed_has_left_its_word_on_the_one_after_it() {
        let (trial, signers) = rotated(3);
        let [first, second, third, fourth] = signers[..] else { panic!("{signers:?}") };
        assert_eq!(fs::metadata(trial.path(PAST_SIGNERS)).unwrap().len(), 3 * 128);
        assert_eq!(way(&trial, first, fourth), Some(vec![second, third, fourth]));
        assert_eq!(way(&trial, third, fourth), Some(vec![fourth]));
        assert_eq!(way(&trial, fourth, fourth), Some(vec![]));
        assert_eq!(way(&trial, fourth, first), None, "nobody hands back");
        assert_eq!(way(&trial, [7; 32], fourth), None);
        // A rekey and a start leave it as it is, and an escrow has it.
        let before = fs::read(trial.path(PAST_SIGNERS)).unwrap();
        block_on(trial.open().unwrap().rotate_root()).unwrap();
        drop(trial.open().unwrap());
        assert_eq!(fs::read(trial.path(PAST_SIGNERS)).unwrap(), before);
        let other = trial.elsewhere();
        let escrow = read_escrow(&trial.cheap_escrow().unwrap(), &words()).unwrap();
        escrow.restore_into(&other.settings.dir, &*other.disk).unwrap();
        assert_eq!(way(&other, first, fourth), Some(vec![second, third, fourth]));
    }

    #[test]
    fn a_changed_byte_makes_no_other_handover_and_stops_nothing() {
        let (trial, signers) = rotated(2);
        let [first, second, third] = signers[..] else { panic!("{signers:?}") };
        let whole = fs::read(trial.path(PAST_SIGNERS)).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(trial.path(PAST_SIGNERS), bytes).unwrap();
            assert_eq!(way(&trial, first, third), None, "{at}");
            let other = if at < 128 { (second, third) } else { (first, second) };
            assert_eq!(way(&trial, other.0, other.1), Some(vec![other.1]), "{at}");
        }
        for len in [0, 1, 127, 200] {
            fs::write(trial.path(PAST_SIGNERS), &whole[..len]).unwrap();
            assert_eq!(way(&trial, first, third), None, "{len}");
            assert!(trial.open().is_ok());
        }
        fs::remove_file(trial.path(PAST_SIGNERS)).unwrap();
        assert_eq!(way(&trial, first, third), None);
        assert_eq!(way(&trial, third, third), Some(vec![]));
        assert!(trial.open().is_ok());
    }
}
