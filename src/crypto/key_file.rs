//! A key file: a header, then sealed entries of one size; read whole, written anew, or added to.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::disk::{Disk, Synced};
use crate::entropy::Entropy;

use super::block::{BLOCK, Header, part};
use super::error::KeyError;
use super::secret_key::{SecretKey, TAG};

const NONCE: usize = 24;
const TEXT: usize = BLOCK - NONCE - TAG;

/// What an entry holds.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Whose key it is; zeros in a file of a single key.
    pub(super) name: [u8; 24],
    /// The key.
    pub(super) key: SecretKey,
}

/// One file below `data/keys/`, and what seals it.
#[derive(Clone, Debug)]
pub(super) struct KeyFile {
    path: PathBuf,
    name: &'static str,
    header: Header,
    key: SecretKey,
}

/// What was found in a key file.
#[derive(Debug)]
pub(super) struct Contents {
    /// The entries, in the order of the file.
    pub(super) entries: Vec<Entry>,
    /// Whether the last write to it was cut off, so that it must be written anew before it is added to.
    pub(super) torn: bool,
}

impl KeyFile {
    /// Names the file `name` below `dir`, sealed under `key`.
    pub(super) fn new(dir: &Path, name: &'static str, header: Header, key: SecretKey) -> KeyFile {
        KeyFile { path: dir.join(name), name, header, key }
    }

    /// Returns the file's name.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the root key under which the file is sealed.
    pub(super) fn generation(&self) -> u32 {
        self.header.generation
    }

    /// Reads the entries behind the header of `bytes`.
    ///
    /// A write that was cut off leaves less than a block at the end, or blocks of zeros among the entries
    /// that were written together last: nobody was told that those were kept. Anything else is damage.
    pub(super) fn read(&self, bytes: &[u8]) -> Result<Contents, KeyError> {
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        let mut entries = Vec::with_capacity(blocks.len());
        let mut zeros = None;
        for (index, block) in (0_u64..).zip(blocks.iter().skip(1)) {
            if block.iter().all(|byte| *byte == 0) {
                zeros.get_or_insert(index);
                continue;
            }
            let (entry, group) = self.unseal(index, block).ok_or_else(|| self.damaged(index))?;
            entries.push(entry);
            if let Some(zeros) = zeros.filter(|zeros| *zeros < group) {
                return Err(self.damaged(zeros));
            }
        }
        Ok(Contents { entries, torn: zeros.is_some() || !rest.is_empty() })
    }

    /// Reads the key of a file that holds one and never grows.
    pub(super) fn read_single(&self, bytes: &[u8]) -> Result<Contents, KeyError> {
        if bytes.len() != 2 * BLOCK {
            return Err(KeyError::Damaged {
                file: self.path.clone(),
                at: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
                what: "it has another length than it was written with",
            });
        }
        match self.read(bytes)? {
            Contents { torn: false, entries } => Ok(Contents { torn: false, entries }),
            Contents { torn: true, .. } => Err(self.damaged(0)),
        }
    }

    /// Writes the file from the start, in place of what was there: all of it or nothing.
    pub(super) fn write_anew(
        &self,
        entries: &[Entry],
        entropy: &dyn Entropy,
        disk: &dyn Disk,
    ) -> Result<(), KeyError> {
        let mut bytes = self.header.to_block().to_vec();
        for (index, entry) in (0..).zip(entries) {
            bytes.extend_from_slice(&self.seal(index, index, entry, entropy));
        }
        replace(&self.path, &bytes, disk)
    }

    /// Adds entries behind the `index` ones that are there, with one sync for all of them.
    ///
    /// After an error nobody knows what the file holds: it must be written anew.
    pub(super) fn append(
        &self,
        index: u64,
        entries: &[Entry],
        entropy: &dyn Entropy,
        disk: &dyn Disk,
    ) -> Result<(), KeyError> {
        let blocks: Vec<u8> =
            (index..).zip(entries).flat_map(|(at, entry)| self.seal(at, index, entry, entropy)).collect();
        let file = File::options().write(true).open(&self.path).map_err(KeyError::io("open", &self.path))?;
        file.write_all_at(&blocks, place(index)).map_err(KeyError::io("write", &self.path))?;
        disk.sync_data(Synced::Keys, &file).map_err(KeyError::io("sync", &self.path))
    }

