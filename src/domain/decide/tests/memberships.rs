//! What follows from what somebody is in guilds, and from other rules.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::domain::event::Membership;
use crate::domain::rules::MAX_CANONICAL;

fn member(guild: u64, roles: &[u64]) -> Membership {
    let roles = roles.iter().copied().map(DiscordId).collect();
    Membership { member: true, roles, ..Membership::none(DiscordId(guild)) }
}

/// Discord gives nobody more roles in one guild, and no longer name.
fn with_all_there_is(guild: u64) -> Membership {
    let role = |n: u64| u64::MAX - n;
    let nick = Some("\u{1f426}".repeat(32));
    Membership { nick, ..member(u64::MAX - guild, &(0..250).map(role).collect::<Vec<_>>()) }
}

fn sign_in_with(user: Sub, n: u8, memberships: Vec<Membership>) -> Command {
    let Command::SignIn(sign_in) = sign_in(user, n, None) else { unreachable!() };
    Command::SignIn(Box::new(SignIn { memberships, ..*sign_in }))
}

fn observe(memberships: Vec<Membership>) -> Command {
    Command::ObserveMemberships { user: NELLY, memberships }
}

/// What a record says about memberships: the slot of each, and what is sealed.
fn seen(decision: &Decision) -> Vec<(u16, Membership)> {
    let membership = |draft: &Draft| match (&draft.event, &draft.private) {
        (Event::MembershipObserved { slot }, Some(Private::Membership(membership))) => {
            Some((*slot, membership.clone()))
        }
        _ => None,
    };
    decision.events.iter().filter_map(membership).collect()
}

impl Story {
    /// Runs a command, and opens what it sealed.
    fn live_through(&mut self, command: Command) {
        let decided = self.decide(command.clone()).expect("not refused");
        self.run(command);
        self.facts.memberships.extend(decided.iter().flat_map(seen));
    }

    fn slots(&self, user: Sub) -> Vec<u16> {
        self.state.user(user).expect("known").memberships.keys().copied().collect()
    }
}

#[test]
fn a_sign_in_says_what_somebody_is_in_guilds_before_it_opens_the_session() {
    let decided = given(&[]).decide(sign_in_with(NELLY, 1, vec![member(9, &[3, 1]), member(8, &[])]));
    let [decision] = decided.as_deref().expect("let in") else { panic!("one record") };
    assert!(matches!(
        kinds(&decision.events).as_slice(),
        [
            Event::GrantIssued { .. },
            Event::ProfileObserved,
            Event::MembershipObserved { slot: 0 },
            Event::MembershipObserved { slot: 1 },
            Event::SessionOpened { .. }
        ]
    ));
    assert_eq!(seen(decision), [(0, member(8, &[])), (1, member(9, &[1, 3]))], "by guild, roles in order");
}

#[test]
fn only_what_changed_is_written_down_and_it_takes_the_place_of_what_was_known() {
    let mut story = given(&[]);
    story.live_through(sign_in_with(NELLY, 1, vec![member(7, &[1]), member(8, &[2, 3]), member(9, &[])]));
    let before = story.state.user(NELLY).expect("known").clone();
    assert_eq!(story.decide(observe(vec![member(9, &[]), member(8, &[3, 2, 3])])), Ok(vec![]), "no news");
    assert_eq!(story.decide(observe(vec![])), Ok(vec![]), "nothing is said of the others");

    story.now = NOW.plus(DAY);
    let decided = story.decide(observe(vec![member(8, &[2]), member(7, &[1])])).expect("news");
    assert_eq!(decided[0].subject, Some(Subject { sub: NELLY, version: None }), "a report");
    assert_eq!(seen(&decided[0]), [(1, member(8, &[2]))]);
    story.live_through(observe(vec![member(8, &[2])]));
    let after = story.state.user(NELLY).expect("known");
    assert_eq!(after.version, before.version);
    assert_eq!(story.slots(NELLY), [0, 1, 2]);
    assert_ne!(after.memberships[&1].fact, before.memberships[&1].fact);
    assert_eq!((after.memberships[&1].at, after.memberships[&2].at), (NOW.plus(DAY), NOW));
    assert_eq!(story.decide(observe(vec![member(8, &[2])])), Ok(vec![]));
    // Who leaves is a fact as well.
    story.live_through(observe(vec![Membership::none(DiscordId(8))]));
    assert_eq!(story.facts.memberships[&1], Membership::none(DiscordId(8)));
}

