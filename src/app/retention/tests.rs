//! What ends, and that a clock that is wrong ends nothing.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::app::rig::{server, settings};
use crate::clock::{Clock as _, ManualClock};
use crate::disk::RealDisk;
use crate::entropy::SeededEntropy;

/// 2026-01-02T03:04:05Z.
const START: Timestamp = Timestamp(1_767_323_045_000);
const JANUARY: Month = Month(202_601);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

async fn open(dir: &Path, clock: &ManualClock) -> Arc<App> {
    let settings = settings(&dir.join("data"), server());
    clock.advance(Duration::from_secs(1));
    let seed = format!("a start at {}, {:?}", clock.now(), clock.monotonic());
    let (clock, entropy) = (Arc::new(clock.clone()), Arc::new(SeededEntropy::new(&seed)));
    let opening = tokio::task::spawn_blocking(|| App::open(settings, clock, entropy, Arc::new(RealDisk)));
    opening.await.unwrap().unwrap().replay().await.unwrap().0
}

/// Appends something.
async fn use_it(app: &App) {
    app.execute(Command::StopServer { clean: true }, &By::SYSTEM).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_far_ahead_ends_no_month_for_a_day_however_often_the_server_is_started() {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(START);
    let app = open(dir.path(), &clock).await;
    for _ in 0..20 {
        use_it(&app).await;
    }
    app.close().await.unwrap();

    clock.step_to(START.plus(YEAR * 3));
    for start in 1..=3 {
        let app = open(dir.path(), &clock).await;
        assert_eq!(app.retention_due(YEAR), [JANUARY]);
        app.settle_what_is_gone(YEAR, None).await;
        assert!(app.keys().has_month(JANUARY), "at start {start}");
        app.close().await.unwrap();
    }
    // It was put right in time, and January goes when it should.
    clock.step_to(START.plus(YEAR));
    let app = open(dir.path(), &clock).await;
    let first = app.settle_what_is_gone(YEAR, None).await;
    clock.advance(A_DAY * 40);
    assert!(app.keys().has_month(JANUARY));
    app.settle_what_is_gone(YEAR, Some(first)).await;
    assert!(!app.keys().has_month(JANUARY));
    app.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_ahead_ends_no_month_until_it_has_stood_there_for_a_day() {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(START);
    let app = open(dir.path(), &clock).await;
    let mut look = app.settle_what_is_gone(YEAR, None).await;
    clock.step_to(START.plus(YEAR * 3));
    for days in [1, 2] {
        assert!(app.keys().has_month(JANUARY), "{days}");
        clock.advance(A_DAY);
        look = app.settle_what_is_gone(YEAR, Some(look)).await;
    }
    assert!(!app.keys().has_month(JANUARY), "nobody has put it back");
    app.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_started_before_or_has_stood_still_for_days_ends_months_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(START);
    for stop in [YEAR, A_DAY * 30, A_DAY * 6] {
        open(dir.path(), &clock).await.close().await.unwrap();
        clock.advance(stop);
    }
    let app = open(dir.path(), &clock).await;
    assert_eq!(app.retention_due(YEAR), [JANUARY]);
    app.settle_what_is_gone(YEAR, None).await;
    assert!(!app.keys().has_month(JANUARY));
    app.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_record_that_is_old_enough_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(START);
    let app = open(dir.path(), &clock).await;
    let mut written = vec![clock.now()];
    for n in 0..40 {
        // Sometimes several within a moment.
        clock.advance(Duration::from_secs(n % 3));
        use_it(&app).await;
        written.push(clock.now());
    }
    let last = clock.now();
    for second in 0..=last.since(START).as_secs() + 2 {
        let limit = START.plus(Duration::from_secs(second));
        let expected = written.iter().copied().filter(|at| *at <= limit).max();
        assert_eq!(app.newest_until(limit).await, expected, "{second}");
    }
    app.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_log_says_is_gone_goes_at_the_next_look_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(START);
    let app = open(dir.path(), &clock).await;
    let destroy = Command::DestroyMonths { months: vec![JANUARY] };
    app.execute(destroy, &By::SYSTEM).await.unwrap();
    assert!(app.keys().has_month(JANUARY), "as after a disk that failed");
    app.settle_what_is_gone(YEAR, None).await;
    assert!(!app.keys().has_month(JANUARY));
    app.close().await.unwrap();
}

#[test]
fn a_month_is_past_once_all_of_it_is_older_than_what_is_kept() {
    let months = || [202_510, 202_511, 202_512, 202_601].map(Month);
    let now = Timestamp(1_767_323_045_000); // 2026-01-02T03:04:05Z
    let past = |days: u64| past_months(months(), now, Duration::from_secs(days * 86_400));
    assert_eq!(past(1), [202_510, 202_511, 202_512].map(Month), "yesterday was January already");
    assert_eq!(past(2), [202_510, 202_511].map(Month), "the last days of December are kept, so all of it is");
    assert_eq!(past(32), [202_510, 202_511].map(Month));
    assert_eq!(past(33), [202_510].map(Month));
    assert_eq!(past(400), []);
}
