//! `data/keys/` as a whole: made once, read at every start, and never made again over what is there.

use std::fmt;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ed25519_dalek::{Signer as _, SigningKey};

use crate::disk::Disk;
use crate::domain::id::{DiscordId, LogId, Secret, Sub};
use crate::domain::time::Month;
use crate::entropy::Entropy;

use super::block::Header;
use super::cookie::CookieKey;
use super::error::KeyError;
use super::keeper::{Keeper, Known, Which};
use super::kek::{self, Kek};
use super::key_file::{Contents, Entry, KeyFile, read_if_there, replace, sync_directory, temporary};
use super::secret_key::SecretKey;

const SUBJECTS: &str = "subjects";
const MONTHS: &str = "months";
const LOG: &str = "log";
const SIGNER: &str = "signer";
const COOKIE: &str = "cookie";

/// What the keys depend on.
#[derive(Clone, Debug)]
pub struct KeySettings {
    /// The directory of the key files, `data/keys`.
    pub dir: PathBuf,
    /// The log whose keys they are.
    pub log_id: LogId,
    /// `ENCRYPT_SECRET`.
    pub encrypt_secret: Option<Secret>,
    /// `COOKIE_SECRET`.
    pub cookie_secret: Option<Secret>,
}

/// Every key of one log, in memory.
///
/// Dropping it waits for the keys that are just being written.
pub struct KeyRing {
    log: LogId,
    known: Arc<Known>,
    keeper: Keeper,
    log_key: SecretKey,
    signer: SigningKey,
    cookie: CookieKey,
    entropy: Arc<dyn Entropy>,
}

impl KeyRing {
    /// Makes the keys of a new log.
    ///
    /// After a crash it can be called again: it keeps what is there of the same log and makes the rest. As soon
    /// as a user has a key, the log is not new, and a file that is missing is an error as in [`open`](Self::open).
    pub fn create(
        settings: &KeySettings,
        entropy: Arc<dyn Entropy>,
        disk: Arc<dyn Disk>,
    ) -> Result<KeyRing, KeyError> {
        make_directory(&settings.dir, &*disk)?;
        let kek = match read_kek(settings) {
            Err(KeyError::Missing { file })
                if !names_after_kek().any(|name| settings.dir.join(name).exists()) =>
            {
                let kek = Kek::draw(settings.log_id, settings.encrypt_secret.clone(), &*entropy);
                replace(&file, &kek.to_bytes(), &*disk)?;
                kek
            }
            found => found?,
        };
        for name in names_after_kek() {
            match read_file(settings, &kek, name) {
                Err(KeyError::Missing { .. }) if name == COOKIE && settings.cookie_secret.is_some() => {}
                Err(KeyError::Missing { .. }) => {
                    let single = !matches!(name, SUBJECTS | MONTHS);
                    let entries = single.then(|| single_entry(SecretKey::draw(&*entropy)));
                    newest_file(settings, &kek, name)?.write_anew(entries.as_slice(), &*entropy, &*disk)?;
                }
                Ok(Loaded { contents, .. }) if name == SUBJECTS && !contents.entries.is_empty() => break,
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
        KeyRing::open(settings, entropy, disk)
    }

    /// Reads the keys of a log that is there.
    ///
    /// Everything is read before anything is written. Then a rekey that was cut off is ended, an entry that was
    /// cut off is dropped, permissions are repaired, and a `cookie` file is made where `COOKIE_SECRET` is not given
    /// any more: all that hangs on it is login attempts and app cookies, which browsers get anew.
    pub fn open(
        settings: &KeySettings,
        entropy: Arc<dyn Entropy>,
        disk: Arc<dyn Disk>,
    ) -> Result<KeyRing, KeyError> {
        let mut found = Found::read(settings)?;
        found.repair(settings, &*entropy, &*disk)?;
        found.into_ring(settings, entropy, disk)
    }

    /// Says whether [`open`](Self::open) would find the keys in order; writes nothing.
    pub fn check(settings: &KeySettings) -> Result<(), KeyError> {
        Found::read(settings).map(drop)
    }

    /// Returns the log whose keys are in `dir`, if any are.
    pub fn log_of(dir: &Path) -> Result<Option<LogId>, KeyError> {
        let file = dir.join(kek::NAME);
        let Some(bytes) = read_if_there(&file)? else { return Ok(None) };
        Header::read(&file, &bytes).map(|header| Some(header.log))
    }

    /// Returns the log whose keys these are.
    pub fn log_id(&self) -> LogId {
        self.log
    }

    /// Returns the pseudonym of a Discord user who has a key.
    pub fn sub_of(&self, id: DiscordId) -> Option<Sub> {
        self.known.sub_of(id)
    }

    /// Returns the Discord user behind a pseudonym, unless they were erased.
    pub fn discord_id_of(&self, sub: Sub) -> Option<DiscordId> {
        self.known.discord_id_of(sub)
    }

    /// Says whether the key of this user is there.
    pub fn has_subject(&self, sub: Sub) -> bool {
        self.known.discord_id_of(sub).is_some()
    }

    /// Says whether the key of this month is there.
    pub fn has_month(&self, month: Month) -> bool {
        self.known.month_key(month).is_some()
    }

    /// Returns how many users have a key.
    pub fn subject_count(&self) -> usize {
        self.known.subject_count()
    }

    /// Returns the pseudonym of a Discord user, who gets one, and a key, if there is none.
    ///
    /// It is on stable storage before this returns. All who wait at one time share a sync, and all who ask for
    /// one user get the same answer. Whoever stops waiting loses nothing.
    pub async fn ensure_subject(&self, id: DiscordId) -> Result<Sub, KeyError> {
        match self.sub_of(id) {
            Some(sub) => Ok(sub),
            None => self.keeper.subject(id).await,
        }
    }

    /// Gives a month a key if it has none, on stable storage before this returns.
    pub async fn ensure_month(&self, month: Month) -> Result<(), KeyError> {
        if self.has_month(month) {
            return Ok(());
        }
        self.keeper.month(month).await
    }

    /// Returns the Ed25519 key that others check signatures of this log with.
    pub fn signer_public_key(&self) -> [u8; 32] {
        self.signer.verifying_key().to_bytes()
    }

    /// Signs with Ed25519.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signer.sign(message).to_bytes()
    }

    /// Returns the key of what browsers keep for us.
    pub fn cookie_key(&self) -> &CookieKey {
        &self.cookie
    }

    pub(super) fn known(&self) -> &Known {
        &self.known
    }

    pub(super) fn log_key(&self) -> &SecretKey {
        &self.log_key
    }

    pub(super) fn entropy(&self) -> &dyn Entropy {
        &*self.entropy
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyRing(..)")
    }
}

/// A key file as it was read.
#[derive(Debug)]
struct Loaded {
    file: KeyFile,
    contents: Contents,
}

impl Loaded {
    fn write_anew(&self, entropy: &dyn Entropy, disk: &dyn Disk) -> Result<(), KeyError> {
        self.file.write_anew(&self.contents.entries, entropy, disk)
    }

