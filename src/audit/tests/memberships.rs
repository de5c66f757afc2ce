//! What somebody is in guilds, and which rules decide, in every answer that tells of it.

use std::time::Duration;

use serde_json::json;

use crate::app::By;
use crate::audit::town::{BEGINNING, Town};
use crate::audit::{LogSource, Opener, Reader, When};
use crate::domain::command::Command;
use crate::domain::event::{Membership, Requester};
use crate::domain::id::{DiscordId, Position};
use crate::domain::rules::{Rules, Term};

const GUILD: DiscordId = DiscordId(197_038_439_483_310_086);

fn member(roles: &[u64]) -> Membership {
    let roles = roles.iter().copied().map(DiscordId).collect();
    Membership { member: true, roles, nick: Some("Bob".into()), ..Membership::none(GUILD) }
}

/// A town in which one person has a role and then loses it, and the rules change last.
async fn lived() -> (Town, Position, Position) {
    let town = Town::founded().await;
    town.sign_in(1).await;
    let user = town.sub(1).unwrap();
    let observe = |memberships| Command::ObserveMemberships { user, memberships };
    let with_role = observe(vec![member(&[3, 2]), Membership::none(DiscordId(9))]);
    let before = town.app.execute(with_role, &By::SYSTEM).await.unwrap().position().unwrap();
    town.clock.advance(Duration::from_secs(60));
    let after = town.app.execute(observe(vec![member(&[3])]), &By::SYSTEM).await.unwrap().position().unwrap();
    let rules = Rules { allow: Some(vec![Term::Guild(GUILD)]), ..Rules::default() };
    town.app.change_rules(rules, &By::SYSTEM).await.unwrap();
    (town, before, after)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_signed_in_is_told_with_what_they_were_at_that_moment() {
    let (town, before, _) = lived().await;
    let (reader, now) = (town.reader(), BEGINNING);
    let seen = async |when| {
        let view = reader.view(when, now).await.unwrap().unwrap();
        json!(view.signed_in(reader.opener())[0].memberships)
    };
    let then = seen(When::After(before)).await;
    assert_eq!(
        then[0],
        json!({
            "guild": "9", "member": false, "roles": [], "nick": null, "pending": false,
            "recorded_at": BEGINNING.to_string(),
        })
    );
    assert_eq!((&then[1]["guild"], &then[1]["roles"]), (&json!(GUILD.to_string()), &json!(["2", "3"])));
    let now = seen(When::Now).await;
    assert_eq!((&now[1]["roles"], &now[1]["nick"]), (&json!(["3"]), &json!("Bob")));
    assert_ne!(now[1]["recorded_at"], then[1]["recorded_at"]);
    town.app.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_role_and_other_rules_are_differences_between_two_moments() {
    let (town, before, after) = lived().await;
    let reader = town.reader();
    let diff = async |from, to| reader.diff(from, to, BEGINNING).await.unwrap().unwrap();
    let found = diff(When::After(before), When::Now).await;
    let told: Vec<_> = found.iter().map(|change| (change.what, change.position, &*change.summary)).collect();
    assert_eq!(
        told,
        [
            ("membership changed", Some(after.0), "is a member of guild 197038439483310086 with 1 role"),
            ("rules changed", Some(after.0 + 1), "the rules changed"),
        ]
    );
    assert_eq!(found[0].id, Some(GUILD.to_string()));
    assert_eq!(found[1].id, Some(town.app.rules().hash().to_string()));
    assert_eq!(found[0].user.as_ref().unwrap().id, Some(Town::id(1).to_string()));
    assert_eq!(diff(When::After(after), When::After(after)).await, []);
    // Somebody new is new as a whole, and the first rules are others than none.
    let whats: Vec<_> =
        diff(When::After(Position(0)), When::Now).await.iter().map(|change| change.what).collect();
    assert_eq!(whats, ["session opened", "user new", "grant issued", "rules changed"]);
    town.app.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_about_a_person_has_their_guilds_until_they_are_erased() {
    let (town, before, after) = lived().await;
    let user = town.sub(1).unwrap();
    let (reader, now) = (town.reader(), BEGINNING);
    let head = reader.head().await.unwrap().unwrap();
    let holdings = reader.holdings(user, head, now).await.unwrap();
    assert_eq!(json!(holdings.memberships)[1]["roles"], json!(["3"]));
    let rows = holdings.events.iter().filter(|row| row.kind == "membership.observed");
    let told: Vec<_> =
        rows.map(|row| (row.position, row.data["slot"].clone(), row.summary.clone())).collect();
    assert_eq!(told.len(), 3);
    assert_eq!(told[0], (Some(before.0), json!(0), "is no member of guild 9".into()));
    assert_eq!((told[2].0, &told[2].1), (Some(after.0), &json!(1)), "in the place of what was known");

    let story = reader.story(user, When::Now, now).await.unwrap().unwrap();
    let standing =
        "is a member of guild 197038439483310086 with 1 role, first seen so at 2026-01-02T03:05:05Z";
    assert!(story.standing.contains(standing), "{}", story.standing);
    assert!(story.story.iter().any(|line| line.what.contains("with 2 roles")), "{story:?}");

    // Without keys there is that something changed, and nothing of what it is.
    let blind = Reader::new(std::sync::Arc::new(LogSource(town.app.log().clone())), Opener::default());
    let holdings = blind.holdings(user, head, now).await.unwrap();
    assert_eq!(json!(holdings.memberships), json!([]));
    let text = serde_json::to_string(&holdings).unwrap();
    assert!(
        text.contains("what they are in a guild changed") && !text.contains(&GUILD.to_string()),
        "{text}"
    );

    let erase = Command::Erase { user, requested_by: Requester::User, confirmed: None };
    town.app.execute(erase, &By::SYSTEM).await.unwrap();
    let view = reader.view(When::Now, now).await.unwrap().unwrap();
    assert_eq!(view.state.user(user), None);
    town.app.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_with_rules_shows_their_text_to_whoever_has_the_log_key() {
    let (town, _, after) = lived().await;
    let whole = town.reader().whole(after.next()).await.unwrap();
    assert_eq!(whole.events[0].kind, "rules.changed");
    assert_eq!(whole.events[0].data["text"], json!(town.app.rules().canonical()));
    assert_eq!(whole.events[0].data["new"], json!(town.app.rules().hash().to_string()));
    assert_eq!((&*whole.boxes[0].owner, whole.boxes[0].opened), ("log", true));
    let start = town.reader().whole(Position(1)).await.unwrap();
    assert_eq!(
        start.events.iter().map(|event| event.kind).collect::<Vec<_>>(),
        ["server.started", "rules.changed"]
    );
    town.app.close().await.unwrap();
}
