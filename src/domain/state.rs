//! What replaying records gives: who is signed in, what Discord lets us do, what is still to be revoked.
//!
//! [`State::apply`] folds one record. It uses no clock, no randomness and no I/O, opens no seal, and cannot
//! fail: a record that must not count is [`Verdict::Superseded`] or [`Verdict::Ignored`], for every reader
//! of the log alike.

mod parts;
mod sessions;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::drawn::{DrawnMap, DrawnSet};
use super::event::{
    Event, FailureCode, Fingerprints, KeyPurpose, MadeBy, Method, OutageCause, RevokedBy, SessionScope,
};
use super::id::{DiscordId, GrantId, Hash, LogId, Position, RecordId, SessionId, SessionKey, Sub, WriterId};
use super::record::{Owner, Record, SealedBox};
use super::scopes::Scopes;
use super::time::{Month, Timestamp};

use sessions::Sessions;

pub use parts::{Head, NotAState, Part, StateBuilder};

/// Which fold this is: raise it whenever [`State::apply`] gives another state for the same records, or a
/// state has another part.
///
/// It stands in every stored state; one of another fold is dropped and made again from the log. A story in
/// `tests/properties.rs` notices some of what changes it.
pub const FOLD: u32 = 1;

/// How many record ids are remembered, to ignore a record that a storage engine stored twice.
pub const REMEMBERED: usize = 4_096;

/// How long a session that time has ended is kept before it is forgotten.
///
/// Long enough that a clock which stood in the future for a while has not ended anything for good.
const FORGET_AFTER: Duration = Duration::from_secs(30 * 86_400);

/// The index of the context among the sealed facts of a record.
pub const CONTEXT: u16 = 0xFFFF;

/// What a record did to the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It counts.
    Applied,
    /// The user had changed since it was decided: decide again.
    Superseded,
    /// It reports on something that is no longer current, or stands here for the second time.
    Ignored,
}

/// Everything that the log says, up to a position.
#[derive(Clone, Default, PartialEq)]
pub struct State {
    log: Option<LogIdentity>,
    position: Option<Position>,
    time: Timeline,
    writer: Option<WriterId>,
    outage: Option<Outage>,
    checkpoint: Option<Checkpoint>,
    unsigned: Unsigned,
    rules: Option<KnownRules>,
    erased: BTreeSet<Sub>,
    destroyed: BTreeSet<Month>,
    users: DrawnMap<Sub, Box<User>>,
    sessions: Sessions,
    deadlines: BTreeSet<(Timestamp, SessionId)>,
}

/// The effective time of one record after the other, without anything else that they say.
#[derive(Clone, Default, PartialEq)]
pub struct Timeline {
    eff: Timestamp,
    recent: VecDeque<RecordId>,
    recent_set: DrawnSet<RecordId>,
}

impl Timeline {
    /// Returns a time line that goes on behind a record of that effective time.
    pub fn starting_at(eff: Timestamp) -> Timeline {
        Timeline { eff, ..Timeline::default() }
    }

    /// Takes a record in and returns whether it counts: one that stands here for the second time does not.
    ///
    /// Within a segment time never goes back; `clock.stepped` begins a new one, so that a clock that was wrong
    /// once does not hold time for ever.
    pub fn advance(&mut self, record: &Record) -> bool {
        // Before time moves: a clock that was stepped once must not be stepped again.
        if !self.recent_set.insert(record.id) {
            return false;
        }
        self.eff = self.eff.max(record.at);
        for event in &record.events {
            if let Event::ClockStepped { to, .. } = event {
                self.eff = *to;
            }
        }
        self.recent.push_back(record.id);
        while self.recent.len() > REMEMBERED {
            if let Some(oldest) = self.recent.pop_front() {
                self.recent_set.remove(&oldest);
            }
        }
        true
    }

    /// Returns the effective time of the last record.
    pub fn eff(&self) -> Timestamp {
        self.eff
    }
}

/// Which log this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogIdentity {
    /// Its id.
    pub id: LogId,
    /// The public origin it was made for.
    pub origin: String,
    /// The command that made it.
    pub made_by: MadeBy,
    /// The key that signs its checkpoints.
    pub public_key: [u8; 32],
}

/// The last time somebody signed for the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Where the signature stands.
    pub position: Position,
    /// For how many records.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
    /// When.
    pub at: Timestamp,
}

