//! What the client sends, what it makes of answers, and when it stays silent.

use super::super::Unreadable;
use super::super::scripted::{
    Act, EagerClock, GUILD, Rig, START, Scripted, answer, client, fixture, good_token, good_user, json, secs,
    settings,
};
use super::*;
use crate::domain::event::{FailureCode, OutageCause};
use crate::entropy::SeededEntropy;

macro_rules! snapshot {
    ($name:literal, $value:expr) => {{
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!($name, $value));
    }};
}

#[tokio::test]
async fn every_request_stands_on_the_wire_as_discord_wants_it() {
    let own = json(200, fixture!("token_client_credentials.json"));
    let revoked = json(200, fixture!("revoked.json"));
    let member = json(200, fixture!("member.json"));
    let rig = Rig::new([good_token(), good_token(), revoked, good_user(), own, member]).await;
    rig.exchange().await.expect("tokens");
    rig.refresh().await.expect("tokens");
    rig.client.revoke(&Secret::new("refresh-1")).await.expect("revoked");
    rig.user().await.expect("a user");
    rig.client.client_credentials().await.expect("credentials");
    rig.member().await.expect("a member");
    let heard = rig.discord.heard();
    assert_eq!(heard.len(), 6);
    snapshot!("discord_request_exchange_code", heard[0]);
    snapshot!("discord_request_refresh", heard[1]);
    snapshot!("discord_request_revoke", heard[2]);
    snapshot!("discord_request_current_user", heard[3]);
    snapshot!("discord_request_client_credentials", heard[4]);
    snapshot!("discord_request_member", heard[5]);
}

#[tokio::test]
async fn people_are_sent_to_discord_with_everything_it_asks_for() {
    let scopes = ["identify".to_owned(), "email".to_owned()];
    let mut request = AuthorizeRequest {
        state: "3q2-7wAA+/=& é",
        challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        scopes: &scopes,
        prompt_none: true,
    };
    let rig = Rig::new([]).await;
    let url = rig.client.authorize_url(&request);
    snapshot!("discord_authorize_url", url);
    let parsed = Url::parse(&url).expect("a url");
    let state = parsed.query_pairs().find(|(name, _)| name == "state").map(|(_, value)| value.into_owned());
    assert_eq!(state.as_deref(), Some(request.state));
    request.prompt_none = false;
    assert_eq!(rig.client.authorize_url(&request), url.replace("&prompt=none", ""));
}

#[tokio::test]
async fn both_families_of_errors_reach_the_caller_as_facts() {
    let rig = Rig::new([
        json(400, fixture!("invalid_grant.json")),
        json(401, fixture!("invalid_client.json")),
        json(400, fixture!("missing_code_verifier.json")),
        json(401, fixture!("unauthorized.json")),
    ])
    .await;
    let refused = CallError::Refused { status: 400, code: FailureCode::InvalidGrant };
    assert_eq!(rig.refresh().await, Err(refused));
    assert_eq!(rig.refresh().await, Err(CallError::ClientRejected { status: 401 }));
    assert_eq!(rig.exchange().await, Err(CallError::ClientRejected { status: 400 }));
    assert_eq!(rig.user().await.err(), Some(CallError::Unauthorized));
    assert_eq!((rig.calls(), rig.clock.waits()), (4, vec![]), "none of them is asked again");
}

