//! When Discord is slow, down, or asks us to wait.

use std::time::Duration;

use doorbook::discord::stand_in::faults::{Fault, FaultKind, LimitScope, RateLimited};
use doorbook::discord::stand_in::requests::Route;

use crate::harness::{Browser, House, MARISOL, QUIETFOX};

const FRESH: &str = "/api/auth/user?fresh=1";
const REFRESH: &str = "/api/auth/refresh";
const JSON: (&str, &str) = ("Accept", "application/json");
/// A fetch at sign-in counts for a second.
const A_MOMENT: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(100);

fn limited(scope: LimitScope, retry_after: f64) -> FaultKind {
    FaultKind::RateLimited(RateLimited { scope, retry_after, ..RateLimited::default() })
}

async fn callback(house: &House, user: doorbook::domain::id::DiscordId) -> (Browser, String) {
    let mut browser = house.browser();
    let begun = browser.begin("/api/auth/discord/login").await;
    let callback = browser.authorize(house.discord(), &begun, user).await;
    (browser, callback)
}

#[tokio::test(flavor = "multi_thread")]
async fn while_discord_is_down_the_last_known_profile_is_shown_as_stale() {
    let mut house = House::open().await;
    let mut browser = house.signed_in(MARISOL).await;
    let (mut late, landing) = callback(&house, QUIETFOX).await;
    house.clock.advance(A_MOMENT);
    house.discord_goes_down().await;
    let stale = house.as_time_passes(STEP, browser.fetch("GET", FRESH)).await;
    assert_eq!((stale.status, &stale.json()["stale"]), (200, &true.into()), "{stale}");
    assert_eq!(stale.json()["display_name"], "Marisol");
    assert_eq!(stale.json()["fetched_at"], "2026-01-02T03:04:05Z");
    let refused = house.as_time_passes(STEP, browser.fetch("POST", REFRESH)).await;
    assert_eq!((refused.status, refused.code().as_str()), (502, "discord_unavailable"), "{refused}");
    let refused = house.as_time_passes(STEP, late.send("GET", &landing, &[JSON], "")).await;
    assert_eq!((refused.status, refused.code().as_str()), (502, "discord_unavailable"), "{refused}");
    assert_eq!(browser.fetch("GET", "/api/auth/user").await.status, 200, "sessions go on");

    house.discord_comes_up().await;
    house.clock.advance(Duration::from_secs(60));
    let fresh = house.as_time_passes(STEP, browser.fetch("GET", FRESH)).await;
    assert_eq!((fresh.status, &fresh.json()["stale"]), (200, &false.into()), "{fresh}");
    assert_eq!(browser.fetch("POST", REFRESH).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_takes_too_long_is_not_waited_for() {
    let house = House::open().await;
    let browser = house.signed_in(MARISOL).await;
    house.clock.advance(A_MOMENT);
    house.discord().add_fault(Fault::new(Route::Me, FaultKind::Hold).once());
    let asked = tokio::spawn({
        let mut browser = browser.clone();
        async move { browser.fetch("GET", FRESH).await }
    });
    house.discord().wait_until_held(1).await;
    let stale = house.as_time_passes(Duration::from_secs(1), asked).await.expect("an answer");
    assert_eq!((stale.status, &stale.json()["stale"]), (200, &true.into()), "{stale}");
    house.discord().release();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_the_place_of_an_answer_is_not_taken_for_one() {
    let html = || FaultKind::Answer { status: 200, headers: Default::default(), body: "<html>".into() };
    let house = House::open().await;
    for route in [Route::Token, Route::Me] {
        let (mut browser, landing) = callback(&house, MARISOL).await;
        house.discord().add_fault(Fault::new(route, html()).times(3));
        let refused = house.as_time_passes(STEP, browser.send("GET", &landing, &[JSON], "")).await;
        assert_eq!((refused.status, refused.code().as_str()), (502, "discord_unavailable"), "{refused}");
        assert!(!refused.body.contains("<html>"), "{refused}");
        house.discord().clear_faults();
    }
    assert_eq!(house.doorbook().app.sessions().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_wait_is_waited_out() {
    let house = House::open().await;
    let mut browser = house.signed_in(MARISOL).await;
    house.discord().add_fault(Fault::new(Route::Refresh, limited(LimitScope::User, 1.287)).once());
    let done = house.as_time_passes(STEP, browser.fetch("POST", REFRESH)).await;
    assert_eq!(done.status, 200, "{done}");
    assert_eq!(house.discord().count(Route::Refresh), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_wait_is_told_to_whoever_asks() {
    let house = House::open().await;
    let mut browser = house.signed_in(MARISOL).await;
    house.discord().add_fault(Fault::new(Route::Refresh, limited(LimitScope::User, 90.2)).once());
    let refused = browser.fetch("POST", REFRESH).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "discord_rate_limited"), "{refused}");
    assert_eq!(refused.header("retry-after"), Some("91"));
    house.clock.advance(Duration::from_secs(60));
    let refused = browser.fetch("POST", REFRESH).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "discord_rate_limited"), "{refused}");
    assert_eq!(house.discord().count(Route::Refresh), 1, "not before it may");
    house.clock.advance(Duration::from_secs(60));
    assert_eq!(browser.fetch("POST", REFRESH).await.status, 200);

    let (mut late, landing) = callback(&house, QUIETFOX).await;
    house.discord().add_fault(Fault::new(Route::Token, limited(LimitScope::User, 30.0)).once());
    let refused = late.send("GET", &landing, &[JSON], "").await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "discord_rate_limited"), "{refused}");
    assert_eq!(refused.header("retry-after"), Some("30"));
}

/// After `stop` nobody calls Discord until `seconds` have passed, and a restart changes nothing.
async fn all_calls_pause(stop: FaultKind, seconds: u64) {
    let mut house = House::open().await;
    let mut browser = house.signed_in(MARISOL).await;
    let mut other = house.signed_in(QUIETFOX).await;
    house.clock.advance(A_MOMENT);
    let landings = [callback(&house, QUIETFOX).await, callback(&house, QUIETFOX).await];
    house.discord().add_fault(Fault::new(Route::Refresh, stop).once());
    let refused = browser.fetch("POST", REFRESH).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "discord_rate_limited"), "{refused}");
    assert_eq!(refused.header("retry-after"), Some(seconds.to_string().as_str()));
    house.until(|state| state.outage().is_some()).await;
    house.discord().forget_requests();

    let [(mut early, before), (mut late, after)] = landings;
    let refused = early.send("GET", &before, &[JSON], "").await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "discord_rate_limited"), "{refused}");
    assert_eq!(refused.header("retry-after"), Some(seconds.to_string().as_str()));
    assert_eq!(other.fetch("GET", FRESH).await.json()["stale"], true);
    assert_eq!(other.fetch("POST", REFRESH).await.status, 503);

    house.restart().await;
    let (mut browser, mut other) = (browser.at(&house), other.at(&house));
    house.clock.advance(Duration::from_secs(seconds - 2));
    assert_eq!(browser.fetch("GET", FRESH).await.json()["stale"], true);
    let refused = late.clone().at(&house).send("GET", &after, &[JSON], "").await;
    assert_eq!(refused.status, 503, "{refused}");
    assert_eq!(house.discord().requests().total, 0, "a restart does not end it");

    house.clock.advance(A_MOMENT + A_MOMENT);
    late = callback(&house, QUIETFOX).await.0;
    let landed = late.sign_in(house.discord(), QUIETFOX).await;
    assert_eq!(landed.status, 303, "{landed}");
    assert_eq!(browser.fetch("GET", FRESH).await.json()["stale"], false);
    assert_eq!(other.fetch("POST", REFRESH).await.status, 200);
    house.until(|state| state.outage().is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_global_limit_all_calls_pause_a_restart_included() {
    all_calls_pause(limited(LimitScope::Global, 65.0), 65).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_ban_all_calls_pause_a_restart_included() {
    all_calls_pause(FaultKind::CloudflareLimit { retry_after: Some(300) }, 300).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_that_does_not_say_how_long_is_given_ten_minutes() {
    all_calls_pause(FaultKind::CloudflareLimit { retry_after: None }, 600).await;
}
