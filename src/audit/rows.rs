//! One row an event: who, what, when, from where, and what time alone has ended in between.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;
use serde_json::{Map, Value};

use super::turned_away::is_denial;
use super::{Opener, People, Person, ReadError, Records, describe, in_words};
use crate::domain::event::{ActorKind, Event, Private};
use crate::domain::id::{DiscordId, Position, SessionId, Sub};
use crate::domain::record::Record;
use crate::domain::state::{State, Timeline, Verdict};
use crate::domain::time::Timestamp;
use crate::event_log::codec;

/// The name of the line that no record holds: a session that time has ended.
const EXPIRED: &str = "session.expired";

/// An event, as an answer shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EventRow {
    /// Of its record; a derived line has none.
    pub position: Option<u64>,
    /// Within its record.
    pub index: Option<usize>,
    /// The effective time.
    #[serde(serialize_with = "as_text")]
    pub time: Timestamp,
    /// For example `session.opened`.
    pub kind: String,
    /// Whom it concerns.
    pub user: Option<Person>,
    /// The session, where it concerns one.
    pub session: Option<String>,
    /// Who caused it.
    pub actor: Actor,
    /// From where.
    pub ip: Option<IpAddr>,
    /// What happened, in a few words.
    pub summary: String,
    /// Everything else that it says.
    pub data: Map<String, Value>,
    /// Nothing in the log says so: time does.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub derived: bool,
    /// Why it changes nothing, where it does not: it was overtaken, or reports on what had gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without_effect: Option<&'static str>,
}

/// Who caused a record.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Actor {
    /// For example `operator`.
    pub kind: String,
    /// Who, where they are a user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Person>,
    /// By which session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
}

fn as_text<S: serde::Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

/// Which rows are wanted; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Concerns one of these users, or one of them caused it.
    pub users: Option<BTreeSet<Sub>>,
    /// Is the refused sign-in of that one, who has no pseudonym; besides what concerns the users.
    pub stranger: Option<DiscordId>,
    /// Concerns that session.
    pub session: Option<SessionId>,
    /// Is of that kind, or of that noun: `session` means all of `session.*`.
    pub kind: Option<String>,
    /// Came from there.
    pub network: Option<IpNet>,
    /// At that time or later.
    pub since: Option<Timestamp>,
    /// Before that time.
    pub until: Option<Timestamp>,
    /// Was caused by one like that.
    pub actor: Option<ActorKind>,
    /// Was caused by one of these users.
    pub actors: Option<BTreeSet<Sub>>,
}

/// Folds records and gives a row for each event that is wanted.
pub struct Rows {
    opener: Opener,
    filter: Filter,
    state: State,
    time: Timeline,
    people: People,
    deadlines: Deadlines,
}

impl Rows {
    /// Begins before the first record.
    pub fn new(opener: Opener, filter: Filter) -> Rows {
        Rows {
            opener,
            filter,
            state: State::default(),
            time: Timeline::default(),
            people: People::default(),
            deadlines: Deadlines::default(),
        }
    }

