//! The promises of every engine, run against each of them.

use std::sync::Arc;

use super::EventLog;
use super::codec::MAX_FRAME;
use super::engine::{AppendError, Engine, FollowError, HeadError, Health, NotWritten};
use super::memory_engine::MemoryEngine;
use super::rig::{Rig, append, created, frame, read_all, read_to};
use crate::domain::id::{LogId, Position};

/// A fresh log with `log.created` at 0, and whatever must outlive it.
type Fresh = (Arc<dyn Engine>, Option<Rig>);

fn memory() -> Fresh {
    (MemoryEngine::with(vec![created(LogId([0; 16]))]), None)
}

fn sled() -> Fresh {
    let rig = Rig::new();
    (rig.start().expect("a new log").engine, Some(rig))
}

macro_rules! every_engine {
    ($($name:ident)*) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(super::memory()).await })*
        }
        mod sled {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(super::sled()).await })*
        }
    };
}

every_engine! {
    records_get_the_next_positions_in_order
    a_wrong_expectation_writes_nothing
    what_no_engine_takes_is_refused
    a_follower_gets_everything_from_anywhere
    a_follower_that_waits_gets_what_comes
    a_follower_behind_by_many_chunks_catches_up_and_stays_live
    concurrent_appends_each_get_a_place_of_their_own
    an_append_whose_caller_went_away_stands
    a_closed_log_takes_and_gives_nothing_more
    a_follower_that_reads_nothing_holds_no_append_up
    the_log_is_the_engine_behind_it
}

async fn records_get_the_next_positions_in_order((engine, _rig): Fresh) {
    assert_eq!(engine.head().await, Ok(Some(Position(0))));
    append(&*engine, 1..5).await;
    let several = vec![frame(5), frame(6), frame(7)];
    assert_eq!(engine.append(several, None).await, Ok(Position(5)));
    assert_eq!(engine.head().await, Ok(Some(Position(7))));
    let read = read_to(&mut engine.follow(Position(1)), 7).await;
    assert_eq!(read, (1..8).map(|number| (number, frame(number))).collect::<Vec<_>>());
}

async fn a_wrong_expectation_writes_nothing((engine, _rig): Fresh) {
    for expected in [Position(0), Position(2)] {
        let actual = Position(1);
        let conflict = AppendError::NotWritten(NotWritten::Conflict { expected, actual });
        assert_eq!(engine.append(vec![frame(1)], Some(expected)).await, Err(conflict));
    }
    assert_eq!(engine.head().await, Ok(Some(Position(0))));
    append(&*engine, 1..2).await;
}

async fn what_no_engine_takes_is_refused((engine, _rig): Fresh) {
    let refused = |why| Err(AppendError::NotWritten(why));
    assert_eq!(engine.append(Vec::new(), None).await, refused(NotWritten::Empty));
    let bytes = MAX_FRAME + 1;
    let long = vec![frame(1), vec![0; bytes]];
    assert_eq!(engine.append(long, None).await, refused(NotWritten::TooLarge { bytes }));
    assert_eq!(engine.append(vec![vec![0; MAX_FRAME]], None).await, Ok(Position(1)));
}

async fn a_follower_gets_everything_from_anywhere((engine, _rig): Fresh) {
    append(&*engine, 1..20).await;
    for from in 0..20 {
        let read = read_to(&mut engine.follow(Position(from)), 19).await;
        assert_eq!(read.iter().map(|(at, _)| *at).collect::<Vec<_>>(), (from..20).collect::<Vec<_>>());
    }
}

async fn a_follower_that_waits_gets_what_comes((engine, _rig): Fresh) {
    let mut live = engine.follow(Position(1));
    let mut early = engine.follow(Position(3));
    let reader = tokio::spawn(async move { (read_to(&mut live, 4).await, read_to(&mut early, 4).await) });
    append(&*engine, 1..5).await;
    let (live, early) = reader.await.expect("read");
    assert_eq!(live, (1..5).map(|number| (number, frame(number))).collect::<Vec<_>>());
    assert_eq!(early, (3..5).map(|number| (number, frame(number))).collect::<Vec<_>>());
}

