//! What follows from an intent: the rules of the house, in one pure function.
//!
//! Being turned away is a fact, so it is an event; asking for the impossible is a [`Refusal`]. Nothing to
//! record is an empty list.

use super::command::{Command, CreateLog, Facts, SignIn, Which};
use super::event::{Cause, Event, FailureCode, Method, Private, RevokedBy, RevokedScope, SessionScope};
use super::id::{GrantId, SessionId, Sub};
use super::record::{Draft, Subject};
use super::rules::{Admission, Rules};
use super::state::{Grant, Session, State, User};
use super::time::Timestamp;

/// How many live sessions a user may have; the oldest ends.
pub const MAX_SESSIONS: usize = 100;

/// The events of one record to be, and whom they concern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whom, and against which version it was decided.
    pub subject: Option<Subject>,
    /// What happened.
    pub events: Vec<Draft>,
}

/// Why an intent makes no sense now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The session has ended, or never was.
    #[error("there is no such live session")]
    NoSuchSession,
    /// The grant is not the current one any more.
    #[error("the grant is not current")]
    GrantGone,
    /// Another refresh of that grant has begun.
    #[error("a refresh has begun and not ended")]
    ClaimHeld {
        /// Until when it keeps others off.
        until: Timestamp,
    },
    /// Somebody who is let in needs a pseudonym first.
    #[error("the user has no pseudonym yet")]
    NoPseudonym,
}

/// Decides which records follow from `command`.
pub fn decide(
    state: &State,
    facts: &Facts,
    rules: &Rules,
    command: Command,
    now: Timestamp,
) -> Result<Vec<Decision>, Refusal> {
    match command {
        Command::SignIn(sign_in) => decide_sign_in(state, facts, rules, *sign_in, now),
        Command::FailSignIn { stage, code } => Ok(about_nobody(Event::SignInFailed { stage, code })),
        Command::RollUp { from, to, counts, distinct_addresses } => {
            Ok(about_nobody(Event::SignInRolledUp { from, to, counts, distinct_addresses }))
        }
        Command::SeeSession { session } => decide_seen(state, rules, session, now),
        Command::EndSessions { user, which, cause, reason } => {
            Ok(end_sessions(state, user, &which, cause, reason, now))
        }
        Command::ClaimRefresh { user, grant, attempt, until } => {
            decide_claim(state, user, grant, attempt, until)
        }
        Command::ConcludeRefresh { user, grant, scopes, expires_at, tokens } => {
            let old = either_grant(state, user, grant).ok_or(Refusal::GrantGone)?.fingerprints;
            let new = tokens.fingerprints();
            let event = Event::GrantRefreshed { grant, scopes, expires_at, old, new };
            Ok(report(user, vec![Draft { event, private: Some(Private::Tokens(tokens)) }]))
        }
        Command::FailRefresh { user, grant, code, status, attempt, is_final, not_before } => {
            let failed = Event::GrantRefreshFailed { grant, code, status, attempt, is_final, not_before };
            decide_failed_refresh(state, user, grant, failed, now)
        }
        Command::Revoke { user, source, cause, confirmed, only } => {
            decide_revoke(state, user, source, cause, confirmed, only, now)
        }
        Command::ConfirmRevocation { user, grant, attempts } => {
            let pending = state.user(user).and_then(|user| user.revocation.as_ref());
            pending.filter(|revocation| revocation.grant.id == grant).ok_or(Refusal::GrantGone)?;
            Ok(report(user, vec![Event::GrantRevocationConfirmed { grant, attempts }.into()]))
        }
        Command::ObserveProfile { user, profile } => Ok(match facts.news(&profile) {
            Some(news) if state.user(user).is_some() => {
                report(user, vec![Draft { event: Event::ProfileObserved, private: Some(news) }])
            }
            _ => vec![],
        }),
        Command::NoteOutage { cause, until } => {
            let known = state.outage().is_some_and(|known| known.cause == cause && known.until >= until);
            Ok(if known { vec![] } else { about_nobody(Event::DiscordUnavailable { cause, until }) })
        }
        Command::NoteRecovery => Ok(match state.outage() {
            Some(over) => about_nobody(Event::DiscordAvailable { cause: over.cause, until: over.until }),
            None => vec![],
        }),
        Command::StartServer { version, writer, config, log_size } => {
            Ok(about_nobody(Event::ServerStarted { version, writer, config, log_size }))
        }
        Command::StopServer { clean } => Ok(about_nobody(Event::ServerStopped { clean })),
        Command::StepClock { from, to } => Ok(about_nobody(Event::ClockStepped { from, to })),
        Command::CreateLog(create) => Ok(about_nobody(created(create))),
        Command::AcceptLoss(lost) => {
            let mut decisions = lost.created.map(created).map(about_nobody).unwrap_or_default();
            decisions.extend(about_nobody(Event::LogLossAccepted {
                head_sequence: lost.head_sequence,
                head_position: lost.head_position,
                head_leaf: lost.head_leaf,
                last_found: lost.last_found,
                salvaged: lost.salvaged,
                checkpoint: None,
            }));
            Ok(decisions)
        }
    }
}

