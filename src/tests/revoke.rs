//! Taking an authorization back: sessions end at once, and Discord is told until it has confirmed.

use std::time::Duration;

use doorbook::clock::Clock as _;
use doorbook::discord::stand_in::faults::{Fault, FaultKind};
use doorbook::discord::stand_in::requests::Route;
use doorbook::discord::stand_in::{Control, Person};
use doorbook::domain::id::DiscordId;
use serde_json::json;

use crate::harness::{Browser, House, MARISOL, ORIGIN, QUIETFOX};

const REVOKE: &str = "/api/auth/revoke";
const USER: &str = "/api/auth/user";
const LOGIN: &str = "/api/auth/discord/login";
const JSON: (&str, &str) = ("Accept", "application/json");
const A_SECOND: Duration = Duration::from_secs(1);

fn grants_of(discord: &Control, user: DiscordId) -> usize {
    let all = discord.grants();
    all.iter().filter(|grant| grant.user == user).map(|grant| grant.refresh_tokens).sum()
}

impl House {
    fn revocations(&self) -> usize {
        self.doorbook().app.state().users().filter(|(_, user)| user.revocation.is_some()).count()
    }

    async fn revocation_is_confirmed(&self) {
        self.until(|state| state.users().all(|(_, user)| user.revocation.is_none())).await;
    }
}

