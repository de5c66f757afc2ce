//! Answers about a village, compared with what the server itself would decide and with the records they name.

use std::time::Duration;

use super::*;
use crate::audit::town::{GUILD, STAFF, Town, Village, member};
use crate::audit::{LogSource, Opener};
use crate::clock::Clock as _;
use crate::domain::access::{Person as Asked, check};
use crate::domain::event::{Event, Membership, Requester};
use crate::domain::host::HostPattern;
use crate::domain::path::RulePath;
use crate::domain::rules::{Grants, Group, Rule, Term};

fn rule(host: &str, path: &str, allow: Vec<Term>) -> Rule {
    Rule {
        host: HostPattern::parse(host).unwrap(),
        path: RulePath::parse(path).unwrap(),
        grant: Grants::To { allow, deny: vec![] },
        methods: None,
        networks: None,
        allow_preflight: false,
    }
}

fn first() -> Rules {
    let staff = Term::Role { guild: GUILD, role: STAFF };
    let group = Group { name: "staff".into(), any: vec![staff], title: None, help: None, invite: None };
    Rules {
        allow: Some(vec![Term::Guild(GUILD), Term::User(Town::id(3))]),
        groups: vec![group],
        rules: vec![
            rule("wiki.example.org", "/admin", vec![Term::Group("staff".into())]),
            rule("wiki.example.org", "/", vec![Term::Guild(GUILD), Term::EmailDomain("example.org".into())]),
            Rule { grant: Grants::Public, ..rule("status.example.org", "/", vec![]) },
        ],
        ..Rules::default()
    }
}

fn second() -> Rules {
    let mut rules = first();
    rules.rules[1] = rule("wiki.example.org", "/", vec![Term::Guild(GUILD)]);
    rules
}

/// Reads those two.
fn parse(text: &str) -> Result<Rules, String> {
    let known = [first(), second()].into_iter().find(|rules| rules.canonical() == text);
    known.ok_or_else(|| "other rules".to_owned())
}

fn request(url: &str) -> Request {
    let (host, path) = url.split_once('/').unwrap();
    Request {
        url: format!("https://{url}"),
        host: Host::parse(host).unwrap(),
        path: RequestPath::parse(&format!("/{path}")).unwrap(),
        method: "GET".to_owned(),
        address: None,
    }
}

async fn lived() -> Village {
    let village = Village::founded(first()).await;
    village.lives(second()).await;
    village
}