fn decide_sign_in(
    state: &State,
    facts: &Facts,
    rules: &Rules,
    sign_in: SignIn,
    now: Timestamp,
) -> Result<Vec<Decision>, Refusal> {
    if rules.admit(&sign_in.profile) == Admission::Denied {
        let event = Event::SignInDenied { term: None, rules: rules.hash() };
        let private = Some(Private::Denied(Box::new(sign_in.profile)));
        let subject = sign_in.user.map(|sub| Subject { sub, version: None });
        return Ok(vec![Decision { subject, events: vec![Draft { event, private }] }]);
    }
    let sub = sign_in.user.ok_or(Refusal::NoPseudonym)?;
    let user = state.user(sub);
    let replaced = sign_in.replaces.and_then(|id| state.session(id)).filter(|found| found.is_live(now));
    let own = replaced.filter(|found| found.user == sub);

    let mut events = vec![Draft {
        event: Event::GrantIssued {
            grant: sign_in.grant,
            application: sign_in.application,
            scopes: sign_in.scopes,
            expires_at: sign_in.expires_at,
            tokens: sign_in.tokens.fingerprints(),
        },
        private: Some(Private::Tokens(sign_in.tokens)),
    }];
    if let Some(news) = facts.news(&sign_in.profile) {
        events.push(Draft { event: Event::ProfileObserved, private: Some(news) });
    }
    let expires_at = now.plus(rules.session_max_age);
    events.push(
        Event::SessionOpened {
            session: sign_in.session,
            method: Method::Discord,
            scope: SessionScope::All,
            admin: false,
            key: sign_in.key,
            expires_at,
            idle_deadline: idle_deadline(rules, expires_at, now),
            rules: rules.hash(),
            first: user.is_none(),
            replaces: own.map(|found| found.id),
        }
        .into(),
    );
    if let Some(found) = own {
        events.push(revoked(vec![found.id], RevokedScope::One, Cause::Replaced, None));
    }
    let kept: Vec<SessionId> = live_sessions(state, sub, now)
        .map(|found| found.id)
        .filter(|id| Some(*id) != own.map(|o| o.id))
        .collect();
    let excess = (kept.len() + 1).saturating_sub(MAX_SESSIONS);
    if excess > 0 {
        events.push(revoked(kept[..excess].to_vec(), RevokedScope::Other, Cause::TooMany, None));
    }

    let subject = Some(Subject { sub, version: Some(version(user)) });
    let mut decisions = vec![Decision { subject, events }];
    if let Some(other) = replaced.filter(|found| found.user != sub) {
        let event = revoked(vec![other.id], RevokedScope::One, Cause::Replaced, None);
        decisions.extend(report(other.user, vec![event]));
    }
    Ok(decisions)
}

