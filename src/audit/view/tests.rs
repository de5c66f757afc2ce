//! A moment of the past is the same with stored states and the index as by folding from the first record.

use std::time::Duration;

use super::*;
use crate::audit::town::{BEGINNING, Town};
use crate::clock::Clock as _;
use crate::disk::RealDisk;

fn with_states(town: &Town) -> Reader {
    let states = StatesDir::new(town.data_dir().join("states"), Arc::new(RealDisk));
    town.reader().with_states(states, town.app.keys().log_id())
}

async fn settled(reader: &Reader, head: Position) {
    loop {
        let found = reader.source().find(Lookup::Times).await.unwrap();
        if found.and_then(|found| found.up_to).is_some_and(|(position, _)| position >= head) {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_moment_is_the_same_with_and_without_what_saves_the_reading() {
    let mut town = Town::founded().await;
    for records in [150, 330, 600] {
        town.live_until(records).await;
        town.restart().await;
    }
    town.live_until(700).await;
    town.app.log().keep_index().unwrap();
    let (plain, quick) = (town.reader(), with_states(&town));
    let head = quick.head().await.unwrap().unwrap();
    settled(&quick, head).await;
    assert!(quick.stored_before(head).await.unwrap().is_some(), "a state is there, and counts");
    assert!(quick.is_time_ordered().await.unwrap());

    let (mut time, mut times) = (Timeline::default(), Vec::new());
    plain
        .each(Position(0), head, |_, record| {
            time.advance(record);
            times.push(time.eff());
        })
        .await
        .unwrap();
    let now = town.clock.now();
    for (at, eff) in (0..).zip(&times).step_by(7) {
        for moment in [Timestamp(eff.0 - 1), *eff, Timestamp(eff.0 + 1)] {
            let expected = times.iter().rposition(|eff| *eff <= moment).map(|last| Position(last as u64));
            assert_eq!(quick.position(When::At(moment)).await.unwrap(), expected, "{moment}");
        }
        if at % 49 == 0 {
            let when = When::After(Position(at));
            let (one, other) = (plain.view(when, now).await.unwrap(), quick.view(when, now).await.unwrap());
            let (one, other) = (one.unwrap(), other.unwrap());
            assert!(one.state == other.state && one.now == other.now, "{at}");
            assert_eq!(one.signed_in(plain.opener()), other.signed_in(quick.opener()), "{at}");
        }
    }
    assert_eq!(
        quick.position(When::At(Timestamp(BEGINNING.0 - 1))).await.unwrap(),
        None,
        "before the beginning"
    );
    assert!(quick.view(When::At(Timestamp(0)), now).await.unwrap().is_none());
    town.app.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_clock_was_set_back_the_newest_stretch_with_that_time_is_meant() {
    let mut town = Town::founded().await;
    town.live_until(40).await;
    let wrong = town.clock.now();
    town.clock.step_to(BEGINNING.plus(Duration::from_secs(3_600)));
    // A start notices that the log is ahead of the clock.
    town.restart().await;
    town.live_until(80).await;
    town.app.log().keep_index().unwrap();
    let reader = with_states(&town);
    let head = reader.head().await.unwrap().unwrap();
    settled(&reader, head).await;
    assert!(!reader.is_time_ordered().await.unwrap());
    let soon = BEGINNING.plus(Duration::from_secs(3_700));
    let found = reader.position(When::At(soon)).await.unwrap().unwrap();
    assert!(found > Position(40), "{found} stands in the second stretch");
    assert!(town.clock.now() > soon && wrong > soon);
    town.app.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_state_that_was_edited_is_not_believed() {
    let mut town = Town::founded().await;
    town.live_until(100).await;
    town.restart().await;
    let reader = with_states(&town);
    let head = reader.head().await.unwrap().unwrap();
    assert!(reader.stored_before(head).await.unwrap().is_some());
    for entry in std::fs::read_dir(town.data_dir().join("states")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).unwrap();
    }
    assert!(reader.stored_before(head).await.unwrap().is_none());
    let now = town.clock.now();
    let (one, other) =
        (town.reader().view(When::Now, now).await.unwrap(), reader.view(When::Now, now).await.unwrap());
    assert!(one.unwrap().state == other.unwrap().state);
    town.app.close().await.unwrap();
}
