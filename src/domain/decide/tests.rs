//! What follows from which intent, told as short lives: given, when, then.

mod memberships;

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::domain::command::SignIn;
use crate::domain::event::{Fingerprints, Method, NewSigner, OutageCause, Profile, RestoredFrom, Tokens};
use crate::domain::id::{DiscordId, Hash, Position, RecordId, Secret, SessionKey, WriterId};
use crate::domain::record::{Actor, Context, Owner, Record, SealedBox};
use crate::domain::rules::Term;
use crate::domain::scopes::Scopes;
use crate::domain::state::{Unsigned, Verdict};

const NELLY: Sub = Sub([1; 16]);
const BOB: Sub = Sub([2; 16]);
const NOW: Timestamp = Timestamp(1_767_323_045_000);
const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn the_first_sign_in_is_one_record_with_grant_profile_and_session() {
    let decided = given(&[]).decide(sign_in(NELLY, 1, None));
    let [Decision { subject, events }] = decided.as_deref().expect("let in") else { panic!("one record") };
    assert_eq!(*subject, Some(Subject { sub: NELLY, version: Some(0) }));
    assert!(matches!(
        kinds(events).as_slice(),
        [Event::GrantIssued { .. }, Event::ProfileObserved, Event::SessionOpened { first: true, .. }]
    ));
}

#[test]
fn a_known_profile_is_not_recorded_again() {
    let mut story = given(&[sign_in(NELLY, 1, None)]);
    story.facts.profile = Some(profile(1));
    let decided = story.decide(sign_in(NELLY, 2, None)).expect("let in");
    assert!(matches!(
        kinds(&decided[0].events).as_slice(),
        [Event::GrantIssued { .. }, Event::SessionOpened { first: false, .. }]
    ));
}

#[test]
fn signing_in_again_in_the_same_browser_replaces_the_session() {
    let story = given(&[sign_in(NELLY, 1, None)]);
    let decided = story.decide(sign_in(NELLY, 2, Some(session(1)))).expect("let in");
    assert_eq!(decided.len(), 1);
    assert!(decided[0].events.iter().any(|draft| draft.event
        == Event::SessionRevoked {
            sessions: vec![session(1)],
            scope: RevokedScope::One,
            cause: Cause::Replaced
        }));
    let mut story = story;
    story.run(sign_in(NELLY, 2, Some(session(1))));
    assert_eq!(story.live(NELLY), [session(2)]);
}

#[test]
fn another_users_session_in_that_browser_ends_by_a_record_of_its_own() {
    let mut story = given(&[sign_in(NELLY, 1, None)]);
    let decided = story.decide(sign_in(BOB, 2, Some(session(1)))).expect("let in");
    assert_eq!(decided.len(), 2);
    assert_eq!(decided[1].subject, Some(Subject { sub: NELLY, version: None }));
    story.run(sign_in(BOB, 2, Some(session(1))));
    assert_eq!((story.live(NELLY), story.live(BOB)), (vec![], vec![session(2)]));
}

#[test]
fn the_hundred_and_first_session_ends_the_oldest() {
    let mut story = given(&[]);
    for n in 1..=101 {
        story.run(sign_in(NELLY, n, None));
    }
    let live = story.live(NELLY);
    assert_eq!((live.len(), live[0]), (MAX_SESSIONS, session(2)));
}

#[test]
fn somebody_who_is_not_on_the_list_is_a_fact_and_gets_no_session() {
    let mut story = given(&[]);
    // Of the guild nothing is known.
    for term in [Term::User(DiscordId(999)), Term::Guild(DiscordId(999))] {
        story.rules.allow = Some(vec![term]);
        let Command::SignIn(mut stranger) = sign_in(NELLY, 1, None) else { unreachable!() };
        stranger.user = None;
        let decided = story.decide(Command::SignIn(stranger)).expect("a fact");
        assert_eq!(decided[0].subject, None);
        assert!(matches!(kinds(&decided[0].events).as_slice(), [Event::SignInDenied { .. }]));
    }
}

