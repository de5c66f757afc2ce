//! Boxes: personal facts sealed for their owner, and opened for as long as the owner's keys are there.

use zeroize::Zeroizing;

use crate::domain::id::{LogId, RecordId};
use crate::domain::record::{Owner, SealedBox};

use super::error::{OpenError, SealError};
use super::key_ring::KeyRing;
use super::secret_key::SecretKey;

/// XChaCha20-Poly1305 under a key by HKDF-SHA256.
const SCHEME: u8 = 1;

impl KeyRing {
    /// Seals `plaintext` for `owner`, to stand in the record `record` and in no other.
    ///
    /// The keys must be there: see [`ensure_subject`](KeyRing::ensure_subject) and
    /// [`ensure_month`](KeyRing::ensure_month).
    pub fn seal(&self, owner: Owner, record: RecordId, plaintext: &[u8]) -> Result<SealedBox, SealError> {
        let key = self.box_key(owner, SCHEME).ok_or(SealError::NoKey)?;
        let nonce = self.entropy().draw();
        let associated = associated(SCHEME, owner, record);
        let ciphertext = key.lock(&nonce, &associated, plaintext).ok_or(SealError::TooLong)?;
        Ok(SealedBox { scheme: SCHEME, owner, nonce, ciphertext: ciphertext.into() })
    }

    /// Opens a box of the record `record`.
    pub fn unseal(&self, record: RecordId, sealed: &SealedBox) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        if sealed.scheme != SCHEME {
            return Err(OpenError::UnknownScheme(sealed.scheme));
        }
        let key = self.box_key(sealed.owner, sealed.scheme).ok_or(OpenError::NoKey)?;
        let associated = associated(sealed.scheme, sealed.owner, record);
        key.unlock(&sealed.nonce, &associated, &sealed.ciphertext).ok_or(OpenError::Damaged)
    }

    /// HKDF-SHA256 over the owner's key, or over month key and user key where both must be there.
    fn box_key(&self, owner: Owner, scheme: u8) -> Option<SecretKey> {
        let derive = |parts: &[&[u8]]| derive(self.log_id(), parts, scheme);
        Some(match owner {
            Owner::Subject(sub) => derive(&[self.known().subject_key(sub)?.expose()]),
            Owner::Context(month, None) => derive(&[self.known().month_key(month)?.expose()]),
            Owner::Context(month, Some(actor)) => {
                let (month, actor) = (self.known().month_key(month)?, self.known().subject_key(actor)?);
                derive(&[month.expose(), actor.expose()])
            }
            Owner::Log => derive(&[self.log_key().expose()]),
        })
    }
}

fn derive(log: LogId, parts: &[&[u8]], scheme: u8) -> SecretKey {
    SecretKey::derive(&log.0, parts, &[b"doorbook/v1/", &[scheme]])
}

