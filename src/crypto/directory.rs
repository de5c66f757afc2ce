//! `data/keys/` on the disk: made once, read at every start, and never made again over what is there.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use crate::disk::Disk;
use crate::entropy::Entropy;

use super::error::KeyError;
use super::files::{
    COOKIE, Found, NAMES_AFTER_KEK, Sealed, grows, may_be_missing, names, newest_file, single_entry,
};
use super::forget::Forget;
use super::kek::Kek;
use super::key_file::{replace, sync_directory, temporary};
use super::key_ring::KeySettings;
use super::secret_key::SecretKey;

/// Makes whatever a new log needs and has not got.
///
/// As soon as a user or a month has a key, the log is not new: then nothing is made.
pub(super) fn make_missing(
    settings: &KeySettings,
    entropy: &dyn Entropy,
    disk: &dyn Disk,
) -> Result<(), KeyError> {
    make_directory(&settings.dir, disk)?;
    let sealed = Sealed::read(&settings.dir)?;
    let kek = match sealed.kek(settings) {
        Err(KeyError::Missing { file }) if !sealed.has_more_than_kek() => {
            let kek = Kek::draw(settings.log_id, settings.encrypt_secret.clone(), entropy);
            replace(&file, &kek.to_bytes(), disk)?;
            kek
        }
        found => found?,
    };
    let mut missing = Vec::new();
    for name in NAMES_AFTER_KEK {
        match sealed.file(settings, &kek, name) {
            Err(KeyError::Missing { .. }) if name == COOKIE && settings.cookie_secret.is_none() => {
                missing.push(name);
            }
            Err(KeyError::Missing { .. }) if may_be_missing(name) => {}
            Err(KeyError::Missing { .. }) => missing.push(name),
            Ok((_, contents)) if grows(name) && !contents.entries.is_empty() => return Ok(()),
            found => drop(found?),
        }
    }
    for name in missing {
        let single = (!grows(name)).then(|| single_entry(SecretKey::draw(entropy)));
        newest_file(settings, &kek, name)?.write_anew(single.as_slice(), entropy, disk)?;
    }
    Ok(())
}

impl Found {
    /// Ends what a crash cut off, but for what is not whole at the end of a file, and makes nobody else able to read
    /// the files.
    pub(super) fn repair(&mut self, entropy: &dyn Entropy, disk: &dyn Disk) -> Result<(), KeyError> {
        let Found { files, known } = self;
        restrict(&files.settings.dir, 0o700);
        for name in names() {
            let path = files.settings.dir.join(name);
            restrict(&path, 0o600);
            match fs::remove_file(temporary(&path)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(KeyError::io("remove", temporary(&path))(error));
                }
                _ => {}
            }
        }
        if files.key(COOKIE).is_err() && files.settings.cookie_secret.is_none() {
            files.put_key(COOKIE, SecretKey::draw(entropy), entropy, disk)?;
        }
        // The start may still be refused for what this cost; the next new key writes the file anew.
        for growing in [&files.subjects, &files.months].into_iter().filter(|growing| growing.is_in_doubt()) {
            tracing::warn!(
                file = growing.file().name(),
                "a key that was being added at a crash does not count"
            );
        }
        if files.rekey_is_open() {
            tracing::info!("a rekey that was cut off is ended");
            files.finish_rekey(known, &Forget::default(), entropy, disk)?;
        }
        Ok(())
    }
}

/// Makes the directory for nobody but its owner, if it is not there.
pub(super) fn make_directory(dir: &Path, disk: &dyn Disk) -> Result<(), KeyError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(KeyError::io("create", dir))?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_directory(parent, disk),
        _ => sync_directory(Path::new("."), disk),
    }
}

