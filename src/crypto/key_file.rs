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

    /// Returns where the file is.
    pub(super) fn path(&self) -> &Path {
        &self.path
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
    path.with_extension("new")
}
