//! Which stored states count, and which never do whatever was done to them.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::Ordering;

use ed25519_dalek::{Signer as _, SigningKey};

use super::*;
use crate::domain::event::{Event, KeyPurpose, MadeBy, NewSigner, StateHash};
use crate::domain::id::{LogId, Position};
use crate::domain::state::FOLD;
use crate::event_log::codec::{decode_record, encode_record, leaf_hash};
use crate::event_log::note::{self, Checkpoint, VerifierKey};
use crate::event_log::rig::{TestDisk, record};
use crate::event_log::{EventLog, MemoryEngine};

const LOG: LogId = LogId([7; 16]);
const ORIGIN: &str = "https://login.example.org";

/// A log in memory, and a directory of states beside it.
struct World {
    secret: SigningKey,
    frames: Vec<Vec<u8>>,
    state: State,
    frontier: Frontier,
    disk: Arc<TestDisk>,
    dir: tempfile::TempDir,
    states: StatesDir,
}

impl World {
    fn new() -> World {
        World::of(LOG, 1)
    }

    fn of(log: LogId, secret: u8) -> World {
        let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::<TestDisk>::default());
        let secret = SigningKey::from_bytes(&[secret; 32]);
        let states = StatesDir::new(dir.path().join("states"), disk.clone());
        let (state, frontier) = (State::default(), Frontier::new());
        let mut world = World { secret, frames: vec![], state, frontier, disk, dir, states };
        world.append(Event::LogCreated {
            log,
            origin: ORIGIN.into(),
            made_by: MadeBy::Serve,
            public_key: world.secret.verifying_key().to_bytes(),
            version: "0.1.0".into(),
        });
        world
    }

    fn append(&mut self, event: Event) {
        let record = record(self.size(), event);
        let frame = encode_record(&record).unwrap();
        self.state.apply(Position(self.size()), &record);
        self.frontier.push(leaf_hash(&frame));
        self.frames.push(frame);
    }

    fn grow(&mut self, records: u64) {
        (0..records).for_each(|_| self.append(Event::ServerStopped { clean: true }));
    }

    fn size(&self) -> u64 {
        self.frames.len() as u64
    }

    fn log(&self) -> EventLog {
        EventLog::new(MemoryEngine::with(self.frames.clone()))
    }

    fn path(&self, size: u64) -> PathBuf {
        self.states.path(size)
    }

    /// Stores the state as it is now, without anybody vouching for it.
    fn store(&self) -> (u64, Hash) {
        (self.size(), self.states.write(&self.state, &self.frontier).unwrap())
    }

    /// Appends a checkpoint that vouches for a state.
    fn vouch(&mut self, size: u64, hash: Hash) {
        let root = self.root(size);
        let note = self.note(size, root);
        self.append(Event::CheckpointSigned {
            size,
            root,
            note,
            state: Some(StateHash { fold: FOLD, hash }),
        });
    }

    fn store_and_vouch(&mut self) -> u64 {
        let (size, hash) = self.store();
        self.vouch(size, hash);
        size
    }

    fn root(&self, size: u64) -> Hash {
        let mut frontier = Frontier::new();
        self.frames.iter().zip(0..size).for_each(|(frame, _)| frontier.push(leaf_hash(frame)));
        frontier.root()
    }

    fn note(&self, size: u64, root: Hash) -> String {
        let origin = note::origin_of(ORIGIN, self.state.log().unwrap().id);
        let key = VerifierKey::new(&origin, &self.secret.verifying_key().to_bytes()).unwrap();
        let checkpoint = Checkpoint { origin, size, root };
        note::sign(&checkpoint, &key, |message| self.secret.sign(message).to_bytes()).unwrap()
    }

    fn vouchers(&self) -> Vec<Voucher> {
        self.frames.iter().flat_map(|frame| Voucher::in_frame(frame)).collect()
    }

    /// Says why the state of that size does not count.
    #[track_caller]
    fn distrust(&self, size: u64) -> Distrust {
        assert_eq!(self.newest(), None);
        self.states.trusted(size, LOG, &self.vouchers()).expect_err("it does not count")
    }

    /// Returns the size of the newest state that counts, which is the state that there was then.
    fn newest(&self) -> Option<u64> {
        let found = newest_trusted(&self.states, &self.log(), LOG, self.size().checked_sub(1).map(Position))?;
        let mut state = State::default();
        for (position, frame) in (0..found.size).zip(&self.frames) {
            state.apply(Position(position), &decode_record(frame).unwrap());
        }
        assert_eq!((found.state, found.frontier.root()), (state, self.root(found.size)));
        Some(found.size)
    }

    fn before(&self, position: u64) -> Option<u64> {
        let head = self.size().checked_sub(1).map(Position);
        nearest_before(&self.states, &self.log(), LOG, head, Position(position)).map(|found| found.size)
    }

    fn rewrite(&self, size: u64, change: impl FnOnce(&mut Vec<u8>)) -> Hash {
        let mut bytes = fs::read(self.path(size)).unwrap();
        change(&mut bytes);
        fs::write(self.path(size), &bytes).unwrap();
        Hash::of(&bytes)
    }
}

