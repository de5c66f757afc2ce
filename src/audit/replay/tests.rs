//! Other rules for a village: who is asked about, and what becomes of them.

use std::time::Duration;

use super::*;
use crate::audit::town::{GUILD, Town, Village, member};
use crate::clock::Clock as _;
use crate::domain::command::Command;
use crate::domain::event::{Membership, Requester};
use crate::domain::host::HostPattern;
use crate::domain::id::DiscordId;
use crate::domain::path::RulePath;

fn open(allow: Vec<Term>) -> Rules {
    let rule = Rule {
        host: HostPattern::parse("wiki.example.org").unwrap(),
        path: RulePath::root(),
        grant: Grants::To { allow, deny: vec![] },
        methods: None,
        networks: None,
        allow_preflight: false,
    };
    Rules { rules: vec![rule], ..Rules::default() }
}

fn members() -> Rules {
    Rules { allow: Some(vec![Term::Guild(GUILD)]), ..open(vec![Term::SignedIn]) }
}

async fn replay(village: &Village, new: &Rules, since: Duration) -> Replay {
    let now = village.0.clock.now();
    let parse = |text: &str| {
        let known = members();
        (known.canonical() == text).then_some(known).ok_or_else(|| text.to_owned())
    };
    village.0.reader().replay(new, now.minus(since), now, parse).await.unwrap().unwrap()
}

/// Says it as `who: what`, without the place.
fn told(replay: &Replay) -> Vec<String> {
    let whom = |shift: &Shift| match &shift.user {
        Some(whom) => whom.username.clone().unwrap(),
        None => "anybody".to_owned(),
    };
    let word = |shift: &Shift| format!("{} {} {}", whom(shift), shift.change.word(), shift.question);
    replay.shifts.iter().map(word).collect()
}

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test(flavor = "multi_thread")]
async fn everybody_who_came_or_was_there_or_was_turned_away_is_asked_about_and_nobody_else() {
    let village = Village::founded(members()).await;
    let sign_in = |who, memberships| village.0.sign_in_with(who, memberships);
    sign_in(0, vec![member(&[])]).await;
    sign_in(1, vec![member(&[])]).await;
    sign_in(4, vec![member(&[])]).await;
    village.0.log_out(1).await;
    sign_in(10, vec![Membership::none(GUILD)]).await;
    village.after(2 * HOUR);
    sign_in(2, vec![member(&[])]).await;
    sign_in(11, vec![Membership::none(GUILD)]).await;
    // Turned away first, and then let in.
    sign_in(3, vec![Membership::none(GUILD)]).await;
    sign_in(3, vec![member(&[])]).await;
    let erased = village.0.sub(4).unwrap();
    let erase = Command::Erase { user: erased, requested_by: Requester::User, confirmed: None };
    village.0.app.execute(erase, &crate::app::By::SYSTEM).await.unwrap();

    let others = Rules { allow: Some(vec![Term::User(Town::id(10)), Term::User(Town::id(11))]), ..members() };
    let lately = replay(&village, &others, HOUR).await;
    assert_eq!(
        told(&lately),
        [
            "person.0 loses sign_in",
            "person.0 loses open",
            "person.2 loses sign_in",
            "person.2 loses open",
            "person.3 loses sign_in",
            "person.3 loses open",
            "person.11 gains sign_in",
            "person.11 gains open",
        ]
    );
    assert_eq!(lately.people, 4, "the first stranger and the one who had gone came too long ago");
    let ever = replay(&village, &others, 3 * HOUR).await;
    assert_eq!(ever.people, 6);
    assert!(told(&ever).contains(&"person.1 loses open".to_owned()));
    assert!(told(&ever).contains(&"person.10 gains open".to_owned()));
    assert_eq!(ever.changed[&AccessChange::Loses], 4);

    // Each names a record about them.
    for shift in &ever.shifts {
        let position = Position(shift.position.unwrap());
        let (record, _) = village.0.reader().record(position).await.unwrap();
        let sub = record.subject.map(|subject| subject.sub.to_string());
        assert_eq!(sub, shift.user.as_ref().unwrap().sub, "{shift:?}");
    }
    village.0.app.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_known_may_be_lost_and_what_becomes_public_everybody_gains() {
    let village = Village::founded(members()).await;
    village.0.sign_in_with(0, vec![member(&[])]).await;
    let other = DiscordId(5);
    let unknown = Rules { allow: members().allow, ..open(vec![Term::Guild(other)]) };
    let found = replay(&village, &unknown, HOUR).await;
    assert_eq!(told(&found), ["person.0 may lose open"]);
    assert!(found.shifts[0].why.contains("guild:5") && found.shifts[0].after == "membership_unknown");

    let mut public = members();
    public.rules[0].grant = Grants::Public;
    let found = replay(&village, &public, HOUR).await;
    assert_eq!(told(&found), ["anybody gains open"]);
    let mut gone = members();
    gone.rules.clear();
    assert_eq!(told(&replay(&village, &gone, HOUR).await), ["person.0 loses open"]);
    assert!(told(&replay(&village, &members(), HOUR).await).is_empty(), "the same rules change nothing");
    village.0.app.close().await.unwrap();
}

#[test]
fn only_what_is_known_on_both_sides_is_certain() {
    use AccessChange::{Gains, Loses, MayGain, MayLose};
    use Truth::{No, Unknown, Yes};
    let rows = [
        (Yes, Yes, None),
        (Yes, Unknown, Some(MayLose)),
        (Yes, No, Some(Loses)),
        (Unknown, Yes, Some(MayGain)),
        (Unknown, Unknown, None),
        (Unknown, No, Some(MayLose)),
        (No, Yes, Some(Gains)),
        (No, Unknown, Some(MayGain)),
        (No, No, None),
    ];
    for (before, after, change) in rows {
        assert_eq!(AccessChange::of(before, after), change, "{before:?} {after:?}");
    }
}