#[test]
fn a_decision_that_was_overtaken_is_superseded_and_a_report_is_not() {
    let mut story = given(&[sign_in(NELLY, 1, None)]);
    let overtaken = story.decide(sign_in(NELLY, 2, None)).expect("let in").remove(0);
    let seen = story.decide(Command::SeeSession { session: session(1) }).expect("live").remove(0);
    story.run(sign_in(NELLY, 3, None));
    assert_eq!(story.append(overtaken), Verdict::Superseded);
    assert_eq!(story.append(seen), Verdict::Applied);
    assert_eq!(story.live(NELLY), [session(1), session(3)]);
}

#[test]
fn an_outcome_for_an_old_grant_is_ignored_as_a_whole() {
    let mut story = given(&[sign_in(NELLY, 1, None), claim(1)]);
    let refused = story.decide(fail(1, FailureCode::InvalidGrant, true)).expect("current").remove(0);
    assert_eq!(refused.events.len(), 3, "failed, revoked, sessions ended");
    story.run(sign_in(NELLY, 2, None));
    assert_eq!(story.append(refused), Verdict::Ignored);
    assert_eq!(story.live(NELLY).len(), 2, "the refusal of an old token must not end the new grant");
    assert_eq!(story.decide(claim(1)), Err(Refusal::GrantGone));
}

#[test]
fn a_refresh_is_claimed_once_and_a_second_attempt_may_follow_a_dead_first() {
    let mut story = given(&[sign_in(NELLY, 1, None), claim(1)]);
    assert!(matches!(story.decide(claim(1)), Err(Refusal::ClaimHeld { .. })));
    story.run(Command::ClaimRefresh { user: NELLY, grant: grant(1), attempt: 2, until: NOW.plus(DAY) });
    story.run(conclude(1, "later"));
    let found = story.state.user(NELLY).and_then(|user| user.grant.clone()).expect("live");
    assert_eq!((found.claim, found.fingerprints), (None, tokens("later").fingerprints()));
}

#[test]
fn a_final_refusal_ends_the_grant_and_the_sessions_with_its_reason() {
    let mut story = given(&[sign_in(NELLY, 1, None), claim(1)]);
    let decided = story.decide(fail(1, FailureCode::InvalidGrant, true)).expect("current");
    assert!(kinds(&decided[0].events).iter().any(|event| matches!(
        event,
        Event::SessionRevoked { cause: Cause::DiscordDeauthorized, scope: RevokedScope::All, .. }
    )));
    story.run(fail(1, FailureCode::InvalidGrant, true));
    assert_eq!(story.live(NELLY), []);
    assert_eq!(story.state.user(NELLY).and_then(|user| user.grant.clone()), None);
}

#[test]
fn a_failure_that_is_not_final_ends_nothing() {
    let mut story = given(&[sign_in(NELLY, 1, None), claim(1)]);
    story.run(fail(1, FailureCode::DiscordUnavailable, false));
    assert_eq!(story.live(NELLY), [session(1)]);
    assert!(story.decide(claim(1)).is_ok(), "it may be claimed again");
}

#[test]
fn a_revocation_ends_the_sessions_and_waits_for_discord() {
    let mut story = given(&[sign_in(NELLY, 1, None), sign_in(NELLY, 2, None)]);
    story.run(revoke());
    let user = story.state.user(NELLY).cloned().expect("known");
    assert_eq!((user.sessions, user.grant), (vec![], None));
    assert_eq!(user.revocation.map(|pending| pending.grant.id), Some(grant(2)));
    story.run(Command::ConfirmRevocation { user: NELLY, grant: grant(2), attempts: 3 });
    assert_eq!(story.state.user(NELLY).and_then(|user| user.revocation.clone()), None);
    assert_eq!(story.decide(revoke()), Ok(vec![]), "nothing is left to end");
}

#[test]
fn a_new_sign_in_ends_a_pending_revocation() {
    let mut story = given(&[sign_in(NELLY, 1, None), revoke(), sign_in(NELLY, 2, None)]);
    let user = story.state.user(NELLY).cloned().expect("known");
    assert_eq!((user.revocation, user.grant.map(|grant| grant.id)), (None, Some(grant(2))));
    let confirm = Command::ConfirmRevocation { user: NELLY, grant: grant(1), attempts: 1 };
    assert_eq!(story.decide(confirm), Err(Refusal::GrantGone));
    assert_eq!(story.live(NELLY), [session(2)]);
    story.run(Command::SeeSession { session: session(2) });
}