    /// Returns the block `nonce | name, key, group u64be, zeros: sealed`.
    ///
    /// The group is the index of the first entry that is written together with this one.
    #[expect(clippy::expect_used, reason = "a block is far shorter than what the cipher takes")]
    fn seal(&self, index: u64, group: u64, entry: &Entry, entropy: &dyn Entropy) -> [u8; BLOCK] {
        let mut text = Zeroizing::new([0; TEXT]);
        text[..24].copy_from_slice(&entry.name);
        text[24..56].copy_from_slice(entry.key.expose());
        text[56..64].copy_from_slice(&group.to_be_bytes());
        let nonce = entropy.draw::<NONCE>();
        let sealed = self.key.lock(&nonce, &self.associated(index), &text[..]).expect("a block is short");
        let mut block = [0; BLOCK];
        block[..NONCE].copy_from_slice(&nonce);
        block[NONCE..].copy_from_slice(&sealed);
        block
    }

    fn unseal(&self, index: u64, block: &[u8; BLOCK]) -> Option<(Entry, u64)> {
        let text = self.key.unlock(&part(block, 0), &self.associated(index), &block[NONCE..])?;
        let key = Zeroizing::new(part::<32>(&text, 24));
        let entry = Entry { name: part(&text, 0), key: SecretKey::copy_of(&key) };
        Some((entry, u64::from_be_bytes(part(&text, 56))))
    }

    /// Binds an entry to its place: no entry of another file, log, generation or index opens here.
    fn associated(&self, index: u64) -> Vec<u8> {
        let Header { generation, log } = self.header;
        [b"doorbook/v1/keys/".as_slice(), &generation.to_be_bytes(), &log.0, &index.to_be_bytes()]
            .into_iter()
            .chain([self.name.as_bytes()])
            .collect::<Vec<_>>()
            .concat()
    }

    /// The entry at `index` is not as written.
    pub(super) fn damaged(&self, index: u64) -> KeyError {
        KeyError::Damaged { file: self.path.clone(), at: place(index), what: "the entry is not as written" }
    }
}

/// Where the entry at `index` begins: behind the header.
fn place(index: u64) -> u64 {
    u64::try_from(BLOCK).unwrap_or(u64::MAX).saturating_mul(index.saturating_add(1))
}

