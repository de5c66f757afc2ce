//! A Discord that does everything wrong, in random order, while people come and go.
//!
//! Nobody is stuck when it is over, nothing goes on that nobody waits for, and Discord was never asked more than it
//! bears. In this process time flies: an hour takes less than a minute. With the program as a process it does not, and
//! its memory can be looked at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use doorbook::clock::{Clock, SystemClock};
use doorbook::discord::stand_in::requests::Route;
use doorbook::domain::id::DiscordId;

use super::ledger;
use super::seen::Seen;
use super::storm::{self, Done, FRESH, REFRESH};
use super::{Dice, Ticking, house_for_processes, pause, seconds};
use crate::guarded::{FETCHES, forward};
use crate::harness::{Browser, House, Process};

/// Lets people do what they do while it rages, some at each browser; returns how many answers they got.
async fn under_load(
    house: &House,
    dice: &mut Dice,
    browsers: Vec<(Vec<DiscordId>, Browser)>,
    rages: impl Future<Output = Done>,
) -> (Done, u64) {
    let is_over = Arc::new(AtomicBool::new(false));
    let load = browsers.into_iter().map(|(people, browser)| {
        storm::somebody(browser, house.discord(), people, Dice(dice.next()), is_over.clone())
    });
    let raging = async {
        let done = rages.await;
        is_over.store(true, Ordering::SeqCst);
        done
    };
    let (done, answers) = tokio::join!(raging, futures_util::future::join_all(load));
    (done, answers.into_iter().sum())
}

/// Asserts that everybody can do everything again, and that one refresh is enough for all who need it.
///
/// A fresh profile may be asked for again so often: where time is the machine's, three seconds may be too short for many at once.
async fn nobody_is_stuck(
    house: &House,
    people: Vec<(DiscordId, Browser)>,
    again: u32,
    a_while: impl AsyncFn(),
) {
    let mut browsers = Vec::new();
    for (id, mut browser) in people {
        // In a browser that has forgotten everything: nobody goes in circles there.
        browser.cookies.clear();
        let mut landed = storm::signs_in(&mut browser, house.discord(), id).await;
        // Discord may have refused so much that it is left alone until that is ten minutes ago.
        for _ in 0..600 {
            if landed.status == 503 && landed.header("retry-after").is_some() {
                a_while().await;
                landed = storm::signs_in(&mut browser, house.discord(), id).await;
            }
        }
        assert_eq!(landed.status, 200, "{id}: {landed}");
        browsers.push(browser);
    }
    a_while().await;
    house.discord().expire_tokens(None).await.expect("stores");
    house.discord().forget_requests();
    for browsers in browsers.chunks(24) {
        let asked = browsers.iter().flat_map(|browser| std::iter::repeat_n(browser, 5)).map(|browser| {
            let mut browser = browser.clone();
            async move { browser.fetch("GET", FRESH).await }
        });
        for fresh in futures_util::future::join_all(asked).await {
            assert_eq!(fresh.status, 200, "{fresh}");
            assert!(again > 0 || fresh.json()["stale"] == false, "{fresh}");
        }
        for browser in browsers {
            let mut browser = browser.clone();
            let mut fresh = browser.fetch("GET", FRESH).await;
            for _ in 0..again {
                if fresh.json()["stale"] == true {
                    a_while().await;
                    fresh = browser.fetch("GET", FRESH).await;
                }
            }
            assert_eq!((fresh.status, &fresh.json()["stale"]), (200, &false.into()), "{fresh}");
        }
    }
    assert_eq!(house.discord().count(Route::Refresh), browsers.len() as u64, "one for each, and no more");
    for browser in &mut browsers {
        let wiki = forward(browser, "GET", "http://localhost/wiki", FETCHES).await;
        assert_eq!(wiki.status, 200, "{wiki}");
    }
}