#[test]
fn tokens_that_arrive_for_a_revoked_grant_never_revive_it() {
    let mut story = given(&[sign_in(NELLY, 1, None), claim(1), revoke()]);
    story.run(conclude(1, "late"));
    let user = story.state.user(NELLY).cloned().expect("known");
    assert_eq!(user.grant, None);
    let pending = user.revocation.expect("still pending");
    assert_eq!(pending.grant.fingerprints, tokens("late").fingerprints());
    assert_eq!(story.live(NELLY), []);
}

#[test]
fn idle_time_ends_a_session_between_the_limit_and_a_quantum_later() {
    let story = given(&[sign_in(NELLY, 1, None)]);
    let found = story.state.session(session(1)).expect("open").clone();
    let idle = story.rules.session_idle;
    assert!(found.is_live(NOW.plus(idle)));
    assert!(!found.is_live(NOW.plus(idle).plus(story.rules.seen_quantum())));
}

#[test]
fn a_session_in_use_ends_at_its_absolute_age() {
    let mut story = given(&[sign_in(NELLY, 1, None)]);
    for day in 1..30 {
        story.now = NOW.plus(DAY * day);
        story.run(Command::SeeSession { session: session(1) });
    }
    let found = story.state.session(session(1)).expect("open").clone();
    assert_eq!(found.deadline(), NOW.plus(DAY * 30));
    story.now = NOW.plus(DAY * 30);
    assert_eq!(story.decide(Command::SeeSession { session: session(1) }), Err(Refusal::NoSuchSession));
}

#[test]
fn ending_one_leaves_the_others_and_ends_nothing_of_anybody_else() {
    let mut story = given(&[sign_in(NELLY, 1, None), sign_in(NELLY, 2, None), sign_in(BOB, 3, None)]);
    let end = |user, which| Command::EndSessions { user, which, cause: Cause::OtherDevice, reason: None };
    assert_eq!(story.decide(end(NELLY, Which::One(session(3)))), Ok(vec![]));
    story.run(end(NELLY, Which::Others(session(2))));
    assert_eq!((story.live(NELLY), story.live(BOB)), (vec![session(2)], vec![session(3)]));
    story.run(end(NELLY, Which::All));
    assert_eq!(story.live(NELLY), []);
}

#[test]
fn a_loss_ends_every_session_and_claim_and_keeps_the_grants_to_be_replaced() {
    let mut story = given(&[sign_in(NELLY, 1, None), claim(1), sign_in(BOB, 2, None)]);
    story.append_event(Event::LogLossAccepted {
        head_sequence: 9,
        head_position: Some(Position(9)),
        head_leaf: Hash([0; 32]),
        last_found: None,
        salvaged: None,
        checkpoint: None,
    });
    assert_eq!((story.live(NELLY), story.live(BOB)), (vec![], vec![]));
    let kept = story.state.user(NELLY).and_then(|user| user.grant.clone()).expect("kept");
    assert_eq!(kept.claim, None);
}

#[test]
fn an_outage_is_recorded_on_transitions_only() {
    let mut story = given(&[]);
    let outage = Command::NoteOutage { cause: OutageCause::CloudflareBan, until: Some(NOW.plus(DAY)) };
    assert_eq!(story.decide(Command::NoteRecovery), Ok(vec![]));
    story.run(outage.clone());
    assert_eq!(story.decide(outage), Ok(vec![]));
    story.run(Command::NoteRecovery);
    assert_eq!(story.decide(Command::NoteRecovery), Ok(vec![]));
}

#[test]
fn a_step_of_the_clock_sets_effective_time_and_nothing_else_moves_it_back() {
    let mut story = given(&[]);
    story.append_event(Event::ServerStopped { clean: true });
    let early = NOW.minus(DAY);
    story.now = early;
    story.append_event(Event::ServerStopped { clean: true });
    assert_eq!(story.state.eff(), NOW, "time does not run backwards by itself");
    story.append_event(Event::ClockStepped { from: NOW, to: early });
    assert_eq!(story.state.eff(), early);
}

