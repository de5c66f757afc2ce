//! `kek`: the root key of the key files, and whether `ENCRYPT_SECRET` is the one that belongs to it.

use std::path::Path;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::domain::id::{LogId, Secret};
use crate::entropy::Entropy;

use super::block::{BLOCK, Header, checksum_holds, part, with_checksum};
use super::error::KeyError;
use super::secret_key::SecretKey;

/// The file's name.
pub(super) const NAME: &str = "kek";

/// One root key.
#[derive(Clone, Debug)]
pub(super) struct KekEntry {
    /// Counts up with every rekey; the headers of the other files name it.
    pub(super) generation: u32,
    key: SecretKey,
}

/// The root keys: one, or the old and the new one while a rekey is going on.
#[derive(Clone, Debug)]
pub(super) struct Kek {
    log: LogId,
    secret: Option<Secret>,
    entries: Vec<KekEntry>,
}

impl Kek {
    /// Draws the first root key of a log.
    pub(super) fn draw(log: LogId, secret: Option<Secret>, entropy: &dyn Entropy) -> Kek {
        let first = KekEntry { generation: 1, key: SecretKey::draw(entropy) };
        Kek { log, secret, entries: vec![first] }
    }

    /// Reads the file and holds it against the log and the secret.
    pub(super) fn read(
        log: LogId,
        secret: Option<Secret>,
        file: &Path,
        bytes: &[u8],
    ) -> Result<Kek, KeyError> {
        let header = Header::read_of(log, file, bytes)?;
        let damaged = |at: usize, what| KeyError::Damaged {
            file: file.to_owned(),
            at: u64::try_from(at).unwrap_or(u64::MAX),
            what,
        };
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        if !rest.is_empty() || !(2..=3).contains(&blocks.len()) {
            return Err(damaged(bytes.len(), "it has another length than it was written with"));
        }
        let mut kek = Kek { log, secret, entries: Vec::new() };
        for (at, block) in (BLOCK..).step_by(BLOCK).zip(&blocks[1..]) {
            if !checksum_holds(block) {
                return Err(damaged(at, "the entry is not as written"));
            }
            let key = Zeroizing::new(part::<32>(block, 8));
            let entry =
                KekEntry { generation: u32::from_be_bytes(part(block, 0)), key: SecretKey::copy_of(&key) };
            kek.hold_secret(file, &entry, block[4] != 0, &part(block, 40))?;
            kek.entries.push(entry);
        }
        let rising = kek.entries.is_sorted_by(|a, b| a.generation < b.generation);
        if !rising || kek.newest().generation != header.generation {
            return Err(damaged(0, "its entries are not those that its first block names"));
        }
        Ok(kek)
    }

    /// Returns the file: the header and, for each entry, a block
    /// `generation u32be | with ENCRYPT_SECRET u8 | 3 zeros | key | check value | zeros | checksum`.
    pub(super) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let header = Header { generation: self.newest().generation, log: self.log };
        let mut bytes = Zeroizing::new(Vec::with_capacity(3 * BLOCK));
        bytes.extend_from_slice(&header.to_block());
        for entry in &self.entries {
            let mut block = Zeroizing::new([0; BLOCK]);
            block[..4].copy_from_slice(&entry.generation.to_be_bytes());
            block[4] = u8::from(self.secret.is_some());
            block[8..40].copy_from_slice(entry.key.expose());
            block[40..72].copy_from_slice(self.derive(entry, NAME).expose());
            bytes.extend_from_slice(&with_checksum(*block));
        }
        bytes
    }

    /// Returns the root key that new files are sealed under.
    pub(super) fn newest(&self) -> &KekEntry {
        &self.entries[self.entries.len() - 1]
    }

    /// Says whether a rekey was begun and not ended.
    pub(super) fn rekey_is_open(&self) -> bool {
        self.entries.len() > 1
    }

    /// Returns these root keys with a new one beside them: the first step of a rekey.
    pub(super) fn with_new(&self, entropy: &dyn Entropy) -> Kek {
        let mut kek = self.clone();
        let generation = kek.newest().generation + 1;
        kek.entries.push(KekEntry { generation, key: SecretKey::draw(entropy) });
        kek
    }

    /// Returns the newest root key alone: the last step of a rekey.
    pub(super) fn without_old(&self) -> Kek {
        Kek { entries: vec![self.newest().clone()], ..self.clone() }
    }

    /// Returns the key of the file `name`, sealed under `generation`, if that root key is there.
    pub(super) fn file_key(&self, generation: u32, name: &str) -> Option<SecretKey> {
        let entry = self.entries.iter().find(|entry| entry.generation == generation)?;
        Some(self.derive(entry, name))
    }

    /// HKDF-SHA256 over root key and secret; under the name of this file it is the check value.
    fn derive(&self, entry: &KekEntry, name: &str) -> SecretKey {
        let secret = self.secret.as_ref().map_or("", Secret::expose);
        SecretKey::derive(&self.log.0, &[entry.key.expose(), secret.as_bytes()], &[name.as_bytes()])
    }

    fn hold_secret(
        &self,
        file: &Path,
        entry: &KekEntry,
        with_secret: bool,
        check: &[u8; 32],
    ) -> Result<(), KeyError> {
        let dir = file.parent().unwrap_or(file).to_owned();
        let same = bool::from(self.derive(entry, NAME).expose().ct_eq(check));
        match (self.secret.is_some(), with_secret) {
            (true, false) => Err(KeyError::SecretSet { dir }),
            (false, true) => Err(KeyError::SecretRemoved { dir }),
            (true, true) if !same => Err(KeyError::SecretChanged { dir }),
            (false, false) if !same => {
                Err(KeyError::Damaged { file: file.to_owned(), at: 0, what: "its check value is wrong" })
            }
            _ => Ok(()),
        }
    }
}
