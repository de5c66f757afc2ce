//! Which keys there are, as one number that says neither what they are nor whose.

use sha2::{Digest, Sha256};

use crate::domain::id::Hash;

use super::key_ring::KeyRing;
use super::known::Known;

impl KeyRing {
    /// Says which keys there are, without saying what they are or whose.
    ///
    /// It is the SHA-256 of `doorbook/v1/keys`, a line feed, the public key of the signer, the number of
    /// users as u64be and their pseudonyms in order, the number of months as u64be and each as u32be in
    /// order. An escrow with another one is stale: a key that is here is not in it, or one is in it that is
    /// destroyed here.
    pub fn fingerprint(&self) -> Hash {
        fingerprint(self.known(), &self.signer_public_key())
    }
}

/// Returns the fingerprint of these keys and this signer.
pub(super) fn fingerprint(known: &Known, signer: &[u8; 32]) -> Hash {
    let (subs, months) = (known.subs(), known.months());
    let count = |len: usize| u64::try_from(len).unwrap_or(u64::MAX).to_be_bytes();
    let mut hash = Sha256::new().chain_update(b"doorbook/v1/keys\n").chain_update(signer);
    hash.update(count(subs.len()));
    subs.iter().for_each(|sub| hash.update(sub.0));
    hash.update(count(months.len()));
    months.iter().for_each(|month| hash.update(month.0.to_be_bytes()));
    Hash(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::escrow_header::EscrowHeader;
    use crate::crypto::forget::Forget;
    use crate::crypto::known::{month_entry, subject_entry};
    use crate::crypto::secret_key::SecretKey;
    use crate::crypto::trial::{Trial, block_on};
    use crate::domain::id::{DiscordId, Sub};
    use crate::domain::time::Month;

    #[test]
    fn the_form_of_a_fingerprint_is_frozen() {
        // Computed once by another program, from the form as documented.
        let known = Known::default();
        for (id, sub) in [(9, Sub([2; 16])), (8, Sub([1; 16]))] {
            known.add_subject(&subject_entry(DiscordId(id), sub, SecretKey::copy_of(&[0; 32])));
        }
        for month in [202_601, 202_512] {
            known.add_month(&month_entry(Month(month), SecretKey::copy_of(&[0; 32])));
        }
        let expected = "c0dd0e45c8b52f3a369ef4d8a16573a889891a68f8d213fe6cb43e6d4b2fa58a";
        assert_eq!(fingerprint(&known, &[7; 32]).to_string(), expected);
    }

    #[test]
    fn a_fingerprint_changes_with_each_key_that_comes_or_goes() {
        let trial = Trial::new();
        let (nelly, _) = trial.lived_in();
        let ring = trial.open().unwrap();
        let mut seen = vec![ring.fingerprint()];
        block_on(async {
            ring.rotate_root().await.unwrap();
            assert_eq!(ring.fingerprint(), seen[0], "an older escrow restores the same keys");
            ring.ensure_subject(DiscordId(7)).await.unwrap();
            seen.push(ring.fingerprint());
            ring.ensure_month(Month(202_607)).await.unwrap();
            seen.push(ring.fingerprint());
            ring.forget(Forget::sub(nelly)).await.unwrap();
            seen.push(ring.fingerprint());
            let next = ring.prepare_signer().await.unwrap();
            ring.signer_is(next.public).await.unwrap();
            seen.push(ring.fingerprint());
        });
        drop(ring);
        assert_eq!(trial.open().unwrap().fingerprint(), seen[4]);
        assert_eq!(KeyRing::look(&trial.settings, trial.entropy.clone()).unwrap().fingerprint(), seen[4]);
        assert_eq!(EscrowHeader::read(&trial.cheap_escrow().unwrap()).unwrap().fingerprint, seen[4]);
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 5);
    }
}
