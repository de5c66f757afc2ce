//! A key file that takes in new entries, and how far it is to be believed.

use crate::disk::Disk;
use crate::entropy::Entropy;

use super::error::KeyError;
use super::key_file::{Contents, Entry, KeyFile};

/// A file that grows.
#[derive(Debug)]
pub(super) struct Growing {
    file: KeyFile,
    /// How many entries it has, as long as nobody has to doubt it.
    len: Option<u64>,
}

impl Growing {
    /// Takes over a file as it was read.
    pub(super) fn new(file: KeyFile, contents: &Contents) -> Growing {
        let len = u64::try_from(contents.entries.len()).ok();
        Growing { file, len: len.filter(|_| !contents.torn) }
    }

    /// Returns where the file is and what seals it.
    pub(super) fn file(&self) -> &KeyFile {
        &self.file
    }

    /// Says whether the last write to it was cut off or failed, so that nobody knows what it holds.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.len.is_none()
    }

    /// Adds entries, with one sync for all of them.
    ///
    /// After a failed write or sync the file is in doubt, and no later sync of it proves anything: the next
    /// call writes it anew, from memory, which is also how a disk that was full for a while is got over.
    pub(super) fn add(
        &mut self,
        fresh: &[Entry],
        known: impl FnOnce() -> Vec<Entry>,
        entropy: &dyn Entropy,
        disk: &dyn Disk,
    ) -> Result<(), KeyError> {
        if fresh.is_empty() {
            return Ok(());
        }
        let Some(len) = self.len.take() else {
            let mut all = known();
            all.extend_from_slice(fresh);
            return self.write_anew(self.file.clone(), &all, entropy, disk);
        };
        self.file.append(len, fresh, entropy, disk)?;
        self.len = u64::try_from(fresh.len()).ok().and_then(|added| len.checked_add(added));
        Ok(())
    }

    /// Writes `entries` as `file` in the place of what was there.
    ///
    /// After an error it is in doubt, and still counts as sealed the way it was.
    pub(super) fn write_anew(
        &mut self,
        file: KeyFile,
        entries: &[Entry],
        entropy: &dyn Entropy,
        disk: &dyn Disk,
    ) -> Result<(), KeyError> {
        self.len = None;
        file.write_anew(entries, entropy, disk)?;
        *self = Growing { file, len: u64::try_from(entries.len()).ok() };
        Ok(())
    }
}
