//! Strangers at full speed: logins that lead nowhere, callbacks and cookies that are made up.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use doorbook::clock::{Clock, SystemClock};
use doorbook::domain::event::Event;

use super::seconds;
use super::seen::{Seen, bytes_below};
use super::wire::{Told, Wire};
use crate::harness::{House, MARISOL, Process};

const LOGIN: &str = "/api/auth/discord/login";
const CALLBACK: &str = "/api/auth/discord/redirect?code=made-up&state=made-up";
const USER: &str = "/api/auth/user";

/// Where strangers come from: all from one place, or each time from another.
const ONE: Range<u64> = 0..1;
const MANY: Range<u64> = 1..100_001;

/// Cookies that look like ours, and are not.
const COOKIES: &str = "Cookie: doorbook=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA; \
    doorbook=x; doorbook-app=AAAA.AAAA; doorbook-login-0123456789abcdef=made-up; doorbook-ask=1\r\n";

/// What came back, by status.
#[derive(Default)]
struct Tally(BTreeMap<u16, u64>);

impl Tally {
    fn add(&mut self, told: &Told) {
        *self.0.entry(told.status).or_default() += 1;
        // Whoever is to come later is told when.
        assert_eq!(told.status == 429, told.retry_after.is_some_and(|wait| wait >= 1), "{told:?}");
    }

    fn of(&self, status: u16) -> u64 {
        self.0.get(&status).copied().unwrap_or(0)
    }
}

/// Asks for all of it, from one address after the other, until there is enough.
async fn stranger(address: SocketAddr, number: u64, from: Range<u64>, enough: impl Fn(u64) -> bool) -> Tally {
    let (mut wire, mut tally) = (Wire::to(address).await, Tally::default());
    for n in 0.. {
        if enough(n) {
            break;
        }
        let from = from.start + (number + n) % (from.end - from.start);
        let headers =
            format!("X-Forwarded-For: 198.{}.{}.{}\r\n", 18 + from / 62_500, from / 250 % 250, from % 250);
        let told = match n % 3 {
            0 => wire.get(LOGIN, &headers).await,
            1 => wire.get(CALLBACK, &headers).await,
            _ => wire.get(USER, &format!("{headers}{COOKIES}")).await,
        };
        assert!(matches!(told.status, 302 | 400 | 401 | 429), "{told:?}");
        tally.add(&told);
    }
    tally
}

/// Lets strangers ask from these addresses; returns what they were told.
async fn flood(
    process: &Process,
    strangers: u64,
    from: Range<u64>,
    enough: impl Fn(u64) -> bool + Copy,
) -> Tally {
    let all = (0..strangers).map(|n| stranger(process.address, n * 7, from.clone(), enough));
    let mut sum = Tally::default();
    for tally in futures_util::future::join_all(all).await {
        for (status, count) in tally.0 {
            *sum.0.entry(status).or_default() += count;
        }
    }
    sum
}

/// What strangers have left in the log: failures one by one, and those that were only counted.
fn left_behind(house: &House) -> (u64, u64) {
    let (mut single, mut counted) = (0, 0);
    for (_, event) in house.events() {
        match event {
            Event::SignInFailed { .. } => single += 1,
            Event::SignInRolledUp { counts, .. } => {
                counted += counts.iter().map(|(_, count)| *count).sum::<u64>()
            }
            _ => {}
        }
    }
    (single, counted)
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_at_full_speed_fill_neither_log_nor_traces_and_disturb_nobody() {
    let house = House::for_processes().await;
    let mut process = Process::serve(&house).await;
    let mut person = process.signed_in(&house, MARISOL).await;
    let before = Seen::of(&process);
    // All from one address, and then from so many that each has enough of its own.
    let one = flood(&process, 4, ONE, |n| n >= 300).await;
    assert!(one.of(302) + one.of(400) <= 300 + 60, "{:?}", one.0);
    assert!(one.of(429) >= 400, "{:?}", one.0);
    assert_eq!(one.of(401), 400, "who asks who they are is told: {:?}", one.0);
    let many = flood(&process, 4, MANY, |n| n >= 300).await;
    assert_eq!(many.of(429), 0, "{:?}", many.0);
    assert_eq!(person.fetch("GET", USER).await.status, 200);
    process.signed_in(&house, MARISOL).await;
    Seen::of(&process).has_grown_by_less_than(32, &before);
    let ended = process.terminate().await;
    assert!(ended.stderr.lines().count() < 50, "{}", ended.stderr);
    let (single, counted) = left_behind(&house);
    assert!(single <= 200, "{single}");
    assert_eq!(single + counted, one.of(400) + many.of(400), "nothing is lost of what is counted");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "goes on for two minutes: .ci/run runs it for less"]
async fn minutes_of_strangers_at_full_speed_leave_nothing_but_counts() {
    let house = House::for_processes().await;
    let mut process = Process::serve(&house).await;
    let mut person = process.signed_in(&house, MARISOL).await;
    let (before, disk) = (Seen::of(&process), bytes_below(&house.data_dir()));
    let (is_over, checks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let checking = tokio::spawn({
        let (is_over, checks) = (is_over.clone(), checks.clone());
        async move {
            while !is_over.load(Ordering::SeqCst) {
                assert_eq!(person.fetch("GET", USER).await.status, 200);
                checks.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    let (clock, lasts) = (SystemClock::new(), seconds(120));
    let enough = |_: u64| clock.monotonic() > lasts / 2;
    let one = flood(&process, 16, ONE, enough).await;
    let enough = |_: u64| clock.monotonic() > lasts;
    let many = flood(&process, 48, MANY, enough).await;
    is_over.store(true, Ordering::SeqCst);
    checking.await.expect("the person was answered");
    let after = Seen::of(&process);
    let grown = bytes_below(&house.data_dir()).saturating_sub(disk);
    let ended = process.terminate().await;
    let (single, counted) = left_behind(&house);
    println!(
        "one address: {:?}; 100,000 addresses: {:?}; {} checks; before {before}; after {after}; \
         {single} failures written, {counted} counted, {grown} bytes more on disk, {} lines of traces",
        one.0,
        many.0,
        checks.load(Ordering::SeqCst),
        ended.stderr.lines().count()
    );
    assert!(one.of(429) > one.of(302) + one.of(400), "{:?}", one.0);
    // An hour may end in the middle of it.
    assert!(single <= 400, "{single}");
    assert_eq!(single + counted, one.of(400) + many.of(400));
    assert!(grown < 24 << 20, "{grown} bytes");
    assert!(ended.stderr.lines().count() < 200, "{}", ended.stderr);
    after.has_grown_by_less_than(96, &before);
}