/// The records that nobody has signed for yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unsigned {
    /// How many, checkpoints not counted.
    pub records: u64,
    /// When the first of them came.
    pub since: Option<Timestamp>,
}

/// The rules as last recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownRules {
    /// Their hash; events name them by it.
    pub hash: Hash,
    /// Their text, sealed.
    pub fact: Option<Fact>,
}

/// Why and until when calls to Discord stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Why.
    pub cause: OutageCause,
    /// Until when, where that is known.
    pub until: Option<Timestamp>,
}

/// Somebody who has signed in at least once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Raised by each decision and revocation.
    pub version: u64,
    /// The profile as last seen.
    pub profile: Option<Fact>,
    /// When it was recorded.
    pub profile_at: Timestamp,
    /// What they are in guilds, as last seen, one slot a guild.
    pub memberships: BTreeMap<u16, Observed>,
    /// The live authorization.
    pub grant: Option<Grant>,
    /// The authorization that Discord has not yet confirmed as ended.
    pub revocation: Option<Box<Revocation>>,
    /// Sessions, oldest first.
    pub sessions: Vec<SessionId>,
}

/// What somebody is in a guild, as last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// It itself, sealed.
    pub fact: Fact,
    /// When it was recorded.
    pub at: Timestamp,
}

/// What Discord lets us do for a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Our name for it.
    pub id: GrantId,
    /// The Discord application.
    pub application: DiscordId,
    /// What it allows.
    pub scopes: Scopes,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When the tokens were last renewed.
    pub refreshed_at: Timestamp,
    /// When the access token ends.
    pub expires_at: Timestamp,
    /// The tokens, sealed.
    pub tokens: Fact,
    /// Which tokens those are.
    pub fingerprints: Fingerprints,
    /// A refresh that has begun and not ended.
    pub claim: Option<Box<Claim>>,
    /// Before when no refresh is sent.
    pub not_before: Option<Timestamp>,
    /// Why the last refresh failed, unless one has worked since.
    pub failed_with: Option<FailureCode>,
    /// Refreshes that failed since the last that did not.
    pub failures: u32,
    /// Whether Discord may have used the refresh token up without our knowing its successor.
    pub uncertain: bool,
}

impl Grant {
    /// Returns whether that is among what it allows.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.has(scope)
    }
}

/// A refresh that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// 1, or 2 after a process died within the first.
    pub attempt: u8,
    /// Until when it keeps others off.
    pub until: Timestamp,
    /// The process that claimed.
    pub writer: WriterId,
    /// Where the claim stands.
    pub position: Position,
}

/// A revocation that Discord has not confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// With the tokens to revoke.
    pub grant: Grant,
    /// On whose word.
    pub source: RevokedBy,
    /// Since when.
    pub since: Timestamp,
    /// Where it stands.
    pub position: Position,
}

/// Somebody's browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The public id.
    pub id: SessionId,
    /// Whose.
    pub user: Sub,
    /// The stored form of the cookie's secret.
    pub key: SessionKey,
    /// How it was opened.
    pub method: Method,
    /// Where it counts.
    pub scope: SessionScope,
    /// Whether the user was an administrator then.
    pub admin: bool,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it was last recorded as used.
    pub seen_at: Timestamp,
    /// When it ends whatever happens.
    pub expires_at: Timestamp,
    /// When it ends unless it is used.
    pub idle_deadline: Timestamp,
    /// From where it last came, sealed.
    pub origin: Option<Fact>,
}

impl Session {
    /// Returns when time alone ends the session.
    pub fn deadline(&self) -> Timestamp {
        self.expires_at.min(self.idle_deadline)
    }

    /// Returns whether the session counts at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        now < self.deadline()
    }
}

/// A personal fact as the state keeps it: its box, and which of the box's facts it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// The record it came with; the seal is bound to it.
    pub record: RecordId,
    /// The box, shared with other facts of the record.
    pub sealed: Arc<SealedBox>,
    /// The index of the event within the record, or [`CONTEXT`].
    pub index: u16,
    /// What kind of event it belongs to.
    pub of: FactOf,
}

/// What kind of event a fact belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FactOf {
    /// `grant.issued`: tokens.
    GrantIssued,
    /// `grant.refreshed`: tokens.
    GrantRefreshed,
    /// `profile.observed`: the profile.
    ProfileObserved,
    /// `membership.observed`: what a user is in a guild.
    MembershipObserved,
    /// `rules.changed`: the rules as a text.
    RulesChanged,
    /// The context of the record: address and agent.
    Context,
}

