//! The shapes on disk. Frozen: add, never edit.
//!
//! The order and the types of the fields are the format. A new field, even an `Option`, is a new struct
//! with a higher number at its end, a new row in `deserialize_*`, a new fixture, and the old ones stay.
//!
//! The fields are written one after the other by bincode's own `Encode`, not by way of serde, which
//! would take every id byte by byte: a replay decodes eight times as fast, and the bytes are the same.

use bincode::de::{BorrowDecode, BorrowDecoder};
use bincode::enc::{Encode, Encoder};
use bincode::error::{DecodeError, EncodeError};

type Id = [u8; 16];
type Digest = [u8; 32];
type Millis = i64;

/// Declares structs that are written field by field, in this order.
macro_rules! wire {
    ($($(#[$doc:meta])* struct $name:ident $(<$life:lifetime>)? {
        $($(#[$about:meta])* $field:ident: $type:ty,)*
    })*) => {$(
        $(#[$doc])*
        pub(super) struct $name $(<$life>)? { $($(#[$about])* pub(super) $field: $type,)* }
        wire!(@ $name [$($life)?] $($field)*);
    )*};
    (@ $name:ident [] $($field:ident)*) => {
        impl Encode for $name {
            fn encode<E: Encoder>(&self, _encoder: &mut E) -> Result<(), EncodeError> {
                $(self.$field.encode(_encoder)?;)*
                Ok(())
            }
        }
        impl<'de, C> BorrowDecode<'de, C> for $name {
            fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(_decoder: &mut D) -> Result<Self, DecodeError> {
                Ok($name { $($field: BorrowDecode::borrow_decode(_decoder)?,)* })
            }
        }
    };
    (@ $name:ident [$life:lifetime] $($field:ident)*) => {
        impl Encode for $name<'_> {
            fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
                $(self.$field.encode(encoder)?;)*
                Ok(())
            }
        }
        impl<$life, C> BorrowDecode<$life, C> for $name<$life> {
            fn borrow_decode<D: BorrowDecoder<$life, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
                Ok($name { $($field: BorrowDecode::borrow_decode(decoder)?,)* })
            }
        }
    };
}

pub(super) use wire;

wire! {
    // ---- The record, schema 1

    struct RecordV1<'a> {
        id: Id,
        at: Millis,
        /// The sub, and the version of the user that was decided against.
        subject: Option<(Id, Option<u64>)>,
        context: ContextV1<'a>,
        events: Vec<EventV1<'a>>,
        sealed: Vec<BoxV1<'a>>,
    }

    struct ContextV1<'a> {
        writer: [u8; 8],
        actor: ActorV1<'a>,
        request: Option<Id>,
        cause: Option<u64>,
        route: Option<u16>,
    }

    struct ActorV1<'a> {
        kind: u16,
        /// The sub of a user; empty for all others.
        id: &'a [u8],
        via: Option<Id>,
    }

    struct EventV1<'a> {
        kind: u16,
        version: u8,
        payload: &'a [u8],
    }

    struct BoxV1<'a> {
        scheme: u8,
        owner: OwnerV1,
        nonce: [u8; 24],
        ciphertext: &'a [u8],
    }
}

pub(super) enum OwnerV1 {
    /// Number 0.
    Subject(Id),
    /// Number 1: the month as `yyyymm`, and the user who acted.
    Context(u32, Option<Id>),
    /// Number 2.
    Log,
}

impl Encode for OwnerV1 {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        match self {
            OwnerV1::Subject(sub) => (0_u32, sub).encode(encoder),
            OwnerV1::Context(month, sub) => (1_u32, month, sub).encode(encoder),
            OwnerV1::Log => 2_u32.encode(encoder),
        }
    }
}

impl<'de, C> BorrowDecode<'de, C> for OwnerV1 {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        match u32::borrow_decode(decoder)? {
            0 => Ok(OwnerV1::Subject(BorrowDecode::borrow_decode(decoder)?)),
            1 => {
                let (month, sub) = BorrowDecode::borrow_decode(decoder)?;
                Ok(OwnerV1::Context(month, sub))
            }
            2 => Ok(OwnerV1::Log),
            _ => Err(DecodeError::Other("an owner")),
        }
    }
}

wire! {
    // ---- What is in a box

    struct SealedFactV1<'a> {
        /// The index of the event in its record; 0xFFFF for the context.
        index: u16,
        version: u8,
        payload: &'a [u8],
    }

    struct OriginV1<'a> {
        ip: Option<AddressV1>,
        learned: u16,
        user_agent: Option<&'a str>,
    }
}

pub(super) enum AddressV1 {
    /// Number 0.
    V4([u8; 4]),
    /// Number 1.
    V6([u8; 16]),
}

impl Encode for AddressV1 {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        match self {
            AddressV1::V4(octets) => (0_u32, octets).encode(encoder),
            AddressV1::V6(octets) => (1_u32, octets).encode(encoder),
        }
    }
}

impl<'de, C> BorrowDecode<'de, C> for AddressV1 {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        match u32::borrow_decode(decoder)? {
            0 => Ok(AddressV1::V4(BorrowDecode::borrow_decode(decoder)?)),
            1 => Ok(AddressV1::V6(BorrowDecode::borrow_decode(decoder)?)),
            _ => Err(DecodeError::Other("an address")),
        }
    }
}

