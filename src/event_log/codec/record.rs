//! A record as a frame: `u8 format | u16be schema | u32be length | body`, and the hash of its bytes.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::canonical::{decode, encode_after};
use super::{DecodeError, EncodeError, MAX_FRAME, deserialize_event, serialize_event, wire};
use crate::domain::event::{ActorKind, Route};
use crate::domain::id::{Hash, Position, RecordId, RequestId, SessionId, Sub, WriterId};
use crate::domain::record::{Actor, Context, Owner, Record, SealedBox, Subject};
use crate::domain::time::{Month, Timestamp};

/// The format of the frames that are written today: their first byte.
pub const FORMAT: u8 = 1;
const SCHEMA: u16 = 1;
const HEADER: usize = 7;
const WHAT: &str = "a record";

/// A record whose events are still bytes, so that it can be read whatever their kinds are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRecord {
    /// See [`Record::id`].
    pub id: RecordId,
    /// See [`Record::at`].
    pub at: Timestamp,
    /// See [`Record::subject`].
    pub subject: Option<Subject>,
    /// See [`Record::context`].
    pub context: Context,
    /// What happened, in order.
    pub events: Vec<RawEvent>,
    /// See [`Record::sealed`].
    pub sealed: Vec<Arc<SealedBox>>,
}

/// An event as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawEvent {
    /// What it is.
    pub kind: u16,
    /// Which shape of that kind.
    pub version: u8,
    /// Its clear facts.
    pub clear: Vec<u8>,
}

/// Returns the hash that stands for a frame in the tree: `SHA-256(0x00 || frame)`, as in RFC 6962.
///
/// It is taken of the bytes as stored, never of what they decode to.
pub fn leaf_hash(frame: &[u8]) -> Hash {
    Hash(Sha256::new().chain_update([0]).chain_update(frame).finalize().into())
}

/// Writes a record as the frame that is appended.
pub fn encode_record(record: &Record) -> Result<Vec<u8>, EncodeError> {
    if record.events.is_empty() {
        return Err(EncodeError::NoEvents);
    }
    let stored = record.events.iter().map(|event| serialize_event(event, None));
    let stored = stored.collect::<Result<Vec<_>, _>>()?;
    let Context { writer, actor, request, cause, route } = &record.context;
    let body = wire::RecordV1 {
        id: record.id.0,
        at: record.at.0,
        subject: record.subject.map(|subject| (subject.sub.0, subject.version)),
        context: wire::ContextV1 {
            writer: writer.0,
            actor: wire::ActorV1 {
                kind: actor.kind.code(),
                id: actor.sub.as_ref().map_or(&[], |sub| &sub.0),
                via: actor.via.map(|session| session.0),
            },
            request: request.map(|request| request.0),
            cause: cause.map(|position| position.0),
            route: route.map(Route::code),
        },
        events: stored
            .iter()
            .map(|event| wire::EventV1 { kind: event.kind, version: event.version, payload: &event.clear })
            .collect(),
        sealed: record.sealed.iter().map(|sealed| box_v1(sealed)).collect(),
    };
    // The length is known only afterwards.
    let mut frame = encode_after(WHAT, &header(0), &body)?;
    let length = u32::try_from(frame.len() - HEADER).unwrap_or(u32::MAX);
    frame[..HEADER].copy_from_slice(&header(length));
    Ok(frame)
}

/// Reads a frame.
pub fn decode_record(frame: &[u8]) -> Result<Record, DecodeError> {
    let body = body(frame)?;
    // First, for an event that only a newer doorbook knows says nothing about the rest.
    let context = context(&body.context)?;
    // With room for just so many: to collect results would not know how many there are.
    let mut events = Vec::with_capacity(body.events.len());
    for event in &body.events {
        events.push(deserialize_event(event.kind, event.version, event.payload)?);
    }
    Ok(Record {
        id: RecordId(body.id),
        at: Timestamp(body.at),
        subject: subject(&body),
        context,
        events,
        sealed: body.sealed.iter().map(|stored| Arc::new(sealed_box(stored))).collect(),
    })
}