/// Reads a whole file, if it is there.
pub(super) fn read_if_there(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, KeyError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(Zeroizing::new(bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(KeyError::io("read", path)(error)),
    }
}

/// Puts `bytes` in the place of the file at `path`: temporary file, sync, rename, sync of the directory.
pub(super) fn replace(path: &Path, bytes: &[u8], disk: &dyn Disk) -> Result<(), KeyError> {
    let new = temporary(path);
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .map_err(KeyError::io("create", &new))?;
    file.write_all(bytes).map_err(KeyError::io("write", &new))?;
    disk.sync_all(Synced::Keys, &file).map_err(KeyError::io("sync", &new))?;
    fs::rename(&new, path).map_err(KeyError::io("rename", &new))?;
    sync_directory(path.parent().unwrap_or(path), disk)
}

/// Brings a directory's list of names to stable storage.
pub(super) fn sync_directory(dir: &Path, disk: &dyn Disk) -> Result<(), KeyError> {
    let opened = File::open(dir).map_err(KeyError::io("open", dir))?;
    disk.sync_all(Synced::Directory, &opened).map_err(KeyError::io("sync", dir))
}

/// Where a file is written before it takes the place of the one at `path`.
pub(super) fn temporary(path: &Path) -> PathBuf {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    PathBuf::from(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use crate::domain::id::LogId;
    use crate::entropy::SeededEntropy;

    /// A file of groups of 2, 1 and 3 entries, and its bytes.
    fn grown(dir: &Path) -> (KeyFile, Vec<u8>) {
        let entropy = SeededEntropy::new("key file");
        let header = Header { generation: 7, log: LogId([1; 16]) };
        let file = KeyFile::new(dir, "subjects", header, SecretKey::draw(&entropy));
        let entry = |n| Entry { name: [n; 24], key: SecretKey::copy_of(&[n; 32]) };
        file.write_anew(&[], &entropy, &RealDisk).unwrap();
        file.append(0, &[entry(0), entry(1)], &entropy, &RealDisk).unwrap();
        file.append(2, &[entry(2)], &entropy, &RealDisk).unwrap();
        file.append(3, &[entry(3), entry(4), entry(5)], &entropy, &RealDisk).unwrap();
        let bytes = fs::read(&file.path).unwrap();
        (file, bytes)
    }

    fn names(contents: &Contents) -> Vec<u8> {
        contents.entries.iter().map(|entry| entry.name[0]).collect()
    }

    #[test]
    fn entries_are_read_as_they_were_added() {
        let dir = tempfile::tempdir().unwrap();
        let (file, bytes) = grown(dir.path());
        let contents = file.read(&bytes).unwrap();
        assert_eq!((names(&contents), contents.torn), (vec![0, 1, 2, 3, 4, 5], false));
        assert_eq!(contents.entries[4].key.expose(), &[4; 32]);
    }

    #[test]
    fn zeros_are_a_torn_write_among_those_written_last_and_damage_before_them() {
        let dir = tempfile::tempdir().unwrap();
        let (file, bytes) = grown(dir.path());
        for zeroed in 1..64_u32 {
            let lost = |n: u8| zeroed & (1 << n) != 0;
            let mut torn = bytes.clone();
            for n in (0..6).filter(|n| lost(*n)) {
                let at = BLOCK * (usize::from(n) + 1);
                torn[at..at + BLOCK].fill(0);
            }
            let left: Vec<u8> = (0..6).filter(|n| !lost(*n)).collect();
            // The group of the last entry that is left begins here.
            let group = match left.last() {
                Some(3..) => 3,
                Some(2) => 2,
                _ => 0,
            };
            match file.read(&torn) {
                Ok(contents) => {
                    assert!((0..group).all(|n| !lost(n)), "{zeroed:b}");
                    assert_eq!((names(&contents), contents.torn), (left, true), "{zeroed:b}");
                }
                Err(_) => assert!((0..group).any(lost), "{zeroed:b}"),
            }
        }
    }

    #[test]
    fn a_file_written_anew_is_never_taken_for_torn_in_its_middle() {
        let dir = tempfile::tempdir().unwrap();
        let (file, bytes) = grown(dir.path());
        let entries = file.read(&bytes).unwrap().entries;
        file.write_anew(&entries, &SeededEntropy::new("anew"), &RealDisk).unwrap();
        let anew = fs::read(&file.path).unwrap();
        assert_eq!(names(&file.read(&anew).unwrap()), [0, 1, 2, 3, 4, 5]);
        for n in 1..6 {
            let mut zeroed = anew.clone();
            zeroed[BLOCK * n..BLOCK * (n + 1)].fill(0);
            assert!(matches!(file.read(&zeroed), Err(KeyError::Damaged { .. })), "{n}");
        }
    }

    #[test]
    fn an_entry_opens_only_in_its_own_file_generation_and_log() {
        let dir = tempfile::tempdir().unwrap();
        let (file, bytes) = grown(dir.path());
        let others = [
            KeyFile { name: "months", ..file.clone() },
            KeyFile { header: Header { generation: 8, ..file.header }, ..file.clone() },
            KeyFile { header: Header { log: LogId([2; 16]), ..file.header }, ..file.clone() },
            KeyFile { key: SecretKey::copy_of(&[0; 32]), ..file.clone() },
        ];
        for other in others {
            assert!(matches!(other.read(&bytes), Err(KeyError::Damaged { at: 128, .. })), "{other:?}");
        }
    }
}
