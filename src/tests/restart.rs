//! Whatever ends the process, what was acknowledged is there again: the log is replayed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use doorbook::discord::stand_in::faults::{Fault, FaultKind};
use doorbook::discord::stand_in::requests::Route;
use doorbook::domain::event::{Cause, Event, FailureCode, RevokedBy};
use doorbook::domain::id::DiscordId;
use tokio::sync::watch;

use crate::harness::{Browser, House, MARISOL, Process, QUIETFOX};

/// Who signed in, and the cookies that came with the answer.
type Acknowledged = (DiscordId, BTreeMap<String, String>);

async fn status_of_user(browser: &mut Browser) -> u16 {
    browser.fetch("GET", "/api/auth/user").await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_right_after_the_reply_signs_nobody_out() {
    let house = House::for_processes().await;
    let mut process = Process::serve(&house).await;
    let browser = process.signed_in(&house, MARISOL).await;
    process.kill();
    let process = Process::serve(&house).await;
    let mut browser = process.visited_by(browser.cookies);
    let user = browser.fetch("GET", "/api/auth/user").await;
    assert_eq!(user.status, 200, "{user}");
    assert_eq!(user.json()["id"], MARISOL.to_string());
    assert!(process.said("err").contains("the last stop was not clean"), "{}", process.said("err"));
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_kills_under_sign_ins_lose_nothing_that_was_acknowledged() {
    let house = House::for_processes().await;
    let people: Vec<DiscordId> = house.discord().people().iter().map(|person| person.id).collect();
    let acknowledged: Arc<Mutex<Vec<Acknowledged>>> = Arc::default();
    for round in 0..20_u64 {
        let mut process = Process::serve(&house).await;
        check_all(&process, &acknowledged).await;
        let (count, mut counted) = watch::channel(0_u64);
        let identified = house.discord().count(Route::Me);
        let visitors: Vec<_> = people
            .iter()
            .map(|user| {
                let (user, count, discord) = (*user, count.clone(), house.discord().clone());
                let (browser, acknowledged) = (process.browser(), acknowledged.clone());
                tokio::spawn(async move {
                    for _ in 0..3 {
                        // Panics as soon as the connection breaks; that one was not acknowledged.
                        let mut browser = browser.clone();
                        let landed = browser.sign_in(&discord, user).await;
                        assert_eq!(landed.status, 303, "{landed}");
                        acknowledged.lock().expect("whole").push((user, browser.cookies));
                        count.send_modify(|count| *count += 1);
                    }
                })
            })
            .collect();
        // Some rounds end with an answer, others while Discord has just said who it is.
        if round % 2 == 0 {
            counted.wait_for(|count| *count > round / 2).await.expect("sign-ins go on");
        } else {
            house.discord().wait_for(Route::Me, identified + round / 2 + 1).await;
        }
        process.kill();
        for visitor in visitors {
            let _ = visitor.await;
        }
    }
    let process = Process::serve(&house).await;
    check_all(&process, &acknowledged).await;
    assert!(acknowledged.lock().expect("whole").len() >= 20);
}

async fn check_all(process: &Process, acknowledged: &Mutex<Vec<Acknowledged>>) {
    let all = acknowledged.lock().expect("whole").clone();
    for (user, cookies) in all {
        let answer = process.visited_by(cookies).fetch("GET", "/api/auth/user").await;
        assert_eq!(answer.status, 200, "the session of {user} is lost: {answer}");
    }
}

/// Signs somebody in, kills the server while their refresh is held, and starts it again.
async fn killed_inside_a_refresh(house: &House, fault: Fault) -> (Process, Browser) {
    let mut process = Process::serve(house).await;
    let browser = process.signed_in(house, MARISOL).await;
    house.discord().add_fault(fault);
    let mut asking = browser.clone();
    let asked = tokio::spawn(async move { asking.fetch("POST", "/api/auth/refresh").await });
    house.discord().wait_until_held(1).await;
    process.kill();
    // No answer: it died before there was one.
    assert!(asked.await.is_err());
    (process, browser)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_inside_a_refresh_that_used_nothing_up_is_settled_by_the_second_attempt() {
    let house = House::for_processes().await;
    let held = Fault::new(Route::Refresh, FaultKind::Hold).once();
    let (_, browser) = killed_inside_a_refresh(&house, held).await;

    let mut process = Process::serve(&house).await;
    house.discord().wait_for(Route::Refresh, 2).await;
    let mut browser = process.visited_by(browser.cookies);
    assert_eq!(status_of_user(&mut browser).await, 200);
    // The end in order waits for the conclusion.
    let ended = process.terminate().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let events = house.events();
    let claims: Vec<u8> = events
        .iter()
        .filter_map(|(_, event)| match event {
            Event::GrantRefreshClaimed { attempt, .. } => Some(*attempt),
            _ => None,
        })
        .collect();
    assert_eq!(claims, [1, 2]);
    let issued = events.iter().find_map(|(_, event)| match event {
        Event::GrantIssued { tokens, .. } => Some(*tokens),
        _ => None,
    });
    let renewed = events.iter().find_map(|(_, event)| match event {
        Event::GrantRefreshed { old, new, .. } => Some((*old, *new)),
        _ => None,
    });
    let (old, new) = renewed.expect("there are new tokens");
    assert_eq!(Some(old), issued);
    assert_ne!(old, new);

    // The new tokens are good, too.
    let process = Process::serve(&house).await;
    let mut browser = process.visited_by(browser.cookies);
    let fresh = browser.fetch("GET", "/api/auth/user?fresh=1").await;
    assert_eq!(fresh.status, 200, "{fresh}");
    assert_eq!(fresh.json()["stale"], false);
    assert_eq!(house.discord().count(Route::Refresh), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_inside_a_refresh_that_used_the_token_up_ends_the_sessions_with_the_reason() {
    let house = House::for_processes().await;
    let held = Fault::new(Route::Refresh, FaultKind::Hold).once().after_the_effect();
    let (_, browser) = killed_inside_a_refresh(&house, held).await;

    let mut process = Process::serve(&house).await;
    house.discord().wait_for(Route::Refresh, 2).await;
    let ended = process.terminate().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let events = house.events();
    assert!(has_failed_for_good(&events, FailureCode::InvalidGrant), "{events:?}");
    assert!(has_lost_its_sessions(&events), "{events:?}");
    let revoked =
        |event: &Event| matches!(event, Event::GrantRevoked { source: RevokedBy::InvalidGrant, .. });
    assert!(events.iter().any(|(_, event)| revoked(event)), "{events:?}");

    let process = Process::serve(&house).await;
    let mut browser = process.visited_by(browser.cookies);
    assert_eq!(status_of_user(&mut browser).await, 401);
    assert_eq!(house.discord().count(Route::Refresh), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_death_inside_a_refresh_leaves_its_outcome_unknown() {
    let house = House::for_processes().await;
    let held = Fault::new(Route::Refresh, FaultKind::Hold);
    let (_, browser) = killed_inside_a_refresh(&house, held).await;
    let mut process = Process::serve(&house).await;
    house.discord().wait_for(Route::Refresh, 2).await;
    process.kill();

    let mut process = Process::serve(&house).await;
    let mut browser = process.visited_by(browser.cookies);
    let ended = process.terminate().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let events = house.events();
    assert!(has_failed_for_good(&events, FailureCode::OutcomeUnknown), "{events:?}");
    assert!(has_lost_its_sessions(&events), "{events:?}");
    assert_eq!(house.discord().count(Route::Refresh), 2, "there is no third attempt");

    let process = Process::serve(&house).await;
    browser = process.visited_by(browser.cookies);
    assert_eq!(status_of_user(&mut browser).await, 401);
    // Signing in again is the way on.
    house.discord().clear_faults();
    process.signed_in(&house, MARISOL).await;
}

fn has_failed_for_good(events: &[(u64, Event)], why: FailureCode) -> bool {
    events.iter().any(|(_, event)| {
        matches!(event, Event::GrantRefreshFailed { code, attempt: 2, is_final: true, .. } if *code == why)
    })
}

fn has_lost_its_sessions(events: &[(u64, Event)]) -> bool {
    events.iter().any(|(_, event)| {
        matches!(event, Event::SessionRevoked { sessions, cause: Cause::GrantLost, .. } if sessions.len() == 1)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_that_discord_has_not_confirmed_outlives_a_kill() {
    let house = House::for_processes().await;
    let mut process = Process::serve(&house).await;
    let mut browser = process.signed_in(&house, MARISOL).await;
    let cookies = browser.cookies.clone();
    house.discord().add_fault(Fault::new(Route::Revoke, FaultKind::ServerError { status: 503, body: None }));
    let revoked = browser.fetch("POST", "/api/auth/revoke").await;
    assert_eq!(revoked.status, 202, "{revoked}");
    assert_eq!(revoked.json()["revoked"], "pending");
    process.kill();
    house.discord().clear_faults();
    let asked = house.discord().count(Route::Revoke);

    let mut process = Process::serve(&house).await;
    house.discord().wait_for(Route::Revoke, asked + 1).await;
    assert_eq!(status_of_user(&mut process.visited_by(cookies)).await, 401);
    assert_eq!(process.terminate().await.code, Some(0));
    let events = house.events();
    let confirmed = |event: &Event| matches!(event, Event::GrantRevocationConfirmed { .. });
    assert!(events.iter().any(|(_, event)| confirmed(event)), "{events:?}");
    let grants = house.discord().grants();
    let alive: usize = grants.iter().map(|grant| grant.access_tokens + grant.refresh_tokens).sum();
    assert_eq!(alive, 0, "Discord has ended the tokens");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_it_in_order_and_the_next_start_finds_a_clean_log() {
    let house = House::for_processes().await;
    let mut process = Process::serve(&house).await;
    let browser = process.signed_in(&house, QUIETFOX).await;
    let ended = process.terminate().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.is_empty(), "results only: {}", ended.stdout);
    let events = house.events();
    let [
        ..,
        (stopped, Event::ServerStopped { clean: true }),
        (_, Event::CheckpointSigned { size, state, .. }),
    ] = events.as_slice()
    else {
        panic!("{:?}", events.last())
    };
    assert_eq!(*size, stopped + 1, "it signs for everything at the end");
    assert!(state.is_some(), "and for the state that it leaves");

    let process = Process::serve(&house).await;
    assert_eq!(status_of_user(&mut process.visited_by(browser.cookies)).await, 200);
    let said = process.said("err");
    assert!(!said.contains("not clean"), "{said}");
    assert!(said.contains("replayed the log: "), "{said}");
    assert!(!house.data_dir().join("log.probe").exists(), "no copy had to be looked at");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_replayed_is_the_state_lived() {
    let mut house = House::open().await;
    house.signed_in(MARISOL).await;
    let mut leaving = house.signed_in(MARISOL).await;
    house.clock.advance(std::time::Duration::from_secs(90));
    let mut quiet = house.signed_in(QUIETFOX).await;
    assert_eq!(quiet.fetch("POST", "/api/auth/refresh").await.status, 200);
    assert_eq!(leaving.fetch("POST", "/api/auth/logout").await.status, 204);
    let lived = users_and_sessions(&house);
    house.restart().await;
    assert_eq!(users_and_sessions(&house), lived);
    house.restart().await;
    assert_eq!(users_and_sessions(&house), lived);
}

fn users_and_sessions(house: &House) -> String {
    let state = format!("{:#?}", *house.doorbook().app.state());
    state.split_once("users:").expect("the users of the state").1.to_owned()
}
