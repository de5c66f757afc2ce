//! What somebody is in guilds, from the command to the box and back.

use crate::app::rig::{House, sign_in, sign_in_with};
use crate::app::{By, OpenProfile};
use crate::domain::command::Command;
use crate::domain::event::{Event, Membership, Profile, Requester};
use crate::domain::id::{DiscordId, Sub};
use crate::event_log::codec::{MAX_FRAME, encode_record};

fn member(guild: u64, roles: &[u64]) -> Membership {
    let roles = roles.iter().copied().map(DiscordId).collect();
    Membership { member: true, roles, ..Membership::none(DiscordId(guild)) }
}

fn observe(user: Sub, memberships: Vec<Membership>) -> Command {
    Command::ObserveMemberships { user, memberships }
}

#[test]
fn an_open_profile_prints_as_nothing_even_once_it_is_written_down() {
    let profile = Profile {
        id: DiscordId(7),
        username: "nelly".into(),
        global_name: None,
        discriminator: "0".into(),
        avatar: None,
        locale: None,
        email: None,
        email_verified: None,
    };
    let open = OpenProfile::new(profile);
    assert_eq!(
        open.written(|profile| format!("{{\"username\":{:?}}}", profile.username)),
        "{\"username\":\"nelly\"}"
    );
    assert_eq!(open.written(|_| "once".to_owned()), "{\"username\":\"nelly\"}");
    assert_eq!(format!("{open:?}"), "OpenProfile(..)");
}

#[tokio::test(flavor = "multi_thread")]
async fn memberships_are_opened_once_and_again_after_they_changed() {
    let house = House::new();
    let (app, _) = house.open().await;
    let user = sign_in_with(&app, 1, 11, vec![member(7, &[1]), member(8, &[2])]).await;
    let known = app.memberships_of(user).unwrap();
    assert_eq!(known[..], [member(7, &[1]), member(8, &[2])]);
    assert!(std::sync::Arc::ptr_eq(&known, &app.memberships_of(user).unwrap()), "kept");

    let seen = vec![member(8, &[3]), member(7, &[1])];
    let done = app.execute(observe(user, seen.clone()), &By::SYSTEM).await.unwrap();
    assert_eq!(done.events().collect::<Vec<_>>(), [&Event::MembershipObserved { slot: 1 }]);
    assert_eq!(app.memberships_of(user).unwrap()[..], [member(7, &[1]), member(8, &[3])]);
    let done = app.execute(observe(user, seen), &By::SYSTEM).await.unwrap();
    assert!(done.records.is_empty(), "no news");

    // And a start knows them again.
    assert!(app.sessions_of(user).len() == 1 && sign_in(&app, 2, 21).await != user);
    app.close().await.unwrap();
    let (app, replayed) = house.open().await;
    assert!(replayed.stored > 0, "from a stored state");
    assert_eq!(app.memberships_of(user).unwrap()[..], [member(7, &[1]), member(8, &[3])]);
    app.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_somebody_erased_nothing_is_known() {
    let house = House::new();
    let (app, _) = house.open().await;
    let user = sign_in_with(&app, 1, 11, vec![member(7, &[1])]).await;
    assert!(app.memberships_of(user).is_some());
    let erase = Command::Erase { user, requested_by: Requester::User, confirmed: None };
    app.execute(erase, &By::SYSTEM).await.unwrap();
    app.forget_opened(user);
    assert_eq!(app.memberships_of(user), None);
    assert_eq!(app.memberships_of(Sub([9; 16])), None, "nobody");
    app.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_guilds_and_roles_as_there_can_be_fit_into_records() {
    let house = House::new();
    let (app, _) = house.open().await;
    // As long as ids and names get.
    let roles: Vec<u64> = (0..250).map(|n| u64::MAX - 249 + n).collect();
    let nick = Some("\u{1f426}".repeat(32));
    let guild = |n: u64| Membership { nick: nick.clone(), ..member(u64::MAX - 199 + n, &roles) };
    let many: Vec<_> = (0..200).map(guild).collect();
    let before = app.frontier().size();
    let user = sign_in_with(&app, 1, 11, many.clone()).await;
    assert_eq!(app.frontier().size() - before, 11);
    assert_eq!(app.memberships_of(user).unwrap()[..], many);
    assert_eq!(app.sessions_of(user).len(), 1);
    for observed in app.state().user(user).unwrap().memberships.values() {
        assert!(observed.fact.sealed.ciphertext.len() < MAX_FRAME - 10_000, "with room for a sign-in");
    }
    let left = many.iter().map(|membership| Membership::none(membership.guild)).collect();
    let done = app.execute(observe(user, left), &By::SYSTEM).await.unwrap();
    assert_eq!(done.records.len(), 1);
    assert!(encode_record(&done.records[0].record).unwrap().len() < MAX_FRAME);
    app.close().await.unwrap();
}