#[tokio::test]
async fn only_discord_s_own_word_makes_somebody_no_member() {
    for known in [fixture!("unknown_guild.json"), fixture!("unknown_member.json")] {
        let rig = Rig::new([json(404, known)]).await;
        assert!(rig.member().await == Ok(Membership::none(GUILD)));
    }
    let unexpected = |status, code| CallError::Unexpected { status, code };
    let limited = CallError::RateLimited { retry_after: secs(64.57), global: true };
    let unreadable = CallError::Unreadable { status: 200, why: Unreadable::Malformed };
    for (act, error) in [
        (json(404, r#"{"message": "404: Not Found", "code": 0}"#), unexpected(404, Some(0))),
        (json(404, "<html>"), unexpected(404, None)),
        (json(400, fixture!("unknown_guild.json")), unexpected(400, Some(10004))),
        (json(403, fixture!("missing_scope.json")), unexpected(403, Some(50026))),
        (json(401, fixture!("unauthorized.json")), CallError::Unauthorized),
        (json(429, fixture!("rate_limited_global.json")), limited),
        (json(200, fixture!("unknown_guild.json")), unreadable),
        (json(200, "null"), unreadable),
    ] {
        let rig = Rig::new([act]).await;
        assert_eq!((rig.member().await.err(), rig.calls()), (Some(error), 1));
    }
    let trouble = || json(502, fixture!("bad_gateway.html"));
    let rig = Rig::new([trouble(), trouble(), trouble()]).await;
    assert_eq!(rig.member().await.err(), Some(CallError::ServerError { status: 502 }));
    assert_eq!(rig.calls(), 3);
}

#[tokio::test]
async fn refusals_are_counted_and_end_all_calls_long_before_discord_does() {
    let refused = || json(401, fixture!("unauthorized.json"));
    let rig = Rig::new((0..SPENT + 1).map(|_| refused())).await;
    for _ in 1..STRAINED {
        assert_eq!(rig.user().await.err(), Some(CallError::Unauthorized));
    }
    assert!(!rig.client.is_strained());
    assert_eq!(rig.member().await.err(), Some(CallError::Unauthorized));
    assert!(rig.client.is_strained() && rig.client.exhausted_for().is_zero());
    for _ in STRAINED..SPENT {
        assert_eq!(rig.user().await.err(), Some(CallError::Unauthorized), "a sign-in may still be asked");
    }
    let exhausted = CallError::Exhausted { retry_after: secs(600.0) };
    assert_eq!(rig.user().await.err(), Some(exhausted));
    assert_eq!(rig.exchange().await, Err(exhausted));
    assert_eq!((rig.calls(), exhausted.outcome_unknown()), (SPENT, false));
    rig.clock.clock.advance(secs(600.0));
    assert!(!rig.client.is_strained());
    assert_eq!(rig.user().await.err(), Some(CallError::Unauthorized));
}

#[tokio::test]
async fn what_changes_something_has_a_connection_of_its_own() {
    let held = || Act::Hold(answer(200, &[], fixture!("token.json")));
    let rig = Rig::new([held(), held()]).await;
    // On the first connection nobody listens any more.
    rig.refresh().await.expect("tokens");
    rig.refresh().await.expect("the held connection is not used again");
    assert_eq!(rig.calls(), 2);
}

#[tokio::test]
async fn a_global_limit_pauses_every_call_until_it_ends() {
    let rig = Rig::new([json(429, fixture!("rate_limited_global.json")), good_token(), good_user()]).await;
    let told = rig.client.outage();
    let expected = CallError::RateLimited { retry_after: secs(64.57), global: true };
    assert_eq!(rig.user().await.err(), Some(expected));
    let until = START.plus(secs(64.57));
    let cause = OutageCause::GlobalRateLimit;
    assert_eq!(*told.borrow(), Some(Outage { cause, until: Some(until) }));
    let paused = CallError::Paused { cause, until };
    assert_eq!(rig.user().await.err(), Some(paused));
    assert_eq!(rig.exchange().await, Err(paused));
    assert_eq!(rig.client.revoke(&Secret::new("a")).await, Err(paused));
    assert_eq!(rig.client.client_credentials().await, Err(paused));
    assert_eq!((rig.calls(), paused.outcome_unknown()), (1, false));

    rig.clock.clock.advance(secs(64.57));
    assert!(rig.refresh().await.is_ok());
    assert_eq!(*told.borrow(), None);
}

#[tokio::test]
async fn a_ban_pauses_every_call_and_is_taken_up_after_a_restart() {
    let headers = ["Content-Type: text/plain", "Retry-After: 3600", "Connection: close"];
    let ban = Act::Say(answer(429, &headers, fixture!("cloudflare_1015.txt")));
    let rig = Rig::new([ban]).await;
    assert_eq!(rig.exchange().await.expect_err("a ban").status(), Some(429));
    let outage = rig.client.outage().borrow().expect("it is known");
    assert_eq!(outage.until, Some(START.plus(secs(3600.0))));
    assert!(matches!(rig.user().await, Err(CallError::Paused { cause: OutageCause::CloudflareBan, .. })));

    let next = Rig::new([good_user()]).await;
    next.client.pause_until(outage);
    assert!(matches!(next.user().await, Err(CallError::Paused { .. })));
    next.clock.clock.advance(secs(3600.0));
    assert!(next.user().await.is_ok());
    assert_eq!((rig.calls(), next.calls()), (1, 1));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    for status in [301, 302, 307, 308] {
        let elsewhere = Scripted::start([good_user(), good_token()]).await;
        let location = format!("Location: {}/users/@me", elsewhere.url);
        let redirect = || Act::Say(answer(status, &[&location, "Connection: close"], ""));
        let rig = Rig::new([redirect(), redirect()]).await;
        let expected = CallError::Unexpected { status, code: None };
        assert_eq!(rig.user().await.err(), Some(expected));
        assert_eq!(rig.exchange().await, Err(expected));
        assert_eq!((elsewhere.heard().len(), rig.calls()), (0, 2));
    }
}

#[tokio::test]
async fn a_slash_at_the_end_of_the_base_is_one_slash() {
    let rig = Rig::new([good_user()]).await;
    let client = client(&format!("{}/", rig.discord.url), rig.clock.clone());
    assert!(client.current_user(&Secret::new("access-1")).await.is_ok());
    assert!(rig.discord.heard()[0].starts_with("GET /api/v10/users/@me HTTP/1.1\n"));
}

#[tokio::test]
async fn a_client_needs_web_addresses() {
    let build = |settings| {
        Client::new(settings, EagerClock::new(START), Arc::new(SeededEntropy::new("jitter"))).err()
    };
    for wrong in ["", "discord.com", "ftp://discord.com", "/api"] {
        let error = build(settings(wrong));
        assert!(matches!(error, Some(ClientError::NotAUrl { setting: "api_url" })), "{wrong}");
    }
    let origin = Settings { public_origin: "http://x\n".into(), ..settings("http://127.0.0.1") };
    assert!(matches!(build(origin), Some(ClientError::UserAgent)));
    assert!(build(settings("http://127.0.0.1/api/v10/")).is_none());
}
