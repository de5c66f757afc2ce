//! An index that is not of these records, or not all there, changes no answer and is made again.

use super::*;
use crate::event_log::EventLog;
use crate::event_log::rig::{Rig, append};
use crate::event_log::start::Started;

fn session(number: u64) -> Lookup {
    let mut id = [1; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    Lookup::Session(SessionId(id))
}

fn places(index: &Index, lookup: Lookup) -> Option<Vec<u64>> {
    let found = index.find(lookup)?;
    Some(found.records.into_iter().map(|(position, _)| position.0).collect())
}

/// Waits until the index knows the record at `last`.
fn settled(index: &Index, last: u64) {
    while index.find(Lookup::Times).and_then(|found| found.up_to).is_none_or(|(to, _)| to.0 < last) {
        std::thread::yield_now();
    }
}

fn opened(started: &Started) -> (EventLog, Index) {
    let log = EventLog::new(Arc::clone(&started.engine));
    let index = log.index().expect("an index");
    (log, index)
}

/// A log whose index knows all of it.
async fn indexed(records: u64) -> (Rig, EventLog, Index) {
    let rig = Rig::new();
    let started = rig.start().expect("a new log");
    append(&*started.engine, 1..records).await;
    let (log, index) = opened(&started);
    log.keep_index().expect("a thread");
    settled(&index, records - 1);
    (rig, log, index)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_of_another_log_or_of_what_is_gone_answers_nobody_and_is_made_again() {
    let at = |position| Mark { position: Position(position), eff: Timestamp(0), leaf: Hash([5; 32]) };
    // Of as long a log, of a longer one, and of the first record alone.
    for forged in [at(29), at(1_000), at(0)] {
        let rig = Rig::filled(30, true).await;
        let started = rig.start().expect("a start");
        let (log, index) = opened(&started);
        let wrong =
            [(key(session(7), Position(3)), Timestamp(0)), (key(Lookup::Times, Position(9)), Timestamp(0))];
        assert_eq!(index.store.add(&wrong, None, forged), Ok(Added::Yes));
        assert_eq!(index.find(session(7)), None, "{forged:?}");
        log.keep_index().expect("a thread");
        settled(&index, 29);
        assert_eq!(places(&index, session(7)), Some(vec![7]));
        assert_eq!(places(&index, Lookup::Times), Some(vec![0]));
        log.close().await.expect("closed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_clean_stop_the_index_goes_on_and_after_any_other_it_is_made_again() {
    for clean in [true, false] {
        let (rig, log, _) = indexed(40).await;
        log.close().await.expect("closed");
        let started = rig.start().expect("a start");
        append(&*started.engine, 40..41).await;
        if clean {
            started.engine.close().await.expect("closed");
        }
        drop(started);
        let started = rig.start().expect("a start");
        assert_eq!(started.clean, clean);
        let (log, index) = opened(&started);
        assert_eq!(places(&index, session(9)), clean.then(|| vec![9]));
        log.keep_index().expect("a thread");
        settled(&index, 40);
        assert_eq!(places(&index, session(9)), Some(vec![9]));
        log.close().await.expect("closed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_end_of_the_index_is_lost_while_it_is_kept_it_has_no_gap() {
    let (_rig, log, index) = indexed(40).await;
    // As when the log was opened again and the last entries had not come to the disk.
    let known = index.mark().expect("a mark");
    assert_eq!(index.store.clear(), Ok(()));
    let before =
        Mark { position: Position(0), leaf: leaf_hash(&index.store.record(Position(0)).unwrap()), ..known };
    assert_eq!(index.store.add(&[], None, before), Ok(Added::Yes));
    append(&*log.engine, 40..45).await;
    settled(&index, 44);
    for number in 1..45 {
        assert_eq!(places(&index, session(number)), Some(vec![number]));
    }
    log.close().await.expect("closed");
}
