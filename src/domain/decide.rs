//! What follows from an intent: the rules of the house, in one pure function.
//!
//! Being turned away is a fact, so it is an event; asking for the impossible is a [`Refusal`]. Nothing to
//! record is an empty list.

mod memberships;
mod sign_in;

use std::collections::BTreeSet;

use super::command::{Command, CreateLog, Facts, Handed, SignCheckpoint, Which};
use super::event::{Cause, Event, FailureCode, KeyPurpose, Private, Requester, RevokedBy, RevokedScope};
use super::id::{GrantId, Hash, SessionId, Sub};
use super::record::{Draft, Subject};
use super::rules::{Rules, RulesTooLong};
use super::state::{Grant, Session, State, User};
use super::time::{Month, Timestamp};

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
    /// Nobody goes by that pseudonym, or they were erased.
    #[error("there is no such user")]
    NoSuchUser,
    /// Somebody who is let in needs a pseudonym first.
    #[error("the user has no pseudonym yet")]
    NoPseudonym,
    /// The rules have no place in the log.
    #[error(transparent)]
    RulesTooLong(#[from] RulesTooLong),
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
        Command::SignIn(sign_in) => sign_in::decide_sign_in(state, facts, rules, *sign_in, now),
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
        Command::ObserveMemberships { user, memberships } => Ok(match state.user(user) {
            Some(_) => reports(user, memberships::packed(memberships::news(facts, memberships))),
            None => vec![],
        }),
        Command::ChangeRules(new) => {
            let changed = rules_changed(state, &new)?.into_iter();
            Ok(changed.map(|draft| Decision { subject: None, events: vec![draft] }).collect())
        }
        Command::NoteOutage { cause, until } => {
            let known = state.outage().is_some_and(|known| known.cause == cause && known.until >= until);
            Ok(if known { vec![] } else { about_nobody(Event::DiscordUnavailable { cause, until }) })
        }
        Command::NoteRecovery => Ok(match state.outage() {
            Some(over) => about_nobody(Event::DiscordAvailable { cause: over.cause, until: over.until }),
            None => vec![],
        }),
        Command::StartServer { version, writer, config, log_size } => {
            let mut events = vec![Event::ServerStarted { version, writer, config, log_size }.into()];
            events.extend(rules_changed(state, rules)?);
            Ok(vec![Decision { subject: None, events }])
        }
        Command::StopServer { clean } => Ok(about_nobody(Event::ServerStopped { clean })),
        Command::StepClock { from, to } => Ok(about_nobody(Event::ClockStepped { from, to })),
        Command::SignCheckpoint(SignCheckpoint { size, root, note, state: stored }) => {
            // Somebody was faster, and there is no state that would need a word for it.
            let is_news = stored.is_some() || state.checkpoint().is_none_or(|known| known.size < size);
            let event = Event::CheckpointSigned { size, root, note, state: stored };
            Ok(if is_news { about_nobody(event) } else { vec![] })
        }
        Command::RotateKey { purpose, key_id, signer } => {
            Ok(about_nobody(Event::KeyRotated { purpose, key_id, signer }))
        }
        Command::DestroyMonths { months } => Ok(destroyed(state, months)),
        Command::Erase { user, requested_by, confirmed } => {
            decide_erase(state, user, requested_by, confirmed, now)
        }
        Command::RestoreLog { size, root, source, handed: to } => {
            Ok([about_nobody(Event::LogRestored { size, root, source }), handed(to)].concat())
        }
        Command::NoteAudit { audit, networks, exported } => {
            let event = if exported { Event::AuditExported(audit) } else { Event::AuditRead(audit) };
            let private = (!networks.is_empty()).then_some(Private::Networks(networks));
            Ok(vec![Decision { subject: None, events: vec![Draft { event, private }] }])
        }
        Command::CreateLog(create) => Ok(about_nobody(created(create))),
        Command::AcceptLoss(lost) => {
            let mut decisions = lost.created.map(created).map(about_nobody).unwrap_or_default();
            decisions.extend(about_nobody(Event::LogLossAccepted {
                head_sequence: lost.head_sequence,
                head_position: lost.head_position,
                head_leaf: lost.head_leaf,
                last_found: lost.last_found,
                salvaged: lost.salvaged,
                checkpoint: state.checkpoint().map(|known| known.position),
            }));
            decisions.extend(handed(lost.handed));
            Ok(decisions)
        }
    }
}

/// What the log is told of the rules, where it knows others or none.
fn rules_changed(state: &State, rules: &Rules) -> Result<Option<Draft>, RulesTooLong> {
    let text = rules.recordable()?;
    let (old, new) = (state.rules().map(|known| known.hash), Hash::of(text.as_bytes()));
    let event = Event::RulesChanged { old, new };
    Ok((old != Some(new)).then(|| Draft { event, private: Some(Private::Rules(text)) }))
}

fn decide_erase(
    state: &State,
    user: Sub,
    requested_by: Requester,
    confirmed: Option<bool>,
    now: Timestamp,
) -> Result<Vec<Decision>, Refusal> {
    let found = state.user(user).ok_or(Refusal::NoSuchUser)?;
    let sessions = live_sessions(state, user, now).map(|found| found.id).collect();
    let subject = Some(Subject { sub: user, version: Some(found.version) });
    let event = Event::UserErased { requested_by, sessions, confirmed };
    Ok(vec![Decision { subject, events: vec![event.into()] }])
}

/// One record for all months, without those that are gone already.
fn destroyed(state: &State, months: Vec<Month>) -> Vec<Decision> {
    let gone: BTreeSet<Month> = state.destroyed().collect();
    let events: Vec<Draft> = months
        .into_iter()
        .filter(|month| !gone.contains(month))
        .map(|month| Event::KeyDestroyed { purpose: KeyPurpose::Month, key_id: month.0 }.into())
        .collect();
    if events.is_empty() { vec![] } else { vec![Decision { subject: None, events }] }
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
    if let Some(claim) = claimed.claim.as_ref().filter(|claim| claim.attempt >= attempt) {
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

/// Such a record for each list of events.
fn reports(user: Sub, records: Vec<Vec<Draft>>) -> Vec<Decision> {
    records.into_iter().flat_map(|events| report(user, events)).collect()
}

fn created(create: CreateLog) -> Event {
    let CreateLog { log, origin, made_by, public_key, version } = create;
    Event::LogCreated { log, origin, made_by, public_key, version }
}

/// One record for each key, in the order in which they followed each other.
fn handed(to: Vec<Handed>) -> Vec<Decision> {
    let rotated = to.into_iter().map(|Handed { key_id, signer }| Event::KeyRotated {
        purpose: KeyPurpose::Signer,
        key_id,
        signer: Some(signer),
    });
    rotated.flat_map(about_nobody).collect()
}

fn about_nobody(event: Event) -> Vec<Decision> {
    vec![Decision { subject: None, events: vec![event.into()] }]
}

#[cfg(test)]
mod tests;
