//! What waits for Discord: so much at once, and the next use asks again. Nobody waits for it longer than was said.

use std::time::Duration;

use doorbook::clock::Clock as _;
use doorbook::discord::stand_in::faults::{Fault, FaultKind};
use doorbook::discord::stand_in::requests::Route;

use super::storm::{self, USER};
use crate::harness::{Browser, House};

const RECHECK: &str = "/auth/recheck?rd=%2Fwiki";

/// A house with so many people in it, of whom everything known is old by now.
async fn house_of(size: u64) -> (House, Vec<Browser>) {
    let house = House::with(storm::plan()).await;
    let mut browsers = Vec::new();
    for id in storm::people(house.discord(), size) {
        browsers.push(house.signed_in(id).await);
    }
    house.clock.advance(Duration::from_secs(61));
    house.discord().forget_requests();
    (house, browsers)
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_profiles_are_fetched_at_a_time_and_the_next_use_asks_for_the_others() {
    let (house, mut browsers) = house_of(12).await;
    house.discord().add_fault(Fault::new(Route::Me, FaultKind::Hold));
    for _ in 0..2 {
        for browser in &mut browsers {
            assert_eq!(browser.fetch("GET", USER).await.status, 200, "nobody waits");
        }
    }
    house.discord().wait_until_held(8).await;
    assert_eq!(house.discord().count(Route::Me), 8);
    house.discord().clear_faults();
    house.discord().release();
    // Where one has been fetched there is room for the next.
    let mut rounds = 0;
    while house.discord().count(Route::Me) < 12 {
        for browser in &mut browsers {
            assert_eq!(browser.fetch("GET", USER).await.status, 200);
        }
        rounds += 1;
        assert!(rounds < 1_000, "{} were asked for", house.discord().count(Route::Me));
    }
    assert_eq!(house.discord().count(Route::Me), 12, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_checks_that_people_wait_for_are_made_at_a_time_and_nobody_waits_longer_than_was_said() {
    let (house, browsers) = house_of(20).await;
    house.discord().add_fault(Fault::new(Route::Member, FaultKind::Hold));
    let waiting = browsers.into_iter().map(|mut browser| async move { browser.navigate(RECHECK).await });
    let waiting = tokio::spawn(futures_util::future::join_all(waiting));
    house.discord().wait_until_held(16).await;
    assert_eq!(house.discord().count(Route::Member), 16);
    assert!(!waiting.is_finished());
    let began = house.clock.monotonic();
    let told = house.as_time_passes(Duration::from_millis(200), waiting).await.expect("no panic");
    assert!(told.iter().all(|told| matches!(told.status, 302 | 303 | 503)), "{:?}", told[0]);
    let waited = house.clock.monotonic() - began;
    assert!(waited < Duration::from_secs(10), "{waited:?}, as long as Discord is given to answer");
    house.discord().clear_faults();
    house.discord().release();
}
