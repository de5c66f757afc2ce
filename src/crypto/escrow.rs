//! Escrow: the whole of `data/keys/` in one file under a passphrase, which restores it together with a backup.
//!
//! ```text
//! escrow  = header (128 bytes) | sealed | SHA-256 of all before it
//! sealed  = XChaCha20-Poly1305 of the files; key: Argon2id of the passphrase; associated data: the header
//! files   = name length u8 | name | length u64be | bytes, one after the other
//! ```
//!
//! The SHA-256 tells a file that was damaged from a passphrase that is wrong. Nothing tells the latter from a
//! file that somebody changed on purpose. `ENCRYPT_SECRET` and `COOKIE_SECRET` are not in it: where the keys
//! were sealed with the first, they open with nothing else, so it has to be kept beside the passphrase.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::domain::id::{Hash, Secret};
use crate::domain::time::Timestamp;
use crate::entropy::Entropy;

use super::block::Header;
use super::error::EscrowError;
use super::escrow_header::{Cost, EscrowHeader};
use super::files::{Found, NAMES_AFTER_KEK, SIGNER, Sealed, SealedFile, may_be_missing, names};
use super::fingerprint::fingerprint;
use super::kek;
use super::key_ring::KeySettings;
use super::signer::public_of;

/// How often a rekey is waited for, and how long each time.
const WAITS: usize = 100;
const WAIT: Duration = Duration::from_millis(10);

/// The keys of one log as they were once, out of their passphrase.
pub struct Escrow {
    header: EscrowHeader,
    /// `kek` is among them, and all that must be there.
    files: Vec<SealedFile>,
}

/// Makes an escrow of the keys, also while a server runs; blocks for about a second.
///
/// What is written down was opened first, so it is whole and of one moment. A rekey that goes on is waited
/// for, and one that nobody ends is [`EscrowError::RekeyOpen`].
pub fn write_escrow(
    settings: &KeySettings,
    passphrase: &Secret,
    created: Timestamp,
    entropy: &dyn Entropy,
) -> Result<Vec<u8>, EscrowError> {
    write_at_cost(settings, passphrase, created, entropy, Cost::NOW)
}

#[expect(clippy::expect_used, reason = "the cipher takes 256 GiB")]
pub(super) fn write_at_cost(
    settings: &KeySettings,
    passphrase: &Secret,
    created: Timestamp,
    entropy: &dyn Entropy,
    cost: Cost,
) -> Result<Vec<u8>, EscrowError> {
    if passphrase.expose().is_empty() {
        return Err(EscrowError::NoPassphrase);
    }
    let (sealed, found) = read_at_rest(settings)?;
    let header = EscrowHeader {
        log: settings.log_id,
        created,
        subject_count: u64::try_from(found.known.subject_count()).unwrap_or(u64::MAX),
        fingerprint: fingerprint(&found.known, &public_of(found.files.key(SIGNER)?)),
        cost,
        salt: entropy.draw(),
        nonce: entropy.draw(),
    };
    let text = pack(sealed.files());
    let key = cost.stretch(passphrase, &header.salt)?;
    let bytes = header.to_bytes();
    let sealed = key.lock(&header.nonce, &bytes, &text).expect("it was in memory");
    let mut escrow = [&bytes[..], &sealed].concat();
    escrow.extend_from_slice(&Hash::of(&escrow).0);
    Ok(escrow)
}

/// Opens an escrow with its passphrase; blocks for about a second.
pub fn read_escrow(escrow: &[u8], passphrase: &Secret) -> Result<Escrow, EscrowError> {
    let (header, bytes, sealed) = EscrowHeader::split(escrow)?;
    let key = header.cost.stretch(passphrase, &header.salt)?;
    let text = key.unlock(&header.nonce, bytes, sealed).ok_or(EscrowError::WrongPassphrase)?;
    let files = unpack(&text).ok_or(EscrowError::Damaged)?;
    let whole = |name: &str| {
        let file = files.iter().find(|(found, _)| *found == name);
        file.map_or(may_be_missing(name), |(_, bytes)| {
            Header::read_of(header.log, Path::new(name), bytes).is_ok()
        })
    };
    if !std::iter::once(kek::NAME).chain(NAMES_AFTER_KEK).all(whole) {
        return Err(EscrowError::Damaged);
    }
    Ok(Escrow { header, files })
}

impl Escrow {
    /// Returns what it says in the clear.
    pub fn header(&self) -> &EscrowHeader {
        &self.header
    }

    /// Returns the files in the order in which they are restored.
    pub(super) fn files(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        let is_kek = |name: &str| name == kek::NAME;
        let (others, kek) = (self.files.iter(), self.files.iter());
        let others = others.filter(move |(name, _)| !is_kek(name));
        others.chain(kek.filter(move |(name, _)| is_kek(name))).map(|(name, bytes)| (*name, &bytes[..]))
    }
}

