//! The Ed25519 key that signs for the log, and how another one takes its place.
//!
//! The log must name the new key before that signs anything, and the new key must be on stable storage before
//! the log names it. So there are two steps, and the record stands between them:
//!
//! ```text
//! prepare_signer     draws the new key into `signer.next`; the old key signs for it
//! key.rotated        appended by whoever rotates
//! signer_is(new)     the new key signs from now on, the old one's word on it is kept in `signer.past`, the new
//!                    one is written to `signer`, and `signer.next` goes
//! ```
//!
//! After a kill in between, the log says which of the two keys it is: a start asks `signer_is` with that one.

use std::fmt;
use std::sync::{PoisonError, RwLock};

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use crate::domain::id::LogId;

use super::error::KeyError;
use super::key_ring::KeyRing;
use super::secret_key::SecretKey;

/// A key that is ready to sign once the log names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewSigner {
    /// The new Ed25519 key.
    pub public: [u8; 32],
    /// What the old one says to it: its signature over [`signer_succession`].
    pub signature: [u8; 64],
}

/// Returns what the old key signs to hand over: `doorbook/v1/signer`, a line feed, log id, new public key.
pub fn signer_succession(log: LogId, new: &[u8; 32]) -> Vec<u8> {
    [b"doorbook/v1/signer\n".as_slice(), &log.0, new].concat()
}

/// Says whether `old` handed the log over to `new`.
pub fn verify_signer_succession(log: LogId, old: &[u8; 32], new: &[u8; 32], signature: &[u8; 64]) -> bool {
    verify_signature(old, &signer_succession(log, new), signature)
}

/// Says whether the signature of `message` is that of `public`, in the one strict reading of Ed25519.
pub fn verify_signature(public: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    let Ok(key) = VerifyingKey::from_bytes(public) else { return false };
    key.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
}

impl KeyRing {
    /// Returns the Ed25519 key that others check signatures of this log with.
    pub fn signer_public_key(&self) -> [u8; 32] {
        self.signing().public()
    }

    /// Signs with Ed25519.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signing().sign(message)
    }

    /// Prepares a key to sign after this one, on stable storage before this returns.
    ///
    /// One that was prepared already is the answer again, because the log may name it by now; only
    /// [`signer_is`](Self::signer_is) drops it. Append `key.rotated`, then call that with the new key.
    pub async fn prepare_signer(&self) -> Result<NewSigner, KeyError> {
        self.keeper()?.prepare_signer().await
    }

    /// Makes the key sign that the log names, at a start and after `key.rotated`.
    ///
    /// It signs as soon as the files are being asked for it. After an error it does so as well, because the
    /// log says so; ask again, or leave it to the next start. [`KeyError::OtherSigner`] means that the key is
    /// not here, and nothing has changed.
    pub async fn signer_is(&self, public: [u8; 32]) -> Result<(), KeyError> {
        self.keeper()?.signer_is(public).await
    }
}

/// The key that signs at the moment.
pub(super) struct Signing(RwLock<SigningKey>);

impl Signing {
    pub(super) fn new(key: &SecretKey) -> Signing {
        Signing(RwLock::new(SigningKey::from_bytes(key.expose())))
    }

    pub(super) fn set(&self, key: &SecretKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = SigningKey::from_bytes(key.expose());
    }

    pub(super) fn public(&self) -> [u8; 32] {
        self.0.read().unwrap_or_else(PoisonError::into_inner).verifying_key().to_bytes()
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.read().unwrap_or_else(PoisonError::into_inner).sign(message).to_bytes()
    }
}

impl fmt::Debug for Signing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signing(..)")
    }
}

/// Returns the public half of a key that signs.
pub(super) fn public_of(key: &SecretKey) -> [u8; 32] {
    SigningKey::from_bytes(key.expose()).verifying_key().to_bytes()
}

