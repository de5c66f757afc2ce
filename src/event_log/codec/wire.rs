//! The shapes on disk. Frozen: add, never edit.
//!
//! The order and the types of the fields are the format. A new field, even an `Option`, is a new struct
//! with a higher number at its end, a new row in `deserialize_*`, a new fixture, and the old ones stay.

use std::fmt;

use serde::de::{Deserializer, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

/// Bytes with their length before them, borrowed from what is decoded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Bytes<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrowed;
        impl<'de> Visitor<'de> for Borrowed {
            type Value = &'de [u8];

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<&'de [u8], E> {
                Ok(bytes)
            }
        }
        deserializer.deserialize_bytes(Borrowed).map(Bytes)
    }
}

type Id = [u8; 16];
type Digest = [u8; 32];
type Millis = i64;

// ---- The record, schema 1

#[derive(Serialize, Deserialize)]
pub(super) struct RecordV1<'a> {
    pub id: Id,
    pub at: Millis,
    /// The sub, and the version of the user that was decided against.
    pub subject: Option<(Id, Option<u64>)>,
    #[serde(borrow)]
    pub context: ContextV1<'a>,
    #[serde(borrow)]
    pub events: Vec<EventV1<'a>>,
    #[serde(borrow)]
    pub sealed: Vec<BoxV1<'a>>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ContextV1<'a> {
    pub writer: [u8; 8],
    #[serde(borrow)]
    pub actor: ActorV1<'a>,
    pub request: Option<Id>,
    pub cause: Option<u64>,
    pub route: Option<u16>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ActorV1<'a> {
    pub kind: u16,
    /// The sub of a user; empty for all others.
    #[serde(borrow)]
    pub id: Bytes<'a>,
    pub via: Option<Id>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct EventV1<'a> {
    pub kind: u16,
    pub version: u8,
    #[serde(borrow)]
    pub payload: Bytes<'a>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct BoxV1<'a> {
    pub scheme: u8,
    pub owner: OwnerV1,
    pub nonce: [u8; 24],
    #[serde(borrow)]
    pub ciphertext: Bytes<'a>,
}

#[derive(Serialize, Deserialize)]
pub(super) enum OwnerV1 {
    /// Number 0.
    Subject(Id),
    /// Number 1: the month as `yyyymm`, and the user who acted.
    Context(u32, Option<Id>),
    /// Number 2.
    Log,
}

// ---- What is in a box

#[derive(Serialize, Deserialize)]
pub(super) struct SealedFactV1<'a> {
    /// The index of the event in its record; 0xFFFF for the context.
    pub index: u16,
    pub version: u8,
    #[serde(borrow)]
    pub payload: Bytes<'a>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct OriginV1<'a> {
    pub ip: Option<AddressV1>,
    pub learned: u16,
    #[serde(borrow)]
    pub user_agent: Option<&'a str>,
}

#[derive(Serialize, Deserialize)]
pub(super) enum AddressV1 {
    /// Number 0.
    V4([u8; 4]),
    /// Number 1.
    V6([u8; 16]),
}

#[derive(Serialize, Deserialize)]
pub(super) struct TokensV1<'a> {
    pub access: &'a str,
    pub refresh: &'a str,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ProfileV1<'a> {
    pub id: u64,
    pub username: &'a str,
    #[serde(borrow)]
    pub global_name: Option<&'a str>,
    pub discriminator: &'a str,
    #[serde(borrow)]
    pub avatar: Option<&'a str>,
    #[serde(borrow)]
    pub locale: Option<&'a str>,
    #[serde(borrow)]
    pub email: Option<&'a str>,
    pub email_verified: Option<bool>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct DeniedV1<'a> {
    #[serde(borrow)]
    pub profile: ProfileV1<'a>,
    #[serde(borrow)]
    pub memberships: Vec<MembershipV1<'a>>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct MembershipV1<'a> {
    pub guild: u64,
    pub member: bool,
    pub roles: Vec<u64>,
    #[serde(borrow)]
    pub nick: Option<&'a str>,
    pub pending: Option<bool>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct TextV1<'a> {
    pub text: &'a str,
}

// ---- The clear facts of events

/// An event whose kind says it all.
#[derive(Serialize, Deserialize)]
pub(super) struct NothingV1 {}

#[derive(Serialize, Deserialize)]
pub(super) struct ServerStartedV1<'a> {
    pub version: &'a str,
    pub writer: [u8; 8],
    pub config: Digest,
    pub log_size: u64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ServerStoppedV1 {
    pub clean: bool,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ClockSteppedV1 {
    pub from: Millis,
    pub to: Millis,
}

#[derive(Serialize, Deserialize)]
pub(super) struct LogLossAcceptedV1 {
    pub head_sequence: u64,
    pub head_position: Option<u64>,
    pub head_leaf: Digest,
    pub last_found: Option<u64>,
    pub salvaged: Option<Digest>,
    pub checkpoint: Option<u64>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct LogCreatedV1<'a> {
    pub log: Id,
    pub origin: &'a str,
    pub made_by: u16,
    pub public_key: [u8; 32],
    pub version: &'a str,
}

#[derive(Serialize, Deserialize)]
pub(super) struct SignInFailedV1 {
    pub stage: u16,
    pub code: u16,
}

#[derive(Serialize, Deserialize)]
pub(super) struct SignInDeniedV1 {
    pub term: Option<u32>,
    pub rules: Digest,
}

#[derive(Serialize, Deserialize)]
pub(super) struct SignInRolledUpV1 {
    pub from: Millis,
    pub to: Millis,
    pub counts: Vec<(u16, u64)>,
    pub distinct_addresses: u64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct SessionOpenedV1<'a> {
    pub session: Id,
    pub method: u16,
    /// The one host where it counts; everywhere where there is none.
    #[serde(borrow)]
    pub host: Option<&'a str>,
    pub admin: bool,
    pub key: Digest,
    pub expires_at: Millis,
    pub idle_deadline: Millis,
    pub rules: Digest,
    pub first: bool,
    pub replaces: Option<Id>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct SessionSeenV1 {
    pub session: Id,
    pub idle_deadline: Millis,
}

#[derive(Serialize, Deserialize)]
pub(super) struct SessionRevokedV1 {
    pub sessions: Vec<Id>,
    pub scope: u16,
    pub cause: u16,
}

#[derive(Serialize, Deserialize)]
pub(super) struct FingerprintsV1 {
    pub access: Digest,
    pub refresh: Digest,
}

#[derive(Serialize, Deserialize)]
pub(super) struct GrantIssuedV1<'a> {
    pub grant: Id,
    pub application: u64,
    #[serde(borrow)]
    pub scopes: Vec<&'a str>,
    pub expires_at: Millis,
    pub tokens: FingerprintsV1,
}

#[derive(Serialize, Deserialize)]
pub(super) struct GrantRefreshClaimedV1 {
    pub grant: Id,
    pub attempt: u8,
    pub until: Millis,
}

#[derive(Serialize, Deserialize)]
pub(super) struct GrantRefreshedV1<'a> {
    pub grant: Id,
    #[serde(borrow)]
    pub scopes: Vec<&'a str>,
    pub expires_at: Millis,
    pub old: FingerprintsV1,
    pub new: FingerprintsV1,
}

#[derive(Serialize, Deserialize)]
pub(super) struct GrantRefreshFailedV1 {
    pub grant: Id,
    pub code: u16,
    pub status: Option<u16>,
    pub attempt: u8,
    pub is_final: bool,
    pub not_before: Option<Millis>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct GrantRevokedV1 {
    pub grant: Id,
    pub source: u16,
    pub confirmed: bool,
}

#[derive(Serialize, Deserialize)]
pub(super) struct GrantRevocationConfirmedV1 {
    pub grant: Id,
    pub attempts: u32,
}

/// Of `discord.unavailable` and of `discord.available`.
#[derive(Serialize, Deserialize)]
pub(super) struct OutageV1 {
    pub cause: u16,
    pub until: Option<Millis>,
}
