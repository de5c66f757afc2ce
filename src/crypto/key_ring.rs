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
                if !names_after_kek().any(|name| is_there(&settings.dir.join(name))) =>
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

/// Says whether a file is there; one that cannot be looked at is.
fn is_there(path: &Path) -> bool {
    path.try_exists().unwrap_or(true)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::trial::{Trial, block_on};
    use crate::domain::record::Owner;

    const NELLY: DiscordId = DiscordId(80_351_110_224_678_912);
    const MASON: DiscordId = DiscordId(555_769_466_601_213_960);
    const JUNE: Month = Month(202_606);

    /// A key directory with two users and a month.
    fn lived_in(trial: &Trial) -> (Sub, Sub) {
        let ring = trial.create().unwrap();
        block_on(async {
            ring.ensure_month(JUNE).await.unwrap();
            (ring.ensure_subject(NELLY).await.unwrap(), ring.ensure_subject(MASON).await.unwrap())
        })
    }

    #[test]
    fn what_was_created_is_read_back() {
        let trial = Trial::new();
        let ring = trial.create().unwrap();
        let public = ring.signer_public_key();
        let sealed = ring.seal(Owner::Log, crate::domain::id::RecordId([1; 16]), b"rules").unwrap();
        let cookie = ring.cookie_key().seal("attempt", b"", b"state");
        let (nelly, mason) = block_on(async {
            ring.ensure_month(JUNE).await.unwrap();
            (ring.ensure_subject(NELLY).await.unwrap(), ring.ensure_subject(MASON).await.unwrap())
        });
        drop(ring);

        let ring = trial.open().unwrap();
        assert_eq!((ring.sub_of(NELLY), ring.sub_of(MASON)), (Some(nelly), Some(mason)));
        assert_eq!((ring.discord_id_of(nelly), ring.discord_id_of(Sub([0; 16]))), (Some(NELLY), None));
        assert!(ring.has_subject(mason) && !ring.has_subject(Sub([0; 16])));
        assert!(ring.has_month(JUNE) && !ring.has_month(Month(202_607)));
        assert_eq!((ring.subject_count(), ring.log_id()), (2, trial.settings.log_id));
        assert_eq!(ring.signer_public_key(), public);
        assert_eq!(*ring.unseal(crate::domain::id::RecordId([1; 16]), &sealed).unwrap(), b"rules");
        assert_eq!(*ring.cookie_key().open("attempt", b"", &cookie).unwrap(), b"state");
        assert_eq!(KeyRing::log_of(&trial.settings.dir).unwrap(), Some(trial.settings.log_id));
        KeyRing::check(&trial.settings).unwrap();
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
        lived_in(&trial);
        for (name, whole) in trial.files() {
            for at in 0..whole.len() {
                for flip in [0x01, 0x80] {
                    let mut bytes = whole.clone();
                    bytes[at] ^= flip;
                    fs::write(trial.path(&name), &bytes).unwrap();
                    let before = trial.files();
                    let errors = [trial.open().unwrap_err(), trial.create().unwrap_err()];
                    for error in errors {
                        assert!(
                            matches!(&error, KeyError::Damaged { file, .. } if *file == trial.path(&name)),
                            "{name} {at}: {error}"
                        );
                    }
                    assert_eq!(trial.files(), before, "{name} {at}");
                }
            }
            fs::write(trial.path(&name), &whole).unwrap();
        }
        drop(trial.open().unwrap());
    }

    #[test]
    fn a_file_that_was_cut_loses_at_most_its_torn_end() {
        let trial = Trial::new();
        let (nelly, _) = lived_in(&trial);
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
                        assert_eq!(trial.files()[&name].len(), len / 128 * 128, "the torn end is gone");
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
        let (nelly, _) = lived_in(&trial);
        let whole = trial.files().remove(SUBJECTS).unwrap();
        fs::write(trial.path(SUBJECTS), &whole[..whole.len() - 1]).unwrap();
        let ring = trial.open().unwrap();
        let mason = block_on(ring.ensure_subject(MASON)).unwrap();
        drop(ring);
        let ring = trial.open().unwrap();
        assert_eq!((ring.sub_of(NELLY), ring.sub_of(MASON)), (Some(nelly), Some(mason)));
    }

    #[test]
    fn bytes_that_nobody_wrote_are_damage() {
        let trial = Trial::new();
        lived_in(&trial);
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
        lived_in(&trial);
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
        lived_in(&trial);
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
            if name != SUBJECTS {
                // Without the list of users nobody can tell here that the log is not new.
                missing(trial.create().map(drop));
            }
            if name != SUBJECTS {
                assert_eq!(trial.files(), before, "{name}");
            }
            fs::write(trial.path(name), &whole).unwrap();
        }
        let nowhere = KeySettings { dir: trial.settings.dir.join("nowhere"), ..trial.settings.clone() };
        assert!(matches!(KeyRing::check(&nowhere), Err(KeyError::Missing { .. })));
        assert_eq!(KeyRing::log_of(&nowhere.dir).unwrap(), None);
    }

    #[test]
    fn a_cookie_file_is_made_where_the_secret_is_not_given_any_more() {
        let mut trial = Trial::new();
        trial.settings.cookie_secret = Some(Secret::new("c".repeat(32)));
        let given = trial.create().unwrap().cookie_key().tag("p", b"m");
        assert!(!trial.path(COOKIE).exists());
        assert_eq!(trial.open().unwrap().cookie_key().tag("p", b"m"), given);
        trial.settings.cookie_secret = None;
        let made = trial.open().unwrap().cookie_key().tag("p", b"m");
        assert!(trial.path(COOKIE).exists());
        assert_ne!(made, given);
        assert_eq!(trial.open().unwrap().cookie_key().tag("p", b"m"), made);
    }

    #[test]
    fn another_encrypt_secret_is_refused_by_name_and_nothing_is_written() {
        let (one, two) = (Some(Secret::new("1".repeat(32))), Some(Secret::new("2".repeat(32))));
        for (sealed_with, given) in [(None, &one), (one.clone(), &None), (one.clone(), &two)] {
            let mut trial = Trial::new();
            trial.settings.encrypt_secret = sealed_with.clone();
            lived_in(&trial);
            // What a start would otherwise repair.
            fs::write(trial.path("log.new"), b"left over").unwrap();
            let before = trial.files();
            trial.settings.encrypt_secret = given.clone();
            let errors = [
                trial.open().unwrap_err(),
                trial.create().unwrap_err(),
                KeyRing::check(&trial.settings).unwrap_err(),
            ];
            for error in errors {
                assert!(error.is_configuration());
                match (&sealed_with, given) {
                    (None, _) => assert!(matches!(error, KeyError::SecretSet { .. })),
                    (_, None) => assert!(matches!(error, KeyError::SecretRemoved { .. })),
                    _ => assert!(matches!(error, KeyError::SecretChanged { .. })),
                }
            }
            assert_eq!(trial.files(), before);
            trial.settings.encrypt_secret = sealed_with;
            assert_eq!(trial.open().unwrap().subject_count(), 2);
            assert!(!trial.path("log.new").exists());
        }
    }

    #[test]
    fn the_keys_of_another_log_are_refused() {
        let mut trial = Trial::new();
        lived_in(&trial);
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
            let subs = lived_in(trial);
            let kek = read_kek(&trial.settings).unwrap().with_new(&*trial.entropy);
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
            let kek = read_kek(&trial.settings).unwrap();
            assert_eq!((kek.rekey_is_open(), kek.newest().generation), (false, 2));
            for (name, bytes) in trial.files() {
                assert_eq!(bytes[10..14], [0, 0, 0, 2], "{name}");
            }
            // The old files are noise once the old root key is gone.
            for name in names_after_kek() {
                let now = trial.files().remove(name).unwrap();
                fs::write(trial.path(name), &old[name]).unwrap();
                assert!(matches!(KeyRing::check(&trial.settings), Err(KeyError::Damaged { .. })), "{name}");
                fs::write(trial.path(name), now).unwrap();
            }
        }
    }

    #[test]
    fn nothing_secret_is_in_the_files_or_in_a_debug_print() {
        let mut trial = Trial::new();
        trial.settings.encrypt_secret = Some(Secret::new("an outside secret of enough bytes"));
        let (nelly, _) = lived_in(&trial);
        let ring = trial.open().unwrap();
        let all: Vec<u8> = trial.files().into_values().flatten().collect();
        let secrets: Vec<Vec<u8>> = vec![
            NELLY.0.to_be_bytes().into(),
            NELLY.0.to_le_bytes().into(),
            NELLY.to_string().into(),
            nelly.0.into(),
            ring.known.subject_key(nelly).unwrap().expose().to_vec(),
            ring.known.month_key(JUNE).unwrap().expose().to_vec(),
            ring.log_key.expose().to_vec(),
            ring.signer.to_bytes().into(),
            b"an outside secret".to_vec(),
        ];
        for (n, secret) in secrets.iter().enumerate() {
            let found = all.windows(secret.len()).any(|window| window == &secret[..]);
            assert!(!found, "secret {n} is in the key files");
        }
        let shown = format!("{ring:?} {:?} {:?} {:?}", ring.cookie_key(), ring.log_key, ring.known);
        for secret in secrets.iter().filter(|secret| **secret != nelly.0) {
            assert!(
                !shown.contains(&hex::encode(secret)) && !shown.contains(&format!("{secret:?}")),
                "{shown}"
            );
        }
        assert!(format!("{:?}", trial.settings).contains("encrypt_secret: Some(Secret(..))"));
    }

    #[test]
    fn a_signature_is_checked_with_the_public_key() {
        let trial = Trial::new();
        let ring = trial.create().unwrap();
        let key = ed25519_dalek::VerifyingKey::from_bytes(&ring.signer_public_key()).unwrap();
        let signature = ed25519_dalek::Signature::from_bytes(&ring.sign(b"a note"));
        assert!(key.verify_strict(b"a note", &signature).is_ok());
        assert!(key.verify_strict(b"another", &signature).is_err());
    }
}