async fn a_follower_behind_by_many_chunks_catches_up_and_stays_live((engine, _rig): Fresh) {
    // More than memory holds, in groups that do not fall on the boundaries of chunks.
    let mut next = 1;
    while next < 9_000 {
        let group: Vec<_> = (next..next + 777).map(frame).collect();
        assert_eq!(engine.append(group, Some(Position(next))).await, Ok(Position(next)));
        next += 777;
    }
    let mut follow = engine.follow(Position(0));
    let read = read_to(&mut follow, next - 1).await;
    assert_eq!(read.iter().map(|(at, _)| *at).collect::<Vec<_>>(), (0..next).collect::<Vec<_>>());
    assert!(read.iter().skip(1).all(|(at, bytes)| *bytes == frame(*at)));
    append(&*engine, next..next + 3).await;
    assert_eq!(read_to(&mut follow, next + 2).await.len(), 3);
}

async fn concurrent_appends_each_get_a_place_of_their_own((engine, _rig): Fresh) {
    let appends = (0..64).map(|number| {
        let engine = Arc::clone(&engine);
        tokio::spawn(
            async move { (number, engine.append(vec![frame(number)], None).await.expect("written")) },
        )
    });
    let mut places = Vec::new();
    for append in appends.collect::<Vec<_>>() {
        places.push(append.await.expect("appended"));
    }
    let read = read_to(&mut engine.follow(Position(1)), 64).await;
    for (number, position) in &places {
        let (_, bytes) = read.iter().find(|(at, _)| *at == position.0).expect("it stands there");
        assert_eq!(*bytes, frame(*number));
    }
    places.sort_by_key(|(_, position)| *position);
    places.dedup_by_key(|(_, position)| *position);
    assert_eq!(places.len(), 64);
}

async fn an_append_whose_caller_went_away_stands((engine, _rig): Fresh) {
    drop(engine.append(vec![frame(1)], None));
    assert_eq!(read_to(&mut engine.follow(Position(1)), 1).await, [(1, frame(1))]);
}

async fn a_closed_log_takes_and_gives_nothing_more((engine, _rig): Fresh) {
    append(&*engine, 1..4).await;
    let mut waiting = engine.follow(Position(4));
    let waiting = tokio::spawn(async move { waiting.next().await });
    let health = engine.health();
    engine.close().await.expect("closed");
    assert_eq!(waiting.await.expect("ended"), Err(FollowError::Closed));
    let late = engine.append(vec![frame(4)], None).await;
    assert_eq!(late, Err(AppendError::NotWritten(NotWritten::Closed)));
    assert_eq!(engine.head().await, Err(HeadError::Closed));
    assert_eq!(*health.borrow(), Health::Ok);
    let follow = engine.follow(Position(4));
    let ended = tokio::task::spawn_blocking(move || read_all(follow)).await.expect("read");
    assert_eq!(ended, (0, FollowError::Closed));
}

async fn a_follower_that_reads_nothing_holds_no_append_up((engine, _rig): Fresh) {
    let mut at_the_head = engine.follow(Position(1));
    let mut behind = engine.follow(Position(0));
    behind.next().await.expect("the first record");
    for group in 0..30 {
        let first = 1 + group * 400;
        let frames = (first..first + 400).map(frame).collect();
        assert_eq!(engine.append(frames, None).await, Ok(Position(first)));
    }
    for follow in [&mut at_the_head, &mut behind] {
        assert_eq!(read_to(follow, 12_000).await.len(), 12_000);
    }
}

async fn the_log_is_the_engine_behind_it((engine, _rig): Fresh) {
    let log = EventLog::new(engine);
    assert_eq!(log.append(vec![frame(1)], Some(Position(1))).await, Ok(Position(1)));
    assert_eq!(log.head().await, Ok(Some(Position(1))));
    assert_eq!(read_to(&mut log.follow(Position(1)), 1).await, [(1, frame(1))]);
    assert_eq!(*log.health().borrow(), Health::Ok);
    log.close().await.expect("closed");
    assert_eq!(log.head().await, Err(HeadError::Closed));
}