/// Signs with a key that need not be the one that signs at the moment.
pub(super) fn sign_with(key: &SecretKey, message: &[u8]) -> [u8; 64] {
    SigningKey::from_bytes(key.expose()).sign(message).to_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::forget::Forget;
    use crate::crypto::handover::handovers;
    use crate::crypto::trial::{MASON, Trial, block_on};

    fn names(trial: &Trial) -> Vec<String> {
        trial.files().into_keys().collect()
    }

    fn signs_as(ring: &KeyRing, public: &[u8; 32]) -> bool {
        ring.signer_public_key() == *public && verify_signature(public, b"a note", &ring.sign(b"a note"))
    }

    #[test]
    fn a_signature_is_checked_with_the_public_key() {
        let trial = Trial::new();
        let ring = trial.create().unwrap();
        let (public, signature) = (ring.signer_public_key(), ring.sign(b"a note"));
        assert!(verify_signature(&public, b"a note", &signature));
        assert!(!verify_signature(&public, b"another", &signature));
        assert!(!verify_signature(&[0xFF; 32], b"a note", &signature));
        assert!(!verify_signature(&public, b"a note", &[0; 64]));
    }

    #[test]
    fn what_the_old_key_signs_is_frozen() {
        let expected = "646f6f72626f6f6b2f76312f7369676e65720a 4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c \
                        0707070707070707070707070707070707070707070707070707070707070707";
        let message = signer_succession(LogId([0x4C; 16]), &[7; 32]);
        assert_eq!(hex::encode(message), expected.replace(' ', ""));
    }

    #[test]
    fn a_new_key_is_signed_for_by_the_old_one_and_signs_once_the_log_names_it() {
        let trial = Trial::new();
        trial.lived_in();
        let ring = trial.open().unwrap();
        let (log, old) = (trial.settings.log_id, ring.signer_public_key());
        let next = block_on(ring.prepare_signer()).unwrap();
        assert_ne!(next.public, old);
        assert!(verify_signer_succession(log, &old, &next.public, &next.signature));
        assert!(!verify_signer_succession(log, &next.public, &old, &next.signature));
        assert!(!verify_signer_succession(LogId([1; 16]), &old, &next.public, &next.signature));
        assert!(signs_as(&ring, &old), "not before the log names the new one");
        assert_eq!(block_on(ring.prepare_signer()).unwrap(), next, "the log may name it by now");
        block_on(ring.signer_is(next.public)).unwrap();
        assert!(signs_as(&ring, &next.public));
        block_on(ring.signer_is(next.public)).unwrap();
        let third = block_on(ring.prepare_signer()).unwrap();
        assert!(verify_signer_succession(log, &next.public, &third.public, &third.signature));
        assert_ne!(third.public, next.public);
        block_on(ring.signer_is(third.public)).unwrap();
        drop(ring);
        assert!(signs_as(&trial.open().unwrap(), &third.public));
        assert_eq!(names(&trial), ["cookie", "kek", "log", "months", "signer", "signer.past", "subjects"]);
    }

    #[test]
    fn a_start_makes_the_key_sign_that_the_log_names() {
        for was_appended in [false, true] {
            let trial = Trial::new();
            trial.lived_in();
            let ring = trial.open().unwrap();
            let old = ring.signer_public_key();
            let next = block_on(ring.prepare_signer()).unwrap();
            drop(ring);
            // A rekey and a start carry it along.
            let ring = trial.open().unwrap();
            block_on(ring.rotate_root()).unwrap();
            assert!(signs_as(&ring, &old));
            drop(ring);
            let ring = trial.open().unwrap();
            let named = if was_appended { next.public } else { old };
            let before = trial.files();
            let error = block_on(ring.signer_is([7; 32])).unwrap_err();
            assert!(matches!(error, KeyError::OtherSigner { public, .. } if public == [7; 32]), "{error}");
            assert_eq!(trial.files(), before);
            assert!(signs_as(&ring, &old));
            block_on(ring.signer_is(named)).unwrap();
            assert!(signs_as(&ring, &named));
            assert!(!trial.path("signer.next").exists());
            let again = block_on(ring.prepare_signer()).unwrap();
            assert_ne!(again.public, next.public, "the one that was dropped does not come back");
        }
    }

    #[test]
    fn a_kill_anywhere_leaves_the_key_that_the_log_names() {
        // `signer.next`, then `signer.past` and `signer`, each with its directory, and the directory once more.
        for crash in 0..7 {
            let trial = Trial::new();
            let (_, mason) = trial.lived_in();
            let ring = trial.open().unwrap();
            let old = ring.signer_public_key();
            trial.disk.fail_after(crash);
            let next = block_on(ring.prepare_signer());
            assert_eq!(next.is_ok(), crash >= 2, "{crash}");
            if let Ok(next) = &next {
                assert!(block_on(ring.signer_is(next.public)).is_err(), "{crash}");
                assert!(signs_as(&ring, &next.public), "the log says so");
            }
            drop(ring);
            trial.disk.repair();
            let ring = trial.open().unwrap();
            let named = next.map_or(old, |next| next.public);
            block_on(ring.signer_is(named)).unwrap();
            assert!(signs_as(&ring, &named), "{crash}");
            block_on(ring.rotate_root()).unwrap();
            drop(ring);
            let ring = trial.open().unwrap();
            assert!(signs_as(&ring, &named), "{crash}");
            assert_eq!(ring.sub_of(MASON), Some(mason));
            let past = (named != old).then_some("signer.past");
            let all =
                ["cookie", "kek", "log", "months", "signer"].into_iter().chain(past).chain(["subjects"]);
            assert!(names(&trial).into_iter().eq(all), "{crash}: {:?}", names(&trial));
            if past.is_some() {
                let way = handovers(&trial.settings.dir, trial.settings.log_id, old, named).unwrap();
                assert_eq!(way.map(|way| way.len()), Some(1), "{crash}");
            }
        }
    }

    #[test]
    fn a_ring_whose_disk_failed_anywhere_goes_on_and_a_rekey_leaves_no_file_behind() {
        for crash in 0..7 {
            let trial = Trial::new();
            let (nelly, _) = trial.lived_in();
            let ring = trial.open().unwrap();
            trial.disk.fail_after(crash);
            let next = block_on(ring.prepare_signer());
            if let Ok(next) = &next {
                assert!(block_on(ring.signer_is(next.public)).is_err(), "{crash}");
            }
            trial.disk.repair();
            // Whatever is in doubt is sealed anew with the rest, so the next start can read it.
            block_on(ring.forget(Forget::sub(nelly))).unwrap();
            KeyRing::check(&trial.settings).unwrap();
            let before = ring.signer_public_key();
            let again = block_on(ring.prepare_signer()).unwrap();
            assert!(next.is_err() || next.is_ok_and(|next| next.public != again.public), "{crash}");
            let log = trial.settings.log_id;
            assert!(verify_signer_succession(log, &before, &again.public, &again.signature), "{crash}");
            drop(ring);
            let ring = trial.open().unwrap();
            assert!(signs_as(&ring, &before), "{crash}");
            block_on(ring.signer_is(again.public)).unwrap();
            assert!(signs_as(&ring, &again.public), "{crash}");
        }
    }
}
