//! Boxes: personal facts sealed for their owner, and opened for as long as the owner's keys are there.

use zeroize::Zeroizing;

use crate::domain::id::RecordId;
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
        Ok(SealedBox { scheme: SCHEME, owner, nonce, ciphertext })
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
        let derive =
            |parts: &[&[u8]]| SecretKey::derive(&self.log_id().0, parts, &[b"doorbook/v1/", &[scheme]]);
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