#[test]
fn the_newest_state_that_the_log_vouches_for_counts() {
    let mut world = World::new();
    assert_eq!(world.newest(), None);
    world.grow(3);
    assert_eq!(world.store_and_vouch(), 4);
    assert_eq!(world.newest(), Some(4));
    world.grow(3);
    assert_eq!(world.store_and_vouch(), 8);
    assert_eq!(world.newest(), Some(8));
    // Nobody has vouched for this one yet.
    world.grow(1);
    let (size, hash) = world.store();
    assert_eq!(world.newest(), Some(8));
    world.vouch(size, hash);
    assert_eq!(world.newest(), Some(10));
    world.states.remove(10).unwrap();
    assert_eq!(world.newest(), Some(8));
}

#[test]
fn a_question_about_the_past_begins_at_the_nearest_state_before_it() {
    let mut world = World::new();
    world.grow(3);
    world.store_and_vouch();
    world.grow(5);
    world.store_and_vouch();
    assert_eq!(world.states.list().unwrap(), [4, 10]);
    for (position, nearest) in [
        (0, None),
        (2, None),
        (3, Some(4)),
        (8, Some(4)),
        (9, Some(10)),
        (10, Some(10)),
        (u64::MAX, Some(10)),
    ] {
        assert_eq!(world.before(position), nearest, "at {position}");
    }
    fs::write(world.path(10), b"").unwrap();
    assert_eq!(world.before(9), Some(4));
}

#[test]
fn no_byte_of_a_trusted_state_can_be_another() {
    let mut world = World::new();
    world.grow(1);
    let size = world.store_and_vouch();
    assert_eq!(world.newest(), Some(size));
    let (bytes, vouchers) = (fs::read(world.path(size)).unwrap(), world.vouchers());
    for at in 0..bytes.len() {
        for change in [1, 0x10, 0x80, 0xFF] {
            let mut other = bytes.clone();
            other[at] ^= change;
            fs::write(world.path(size), &other).unwrap();
            let found = world.states.trusted(size, LOG, &vouchers);
            assert!(found.is_err(), "byte {at} with {change:#x} is trusted");
        }
        fs::write(world.path(size), &bytes[..at]).unwrap();
        assert!(world.states.trusted(size, LOG, &vouchers).is_err(), "cut at {at} it is trusted");
    }
    assert_eq!(world.newest(), None);
    fs::write(world.path(size), &bytes).unwrap();
    assert_eq!(world.newest(), Some(size));
}

#[test]
fn an_edited_state_needs_a_word_of_the_log_for_its_own_hash() {
    let mut world = World::new();
    world.grow(3);
    let size = world.store_and_vouch();
    let mut other = World::new();
    other.grow(2);
    other.append(Event::KeyDestroyed { purpose: KeyPurpose::Month, key_id: 202_601 });
    fs::create_dir_all(other.dir.path().join("states")).unwrap();
    other.store();
    fs::copy(other.path(size), world.path(size)).unwrap();
    assert!(matches!(world.distrust(size), Distrust::OtherHash));
    // Not even the log can vouch for it: these records have another root than those that it was made of.
    let hash = Hash::of(&fs::read(world.path(size)).unwrap());
    world.vouch(size, hash);
    assert!(matches!(world.distrust(size), Distrust::OtherRoot));
}

