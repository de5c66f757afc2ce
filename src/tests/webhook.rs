//! Discord tells us by itself that somebody removed the application: believed when signed, and harmless when repeated.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use doorbook::clock::Clock as _;
use doorbook::discord::stand_in::webhook::{Sent, public_key, sign};
use doorbook::domain::event::{ActorKind, Cause, Event, RevokedBy};
use doorbook::domain::id::{DiscordId, Position};
use doorbook::domain::time::Timestamp;
use serde_json::{Value, json};

use crate::harness::{Browser, CLIENT_ID, Exchange, House, MARISOL, Plan, QUIETFOX, START};
use crate::snapshot;
use crate::storage::Disobedient;

const WEBHOOK: &str = "/discord/webhook";
const USER: &str = "/api/auth/user";
const A_SECOND: Duration = Duration::from_secs(1);

fn plan() -> Plan {
    Plan { env: vec![("DISCORD_PUBLIC_KEY", public_key())], ..Plan::default() }
}

/// The time as Discord writes it: without an offset.
fn written(at: Timestamp) -> String {
    at.to_string().trim_end_matches('Z').to_owned()
}

fn removed(application: DiscordId, user: DiscordId, at: Timestamp) -> Value {
    json!({
        "version": 1, "application_id": application.to_string(), "type": 1,
        "event": {
            "type": "APPLICATION_DEAUTHORIZED", "timestamp": written(at),
            "data": { "user": { "id": user.to_string(), "username": "somebody" } },
        },
    })
}

fn ping() -> Value {
    json!({ "version": 1, "application_id": CLIENT_ID.to_string(), "type": 0 })
}

impl House {
    /// Sends what Discord would, signed now.
    async fn hears(&self, notice: &Value) -> Exchange {
        self.hears_as_of(notice, self.clock.now()).await
    }

    async fn hears_as_of(&self, notice: &Value, at: Timestamp) -> Exchange {
        let (timestamp, body) = ((at.0 / 1_000).to_string(), notice.to_string());
        let signature = sign(&timestamp, &body);
        post(&mut self.browser(), &body, &[(SIGNATURE, &signature), (TIMESTAMP, &timestamp)]).await
    }

    /// Hears a notice that changes nothing, not even the log.
    async fn is_untouched_by(&self, notice: &Value) {
        let before = self.head();
        let answer = self.hears(notice).await;
        assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{answer}");
        assert_eq!(self.head(), before, "nothing is recorded about {notice}");
    }

    fn webhook_url(&self) -> String {
        format!("http://{}{WEBHOOK}", self.doorbook().addresses[0])
    }
}

const SIGNATURE: &str = "X-Signature-Ed25519";
const TIMESTAMP: &str = "X-Signature-Timestamp";

