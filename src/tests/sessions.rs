//! Sessions: which there are, ending one, some or all of them, and the two ways in which time ends them.

use std::time::Duration;

use doorbook::clock::Clock as _;
use doorbook::domain::time::Timestamp;
use serde_json::{Value, json};

use crate::harness::{Browser, House, MARISOL, Plan, QUIETFOX};

const SESSIONS: &str = "/api/auth/sessions";
const USER: &str = "/api/auth/user";
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

async fn listed(browser: &mut Browser) -> Vec<Value> {
    let answer = browser.fetch("GET", SESSIONS).await;
    assert_eq!(answer.status, 200, "{answer}");
    answer.json()["sessions"].as_array().expect("a list").clone()
}

async fn own_id(browser: &mut Browser) -> String {
    let own = browser.fetch("GET", USER).await.json();
    own["session"]["id"].as_str().expect("an id").to_owned()
}

async fn status(browser: &mut Browser) -> u16 {
    browser.fetch("GET", USER).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_of_one_of_three_leaves_two_and_never_calls_discord() {
    let house = House::open().await;
    let mut browsers =
        [house.signed_in(MARISOL).await, house.signed_in(MARISOL).await, house.signed_in(MARISOL).await];
    let asked = house.discord().requests().total;
    let done = browsers[0].fetch("POST", "/api/auth/logout").await;
    assert_eq!((done.status, done.body.as_str()), (204, ""), "{done}");
    assert!(!browsers[0].cookies.contains_key("doorbook"), "{:?}", browsers[0].cookies);
    assert_eq!(status(&mut browsers[0]).await, 401);
    assert_eq!((status(&mut browsers[1]).await, status(&mut browsers[2]).await), (200, 200));
    assert_eq!(listed(&mut browsers[1]).await.len(), 2);
    assert_eq!(house.discord().requests().total, asked);

    assert_eq!(browsers[0].fetch("POST", "/api/auth/logout").await.status, 204, "without a session as well");
    let begun = browsers[0].begin("/api/auth/discord/login").await;
    assert!(!begun.contains("prompt=none"), "{begun}");
    let fresh = house.browser().begin("/api/auth/discord/login").await;
    assert!(fresh.contains("prompt=none"), "{fresh}");
    let pressed = browsers[1].submit("/api/auth/logout?rd=%2Faccount").await;
    assert_eq!((pressed.status, pressed.header("location")), (303, Some("/account")), "{pressed}");
    let pressed = browsers[2].submit("/api/auth/logout?rd=https%3A%2F%2Fevil.example").await;
    assert_eq!((pressed.status, pressed.header("location")), (303, Some("/?done=signed-out")), "{pressed}");
    assert_eq!(house.doorbook().app.sessions().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_says_which_session_is_this_one_and_where_each_was_seen() {
    let house = House::open().await;
    let mut here = house.signed_in(MARISOL).await;
    house.clock.advance(HOUR);
    let mut there = house.signed_in(MARISOL).await;
    let _ = house.signed_in(QUIETFOX).await;
    let own = own_id(&mut here).await;
    let all = listed(&mut here).await;
    assert_eq!(all.len(), 2, "{all:?}");
    for session in &all {
        assert_eq!(session["current"], session["id"] == own.as_str(), "{session}");
        assert_eq!(session["ip"], "127.0.0.1");
        assert!(session["user_agent"].as_str().is_some_and(|agent| agent.contains("Firefox")), "{session}");
    }
    let mine = all.iter().find(|session| session["id"] == own.as_str()).expect("mine");
    assert_eq!(mine["opened_at"], "2026-01-02T03:04:05Z");
    assert_eq!(mine["expires_at"], "2026-01-10T00:04:05Z", "unless it is used: seven days and a quantum");
    assert_ne!(own_id(&mut there).await, own);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_session_is_ended_from_another_and_nobody_elses_can_be() {
    let house = House::open().await;
    let mut here = house.signed_in(MARISOL).await;
    let mut there = house.signed_in(MARISOL).await;
    let mut third = house.signed_in(MARISOL).await;
    let mut stranger = house.signed_in(QUIETFOX).await;
    let asked = house.discord().requests().total;

    let theirs = own_id(&mut stranger).await;
    for id in [theirs.as_str(), "nonsense", "00000000000000000000000000000000"] {
        let refused = here.fetch("DELETE", &format!("{SESSIONS}/{id}")).await;
        assert_eq!((refused.status, refused.code().as_str()), (404, "no_such_session"), "{id}: {refused}");
    }
    assert_eq!(status(&mut stranger).await, 200);

    let other = own_id(&mut there).await;
    let done = here.fetch("DELETE", &format!("{SESSIONS}/{other}")).await;
    assert_eq!((done.status, done.header("set-cookie")), (204, None), "{done}");
    assert_eq!((status(&mut there).await, status(&mut here).await), (401, 200));
    let again = here.fetch("DELETE", &format!("{SESSIONS}/{other}")).await;
    assert_eq!(again.code(), "no_such_session");

    let other = own_id(&mut third).await;
    let pressed = here.submit(&format!("{SESSIONS}/{other}/end")).await;
    assert_eq!((pressed.status, pressed.header("location")), (303, Some("/account?done=ended")), "{pressed}");
    assert_eq!(status(&mut third).await, 401);

    let own = own_id(&mut here).await;
    let done = here.fetch("DELETE", &format!("{SESSIONS}/{own}")).await;
    assert_eq!(done.status, 204, "{done}");
    assert!(!here.cookies.contains_key("doorbook") && here.cookies.contains_key("doorbook-ask"));
    let refused = here.fetch("DELETE", &format!("{SESSIONS}/{own}")).await;
    assert_eq!((refused.status, refused.code().as_str()), (401, "not_signed_in"), "{refused}");
    assert_eq!(house.discord().requests().total, asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_sessions_of_one_person_end_together() {
    let house = House::open().await;
    let mut here = house.signed_in(MARISOL).await;
    let mut there = house.signed_in(MARISOL).await;
    let mut other = house.signed_in(QUIETFOX).await;
    let asked = house.discord().requests().total;
    let done = here.fetch("DELETE", SESSIONS).await;
    assert_eq!((done.status, done.json()), (200, json!({"sessions_ended": 2})), "{done}");
    assert!(!here.cookies.contains_key("doorbook"));
    assert_eq!((status(&mut there).await, status(&mut other).await), (401, 200));
    assert_eq!(house.discord().requests().total, asked, "the grant stays");

    let mut here = house.signed_in(MARISOL).await;
    let pressed = here.submit(&format!("{SESSIONS}/end")).await;
    assert_eq!(pressed.status, 303, "{pressed}");
    assert_eq!(status(&mut here).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn ended_sessions_stay_ended_after_a_restart() {
    let mut house = House::open().await;
    let mut here = house.signed_in(MARISOL).await;
    let there = house.signed_in(MARISOL).await;
    let copy = here.clone();
    assert_eq!(here.fetch("POST", "/api/auth/logout").await.status, 204);
    house.restart().await;
    assert_eq!(status(&mut copy.at(&house)).await, 401);
    assert_eq!(status(&mut there.at(&house)).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_not_used_ends_between_its_idle_time_and_a_quantum_later() {
    let house = House::open().await;
    let mut seven_days = house.signed_in(MARISOL).await;
    let mut longer = house.signed_in(QUIETFOX).await;
    house.clock.advance(DAY * 7);
    let now = house.clock.now();
    assert_eq!(status(&mut seven_days).await, 200);
    house.until(|state| state.sessions().any(|session| session.seen_at == now)).await;
    house.clock.advance(HOUR * 21);
    assert_eq!(status(&mut longer).await, 401);
    assert_eq!(status(&mut seven_days).await, 200, "it was used meanwhile");
    let refused = longer.fetch("POST", "/api/auth/refresh").await;
    assert_eq!((refused.status, refused.code().as_str()), (401, "not_signed_in"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_at_its_greatest_age_however_often_it_is_used() {
    let plan = Plan {
        env: vec![("DOORBOOK_SESSION_MAX_AGE", "2d".into()), ("DOORBOOK_SESSION_IDLE", "1d".into())],
        ..Plan::default()
    };
    let mut house = House::with(plan).await;
    let mut browser = house.signed_in(MARISOL).await;
    for hour in 1..48 {
        house.clock.advance(HOUR);
        assert_eq!(status(&mut browser).await, 200, "after {hour} hours");
        // An hour takes milliseconds here, so the record of a use must not be left behind.
        let recently = |seen: Timestamp| seen.plus(HOUR * 4) > house.clock.now();
        let recorded = || house.doorbook().app.state().sessions().all(|session| recently(session.seen_at));
        for _ in 0..5_000 {
            if recorded() {
                break;
            }
            assert_eq!(status(&mut browser).await, 200, "after {hour} hours");
        }
    }
    house.clock.advance(HOUR - Duration::from_millis(1));
    assert_eq!(status(&mut browser).await, 200);
    house.clock.advance(Duration::from_millis(1));
    assert_eq!(status(&mut browser).await, 401);
    house.restart().await;
    assert_eq!(status(&mut browser.at(&house)).await, 401);
    assert_eq!(house.doorbook().app.sessions().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_in_use_is_recorded_once_a_quantum_and_no_more() {
    let mut house = House::open().await;
    let mut browser = house.signed_in(MARISOL).await;
    // Otherwise that would be due in between.
    house.doorbook().app.sign_checkpoint().await.expect("signed");
    let opened = house.head();
    let seen = || {
        let state = house.doorbook().app.state();
        state.sessions().next().map(|session| session.seen_at)
    };
    let first = seen();
    house.clock.advance(HOUR * 20);
    for _ in 0..20 {
        assert_eq!(browser.fetch("GET", SESSIONS).await.status, 200);
    }
    assert_eq!((house.head(), seen()), (opened, first), "within a quantum nothing is written down");
    let own = &listed(&mut browser).await[0];
    assert_eq!(own["last_seen_at"], "2026-01-02T23:04:05Z", "but it is known");

    house.clock.advance(HOUR);
    assert_eq!(browser.fetch("GET", SESSIONS).await.status, 200);
    house.until(|state| state.sessions().next().map(|session| session.seen_at) != first).await;
    house.clock.advance(HOUR);
    assert_eq!(browser.fetch("GET", SESSIONS).await.status, 200);
    house.restart().await;
    let mut browser = browser.at(&house);
    let all: Vec<Value> =
        house.doorbook().app.sessions().iter().map(|live| live.last_seen_at.to_string().into()).collect();
    assert_eq!(all, ["2026-01-03T00:04:05Z"], "exact to a quantum after a restart");
    assert_eq!(listed(&mut browser).await[0]["last_seen_at"], "2026-01-03T01:04:05Z");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_to_another_network_is_recorded_after_a_minute() {
    let house = House::open().await;
    let mut browser = house.signed_in(MARISOL).await;
    let opened = house.head();
    let elsewhere = [("Accept", "application/json"), ("X-Forwarded-For", "198.51.100.7")];
    house.clock.advance(Duration::from_secs(61));
    assert_eq!(browser.send("GET", SESSIONS, &elsewhere, "").await.status, 200);
    house.until(|state| state.position() != opened).await;
    let moved = browser.send("GET", SESSIONS, &elsewhere, "").await.json();
    assert_eq!(moved["sessions"][0]["ip"], "198.51.100.7", "{moved}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_live_cookies_in_one_request_count_as_none() {
    let house = House::open().await;
    let (one, other) = (house.signed_in(MARISOL).await, house.signed_in(QUIETFOX).await);
    let both = format!("doorbook={}; doorbook={}", one.cookies["doorbook"], other.cookies["doorbook"]);
    let mut browser = house.browser();
    let refused = browser.send("GET", "/api/auth/user", &[("Cookie", &both)], "").await;
    assert_eq!((refused.status, refused.code().as_str()), (401, "not_signed_in"), "{refused}");
    let dead_first = format!("doorbook={}; doorbook={}", "A".repeat(43), one.cookies["doorbook"]);
    assert_eq!(browser.send("GET", "/api/auth/user", &[("Cookie", &dead_first)], "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_of_any_shape_is_a_stranger_and_never_an_error() {
    let house = House::open().await;
    let mut browser = house.browser();
    for value in ["", "x", &"A".repeat(8_000), "\u{e9}", "a b", "\"\"", "=;=;="] {
        let answer =
            browser.send("GET", "/api/auth/user", &[("Cookie", &format!("doorbook={value}"))], "").await;
        assert_eq!(answer.status, 401, "{value:?}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hundred_and_first_session_ends_the_oldest() {
    let house = House::open().await;
    let mut first = house.signed_in(MARISOL).await;
    for n in 1..100 {
        if n % 50 == 0 {
            // Sixty an hour is what one user may do.
            house.clock.advance(std::time::Duration::from_secs(3_600));
        }
        house.signed_in(MARISOL).await;
    }
    assert_eq!(first.fetch("GET", "/api/auth/user").await.status, 200);
    house.clock.advance(std::time::Duration::from_secs(3_600));
    let mut last = house.signed_in(MARISOL).await;
    assert_eq!(first.fetch("GET", "/api/auth/user").await.status, 401);
    let listed = last.fetch("GET", "/api/auth/sessions").await.json();
    assert_eq!(listed["sessions"].as_array().map(Vec::len), Some(100));
}
