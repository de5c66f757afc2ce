//! Starts with and without a stored state, which must not make a difference.

use std::fs;

use futures_util::future::{join_all, poll_immediate};

use super::*;
use crate::app::By;
use crate::app::rig::{House, sign_in};
use crate::domain::command::{Command, Which};
use crate::domain::event::{Cause, FailureCode, Stage};
use crate::domain::id::DiscordId;
use crate::domain::state::State;
use crate::event_log::MemoryEngine;

impl House {
    fn states(&self) -> std::path::PathBuf {
        self.dir.path().join("data/states")
    }

    fn state(&self, size: u64) -> std::path::PathBuf {
        self.states().join(format!("{size:020}.state"))
    }
}

/// Folds the first records of the log, from the very first one on.
async fn folded(log: &EventLog, records: u64) -> Folded {
    let (mut state, mut frontier) = (State::default(), Frontier::new());
    let mut follow = log.follow(Position(0));
    while frontier.size() < records {
        for (position, frame) in follow.next().await.unwrap() {
            if position.0 < records {
                state.apply(position, &codec::decode_record(&frame).unwrap());
                frontier.push(codec::leaf_hash(&frame));
            }
        }
    }
    Folded { state, frontier }
}

#[track_caller]
fn assert_is(app: &App, whole: &Folded) {
    assert_eq!(app.frontier(), whole.frontier);
    assert!(*app.state() == whole.state, "{:#?}\nis not\n{:#?}", app.state(), whole.state);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_goes_on_from_a_stored_state() {
    let house = House::new();
    let (app, replayed) = house.open().await;
    assert_eq!((replayed.stored, replayed.records), (0, 2), "log.created and server.started");
    for (who, session) in [(1, 11), (2, 21), (1, 12)] {
        sign_in(&app, who, session).await;
    }
    sign_in(&app, 3, 31).await;
    let second = app.keys().ensure_subject(DiscordId(80_351_110_224_678_914)).await.unwrap();
    app.end_sessions(second, Which::All, Cause::Logout, None, &By::SYSTEM).await.unwrap();
    // At its end a server writes that it stops, stores the state, and signs for both.
    let size = app.frontier().size() + 1;
    app.close().await.unwrap();

    let (app, replayed) = house.open().await;
    let records = app.frontier().size();
    assert_eq!((replayed.stored, replayed.records, replayed.sessions), (size, 2, 3));
    assert_eq!(records, size + 2, "the checkpoint and the start");
    let beginning = app.progress().borrow().begun_at.unwrap();
    assert_eq!(beginning.records, size);
    let known = app.last_stored.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(known, size, "what is there is not made again");
    assert_is(&app, &folded(app.log(), records).await);
    // It lives on as if it had been replayed, and the next state follows from this one.
    sign_in(&app, 2, 22).await;
    assert_is(&app, &folded(app.log(), records + 1).await);
    assert_eq!(check(app.log(), beginning, &CancellationToken::new()).await, Ok(true));
    let size = app.frontier().size() + 1;
    app.close().await.unwrap();

    let (app, replayed) = house.open().await;
    assert_eq!(replayed.stored, size);
    assert_is(&app, &folded(app.log(), app.frontier().size()).await);
    assert!(app.profile_of(second).is_some(), "boxes are opened as before");
    app.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_replays_everything_where_no_state_counts() {
    let house = House::new();
    let (app, _) = house.open().await;
    sign_in(&app, 1, 11).await;
    // Nobody has vouched for this one, and what the end of the server stored is damaged.
    let size = app.store_state().await.unwrap().0;
    let unvouched = fs::read(house.state(size)).unwrap();
    app.close().await.unwrap();
    for entry in fs::read_dir(house.states()).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    fs::write(house.state(size), unvouched).unwrap();
    let states = house.states();
    fs::write(states.join("00000000000000009999.state"), b"of a log that never was").unwrap();
    let (app, replayed) = house.open().await;
    assert_eq!((replayed.stored, replayed.records), (0, app.frontier().size()));
    assert_is(&app, &folded(app.log(), replayed.records).await);
    assert_eq!(app.progress().borrow().begun_at, None);
    assert!(!states.join("00000000000000009999.state").exists());
    app.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_is_stored_with_the_tree_of_the_same_records_while_others_are_applied() {
    let house = House::new();
    let (app, _) = house.open().await;
    let visitors: Vec<_> = (1..=40)
        .map(|n| {
            let app = app.clone();
            tokio::spawn(async move { sign_in(&app, n, n).await })
        })
        .collect();
    for _ in 0..10 {
        let (size, hash) = app.store_state().await.unwrap();
        let stored = app.states().read(size).unwrap();
        assert_eq!(stored.hash, hash);
        let whole = folded(app.log(), size).await;
        assert!((stored.state, stored.frontier) == (whole.state, whole.frontier));
    }
    for visitor in visitors {
        visitor.await.unwrap();
    }
    assert_eq!(app.frontier().size(), 42);
    app.close().await.unwrap();
}

#[tokio::test]
async fn records_that_were_not_read_at_the_start_are_checked_later() {
    let frames = |changed: Option<usize>| -> Vec<Vec<u8>> {
        let frame =
            |n: usize| format!("record {n}{}", if changed == Some(n) { "!" } else { "" }).into_bytes();
        (0..600).map(frame).collect()
    };
    let mut frontier = Frontier::new();
    frames(None)[..300].iter().for_each(|frame| frontier.push(codec::leaf_hash(frame)));
    let beginning = Beginning { records: 300, root: frontier.root() };
    let checked = async |changed| {
        let log = EventLog::new(MemoryEngine::with(frames(changed)));
        check(&log, beginning, &CancellationToken::new()).await
    };
    assert_eq!(checked(None).await, Ok(true));
    assert_eq!(checked(Some(300)).await, Ok(true), "what came after it was read at the start");
    for bad in [0, 150, 299] {
        let found = checked(Some(bad)).await;
        assert!(
            matches!(found, Err(BadBeginning::OtherRoot { records: 300, .. })),
            "record {bad}: {found:?}"
        );
    }
    // While the log has not so many records there is nothing to compare, and it stops when it should.
    let short = EventLog::new(MemoryEngine::with(frames(None)[..200].to_vec()));
    let stopping = CancellationToken::new();
    let (checking, ()) = tokio::join!(check(&short, beginning, &stopping), async { stopping.cancel() });
    assert_eq!(checking, Ok(false));
    let stopping = CancellationToken::new();
    let (checking, closed) = tokio::join!(check(&short, beginning, &stopping), short.close());
    assert_eq!((checking, closed), (Ok(false), Ok(())));
}

#[tokio::test]
async fn of_those_who_wait_for_a_signature_one_signs() {
    let house = House::new();
    let (app, _) = house.open().await;
    let fail = || {
        let command = Command::FailSignIn { stage: Stage::Callback, code: FailureCode::StateMismatch };
        Box::pin(app.execute(command, &By::SYSTEM))
    };
    // As many as may be unsigned, and nobody who signs in the background.
    let room = 1_024 - app.frontier().size();
    let executed = join_all((0..room).map(|_| fail())).await;
    assert!(executed.iter().all(Result::is_ok), "{executed:?}");
    let before = app.frontier().size();

    let signing = app.signing.lock().await;
    let (mut first, mut second) = (fail(), fail());
    assert!(poll_immediate(&mut first).await.is_none() && poll_immediate(&mut second).await.is_none());
    drop(signing);
    first.await.unwrap();
    second.await.unwrap();
    assert_eq!(app.frontier().size() - before, 3, "a signature and two records");
    app.close().await.unwrap();
}
