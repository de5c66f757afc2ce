//! The unit of the log: one to many events about at most one user, and who caused them.

use std::sync::Arc;

use super::event::{ActorKind, Event, Private, Route};
use super::id::{Position, RecordId, RequestId, SessionId, Sub, WriterId};
use super::time::{Month, Timestamp};

/// What is appended at once: it is there whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// A UUID of version 7.
    pub id: RecordId,
    /// The writer's wall clock when it was decided.
    pub at: Timestamp,
    /// Whom it concerns.
    pub subject: Option<Subject>,
    /// Who caused it, and how.
    pub context: Context,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// Personal facts, at most one box for each owner; shared with the state that keeps them.
    pub sealed: Vec<Arc<SealedBox>>,
}

/// The user whom a record concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Who.
    pub sub: Sub,
    /// The version of the user that a decision was made against; a report of a fact has none.
    pub version: Option<u64>,
}

/// Who caused a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The process that wrote it.
    pub writer: WriterId,
    /// On whose behalf.
    pub actor: Actor,
    /// The request that led to it, shared by all its records.
    pub request: Option<RequestId>,
    /// The record that led to it.
    pub cause: Option<Position>,
    /// Where the request came in.
    pub route: Option<Route>,
}

/// Somebody who causes records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actor {
    /// What they are.
    pub kind: ActorKind,
    /// Who, where they are a user.
    pub sub: Option<Sub>,
    /// By which session.
    pub via: Option<SessionId>,
}

impl Actor {
    /// doorbook itself.
    pub const SYSTEM: Actor = Actor { kind: ActorKind::System, sub: None, via: None };
    /// Whoever is at the command line.
    pub const OPERATOR: Actor = Actor { kind: ActorKind::Operator, sub: None, via: None };
    /// A browser that is not signed in.
    pub const NOBODY: Actor = Actor { kind: ActorKind::Unauthenticated, sub: None, via: None };

    /// A user, through one of their sessions or, at a sign-in, through none yet.
    pub fn user(sub: Sub, via: Option<SessionId>) -> Actor {
        Actor { kind: ActorKind::User, sub: Some(sub), via }
    }
}

/// Personal facts of one owner, sealed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SealedBox {
    /// How it is sealed; 1 is XChaCha20-Poly1305 under a key by HKDF-SHA256.
    pub scheme: u8,
    /// Whose keys open it.
    pub owner: Owner,
    /// Random.
    pub nonce: [u8; 24],
    /// With its tag.
    pub ciphertext: Box<[u8]>,
}

/// Whose keys open a box, and so what makes it unreadable for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Owner {
    /// The user: until they are erased.
    Subject(Sub),
    /// The month and, where the actor is a user, that user as well: until either is gone.
    Context(Month, Option<Sub>),
    /// The log itself.
    Log,
}

/// An event with the personal fact that belongs to it, not sealed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// What everybody may read.
    pub event: Event,
    /// What is sealed.
    pub private: Option<Private>,
}

impl From<Event> for Draft {
    fn from(event: Event) -> Draft {
        Draft { event, private: None }
    }
}
