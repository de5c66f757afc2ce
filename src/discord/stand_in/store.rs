//! Where grants survive a restart: one JSON file, replaced as a whole, with tokens as SHA-256 only.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use super::lock;
use super::people::id;
use super::tokens::{Authorization, Pair, Parties};
use crate::domain::id::{DiscordId, Hash};
use crate::domain::time::Timestamp;

/// Why the stored grants could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file system refused.
    #[error("the file could not be read or written")]
    Io(#[from] io::Error),
    /// The file is not what this program wrote.
    #[error("the file is damaged, or is no store of the stand-in")]
    Damaged(#[source] serde_json::Error),
    /// A token in the file is not a SHA-256.
    #[error("the file is damaged: a token in it is not a hash")]
    NotAHash,
    /// Another version of this program wrote the file.
    #[error("the file has version {0}, and this program reads version 1")]
    Version(u32),
}

/// The file.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    /// The version of the tokens last written: an older one must not overwrite it.
    written: Mutex<u64>,
}

impl Store {
    /// Opens the file, and reads what is in it; no file is an empty one.
    pub(super) fn open(path: &Path) -> Result<(Store, BTreeMap<Parties, Authorization>), StoreError> {
        let stored = match fs::read(path) {
            Ok(bytes) => read(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error.into()),
        };
        Ok((Store { path: path.to_owned(), written: Mutex::new(0) }, stored))
    }

    /// Returns whether the file lacks what `version` has.
    pub(super) fn is_behind(&self, version: u64) -> bool {
        *lock(&self.written) < version
    }

    /// Replaces the file, unless something newer has been written in the meantime.
    pub(super) fn write(&self, version: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let mut written = lock(&self.written);
        if *written >= version {
            return Ok(());
        }
        let mut beside = self.path.clone().into_os_string();
        beside.push(".new");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        *written = version;
        Ok(())
    }
}

/// Returns the bytes of the file.
pub(super) fn bytes(authorizations: &BTreeMap<Parties, Authorization>) -> Result<Vec<u8>, StoreError> {
    let stored = Stored {
        version: 1,
        authorizations: authorizations
            .iter()
            .map(|(parties, authorization)| StoredAuthorization {
                application: parties.0,
                person: parties.1,
                scopes: authorization.scopes.iter().cloned().collect(),
                tokens: authorization.pairs.iter().map(StoredPair::from).collect(),
            })
            .collect(),
    };
    serde_json::to_vec_pretty(&stored).map_err(StoreError::Damaged)
}

fn read(bytes: &[u8]) -> Result<BTreeMap<Parties, Authorization>, StoreError> {
    #[derive(Deserialize)]
    struct Head {
        version: u32,
    }
    let head: Head = serde_json::from_slice(bytes).map_err(StoreError::Damaged)?;
    if head.version != 1 {
        return Err(StoreError::Version(head.version));
    }
    let stored: Stored = serde_json::from_slice(bytes).map_err(StoreError::Damaged)?;
    let mut authorizations = BTreeMap::new();
    for one in stored.authorizations {
        let pairs = one.tokens.into_iter().map(StoredPair::into_pair).collect::<Result<_, _>>()?;
        let scopes = one.scopes.into_iter().collect();
        authorizations.insert((one.application, one.person), Authorization { scopes, pairs });
    }
    Ok(authorizations)
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    authorizations: Vec<StoredAuthorization>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredAuthorization {
    #[serde(with = "id")]
    application: DiscordId,
    #[serde(with = "id")]
    person: DiscordId,
    scopes: Vec<String>,
    tokens: Vec<StoredPair>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredPair {
    access_sha256: String,
    refresh_sha256: Option<String>,
    scopes: Vec<String>,
    expires_at_ms: i64,
    refreshed: bool,
}

impl From<&Pair> for StoredPair {
    fn from(pair: &Pair) -> StoredPair {
        StoredPair {
            access_sha256: pair.access.to_string(),
            refresh_sha256: pair.refresh.map(|refresh| refresh.to_string()),
            scopes: pair.scopes.clone(),
            expires_at_ms: pair.expires_at.0,
            refreshed: pair.refreshed,
        }
    }
}

impl StoredPair {
    fn into_pair(self) -> Result<Pair, StoreError> {
        let hash = |text: String| text.parse::<Hash>().map_err(|_| StoreError::NotAHash);
        Ok(Pair {
            access: hash(self.access_sha256)?,
            refresh: self.refresh_sha256.map(hash).transpose()?,
            scopes: self.scopes,
            expires_at: Timestamp(self.expires_at_ms),
            refreshed: self.refreshed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> BTreeMap<Parties, Authorization> {
        let pair = Pair {
            access: Hash::of(b"access"),
            refresh: Some(Hash::of(b"refresh")),
            scopes: vec!["identify".into()],
            expires_at: Timestamp(5),
            refreshed: false,
        };
        let authorization = Authorization { scopes: ["identify".into()].into(), pairs: [pair].into() };
        BTreeMap::from([((DiscordId(1), DiscordId(2)), authorization)])
    }

    #[test]
    fn what_is_written_is_read_back_and_holds_no_token() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("grants.json");
        let (store, nothing) = Store::open(&path).expect("opens without a file");
        assert!(nothing.is_empty());
        store.write(1, &bytes(&some()).expect("encodes")).expect("writes");
        let (_, read) = Store::open(&path).expect("opens");
        assert_eq!(read, some());
        assert!(!path.with_extension("json.new").exists());
    }

    #[test]
    fn an_older_version_does_not_overwrite_a_newer_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("grants.json");
        let (store, _) = Store::open(&path).expect("opens");
        store.write(2, &bytes(&some()).expect("encodes")).expect("writes");
        store.write(1, b"older").expect("is passed over");
        assert!(Store::open(&path).is_ok());
    }

    #[test]
    fn a_damaged_store_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("grants.json");
        let good = String::from_utf8(bytes(&some()).expect("encodes")).expect("text");
        let wrong = [
            "".into(),
            "{".into(),
            "[]".into(),
            r#"{"version":1}"#.into(),
            r#"{"version":2,"authorizations":[]}"#.into(),
            good.replace("\"access_sha256\": \"", "\"access_sha256\": \"zz"),
            good[..good.len() / 2].to_owned(),
        ];
        for text in wrong {
            fs::write(&path, &text).expect("writes");
            assert!(Store::open(&path).is_err(), "{text}");
            assert_eq!(fs::read_to_string(&path).expect("reads"), text);
        }
    }
}