    fn single_key(&self) -> Result<&SecretKey, KeyError> {
        self.contents.entries.first().map(|entry| &entry.key).ok_or_else(|| self.file.damaged(0))
    }
}

/// All key files as they were read.
struct Found {
    kek: Kek,
    known: Known,
    subjects: Loaded,
    months: Loaded,
    log: Loaded,
    signer: Loaded,
    cookie: Option<Loaded>,
}

impl Found {
    /// Reads everything, writes nothing.
    fn read(settings: &KeySettings) -> Result<Found, KeyError> {
        let kek = read_kek(settings)?;
        let subjects = read_file(settings, &kek, SUBJECTS)?;
        let months = read_file(settings, &kek, MONTHS)?;
        let log = read_file(settings, &kek, LOG)?;
        let signer = read_file(settings, &kek, SIGNER)?;
        let cookie = match read_file(settings, &kek, COOKIE) {
            Err(KeyError::Missing { .. }) => None,
            found => Some(found?),
        };
        let known =
            Known::read(&subjects.contents.entries, &months.contents.entries).map_err(|(which, index)| {
                match which {
                    Which::Subjects => subjects.file.damaged(index),
                    Which::Months => months.file.damaged(index),
                }
            })?;
        Ok(Found { kek, known, subjects, months, log, signer, cookie })
    }