#[test]
fn a_new_guild_takes_the_lowest_free_slot_and_one_that_nobody_can_open_is_free() {
    let mut story = given(&[]);
    story.live_through(sign_in_with(NELLY, 1, vec![member(7, &[]), member(8, &[]), member(9, &[])]));
    story.facts.memberships.remove(&1);
    let decided = story.decide(observe(vec![member(5, &[]), member(6, &[])])).expect("news");
    assert_eq!(seen(&decided[0]), [(1, member(5, &[])), (3, member(6, &[]))]);
}

#[test]
fn two_words_about_one_guild_are_the_last_one() {
    let decided = given(&[]).decide(sign_in_with(NELLY, 1, vec![member(7, &[1]), member(7, &[2])]));
    assert_eq!(seen(&decided.expect("let in")[0]), [(0, member(7, &[2]))]);
}

#[test]
fn what_a_sign_in_has_no_room_for_stands_in_records_before_it() {
    let mut story = given(&[]);
    let many: Vec<_> = (0..100).map(with_all_there_is).collect();
    let decided = story.decide(sign_in_with(NELLY, 1, many.clone())).expect("let in");
    assert_eq!(decided.len(), 6);
    assert_eq!(decided.iter().flat_map(seen).count(), 100, "every one of them");
    let slots: Vec<u16> = decided.iter().flat_map(seen).map(|(slot, _)| slot).collect();
    assert_eq!(slots, (0..100).collect::<Vec<_>>());
    let (last, before) = decided.split_last().expect("records");
    assert!(before.iter().all(|record| record.subject == Some(Subject { sub: NELLY, version: None })));
    assert_eq!(last.subject, Some(Subject { sub: NELLY, version: Some(0) }));
    assert!(
        last.events.iter().any(|draft| matches!(draft.event, Event::SessionOpened { first: true, .. })),
        "what was reported before is no visit"
    );
    story.live_through(sign_in_with(NELLY, 1, many.clone()));
    assert_eq!(story.live(NELLY), [session(1)]);
    assert_eq!(story.slots(NELLY), slots);
    assert_eq!(story.decide(observe(many)), Ok(vec![]));
}

#[test]
fn a_sign_in_of_which_only_the_first_records_are_there_is_still_the_first_one() {
    let mut story = given(&[]);
    let many: Vec<_> = (0..30).map(with_all_there_is).collect();
    let decided = story.decide(sign_in_with(NELLY, 1, many.clone())).expect("let in");
    assert_eq!(story.append(decided[0].clone()), Verdict::Applied);
    story.facts.memberships.extend(seen(&decided[0]));
    let rest = story.decide(sign_in_with(NELLY, 1, many)).expect("let in");
    assert_eq!(rest.len(), 1, "what is there is not said again");
    assert!(
        rest[0].events.iter().any(|draft| matches!(draft.event, Event::SessionOpened { first: true, .. }))
    );
    assert_eq!(story.append(rest[0].clone()), Verdict::Applied);
}

#[test]
fn nothing_is_written_down_about_somebody_unknown_or_erased() {
    let mut story = given(&[]);
    assert_eq!(story.decide(observe(vec![member(7, &[])])), Ok(vec![]));
    story.run(sign_in(NELLY, 1, None));
    let late = story.decide(observe(vec![member(7, &[])])).expect("news").remove(0);
    story.run(erase(NELLY));
    assert_eq!(story.append(late), Verdict::Ignored);
    assert_eq!(story.state.user(NELLY), None);
    assert_eq!(story.decide(observe(vec![member(7, &[])])), Ok(vec![]));
}

#[test]
fn whoever_has_the_role_is_let_in_and_an_administrator_is_called_one() {
    let role = || Term::Role { guild: DiscordId(7), role: DiscordId(1) };
    let mut story = given(&[]);
    story.rules = Rules { allow: Some(vec![Term::Guild(DiscordId(7))]), admins: vec![role()], ..story.rules };
    let admin = |story: &Story, memberships| {
        let decided = story.decide(sign_in_with(NELLY, 1, memberships)).expect("decided");
        decided.iter().flat_map(|decision| &decision.events).find_map(|draft| match draft.event {
            Event::SessionOpened { admin, .. } => Some(admin),
            _ => None,
        })
    };
    assert_eq!(admin(&story, vec![member(7, &[1])]), Some(true));
    assert_eq!(admin(&story, vec![member(7, &[2])]), Some(false));
    assert_eq!(admin(&story, vec![]), None, "what is unknown lets nobody in");
    story.facts.memberships = BTreeMap::from([(0, member(7, &[1]))]);
    assert_eq!(admin(&story, vec![]), None, "nor does what was known once");
}