impl State {
    /// Folds one record.
    pub fn apply(&mut self, position: Position, record: &Record) -> Verdict {
        self.position = Some(position);
        let counts = self.time.advance(record);
        self.count_unsigned(position, record);
        if !counts {
            return Verdict::Ignored;
        }
        let verdict = self.judge(record);
        if verdict == Verdict::Applied {
            self.fold(position, record);
        }
        self.forget_expired();
        verdict
    }

    /// Returns which log this is, once its first record has been applied.
    pub fn log(&self) -> Option<&LogIdentity> {
        self.log.as_ref()
    }

    /// Returns the position of the last record.
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// Returns the effective time of the last record.
    pub fn eff(&self) -> Timestamp {
        self.time.eff
    }

    /// Returns the process that last started.
    pub fn writer(&self) -> Option<WriterId> {
        self.writer
    }

    /// Returns why and until when calls to Discord stopped.
    pub fn outage(&self) -> Option<Outage> {
        self.outage
    }

    /// Returns the last checkpoint.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.checkpoint
    }

    /// Returns what nobody has signed for yet.
    pub fn unsigned(&self) -> Unsigned {
        self.unsigned
    }

    /// Returns the rules as last recorded.
    pub fn rules(&self) -> Option<&KnownRules> {
        self.rules.as_ref()
    }

    /// Returns whether that user was erased.
    pub fn is_erased(&self, sub: Sub) -> bool {
        self.erased.contains(&sub)
    }

    /// Returns everybody who was erased, by pseudonym.
    pub fn erased(&self) -> impl Iterator<Item = Sub> {
        self.erased.iter().copied()
    }

    /// Returns the months whose keys were destroyed.
    pub fn destroyed(&self) -> impl Iterator<Item = Month> {
        self.destroyed.iter().copied()
    }

    /// Returns a user.
    pub fn user(&self, sub: Sub) -> Option<&User> {
        self.users.get(&sub).map(Box::as_ref)
    }

    /// Returns all users in no particular order.
    pub fn users(&self) -> impl Iterator<Item = (Sub, &User)> {
        self.users.iter().map(|(sub, user)| (*sub, &**user))
    }

    /// Returns a session, live or not.
    pub fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(id)
    }

    /// Returns the session that a cookie's secret belongs to, live or not.
    pub fn session_by_key(&self, key: &SessionKey) -> Option<&Session> {
        self.sessions.by_key(key)
    }

    /// Returns the sessions of a user, live or not, oldest first.
    pub fn sessions_of(&self, sub: Sub) -> impl Iterator<Item = &Session> {
        self.users
            .get(&sub)
            .into_iter()
            .flat_map(|user| &user.sessions)
            .filter_map(|id| self.sessions.get(*id))
    }

    /// Returns all sessions, live or not, in no particular order.
    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.sessions.iter()
    }

    /// Decides whether the record counts, as a whole.
    fn judge(&self, record: &Record) -> Verdict {
        let sub = record.subject.map(|subject| subject.sub);
        // What was still on its way about somebody who was erased brings nothing of them back.
        if sub.is_some_and(|sub| self.erased.contains(&sub)) {
            return Verdict::Ignored;
        }
        let user = sub.and_then(|sub| self.user(sub));
        if let Some(expected) = record.subject.and_then(|subject| subject.version)
            && expected != user.map_or(0, |user| user.version)
        {
            return Verdict::Superseded;
        }
        let current = |grant: GrantId| user.and_then(|u| u.grant.as_ref()).is_some_and(|g| g.id == grant);
        let pending =
            |grant: GrantId| user.and_then(|u| u.revocation.as_ref()).is_some_and(|r| r.grant.id == grant);
        let stands = record.events.iter().all(|event| match event {
            Event::GrantRefreshClaimed { grant, .. }
            | Event::GrantRefreshed { grant, .. }
            | Event::GrantRefreshFailed { grant, .. } => current(*grant) || pending(*grant),
            Event::GrantRevoked { grant, .. } => current(*grant),
            Event::GrantRevocationConfirmed { grant, .. } => pending(*grant),
            Event::GrantIssued { .. } => sub.is_some(),
            Event::UserErased { .. } => user.is_some(),
            Event::ProfileObserved => user.is_some() || issues_a_grant(record),
            // Of somebody new they may stand before the sign-in, where it has no room for them.
            Event::MembershipObserved { .. } => sub.is_some(),
            Event::SessionOpened { session, key, .. } => sub.is_some() && !self.has_session(*session, key),
            _ => true,
        });
        if stands { Verdict::Applied } else { Verdict::Ignored }
    }

    fn fold(&mut self, position: Position, record: &Record) {
        let sub = record.subject.map(|subject| subject.sub);
        let facts = Facts::of(record);
        let mut revokes = false;
        for (index, event) in record.events.iter().enumerate() {
            let index = u16::try_from(index).unwrap_or(u16::MAX);
            match event {
                Event::LogCreated { log, origin, made_by, public_key, .. } => {
                    self.log = Some(LogIdentity {
                        id: *log,
                        origin: origin.clone(),
                        made_by: *made_by,
                        public_key: *public_key,
                    });
                }
                Event::ServerStarted { writer, .. } => self.writer = Some(*writer),
                Event::LogLossAccepted { .. } | Event::LogRestored { .. } => self.end_everything(),
                Event::KeyRotated { signer: Some(signer), .. } => {
                    if let Some(log) = &mut self.log {
                        log.public_key = signer.public_key;
                    }
                }
                Event::KeyDestroyed { purpose: KeyPurpose::Month, key_id } => {
                    self.destroyed.insert(Month(*key_id));
                }
                Event::UserErased { .. } => {
                    if let Some(sub) = sub {
                        self.erase(sub);
                    }
                }
                Event::CheckpointSigned { size, root, .. } => {
                    self.checkpoint =
                        Some(Checkpoint { position, size: *size, root: *root, at: self.time.eff });
                }
                Event::DiscordUnavailable { cause, until } => {
                    self.outage = Some(Outage { cause: *cause, until: *until });
                }
                Event::DiscordAvailable { .. } => self.outage = None,
                Event::RulesChanged { new, .. } => {
                    self.rules = Some(KnownRules { hash: *new, fact: facts.of_event(event, index) });
                }
                Event::ServerStopped { .. }
                | Event::ClockStepped { .. }
                | Event::SignInFailed { .. }
                | Event::SignInDenied { .. }
                | Event::SignInRolledUp { .. }
                | Event::KeyRotated { signer: None, .. }
                | Event::KeyDestroyed { .. }
                | Event::AuditRead(_)
                | Event::AuditExported(_) => {}
                Event::SessionSeen { session, idle_deadline } => {
                    self.see(*session, sub, *idle_deadline, facts.context());
                }
                Event::SessionRevoked { sessions, .. } => {
                    revokes = true;
                    for session in sessions {
                        if self.sessions.get(*session).is_some_and(|found| Some(found.user) == sub) {
                            self.remove(*session);
                        }
                    }
                }
                Event::SessionOpened { .. } => {
                    if let Some(sub) = sub {
                        self.open(sub, event, facts.context());
                    }
                }
                Event::GrantIssued { .. }
                | Event::GrantRefreshClaimed { .. }
                | Event::GrantRefreshed { .. }
                | Event::GrantRefreshFailed { .. }
                | Event::GrantRevoked { .. }
                | Event::GrantRevocationConfirmed { .. }
                | Event::ProfileObserved
                | Event::MembershipObserved { .. } => {
                    revokes |= matches!(event, Event::GrantRevoked { .. });
                    if let Some(sub) = sub {
                        let moment = Moment { position, eff: self.time.eff, writer: record.context.writer };
                        self.users.entry(sub).or_default().fold(moment, event, facts.of_event(event, index));
                    }
                }
            }
        }
        let decided = record.subject.is_some_and(|subject| subject.version.is_some());
        if let Some(user) = sub.and_then(|sub| self.users.get_mut(&sub))
            && (decided || revokes)
        {
            user.version += 1;
        }
    }

    fn open(&mut self, sub: Sub, event: &Event, origin: Option<Fact>) {
        let Event::SessionOpened { session, method, scope, admin, key, expires_at, idle_deadline, .. } =
            event
        else {
            return;
        };
        // A record that opens the same session or takes the same key twice opens one.
        if self.has_session(*session, key) {
            return;
        }
        let opened = Session {
            id: *session,
            user: sub,
            key: *key,
            method: *method,
            scope: scope.clone(),
            admin: *admin,
            opened_at: self.time.eff,
            seen_at: self.time.eff,
            expires_at: *expires_at,
            idle_deadline: *idle_deadline,
            origin,
        };
        self.users.entry(sub).or_default().sessions.push(*session);
        self.deadlines.insert((opened.deadline(), *session));
        self.sessions.insert(opened);
    }

    fn has_session(&self, id: SessionId, key: &SessionKey) -> bool {
        self.sessions.get(id).is_some() || self.sessions.by_key(key).is_some()
    }

    fn see(&mut self, id: SessionId, sub: Option<Sub>, idle_deadline: Timestamp, origin: Option<Fact>) {
        let eff = self.time.eff;
        if self.sessions.get(id).is_none_or(|session| Some(session.user) != sub) {
            return;
        }
        self.sessions.change(id, |session| {
            self.deadlines.remove(&(session.deadline(), id));
            session.seen_at = eff;
            session.idle_deadline = idle_deadline;
            if origin.is_some() {
                session.origin = origin;
            }
            self.deadlines.insert((session.deadline(), id));
        });
    }

    fn remove(&mut self, id: SessionId) {
        let Some(session) = self.sessions.remove(id) else { return };
        self.deadlines.remove(&(session.deadline(), id));
        if let Some(user) = self.users.get_mut(&session.user) {
            user.sessions.retain(|other| *other != id);
        }
    }

    /// Forgets a user, and that they were ever more than a pseudonym.
    fn erase(&mut self, sub: Sub) {
        let Some(user) = self.users.remove(&sub) else { return };
        for id in user.sessions {
            self.remove(id);
        }
        self.erased.insert(sub);
    }

    /// A checkpoint signs for what stood before it when its root was taken; what came since is left.
    fn count_unsigned(&mut self, position: Position, record: &Record) {
        let signed = record.events.iter().find_map(|event| match event {
            Event::CheckpointSigned { size, .. } => Some(*size),
            _ => None,
        });
        match signed {
            Some(size) => {
                let records = position.0.saturating_sub(size);
                self.unsigned = Unsigned { records, since: (records > 0).then_some(self.time.eff) };
            }
            None => {
                self.unsigned.records += 1;
                self.unsigned.since.get_or_insert(self.time.eff);
            }
        }
    }

    /// Ends every session and every claim: what was lost may have been their end.
    fn end_everything(&mut self) {
        self.sessions.clear();
        self.deadlines.clear();
        for user in self.users.values_mut() {
            user.version += 1;
            user.sessions.clear();
            if let Some(grant) = &mut user.grant {
                grant.claim = None;
            }
            if let Some(revocation) = &mut user.revocation {
                revocation.grant.claim = None;
            }
        }
    }

    /// Forgets sessions that time ended long ago, so that the state does not grow for ever.
    fn forget_expired(&mut self) {
        let before = self.time.eff.minus(FORGET_AFTER);
        while let Some((deadline, id)) = self.deadlines.first().copied()
            && deadline < before
        {
            self.remove(id);
        }
    }
}