/// In the tutorial that began this, a session outlived its revocation.
#[tokio::test(flavor = "multi_thread")]
async fn revoking_ends_every_session_and_the_grant_at_discord() {
    let house = House::open().await;
    let mut browser = house.signed_in(MARISOL).await;
    let mut elsewhere = house.signed_in(MARISOL).await;
    let mut other = house.signed_in(QUIETFOX).await;
    let done = browser.fetch("POST", REVOKE).await;
    assert_eq!((done.status, done.json()), (200, json!({"revoked": true, "sessions_ended": 2})), "{done}");
    assert!(!browser.cookies.contains_key("doorbook"), "{:?}", browser.cookies);
    assert_eq!(elsewhere.fetch("GET", USER).await.status, 401);
    assert_eq!(other.fetch("GET", USER).await.status, 200);
    assert_eq!((grants_of(house.discord(), MARISOL), grants_of(house.discord(), QUIETFOX)), (0, 1));
    assert_eq!((house.revocations(), house.discord().count(Route::Revoke)), (0, 1));

    let again = browser.begin(LOGIN).await;
    assert!(!again.contains("prompt=none"), "whoever left is asked: {again}");
    let refused = house.browser().fetch("POST", REVOKE).await;
    assert_eq!((refused.status, refused.code().as_str()), (401, "not_signed_in"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_discord_is_down_sessions_end_at_once_and_it_is_told_later() {
    let mut house = House::open().await;
    let mut browser = house.signed_in(MARISOL).await;
    let mut elsewhere = house.signed_in(MARISOL).await;
    house.discord_goes_down().await;
    let done = browser.fetch("POST", REVOKE).await;
    assert_eq!(
        (done.status, done.json()),
        (202, json!({"revoked": "pending", "sessions_ended": 2})),
        "{done}"
    );
    assert!(!browser.cookies.contains_key("doorbook"), "{:?}", browser.cookies);
    assert_eq!(elsewhere.fetch("GET", USER).await.status, 401);
    assert_eq!(house.revocations(), 1);

    house.discord_comes_up().await;
    assert_eq!(grants_of(house.discord(), MARISOL), 2);
    house.as_time_passes(A_SECOND, house.discord().wait_for(Route::Revoke, 1)).await;
    house.revocation_is_confirmed().await;
    assert_eq!(grants_of(house.discord(), MARISOL), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_come_is_not_waited_for() {
    let house = House::open().await;
    let browser = house.signed_in(MARISOL).await;
    house.discord().add_fault(Fault::new(Route::Revoke, FaultKind::Hold).once());
    let asked = tokio::spawn({
        let mut browser = browser.clone();
        async move { browser.fetch("POST", REVOKE).await }
    });
    house.discord().wait_until_held(1).await;
    assert_eq!(browser.clone().fetch("GET", USER).await.status, 401, "ended before Discord has said a word");
    let done = house.as_time_passes(A_SECOND, asked).await.expect("an answer");
    assert_eq!(
        (done.status, done.json()),
        (202, json!({"revoked": "pending", "sessions_ended": 1})),
        "{done}"
    );
    house.discord().release();
    house.revocation_is_confirmed().await;
    assert_eq!(house.discord().count(Route::Revoke), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pending_revocation_survives_a_restart_and_is_tried_at_once() {
    let mut house = House::open().await;
    let mut browser = house.signed_in(MARISOL).await;
    let trouble = FaultKind::ServerError { status: 503, body: None };
    house.discord().add_fault(Fault::new(Route::Revoke, trouble).times(2));
    assert_eq!(browser.fetch("POST", REVOKE).await.status, 202);
    assert_eq!(house.discord().count(Route::Revoke), 1);
    house.restart().await;
    assert_eq!(house.revocations(), 1, "replayed");
    house.as_time_passes(Duration::ZERO, house.discord().wait_for(Route::Revoke, 2)).await;
    house.as_time_passes(A_SECOND, house.discord().wait_for(Route::Revoke, 3)).await;
    house.revocation_is_confirmed().await;
    assert_eq!(grants_of(house.discord(), MARISOL), 0);

    let told = house.discord().count(Route::Revoke);
    house.restart().await;
    house.clock.advance(Duration::from_secs(600));
    let _ = house.signed_in(QUIETFOX).await;
    assert_eq!(house.discord().count(Route::Revoke), told, "what is confirmed is not sent again");
}

#[tokio::test(flavor = "multi_thread")]
async fn trying_on_backs_off_to_five_minutes() {
    let house = House::open().await;
    let mut browser = house.signed_in(MARISOL).await;
    let trouble = FaultKind::ServerError { status: 502, body: None };
    house.discord().add_fault(Fault::new(Route::Revoke, trouble));
    assert_eq!(browser.fetch("POST", REVOKE).await.status, 202);
    let mut last = house.clock.now();
    let waits = [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300];
    for (tries, least) in (2..).zip(waits) {
        let step = Duration::from_secs((least / 16).max(1));
        house.as_time_passes(step, house.discord().wait_for(Route::Revoke, tries)).await;
        let now = house.clock.now();
        let waited = now.since(last);
        // Time goes on while a call is on its way.
        let most = Duration::from_secs(least) + step * 11;
        assert!(waited >= Duration::from_secs(least) && waited <= most, "try {tries} after {waited:?}");
        last = now;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_in_again_ends_a_pending_revocation_and_keeps_the_new_grant() {
    let house = House::open().await;
    let mut browser = house.signed_in(MARISOL).await;
    let trouble = FaultKind::ServerError { status: 503, body: None };
    house.discord().add_fault(Fault::new(Route::Revoke, trouble));
    assert_eq!(browser.fetch("POST", REVOKE).await.status, 202);
    assert_eq!(house.revocations(), 1);
    assert_eq!(browser.sign_in(house.discord(), MARISOL).await.status, 303);
    assert_eq!(house.revocations(), 0);
    house.discord().clear_faults();
    let told = house.discord().count(Route::Revoke);
    house.clock.advance(Duration::from_secs(3_600));
    let _ = house.signed_in(QUIETFOX).await;
    let fresh = browser.fetch("GET", "/api/auth/user?fresh=1").await;
    assert_eq!((fresh.status, &fresh.json()["stale"]), (200, &false.into()), "{fresh}");
    assert_eq!(house.discord().count(Route::Revoke), told, "the new grant would die with the old one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_during_the_revocation_is_sent_to_discord_again() {
    let house = House::open().await;
    let browser = house.signed_in(MARISOL).await;
    let mut other_tab = house.browser();
    let begun = other_tab.begin(&format!("{LOGIN}?rd=%2Faccount")).await;
    let callback = other_tab.authorize(house.discord(), &begun, MARISOL).await;
    house.discord().add_fault(Fault::new(Route::Me, FaultKind::Hold).after_the_effect().once());
    let landing = tokio::spawn(async move {
        let landed = other_tab.navigate(&callback).await;
        (other_tab, landed)
    });
    house.discord().wait_until_held(1).await;
    let done = browser.clone().fetch("POST", REVOKE).await;
    assert_eq!(done.status, 200, "{done}");
    house.discord().release();
    let (mut other_tab, landed) = landing.await.expect("an answer");
    assert_eq!(landed.status, 303, "{landed}");
    let location = landed.header("location").expect("a location").to_owned();
    assert!(location.starts_with(LOGIN), "its grant died with the other: {landed}");
    assert!(!other_tab.cookies.contains_key("doorbook"));
    let begun = other_tab.begin(&location).await;
    let callback = other_tab.authorize(house.discord(), &begun, MARISOL).await;
    let landed = other_tab.navigate(&callback).await;
    assert_eq!((landed.status, landed.header("location")), (303, Some("/account")), "{landed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_arrive_after_the_revocation_do_not_revive_the_grant() {
    let house = House::open().await;
    let browser = house.signed_in(MARISOL).await;
    house.discord().add_fault(Fault::new(Route::Refresh, FaultKind::Hold).after_the_effect().once());
    let ask = |path: &'static str| {
        let mut browser = browser.clone();
        tokio::spawn(async move { browser.fetch("POST", path).await })
    };
    let refreshing = ask("/api/auth/refresh");
    house.discord().wait_until_held(1).await;
    let revoking = ask(REVOKE);
    house.until(|state| state.sessions().next().is_none()).await;
    assert_eq!(browser.clone().fetch("GET", USER).await.status, 401, "ended at once");
    assert_eq!(house.discord().count(Route::Revoke), 0, "the refresh is settled first");
    house.discord().release();
    let refreshed = refreshing.await.expect("an answer");
    assert_eq!((refreshed.status, refreshed.code().as_str()), (401, "not_signed_in"), "{refreshed}");
    let revoked = revoking.await.expect("an answer");
    assert_eq!(revoked.json(), json!({"revoked": true, "sessions_ended": 1}), "{revoked}");
    assert_eq!(grants_of(house.discord(), MARISOL), 0, "the late tokens are dead, too");
    assert_eq!(house.revocations(), 0);
    assert_eq!(browser.clone().fetch("GET", USER).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn revocations_do_not_wait_for_refreshes_that_wait_for_them() {
    /// As many calls that no browser waits for are made at the same time.
    const CALLS: u64 = 8;
    let house = House::open().await;
    let mut people = Vec::new();
    for number in 1..=CALLS {
        let id = DiscordId(900_000_000_000_000_000 + number);
        house.discord().put_person(Person::new(id, format!("person{number}")));
        people.push(house.signed_in(id).await);
    }
    // Every profile is old, and every access token is over.
    house.clock.advance(Duration::from_secs(3_600));
    house.discord().expire_tokens(None).await.expect("expired");
    house.discord().add_fault(Fault::new(Route::Me, FaultKind::Hold));
    for person in &mut people {
        assert_eq!(person.fetch("GET", USER).await.status, 200);
    }
    house.discord().wait_until_held(CALLS).await;
    let revoking = people.clone().into_iter().map(|mut person| {
        tokio::spawn(async move {
            let done = person.fetch("POST", REVOKE).await;
            (done.status, done.json())
        })
    });
    let revoking: Vec<_> = revoking.collect();
    house.until(|state| state.sessions().next().is_none()).await;
    for person in &mut people {
        assert_eq!(person.fetch("GET", USER).await.status, 401, "ended at once");
    }
    house.discord().clear_faults();
    house.discord().release();
    house.revocation_is_confirmed().await;
    for done in revoking {
        let done = done.await.expect("an answer");
        assert_eq!(done, (200, json!({"revoked": true, "sessions_ended": 1})));
    }
    assert_eq!(house.discord().count(Route::Revoke), CALLS);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_revoked_from_another_site() {
    let house = House::open().await;
    let mut browser = house.signed_in(MARISOL).await;
    let crossing: [&[(&str, &str)]; 4] = [
        &[JSON, ("Sec-Fetch-Site", "cross-site")],
        &[JSON, ("Sec-Fetch-Site", "same-site")],
        &[JSON, ("Origin", "https://evil.example")],
        &[JSON, ("Origin", "null")],
    ];
    let unsafe_ones = [
        ("POST", REVOKE),
        ("POST", "/api/auth/logout"),
        ("POST", "/api/auth/refresh"),
        ("DELETE", "/api/auth/sessions"),
        ("POST", "/api/auth/sessions/end"),
    ];
    for headers in crossing {
        for (method, path) in unsafe_ones {
            let refused = browser.send(method, path, headers, "").await;
            let seen = (refused.status, refused.code());
            assert_eq!(seen, (403, "cross_site_request".to_owned()), "{method} {path} {headers:?}");
        }
        let refused = browser.send("GET", REVOKE, headers, "").await;
        assert_eq!((refused.status, refused.code().as_str()), (403, "cross_site_request"), "{headers:?}");
    }
    let refused = browser.send("GET", REVOKE, &[JSON], "").await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "cross_site_request"), "{refused}");
    assert_eq!(browser.fetch("GET", USER).await.status, 200);
    assert_eq!(house.discord().count(Route::Revoke), 0);
}

/// In the tutorial any link, or any image, revoked.
#[tokio::test(flavor = "multi_thread")]
async fn a_visit_to_revoke_changes_nothing_but_a_script_that_asks_does() {
    let house = House::open().await;
    let deliberate: [&[(&str, &str)]; 4] = [
        &[JSON, ("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Mode", "cors")],
        &[JSON, ("Sec-Fetch-Site", "none")],
        &[JSON, ("Origin", ORIGIN)],
        &[JSON, ("X-Requested-With", "XMLHttpRequest")],
    ];
    for headers in deliberate {
        let mut browser: Browser = house.signed_in(MARISOL).await;
        let page = browser.navigate(REVOKE).await;
        assert_eq!(page.status, 200, "{page}");
        assert!(page.body.contains("<form") && page.body.contains("method=\"post\""), "{page}");
        assert_eq!(browser.fetch("GET", USER).await.status, 200, "a visit changes nothing");
        let done = browser.send("GET", REVOKE, headers, "").await;
        assert_eq!((done.status, &done.json()["revoked"]), (200, &true.into()), "{headers:?}: {done}");
        assert!(!browser.cookies.contains_key("doorbook"));
    }
    let mut browser = house.signed_in(MARISOL).await;
    let pressed = browser.submit(REVOKE).await;
    assert_eq!((pressed.status, pressed.header("location")), (303, Some("/?done=disconnected")), "{pressed}");
}
