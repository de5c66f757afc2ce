//! Rules that are said at the start, and rules that take over while people are signed in.

use std::time::Duration;

use crate::app::rig::{House, sign_in, sign_in_with};
use crate::app::{By, ExecuteError, OpenError};
use crate::domain::decide::Refusal;
use crate::domain::event::{Event, Private};
use crate::domain::id::{DiscordId, Position};
use crate::domain::record::Owner;
use crate::domain::rules::{Rules, RulesTooLong, Term};

fn only(user: u64) -> Rules {
    Rules { allow: Some(vec![Term::User(DiscordId(user + 80_351_110_224_678_912))]), ..Rules::default() }
}

fn too_many() -> Rules {
    let allow = (0..3_000).map(|n| Term::User(DiscordId(1_000_000_000_000_000_000 + n))).collect();
    Rules { allow: Some(allow), ..Rules::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_says_the_rules_once_and_whoever_has_the_log_key_reads_them() {
    let house = House::new();
    let (app, replayed) = house.open_with(only(1)).await.unwrap();
    assert_eq!((replayed.records, app.frontier().size()), (2, 2), "in the record of the start");
    let known = app.state().rules().cloned().unwrap();
    let fact = known.fact.unwrap();
    assert_eq!((known.hash, fact.sealed.owner), (only(1).hash(), Owner::Log));
    assert!(app.open_private(&fact) == Some(Private::Rules(only(1).canonical())));
    app.close().await.unwrap();

    let (app, _) = house.open_with(only(1)).await.unwrap();
    assert_eq!(app.state().rules().unwrap().fact, Some(fact), "the same rules are not said again");
    app.close().await.unwrap();
    let (app, _) = house.open_with(only(2)).await.unwrap();
    assert_eq!(app.state().rules().unwrap().hash, only(2).hash());
    app.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn other_rules_decide_from_the_moment_on_that_the_log_says_so() {
    let house = House::new();
    let (app, _) = house.open_with(only(1)).await.unwrap();
    sign_in(&app, 1, 11).await;
    sign_in(&app, 2, 21).await;
    assert_eq!(app.sessions().len(), 1, "the second is not on the list");

    let position = app.change_rules(only(2), &By::SYSTEM).await.unwrap();
    assert_eq!(position, Some(Position(app.frontier().size() - 1)));
    assert_eq!((app.rules().hash(), app.state().rules().unwrap().hash), (only(2).hash(), only(2).hash()));
    sign_in(&app, 1, 12).await;
    sign_in(&app, 2, 22).await;
    let live: Vec<_> = app.sessions().iter().map(|session| session.id.0[0]).collect();
    assert_eq!(live, [11, 22], "what is open stays open");

    // What decides nothing is taken over without a word.
    let before = app.frontier().size();
    let shorter = Rules { session_idle: Duration::from_secs(60), ..only(2) };
    assert_eq!(app.change_rules(shorter.clone(), &By::SYSTEM).await.unwrap(), None);
    assert_eq!((&*app.rules(), app.frontier().size()), (&shorter, before));
    app.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_no_record_can_hold_change_nothing() {
    let house = House::new();
    let refused = house.open_with(too_many()).await.err().unwrap();
    assert!(matches!(refused, OpenError::Rules(RulesTooLong { bytes: 60_001.. })), "{refused}");
    assert!(!house.dir.path().join("data").exists(), "nothing was written");

    let (app, _) = house.open_with(only(1)).await.unwrap();
    let before = app.frontier().size();
    let refused = app.change_rules(too_many(), &By::SYSTEM).await.unwrap_err();
    assert!(matches!(refused, ExecuteError::Refused(Refusal::RulesTooLong(_))), "{refused}");
    assert_eq!((&*app.rules(), app.frontier().size()), (&only(1), before));
    app.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_changes_at_once_the_last_one_in_the_log_decides() {
    let house = House::new();
    let (app, _) = house.open().await;
    let changes: Vec<_> = (0..16)
        .map(|user| {
            let app = app.clone();
            tokio::spawn(async move { app.change_rules(only(user), &By::SYSTEM).await.unwrap() })
        })
        .collect();
    for change in changes {
        assert!(change.await.unwrap().is_some());
    }
    assert_eq!(app.rules().hash(), app.state().rules().unwrap().hash);
    app.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_could_not_be_written_down_do_not_decide() {
    let house = House::new();
    let (app, _) = house.open_with(only(1)).await.unwrap();
    app.close().await.unwrap();
    assert!(app.change_rules(only(2), &By::SYSTEM).await.is_err());
    assert_eq!(*app.rules(), only(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_stranger_is_sealed_with_what_they_were() {
    let house = House::new();
    let (app, _) = house.open_with(only(1)).await.unwrap();
    let mut follow = app.log().follow(Position(app.frontier().size()));
    let membership = crate::domain::event::Membership::none(DiscordId(7));
    sign_in_with(&app, 2, 21, vec![membership.clone()]).await;
    let (_, frame) = follow.next().await.unwrap().remove(0);
    let record = crate::event_log::codec::decode_record(&frame).unwrap();
    assert!(matches!(record.events[..], [Event::SignInDenied { .. }]));
    let plain = app.keys().unseal(record.id, &record.sealed[0]).unwrap();
    let private = crate::event_log::codec::private_in(&plain, 0, 11).unwrap();
    let Some(Private::Denied(stranger)) = private else { panic!("a stranger") };
    assert_eq!(stranger.memberships, [membership]);
    app.close().await.unwrap();
}
