//! What an acknowledgement is worth, and what happens when the disk fails.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::SledEngine;
use crate::disk::Synced;
use crate::domain::id::Position;
use crate::event_log::engine::{AppendError, Engine, Follow, FollowError, HeadError, Health, NotWritten};
use crate::event_log::head::{self, DataFile, HeadFile, StopState};
use crate::event_log::probe::Probe;
use crate::event_log::rig::{Rig, append, frame, read_to};
use crate::event_log::sled_guard;
use crate::event_log::start::{Expected, Place};

const REFUSED: Result<Position, AppendError> = Err(AppendError::NotWritten(NotWritten::Unavailable));

/// Opens a log by its parts, to get at the inside of the engine.
fn open(rig: &Rig) -> SledEngine {
    let mut head = HeadFile::open(&rig.path(), Arc::clone(&rig.disk) as _).expect("HEAD");
    let place = Place {
        data_dir: rig.path(),
        probe: Probe::InProcess,
        disk: Arc::clone(&rig.disk) as _,
        clock: Arc::new(rig.clock.clone()),
    };
    let ready = place.open(&mut head, Expected::Whole).expect("opened");
    SledEngine::start(place, head, ready, rig.pace).expect("started")
}

/// What had been brought to stable storage at one sync.
#[derive(Clone, Debug)]
enum Durable {
    /// These of the test's records stood in the database's file.
    Records(BTreeSet<u64>),
    /// `HEAD` acknowledged up to here.
    Head(u64),
}

