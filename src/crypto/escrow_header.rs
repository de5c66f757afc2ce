//! What an escrow says in the clear: whose keys, from when, which ones, and how the passphrase becomes a key.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroizing;

use crate::domain::id::{Hash, LogId, Secret};
use crate::domain::time::Timestamp;

use super::block::part;
use super::error::EscrowError;
use super::secret_key::{SecretKey, TAG};

/// The length of the header.
pub(super) const HEADER: usize = 128;
/// The length of the SHA-256 at the end.
pub(super) const CHECKSUM: usize = 32;

const MAGIC: &[u8; 8] = b"doorescr";
const FORMAT: u16 = 1;

/// What everybody may read of an escrow, without its passphrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EscrowHeader {
    /// The log whose keys these are.
    pub log: LogId,
    /// When it was made.
    pub created: Timestamp,
    /// How many users have a key in it.
    pub subject_count: u64,
    /// Which keys are in it; see [`KeyRing::fingerprint`](super::KeyRing::fingerprint).
    pub fingerprint: Hash,
    pub(super) cost: Cost,
    pub(super) salt: [u8; 16],
    pub(super) nonce: [u8; 24],
}

impl EscrowHeader {
    /// Reads the header of an escrow, which must be whole to its last byte.
    pub fn read(escrow: &[u8]) -> Result<EscrowHeader, EscrowError> {
        EscrowHeader::split(escrow).map(|(header, ..)| header)
    }

    /// Takes an escrow apart: the header, also as bytes, and what is sealed.
    pub(super) fn split(escrow: &[u8]) -> Result<(EscrowHeader, &[u8; HEADER], &[u8]), EscrowError> {
        if !escrow.starts_with(MAGIC) {
            return Err(EscrowError::NotAnEscrow);
        }
        let (checked, checksum) = escrow.split_last_chunk::<CHECKSUM>().ok_or(EscrowError::Damaged)?;
        if Hash::of(checked).0 != *checksum {
            return Err(EscrowError::Damaged);
        }
        let format = u16::from_be_bytes(part(checked.get(8..10).ok_or(EscrowError::Damaged)?, 0));
        if format != FORMAT {
            return Err(EscrowError::Newer { format });
        }
        let (bytes, sealed) = checked.split_first_chunk::<HEADER>().ok_or(EscrowError::Damaged)?;
        if sealed.len() < TAG {
            return Err(EscrowError::Damaged);
        }
        let number = |at| u32::from_be_bytes(part(bytes, at));
        let header = EscrowHeader {
            log: LogId(part(bytes, 10)),
            created: Timestamp(i64::from_be_bytes(part(bytes, 26))),
            subject_count: u64::from_be_bytes(part(bytes, 34)),
            fingerprint: Hash(part(bytes, 42)),
            cost: Cost { memory_kib: number(74), passes: number(78), lanes: number(82) },
            salt: part(bytes, 86),
            nonce: part(bytes, 102),
        };
        Ok((header, bytes, sealed))
    }

    /// Returns `magic | format u16be | log id | created i64be | users u64be | fingerprint | memory u32be |
    /// passes u32be | lanes u32be | salt | nonce | zeros`.
    pub(super) fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&FORMAT.to_be_bytes());
        bytes[10..26].copy_from_slice(&self.log.0);
        bytes[26..34].copy_from_slice(&self.created.0.to_be_bytes());
        bytes[34..42].copy_from_slice(&self.subject_count.to_be_bytes());
        bytes[42..74].copy_from_slice(&self.fingerprint.0);
        bytes[74..78].copy_from_slice(&self.cost.memory_kib.to_be_bytes());
        bytes[78..82].copy_from_slice(&self.cost.passes.to_be_bytes());
        bytes[82..86].copy_from_slice(&self.cost.lanes.to_be_bytes());
        bytes[86..102].copy_from_slice(&self.salt);
        bytes[102..126].copy_from_slice(&self.nonce);
        bytes
    }
}

/// What it takes to try one passphrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    pub(super) memory_kib: u32,
    pub(super) passes: u32,
    pub(super) lanes: u32,
}

impl Cost {
    /// What an escrow is made with.
    pub(super) const NOW: Cost = Cost { memory_kib: 64 * 1024, passes: 3, lanes: 1 };
    /// What an escrow is read with at the most: its header comes from whoever had the file.
    pub(super) const LIMIT: Cost = Cost { memory_kib: 1024 * 1024, passes: 32, lanes: 16 };

    /// Makes the key of an escrow by Argon2id, version 0x13.
    pub(super) fn stretch(self, passphrase: &Secret, salt: &[u8; 16]) -> Result<SecretKey, EscrowError> {
        let Cost { memory_kib, passes, lanes } = self;
        let refused = EscrowError::Cost { memory_kib, passes, lanes };
        let limit = Cost::LIMIT;
        if memory_kib > limit.memory_kib || passes > limit.passes || lanes > limit.lanes {
            return Err(refused);
        }
        let Ok(params) = Params::new(memory_kib, passes, lanes, Some(32)) else { return Err(refused) };
        let mut memory = Zeroizing::new(Vec::new());
        let blocks = params.block_count();
        memory.try_reserve_exact(blocks).map_err(|_| EscrowError::NoMemory { memory_kib })?;
        memory.resize(blocks, Block::new());
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(passphrase.expose().as_bytes(), salt, &mut *key, &mut memory[..])
            .map_err(|_| refused)?;
        Ok(SecretKey::copy_of(&key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passphrase_is_stretched_as_another_program_does_it() {
        // Computed once by libsodium's `crypto_pwhash`.
        let key = Cost::NOW.stretch(&Secret::new("correct horse"), &[0x5A; 16]).unwrap();
        assert_eq!(
            hex::encode(key.expose()),
            "9651256913671d107599474b7c19c4587d63aa8d8c8a0b50ba3db64773addb83"
        );
    }

    #[test]
    fn a_cost_that_nobody_should_pay_is_refused_before_it_is_paid() {
        let fine = Cost { memory_kib: 8, passes: 1, lanes: 1 };
        assert!(fine.stretch(&Secret::new("p"), &[0; 16]).is_ok());
        for cost in [
            Cost { memory_kib: u32::MAX, ..fine },
            Cost { memory_kib: Cost::LIMIT.memory_kib + 1, ..fine },
            Cost { passes: u32::MAX, ..fine },
            Cost { passes: 0, ..fine },
            Cost { lanes: u32::MAX, ..fine },
            Cost { lanes: 0, ..fine },
            Cost { lanes: 2, ..fine },
            Cost { memory_kib: 0, ..fine },
        ] {
            let error = cost.stretch(&Secret::new("p"), &[0; 16]).unwrap_err();
            assert!(matches!(error, EscrowError::Cost { memory_kib, .. } if memory_kib == cost.memory_kib));
        }
    }
}