#[test]
fn a_record_that_was_stored_twice_counts_once() {
    let mut story = given(&[]);
    let decision = story.decide(sign_in(NELLY, 1, None)).expect("let in").remove(0);
    let record = story.record(decision);
    assert_eq!(story.state.apply(Position(0), &record), Verdict::Applied);
    let before = story.state.user(NELLY).cloned();
    assert_eq!(story.state.apply(Position(1), &record), Verdict::Ignored);
    assert_eq!(story.state.user(NELLY).cloned(), before);
}

#[test]
fn a_record_that_was_stored_twice_moves_no_time() {
    let mut story = given(&[]);
    let early = NOW.minus(DAY);
    let step = Decision { subject: None, events: vec![Event::ClockStepped { from: NOW, to: early }.into()] };
    let step = story.record(step);
    story.state.apply(Position(0), &step);
    story.position = 1;
    story.append_event(Event::ServerStopped { clean: true });
    assert_eq!(story.state.eff(), NOW);
    assert_eq!(story.state.apply(Position(9), &step), Verdict::Ignored);
    assert_eq!(story.state.eff(), NOW);
}

#[test]
fn a_refusal_after_an_unknown_outcome_is_put_down_to_us_and_not_to_the_user() {
    let mut story = given(&[sign_in(NELLY, 1, None), claim(1)]);
    story.run(fail(1, FailureCode::OutcomeUnknown, false));
    assert_eq!(story.live(NELLY), [session(1)], "nothing is lost yet");
    story.run(claim(1));
    let decided = story.decide(fail(1, FailureCode::InvalidGrant, true)).expect("current");
    assert!(
        kinds(&decided[0].events)
            .iter()
            .any(|event| matches!(event, Event::SessionRevoked { cause: Cause::GrantLost, .. }))
    );
}

#[test]
fn a_refusal_of_an_old_token_ends_no_new_grant() {
    let story = given(&[sign_in(NELLY, 1, None), sign_in(NELLY, 2, None)]);
    let refused = Command::Revoke {
        user: NELLY,
        source: RevokedBy::TokenRefused,
        cause: Cause::TokenRefused,
        confirmed: true,
        only: Some(grant(1)),
    };
    assert_eq!(story.decide(refused), Err(Refusal::GrantGone));
}

#[test]
fn sessions_that_time_ended_are_forgotten_a_month_later() {
    let mut story = given(&[sign_in(NELLY, 1, None)]);
    story.now = NOW.plus(DAY * 7 + DAY * 32);
    story.append_event(Event::ServerStopped { clean: true });
    assert!(story.state.session(session(1)).is_none());
    assert!(story.state.session_by_key(&SessionKey([1; 32])).is_none());
}

// What the stories are told with.

struct Story {
    state: State,
    facts: Facts,
    rules: Rules,
    now: Timestamp,
    position: u64,
}

fn given(commands: &[Command]) -> Story {
    let mut story = Story {
        state: State::default(),
        facts: Facts::default(),
        rules: Rules::default(),
        now: NOW,
        position: 0,
    };
    for command in commands {
        story.run(command.clone());
    }
    story
}

impl Story {
    fn decide(&self, command: Command) -> Result<Vec<Decision>, Refusal> {
        decide(&self.state, &self.facts, &self.rules, command, self.now)
    }

    /// Decides and applies, which must both succeed.
    #[track_caller]
    fn run(&mut self, command: Command) {
        for decision in self.decide(command).expect("not refused") {
            assert_eq!(self.append(decision), Verdict::Applied);
        }
    }

    fn append(&mut self, decision: Decision) -> Verdict {
        let record = self.record(decision);
        self.position += 1;
        self.state.apply(Position(self.position), &record)
    }

    fn append_event(&mut self, event: Event) {
        self.append(Decision { subject: None, events: vec![event.into()] });
    }