fn decide_seen(
    state: &State,
    rules: &Rules,
    session: SessionId,
    now: Timestamp,
) -> Result<Vec<Decision>, Refusal> {
    let found = state.session(session).filter(|found| found.is_live(now)).ok_or(Refusal::NoSuchSession)?;
    let idle_deadline = idle_deadline(rules, found.expires_at, now);
    Ok(report(found.user, vec![Event::SessionSeen { session, idle_deadline }.into()]))
}

fn decide_claim(
    state: &State,
    user: Sub,
    grant: GrantId,
    attempt: u8,
    until: Timestamp,
) -> Result<Vec<Decision>, Refusal> {
    let found = state.user(user);
    let claimed = either_grant(state, user, grant).ok_or(Refusal::GrantGone)?;
    if let Some(claim) = claimed.claim.filter(|claim| claim.attempt >= attempt) {
        return Err(Refusal::ClaimHeld { until: claim.until });
    }
    let subject = Some(Subject { sub: user, version: Some(version(found)) });
    Ok(vec![Decision { subject, events: vec![Event::GrantRefreshClaimed { grant, attempt, until }.into()] }])
}

/// A final failure ends the grant and the sessions, with the reason that Discord's answer gives.
fn decide_failed_refresh(
    state: &State,
    user: Sub,
    grant: GrantId,
    failed: Event,
    now: Timestamp,
) -> Result<Vec<Decision>, Refusal> {
    let Event::GrantRefreshFailed { code, attempt, is_final, .. } = failed else {
        return Err(Refusal::GrantGone);
    };
    let found = state.user(user).ok_or(Refusal::GrantGone)?;
    let current = found.grant.as_ref().is_some_and(|g| g.id == grant);
    let uncertain = either_grant(state, user, grant).is_some_and(|g| g.uncertain);
    let pending = found.revocation.as_ref().is_some_and(|r| r.grant.id == grant);
    if !current && !pending {
        return Err(Refusal::GrantGone);
    }
    let mut events = vec![failed.into()];
    if is_final && current {
        let (source, cause) = match (code, attempt) {
            (FailureCode::InvalidGrant, 1) if !uncertain => {
                (RevokedBy::InvalidGrant, Cause::DiscordDeauthorized)
            }
            // An earlier call has no known outcome: most likely it was that one that used the token up.
            (FailureCode::InvalidGrant, _) => (RevokedBy::InvalidGrant, Cause::GrantLost),
            (FailureCode::OutcomeUnknown, _) => (RevokedBy::Other, Cause::GrantLost),
            _ => (RevokedBy::TokenRefused, Cause::TokenRefused),
        };
        events.push(Event::GrantRevoked { grant, source, confirmed: true }.into());
        events.extend(end_all(state, user, cause, now));
    }
    Ok(report(user, events))
}

fn decide_revoke(
    state: &State,
    user: Sub,
    source: RevokedBy,
    cause: Cause,
    confirmed: bool,
    only: Option<GrantId>,
    now: Timestamp,
) -> Result<Vec<Decision>, Refusal> {
    let current = state.user(user).and_then(|found| found.grant.as_ref()).map(|grant| grant.id);
    if only.is_some() && only != current {
        return Err(Refusal::GrantGone);
    }
    let mut events: Vec<Draft> = Vec::new();
    events.extend(current.map(|grant| Event::GrantRevoked { grant, source, confirmed }.into()));
    events.extend(end_all(state, user, cause, now));
    Ok(if events.is_empty() { vec![] } else { report(user, events) })
}

fn end_sessions(
    state: &State,
    user: Sub,
    which: &Which,
    cause: Cause,
    reason: Option<String>,
    now: Timestamp,
) -> Vec<Decision> {
    let meant = |id: SessionId| match which {
        Which::One(one) => id == *one,
        Which::Others(kept) => id != *kept,
        Which::Listed(listed) => listed.contains(&id),
        Which::All => true,
    };
    let sessions: Vec<SessionId> =
        live_sessions(state, user, now).map(|found| found.id).filter(|id| meant(*id)).collect();
    if sessions.is_empty() {
        return vec![];
    }
    report(user, vec![revoked(sessions, which.scope(), cause, reason)])
}