impl User {
    fn fold(&mut self, at: Moment, event: &Event, fact: Option<Fact>) {
        match event {
            Event::GrantIssued { grant, application, scopes, expires_at, tokens } => {
                self.revocation = None;
                self.grant = fact.map(|sealed| Grant {
                    id: *grant,
                    application: *application,
                    scopes: scopes.clone(),
                    issued_at: at.eff,
                    refreshed_at: at.eff,
                    expires_at: *expires_at,
                    tokens: sealed,
                    fingerprints: *tokens,
                    claim: None,
                    not_before: None,
                    failed_with: None,
                    failures: 0,
                    uncertain: false,
                });
            }
            Event::GrantRefreshClaimed { grant, attempt, until } => {
                if let Some(grant) = self.grant_mut(*grant) {
                    grant.claim = Some(Box::new(Claim {
                        attempt: *attempt,
                        until: *until,
                        writer: at.writer,
                        position: at.position,
                    }));
                }
            }
            Event::GrantRefreshed { grant, scopes, expires_at, new, .. } => {
                if let (Some(grant), Some(sealed)) = (self.grant_mut(*grant), fact) {
                    grant.scopes = scopes.clone();
                    grant.expires_at = *expires_at;
                    grant.refreshed_at = at.eff;
                    grant.tokens = sealed;
                    grant.fingerprints = *new;
                    grant.claim = None;
                    grant.not_before = None;
                    grant.failed_with = None;
                    grant.failures = 0;
                    grant.uncertain = false;
                }
            }
            Event::GrantRefreshFailed { grant, not_before, code, .. } => {
                if let Some(grant) = self.grant_mut(*grant) {
                    grant.claim = None;
                    grant.not_before = *not_before;
                    grant.failed_with = Some(*code);
                    grant.failures = grant.failures.saturating_add(1);
                    grant.uncertain |= *code == FailureCode::OutcomeUnknown;
                }
            }
            Event::GrantRevoked { source, confirmed, .. } => {
                let ended = self.grant.take();
                self.revocation = ended.filter(|_| !confirmed).map(|grant| {
                    Box::new(Revocation { grant, source: *source, since: at.eff, position: at.position })
                });
            }
            Event::GrantRevocationConfirmed { .. } => self.revocation = None,
            Event::ProfileObserved => {
                self.profile = fact;
                self.profile_at = at.eff;
            }
            Event::MembershipObserved { slot } => {
                match fact {
                    Some(fact) => self.memberships.insert(*slot, Observed { fact, at: at.eff }),
                    None => self.memberships.remove(slot),
                };
            }
            _ => {}
        }
    }