    fn record(&self, decision: Decision) -> Record {
        let id = u128::from(self.position) + 1;
        let owner = decision.subject.map(|subject| Owner::Subject(subject.sub));
        Record {
            id: RecordId(id.to_be_bytes()),
            at: self.now,
            subject: decision.subject,
            context: Context {
                writer: WriterId([9; 8]),
                actor: Actor::SYSTEM,
                request: None,
                cause: None,
                route: None,
            },
            events: decision.events.into_iter().map(|draft| draft.event).collect(),
            sealed: owner
                .map(|owner| Arc::new(SealedBox { scheme: 1, owner, nonce: [0; 24], ciphertext: [7].into() }))
                .into_iter()
                .collect(),
        }
    }

    fn live(&self, user: Sub) -> Vec<SessionId> {
        live_sessions(&self.state, user, self.now).map(|found| found.id).collect()
    }
}

fn kinds(events: &[Draft]) -> Vec<&Event> {
    events.iter().map(|draft| &draft.event).collect()
}

fn session(n: u8) -> SessionId {
    SessionId([n; 16])
}

fn grant(n: u8) -> GrantId {
    GrantId([n; 16])
}

fn tokens(name: &str) -> Tokens {
    Tokens { access: Secret::new(format!("access {name}")), refresh: Secret::new(format!("refresh {name}")) }
}

fn profile(n: u64) -> Profile {
    Profile {
        id: DiscordId(n),
        username: format!("user{n}"),
        global_name: None,
        discriminator: "0".into(),
        avatar: None,
        locale: None,
        email: None,
        email_verified: None,
    }
}

fn sign_in(user: Sub, n: u8, replaces: Option<SessionId>) -> Command {
    Command::SignIn(Box::new(SignIn {
        user: Some(user),
        profile: profile(u64::from(user.0[0])),
        memberships: vec![],
        grant: grant(n),
        application: DiscordId(5),
        scopes: Scopes::new(["identify"]).expect("scopes"),
        expires_at: NOW.plus(DAY * 7),
        tokens: tokens(&n.to_string()),
        session: session(n),
        key: SessionKey([n; 32]),
        method: Method::Discord,
        replaces,
    }))
}

fn claim(n: u8) -> Command {
    Command::ClaimRefresh { user: NELLY, grant: grant(n), attempt: 1, until: NOW.plus(DAY) }
}

fn conclude(n: u8, name: &str) -> Command {
    Command::ConcludeRefresh {
        user: NELLY,
        grant: grant(n),
        scopes: Scopes::new(["identify"]).expect("scopes"),
        expires_at: NOW.plus(DAY),
        tokens: tokens(name),
    }
}

fn fail(n: u8, code: FailureCode, is_final: bool) -> Command {
    Command::FailRefresh {
        user: NELLY,
        grant: grant(n),
        code,
        status: Some(400),
        attempt: 1,
        is_final,
        not_before: None,
    }
}

fn revoke() -> Command {
    Command::Revoke {
        user: NELLY,
        source: RevokedBy::User,
        cause: Cause::UserRevoked,
        confirmed: false,
        only: None,
    }
}

#[test]
fn fingerprints_are_of_both_tokens() {
    let Fingerprints { access, refresh } = tokens("x").fingerprints();
    assert_eq!((access, refresh), (Hash::of(b"access x"), Hash::of(b"refresh x")));
}

#[test]
fn an_erased_person_is_gone_and_nothing_that_was_under_way_brings_them_back() {
    let mut story = given(&[sign_in(NELLY, 1, None), sign_in(BOB, 2, None), claim(1)]);
    let late = story.decide(conclude(1, "late")).expect("current").remove(0);
    let seen = story.decide(Command::SeeSession { session: session(1) }).expect("live").remove(0);
    let again = story.decide(sign_in(NELLY, 3, None)).expect("let in").remove(0);
    story.run(erase(NELLY));
    assert_eq!((story.state.user(NELLY), story.live(NELLY)), (None, vec![]));
    assert!(story.state.is_erased(NELLY) && !story.state.is_erased(BOB));
    for under_way in [late, seen, again] {
        assert_ne!(story.append(under_way), Verdict::Applied);
    }
    assert_eq!(story.state.user(NELLY), None);
    assert_eq!(story.decide(sign_in(NELLY, 4, None)), Err(Refusal::NoSuchUser), "that takes a new pseudonym");
    assert_eq!(story.decide(erase(NELLY)), Err(Refusal::NoSuchUser));
    assert_eq!(story.live(BOB), [session(2)]);
}

