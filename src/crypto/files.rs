//! Every key file of one log, as whoever writes them owns it: what seals each, and the single keys.
//!
//! The entries of `subjects` and `months` are in [`Known`], where everybody reads them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::disk::Disk;
use crate::entropy::Entropy;

use super::block::Header;
use super::error::KeyError;
use super::growing::Growing;
use super::kek::{self, Kek};
use super::key_file::{Contents, Entry, KeyFile, read_if_there, replace, sync_directory};
use super::key_ring::KeySettings;
use super::known::{Known, Which};
use super::secret_key::SecretKey;

pub(super) const SUBJECTS: &str = "subjects";
pub(super) const MONTHS: &str = "months";
pub(super) const LOG: &str = "log";
pub(super) const SIGNER: &str = "signer";
/// The key that signs next; there only while it takes the place of the other one.
pub(super) const NEXT_SIGNER: &str = "signer.next";
/// What past signers said of those after them; the one file that is no key, and is not sealed.
pub(super) const PAST_SIGNERS: &str = "signer.past";
/// There only where `COOKIE_SECRET` is not given, or was not.
pub(super) const COOKIE: &str = "cookie";

/// The files besides `kek`, in the order in which they are made and read.
///
/// The next signer is read before the signer: one that moves meanwhile is then seen twice and not missed.
pub(super) const NAMES_AFTER_KEK: [&str; 6] = [SUBJECTS, MONTHS, LOG, NEXT_SIGNER, SIGNER, COOKIE];

/// Returns every name that a file of ours can have.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    std::iter::once(kek::NAME).chain(NAMES_AFTER_KEK).chain([PAST_SIGNERS])
}

/// Says whether a file takes in new entries.
pub(super) fn grows(name: &str) -> bool {
    matches!(name, SUBJECTS | MONTHS)
}

/// Says whether keys are whole without the file.
pub(super) fn may_be_missing(name: &str) -> bool {
    matches!(name, COOKIE | NEXT_SIGNER)
}

/// The name of a key file, and its bytes as they are on the disk.
pub(super) type SealedFile = (&'static str, Zeroizing<Vec<u8>>);

/// The key files as they are on the disk, sealed, at about one moment.
pub(super) struct Sealed {
    dir: PathBuf,
    files: Vec<SealedFile>,
}

impl Sealed {
    /// Reads the files that are there, `kek` first.
    pub(super) fn read(dir: &Path) -> Result<Sealed, KeyError> {
        let mut files = Vec::new();
        for name in names() {
            if let Some(bytes) = read_if_there(&dir.join(name))? {
                files.push((name, bytes));
            }
        }
        Ok(Sealed { dir: dir.to_owned(), files })
    }

    /// Returns the bytes of a file that must be there.
    fn get(&self, name: &str) -> Result<&[u8], KeyError> {
        let found = self.files.iter().find(|(found, _)| *found == name);
        found.map(|(_, bytes)| &bytes[..]).ok_or_else(|| KeyError::Missing { file: self.dir.join(name) })
    }

    /// Says whether any file but `kek` is there.
    pub(super) fn has_more_than_kek(&self) -> bool {
        self.files.iter().any(|(name, _)| *name != kek::NAME)
    }

    /// Returns the files with their names, `kek` first.
    pub(super) fn files(&self) -> impl Iterator<Item = (&'static str, &[u8])> + Clone {
        self.files.iter().map(|(name, bytes)| (*name, &bytes[..]))
    }

    /// Says whether the root keys were the same when these files were read.
    pub(super) fn has_the_kek_of(&self, other: &Sealed) -> bool {
        matches!((self.get(kek::NAME), other.get(kek::NAME)), (Ok(one), Ok(two)) if one == two)
    }

    /// Reads the root keys.
    pub(super) fn kek(&self, settings: &KeySettings) -> Result<Kek, KeyError> {
        let bytes = self.get(kek::NAME)?;
        Kek::read(settings.log_id, settings.encrypt_secret.clone(), &self.dir.join(kek::NAME), bytes)
    }

    /// Reads another file.
    pub(super) fn file(
        &self,
        settings: &KeySettings,
        kek: &Kek,
        name: &'static str,
    ) -> Result<(KeyFile, Contents), KeyError> {
        let bytes = self.get(name)?;
        let header = Header::read_of(settings.log_id, &self.dir.join(name), bytes)?;
        let file = file_under(settings, kek, name, header)?;
        let contents = if grows(name) { file.read(bytes)? } else { file.read_single(bytes)? };
        Ok((file, contents))
    }
}

/// What is in the key files.
pub(super) struct Found {
    /// The files.
    pub(super) files: Files,
    /// What `subjects` and `months` say.
    pub(super) known: Known,
}

impl Found {
    /// Reads everything, writes nothing.
    pub(super) fn read(settings: &KeySettings) -> Result<Found, KeyError> {
        Found::open(settings, &Sealed::read(&settings.dir)?)
    }

    /// Opens what was read.
    pub(super) fn open(settings: &KeySettings, sealed: &Sealed) -> Result<Found, KeyError> {
        let kek = sealed.kek(settings)?;
        let (subjects, subject_entries) = sealed.file(settings, &kek, SUBJECTS)?;
        let (months, month_entries) = sealed.file(settings, &kek, MONTHS)?;
        let mut singles = Vec::new();
        for name in NAMES_AFTER_KEK.into_iter().filter(|name| !grows(name)) {
            match sealed.file(settings, &kek, name) {
                Err(KeyError::Missing { .. }) if may_be_missing(name) => {}
                found => {
                    let (file, contents) = found?;
                    let key = contents.entries.first().ok_or_else(|| file.damaged(0))?.key.clone();
                    singles.push(Single { file, key, in_doubt: false });
                }
            }
        }
        let known =
            Known::read(&subject_entries.entries, &month_entries.entries).map_err(|(which, index)| {
                match which {
                    Which::Subjects => subjects.damaged(index),
                    Which::Months => months.damaged(index),
                }
            })?;
        let files = Files {
            settings: settings.clone(),
            kek,
            subjects: Growing::new(subjects, &subject_entries),
            months: Growing::new(months, &month_entries),
            singles,
        };
        Ok(Found { files, known })
    }
}

/// The files of one log.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) settings: KeySettings,
    pub(super) kek: Kek,
    pub(super) subjects: Growing,
    pub(super) months: Growing,
    pub(super) singles: Vec<Single>,
}