async fn access(village: &Village, who: u64, url: &str, when: When) -> Result<Access, Unanswered> {
    let (reader, sub) = (village.0.reader(), village.0.sub(who).unwrap());
    reader.access(&Who::User(sub), &request(url), when, village.0.clock.now(), parse).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_explained_is_what_the_server_would_decide() {
    let village = lived().await;
    let app = &village.0.app;
    for who in 0..4 {
        let sub = village.0.sub(who).unwrap();
        let memberships = app.memberships_of(sub).unwrap();
        let profile = app.profile_of(sub).unwrap().profile;
        let person = Asked { id: Town::id(who), profile: Some(&profile), memberships: &memberships };
        let person = (!app.sessions_of(sub).is_empty()).then_some(&person);
        for url in [
            "wiki.example.org/admin",
            "wiki.example.org/x",
            "wiki.example.org//admin",
            "status.example.org/",
            "x.example.org/",
        ] {
            let request = request(url);
            let decided = code(&check(&app.rules(), &request.wanted(), person));
            let told = access(&village, who, url, When::Now).await.unwrap();
            assert_eq!(told.verdict, decided, "{who} {url}");
        }
    }
    app.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_position_is_that_of_the_record_that_says_so() {
    let village = lived().await;
    let reader = village.0.reader();
    let mut seen = BTreeSet::new();
    let end = reader.head().await.unwrap().unwrap();
    for moment in (1..=end.0).map(|at| When::After(Position(at))) {
        let told = access(&village, 0, "wiki.example.org/admin", moment).await.unwrap();
        let stands = |line: &Ground| (line.about.clone(), line.position);
        for (about, position) in told.lines.iter().map(stands) {
            let Some(position) = position else { continue };
            assert!(position <= told.up_to, "nothing of later is known");
            let (record, _) = reader.record(Position(position)).await.unwrap();
            let says = |event: &Event| match about.as_str() {
                "session" => matches!(event, Event::SessionOpened { .. }),
                "profile" => matches!(event, Event::ProfileObserved),
                "rules" => matches!(event, Event::RulesChanged { .. }),
                _ => matches!(event, Event::MembershipObserved { .. }),
            };
            assert!(record.events.iter().any(says), "{about} at {position}");
            seen.insert(about);
        }
    }
    let all = ["DOORBOOK_ALLOW", "group staff", "membership", "profile", "rules", "session"];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), all);
    village.0.app.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rules_and_the_facts_are_those_of_that_moment() {
    let village = lived().await;
    let beginning = village.0.reader().record(Position(0)).await.unwrap().0.at;
    let after = |minutes: u64| When::At(beginning.plus(Duration::from_secs(60 * minutes)));
    // The guest by name is no member, and has a verified address: the second rules do not take that.
    let guest = "wiki.example.org/";
    assert_eq!(access(&village, 3, guest, after(10)).await.unwrap().verdict, "allowed");
    assert_eq!(access(&village, 3, guest, after(140)).await.unwrap().verdict, "not_allowed");
    assert_eq!(access(&village, 3, guest, When::Now).await.unwrap().verdict, "not_signed_in");
    let admin = "wiki.example.org/admin";
    assert_eq!(access(&village, 0, admin, after(10)).await.unwrap().verdict, "allowed");
    assert_eq!(access(&village, 0, admin, When::Now).await.unwrap().verdict, "not_allowed");

    // What was recorded within a quarter and an hour counts; whatever is older counts if it was confirmed.
    assert!(access(&village, 2, admin, after(77)).await.unwrap().provided.is_none());
    let provided = access(&village, 2, admin, after(79)).await.unwrap().provided.unwrap();
    assert_eq!((provided.confirmed_within_secs, provided.otherwise.verdict), (4_500, "membership_unknown"));
    // An address grows old in the same way.
    assert!(access(&village, 3, guest, after(78)).await.unwrap().provided.is_none());
    let provided = access(&village, 3, guest, after(80)).await.unwrap().provided.unwrap();
    assert!(provided.otherwise.because.contains("email:example.org"), "{provided:?}");
    village.0.app.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_session_is_listed_and_of_somebody_erased_nothing_is_known() {
    let village = lived().await;
    village.0.sign_in_with(2, vec![member(&[STAFF])]).await;
    let told = access(&village, 2, "wiki.example.org/admin", When::Now).await.unwrap();
    assert_eq!((told.sessions.len(), told.verdict), (2, "allowed"));
    let positions: Vec<_> = told.sessions.iter().map(|session| session.position.unwrap()).collect();
    assert!(positions[0] < positions[1], "{positions:?}");

    let user = village.0.sub(2).unwrap();
    let erase =
        crate::domain::command::Command::Erase { user, requested_by: Requester::User, confirmed: None };
    village.0.app.execute(erase, &crate::app::By::SYSTEM).await.unwrap();
    let told = access(&village, 2, "wiki.example.org/admin", When::Now).await.unwrap();
    assert_eq!((told.verdict, told.sessions.len(), told.if_signed_in.is_none()), ("not_signed_in", 0, true));
    assert!(told.lines.iter().any(|line| line.what == "none: they were erased"), "{:?}", told.lines);
    assert!(told.lines.iter().all(|line| line.about != "membership" && line.about != "profile"));
    village.0.app.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_or_without_understanding_the_rules_there_is_no_answer() {
    let village = lived().await;
    let (sub, now) = (village.0.sub(0).unwrap(), village.0.clock.now());
    let asked = request("wiki.example.org/");
    let source = LogSource(village.0.app.log().clone());
    let blind = Reader::new(std::sync::Arc::new(source), Opener::default());
    let found = blind.access(&Who::User(sub), &asked, When::Now, now, parse).await.unwrap();
    assert!(matches!(found, Err(Unanswered::Sealed)));
    let reader = village.0.reader();
    let found =
        reader.access(&Who::User(sub), &asked, When::Now, now, |_| Err("no".to_owned())).await.unwrap();
    let Err(Unanswered::Unreadable { position, why }) = found else { panic!("{found:?}") };
    let (record, _) = reader.record(position).await.unwrap();
    assert!(matches!(record.events[..], [Event::RulesChanged { .. }]) && why == "no");
    let found = reader.access(&Who::User(sub), &asked, When::At(Timestamp(0)), now, parse).await.unwrap();
    assert!(matches!(found, Err(Unanswered::NotBegun)));
    let found = access(&village, 0, "wiki.example.org/", When::After(Position(0))).await;
    assert!(matches!(found, Err(Unanswered::NoRules)), "the log begins with no rules");
    village.0.app.close().await.unwrap();
}

/// Reads as those rules what the log has of them.
fn parse_any(of: &Rules) -> impl Fn(&str) -> Result<Rules, String> {
    move |text| if of.canonical() == text { Ok(of.clone()) } else { parse(text) }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stranger_lacked_is_said_of_their_last_refusal_by_any_name_they_had() {
    let rules =
        Rules { allow: Some(vec![Term::Guild(GUILD), Term::Role { guild: GUILD, role: STAFF }]), ..first() };
    let village = Village::founded(rules.clone()).await;
    let pending = Membership { pending: true, ..member(&[]) };
    for memberships in [vec![Membership::none(GUILD)], vec![pending]] {
        village.after(Duration::from_secs(60));
        village.0.sign_in_with(10, memberships).await;
    }
    // Others are refused after them, and somebody of another name comes in.
    for (who, memberships) in [(11, vec![]), (1, vec![member(&[])])] {
        village.after(Duration::from_secs(60));
        village.0.sign_in_with(who, memberships).await;
    }
    let (reader, now) = (village.0.reader(), village.0.clock.now());
    let head = reader.head().await.unwrap().unwrap();
    let today = reader.view(When::Now, now).await.unwrap().unwrap();
    let id = Town::id(10).to_string();
    for name in ["person.10", "PERSON.10", id.as_str()] {
        let Ok(Who::Stranger(stranger)) = reader.who(name, &today.people, head).await.unwrap() else {
            panic!("{name}")
        };
        let said = reader.never_let_in(&stranger, now, parse_any(&rules)).await.unwrap();
        let of_the_last = format!("position {}", stranger.position);
        assert!(
            said.contains(&of_the_last) && said.contains("they have yet to pass its screening"),
            "{said}"
        );
        assert!(
            said.contains("; or role:") && said.ends_with("they are a member without the role"),
            "{said}"
        );
        let story = reader.story_of_stranger(&stranger, said).await.unwrap();
        let told: Vec<&str> = story.story.iter().map(|line| line.what.as_str()).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("is no member of guild") && told[1].contains("has yet to pass"), "{told:?}");
        assert_eq!(story.story[1].position, Some(stranger.position.0));
    }
    assert!(reader.who("somebody", &today.people, head).await.unwrap().is_err());
    // Up to a record before the last refusal, it is the one before that counts.
    let Ok(Who::Stranger(last)) = reader.who(&id, &today.people, head).await.unwrap() else { panic!() };
    let before = Position(last.position.0 - 1);
    let Ok(Who::Stranger(first)) = reader.who(&id, &today.people, before).await.unwrap() else { panic!() };
    assert!(first.position < last.position && first.at < last.at);
    village.0.app.close().await.unwrap();
}