#[test]
fn an_erasure_names_the_sessions_that_end_with_it_and_yields_to_a_newer_decision() {
    let mut story = given(&[sign_in(NELLY, 1, None), sign_in(NELLY, 2, None)]);
    let decided = story.decide(erase(NELLY)).expect("known").remove(0);
    assert_eq!(
        kinds(&decided.events),
        [&Event::UserErased {
            requested_by: Requester::User,
            sessions: vec![session(1), session(2)],
            confirmed: Some(true),
        }]
    );
    story.run(sign_in(NELLY, 3, None));
    assert_eq!(story.append(decided), Verdict::Superseded);
}

#[test]
fn months_are_destroyed_once_and_all_in_one_record() {
    let mut story = given(&[]);
    let destroy =
        |months: &[u32]| Command::DestroyMonths { months: months.iter().copied().map(Month).collect() };
    story.run(destroy(&[202_501, 202_502]));
    assert_eq!(story.state.destroyed().collect::<Vec<_>>(), [Month(202_501), Month(202_502)]);
    let decided = story.decide(destroy(&[202_502, 202_503])).expect("a month is left");
    assert_eq!(
        kinds(&decided[0].events),
        [&Event::KeyDestroyed { purpose: KeyPurpose::Month, key_id: 202_503 }]
    );
    assert_eq!(story.decide(destroy(&[202_501])), Ok(vec![]));
}

#[test]
fn a_checkpoint_signs_for_what_stood_before_it_and_the_rest_stays_unsigned() {
    let mut story = given(&[sign_in(NELLY, 1, None), sign_in(BOB, 2, None)]);
    assert_eq!(story.state.unsigned().records, 2);
    assert_eq!(story.state.unsigned().since, Some(NOW));
    let root = Hash([9; 32]);
    let sign =
        |size| Command::SignCheckpoint(SignCheckpoint { size, root, note: String::new(), state: None });
    let slow = story.decide(sign(3)).expect("news").remove(0);
    story.run(sign_in(NELLY, 3, None));
    assert_eq!(story.append(slow), Verdict::Applied);
    assert_eq!(story.state.unsigned().records, 1, "the sign-in that came in between");
    let known = story.state.checkpoint().expect("signed");
    assert_eq!((known.position, known.size, known.root), (Position(4), 3, root));
    assert_eq!(story.decide(sign(3)), Ok(vec![]), "signed already");
    story.run(sign(5));
    assert_eq!(story.state.unsigned(), Unsigned::default());
}

#[test]
fn a_log_that_was_put_back_has_no_sessions_and_keeps_its_grants() {
    let mut story = given(&[sign_in(NELLY, 1, None), claim(1)]);
    story.run(Command::RestoreLog {
        size: 2,
        root: Hash([1; 32]),
        source: RestoredFrom::Backup,
        handed: vec![],
    });
    assert_eq!(story.live(NELLY), []);
    let grant =
        story.state.user(NELLY).and_then(|user| user.grant.clone()).expect("kept, to be revoked or replaced");
    assert_eq!(grant.claim, None);
}

#[test]
fn a_new_signer_is_the_key_of_the_log_from_then_on() {
    let mut story = given(&[]);
    let created = CreateLog {
        log: crate::domain::id::LogId([1; 16]),
        origin: "https://login.example.org".into(),
        made_by: crate::domain::event::MadeBy::Serve,
        public_key: [1; 32],
        version: "0".into(),
    };
    story.run(Command::CreateLog(created));
    let signer = Some(NewSigner { public_key: [2; 32], signature: [0; 64] });
    story.run(Command::RotateKey { purpose: KeyPurpose::Signer, key_id: 7, signer });
    story.run(Command::RotateKey { purpose: KeyPurpose::Kek, key_id: 2, signer: None });
    assert_eq!(story.state.log().map(|log| log.public_key), Some([2; 32]));
}

fn erase(user: Sub) -> Command {
    Command::Erase { user, requested_by: Requester::User, confirmed: Some(true) }
}