/// Takes away what others may do with a file or directory; what does not work is only said.
fn restrict(path: &Path, mode: u32) {
    let Ok(found) = fs::metadata(path) else { return };
    if found.permissions().mode() & 0o077 == 0 {
        return;
    }
    match fs::set_permissions(path, Permissions::from_mode(mode)) {
        Ok(()) => {
            tracing::warn!(path = %path.display(), "others could read the keys; their permissions are repaired")
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "others can read the keys, and it cannot be changed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::files::{LOG, MONTHS, SIGNER, SUBJECTS};
    use crate::crypto::kek;
    use crate::crypto::key_ring::KeyRing;
    use crate::crypto::trial::{JUNE, MASON, NELLY, Trial, block_on};
    use crate::domain::id::{Hash, LogId, Secret};

    fn read_kek(trial: &Trial) -> Result<Kek, KeyError> {
        Sealed::read(&trial.settings.dir)?.kek(&trial.settings)
    }

    #[test]
    fn the_bytes_of_the_key_files_are_frozen() {
        // Computed once by another program, from the formats as documented.
        let expected = [
            ("cookie", 256, "bcea8ed987870c99a5641d5690e6d173378baf79d0c5d20eb76d29e015633872"),
            ("kek", 256, "79cb8d8693ad22a7c0d4a9aec4f9a0ccc3fa3dabd6f193a190c6de5572f02dbe"),
            ("log", 256, "f87bd04d47025889b06cc91557efc434a2c2004e0e079120c2a87dc237b264a3"),
            ("months", 256, "255fba531b259d142328f46ef5900ccd19c3290e2b8a4a21bc69d94153d89ad5"),
            ("signer", 256, "a5fcc6337fa3f93cae68946e619b4c37997f65bf234b951841d5a1408b471d74"),
            ("subjects", 384, "8486db3d2e5aa584de0392b30bbb21f7d70556acdc97e93b8ff1e47d2a3b0f8c"),
        ];
        let mut trial = Trial::new();
        trial.settings.encrypt_secret = Some(Secret::new("1".repeat(32)));
        trial.lived_in();
        let files = trial.files();
        let found =
            files.iter().map(|(name, bytes)| (name.as_str(), bytes.len(), Hash::of(bytes).to_string()));
        let expected = expected.map(|(name, len, hash)| (name, len, hash.to_owned()));
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn only_the_owner_of_the_files_may_read_them() {
        let trial = Trial::new();
        drop(trial.create().unwrap());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let all = || trial.files().into_keys().collect::<Vec<_>>();
        assert_eq!(all(), ["cookie", "kek", "log", "months", "signer", "subjects"]);
        assert_eq!(mode(&trial.settings.dir), 0o700);
        for name in all() {
            let path = trial.path(&name);
            assert_eq!(mode(&path), 0o600, "{name}");
            fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        }
        fs::set_permissions(&trial.settings.dir, Permissions::from_mode(0o755)).unwrap();
        drop(trial.open().unwrap());
        assert_eq!(mode(&trial.settings.dir), 0o700);
        all().iter().for_each(|name| assert_eq!(mode(&trial.path(name)), 0o600, "{name}"));
    }

    #[test]
    fn a_changed_byte_anywhere_is_refused_and_nothing_is_written() {
        let trial = Trial::new();
        trial.lived_in();
        for (name, whole) in trial.files() {
            for at in 0..whole.len() {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << (at % 8);
                fs::write(trial.path(&name), &bytes).unwrap();
                let before = trial.files();
                for error in [trial.open().unwrap_err(), trial.create().unwrap_err()] {
                    assert!(
                        matches!(&error, KeyError::Damaged { file, .. } if *file == trial.path(&name)),
                        "{name} {at}: {error}"
                    );
                }
                assert_eq!(trial.files(), before, "{name} {at}");
            }
            fs::write(trial.path(&name), &whole).unwrap();
        }
        drop(trial.open().unwrap());
    }

    #[test]
    fn a_file_that_was_cut_loses_at_most_its_torn_end() {
        let trial = Trial::new();
        let (nelly, _) = trial.lived_in();
        for (name, whole) in trial.files() {
            for len in 0..whole.len() {
                fs::write(trial.path(&name), &whole[..len]).unwrap();
                let before = trial.files();
                let checked = KeyRing::check(&trial.settings);
                assert_eq!(trial.files(), before, "a check writes nothing");
                let grows = name == SUBJECTS || name == MONTHS;
                match trial.open() {
                    Ok(ring) => {
                        assert!(grows && len >= 128 && checked.is_ok(), "{name} {len}");
                        let left = if name == SUBJECTS { ring.subject_count() } else { 2 };
                        assert_eq!(left, if name == SUBJECTS { len / 128 - 1 } else { 2 });
                        assert_eq!(ring.sub_of(NELLY).is_some(), name != SUBJECTS || len >= 256);
                        assert_eq!(trial.files(), before, "the torn end stays until the next key");
                    }
                    Err(error) => {
                        assert!(!grows || len < 128, "{name} {len}: {error}");
                        assert!(matches!(error, KeyError::Damaged { .. }), "{name} {len}: {error}");
                        assert_eq!(trial.files(), before, "{name} {len}");
                    }
                }
            }
            fs::write(trial.path(&name), &whole).unwrap();
        }
        assert_eq!(trial.open().unwrap().sub_of(NELLY), Some(nelly));
    }

    #[test]
    fn after_a_torn_end_new_users_are_kept_as_before() {
        let trial = Trial::new();
        let (nelly, _) = trial.lived_in();
        let whole = trial.files().remove(SUBJECTS).unwrap();
        fs::write(trial.path(SUBJECTS), &whole[..whole.len() - 1]).unwrap();
        let ring = trial.open().unwrap();
        let mason = block_on(ring.ensure_subject(MASON)).unwrap();
        drop(ring);
        assert_eq!(trial.files()[SUBJECTS].len(), whole.len(), "the torn end is gone");
        let ring = trial.open().unwrap();
        assert_eq!((ring.sub_of(NELLY), ring.sub_of(MASON)), (Some(nelly), Some(mason)));
    }

    #[test]
    fn bytes_that_nobody_wrote_are_damage() {
        let trial = Trial::new();
        trial.lived_in();
        for (name, whole) in trial.files() {
            let longer = [&whole[..], &[0xA5; 128]].concat();
            fs::write(trial.path(&name), &longer).unwrap();
            assert!(matches!(trial.open(), Err(KeyError::Damaged { .. })), "{name}");
            assert_eq!(trial.files()[&name], longer);
            fs::write(trial.path(&name), &whole).unwrap();
        }
    }

    #[test]
    fn entries_that_change_places_or_files_are_damage() {
        let trial = Trial::new();
        trial.lived_in();
        let files = trial.files();
        let swapped = {
            let whole = &files[SUBJECTS];
            [&whole[..128], &whole[256..384], &whole[128..256]].concat()
        };
        fs::write(trial.path(SUBJECTS), swapped).unwrap();
        assert!(matches!(trial.open(), Err(KeyError::Damaged { at: 128, .. })));
        fs::write(trial.path(SUBJECTS), &files[SUBJECTS]).unwrap();
        for (from, to) in [(LOG, SIGNER), (LOG, COOKIE), (MONTHS, SUBJECTS)] {
            fs::write(trial.path(to), &files[from]).unwrap();
            assert!(matches!(trial.open(), Err(KeyError::Damaged { .. })), "{from} as {to}");
            fs::write(trial.path(to), &files[to]).unwrap();
        }
    }

    #[test]
    fn a_missing_file_is_named_and_not_made_again() {
        let trial = Trial::new();
        trial.lived_in();
        for name in [kek::NAME, SUBJECTS, MONTHS, LOG, SIGNER] {
            let whole = fs::read(trial.path(name)).unwrap();
            fs::remove_file(trial.path(name)).unwrap();
            let before = trial.files();
            let missing = |result: Result<_, KeyError>| match result {
                Err(KeyError::Missing { file }) => assert_eq!(file, trial.path(name)),
                other => panic!("{name}: {other:?}"),
            };
            missing(trial.open().map(drop));
            missing(KeyRing::check(&trial.settings));
            missing(trial.create().map(drop));
            assert_eq!(trial.files(), before, "{name}");
            fs::write(trial.path(name), &whole).unwrap();
        }
        let nowhere = KeySettings { dir: trial.settings.dir.join("nowhere"), ..trial.settings.clone() };
        assert!(matches!(KeyRing::check(&nowhere), Err(KeyError::Missing { .. })));
        assert_eq!(KeyRing::log_of(&nowhere.dir).unwrap(), None);
    }

    #[test]
    fn the_keys_of_another_log_are_refused() {
        let mut trial = Trial::new();
        trial.lived_in();
        let (ours, before) = (trial.settings.log_id, trial.files());
        trial.settings.log_id = LogId([0x77; 16]);
        for error in [trial.open().unwrap_err(), trial.create().unwrap_err()] {
            assert!(matches!(error, KeyError::OtherLog { found, .. } if found == ours), "{error}");
            assert!(!error.is_configuration());
        }
        assert_eq!(trial.files(), before);

        // A single file of another log is found too.
        let other = Trial::new_of(LogId([0x78; 16]));
        drop(other.create().unwrap());
        trial.settings.log_id = ours;
        for (name, bytes) in other.files() {
            fs::write(trial.path(&name), bytes).unwrap();
            assert!(matches!(trial.open(), Err(KeyError::OtherLog { .. })), "{name}");
            fs::write(trial.path(&name), &before[&name]).unwrap();
        }
    }

    #[test]
    fn creating_goes_on_after_a_crash_at_any_sync() {
        let whole = Trial::new();
        drop(whole.create().unwrap());
        let syncs = whole.disk.calls().len();
        assert!(syncs > 12, "each of six files and its name, and the directory: {syncs}");
        for crash in 0..syncs {
            let trial = Trial::new();
            trial.disk.fail_after(crash);
            assert!(matches!(trial.create(), Err(KeyError::Io { .. })), "{crash}");
            let before = trial.files();
            trial.disk.repair();
            let ring = trial.create().unwrap();
            assert_eq!(block_on(ring.ensure_subject(NELLY)).ok(), ring.sub_of(NELLY));
            drop(ring);
            for (name, bytes) in
                before.into_iter().filter(|(name, _)| name != SUBJECTS && !name.ends_with(".new"))
            {
                assert_eq!(trial.files()[&name], bytes, "{crash}: {name} was made twice");
            }
            drop(trial.open().unwrap());
        }
    }

    #[test]
    fn each_file_is_synced_before_it_gets_its_name_and_its_directory_after() {
        let trial = Trial::new();
        drop(trial.create().unwrap());
        let calls = trial.disk.calls();
        // The new directory first, then six files.
        assert_eq!(calls[0].what, crate::disk::Synced::Directory);
        for pair in calls[1..].chunks(2) {
            assert_eq!(pair[0].what, crate::disk::Synced::Keys);
            assert_eq!(pair[1].what, crate::disk::Synced::Directory);
            assert!(pair[0].names.iter().any(|name| name.ends_with(".new")), "{pair:?}");
            assert!(!pair[1].names.iter().any(|name| name.ends_with(".new")), "{pair:?}");
            assert!(pair[0].len == 128 || pair[0].len == 256, "its contents are there: {pair:?}");
        }
        assert_eq!(calls.len(), 13);
    }

    #[test]
    fn a_rekey_that_was_cut_off_anywhere_is_ended_at_the_next_start() {
        let begun = |trial: &Trial| {
            let subs = trial.lived_in();
            let kek = read_kek(trial).unwrap().with_new(&*trial.entropy);
            replace(&trial.path(kek::NAME), &kek.to_bytes(), &*trial.disk).unwrap();
            subs
        };
        let whole = Trial::new();
        begun(&whole);
        let before = whole.disk.calls().len();
        drop(whole.open().unwrap());
        let syncs = whole.disk.calls().len() - before;
        assert_eq!(syncs, 12, "five files and `kek`, each with its directory");
        for crash in 0..syncs {
            let trial = Trial::new();
            let (nelly, mason) = begun(&trial);
            let old = trial.files();
            KeyRing::check(&trial.settings).unwrap();
            trial.disk.fail_after(crash);
            assert!(matches!(trial.open(), Err(KeyError::Io { .. })), "{crash}");
            trial.disk.repair();
            let ring = trial.open().unwrap();
            assert_eq!((ring.sub_of(NELLY), ring.sub_of(MASON)), (Some(nelly), Some(mason)));
            assert!(ring.has_month(JUNE));
            let kek = read_kek(&trial).unwrap();
            assert_eq!((kek.rekey_is_open(), kek.newest().generation), (false, 2));
            for (name, bytes) in trial.files() {
                assert_eq!(bytes[10..14], [0, 0, 0, 2], "{name}");
            }
            // The old files are noise once the old root key is gone.
            for name in NAMES_AFTER_KEK.into_iter().filter(|name| old.contains_key(*name)) {
                let now = trial.files().remove(name).unwrap();
                fs::write(trial.path(name), &old[name]).unwrap();
                assert!(matches!(KeyRing::check(&trial.settings), Err(KeyError::Damaged { .. })), "{name}");
                fs::write(trial.path(name), now).unwrap();
            }
        }
    }
}