/// Returns `doorbook/v1 | scheme u8 | owner | record id`, the owner as `kind u8 | month u32be | sub`, with
/// zeros for what it does not have.
fn associated(scheme: u8, owner: Owner, record: RecordId) -> [u8; 49] {
    let (kind, month, sub) = match owner {
        Owner::Subject(sub) => (1, 0, sub.0),
        Owner::Context(month, None) => (2, month.0, [0; 16]),
        Owner::Context(month, Some(actor)) => (3, month.0, actor.0),
        Owner::Log => (4, 0, [0; 16]),
    };
    let mut bytes = [0; 49];
    bytes[..11].copy_from_slice(b"doorbook/v1");
    bytes[11] = scheme;
    bytes[12] = kind;
    bytes[13..17].copy_from_slice(&month.to_be_bytes());
    bytes[17..33].copy_from_slice(&sub);
    bytes[33..].copy_from_slice(&record.0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::trial::{Trial, block_on};
    use crate::domain::id::{DiscordId, Sub};
    use crate::domain::time::Month;

    const RECORD: RecordId = RecordId([0x11; 16]);
    const JUNE: Month = Month(202_606);
    const JULY: Month = Month(202_607);

    /// Keys of two users and two months.
    fn ring(trial: &Trial) -> (KeyRing, Sub, Sub) {
        let ring = trial.create().unwrap();
        let (one, two) = block_on(async {
            ring.ensure_month(JUNE).await.unwrap();
            ring.ensure_month(JULY).await.unwrap();
            (
                ring.ensure_subject(DiscordId(1)).await.unwrap(),
                ring.ensure_subject(DiscordId(2)).await.unwrap(),
            )
        });
        (ring, one, two)
    }

    fn owners(one: Sub, two: Sub) -> Vec<Owner> {
        vec![
            Owner::Subject(one),
            Owner::Subject(two),
            Owner::Context(JUNE, None),
            Owner::Context(JULY, None),
            Owner::Context(JUNE, Some(one)),
            Owner::Context(JULY, Some(one)),
            Owner::Context(JUNE, Some(two)),
            Owner::Log,
        ]
    }

    #[test]
    fn a_box_opens_for_its_owner_in_its_record_and_nowhere_else() {
        let trial = Trial::new();
        let (ring, one, two) = ring(&trial);
        for owner in owners(one, two) {
            let sealed = ring.seal(owner, RECORD, b"a personal fact").unwrap();
            assert_eq!(*ring.unseal(RECORD, &sealed).unwrap(), b"a personal fact", "{owner:?}");
            assert!(!sealed.ciphertext.windows(8).any(|window| window == b"personal"));
            assert_eq!(ring.unseal(RecordId([0x12; 16]), &sealed), Err(OpenError::Damaged), "{owner:?}");
            for other in owners(one, two).into_iter().filter(|other| *other != owner) {
                let moved = SealedBox { owner: other, ..sealed.clone() };
                assert_eq!(ring.unseal(RECORD, &moved), Err(OpenError::Damaged), "{owner:?} as {other:?}");
            }
            for scheme in [0, 2, 255] {
                let moved = SealedBox { scheme, ..sealed.clone() };
                assert_eq!(ring.unseal(RECORD, &moved), Err(OpenError::UnknownScheme(scheme)));
            }
        }
    }

    #[test]
    fn a_box_with_a_changed_byte_does_not_open() {
        let trial = Trial::new();
        let (ring, one, _) = ring(&trial);
        let sealed = ring.seal(Owner::Subject(one), RECORD, b"fact").unwrap();
        for at in 0..sealed.ciphertext.len() {
            let mut changed = sealed.clone();
            changed.ciphertext[at] ^= 1;
            assert_eq!(ring.unseal(RECORD, &changed), Err(OpenError::Damaged));
            changed.ciphertext = changed.ciphertext[..at].into();
            assert_eq!(ring.unseal(RECORD, &changed), Err(OpenError::Damaged));
        }
        for at in 0..24 {
            let mut changed = sealed.clone();
            changed.nonce[at] ^= 1;
            assert_eq!(ring.unseal(RECORD, &changed), Err(OpenError::Damaged));
        }
    }

    #[test]
    fn an_empty_text_and_a_long_one_are_sealed_too() {
        let trial = Trial::new();
        let (ring, ..) = ring(&trial);
        for text in [&[][..], &[7; 60_000]] {
            let sealed = ring.seal(Owner::Log, RECORD, text).unwrap();
            assert_eq!(*ring.unseal(RECORD, &sealed).unwrap(), text);
        }
    }

    #[test]
    fn without_one_of_its_keys_a_box_is_an_unknown_fact() {
        let trial = Trial::new();
        let (ring, one, _) = ring(&trial);
        let of_user = ring.seal(Owner::Subject(one), RECORD, b"fact").unwrap();
        let of_context = ring.seal(Owner::Context(JUNE, Some(one)), RECORD, b"address").unwrap();
        let of_month = ring.seal(Owner::Context(JUNE, None), RECORD, b"stranger").unwrap();
        drop(ring);

        // A start with the keys as they are after the user, then after the month, is gone.
        let (subjects, months) = (trial.path("subjects"), trial.path("months"));
        let cut = |path: &std::path::Path| {
            std::fs::File::options().write(true).open(path).unwrap().set_len(128).unwrap()
        };
        cut(&subjects);
        let ring = trial.open().unwrap();
        assert_eq!(ring.unseal(RECORD, &of_user), Err(OpenError::NoKey));
        assert_eq!(ring.unseal(RECORD, &of_context), Err(OpenError::NoKey));
        assert_eq!(*ring.unseal(RECORD, &of_month).unwrap(), b"stranger");
        assert_eq!(ring.seal(Owner::Subject(one), RECORD, b""), Err(SealError::NoKey));
        assert_eq!(ring.seal(Owner::Context(JUNE, Some(one)), RECORD, b""), Err(SealError::NoKey));
        drop(ring);
        cut(&months);
        let ring = trial.open().unwrap();
        assert_eq!(ring.unseal(RECORD, &of_month), Err(OpenError::NoKey));
        assert_eq!(ring.seal(Owner::Context(JUNE, None), RECORD, b""), Err(SealError::NoKey));
    }

    #[test]
    fn the_bytes_of_a_box_are_frozen() {
        // Computed once by another program, from the format as documented.
        let log = crate::domain::id::LogId([0x4C; 16]);
        let (month, user) = (SecretKey::copy_of(&[0xAA; 32]), SecretKey::copy_of(&[0xBB; 32]));
        let key = derive(log, &[month.expose(), user.expose()], SCHEME);
        assert_eq!(
            hex::encode(key.expose()),
            "f4b158834091f2a7f9998783a74c8e9aa0bd3dcd74f90793dca496e01af303fc"
        );
        let associated = associated(SCHEME, Owner::Context(JUNE, Some(Sub([0x22; 16]))), RECORD);
        let expected = "646f6f72626f6f6b2f7631 01 03 0003176e 22222222222222222222222222222222 \
                        11111111111111111111111111111111";
        assert_eq!(hex::encode(associated), expected.replace(' ', ""));
        let sealed = key.lock(&[0x33; 24], &associated, b"192.0.2.7").unwrap();
        assert_eq!(hex::encode(sealed), "835450a0c6742fbd2560e658fab1e5830dcf63142ab55a1aca");
    }
}
