//! What the tests of this room share: a key directory of their own, and a disk that is watched.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tempfile::TempDir;

use crate::disk::{Disk, Synced};
use crate::domain::id::{DiscordId, LogId, Secret, Sub};
use crate::domain::time::{Month, Timestamp};
use crate::entropy::SeededEntropy;

use super::escrow::write_at_cost;
use super::escrow_header::Cost;
use super::{EscrowError, KeyError, KeyRing, KeySettings};

/// A test that fails must end, too.
const LONG: Duration = Duration::from_secs(20);

pub(super) const NELLY: DiscordId = DiscordId(80_351_110_224_678_912);
pub(super) const MASON: DiscordId = DiscordId(555_769_466_601_213_960);
pub(super) const JUNE: Month = Month(202_606);
/// When the escrows of the tests are made.
pub(super) const CREATED: Timestamp = Timestamp(1_767_323_045_000);
/// A passphrase costs next to nothing to try.
pub(super) const CHEAP: Cost = Cost { memory_kib: 8, passes: 1, lanes: 1 };

/// The passphrase of the escrows of the tests.
pub(super) fn words() -> Secret {
    Secret::new("correct horse battery staple")
}

/// A place for keys.
pub(super) struct Trial {
    pub(super) settings: KeySettings,
    pub(super) disk: Arc<WatchedDisk>,
    pub(super) entropy: Arc<SeededEntropy>,
    _dir: TempDir,
}

impl Trial {
    pub(super) fn new() -> Trial {
        Trial::new_of(LogId([0x4C; 16]))
    }

    pub(super) fn new_of(log_id: LogId) -> Trial {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("keys");
        let disk = Arc::new(WatchedDisk { dir: dir.clone(), ..WatchedDisk::default() });
        let settings = KeySettings { dir, log_id, encrypt_secret: None, cookie_secret: None };
        Trial { settings, disk, entropy: Arc::new(SeededEntropy::new("crypto")), _dir: parent }
    }

    pub(super) fn create(&self) -> Result<KeyRing, KeyError> {
        KeyRing::create(self.settings.clone(), self.entropy.clone(), self.disk.clone())
    }

    pub(super) fn open(&self) -> Result<KeyRing, KeyError> {
        KeyRing::open(self.settings.clone(), self.entropy.clone(), self.disk.clone())
    }

    /// Makes keys with two users and a month.
    pub(super) fn lived_in(&self) -> (Sub, Sub) {
        let ring = self.create().unwrap();
        block_on(async {
            ring.ensure_month(JUNE).await.unwrap();
            (ring.ensure_subject(NELLY).await.unwrap(), ring.ensure_subject(MASON).await.unwrap())
        })
    }

    /// Another place for the keys of the same log.
    pub(super) fn elsewhere(&self) -> Trial {
        let mut other = Trial::new_of(self.settings.log_id);
        other.settings.encrypt_secret = self.settings.encrypt_secret.clone();
        other
    }

    /// An escrow whose passphrase is cheap to try.
    pub(super) fn cheap_escrow(&self) -> Result<Vec<u8>, EscrowError> {
        write_at_cost(&self.settings, &words(), CREATED, &*self.entropy, CHEAP)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.settings.dir.join(name)
    }

    /// Every file with its bytes.
    pub(super) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        picture(&self.settings.dir)
    }

    /// Makes the directory hold these files and no others.
    pub(super) fn put(&self, files: &BTreeMap<String, Vec<u8>>) {
        fs::create_dir_all(&self.settings.dir).unwrap();
        for name in names(&self.settings.dir).iter().filter(|name| !files.contains_key(*name)) {
            fs::remove_file(self.path(name)).unwrap();
        }
        for (name, bytes) in files {
            fs::write(self.path(name), bytes).unwrap();
        }
    }
}

/// Every file with its bytes.
fn picture(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    names(dir).into_iter().map(|name| (name.clone(), fs::read(dir.join(name)).unwrap())).collect()
}

fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Runs a future to its end.
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// A disk that notes each sync, and can hold it at a gate or let it fail. It syncs nothing.
#[derive(Default)]
pub(super) struct WatchedDisk {
    dir: PathBuf,
    state: Mutex<Watched>,
    changed: Condvar,
}

#[derive(Default)]
struct Watched {
    calls: Vec<Call>,
    gate_is_closed: bool,
    fail_after: Option<usize>,
    pictures: Option<Vec<BTreeMap<String, Vec<u8>>>>,
}

/// One sync: of what, how long the file was, and which files were there.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) what: Synced,
    pub(super) len: u64,
    pub(super) names: Vec<String>,
}

impl WatchedDisk {
    pub(super) fn calls(&self) -> Vec<Call> {
        self.state.lock().unwrap().calls.clone()
    }

    /// Lets `count` more syncs succeed and none after them.
    pub(super) fn fail_after(&self, count: usize) {
        self.state.lock().unwrap().fail_after = Some(count);
    }

    /// Keeps what the directory holds at each sync from now on, before that is done.
    pub(super) fn take_pictures(&self) {
        self.state.lock().unwrap().pictures = Some(Vec::new());
    }

    /// Returns what the directory held at each sync.
    pub(super) fn pictures(&self) -> Vec<BTreeMap<String, Vec<u8>>> {
        self.state.lock().unwrap().pictures.take().unwrap_or_default()
    }

    pub(super) fn repair(&self) {
        self.state.lock().unwrap().fail_after = None;
    }

    pub(super) fn close_gate(&self) {
        self.state.lock().unwrap().gate_is_closed = true;
    }

    pub(super) fn open_gate(&self) {
        self.state.lock().unwrap().gate_is_closed = false;
        self.changed.notify_all();
    }

    /// Waits until `count` syncs were asked for, those at the gate included.
    pub(super) fn wait_for_calls(&self, count: usize) {
        let state = self.state.lock().unwrap();
        let waited = self.changed.wait_timeout_while(state, LONG, |state| state.calls.len() < count);
        let came = waited.unwrap().0.calls.len() >= count;
        assert!(came, "a sync that was expected was never asked for");
    }

    fn sync(&self, what: Synced, file: &File) -> io::Result<()> {
        let call = Call { what, len: file.metadata()?.len(), names: names(&self.dir) };
        let mut state = self.state.lock().unwrap();
        state.calls.push(call);
        if let Some(pictures) = &mut state.pictures {
            pictures.push(picture(&self.dir));
        }
        self.changed.notify_all();
        let (mut state, _) =
            self.changed.wait_timeout_while(state, LONG, |state| state.gate_is_closed).unwrap();
        match &mut state.fail_after {
            None => Ok(()),
            Some(0) => Err(io::Error::other("the disk is gone")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }
}

impl Disk for WatchedDisk {
    fn sync_data(&self, what: Synced, file: &File) -> io::Result<()> {
        self.sync(what, file)
    }

    fn sync_all(&self, what: Synced, file: &File) -> io::Result<()> {
        self.sync(what, file)
    }

    fn free_space(&self, _: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}
