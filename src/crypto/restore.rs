//! Keys out of an escrow into a directory that has none: all of them, or a start says that they are not whole.

use std::path::Path;

use crate::disk::Disk;

use super::directory::make_directory;
use super::error::EscrowError;
use super::escrow::Escrow;
use super::files::Sealed;
use super::kek;
use super::key_file::{replace, sync_directory};

impl Escrow {
    /// Puts the keys into a directory that has none.
    ///
    /// `kek` is the last to come. Until then a start says that it is missing and makes nothing, and the same
    /// escrow can be restored again over what is there; so it can after a restore that ended. A file that is
    /// another one than the escrow's is never replaced: [`EscrowError::Occupied`].
    pub fn restore_into(&self, dir: &Path, disk: &dyn Disk) -> Result<(), EscrowError> {
        make_directory(dir, disk)?;
        let there = Sealed::read(dir)?;
        let is_there = |name: &str| there.files().any(|(found, _)| found == name);
        let occupied = |name: &str| EscrowError::Occupied { file: dir.join(name) };
        for (name, bytes) in there.files() {
            if !self.files().any(|ours| ours == (name, bytes)) {
                return Err(occupied(name));
            }
        }
        if is_there(kek::NAME) && !self.files().all(|(name, _)| is_there(name)) {
            return Err(occupied(kek::NAME));
        }
        for (name, bytes) in self.files().filter(|(name, _)| !is_there(name)) {
            replace(&dir.join(name), bytes, disk)?;
        }
        Ok(sync_directory(dir, disk)?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::crypto::escrow::read_escrow;
    use crate::crypto::escrow_header::EscrowHeader;
    use crate::crypto::files::NAMES_AFTER_KEK;
    use crate::crypto::trial::{CREATED, MASON, NELLY, Trial, block_on, words};
    use crate::crypto::{KeyError, KeyRing};
    use crate::domain::id::{DiscordId, LogId, RecordId, Secret};
    use crate::domain::record::Owner;

    #[test]
    fn what_was_put_in_escrow_opens_the_same_boxes_elsewhere() {
        let mut trial = Trial::new();
        trial.settings.encrypt_secret = Some(Secret::new("1".repeat(32)));
        let (nelly, mason) = trial.lived_in();
        let ring = trial.open().unwrap();
        let next = block_on(ring.prepare_signer()).unwrap();
        let boxes = [Owner::Subject(nelly), Owner::Log]
            .map(|owner| ring.seal(owner, RecordId([1; 16]), b"a fact").unwrap());
        let whole = trial.cheap_escrow().unwrap();

        let header = EscrowHeader::read(&whole).unwrap();
        assert_eq!((header.log, header.created), (trial.settings.log_id, CREATED));
        assert_eq!((header.subject_count, header.fingerprint), (2, ring.fingerprint()));
        let opened = read_escrow(&whole, &words()).unwrap();
        assert_eq!(opened.header(), &header);
        let other = trial.elsewhere();
        opened.restore_into(&other.settings.dir, &*other.disk).unwrap();
        assert_eq!(other.files(), trial.files());

        let restored = other.open().unwrap();
        assert_eq!((restored.sub_of(NELLY), restored.sub_of(MASON)), (Some(nelly), Some(mason)));
        assert_eq!(restored.fingerprint(), ring.fingerprint());
        for sealed in &boxes {
            assert_eq!(*restored.unseal(RecordId([1; 16]), sealed).unwrap(), b"a fact");
        }
        block_on(restored.signer_is(next.public)).unwrap();

        // `ENCRYPT_SECRET` is not in it.
        let mut without = trial.elsewhere();
        without.settings.encrypt_secret = None;
        opened.restore_into(&without.settings.dir, &*without.disk).unwrap();
        assert!(matches!(without.open(), Err(KeyError::SecretRemoved { .. })));
    }

    #[test]
    fn a_restore_that_was_cut_off_is_found_and_can_be_repeated() {
        let trial = Trial::new();
        let (nelly, _) = trial.lived_in();
        let opened = read_escrow(&trial.cheap_escrow().unwrap(), &words()).unwrap();
        // The directory, six files with their names, and the directory again.
        for crash in 0..14 {
            let other = trial.elsewhere();
            other.disk.fail_after(crash);
            assert!(opened.restore_into(&other.settings.dir, &*other.disk).is_err(), "{crash}");
            other.disk.repair();
            if crash < 12 {
                assert_eq!(KeyRing::log_of(&other.settings.dir).unwrap(), None);
                let missing = other.open().unwrap_err();
                assert!(matches!(missing, KeyError::Missing { file } if file == other.path(kek::NAME)));
            }
            if (3..12).contains(&crash) {
                assert!(matches!(other.create(), Err(KeyError::Missing { .. })), "{crash}: nothing is made");
            }
            opened.restore_into(&other.settings.dir, &*other.disk).unwrap();
            assert_eq!(other.files(), trial.files(), "{crash}");
            opened.restore_into(&other.settings.dir, &*other.disk).unwrap();
            assert_eq!(other.open().unwrap().sub_of(NELLY), Some(nelly));
        }
    }

    #[test]
    fn other_keys_are_never_replaced() {
        let trial = Trial::new();
        trial.lived_in();
        let opened = read_escrow(&trial.cheap_escrow().unwrap(), &words()).unwrap();
        let occupied = |other: &Trial, by: &str| {
            let before = other.files();
            let error = opened.restore_into(&other.settings.dir, &*other.disk).unwrap_err();
            assert!(
                matches!(&error, EscrowError::Occupied { file } if *file == other.path(by)),
                "{by}: {error}"
            );
            assert_eq!(other.files(), before);
        };
        // The same keys, later.
        let ring = trial.open().unwrap();
        block_on(ring.ensure_subject(DiscordId(7))).unwrap();
        occupied(&trial, "subjects");
        // Keys of another log, and a single file of anybody's.
        let strange = Trial::new_of(LogId([9; 16]));
        strange.lived_in();
        occupied(&strange, kek::NAME);
        for name in std::iter::once(kek::NAME).chain(NAMES_AFTER_KEK) {
            let other = trial.elsewhere();
            fs::create_dir(&other.settings.dir).unwrap();
            fs::write(other.path(name), b"precious").unwrap();
            occupied(&other, name);
        }
        // `kek` comes last, so a directory with it and without the others is no restore.
        let other = trial.elsewhere();
        fs::create_dir(&other.settings.dir).unwrap();
        fs::copy(trial.path(kek::NAME), other.path(kek::NAME)).unwrap();
        occupied(&other, kek::NAME);
    }
}