fn find(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledged_record_was_synced_in_the_database_and_then_in_head() {
    let rig = Rig::new();
    let engine = rig.start().expect("a new log").engine;
    let seen: Arc<Mutex<Vec<Durable>>> = Arc::default();
    let (log, db, head) = (Arc::clone(&seen), rig.db(), head::path(&rig.path()));
    *rig.disk.watch.lock().expect("not poisoned") = Some(Box::new(move |what| {
        let durable = match what {
            Synced::Database => {
                let bytes = std::fs::read(&db).expect("the database");
                let there = |number: &u64| find(&bytes, &frame(*number)[7..]);
                Durable::Records((1..=24).filter(there).collect())
            }
            Synced::Head => {
                let bytes = std::fs::read(&head).expect("HEAD");
                let position = |slot: &[u8]| u64::from_be_bytes(slot[36..44].try_into().expect("8 bytes"));
                Durable::Head(position(&bytes).max(position(&bytes[4_096..])))
            }
            _ => return,
        };
        log.lock().expect("not poisoned").push(durable);
    }));
    let appends = (1..=24).map(|number| {
        let (engine, seen) = (Arc::clone(&engine), Arc::clone(&seen));
        tokio::spawn(async move {
            let position = engine.append(vec![frame(number)], None).await.expect("acknowledged");
            (number, position, seen.lock().expect("not poisoned").clone())
        })
    });
    for append in appends.collect::<Vec<_>>() {
        let (number, position, durable) = append.await.expect("appended");
        let in_database = durable
            .iter()
            .position(|durable| matches!(durable, Durable::Records(there) if there.contains(&number)))
            .unwrap_or_else(|| panic!("record {number} was acknowledged before the database was synced"));
        assert!(
            durable[in_database..].iter().any(|sync| matches!(sync, Durable::Head(at) if *at >= position.0)),
            "record {number} was acknowledged before HEAD was synced"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_together_shares_its_syncs() {
    let rig = Rig::new();
    let engine = rig.start().expect("a new log").engine;
    rig.disk.forget();
    rig.disk.block(true);
    let first = engine.append(vec![frame(1)], None);
    // The first is on its way alone; the others come while it waits for the disk.
    while rig.disk.waiting() == 0 {
        std::thread::yield_now();
    }
    let others: Vec<_> = (2..66).map(|number| engine.append(vec![frame(number)], None)).collect();
    rig.disk.block(false);
    assert_eq!(first.await, Ok(Position(1)));
    for (position, other) in (2..).zip(others) {
        assert_eq!(other.await, Ok(Position(position)));
    }
    let syncs = (rig.disk.count(Synced::Database), rig.disk.count(Synced::Head));
    assert_eq!(syncs, (2, 2), "65 appends in two groups");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_sync_is_final_and_the_next_start_finds_what_was_acknowledged() {
    for broken in [Synced::Database, Synced::Head] {
        let rig = Rig::new();
        let engine = rig.start().expect("a new log").engine;
        append(&*engine, 1..4).await;
        let mut follow = engine.follow(Position(4));
        *rig.disk.failing.lock().expect("not poisoned") = Some(broken);
        assert_eq!(engine.append(vec![frame(4)], None).await, Err(AppendError::Unknown));
        let mut health = engine.health();
        let failed = |health: &Health| matches!(health, Health::Failed { .. });
        health.wait_for(failed).await.expect("the engine lives");
        *rig.disk.failing.lock().expect("not poisoned") = None;
        assert_eq!(engine.append(vec![frame(4)], None).await, REFUSED);
        assert_eq!(follow.next().await, Err(FollowError::Closed));
        assert!(engine.close().await.is_err());
        drop(engine);

        let started = rig.start().expect("a start");
        assert!(!started.clean);
        assert!(started.head >= Some(Position(3)), "{:?}", started.head);
        read_to(&mut started.engine.follow(Position(0)), 3).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_before_anything_is_written_and_recovers_by_itself() {
    let rig = Rig::new();
    let engine = rig.start().expect("a new log").engine;
    append(&*engine, 1..3).await;
    let before = std::fs::read(rig.db()).expect("the database");
    rig.disk.is_full.store(true, Ordering::SeqCst);
    let refused = engine.append(vec![frame(3)], None).await;
    let why = NotWritten::NoSpace { free: 1_000, needed: 64 << 20 };
    assert_eq!(refused, Err(AppendError::NotWritten(why)));
    let mut health = engine.health();
    assert!(matches!(&*health.borrow(), Health::Unavailable { .. }));
    assert_eq!(engine.head().await, Ok(Some(Position(2))));
    assert_eq!(before, std::fs::read(rig.db()).expect("the database"));

    rig.disk.is_full.store(false, Ordering::SeqCst);
    health.wait_for(|health| *health == Health::Ok).await.expect("the engine lives");
    append(&*engine, 3..5).await;
}

/// Starts an engine whose disk does not answer any more when the record at 1 is written.
async fn stuck(rig: &Rig) -> (Arc<dyn Engine>, Follow) {
    let engine = rig.start().expect("a new log").engine;
    let follow = engine.follow(Position(1));
    rig.disk.block(true);
    assert_eq!(engine.append(vec![frame(1)], None).await, Err(AppendError::Unknown));
    (engine, follow)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_does_not_answer_leaves_nobody_waiting() {
    let mut rig = Rig::new();
    (rig.pace.ask_after, rig.pace.stuck_after) = (Duration::from_millis(10), Duration::from_millis(20));
    let (engine, mut follow) = stuck(&rig).await;
    let mut health = engine.health();
    let unavailable = |health: &Health| matches!(health, Health::Unavailable { .. });
    health.wait_for(unavailable).await.expect("the engine lives");
    assert_eq!(engine.append(vec![frame(2)], None).await, REFUSED);
    assert_eq!(engine.head().await, Err(HeadError::Unavailable));

    rig.disk.block(false);
    health.wait_for(|health| *health == Health::Ok).await.expect("the engine lives");
    assert_eq!(read_to(&mut follow, 1).await, [(1, frame(1))], "what was written after all is found");
    append(&*engine, 2..4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_stops_answering_is_noticed_by_a_watchdog_that_looks_and_by_one_that_rests() {
    let mut rig = Rig::filled(1, true).await;
    (rig.pace.ask_after, rig.pace.stuck_after) = (Duration::from_millis(400), Duration::from_millis(410));
    let engine = open(&rig);
    let mut health = engine.health();
    // It looks for a while after something was written, and then rests until something begins.
    for looks in [true, false] {
        while engine.shared.in_flight().is_watched != looks {
            if looks {
                engine.append(vec![frame(1)], None).await.expect("written");
            } else {
                tokio::task::yield_now().await;
            }
        }
        rig.disk.block(true);
        assert_eq!(engine.append(vec![frame(2)], None).await, Err(AppendError::Unknown), "{looks}");
        rig.disk.block(false);
        health.wait_for(|health| *health == Health::Ok).await.expect("the engine lives");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_never_answers_has_failed_for_good_and_the_process_may_end() {
    let mut rig = Rig::new();
    (rig.pace.ask_after, rig.pace.stuck_after) = (Duration::from_millis(5), Duration::from_millis(10));
    rig.pace.lost_after = Duration::from_millis(20);
    let (engine, mut follow) = stuck(&rig).await;
    let mut health = engine.health();
    let failed = |health: &Health| matches!(health, Health::Failed { .. });
    let why = health.wait_for(failed).await.expect("the engine lives").clone();
    assert_eq!(why, Health::Failed { why: "the disk has not answered for 0 s".into() });
    assert_eq!(engine.append(vec![frame(2)], None).await, REFUSED);
    assert_eq!(follow.next().await, Err(FollowError::Closed));
    // It waits for nobody.
    let dropped = tokio::task::spawn_blocking(|| drop(engine));
    dropped.await.expect("dropped");
    rig.disk.block(false);
    let changed = health.wait_for(|health| !failed(health)).await.is_ok();
    assert!(!changed, "what comes afterwards changes nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_unknown_outcome_the_log_is_opened_again_and_goes_on() {
    let rig = Rig::filled(10, true).await;
    let engine = open(&rig);
    append(&engine, 10..12).await;
    let mut follow = engine.follow(Position(0));
    read_to(&mut follow, 11).await;
    let db = engine.shared.store.take().expect("open");
    sled_guard::close(db).expect("closed");
    assert_eq!(engine.append(vec![frame(12)], None).await, Err(AppendError::Unknown));
    let mut health = engine.health();
    health.wait_for(|health| *health == Health::Ok).await.expect("the engine lives");
    append(&engine, 12..15).await;
    let read = read_to(&mut follow, 14).await;
    assert_eq!(read.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [12, 13, 14]);
    read_to(&mut engine.follow(Position(0)), 14).await;
    engine.close().await.expect("closed");
    assert_eq!(rig.start().expect("a start").head, Some(Position(14)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_lost_records_while_it_was_in_use_fails_instead_of_going_on() {
    let rig = Rig::filled(10, true).await;
    let engine = open(&rig);
    append(&engine, 10..12).await;
    let db = engine.shared.store.take().expect("open");
    sled_guard::close(db).expect("closed");
    std::fs::write(rig.db(), b"").expect("emptied");
    assert_eq!(engine.append(vec![frame(12)], None).await, Err(AppendError::Unknown));
    let mut health = engine.health();
    let failed = |health: &Health| matches!(health, Health::Failed { .. });
    health.wait_for(failed).await.expect("the engine lives");
    assert_eq!(engine.append(vec![frame(12)], None).await, REFUSED);
    engine.close().await.expect_err("not in order");
    drop(engine);
    assert!(rig.refused().can_be_accepted());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_for_the_copy_the_log_is_tried_again_until_there_is_some() {
    let rig = Rig::filled(10, true).await;
    let engine = open(&rig);
    append(&engine, 10..12).await;
    let db = engine.shared.store.take().expect("open");
    sled_guard::close(db).expect("closed");
    // Enough for an append, too little for the copy.
    rig.disk.free.store(64 << 20, Ordering::SeqCst);
    std::fs::write(rig.path().join("log/filler"), vec![0; 33 << 20]).expect("written");
    assert_eq!(engine.append(vec![frame(12)], None).await, Err(AppendError::Unknown));
    let mut health = engine.health();
    let no_room = |health: &Health| matches!(health, Health::Unavailable { why } if why.contains("no room"));
    health.wait_for(no_room).await.expect("the engine lives");
    rig.disk.free.store(0, Ordering::SeqCst);
    health.wait_for(|health| *health == Health::Ok).await.expect("the engine lives");
    append(&engine, 12..13).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_is_written_before_the_log_is_closed_and_head_says_clean() {
    let rig = Rig::new();
    let engine = rig.start().expect("a new log").engine;
    rig.disk.block(true);
    let appends: Vec<_> = (1..20).map(|number| engine.append(vec![frame(number)], None)).collect();
    let close = engine.close();
    rig.disk.block(false);
    for append in appends {
        append.await.expect("written");
    }
    close.await.expect("closed");
    assert!(engine.close().await.is_err(), "it is closed once");
    let head = HeadFile::open(&rig.path(), Arc::clone(&rig.disk) as _).expect("the lock is free");
    assert_eq!(head.current().state, StopState::Clean);
    assert_eq!(head.current().last.expect("a record").position, Position(19));
    assert_eq!(head.current().db, DataFile::of(&std::fs::metadata(rig.db()).expect("the database")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_may_wait_is_refused() {
    let rig = Rig::new();
    let engine = rig.start().expect("a new log").engine;
    rig.disk.block(true);
    let first = engine.append(vec![frame(1)], None);
    while rig.disk.waiting() == 0 {
        std::thread::yield_now();
    }
    let large = || (0..1_000).map(|_| vec![0; 1_000]).collect::<Vec<_>>();
    let appends: Vec<_> = (0..20).map(|_| engine.append(large(), None)).collect();
    rig.disk.block(false);
    assert_eq!(first.await, Ok(Position(1)));
    let mut refused = 0;
    for append in appends {
        match append.await {
            Ok(_) => assert_eq!(refused, 0, "whoever came first is served"),
            Err(error) => {
                assert_eq!(error, AppendError::NotWritten(NotWritten::QueueFull));
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 4, "16,384 records may wait");
}