#[test]
fn a_denial_says_who_it_was_and_what_they_were_as_far_as_a_record_has_room() {
    let mut story = given(&[]);
    story.rules = Rules { allow: Some(vec![]), ..story.rules };
    let denied = |memberships: Vec<Membership>| {
        let decided = story.decide(sign_in_with(NELLY, 1, memberships)).expect("decided");
        let [Decision { events, .. }] = &decided[..] else { panic!("one record") };
        let Some(Private::Denied(stranger)) = &events[0].private else { panic!("a stranger") };
        assert_eq!(stranger.profile, profile(1));
        stranger.memberships.clone()
    };
    assert_eq!(denied(vec![member(7, &[1])]), [member(7, &[1])]);
    let cut = denied((0..100).map(with_all_there_is).collect());
    assert!(cut.len() > 10 && cut.len() < 30 && cut[0] == with_all_there_is(0), "{}", cut.len());
}

fn start() -> Command {
    let (version, writer, config) = ("0".into(), WriterId([9; 8]), Hash([0; 32]));
    Command::StartServer { version, writer, config, log_size: 0 }
}

fn deny_all() -> Rules {
    Rules { allow: Some(vec![]), ..Rules::default() }
}

/// What a decision says about rules: their hashes, and their text.
fn ruled(decided: &[Decision]) -> Vec<(Option<Hash>, Hash, String)> {
    let drafts = decided.iter().flat_map(|decision| &decision.events);
    let rules = drafts.filter_map(|draft| match (&draft.event, &draft.private) {
        (Event::RulesChanged { old, new }, Some(Private::Rules(text))) => Some((*old, *new, text.clone())),
        _ => None,
    });
    rules.collect()
}

#[test]
fn a_start_says_the_rules_in_its_own_record_where_the_log_knows_others() {
    let mut story = given(&[]);
    let (first, second) = (story.rules.clone(), deny_all());
    let decided = story.decide(start()).expect("a start");
    assert!(matches!(
        kinds(&decided[0].events).as_slice(),
        [Event::ServerStarted { .. }, Event::RulesChanged { .. }]
    ));
    assert_eq!(decided.len(), 1);
    assert_eq!(ruled(&decided), [(None, first.hash(), first.canonical())]);
    story.run(start());
    assert_eq!(story.state.rules().expect("said").hash, first.hash());
    assert_eq!(ruled(&story.decide(start()).expect("a start")), [], "the same rules");
    story.rules = second.clone();
    let decided = story.decide(start()).expect("a start");
    assert_eq!(ruled(&decided), [(Some(first.hash()), second.hash(), second.canonical())]);
}

#[test]
fn other_rules_are_a_record_of_their_own_and_the_same_are_none() {
    let mut story = given(&[start()]);
    let second = Arc::new(deny_all());
    let change = || Command::ChangeRules(second.clone());
    let decided = story.decide(change()).expect("news");
    let (old, new) = (Some(story.rules.hash()), second.hash());
    assert_eq!(ruled(&decided), [(old, new, second.canonical())]);
    assert_eq!((decided.len(), decided[0].events.len(), decided[0].subject), (1, 1, None));
    story.run(change());
    assert_eq!(story.state.rules().expect("said").hash, new);
    assert_eq!(story.decide(change()), Ok(vec![]));
    let shorter = Rules { session_idle: DAY, ..deny_all() };
    assert_eq!(story.decide(Command::ChangeRules(Arc::new(shorter))), Ok(vec![]), "it decides nothing else");
}

#[test]
fn rules_that_no_record_can_hold_are_refused_wherever_they_come_from() {
    let with = |users: u64| {
        let allow = (0..users).map(|n| Term::User(DiscordId(1_000_000_000_000_000_000 + n))).collect();
        Rules { allow: Some(allow), ..Rules::default() }
    };
    let (largest, too_long) = (with(2_390), with(2_500));
    assert!(largest.canonical().len() > MAX_CANONICAL - 1_000 && largest.recordable().is_ok());
    let refused = Err(Refusal::RulesTooLong(RulesTooLong { bytes: too_long.canonical().len() }));
    let mut story = given(&[]);
    assert_eq!(story.decide(Command::ChangeRules(Arc::new(too_long.clone()))), refused);
    story.rules = too_long;
    assert_eq!(story.decide(start()), refused);
    story.rules = largest;
    story.run(start());
}