async fn post(browser: &mut Browser, body: &str, headers: &[(&str, &str)]) -> Exchange {
    let own = [("Content-Type", "application/json"), ("User-Agent", "Discord-Webhook/1.0")];
    browser.send("POST", WEBHOOK, &[&own[..], headers].concat(), body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_the_application_at_discord_ends_the_sessions_at_once() {
    let mut house = House::with(plan()).await;
    let mut browser = house.signed_in(MARISOL).await;
    let _elsewhere = house.signed_in(MARISOL).await;
    let mut other = house.signed_in(QUIETFOX).await;
    house.discord().tell(Some(house.webhook_url()));
    house.discord().deauthorize(MARISOL).await.expect("stores");
    let told = house.discord().told(1).await;
    assert_eq!(told, [Sent { user: MARISOL, status: Some(204), tries: 1 }]);
    assert_eq!(browser.fetch("GET", USER).await.status, 401);
    assert_eq!(other.fetch("GET", USER).await.status, 200);
    house.stop().await;
    let of_webhook: Vec<_> =
        house.records().into_iter().filter(|r| r.context.actor.kind == ActorKind::Discord).collect();
    let [record] = &of_webhook[..] else { panic!("{of_webhook:?}") };
    let [Event::GrantRevoked { source, confirmed, .. }, Event::SessionRevoked { sessions, cause, .. }] =
        &record.events[..]
    else {
        panic!("{record:?}")
    };
    assert_eq!((*source, *confirmed), (RevokedBy::Webhook, true));
    assert_eq!((sessions.len(), *cause), (2, Cause::DiscordDeauthorized));
}

#[tokio::test(flavor = "multi_thread")]
async fn exchanges_with_discord_s_webhook() {
    let house = House::with(plan()).await;
    let body = ping().to_string();
    let timestamp = (START.0 / 1_000).to_string();
    let signature = sign(&timestamp, &body);
    for (name, signature) in [("ping", signature.clone()), ("refused", signature.replace('a', "b"))] {
        let mut text =
            format!("POST {WEBHOOK}\n{SIGNATURE}: {signature}\n{TIMESTAMP}: {timestamp}\n\n{body}\n");
        let answer =
            post(&mut house.browser(), &body, &[(SIGNATURE, &signature), (TIMESTAMP, &timestamp)]).await;
        let _ = write!(text, "\n{answer}");
        snapshot!(format!("exchange_webhook_{name}"), text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_discord_has_not_signed_is_refused_and_leaves_no_trace() {
    let house = House::with(plan()).await;
    let mut browser = house.signed_in(MARISOL).await;
    let before = house.head();
    let body = removed(CLIENT_ID, MARISOL, house.clock.now()).to_string();
    let now = (house.clock.now().0 / 1_000).to_string();
    let good = sign(&now, &body);
    let other = sign(&now, &ping().to_string());
    let cut = &good[..126];
    let cases: [&[(&str, &str)]; 11] = [
        &[],
        &[(SIGNATURE, &good)],
        &[(TIMESTAMP, &now)],
        &[(SIGNATURE, ""), (TIMESTAMP, &now)],
        &[(SIGNATURE, "zz"), (TIMESTAMP, &now)],
        &[(SIGNATURE, cut), (TIMESTAMP, &now)],
        &[(SIGNATURE, &other), (TIMESTAMP, &now)],
        &[(SIGNATURE, &good), (TIMESTAMP, "1767323046")],
        &[(SIGNATURE, &good), (SIGNATURE, &good), (TIMESTAMP, &now)],
        &[(SIGNATURE, &good), (TIMESTAMP, &now), (TIMESTAMP, &now)],
        &[(SIGNATURE, &good), (TIMESTAMP, "99999999999999999999")],
    ];
    for headers in cases {
        let refused = post(&mut house.browser(), &body, headers).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (401, "bad_signature"),
            "{headers:?}: {refused}"
        );
    }
    // Signed by Discord, but not now, or with a time that is none.
    let quarter = Duration::from_secs(15 * 60);
    let notice = removed(CLIENT_ID, MARISOL, house.clock.now());
    let (early, late) = (house.clock.now().plus(quarter + A_SECOND), START.0 - 901_000);
    for at in [early, Timestamp(late)] {
        assert_eq!(house.hears_as_of(&notice, at).await.status, 401, "{at}");
    }
    for odd in ["+1767323045", "1767323045.0", " 1767323045", "0x1767323045"] {
        let signature = sign(odd, &body);
        let refused = post(&mut house.browser(), &body, &[(SIGNATURE, &signature), (TIMESTAMP, odd)]).await;
        assert_eq!(refused.status, 401, "{odd:?}: {refused}");
    }
    assert_eq!((house.head(), browser.fetch("GET", USER).await.status), (before, 200));
    // At the edge it is still believed.
    for at in [house.clock.now().plus(quarter), Timestamp(START.0 - 900_000)] {
        assert_eq!(house.hears_as_of(&ping(), at).await.status, 204, "{at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_and_an_origin_neither_help_nor_hinder() {
    let house = House::with(plan()).await;
    let mut browser = house.signed_in(MARISOL).await;
    let foreign = [("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site")];
    assert_eq!(post(&mut browser, &ping().to_string(), &foreign).await.status, 401);
    let (timestamp, body) = ((START.0 / 1_000).to_string(), ping().to_string());
    let signature = sign(&timestamp, &body);
    let headers = [&foreign[..], &[(SIGNATURE, &signature), (TIMESTAMP, &timestamp)]].concat();
    assert_eq!(post(&mut house.browser(), &body, &headers).await.status, 204);
    let wrong = browser.fetch("GET", WEBHOOK).await;
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("POST")), "{wrong}");
    let long = post(&mut browser, &"x".repeat(64 * 1024 + 1), &[]).await;
    assert_eq!((long.status, long.code().as_str()), (413, "body_too_large"), "{long}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_there_is_no_webhook() {
    let house = House::open().await;
    let answer = house.hears(&ping()).await;
    assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_none_of_our_business_changes_nothing() {
    let house = House::with(plan()).await;
    let mut browser = house.signed_in(MARISOL).await;
    let now = house.clock.now();
    let mut other_type = removed(CLIENT_ID, MARISOL, now);
    other_type["event"]["type"] = json!("APPLICATION_AUTHORIZED");
    let mut no_user = removed(CLIENT_ID, MARISOL, now);
    no_user["event"]["data"] = json!({});
    let mut next_version = removed(CLIENT_ID, MARISOL, now);
    next_version["version"] = json!(2);
    for notice in [
        ping(),
        other_type,
        no_user,
        next_version,
        removed(DiscordId(42), MARISOL, now),
        removed(CLIENT_ID, DiscordId(42), now),
        removed(CLIENT_ID, QUIETFOX, now),
        json!("something"),
    ] {
        house.is_untouched_by(&notice).await;
    }
    assert_eq!(browser.fetch("GET", USER).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_word_twice_late_or_out_of_order_is_harmless() {
    let house = House::with(plan()).await;
    let mut first = house.signed_in(MARISOL).await;
    house.clock.advance(A_SECOND);
    let notice = removed(CLIENT_ID, MARISOL, house.clock.now());
    let before = house.head().expect("records");
    assert_eq!(house.hears(&notice).await.status, 204);
    assert_eq!(house.head(), Some(Position(before.0 + 1)), "one record ends it all");
    assert_eq!(first.fetch("GET", USER).await.status, 401);
    // Discord sends it again, because our answer got lost.
    house.is_untouched_by(&notice).await;

    // They have signed in again since, and what was said before that is about the authorization before.
    house.clock.advance(A_SECOND);
    let mut second = house.signed_in(MARISOL).await;
    house.is_untouched_by(&notice).await;
    house.is_untouched_by(&removed(CLIENT_ID, MARISOL, START)).await;
    assert_eq!(second.fetch("GET", USER).await.status, 200);

    // Without a time that can be read, that of the signature counts.
    let mut timeless = removed(CLIENT_ID, MARISOL, START);
    timeless["event"]["timestamp"] = json!("just now");
    house.clock.advance(A_SECOND);
    assert_eq!(house.hears(&timeless).await.status, 204);
    assert_eq!(second.fetch("GET", USER).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_one_is_recorded() {
    let house = House::with(plan()).await;
    let _browser = house.signed_in(MARISOL).await;
    let before = house.head().expect("records");
    let notice = removed(CLIENT_ID, MARISOL, house.clock.now());
    let answers = futures_util::future::join_all((0..20).map(|_| house.hears(&notice))).await;
    assert!(answers.iter().all(|answer| answer.status == 204), "{answers:?}");
    assert_eq!(house.head(), Some(Position(before.0 + 1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_echo_of_our_own_revocation_is_harmless() {
    let house = House::with(plan()).await;
    house.discord().tell(Some(house.webhook_url()));
    let mut browser = house.signed_in(MARISOL).await;
    let done = browser.fetch("POST", "/api/auth/revoke").await;
    assert_eq!(done.json(), json!({ "revoked": true, "sessions_ended": 1 }), "{done}");
    let after = house.head();
    let told = house.discord().told(1).await;
    assert_eq!((told[0].status, house.head()), (Some(204), after), "there was nothing left to end");

    // Whoever comes back at once is not thrown out by an echo that is late.
    let revoked_at = house.clock.now();
    house.clock.advance(A_SECOND);
    let mut again = house.signed_in(MARISOL).await;
    house.is_untouched_by(&removed(CLIENT_ID, MARISOL, revoked_at)).await;
    assert_eq!(again.fetch("GET", USER).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_down_is_sent_again() {
    let disk = Arc::new(Disobedient::default());
    let house = House::with(Plan { disk: disk.clone(), ..plan() }).await;
    let mut browser = house.signed_in(MARISOL).await;
    disk.full.store(true, Ordering::SeqCst);
    house.discord().tell(Some(house.webhook_url()));
    let notice = removed(CLIENT_ID, MARISOL, house.clock.now());
    let answer = house.hears(&notice).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "log_unavailable"), "{answer}");
    assert_eq!(browser.fetch("GET", USER).await.status, 200);
    house.discord().deauthorize(MARISOL).await.expect("stores");
    disk.full.store(false, Ordering::SeqCst);
    let told = house.as_time_passes(A_SECOND, house.discord().told(1)).await;
    assert_eq!(told[0].status, Some(204));
    assert_eq!(browser.fetch("GET", USER).await.status, 401);
}