#[test]
fn a_checkpoint_with_another_hash_size_or_fold_vouches_for_nothing() {
    let mut world = World::new();
    let (size, hash) = world.store();
    assert!(matches!(world.distrust(size), Distrust::NoVoucher));
    world.vouch(size, Hash([0; 32]));
    assert!(matches!(world.distrust(size), Distrust::OtherHash));

    let mut world = World::new();
    world.store();
    world.grow(1);
    world.vouch(2, hash);
    assert!(matches!(world.distrust(1), Distrust::NoVoucher));
    let (root, state) = (world.root(1), |fold| Some(StateHash { fold, hash }));
    let note = world.note(1, root);
    world.append(Event::CheckpointSigned { size: 1, root, note: note.clone(), state: state(FOLD + 1) });
    world.append(Event::CheckpointSigned { size: 1, root, note: note.clone(), state: None });
    assert!(matches!(world.distrust(1), Distrust::NoVoucher));
    world.append(Event::CheckpointSigned { size: 1, root, note, state: state(FOLD) });
    assert_eq!(world.newest(), Some(1), "one of several is enough");
}

#[test]
fn a_checkpoint_that_is_not_signed_vouches_for_nothing() {
    let mut world = World::new();
    world.grow(1);
    let (size, hash) = world.store();
    let root = world.root(size);
    let good = world.note(size, root);
    let state = || Some(StateHash { fold: FOLD, hash });
    let forged = World { secret: SigningKey::from_bytes(&[2; 32]), ..World::new() }.note(size, root);
    let (text, _) = good.split_once("\n\n").unwrap();
    let (_, signature) = forged.split_once("\n\n").unwrap();
    for note in
        [String::new(), forged.clone(), format!("{text}\n\n{signature}"), good.replacen("\n2\n", "\n3\n", 1)]
    {
        world.append(Event::CheckpointSigned { size, root, note, state: state() });
        assert!(matches!(world.distrust(size), Distrust::Note(_)));
    }
    // Signed, but about something else.
    let of_one = world.note(1, world.root(1));
    world.append(Event::CheckpointSigned { size, root, note: of_one, state: state() });
    assert!(matches!(world.distrust(size), Distrust::OtherRoot));
    let other_root = world.note(size, Hash([5; 32]));
    world.append(Event::CheckpointSigned { size, root: Hash([5; 32]), note: other_root, state: state() });
    assert!(matches!(world.distrust(size), Distrust::OtherRoot));
    world.append(Event::CheckpointSigned { size, root: Hash([5; 32]), note: good, state: state() });
    assert!(matches!(world.distrust(size), Distrust::OtherRoot));
    world.vouch(size, hash);
    assert_eq!(world.newest(), Some(size));
}

#[test]
fn the_key_is_the_one_that_the_state_knows() {
    let mut world = World::new();
    let first = world.secret.clone();
    world.secret = SigningKey::from_bytes(&[3; 32]);
    let public_key = world.secret.verifying_key().to_bytes();
    let signer = Some(NewSigner { public_key, signature: first.sign(&public_key).to_bytes() });
    world.append(Event::KeyRotated { purpose: KeyPurpose::Signer, key_id: 1, signer });
    let (size, hash) = world.store();
    let second = std::mem::replace(&mut world.secret, first);
    world.vouch(size, hash);
    assert!(matches!(world.distrust(size), Distrust::Note(_)));
    world.secret = second;
    world.vouch(size, hash);
    assert_eq!(world.newest(), Some(size));
}

#[test]
fn a_state_of_another_log_does_not_count() {
    let mut other = World::of(LogId([8; 16]), 1);
    other.grow(3);
    let (size, hash) = other.store();
    let root = other.root(size);
    let note = other.note(size, root);
    // Everything of it, its checkpoint included, is brought over.
    let mut world = World::new();
    world.grow(3);
    fs::create_dir_all(world.dir.path().join("states")).unwrap();
    fs::copy(other.path(size), world.path(size)).unwrap();
    world.append(Event::CheckpointSigned { size, root, note, state: Some(StateHash { fold: FOLD, hash }) });
    assert!(matches!(world.distrust(size), Distrust::OtherLog));
}

#[test]
fn a_state_of_another_fold_or_format_does_not_count() {
    for (at, value) in [(6, 2), (10, FOLD.to_be_bytes()[3] + 1)] {
        let mut world = World::new();
        let (size, _) = world.store();
        let hash = world.rewrite(size, |bytes| bytes[at] = value);
        world.vouch(size, hash);
        let why = world.distrust(size);
        assert!(
            matches!(
                why,
                Distrust::Unreadable(StateError::OtherFold { .. } | StateError::OtherFormat { .. })
            ),
            "{why:?}"
        );
    }
}