impl fmt::Debug for Escrow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Escrow").field("header", &self.header).finish_non_exhaustive()
    }
}

/// Reads the files at a moment at which no rekey is open, and what is in them.
fn read_at_rest(settings: &KeySettings) -> Result<(Sealed, Found), EscrowError> {
    for _ in 0..WAITS {
        let (sealed, found) = Found::read_beside_a_writer(settings)?;
        if !found.files.rekey_is_open() {
            return Ok((sealed, found));
        }
        std::thread::sleep(WAIT);
    }
    Err(EscrowError::RekeyOpen { dir: settings.dir.clone() })
}

/// Writes the files one after the other.
fn pack<'a>(files: impl Iterator<Item = (&'static str, &'a [u8])> + Clone) -> Zeroizing<Vec<u8>> {
    // All the room is there from the start: a vector that moves would leave keys behind.
    let room = files.clone().map(|(name, bytes)| 1 + name.len() + 8 + bytes.len()).sum();
    let mut text = Zeroizing::new(Vec::with_capacity(room));
    for (name, bytes) in files {
        text.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        text.extend_from_slice(name.as_bytes());
        text.extend_from_slice(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
        text.extend_from_slice(bytes);
    }
    text
}

/// Reads what [`pack`] wrote: files with names of ours, each once, and nothing else.
fn unpack(mut text: &[u8]) -> Option<Vec<SealedFile>> {
    let mut files: Vec<SealedFile> = Vec::new();
    while let Some((length, rest)) = text.split_first() {
        let (name, rest) = rest.split_at_checked(usize::from(*length))?;
        let name = names().find(|ours| ours.as_bytes() == name)?;
        let (length, rest) = rest.split_first_chunk()?;
        let (bytes, rest) = rest.split_at_checked(usize::try_from(u64::from_be_bytes(*length)).ok()?)?;
        if files.iter().any(|(found, _)| *found == name) {
            return None;
        }
        files.push((name, Zeroizing::new(bytes.to_vec())));
        text = rest;
    }
    Some(files)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::crypto::KeyError;
    use crate::crypto::forget::Forget;
    use crate::crypto::trial::{CHEAP, CREATED, MASON, NELLY, Trial, block_on, words};
    use crate::domain::id::DiscordId;

    #[test]
    fn the_bytes_of_an_escrow_are_frozen() {
        // Opened once by another program, from the format as documented.
        let mut trial = Trial::new();
        trial.settings.encrypt_secret = Some(Secret::new("1".repeat(32)));
        trial.lived_in();
        let bytes = write_escrow(&trial.settings, &words(), CREATED, &*trial.entropy).unwrap();
        let expected = "2ac5fd60df640b4422158b13fc80d831460784405ed36d90387652162c175348";
        assert_eq!((bytes.len(), Hash::of(&bytes).to_string().as_str()), (1926, expected));
        let opened = read_escrow(&bytes, &words()).unwrap();
        let files = opened.files().map(|(name, bytes)| (name.to_owned(), bytes.to_vec()));
        assert_eq!(files.collect::<std::collections::BTreeMap<_, _>>(), trial.files());
    }

    #[test]
    fn a_wrong_passphrase_is_told_from_a_damaged_file() {
        let trial = Trial::new();
        trial.lived_in();
        let whole = trial.cheap_escrow().unwrap();
        for wrong in ["", "correct horse battery stapl", "correct horse battery staple "] {
            let error = read_escrow(&whole, &Secret::new(wrong)).unwrap_err();
            assert!(matches!(error, EscrowError::WrongPassphrase), "{error}");
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1 << (at % 8);
            let errors = [EscrowHeader::read(&changed).map(drop), read_escrow(&changed, &words()).map(drop)];
            for error in errors {
                match error.unwrap_err() {
                    EscrowError::NotAnEscrow => assert!(at < 8),
                    error => assert!(matches!(error, EscrowError::Damaged) && at >= 8, "{at}: {error}"),
                }
            }
        }
        for len in 0..whole.len() {
            let error = read_escrow(&whole[..len], &words()).unwrap_err();
            assert!(matches!(error, EscrowError::NotAnEscrow | EscrowError::Damaged), "{len}: {error}");
        }
        let nothing = write_at_cost(&trial.settings, &Secret::new(""), CREATED, &*trial.entropy, CHEAP);
        assert!(matches!(nothing, Err(EscrowError::NoPassphrase)));
    }

    /// Puts the right SHA-256 at the end, as whoever changes a file on purpose can.
    fn forged(escrow: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut changed = escrow[..escrow.len() - 32].to_vec();
        change(&mut changed);
        let checksum = Hash::of(&changed);
        [&changed[..], &checksum.0].concat()
    }

    #[test]
    fn what_somebody_changed_on_purpose_opens_with_no_passphrase() {
        let trial = Trial::new();
        trial.lived_in();
        let whole = trial.cheap_escrow().unwrap();
        for at in (8..whole.len() - 32).filter(|at| !(74..86).contains(at)) {
            let changed = forged(&whole, |bytes| bytes[at] ^= 1);
            match read_escrow(&changed, &words()).unwrap_err() {
                EscrowError::Newer { .. } => assert!((8..10).contains(&at)),
                error => assert!(matches!(error, EscrowError::WrongPassphrase), "{at}: {error}"),
            }
        }
        let dear = forged(&whole, |bytes| bytes[74..78].fill(0xFF));
        assert!(matches!(read_escrow(&dear, &words()), Err(EscrowError::Cost { memory_kib: u32::MAX, .. })));
        for len in 0..128 + 16 {
            let short = forged(&whole, |bytes| bytes.truncate(len));
            let error = EscrowHeader::read(&short).unwrap_err();
            assert!(matches!(error, EscrowError::Damaged) || len < 8, "{len}: {error}");
        }
    }

    #[test]
    fn files_are_unpacked_as_they_were_packed_and_no_others() {
        let files = [("kek", &b"1"[..]), ("subjects", b""), ("signer.next", b"345")];
        let text = pack(files.into_iter());
        let unpacked = unpack(&text).unwrap();
        let unpacked: Vec<_> = unpacked.iter().map(|(name, bytes)| (*name, &bytes[..])).collect();
        assert_eq!(unpacked, files);
        for len in (0..text.len()).filter(|len| ![0, 13, 30].contains(len)) {
            assert!(unpack(&text[..len]).is_none(), "{len}");
        }
        for wrong in [[("kek", &b"1"[..]), ("kek", b"1")], [("kek", b"1"), ("../kek", b"1")]] {
            assert!(unpack(&pack(wrong.into_iter())).is_none());
        }
        let mut huge = text.to_vec();
        huge[4..12].fill(0xFF);
        assert!(unpack(&huge).is_none());
    }

    #[test]
    fn an_open_rekey_is_not_put_in_escrow() {
        let trial = Trial::new();
        let (nelly, _) = trial.lived_in();
        let ring = trial.open().unwrap();
        trial.disk.fail_after(4);
        assert!(block_on(ring.forget(Forget::sub(nelly))).is_err());
        assert!(matches!(trial.cheap_escrow(), Err(EscrowError::RekeyOpen { .. })));
        trial.disk.repair();
        block_on(ring.forget(Forget::sub(nelly))).unwrap();
        assert_eq!(EscrowHeader::read(&trial.cheap_escrow().unwrap()).unwrap().subject_count, 1);
        fs::remove_file(trial.path("log")).unwrap();
        assert!(matches!(trial.cheap_escrow(), Err(EscrowError::Key(KeyError::Missing { .. }))));
    }

    #[test]
    fn an_escrow_made_while_a_server_rekeys_is_of_one_moment() {
        let trial = Trial::new();
        let (_, mason) = trial.lived_in();
        let ring = trial.open().unwrap();
        std::thread::scope(|scope| {
            let server = scope.spawn(|| {
                for id in 1..60 {
                    let sub = block_on(ring.ensure_subject(DiscordId(id))).unwrap();
                    block_on(ring.forget(Forget::sub(sub))).unwrap();
                }
            });
            while !server.is_finished() {
                let opened = read_escrow(&trial.cheap_escrow().unwrap(), &words()).unwrap();
                let other = trial.elsewhere();
                opened.restore_into(&other.settings.dir, &*other.disk).unwrap();
                let restored = other.open().unwrap();
                assert_eq!(restored.sub_of(MASON), Some(mason));
                assert_eq!(restored.fingerprint(), opened.header().fingerprint);
            }
        });
    }

    #[test]
    fn an_escrow_prints_no_key_and_holds_nobody_in_the_clear() {
        let trial = Trial::new();
        let (nelly, _) = trial.lived_in();
        let whole = trial.cheap_escrow().unwrap();
        let opened = read_escrow(&whole, &words()).unwrap();
        let shown = format!("{opened:?}");
        assert!(shown.contains("subject_count: 2") && shown.ends_with(".. }"), "{shown}");
        let root = Found::read(&trial.settings).unwrap().files.kek.to_bytes()[136..168].to_vec();
        let id = NELLY.0.to_be_bytes().to_vec();
        for secret in [root, id, nelly.0.to_vec(), b"subjects".to_vec()] {
            assert!(!whole.windows(secret.len()).any(|window| window == &secret[..]));
            assert!(!shown.contains(&hex::encode(&secret)) && !shown.contains(&format!("{secret:?}")));
        }
    }
}
