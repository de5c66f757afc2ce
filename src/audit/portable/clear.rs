//! A record in the clear: what everybody may read who holds the log, whatever doorbook wrote it.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::audit::describe;
use crate::domain::event::Event;
use crate::event_log::codec::{self, DecodeError, RawEvent, RawRecord, deserialize_event};

/// A record, as far as it can be read without a key.
pub(super) struct Clear {
    /// What it says, in words that stay as they are.
    pub(super) said: Said,
    /// The events that this version understands.
    pub(super) events: Vec<Event>,
    /// Whether those are all.
    pub(super) is_understood: bool,
    raw: Vec<RawEvent>,
}

/// The member `event` of a line.
#[derive(Serialize)]
pub(super) struct Said {
    id: String,
    at: String,
    subject: Option<Subject>,
    context: Context,
    events: Vec<SaidEvent>,
}

#[derive(Serialize)]
struct Subject {
    sub: String,
    version: Option<u64>,
}

#[derive(Serialize)]
struct Context {
    writer: String,
    actor: Actor,
    request: Option<String>,
    cause: Option<u64>,
    route: Option<String>,
}

#[derive(Serialize)]
struct Actor {
    kind: String,
    sub: Option<String>,
    via: Option<String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum SaidEvent {
    Known { kind: &'static str, data: Map<String, Value> },
    Unknown { kind: u16, version: u8, payload: String },
}

impl Clear {
    /// Reads a frame; kinds of a newer doorbook are said by their numbers.
    pub(super) fn of(frame: &[u8]) -> Result<Clear, DecodeError> {
        let RawRecord { id, at, subject, context, events: raw, sealed: _ } = codec::decode_raw(frame)?;
        let mut events = Vec::with_capacity(raw.len());
        let mut said = Vec::with_capacity(raw.len());
        for event in &raw {
            said.push(match deserialize_event(event.kind, event.version, &event.clear) {
                Ok(event) => {
                    let data = describe(&event, None);
                    let name = codec::kind(codec::kind_of(&event)).map_or("unknown", |kind| kind.name);
                    events.push(event);
                    SaidEvent::Known { kind: name, data }
                }
                Err(DecodeError::Unknown { .. }) => SaidEvent::unknown(event),
                Err(error) => return Err(error),
            });
        }
        let said = Said {
            id: uuid::Uuid::from_bytes(id.0).to_string(),
            at: at.to_string(),
            subject: subject
                .map(|subject| Subject { sub: subject.sub.to_string(), version: subject.version }),
            context: Context {
                writer: context.writer.to_string(),
                actor: Actor {
                    kind: context.actor.kind.to_string(),
                    sub: context.actor.sub.map(|sub| sub.to_string()),
                    via: context.actor.via.map(|session| session.to_string()),
                },
                request: context.request.map(|request| request.to_string()),
                cause: context.cause.map(|cause| cause.0),
                route: context.route.map(|route| route.to_string()),
            },
            events: said,
        };
        Ok(Clear { is_understood: events.len() == raw.len(), said, events, raw })
    }

    /// Says whether somebody else's words for this record agree with its bytes.
    ///
    /// An older doorbook may have had numbers only where this one has words, and a newer one words where this
    /// one has numbers. Those cannot be judged here; the bytes are what counts.
    pub(super) fn agrees(&self, given: &Value) -> bool {
        let ours = json!(self.said);
        if *given == ours {
            return true;
        }
        let (Some(given), Some(ours)) = (given.as_object(), ours.as_object()) else { return false };
        let Some((Value::Array(theirs), Value::Array(own))) = given.get("events").zip(ours.get("events"))
        else {
            return false;
        };
        let rest = |all: &Map<String, Value>| {
            let mut rest = all.clone();
            rest.remove("events");
            rest
        };
        let event_agrees = |((theirs, ours), raw): ((&Value, &Value), &RawEvent)| {
            let ours_is_number = ours["kind"].is_number();
            theirs == ours
                || *theirs == json!(SaidEvent::unknown(raw))
                || (ours_is_number && theirs["kind"].is_string())
        };
        theirs.len() == own.len()
            && rest(given) == rest(ours)
            && theirs.iter().zip(own).zip(&self.raw).all(event_agrees)
    }
}

impl SaidEvent {
    fn unknown(event: &RawEvent) -> SaidEvent {
        SaidEvent::Unknown { kind: event.kind, version: event.version, payload: hex::encode(&event.clear) }
    }
}