    /// Returns the grant of that id, live or pending revocation.
    fn grant_mut(&mut self, id: GrantId) -> Option<&mut Grant> {
        let pending = self.revocation.as_mut().map(|revocation| &mut revocation.grant);
        self.grant.as_mut().into_iter().chain(pending).find(|grant| grant.id == id)
    }
}

/// When and by whom.
#[derive(Clone, Copy)]
struct Moment {
    position: Position,
    eff: Timestamp,
    writer: WriterId,
}

/// The boxes of one record, shared by the facts in them.
struct Facts<'a> {
    record: RecordId,
    subject: Option<&'a Arc<SealedBox>>,
    context: Option<&'a Arc<SealedBox>>,
    log: Option<&'a Arc<SealedBox>>,
}

impl<'a> Facts<'a> {
    fn of(record: &'a Record) -> Facts<'a> {
        let find = |wanted: fn(&Owner) -> bool| record.sealed.iter().find(|sealed| wanted(&sealed.owner));
        Facts {
            record: record.id,
            subject: find(|owner| matches!(owner, Owner::Subject(_))),
            context: find(|owner| matches!(owner, Owner::Context(..))),
            log: find(|owner| matches!(owner, Owner::Log)),
        }
    }

    fn of_event(&self, event: &Event, index: u16) -> Option<Fact> {
        let (of, sealed) = match event {
            Event::GrantIssued { .. } => (FactOf::GrantIssued, self.subject),
            Event::GrantRefreshed { .. } => (FactOf::GrantRefreshed, self.subject),
            Event::ProfileObserved => (FactOf::ProfileObserved, self.subject),
            Event::MembershipObserved { .. } => (FactOf::MembershipObserved, self.subject),
            Event::RulesChanged { .. } => (FactOf::RulesChanged, self.log),
            _ => return None,
        };
        Some(Fact { record: self.record, sealed: Arc::clone(sealed?), index, of })
    }

    fn context(&self) -> Option<Fact> {
        let sealed = Arc::clone(self.context?);
        Some(Fact { record: self.record, sealed, index: CONTEXT, of: FactOf::Context })
    }
}

fn issues_a_grant(record: &Record) -> bool {
    record.events.iter().any(|event| matches!(event, Event::GrantIssued { .. }))
}

impl fmt::Debug for State {
    /// Writes everything in a fixed order, so that two states can be compared as text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let users: std::collections::BTreeMap<_, _> = self.users.iter().collect();
        f.debug_struct("State")
            .field("log", &self.log)
            .field("position", &self.position)
            .field("unsigned", &self.unsigned)
            .field("eff", &self.time.eff)
            .field("writer", &self.writer)
            .field("outage", &self.outage)
            .field("checkpoint", &self.checkpoint)
            .field("rules", &self.rules)
            .field("erased", &self.erased)
            .field("destroyed", &self.destroyed)
            .field("users", &users)
            .field("sessions", &self.sessions)
            .finish_non_exhaustive()
    }
}