fn alive() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// Tells the story in this process, where time is moved.
async fn where_time_flies(size: u64, lasts: Duration) {
    let mut dice = Dice::thrown();
    let mut house = House::with(storm::plan()).await;
    let people = storm::people(house.discord(), size);
    let mut browsers = Vec::new();
    for id in &people {
        browsers.push((*id, house.signed_in(*id).await));
    }
    // An access token lives for an hour, and time goes on by hours.
    house.discord().change_switches(|switches| switches.expires_in = 3_600);
    let (tasks, began) = (alive(), house.clock.monotonic());
    let (clock, mut load_dice) = (house.clock.clone(), Dice(dice.next()));
    let step = |dice: &mut Dice| clock.advance(Duration::from_millis(dice.pick(&[50, 500, 2_000, 10_000])));
    let rages = storm::rages(&house, &mut dice, &people, lasts, 120, step);
    // Whoever waits when it is over waits for time to go on.
    let (still, passing) = (house.clock.clone(), Arc::new(AtomicBool::new(true)));
    let passes = tokio::spawn({
        let passing = passing.clone();
        async move {
            while passing.load(Ordering::SeqCst) {
                pause(Duration::from_millis(10)).await;
                still.advance(Duration::from_millis(200));
            }
        }
    });
    let load = browsers.iter().map(|(id, browser)| (vec![*id], browser.clone())).collect();
    let (done, answers) = under_load(&house, &mut load_dice, load, rages).await;
    passing.store(false, Ordering::SeqCst);
    passes.await.expect("time passed");
    let passed = house.clock.monotonic() - began;

    // Whatever Discord asked to be left alone for is over, and so is every back-off.
    for _ in 0..40 {
        house.clock.advance(Duration::from_secs(180));
        pause(Duration::from_millis(5)).await;
    }
    let quiet = SystemClock::new();
    while alive() > tasks + 16 {
        let waited = quiet.monotonic();
        assert!(waited < Duration::from_secs(60), "{} tasks, and there were {tasks}: {done:?}", alive());
        house.clock.advance(Duration::from_secs(60));
        pause(Duration::from_millis(50)).await;
    }
    let after = alive();
    nobody_is_stuck(&house, browsers.clone(), 0, async || house.clock.advance(Duration::from_secs(61))).await;
    for (id, mut browser) in browsers {
        let landed = storm::signs_in(&mut browser, house.discord(), id).await;
        assert_eq!(landed.status, 200, "{id}: {landed}");
        let refreshed = browser.fetch("POST", REFRESH).await;
        assert!(matches!(refreshed.status, 200 | 429), "{refreshed}");
    }
    house.stop().await;
    let ledger = ledger::of(&house.records());
    println!(
        "{answers} answers in {passed:?} of its time; {done:?}; {ledger:?}; {tasks} tasks before and {after} after"
    );
    // A short limit is waited out once, so a claim is one call, or two.
    assert!(done.refreshes <= 2 * ledger.claims, "{done:?} {ledger:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_in_random_order_leaves_nobody_stuck_and_nothing_behind() {
    where_time_flies(6, Duration::from_millis(1_200)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "goes on for ten minutes, which are many hours of its time: .ci/run runs it for less"]
async fn hours_of_every_fault_leave_nobody_stuck_and_nothing_behind() {
    where_time_flies(24, seconds(600)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "goes on for ten minutes: .ci/run runs it for less"]
async fn minutes_of_every_fault_leave_a_process_as_it_was() {
    let mut dice = Dice::thrown();
    let house = house_for_processes(storm::plan()).await;
    let _ticking = Ticking::of(&house.clock);
    let mut process = Process::serve(&house).await;
    let lasts = seconds(600);
    // One more at each browser for each minute: somebody in that hurry signs in every second, and may sixty times an hour.
    let people = storm::people(house.discord(), 24 * (1 + lasts.as_secs() / 60));
    let mut browsers = Vec::new();
    for id in &people {
        let mut browser = process.browser();
        let landed = storm::signs_in(&mut browser, house.discord(), *id).await;
        assert_eq!(landed.status, 200, "{id}: {landed}");
        browsers.push((*id, browser));
    }
    let at_each = people.len() / 24;
    let load =
        browsers.chunks(at_each).map(|these| (these.iter().map(|(id, _)| *id).collect(), these[0].1.clone()));
    let load = load.collect();
    let before = Seen::of(&process);
    let mut load_dice = Dice(dice.next());
    let rages = storm::rages(&house, &mut dice, &people, lasts, 3, |_| {});
    let (done, answers) = under_load(&house, &mut load_dice, load, rages).await;
    let after = Seen::of(&process);
    // What was held back is over soon: nobody was told to wait longer.
    pause(Duration::from_secs(12)).await;
    nobody_is_stuck(&house, browsers, 20, async || pause(Duration::from_secs(2)).await).await;
    // Connections to Discord are kept for half a minute.
    let quiet = SystemClock::new();
    while Seen::of(&process).descriptors > before.descriptors + 8 {
        assert!(quiet.monotonic() < Duration::from_secs(60), "before {before}, now {}", Seen::of(&process));
        pause(Duration::from_millis(100)).await;
    }
    let at_last = Seen::of(&process);
    let ended = process.terminate().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    let records = house.records();
    let ledger = ledger::of(&records);
    println!(
        "{answers} answers; {done:?}; {ledger:?}; {} records; before {before}; after {after}; at last {at_last}",
        records.len()
    );
    assert!(done.refreshes <= 2 * ledger.claims, "{done:?} {ledger:?}");
    after.has_grown_by_less_than(128, &before);
    assert!(at_last.threads <= before.threads + 8, "before {before}, at last {at_last}");
}
