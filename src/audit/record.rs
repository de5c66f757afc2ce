//! One record, whole: what is in it, what led to it and what followed from it.

use serde::Serialize;
use serde_json::{Map, Value};

use super::rows::{Actor, actor_of};
use super::{Opener, People, Person, ReadError, Reader, describe};
use crate::domain::id::{Hash, Position};
use crate::domain::record::{Owner, Record};
use crate::domain::state::{State, Verdict};
use crate::domain::time::Timestamp;
use crate::event_log::codec::{kind, kind_of, leaf_hash};

/// A record, as an answer shows it.
#[derive(Debug, Serialize)]
pub struct WholeRecord {
    /// Where it stands.
    pub position: u64,
    /// Its id.
    pub id: String,
    /// The writer's wall clock.
    pub at: String,
    /// The effective time.
    pub time: String,
    /// What it did to the state.
    pub verdict: &'static str,
    /// Whom it concerns.
    pub user: Option<Person>,
    /// Against which version of that user it was decided.
    pub version: Option<u64>,
    /// The process that wrote it.
    pub writer: String,
    /// Who caused it.
    pub actor: Actor,
    /// The request that it shares with others.
    pub request: Option<String>,
    /// The record that led to it.
    pub cause: Option<u64>,
    /// Where the request came in.
    pub route: Option<String>,
    /// From where.
    pub ip: Option<String>,
    /// How the address was learned.
    pub learned: Option<String>,
    /// With what.
    pub user_agent: Option<String>,
    /// What happened, in order.
    pub events: Vec<OneEvent>,
    /// What is sealed, and whether these keys open it.
    pub boxes: Vec<OneBox>,
    /// How long its frame is, in bytes.
    pub bytes: usize,
    /// The hash of its frame in the tree.
    pub leaf: String,
    /// Records that it led to, or that the same request caused.
    pub followed_by: Vec<Related>,
}

/// An event of it.
#[derive(Debug, Serialize)]
pub struct OneEvent {
    /// For example `session.opened`.
    pub kind: &'static str,
    /// What it says.
    pub data: Map<String, Value>,
}

/// A box of it.
#[derive(Debug, Serialize)]
pub struct OneBox {
    /// Whose keys open it.
    pub owner: String,
    /// Whether these do.
    pub opened: bool,
    /// How long it is, sealed.
    pub bytes: usize,
}

/// Another record that belongs to it.
#[derive(Debug, Serialize)]
pub struct Related {
    /// Where it stands.
    pub position: u64,
    /// What happened.
    pub kinds: Vec<&'static str>,
}

impl Reader {
    /// Returns a record, whole.
    pub async fn whole(&self, position: Position) -> Result<WholeRecord, ReadError> {
        let (record, frame) = self.record(position).await?;
        let mut state = State::default();
        let mut people = People::default();
        let mut found = None;
        self.each(Position(0), position, |at, record| {
            let verdict = state.apply(at, record);
            people.hear(record);
            if at == position {
                found = Some((verdict, state.eff()));
            }
        })
        .await?;
        let (verdict, time) = found.unwrap_or((Verdict::Ignored, Timestamp::default()));
        let mut followed_by = Vec::new();
        if let Some(head) = self.head().await?
            && head > position
        {
            self.each(position.next(), head, |at, other| {
                let same = other.context.request.is_some() && other.context.request == record.context.request;
                if same || other.context.cause == Some(position) {
                    followed_by.push(Related { position: at.0, kinds: kinds(other) });
                }
            })
            .await?;
        }
        Ok(whole(position, &record, &frame, verdict, time, &people, self.opener(), followed_by))
    }
}

#[expect(clippy::too_many_arguments, reason = "everything that is known about a record comes together here")]
fn whole(
    position: Position,
    record: &Record,
    frame: &[u8],
    verdict: Verdict,
    time: Timestamp,
    people: &People,
    opener: &Opener,
    followed_by: Vec<Related>,
) -> WholeRecord {
    let origin = opener.origin(record);
    let events = record.events.iter().enumerate().map(|(index, event)| OneEvent {
        kind: name(kind_of(event)),
        data: describe(event, opener.private(record, index).as_ref()),
    });
    WholeRecord {
        position: position.0,
        id: uuid::Uuid::from_bytes(record.id.0).to_string(),
        at: record.at.to_string(),
        time: time.to_string(),
        verdict: match verdict {
            Verdict::Applied => "applied",
            Verdict::Superseded => "superseded",
            Verdict::Ignored => "ignored",
        },
        user: record.subject.map(|subject| people.person(subject.sub, opener)),
        version: record.subject.and_then(|subject| subject.version),
        writer: record.context.writer.to_string(),
        actor: actor_of(record, people, opener),
        request: record.context.request.map(|request| request.to_string()),
        cause: record.context.cause.map(|cause| cause.0),
        route: record.context.route.map(|route| route.to_string()),
        ip: origin.as_ref().and_then(|origin| origin.ip).map(|ip| ip.to_string()),
        learned: origin
            .as_ref()
            .filter(|origin| origin.ip.is_some())
            .map(|origin| origin.learned.to_string()),
        user_agent: origin.and_then(|origin| origin.user_agent),
        events: events.collect(),
        boxes: record
            .sealed
            .iter()
            .map(|sealed| OneBox {
                owner: match sealed.owner {
                    Owner::Subject(sub) => format!("user {sub}"),
                    Owner::Context(month, None) => format!("month {}", month.0),
                    Owner::Context(month, Some(sub)) => format!("month {} and user {sub}", month.0),
                    Owner::Log => "log".to_owned(),
                },
                opened: opener.opens(record, sealed),
                bytes: sealed.ciphertext.len(),
            })
            .collect(),
        bytes: frame.len(),
        leaf: Hash::to_string(&leaf_hash(frame)),
        followed_by,
    }
}

fn kinds(record: &Record) -> Vec<&'static str> {
    record.events.iter().map(|event| name(kind_of(event))).collect()
}

fn name(id: u16) -> &'static str {
    kind(id).map_or("unknown", |kind| kind.name)
}
