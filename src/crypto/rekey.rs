//! A rekey: a new root key beside the old one, every file anew under it, and the old root key gone.
//!
//! It is the only way in which a key is destroyed: copies of the old files that are left anywhere are noise
//! once the old root key is. A kill may come at any point, and a start that finds two root keys ends the
//! rekey without knowing which entries it was to drop:
//!
//! ```text
//! (1) kek := {old, new}        killed before: nothing has happened
//! (2) the file that loses      killed before: ended by the start, and nobody is dropped
//!     the other files          killed here:   ended by the start, and the dropped do not come back,
//! (3) kek := {new}                            because no other file ever held them
//! ```
//!
//! So the file that loses entries is written first, and whoever was interrupted asks again. What a file system
//! or a medium keeps of a `kek` that was replaced is beyond this: only the name is taken from it.

use crate::disk::Disk;
use crate::entropy::Entropy;

use super::error::KeyError;
use super::files::{Files, MONTHS, SUBJECTS, newest_file, single_entry};
use super::forget::Forget;
use super::known::Known;

impl Files {
    /// Says whether a rekey was begun and not ended.
    pub(super) fn rekey_is_open(&self) -> bool {
        self.kek.rekey_is_open()
    }

    /// Step (1). After an error it has not begun: nothing is sealed under the new root key yet, so it makes no
    /// difference whether `kek` names it.
    pub(super) fn begin_rekey(&mut self, entropy: &dyn Entropy, disk: &dyn Disk) -> Result<(), KeyError> {
        self.put_kek(self.kek.with_new(entropy), disk)
    }

    /// Steps (2) and (3), without the entries of `gone`. After an error it can be called again.
    pub(super) fn finish_rekey(
        &mut self,
        known: &Known,
        gone: &Forget,
        entropy: &dyn Entropy,
        disk: &dyn Disk,
    ) -> Result<(), KeyError> {
        let newest = self.kek.newest().generation;
        for name in if gone.subs.is_empty() { [MONTHS, SUBJECTS] } else { [SUBJECTS, MONTHS] } {
            let file = self.newest_file(name)?;
            let (growing, entries) = match name {
                SUBJECTS => (&mut self.subjects, known.subject_entries(&gone.subs)),
                _ => (&mut self.months, known.month_entries(&gone.months)),
            };
            if growing.file().generation() != newest {
                growing.write_anew(file, &entries, entropy, disk)?;
            }
        }
        for single in &mut self.singles {
            if single.file.generation() != newest {
                let file = newest_file(&self.settings, &self.kek, single.file.name())?;
                file.write_anew(&[single_entry(single.key.clone())], entropy, disk)?;
                single.file = file;
                single.in_doubt = false;
            }
        }
        self.put_kek(self.kek.without_old(), disk)
    }
}
