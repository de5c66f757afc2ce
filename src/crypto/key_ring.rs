//! The keys of one log in memory: who has which, and what can be done with them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::Disk;
use crate::domain::id::{DiscordId, LogId, Secret, Sub};
use crate::domain::time::Month;
use crate::entropy::Entropy;

use super::block::Header;
use super::cookie::CookieKey;
use super::directory::make_missing;
use super::error::KeyError;
use super::files::{COOKIE, Found, LOG, SIGNER};
use super::keeper::Keeper;
use super::kek;
use super::key_file::read_if_there;
use super::known::Known;
use super::secret_key::SecretKey;
use super::signer::Signing;

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
    keeper: Option<Keeper>,
    log_key: SecretKey,
    signing: Arc<Signing>,
    cookie: CookieKey,
    entropy: Arc<dyn Entropy>,
}

impl KeyRing {
    /// Makes the keys of a new log.
    ///
    /// After a crash it can be called again: it keeps what is there of the same log and makes the rest. As soon
    /// as a user or a month has a key, the log is not new, and a file that is missing is an error as in
    /// [`open`](Self::open).
    pub fn create(
        settings: KeySettings,
        entropy: Arc<dyn Entropy>,
        disk: Arc<dyn Disk>,
    ) -> Result<KeyRing, KeyError> {
        make_missing(&settings, &*entropy, &*disk)?;
        KeyRing::open(settings, entropy, disk)
    }

    /// Reads the keys of a log that is there.
    ///
    /// Everything is read before anything is written. Then a rekey that was cut off is ended, permissions are
    /// repaired, and a `cookie` file is made where `COOKIE_SECRET` is not given any more: all that hangs on it is
    /// login attempts and app cookies, which browsers get anew. An entry that was cut off does not count; it is
    /// dropped with the next key, because the start may still be refused for it.
    pub fn open(
        settings: KeySettings,
        entropy: Arc<dyn Entropy>,
        disk: Arc<dyn Disk>,
    ) -> Result<KeyRing, KeyError> {
        let mut found = Found::read(&settings)?;
        found.repair(&*entropy, &*disk)?;
        KeyRing::of(found, entropy, Some(disk))
    }

    /// Says whether [`open`](Self::open) would find the keys in order; writes nothing.
    pub fn check(settings: &KeySettings) -> Result<(), KeyError> {
        Found::read_beside_a_writer(settings).map(drop)
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
            None => self.keeper()?.subject(id).await,
        }
    }

    /// Gives a month a key if it has none, on stable storage before this returns.
    pub async fn ensure_month(&self, month: Month) -> Result<(), KeyError> {
        if self.has_month(month) {
            return Ok(());
        }
        self.keeper()?.month(month).await
    }

    /// Returns the key of what browsers keep for us.
    pub fn cookie_key(&self) -> &CookieKey {
        &self.cookie
    }

    /// Takes the keys over, and writes key files from now on if there is a disk to write to.
    pub(super) fn of(
        found: Found,
        entropy: Arc<dyn Entropy>,
        disk: Option<Arc<dyn Disk>>,
    ) -> Result<KeyRing, KeyError> {
        let Found { files, known } = found;
        let log = files.settings.log_id;
        let cookie = match (&files.settings.cookie_secret, files.key(COOKIE), &disk) {
            (Some(secret), ..) => CookieKey::from_secret(log, secret, entropy.clone()),
            (None, Ok(key), _) => CookieKey::from_key(log, key, entropy.clone()),
            // Nobody has this one, so what is made with it is worth nothing: who only looks makes nothing.
            (None, Err(_), None) => CookieKey::from_key(log, &SecretKey::draw(&*entropy), entropy.clone()),
            (None, Err(missing), Some(_)) => return Err(missing),
        };
        let log_key = files.key(LOG)?.clone();
        let (known, signing) = (Arc::new(known), Arc::new(Signing::new(files.key(SIGNER)?)));
        let keeper = match disk {
            Some(disk) => Some(Keeper::start(known.clone(), signing.clone(), files, entropy.clone(), disk)?),
            None => None,
        };
        Ok(KeyRing { log, known, keeper, log_key, signing, cookie, entropy })
    }

    /// Returns the door to what writes key files.
    pub(super) fn keeper(&self) -> Result<&Keeper, KeyError> {
        self.keeper.as_ref().ok_or(KeyError::ReadOnly)
    }

    pub(super) fn known(&self) -> &Known {
        &self.known
    }

    pub(super) fn signing(&self) -> &Signing {
        &self.signing
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::crypto::trial::{JUNE, MASON, NELLY, Trial, block_on};
    use crate::domain::id::RecordId;
    use crate::domain::record::Owner;

    #[test]
    fn what_was_created_is_read_back() {
        let trial = Trial::new();
        let ring = trial.create().unwrap();
        let public = ring.signer_public_key();
        let sealed = ring.seal(Owner::Log, RecordId([1; 16]), b"rules").unwrap();
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
        assert_eq!(*ring.unseal(RecordId([1; 16]), &sealed).unwrap(), b"rules");
        assert_eq!(*ring.cookie_key().open("attempt", b"", &cookie).unwrap(), b"state");
        assert_eq!(KeyRing::log_of(&trial.settings.dir).unwrap(), Some(trial.settings.log_id));
        KeyRing::check(&trial.settings).unwrap();
    }

    #[test]
    fn a_cookie_file_is_made_where_the_secret_is_not_given_any_more() {
        let mut trial = Trial::new();
        trial.settings.cookie_secret = Some(Secret::new("c".repeat(32)));
        let given = trial.create().unwrap().cookie_key().tag_key("p").tag(b"m");
        assert!(!trial.path(COOKIE).exists());
        assert_eq!(trial.open().unwrap().cookie_key().tag_key("p").tag(b"m"), given);
        trial.settings.cookie_secret = None;
        let made = trial.open().unwrap().cookie_key().tag_key("p").tag(b"m");
        assert!(trial.path(COOKIE).exists());
        assert_ne!(made, given);
        assert_eq!(trial.open().unwrap().cookie_key().tag_key("p").tag(b"m"), made);
    }

    #[test]
    fn another_encrypt_secret_is_refused_by_name_and_nothing_is_written() {
        let (one, two) = (Some(Secret::new("1".repeat(32))), Some(Secret::new("2".repeat(32))));
        for (sealed_with, given) in [(None, &one), (one.clone(), &None), (one.clone(), &two)] {
            let mut trial = Trial::new();
            trial.settings.encrypt_secret = sealed_with.clone();
            trial.lived_in();
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
    fn nothing_secret_is_in_the_files_or_in_a_debug_print() {
        let mut trial = Trial::new();
        trial.settings.encrypt_secret = Some(Secret::new("an outside secret of enough bytes"));
        let (nelly, _) = trial.lived_in();
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
            Found::read(&trial.settings).unwrap().files.key(SIGNER).unwrap().expose().to_vec(),
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
}
