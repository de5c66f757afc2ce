//! What a start writes down first on a log that was put back, and how many records stand unsigned.

use std::fs;
use std::path::Path;

use futures_util::future::{join_all, poll_immediate};

use super::*;
use crate::app::rig::{server, settings, sign_in};
use crate::clock::ManualClock;
use crate::disk::RealDisk;
use crate::domain::event::Event;
use crate::domain::id::SessionId;
use crate::domain::time::Timestamp;
use crate::entropy::SeededEntropy;
use crate::event_log::MemoryEngine;
use crate::event_log::start::Import;
use crate::event_log::tree::Frontier;

async fn open(dir: &Path, clock: &ManualClock, role: Role) -> Arc<App> {
    let settings = settings(dir, role);
    let seed = format!("a start at {}", clock.now());
    clock.advance(Duration::from_secs(1));
    let (clock, entropy) = (Arc::new(clock.clone()), Arc::new(SeededEntropy::new(&seed)));
    let opening = tokio::task::spawn_blocking(|| App::open(settings, clock, entropy, Arc::new(RealDisk)));
    opening.await.unwrap().unwrap().replay().await.unwrap().0
}

/// A server whose log is kept by an engine in memory.
async fn open_in_memory(dir: &Path, clock: &ManualClock) -> Arc<App> {
    let settings = settings(dir, server());
    let (entropy, disk) = (Arc::new(SeededEntropy::new("in memory")), Arc::new(RealDisk));
    let (log_id, writer) = (LogId([7; 16]), WriterId([7; 8]));
    let keys = KeySettings { dir: dir.join("keys"), log_id, encrypt_secret: None, cookie_secret: None };
    let keys = KeyRing::create(keys, entropy.clone(), disk.clone()).unwrap();
    let frame = first_record(&settings, log_id, &keys, writer, clock, &*entropy).unwrap();
    let engine = MemoryEngine::with(vec![frame]);
    let started = Started { engine, head: Some(Position(0)), clean: true, loss: None, restored: None };
    let clock = Arc::new(clock.clone());
    let opened = App::assemble(settings, clock, entropy, disk, keys, writer, started).unwrap();
    opened.replay().await.unwrap().0
}

/// Returns how many records were unsigned at most, at any position, as whoever verifies the log counts them.
fn unsigned_at_most(frames: &[bytes::Bytes]) -> u64 {
    let (mut signed, mut most) = (0, 0);
    for (records, frame) in (1..).zip(frames) {
        for event in codec::decode_record(frame).unwrap().events {
            if let Event::CheckpointSigned { size, .. } = event {
                signed = signed.max(size);
            }
        }
        most = most.max(records - signed);
    }
    most
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_many_append_at_once_no_more_stand_unsigned_than_a_reader_believes() {
    const BURST: usize = 5_000;
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(Timestamp(1_767_323_045_000));
    let in_memory = open_in_memory(&dir.path().join("memory"), &clock).await;
    let in_sled = open(&dir.path().join("sled"), &clock, server()).await;
    for (name, app) in [("memory", in_memory), ("sled", in_sled)] {
        let append = |n: usize| {
            let app = app.clone();
            let appending =
                async move { app.execute(Command::StopServer { clean: true }, &By::SYSTEM).await.map(drop) };
            // Some go away before they are answered; what they handed over stands all the same.
            async move {
                match n % 10 {
                    0 => poll_immediate(appending).await.unwrap_or(Ok(())),
                    _ => appending.await,
                }
            }
        };
        let burst = (0..BURST).map(|n| tokio::spawn(append(n)));
        for appended in join_all(burst).await {
            appended.unwrap().unwrap();
        }
        let all = frames(&app).await;
        assert!(all.len() > BURST - BURST / 10, "{name}: {}", all.len());
        let most = unsigned_at_most(&all);
        assert!((1_000..=1_030).contains(&most), "{name}: {most}");
        app.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waited_for_their_turn_finds_room_or_makes_it() {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(Timestamp(1_767_323_045_000));
    let app = open_in_memory(dir.path(), &clock).await;
    sign_in(&app, 1, 1).await;
    // One user's decisions come one after the other: all of these found room when they began to wait.
    let see = || app.execute(Command::SeeSession { session: SessionId([1; 16]) }, &By::SYSTEM);
    let seen = join_all((0..2_500).map(|_| see())).await;
    assert!(seen.iter().all(Result::is_ok));
    let most = unsigned_at_most(&frames(&app).await);
    assert!((1_000..=1_030).contains(&most), "{most}");
    app.close().await.unwrap();
}

async fn frames(app: &App) -> Vec<bytes::Bytes> {
    let records = usize::try_from(app.frontier().size()).unwrap();
    let mut follow = app.log().follow(Position(0));
    let mut all = Vec::new();
    while all.len() < records {
        all.extend(follow.next().await.unwrap().into_iter().map(|(_, frame)| frame));
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_a_log_was_put_back_is_its_first_record_even_where_a_signature_is_overdue() {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(Timestamp(1_767_323_045_000));
    let first = dir.path().join("first");
    let app = open(&first, &clock, server()).await;
    while app.state().unsigned().records < 1_024 {
        let wanted = (1_024 - app.state().unsigned().records).min(64);
        join_all((0..wanted).map(|_| app.execute(Command::StopServer { clean: true }, &By::SYSTEM))).await;
    }
    let copied = frames(&app).await;
    let log_id = app.keys().log_id();
    app.close().await.unwrap();
    let mut tree = Frontier::new();
    copied.iter().for_each(|frame| tree.push(codec::leaf_hash(frame)));

    for (name, role, source) in
        [("server", server(), RestoredFrom::Backup), ("command", Role::Command, RestoredFrom::Import)]
    {
        let data_dir = dir.path().join(name);
        fs::create_dir_all(data_dir.join("keys")).unwrap();
        for entry in fs::read_dir(first.join("keys")).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, data_dir.join("keys").join(path.file_name().unwrap())).unwrap();
        }
        let settings = StartSettings {
            data_dir: data_dir.clone(),
            accept_loss: false,
            probe: Probe::InProcess,
            disk: Arc::new(RealDisk),
            clock: Arc::new(clock.clone()),
            entropy: Arc::new(SeededEntropy::new("nothing")),
            pace: Pace::default(),
        };
        let mut import = Import::begin(&settings, log_id).unwrap();
        copied.iter().for_each(|frame| import.push(frame.clone()).unwrap());
        import.finish(source).unwrap();

        let app = open(&data_dir, &clock, role).await;
        let all = frames(&app).await;
        assert!(all.starts_with(&copied), "{name}");
        let record = codec::decode_record(&all[copied.len()]).unwrap();
        let expected = Event::LogRestored { size: tree.size(), root: tree.root(), source };
        assert_eq!(record.events, [expected], "{name}");
        app.close().await.unwrap();
        let restored = open(&data_dir, &clock, Role::Command).await;
        let again = frames(&restored).await;
        let said = again.iter().filter(|frame| {
            let events = codec::decode_record(frame).unwrap().events;
            events.iter().any(|event| matches!(event, Event::LogRestored { .. }))
        });
        assert_eq!(said.count(), 1, "{name}: it is said once");
        restored.close().await.unwrap();
    }
}