fn end_all(state: &State, user: Sub, cause: Cause, now: Timestamp) -> Option<Draft> {
    let sessions: Vec<SessionId> = live_sessions(state, user, now).map(|found| found.id).collect();
    (!sessions.is_empty()).then(|| revoked(sessions, RevokedScope::All, cause, None))
}

fn live_sessions(state: &State, user: Sub, now: Timestamp) -> impl Iterator<Item = &Session> {
    state.sessions_of(user).filter(move |found| found.is_live(now))
}

fn revoked(sessions: Vec<SessionId>, scope: RevokedScope, cause: Cause, reason: Option<String>) -> Draft {
    Draft { event: Event::SessionRevoked { sessions, scope, cause }, private: reason.map(Private::Reason) }
}

/// A session that is used every quantum never reaches this; one that is not used for the idle time and a
/// quantum always does.
fn idle_deadline(rules: &Rules, expires_at: Timestamp, now: Timestamp) -> Timestamp {
    now.plus(rules.session_idle).plus(rules.seen_quantum()).min(expires_at)
}

fn either_grant(state: &State, user: Sub, grant: GrantId) -> Option<&Grant> {
    let found = state.user(user)?;
    let pending = found.revocation.as_ref().map(|revocation| &revocation.grant);
    found.grant.as_ref().into_iter().chain(pending).find(|found| found.id == grant)
}

fn version(user: Option<&User>) -> u64 {
    user.map_or(0, |user| user.version)
}

/// A record about a user that carries no version: it counts whatever else happened to the user.
fn report(user: Sub, events: Vec<Draft>) -> Vec<Decision> {
    vec![Decision { subject: Some(Subject { sub: user, version: None }), events }]
}

fn created(create: CreateLog) -> Event {
    let CreateLog { log, origin, made_by, public_key, version } = create;
    Event::LogCreated { log, origin, made_by, public_key, version }
}

fn about_nobody(event: Event) -> Vec<Decision> {
    vec![Decision { subject: None, events: vec![event.into()] }]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::event::{Fingerprints, OutageCause, Profile, Tokens};
    use crate::domain::id::{DiscordId, Hash, Position, RecordId, Secret, SessionKey, WriterId};
    use crate::domain::record::{Actor, Context, Owner, Record, SealedBox};
    use crate::domain::rules::Term;
    use crate::domain::state::Verdict;

    const NELLY: Sub = Sub([1; 16]);
    const BOB: Sub = Sub([2; 16]);
    const NOW: Timestamp = Timestamp(1_767_323_045_000);
    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn the_first_sign_in_is_one_record_with_grant_profile_and_session() {
        let decided = given(&[]).decide(sign_in(NELLY, 1, None));
        let [Decision { subject, events }] = decided.as_deref().expect("let in") else {
            panic!("one record")
        };
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
        story.rules.allow = Some(vec![Term::User(DiscordId(999))]);
        let Command::SignIn(mut stranger) = sign_in(NELLY, 1, None) else { unreachable!() };
        stranger.user = None;
        let decided = story.decide(Command::SignIn(stranger)).expect("a fact");
        assert_eq!(decided[0].subject, None);
        assert!(matches!(kinds(&decided[0].events).as_slice(), [Event::SignInDenied { .. }]));
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
        let step =
            Decision { subject: None, events: vec![Event::ClockStepped { from: NOW, to: early }.into()] };
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
                    .map(|owner| SealedBox { scheme: 1, owner, nonce: [0; 24], ciphertext: vec![7] })
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
        Tokens {
            access: Secret::new(format!("access {name}")),
            refresh: Secret::new(format!("refresh {name}")),
        }
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
            grant: grant(n),
            application: DiscordId(5),
            scopes: vec!["identify".into()],
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
            scopes: vec!["identify".into()],
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
}