wire! {
    struct TokensV1<'a> {
        access: &'a str,
        refresh: &'a str,
    }

    struct ProfileV1<'a> {
        id: u64,
        username: &'a str,
        global_name: Option<&'a str>,
        discriminator: &'a str,
        avatar: Option<&'a str>,
        locale: Option<&'a str>,
        email: Option<&'a str>,
        email_verified: Option<bool>,
    }

    struct DeniedV1<'a> {
        profile: ProfileV1<'a>,
        memberships: Vec<MembershipV1<'a>>,
    }

    struct MembershipV1<'a> {
        guild: u64,
        member: bool,
        roles: Vec<u64>,
        nick: Option<&'a str>,
        pending: Option<bool>,
    }

    struct TextV1<'a> {
        text: &'a str,
    }

    // ---- The clear facts of events

    /// An event whose kind says it all.
    struct NothingV1 {}

    struct ServerStartedV1<'a> {
        version: &'a str,
        writer: [u8; 8],
        config: Digest,
        log_size: u64,
    }

    struct ServerStoppedV1 {
        clean: bool,
    }

    struct ClockSteppedV1 {
        from: Millis,
        to: Millis,
    }

    struct LogLossAcceptedV1 {
        head_sequence: u64,
        head_position: Option<u64>,
        head_leaf: Digest,
        last_found: Option<u64>,
        salvaged: Option<Digest>,
        checkpoint: Option<u64>,
    }

    struct LogCreatedV1<'a> {
        log: Id,
        origin: &'a str,
        made_by: u16,
        public_key: [u8; 32],
        version: &'a str,
    }

    struct SignInFailedV1 {
        stage: u16,
        code: u16,
    }

    struct SignInDeniedV1 {
        term: Option<u32>,
        rules: Digest,
    }

    struct SignInRolledUpV1 {
        from: Millis,
        to: Millis,
        counts: Vec<(u16, u64)>,
        distinct_addresses: u64,
    }

    struct SessionOpenedV1<'a> {
        session: Id,
        method: u16,
        /// The one host where it counts; everywhere where there is none.
        host: Option<&'a str>,
        admin: bool,
        key: Digest,
        expires_at: Millis,
        idle_deadline: Millis,
        rules: Digest,
        first: bool,
        replaces: Option<Id>,
    }

    struct SessionSeenV1 {
        session: Id,
        idle_deadline: Millis,
    }

    struct SessionRevokedV1 {
        sessions: Vec<Id>,
        scope: u16,
        cause: u16,
    }

    struct FingerprintsV1 {
        access: Digest,
        refresh: Digest,
    }

    struct GrantIssuedV1<'a> {
        grant: Id,
        application: u64,
        scopes: Vec<&'a str>,
        expires_at: Millis,
        tokens: FingerprintsV1,
    }

    struct GrantRefreshClaimedV1 {
        grant: Id,
        attempt: u8,
        until: Millis,
    }

    struct GrantRefreshedV1<'a> {
        grant: Id,
        scopes: Vec<&'a str>,
        expires_at: Millis,
        old: FingerprintsV1,
        new: FingerprintsV1,
    }

    struct GrantRefreshFailedV1 {
        grant: Id,
        code: u16,
        status: Option<u16>,
        attempt: u8,
        is_final: bool,
        not_before: Option<Millis>,
    }

    struct GrantRevokedV1 {
        grant: Id,
        source: u16,
        confirmed: bool,
    }

    struct GrantRevocationConfirmedV1 {
        grant: Id,
        attempts: u32,
    }

    struct LogRestoredV1 {
        size: u64,
        root: Digest,
        source: u16,
    }

    struct KeyRotatedV1 {
        purpose: u16,
        /// The generation of a root key; the first four bytes of a signer's C2SP key hash, big-endian.
        key_id: u32,
        signer: Option<NewSignerV1>,
    }

    struct NewSignerV1 {
        public_key: [u8; 32],
        /// By the key before it.
        signature: [u8; 64],
    }

    struct KeyDestroyedV1 {
        purpose: u16,
        /// The month as `yyyymm`.
        key_id: u32,
    }

    struct UserErasedV1 {
        requested_by: u16,
        sessions: Vec<Id>,
        /// Whether Discord has confirmed that the authorization is ended; none where there was none.
        confirmed: Option<bool>,
    }

    struct CheckpointSignedV1<'a> {
        size: u64,
        root: Digest,
        /// The signed note, as C2SP has it.
        note: &'a str,
        state: Option<StateHashV1>,
    }

    struct StateHashV1 {
        /// Which fold made the state.
        fold: u32,
        hash: Digest,
    }

    /// Of `audit.read` and of `audit.exported`.
    struct AuditV1 {
        question: u16,
        /// The user who was asked for, by pseudonym.
        user: Option<Id>,
        /// The first and the last position that were asked for.
        from: Option<u64>,
        to: Option<u64>,
        rows: Option<u64>,
    }

    struct NetworksV1<'a> {
        networks: Vec<&'a str>,
    }

    struct MembershipObservedV1 {
        /// Where the state keeps it.
        slot: u16,
    }

    struct RulesChangedV1 {
        old: Option<Digest>,
        new: Digest,
    }

    /// Of `discord.unavailable` and of `discord.available`.
    struct OutageV1 {
        cause: u16,
        until: Option<Millis>,
    }
}