/// Reads a frame without looking into its events: for whatever must work on kinds of a newer doorbook.
pub fn decode_raw(frame: &[u8]) -> Result<RawRecord, DecodeError> {
    let body = body(frame)?;
    Ok(RawRecord {
        id: RecordId(body.id),
        at: Timestamp(body.at),
        subject: subject(&body),
        context: context(&body.context)?,
        events: body
            .events
            .iter()
            .map(|event| RawEvent { kind: event.kind, version: event.version, clear: event.payload.to_vec() })
            .collect(),
        sealed: body.sealed.iter().map(|stored| Arc::new(sealed_box(stored))).collect(),
    })
}

/// Returns how long the frame is that begins with these bytes, as far as it says so itself.
pub fn frame_length(bytes: &[u8]) -> Option<usize> {
    let [_, _, _, l0, l1, l2, l3] = *bytes.first_chunk::<HEADER>()?;
    usize::try_from(u32::from_be_bytes([l0, l1, l2, l3])).ok()?.checked_add(HEADER)
}

fn header(length: u32) -> [u8; HEADER] {
    let ([s0, s1], [l0, l1, l2, l3]) = (SCHEMA.to_be_bytes(), length.to_be_bytes());
    [FORMAT, s0, s1, l0, l1, l2, l3]
}

fn body(frame: &[u8]) -> Result<wire::RecordV1<'_>, DecodeError> {
    if frame.len() > MAX_FRAME {
        return Err(DecodeError::TooLarge { what: "a frame", bytes: frame.len() });
    }
    let Some((&[format, s0, s1, l0, l1, l2, l3], body)) = frame.split_first_chunk::<HEADER>() else {
        return Err(DecodeError::Malformed { what: "a frame" });
    };
    let schema = u16::from_be_bytes([s0, s1]);
    if (format, schema) != (FORMAT, SCHEMA) {
        return Err(DecodeError::UnknownFormat { format, schema });
    }
    let said = u32::from_be_bytes([l0, l1, l2, l3]);
    if usize::try_from(said) != Ok(body.len()) {
        return Err(DecodeError::WrongLength { said: u64::from(said), found: body.len() });
    }
    let body: wire::RecordV1<'_> = decode(WHAT, body)?;
    if body.events.is_empty() {
        return Err(DecodeError::Malformed { what: WHAT });
    }
    Ok(body)
}

fn subject(body: &wire::RecordV1<'_>) -> Option<Subject> {
    body.subject.map(|(sub, version)| Subject { sub: Sub(sub), version })
}

fn context(stored: &wire::ContextV1<'_>) -> Result<Context, DecodeError> {
    let sub = match stored.actor.id {
        [] => None,
        id => Some(Sub(id.try_into().map_err(|_| DecodeError::Malformed { what: "an actor" })?)),
    };
    Ok(Context {
        writer: WriterId(stored.writer),
        actor: Actor {
            kind: ActorKind::from_code(stored.actor.kind),
            sub,
            via: stored.actor.via.map(SessionId),
        },
        request: stored.request.map(RequestId),
        cause: stored.cause.map(Position),
        route: stored.route.map(Route::from_code),
    })
}

pub(super) fn box_v1(sealed: &SealedBox) -> wire::BoxV1<'_> {
    wire::BoxV1 {
        scheme: sealed.scheme,
        owner: match sealed.owner {
            Owner::Subject(sub) => wire::OwnerV1::Subject(sub.0),
            Owner::Context(month, sub) => wire::OwnerV1::Context(month.0, sub.map(|sub| sub.0)),
            Owner::Log => wire::OwnerV1::Log,
        },
        nonce: sealed.nonce,
        ciphertext: &sealed.ciphertext,
    }
}

pub(super) fn sealed_box(stored: &wire::BoxV1<'_>) -> SealedBox {
    SealedBox {
        scheme: stored.scheme,
        owner: match stored.owner {
            wire::OwnerV1::Subject(sub) => Owner::Subject(Sub(sub)),
            wire::OwnerV1::Context(month, sub) => Owner::Context(Month(month), sub.map(Sub)),
            wire::OwnerV1::Log => Owner::Log,
        },
        nonce: stored.nonce,
        ciphertext: stored.ciphertext.into(),
    }
}
