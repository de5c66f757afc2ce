//! A long life: people, strangers, and an operator, and at the end it takes no more than at the beginning.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use doorbook::clock::{Clock, SystemClock};
use doorbook::domain::id::DiscordId;

use super::seen::{Seen, bytes_below};
use super::storm::{self, FRESH, REFRESH, USER};
use super::wire::Wire;
use super::{Dice, Ticking, house_for_processes, pause, seconds};
use crate::guarded::{FETCHES, forward};
use crate::harness::{Browser, House, Process};

/// What is looked at again and again.
#[derive(Clone, Copy, Debug)]
struct Sample {
    seen: Seen,
    disk: u64,
    /// Milliseconds until a check was answered.
    check: u128,
}

/// Somebody who lives with it, at the pace of a person in a hurry.
async fn lives(
    house: &House,
    mut browser: Browser,
    id: DiscordId,
    mut dice: Dice,
    is_over: &AtomicBool,
    answers: &AtomicU64,
) {
    while !is_over.load(Ordering::SeqCst) {
        let answer = match dice.below(100) {
            0..50 => browser.fetch("GET", USER).await,
            50..85 => forward(&mut browser, "GET", "http://localhost/wiki", FETCHES).await,
            85..90 => browser.fetch("GET", FRESH).await,
            90..94 => browser.navigate("/account").await,
            94..96 => browser.fetch("POST", REFRESH).await,
            96 => browser.fetch("POST", "/api/auth/logout").await,
            _ => storm::signs_in(&mut browser, house.discord(), id).await,
        };
        match answer.status {
            200 | 204 | 302 | 303 | 401 | 429 => {}
            // Somebody in that hurry is told so.
            400 => assert_eq!(answer.code(), "sign_in_loop"),
            _ => panic!("{answer}"),
        }
        answers.fetch_add(1, Ordering::Relaxed);
        pause(Duration::from_millis(dice.below(40))).await;
    }
}

/// Strangers, all the time, at a walking pace.
async fn knock(process: &Process, is_over: &AtomicBool) {
    let mut n = 0_u64;
    while !is_over.load(Ordering::SeqCst) {
        let mut wire = Wire::to(process.address).await;
        for _ in 0..20 {
            n += 1;
            let headers = format!("X-Forwarded-For: 198.18.{}.{}\r\n", n / 250 % 250, n % 250);
            let told = wire.get("/api/auth/discord/redirect?code=c&state=s", &headers).await;
            assert!(matches!(told.status, 400 | 429), "{told:?}");
            let told = wire.get("/api/auth/discord/login", &headers).await;
            assert!(matches!(told.status, 302 | 429), "{told:?}");
        }
        pause(Duration::from_millis(100)).await;
    }
}

/// An operator who looks now and then.
async fn looks(house: &House, is_over: &AtomicBool) {
    while !is_over.load(Ordering::SeqCst) {
        for args in [["health"].as_slice(), &["sessions", "list"], &["audit", "log", "--since", "1m"]] {
            let ended = Process::spawn(house, args, &[]).ends().await;
            assert_eq!(ended.code, Some(0), "{args:?}: {}", ended.stderr);
        }
        pause(Duration::from_secs(5)).await;
    }
}

async fn samples(house: &House, process: &Process, mut person: Browser, lasts: Duration) -> Vec<Sample> {
    let (clock, mut all) = (SystemClock::new(), Vec::new());
    let every = lasts / 100;
    while clock.monotonic() < lasts {
        let asked = SystemClock::new();
        assert_eq!(person.fetch("GET", USER).await.status, 200);
        let check = asked.monotonic().as_millis();
        all.push(Sample { seen: Seen::of(process), disk: bytes_below(&house.data_dir()), check });
        pause(every).await;
    }
    all
}

/// The middle of what a measure was in a part of the samples.
fn middle<T: Ord + Copy>(samples: &[Sample], measure: impl Fn(&Sample) -> T) -> T {
    let mut all: Vec<T> = samples.iter().map(measure).collect();
    all.sort_unstable();
    all[all.len() / 2]
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "goes on for an hour, or as long as it is told to: .ci/run runs it for less"]
async fn a_long_life_leaves_memory_and_files_as_they_were() {
    let (mut dice, lasts) = (Dice::thrown(), seconds(3_600));
    let house = house_for_processes(storm::plan()).await;
    let _ticking = Ticking::of(&house.clock);
    let mut process = Process::serve(&house).await;
    let people = storm::people(house.discord(), 40);
    let (is_over, answers) = (Arc::new(AtomicBool::new(false)), AtomicU64::new(0));
    let mut load = Vec::new();
    for id in &people[1..] {
        let browser = process.signed_in(&house, *id).await;
        load.push(lives(&house, browser, *id, Dice(dice.next()), &is_over, &answers));
    }
    let person = process.signed_in(&house, people[0]).await;
    let sampling = async {
        let all = samples(&house, &process, person, lasts).await;
        is_over.store(true, Ordering::SeqCst);
        all
    };
    let (all, _, (), ()) = tokio::join!(
        sampling,
        futures_util::future::join_all(load),
        knock(&process, &is_over),
        looks(&house, &is_over)
    );
    let ended = process.terminate().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let records = house.records().len() as u64;
    let (early, late) = (&all[all.len() / 4..all.len() / 2], &all[all.len() * 3 / 4..]);
    let (first, last) = (all[0], all[all.len() - 1]);
    println!(
        "{} answers, {records} records in {lasts:?}; at first {}, {} bytes on disk; at last {}, {} bytes on disk; a check \
         took {} ms in the middle and {} ms at most",
        answers.load(Ordering::Relaxed),
        first.seen,
        first.disk,
        last.seen,
        last.disk,
        middle(&all, |sample| sample.check),
        all.iter().map(|sample| sample.check).max().unwrap_or(0),
    );
    // Each record takes room once, in memory as what it says and on disk as what it is.
    let (was, is) = (middle(early, |sample| sample.seen.memory), middle(late, |sample| sample.seen.memory));
    assert!(is < was + 32 * 1_024 + records / 2, "{was} KiB in the second quarter, {is} KiB in the last");
    let (was, is) =
        (middle(early, |sample| sample.seen.descriptors), middle(late, |sample| sample.seen.descriptors));
    assert!(is <= was + 32, "{was} descriptors in the second quarter, {is} in the last");
    let (was, is) = (middle(early, |sample| sample.seen.threads), middle(late, |sample| sample.seen.threads));
    assert!(is <= was + 8, "{was} threads in the second quarter, {is} in the last");
    assert!(
        last.disk < first.disk + (64 << 20) + records * 8_192,
        "{} bytes, then {}",
        first.disk,
        last.disk
    );
    assert!(ended.stderr.lines().count() < 500, "{}", ended.stderr);
}
