//! A copy of the log among the system's temporary files, for as long as somebody reads it.
//!
//! Its directory is locked for that long. Whoever is killed leaves it there, but the lock goes with the process: the
//! next who needs a copy removes what nobody holds any more.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::World;
use crate::app::OpenError;
use crate::entropy::Entropy;
use crate::event_log::start::{self, StartError};

/// What the name of each begins with; sixteen hexadecimal digits follow.
const PREFIX: &str = "doorbook-aside-";

/// How often a directory that was taken for a leftover is made again.
const TRIES: u32 = 8;

/// A log that was copied to where it can be written to, because sled cannot read without writing.
pub(super) struct Aside {
    dir: PathBuf,
    /// Held until the directory is gone.
    _held: File,
}

impl Aside {
    /// Copies the log of a data directory.
    pub(super) fn of(data_dir: &Path, world: &World) -> Result<Aside, OpenError> {
        let World { entropy, disk, .. } = world;
        let temporary = std::env::temp_dir();
        let aside = Aside::begin(&temporary, &**entropy).map_err(|source| StartError::Io {
            what: "the log cannot be copied",
            path: temporary,
            source,
        })?;
        start::copy_aside(data_dir, &aside.data_dir(), &**disk)?;
        Ok(aside)
    }

    /// Returns where the copy is.
    pub(super) fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn begin(temporary: &Path, entropy: &dyn Entropy) -> io::Result<Aside> {
        remove_left(temporary);
        for _ in 0..TRIES {
            let dir = temporary.join(format!("{PREFIX}{}", hex::encode(entropy.draw::<8>())));
            DirBuilder::new().mode(0o700).create(&dir)?;
            let held = File::open(&dir)?;
            // Where directories cannot be locked nobody removes one either.
            if let Err(error) = held.lock() {
                tracing::debug!(%error, "the copy of the log is not locked, and will stay if this is killed");
            }
            // Somebody may have met it before it was locked, and removed it.
            if is_at(&held, &dir) {
                return Ok(Aside { dir, _held: held });
            }
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        remove(&self.dir);
    }
}

/// Removes the copies of those who are gone.
fn remove_left(temporary: &Path) {
    let Ok(entries) = fs::read_dir(temporary) else { return };
    let ours = rustix::process::geteuid().as_raw();
    for entry in entries.flatten() {
        let (name, dir) = (entry.file_name(), entry.path());
        let is_one = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).is_some_and(is_drawn);
        // Others may put anything there; a link is not followed.
        let is_ours = is_one && entry.metadata().is_ok_and(|found| found.is_dir() && found.uid() == ours);
        if is_ours && let Ok(held) = File::open(&dir) {
            match held.try_lock() {
                Ok(()) => remove(&dir),
                Err(error) => tracing::debug!(%error, "a copy of the log is in use"),
            }
        }
    }
}

fn is_drawn(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_at(held: &File, dir: &Path) -> bool {
    let place = |found: fs::Metadata| (found.dev(), found.ino());
    let at = fs::symlink_metadata(dir).map(place).ok();
    at.is_some() && at == held.metadata().map(place).ok()
}

fn remove(dir: &Path) {
    if let Err(error) = fs::remove_dir_all(dir)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "a copy of the log could not be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_killed_reader_left_is_removed_by_the_next_and_nothing_else_is() {
        let (temporary, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |name: &str| temporary.path().join(name);
        let entropy = SeededEntropy::new("copies");
        let reading = Aside::begin(temporary.path(), &entropy).unwrap();
        fs::create_dir(reading.data_dir()).unwrap();

        let left = "doorbook-aside-00112233445566ff";
        fs::create_dir_all(at(left).join("data/log")).unwrap();
        fs::write(at(left).join("data/log/db"), "everything that happened").unwrap();
        fs::write(elsewhere.path().join("precious"), "").unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), at("doorbook-aside-ffeeddccbbaa9988")).unwrap();
        fs::create_dir(at("doorbook-aside-of-mine")).unwrap();
        fs::write(at("doorbook-aside-0011223344556677"), "a file").unwrap();

        let next = Aside::begin(temporary.path(), &entropy).unwrap();
        let there = names(temporary.path());
        assert!(!there.contains(&left.to_owned()), "{there:?}");
        assert_eq!(there.len(), 5, "{there:?}");
        assert!(reading.data_dir().exists() && next.dir.exists(), "both are being read");
        assert!(elsewhere.path().join("precious").exists());
        let (first, second) = (reading.dir.clone(), next.dir.clone());
        drop((reading, next));
        assert!(!first.exists() && !second.exists());
    }
}