/// A file of one key, and the key.
#[derive(Debug)]
pub(super) struct Single {
    pub(super) file: KeyFile,
    pub(super) key: SecretKey,
    /// Whether a write or a removal of it failed, so that nobody knows if it is there.
    pub(super) in_doubt: bool,
}

impl Files {
    /// Returns the key in a file of one key.
    pub(super) fn key(&self, name: &str) -> Result<&SecretKey, KeyError> {
        let single = self.singles.iter().find(|single| single.file.name() == name);
        let missing = || KeyError::Missing { file: self.settings.dir.join(name) };
        single.map(|single| &single.key).ok_or_else(missing)
    }

    /// Says whether the file of one key is there beyond doubt.
    pub(super) fn has_key(&self, name: &str) -> bool {
        self.singles.iter().any(|single| single.file.name() == name && !single.in_doubt)
    }

    /// Puts a key into a file of one key, whether or not the file is there.
    ///
    /// After an error the key that was there before still counts; a file that was not there counts as one that
    /// may be, so that a rekey does not leave it behind.
    pub(super) fn put_key(
        &mut self,
        name: &'static str,
        key: SecretKey,
        entropy: &dyn Entropy,
        disk: &dyn Disk,
    ) -> Result<(), KeyError> {
        let file = newest_file(&self.settings, &self.kek, name)?;
        let at = self.singles.iter().position(|single| single.file.name() == name).unwrap_or_else(|| {
            self.singles.push(Single { file: file.clone(), key: key.clone(), in_doubt: true });
            self.singles.len() - 1
        });
        self.singles[at].in_doubt = true;
        file.write_anew(&[single_entry(key.clone())], entropy, disk)?;
        self.singles[at] = Single { file, key, in_doubt: false };
        Ok(())
    }

    /// Removes a file of one key.
    pub(super) fn remove_key(&mut self, name: &str, disk: &dyn Disk) -> Result<(), KeyError> {
        let Some(at) = self.singles.iter().position(|single| single.file.name() == name) else {
            return Ok(());
        };
        self.singles[at].in_doubt = true;
        let path = self.settings.dir.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(KeyError::io("remove", path)(error));
            }
            _ => sync_directory(&self.settings.dir, disk)?,
        }
        self.singles.remove(at);
        Ok(())
    }

    /// Writes `kek`, which counts once it is on stable storage.
    pub(super) fn put_kek(&mut self, kek: Kek, disk: &dyn Disk) -> Result<(), KeyError> {
        replace(&self.settings.dir.join(kek::NAME), &kek.to_bytes(), disk)?;
        self.kek = kek;
        Ok(())
    }

    /// Returns the file `name` as it is to be written: under the newest root key.
    pub(super) fn newest_file(&self, name: &'static str) -> Result<KeyFile, KeyError> {
        newest_file(&self.settings, &self.kek, name)
    }
}

pub(super) fn single_entry(key: SecretKey) -> Entry {
    Entry { name: [0; 24], key }
}

pub(super) fn newest_file(
    settings: &KeySettings,
    kek: &Kek,
    name: &'static str,
) -> Result<KeyFile, KeyError> {
    let header = Header { generation: kek.newest().generation, log: settings.log_id };
    file_under(settings, kek, name, header)
}

fn file_under(
    settings: &KeySettings,
    kek: &Kek,
    name: &'static str,
    header: Header,
) -> Result<KeyFile, KeyError> {
    let key = kek.file_key(header.generation, name).ok_or_else(|| KeyError::Damaged {
        file: settings.dir.join(name),
        at: 0,
        what: "it is sealed under a root key that is not in `kek`",
    })?;
    Ok(KeyFile::new(&settings.dir, name, header, key))
}