    /// Reads all that `records` has, and hands the rows over as they come.
    pub async fn read(
        &mut self,
        records: &mut dyn Records,
        mut row: impl FnMut(EventRow) -> bool,
    ) -> Result<(), ReadError> {
        while let Some(chunk) = records.next().await? {
            for (position, frame) in chunk {
                let decoded = codec::decode_record(&frame);
                let record = decoded.map_err(|source| ReadError::Decode { position, source })?;
                for found in self.take(position, &record) {
                    if !row(found) {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes one record in and returns the rows that it gives.
    pub fn take(&mut self, position: Position, record: &Record) -> Vec<EventRow> {
        self.time.advance(record);
        self.take_at(position, record, self.time.eff())
    }

    /// Takes one record in whose effective time is known.
    pub(super) fn take_at(&mut self, position: Position, record: &Record, eff: Timestamp) -> Vec<EventRow> {
        let verdict = self.state.apply(position, record);
        let mut rows = self.expired(eff);
        self.people.hear(record);
        for (index, event) in record.events.iter().enumerate() {
            if let Some(row) = self.row(position, eff, record, index, event, verdict) {
                rows.push(row);
            }
        }
        if verdict == Verdict::Applied {
            self.deadlines.hear(record);
        }
        rows
    }

    /// Returns the sessions that time has ended by `now`, each once.
    pub fn expired(&mut self, now: Timestamp) -> Vec<EventRow> {
        let ended = self.deadlines.passed(now);
        let rows = ended.into_iter().filter_map(|(at, session, sub)| {
            let wanted = self.filter.network.is_none()
                && self.filter.actor.is_none()
                && self.filter.actors.is_none()
                && self.filter.users.as_ref().is_none_or(|users| users.contains(&sub))
                && self.filter.session.is_none_or(|wanted| wanted == session)
                && self.filter.is_in_time(at)
                && self.filter.is_kind(EXPIRED);
            wanted.then(|| EventRow {
                position: None,
                index: None,
                time: at,
                kind: EXPIRED.into(),
                user: Some(self.people.person(sub, &self.opener)),
                session: Some(session.to_string()),
                actor: Actor { kind: ActorKind::System.to_string(), user: None, via: None },
                ip: None,
                summary: "a session ran out".into(),
                data: Map::new(),
                derived: true,
                without_effect: None,
            })
        });
        rows.collect()
    }

    fn row(
        &self,
        position: Position,
        eff: Timestamp,
        record: &Record,
        index: usize,
        event: &Event,
        verdict: Verdict,
    ) -> Option<EventRow> {
        let kind = kind_of(event);
        let filter = &self.filter;
        let actor = record.context.actor;
        let subject = record.subject.map(|subject| subject.sub);
        let concerns = |users: &BTreeSet<Sub>| {
            subject.is_some_and(|sub| users.contains(&sub))
                || actor.sub.is_some_and(|sub| users.contains(&sub))
                || asked_for(event).is_some_and(|sub| users.contains(&sub))
        };
        let wanted = filter.is_in_time(eff)
            && filter.is_kind(kind)
            && (filter.users.as_ref().is_none_or(concerns) || self.is_of_stranger(record, index, event))
            && filter
                .session
                .is_none_or(|wanted| sessions_of(event).contains(&wanted) || actor.via == Some(wanted))
            && filter.actor.is_none_or(|wanted| wanted == actor.kind)
            && filter.actors.as_ref().is_none_or(|users| actor.sub.is_some_and(|sub| users.contains(&sub)));
        if !wanted {
            return None;
        }
        let ip = self.opener.origin(record).and_then(|origin| origin.ip);
        if filter.network.is_some_and(|network| !ip.is_some_and(|ip| network.contains(&ip.to_canonical()))) {
            return None;
        }
        let private = self.opener.private(record, index);
        let sessions = sessions_of(event);
        Some(EventRow {
            position: Some(position.0),
            index: Some(index),
            time: eff,
            kind: kind.to_owned(),
            user: subject.map(|sub| self.people.person(sub, &self.opener)),
            session: match sessions.as_slice() {
                [one] => Some(one.to_string()),
                _ => None,
            },
            actor: actor_of(record, &self.people, &self.opener),
            ip,
            summary: in_words(event, private.as_ref()),
            data: describe(event, private.as_ref()),
            derived: false,
            without_effect: match verdict {
                Verdict::Applied => None,
                Verdict::Superseded => Some("superseded"),
                Verdict::Ignored => Some("ignored"),
            },
        })
    }
}

impl Rows {
    fn is_of_stranger(&self, record: &Record, index: usize, event: &Event) -> bool {
        let Some(wanted) = self.filter.stranger.filter(|_| is_denial(event)) else { return false };
        let private = self.opener.private(record, index);
        matches!(private, Some(Private::Denied(stranger)) if stranger.profile.id == wanted)
    }
}

impl Filter {
    fn is_in_time(&self, at: Timestamp) -> bool {
        self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at < until)
    }

    fn is_kind(&self, kind: &str) -> bool {
        self.kind.as_deref().is_none_or(|wanted| {
            kind == wanted || kind.split_once('.').is_some_and(|(noun, _)| noun == wanted)
        })
    }
}

/// Returns who caused a record.
pub(super) fn actor_of(record: &Record, people: &People, opener: &Opener) -> Actor {
    let actor = record.context.actor;
    Actor {
        kind: actor.kind.to_string(),
        user: actor.sub.map(|sub| people.person(sub, opener)),
        via: actor.via.map(|session| session.to_string()),
    }
}

/// Returns the name of the event's kind.
pub(super) fn kind_of(event: &Event) -> &'static str {
    codec::kind(codec::kind_of(event)).map_or("unknown", |kind| kind.name)
}

/// Returns the sessions that an event concerns.
pub(super) fn sessions_of(event: &Event) -> Vec<SessionId> {
    match event {
        Event::SessionOpened { session, .. } | Event::SessionSeen { session, .. } => vec![*session],
        Event::SessionRevoked { sessions, .. } | Event::UserErased { sessions, .. } => sessions.clone(),
        _ => Vec::new(),
    }
}

fn asked_for(event: &Event) -> Option<Sub> {
    match event {
        Event::AuditRead(audit) | Event::AuditExported(audit) => audit.user,
        _ => None,
    }
}

/// When each session ends by itself, as the events say.
#[derive(Default)]
struct Deadlines {
    by_time: BTreeSet<(Timestamp, SessionId)>,
    known: HashMap<SessionId, Known>,
}

struct Known {
    sub: Sub,
    expires_at: Timestamp,
    deadline: Timestamp,
}

impl Deadlines {
    fn hear(&mut self, record: &Record) {
        let Some(sub) = record.subject.map(|subject| subject.sub) else {
            let all_end =
                |event: &Event| matches!(event, Event::LogLossAccepted { .. } | Event::LogRestored { .. });
            if record.events.iter().any(all_end) {
                *self = Deadlines::default();
            }
            return;
        };
        for event in &record.events {
            match event {
                Event::SessionOpened { session, expires_at, idle_deadline, .. } => {
                    let (expires_at, deadline) = (*expires_at, (*expires_at).min(*idle_deadline));
                    self.by_time.insert((deadline, *session));
                    self.known.insert(*session, Known { sub, expires_at, deadline });
                }
                Event::SessionSeen { session, idle_deadline } => {
                    if let Some(known) = self.known.get_mut(session) {
                        self.by_time.remove(&(known.deadline, *session));
                        known.deadline = known.expires_at.min(*idle_deadline);
                        self.by_time.insert((known.deadline, *session));
                    }
                }
                Event::SessionRevoked { sessions, .. } | Event::UserErased { sessions, .. } => {
                    for session in sessions {
                        self.remove(*session);
                    }
                }
                _ => {}
            }
        }
    }

    fn passed(&mut self, now: Timestamp) -> Vec<(Timestamp, SessionId, Sub)> {
        let mut passed = Vec::new();
        while let Some((at, session)) = self.by_time.first().copied()
            && at <= now
        {
            if let Some(known) = self.remove(session) {
                passed.push((at, session, known.sub));
            }
        }
        passed
    }

    fn remove(&mut self, session: SessionId) -> Option<Known> {
        let known = self.known.remove(&session)?;
        self.by_time.remove(&(known.deadline, session));
        Some(known)
    }
}