#[test]
fn a_state_does_not_count_under_the_name_of_another() {
    let mut world = World::new();
    world.grow(3);
    let (size, hash) = world.store();
    fs::rename(world.path(size), world.path(2)).unwrap();
    world.vouch(2, hash);
    assert!(matches!(world.distrust(2), Distrust::OtherSize { found: 4 }));
}

#[test]
fn a_state_of_more_records_than_there_are_does_not_count() {
    let mut world = World::new();
    world.grow(3);
    let older = world.store_and_vouch();
    world.grow(3);
    let size = world.store_and_vouch();
    assert_eq!(world.newest(), Some(size));
    // The log was cut behind the older checkpoint.
    world.frames.truncate(5);
    assert_eq!(world.newest(), Some(older));
    world.states.remove_beyond(world.size()).unwrap();
    assert_eq!(world.states.list().unwrap(), [older]);
    world.frames.truncate(4);
    assert_eq!(world.newest(), None, "its checkpoint is gone");
}

#[test]
fn a_checkpoint_vouches_within_reach_only() {
    for (between, newest) in [(REACH - 1, Some(1)), (REACH, None)] {
        let mut world = World::new();
        let (size, hash) = world.store();
        world.grow(between);
        world.vouch(size, hash);
        assert_eq!(world.newest(), newest, "{between} records between");
    }
}

#[test]
fn a_file_is_for_its_owner_only_and_on_stable_storage() {
    let mut world = World::new();
    world.grow(1);
    world.store();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&world.path(2)), 0o600);
    assert_eq!(mode(&world.dir.path().join("states")), 0o700);
    assert_eq!(*world.disk.syncs.lock().unwrap(), [Synced::Other, Synced::Directory, Synced::Directory]);
    assert_eq!(world.path(2).file_name().unwrap(), "00000000000000000002.state");
}

#[test]
fn a_failure_leaves_nothing_and_what_a_crash_left_is_removed() {
    let mut world = World::new();
    world.store();
    world.grow(1);
    *world.disk.failing.lock().unwrap() = Some(Synced::Other);
    let refused = world.states.write(&world.state, &world.frontier);
    assert!(matches!(refused, Err(StatesError::Io { action: "sync", .. })));
    *world.disk.failing.lock().unwrap() = None;
    assert_eq!(fs::read_dir(world.dir.path().join("states")).unwrap().count(), 1);

    let left = world.path(9).with_extension(UNFINISHED);
    fs::write(&left, b"half").unwrap();
    assert_eq!(world.states.list().unwrap(), [1]);
    world.store();
    assert!(!left.exists());
    assert_eq!(world.states.list().unwrap(), [1, 2]);

    world.grow(1);
    world.disk.is_full.store(true, Ordering::SeqCst);
    let refused = world.states.write(&world.state, &world.frontier);
    assert!(matches!(refused, Err(StatesError::NoSpace { free: 1_000, .. })));
    assert_eq!(world.states.list().unwrap(), [1, 2]);
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let mut world = World::new();
    let size = world.store_and_vouch();
    let states = world.dir.path().join("states");
    let names = [
        "1.state",
        "0000000000000000000x.state",
        "99999999999999999999.state",
        "notes.txt",
        "my.new",
        ".state",
    ];
    names.iter().for_each(|name| fs::write(states.join(name), b"?").unwrap());
    fs::create_dir(states.join("00000000000000000002.state")).unwrap();
    assert_eq!(world.states.list().unwrap(), [size]);
    assert_eq!(world.newest(), Some(size));
    world.grow(1);
    world.store();
    assert!(names.iter().all(|name| states.join(name).exists()));
}

#[test]
fn the_last_two_and_every_65536th_are_kept() {
    let world = World::new();
    fs::create_dir_all(world.dir.path().join("states")).unwrap();
    for size in [EVERY, 2 * EVERY, 70_000, 80_000, 90_000] {
        fs::write(world.path(size), b"?").unwrap();
    }
    let (size, _) = world.store();
    assert_eq!(world.states.list().unwrap(), [size, EVERY, 90_000, 2 * EVERY]);
    world.store();
    assert_eq!(world.states.list().unwrap(), [size, EVERY, 90_000, 2 * EVERY]);
}
