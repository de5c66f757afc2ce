//! Whether somebody may come in, and everything that a sign-in brings.

use super::memberships::{cut, news, packed};
use super::{
    Decision, MAX_SESSIONS, Refusal, idle_deadline, live_sessions, report, reports, revoked, version,
};
use crate::domain::access::{Person, Truth};
use crate::domain::command::{Facts, SignIn};
use crate::domain::event::{Cause, Event, Method, Private, RevokedScope, SessionScope, Stranger};
use crate::domain::id::SessionId;
use crate::domain::record::{Draft, Subject};
use crate::domain::rules::Rules;
use crate::domain::state::State;
use crate::domain::time::Timestamp;

/// One record, and before it others with the memberships for which it has no room.
pub(super) fn decide_sign_in(
    state: &State,
    facts: &Facts,
    rules: &Rules,
    sign_in: SignIn,
    now: Timestamp,
) -> Result<Vec<Decision>, Refusal> {
    let person =
        Person { id: sign_in.profile.id, profile: Some(&sign_in.profile), memberships: &sign_in.memberships };
    let admin = rules.is_admin(&person);
    if rules.allows(&person) != Truth::Yes {
        return Ok(denied(rules, sign_in));
    }
    let sub = sign_in.user.ok_or(Refusal::NoPseudonym)?;
    if state.is_erased(sub) {
        return Err(Refusal::NoSuchUser);
    }
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
    let mut seen = packed(news(facts, sign_in.memberships));
    events.extend(seen.pop().unwrap_or_default());
    let expires_at = now.plus(rules.session_max_age);
    events.push(
        Event::SessionOpened {
            session: sign_in.session,
            method: Method::Discord,
            scope: SessionScope::All,
            admin,
            key: sign_in.key,
            expires_at,
            idle_deadline: idle_deadline(rules, expires_at, now),
            rules: rules.hash(),
            // Reports may have come before the first decision.
            first: version(user) == 0,
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

    let mut decisions = reports(sub, seen);
    let subject = Some(Subject { sub, version: Some(version(user)) });
    decisions.push(Decision { subject, events });
    if let Some(other) = replaced.filter(|found| found.user != sub) {
        let event = revoked(vec![other.id], RevokedScope::One, Cause::Replaced, None);
        decisions.extend(report(other.user, vec![event]));
    }
    Ok(decisions)
}

fn denied(rules: &Rules, sign_in: SignIn) -> Vec<Decision> {
    let event = Event::SignInDenied { term: None, rules: rules.hash() };
    let stranger = Stranger { profile: sign_in.profile, memberships: cut(sign_in.memberships) };
    let private = Some(Private::Denied(Box::new(stranger)));
    let subject = sign_in.user.map(|sub| Subject { sub, version: None });
    vec![Decision { subject, events: vec![Draft { event, private }] }]
}