    /// Ends what a crash cut off, and makes nobody else able to read the files.
    fn repair(
        &mut self,
        settings: &KeySettings,
        entropy: &dyn Entropy,
        disk: &dyn Disk,
    ) -> Result<(), KeyError> {
        restrict(&settings.dir, 0o700);
        for name in std::iter::once(kek::NAME).chain(names_after_kek()) {
            let path = settings.dir.join(name);
            restrict(&path, 0o600);
            match fs::remove_file(temporary(&path)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(KeyError::io("remove", temporary(&path))(error));
                }
                _ => {}
            }
        }
        if self.cookie.is_none() && settings.cookie_secret.is_none() {
            let entries = vec![single_entry(SecretKey::draw(entropy))];
            let file = newest_file(settings, &self.kek, COOKIE)?;
            let made = Loaded { file, contents: Contents { entries, torn: false } };
            made.write_anew(entropy, disk)?;
            self.cookie = Some(made);
        }
        for loaded in self.files_mut() {
            if loaded.contents.torn {
                tracing::warn!(file = loaded.file.name(), "a key that was being added at a crash is dropped");
                loaded.write_anew(entropy, disk)?;
                loaded.contents.torn = false;
            }
        }
        if self.kek.rekey_is_open() {
            tracing::info!("a rekey that was cut off is ended");
            self.finish_rekey(settings, entropy, disk)?;
        }
        Ok(())
    }

    /// Writes each file anew under the newest root key, then drops the old root key.
    fn finish_rekey(
        &mut self,
        settings: &KeySettings,
        entropy: &dyn Entropy,
        disk: &dyn Disk,
    ) -> Result<(), KeyError> {
        let kek = self.kek.clone();
        for loaded in self.files_mut() {
            if loaded.file.generation() != kek.newest().generation {
                loaded.file = newest_file(settings, &kek, loaded.file.name())?;
                loaded.write_anew(entropy, disk)?;
            }
        }
        self.kek = kek.without_old();
        replace(&settings.dir.join(kek::NAME), &self.kek.to_bytes(), disk)
    }

    fn files_mut(&mut self) -> impl Iterator<Item = &mut Loaded> {
        let Found { subjects, months, log, signer, cookie, .. } = self;
        [subjects, months, log, signer].into_iter().chain(cookie)
    }

    fn into_ring(
        self,
        settings: &KeySettings,
        entropy: Arc<dyn Entropy>,
        disk: Arc<dyn Disk>,
    ) -> Result<KeyRing, KeyError> {
        let log = settings.log_id;
        let cookie = match (&settings.cookie_secret, &self.cookie) {
            (Some(secret), _) => CookieKey::from_secret(log, secret, entropy.clone()),
            (None, Some(loaded)) => CookieKey::from_key(log, loaded.single_key()?, entropy.clone()),
            (None, None) => return Err(KeyError::Missing { file: settings.dir.join(COOKIE) }),
        };
        let log_key = self.log.single_key()?.clone();
        let signer = SigningKey::from_bytes(self.signer.single_key()?.expose());
        let known = Arc::new(self.known);
        let keeper = Keeper::start(
            known.clone(),
            (self.subjects.file, &self.subjects.contents),
            (self.months.file, &self.months.contents),
            entropy.clone(),
            disk,
        )?;
        Ok(KeyRing { log, known, keeper, log_key, signer, cookie, entropy })
    }
}

/// The files besides `kek`, in the order in which they are made.
fn names_after_kek() -> impl Iterator<Item = &'static str> {
    [SUBJECTS, MONTHS, LOG, SIGNER, COOKIE].into_iter()
}

fn single_entry(key: SecretKey) -> Entry {
    Entry { name: [0; 24], key }
}

fn read_kek(settings: &KeySettings) -> Result<Kek, KeyError> {
    let file = settings.dir.join(kek::NAME);
    let bytes = read_if_there(&file)?.ok_or_else(|| KeyError::Missing { file: file.clone() })?;
    Kek::read(settings.log_id, settings.encrypt_secret.clone(), &file, &bytes)
}

fn read_file(settings: &KeySettings, kek: &Kek, name: &'static str) -> Result<Loaded, KeyError> {
    let path = settings.dir.join(name);
    let bytes = read_if_there(&path)?.ok_or_else(|| KeyError::Missing { file: path.clone() })?;
    let header = Header::read_of(settings.log_id, &path, &bytes)?;
    let file = file_under(settings, kek, name, header)?;
    let contents = match name {
        SUBJECTS | MONTHS => file.read(&bytes)?,
        _ => file.read_single(&bytes)?,
    };
    Ok(Loaded { file, contents })
}

fn newest_file(settings: &KeySettings, kek: &Kek, name: &'static str) -> Result<KeyFile, KeyError> {
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

fn make_directory(dir: &Path, disk: &dyn Disk) -> Result<(), KeyError> {
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
