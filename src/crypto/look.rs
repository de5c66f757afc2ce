//! Keys that are only read: beside a server that runs, or where nothing can be written.

use std::sync::Arc;

use crate::entropy::Entropy;

use super::error::KeyError;
use super::files::{Found, Sealed};
use super::key_ring::{KeyRing, KeySettings};

/// So many rekeys in a row may begin while the files are being read; each takes longer than reading them does.
const ATTEMPTS: usize = 64;

impl KeyRing {
    /// Reads the keys of a log and changes nothing, neither now nor later.
    ///
    /// No repair, no thread, no lock: it can be done while a server runs, on a copy, and where nothing can be
    /// written. Boxes open and users are found as they were at this moment; what asks for a change is
    /// [`KeyError::ReadOnly`]. An entry that is just being added is not there yet. Without `COOKIE_SECRET` and
    /// without a `cookie` file, the cookie key is one that nobody else has.
    pub fn look(settings: &KeySettings, entropy: Arc<dyn Entropy>) -> Result<KeyRing, KeyError> {
        KeyRing::of(Found::read_beside_a_writer(settings)?.1, entropy, None)
    }
}

impl Found {
    /// Reads the files and what is in them, writes nothing, and is not misled by a server that writes
    /// meanwhile.
    ///
    /// At each moment the files fit together. If they did not when read one after the other, `kek` has become
    /// another one since, or they are damaged.
    pub(super) fn read_beside_a_writer(settings: &KeySettings) -> Result<(Sealed, Found), KeyError> {
        let mut sealed = Sealed::read(&settings.dir)?;
        for _ in 1..ATTEMPTS {
            let damaged = match Found::open(settings, &sealed) {
                Err(error @ KeyError::Damaged { .. }) => error,
                found => return found.map(|found| (sealed, found)),
            };
            let again = Sealed::read(&settings.dir)?;
            if again.has_the_kek_of(&sealed) {
                return Err(damaged);
            }
            sealed = again;
        }
        Found::open(settings, &sealed).map(|found| (sealed, found))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::crypto::forget::Forget;
    use crate::crypto::trial::{JUNE, MASON, NELLY, Trial, block_on};
    use crate::domain::id::{DiscordId, RecordId};
    use crate::domain::record::Owner;
    use crate::domain::time::Month;

    const RECORD: RecordId = RecordId([0x11; 16]);

    fn look(trial: &Trial) -> Result<KeyRing, KeyError> {
        KeyRing::look(&trial.settings, trial.entropy.clone())
    }

    #[test]
    fn who_looks_reads_everything_and_changes_nothing() {
        let trial = Trial::new();
        let (nelly, mason) = trial.lived_in();
        let ring = trial.open().unwrap();
        let sealed = ring.seal(Owner::Context(JUNE, Some(nelly)), RECORD, b"an address").unwrap();
        let tag = ring.cookie_key().tag_key("p").tag(b"m");
        let public = ring.signer_public_key();
        drop(ring);
        // What a start would repair.
        fs::write(trial.path("log.new"), b"left over").unwrap();
        let torn = [&fs::read(trial.path("subjects")).unwrap()[..], &[0xA5; 100]].concat();
        fs::write(trial.path("subjects"), torn).unwrap();
        fs::set_permissions(trial.path("log"), Permissions::from_mode(0o444)).unwrap();
        let (before, syncs) = (trial.files(), trial.disk.calls().len());

        let ring = look(&trial).unwrap();
        assert_eq!(*ring.unseal(RECORD, &sealed).unwrap(), b"an address");
        assert_eq!((ring.sub_of(NELLY), ring.sub_of(MASON)), (Some(nelly), Some(mason)));
        assert_eq!((ring.discord_id_of(nelly), ring.months()), (Some(NELLY), [JUNE].into()));
        assert_eq!((ring.signer_public_key(), ring.cookie_key().tag_key("p").tag(b"m")), (public, tag));
        block_on(async {
            assert_eq!(ring.ensure_subject(NELLY).await.unwrap(), nelly);
            ring.ensure_month(JUNE).await.unwrap();
            for refused in [
                ring.ensure_subject(DiscordId(7)).await.map(drop),
                ring.ensure_month(Month(202_607)).await,
                ring.forget(Forget::sub(nelly)).await.map(drop),
                ring.rotate_root().await.map(drop),
                ring.prepare_signer().await.map(drop),
                ring.signer_is(public).await,
            ] {
                assert!(matches!(refused, Err(KeyError::ReadOnly)), "{refused:?}");
            }
        });
        drop(ring);
        assert_eq!((trial.files(), trial.disk.calls().len()), (before, syncs));
        let mode = fs::metadata(trial.path("log")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o444);
    }

    #[test]
    fn an_open_rekey_is_read_and_left_open() {
        for crash in 2..13 {
            let trial = Trial::new();
            let (nelly, mason) = trial.lived_in();
            let ring = trial.open().unwrap();
            trial.disk.fail_after(crash);
            assert!(block_on(ring.forget(Forget::sub(nelly))).is_err());
            let before = trial.files();
            assert_eq!(look(&trial).unwrap().sub_of(MASON), Some(mason), "{crash}");
            assert_eq!(trial.files(), before, "{crash}");
        }
    }

    #[test]
    fn without_a_cookie_file_the_cookie_key_is_nobodys() {
        let mut trial = Trial::new();
        trial.settings.cookie_secret = Some(crate::domain::id::Secret::new("c".repeat(32)));
        trial.lived_in();
        trial.settings.cookie_secret = None;
        let tags = [(); 2].map(|()| look(&trial).unwrap().cookie_key().tag_key("p").tag(b"m"));
        assert_ne!(tags[0], tags[1]);
        assert!(!trial.path("cookie").exists());
    }

    #[test]
    fn what_is_damaged_or_missing_is_named() {
        let trial = Trial::new();
        assert!(matches!(look(&trial), Err(KeyError::Missing { .. })));
        assert!(!trial.settings.dir.exists());
        trial.lived_in();
        fs::write(trial.path("months"), b"nothing").unwrap();
        assert!(matches!(look(&trial), Err(KeyError::Damaged { file, .. }) if file == trial.path("months")));
    }

    #[test]
    fn who_looks_while_a_server_rekeys_sees_whole_keys() {
        let trial = Trial::new();
        let (_, mason) = trial.lived_in();
        let ring = trial.open().unwrap();
        let (begun, over) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for id in 1..60 {
                    let sub = block_on(ring.ensure_subject(DiscordId(id))).unwrap();
                    begun.store(true, Ordering::Release);
                    block_on(ring.forget(Forget::sub(sub))).unwrap();
                }
                over.store(true, Ordering::Release);
            });
            while !begun.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            let mut looks = 0;
            while !over.load(Ordering::Acquire) {
                assert_eq!(look(&trial).unwrap().sub_of(MASON), Some(mason), "{looks}");
                looks += 1;
            }
            assert!(looks > 0);
        });
    }
}
