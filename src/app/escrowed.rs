//! `escrow.last`: which keys the last escrow has, so that a server can say when there are others.
//!
//! It holds no key and no secret, and nothing depends on it: whoever removes it is only told less.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::App;
use crate::disk::{Disk, Synced};
use crate::domain::id::Hash;
use crate::domain::time::Timestamp;

/// The file's name in the data directory.
const NAME: &str = "escrow.last";

/// What is remembered of an escrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Escrowed {
    /// Which keys are in it; see [`KeyRing::fingerprint`](crate::crypto::KeyRing::fingerprint).
    pub fingerprint: Hash,
    /// When it was made.
    pub created: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Written {
    fingerprint: String,
    created: String,
}

impl Escrowed {
    /// Reads what is remembered; `None` where no escrow was ever made.
    pub fn read(data_dir: &Path) -> io::Result<Option<Escrowed>> {
        let bytes = match fs::read(data_dir.join(NAME)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found?,
        };
        let Written { fingerprint, created } = serde_json::from_slice(&bytes)?;
        let wrong =
            |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("`{what}` is not as written"));
        let fingerprint = fingerprint.parse().map_err(|_| wrong("fingerprint"))?;
        let created = created.parse::<jiff::Timestamp>().map_err(|_| wrong("created"))?;
        Ok(Some(Escrowed { fingerprint, created: Timestamp(created.as_millisecond()) }))
    }

    /// Remembers this one instead of the one before it, on stable storage.
    pub fn write(&self, data_dir: &Path, disk: &dyn Disk) -> io::Result<()> {
        let Escrowed { fingerprint, created } = self;
        let written = Written { fingerprint: fingerprint.to_string(), created: created.to_string() };
        let mut bytes = serde_json::to_vec(&written)?;
        bytes.push(b'\n');
        let new = data_dir.join(format!("{NAME}.new"));
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        // Whoever made the escrow, the server has to read this.
        let (dir, own) = (fs::metadata(data_dir)?, file.metadata()?);
        if own.uid() != dir.uid() {
            fchown(&file, Some(dir.uid()), Some(dir.gid()))?;
        }
        file.write_all(&bytes)?;
        disk.sync_all(Synced::Other, &file)?;
        fs::rename(&new, data_dir.join(NAME))?;
        disk.sync_all(Synced::Directory, &File::open(data_dir)?)
    }
}

impl App {
    /// Says where the last escrow is not one of the keys of today.
    pub(super) fn look_at_escrow(&self, at_start: bool) {
        match Escrowed::read(&self.data_dir) {
            Ok(None) if at_start => tracing::info!(
                "the keys were never put in escrow; `doorbook keys escrow FILE` makes what restores them with a backup"
            ),
            Ok(None) => {}
            Ok(Some(last)) if last.fingerprint == self.keys.fingerprint() => {}
            Ok(Some(last)) => tracing::warn!(
                made = %last.created,
                "the last escrow is stale: since then users or months came, or were erased; run `doorbook keys escrow` again"
            ),
            Err(error) => {
                let path = self.data_dir.join(NAME);
                tracing::warn!(path = %path.display(), %error, "what is remembered of the last escrow cannot be read");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn the_last_escrow_is_remembered_for_the_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Escrowed::read(dir.path()).unwrap(), None);
        let mut escrowed = Escrowed { fingerprint: Hash([7; 32]), created: Timestamp(1_767_323_045_250) };
        for millis in [0, 1] {
            escrowed.created.0 += millis;
            escrowed.write(dir.path(), &RealDisk).unwrap();
            assert_eq!(Escrowed::read(dir.path()).unwrap(), Some(escrowed));
        }
        let text = fs::read_to_string(dir.path().join(NAME)).unwrap();
        let fingerprint = "07".repeat(32);
        assert_eq!(
            text,
            format!("{{\"fingerprint\":\"{fingerprint}\",\"created\":\"2026-01-02T03:04:05.251Z\"}}\n")
        );
        let mode = fs::metadata(dir.path().join(NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn what_root_remembers_belongs_to_whose_the_directory_is() {
        let dir = tempfile::tempdir().unwrap();
        if std::os::unix::fs::chown(dir.path(), Some(12_345), Some(12_346)).is_err() {
            // Only root can give a directory away.
            return;
        }
        let escrowed = Escrowed { fingerprint: Hash([7; 32]), created: Timestamp(0) };
        escrowed.write(dir.path(), &RealDisk).unwrap();
        let found = fs::metadata(dir.path().join(NAME)).unwrap();
        assert_eq!((found.uid(), found.gid()), (12_345, 12_346));
    }

    #[test]
    fn what_is_not_as_written_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        for wrong in ["", "{}", "{\"fingerprint\":\"07\",\"created\":\"2026-01-02T03:04:05Z\"}"] {
            fs::write(dir.path().join(NAME), wrong).unwrap();
            assert!(Escrowed::read(dir.path()).is_err(), "{wrong}");
        }
    }
}
