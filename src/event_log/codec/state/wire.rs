//! The shapes of the entries of a stored state. To change one, raise the format or the fold.

use bincode::de::{BorrowDecode, BorrowDecoder};
use bincode::enc::{Encode, Encoder};
use bincode::error::{DecodeError, EncodeError};

use crate::event_log::codec::wire::{BoxV1, FingerprintsV1, wire};

type Id = [u8; 16];
type Digest = [u8; 32];
type Millis = i64;

// The kinds of entries. They stand in the order of their numbers, but for those that came later: see [`rank`].
// Boxes stand before the entry that needs them.
pub(super) const HEADER: u8 = 1;
pub(super) const LOG: u8 = 2;
pub(super) const HEAD: u8 = 3;
pub(super) const ERASED: u8 = 4;
pub(super) const DESTROYED: u8 = 5;
pub(super) const RECENT: u8 = 6;
pub(super) const USER: u8 = 7;
pub(super) const PROFILE: u8 = 8;
pub(super) const GRANT: u8 = 9;
pub(super) const REVOCATION: u8 = 10;
pub(super) const SESSION: u8 = 11;
pub(super) const BOX: u8 = 12;
pub(super) const END: u8 = 13;
pub(super) const MEMBERSHIP: u8 = 14;
pub(super) const RULES: u8 = 15;

/// Returns a number by which kinds are in the order in which they stand.
pub(super) fn rank(kind: u8) -> u16 {
    match kind {
        RULES => rank(LOG) + 1,
        MEMBERSHIP => rank(REVOCATION) + 1,
        kind => 2 * u16::from(kind),
    }
}

wire! {
    struct HeaderV1 {
        size: u64,
        /// The roots of the full subtrees, from the largest to the smallest.
        frontier: Vec<Digest>,
    }

    /// There is none before the first record.
    struct LogV1<'a> {
        log: Id,
        origin: &'a str,
        made_by: u16,
        public_key: [u8; 32],
    }

    /// There is none before a log knows any.
    struct RulesV1<'a> {
        hash: Digest,
        /// The record, the box, and the index of the event.
        text: Option<(Id, BoxV1<'a>, u16)>,
    }

    struct HeadV1 {
        position: Option<u64>,
        eff: Millis,
        writer: Option<[u8; 8]>,
        /// The cause, and until when.
        outage: Option<(u16, Option<Millis>)>,
        /// Where it stands, for how many records, the root, and when.
        checkpoint: Option<(u64, u64, Digest, Millis)>,
        /// How many, and since when.
        unsigned: (u64, Option<Millis>),
    }

    /// Of an erased user and of a record that is remembered.
    struct IdV1 {
        id: Id,
    }

    struct MonthV1 {
        /// As `yyyymm`.
        month: u32,
    }

    struct UserV1 {
        sub: Id,
        version: u64,
        profile_at: Millis,
    }

    /// A box of the user before it. The first is number 0, and it is there once however many facts are in it.
    struct UserBoxV1<'a> {
        record: Id,
        sealed: BoxV1<'a>,
    }

    struct FactV1 {
        /// The number of the box.
        number: u32,
        index: u16,
        /// The kind of its event; 0 for the context.
        of: u16,
    }

    struct MembershipV1 {
        slot: u16,
        at: Millis,
        fact: FactV1,
    }

    struct GrantV1<'a> {
        id: Id,
        application: u64,
        scopes: Vec<&'a str>,
        issued_at: Millis,
        refreshed_at: Millis,
        expires_at: Millis,
        tokens: FactV1,
        fingerprints: FingerprintsV1,
        /// The attempt, until when, who, and where it stands.
        claim: Option<(u8, Millis, [u8; 8], u64)>,
        not_before: Option<Millis>,
        failed_with: Option<u16>,
        failures: u32,
        uncertain: bool,
    }

    struct RevocationV1<'a> {
        grant: GrantV1<'a>,
        source: u16,
        since: Millis,
        position: u64,
    }

    struct SessionV1<'a> {
        id: Id,
        key: Digest,
        method: u16,
        /// The one host where it counts; everywhere where there is none.
        host: Option<&'a str>,
        admin: bool,
        opened_at: Millis,
        seen_at: Millis,
        expires_at: Millis,
        idle_deadline: Millis,
        origin: Option<FactV1>,
    }

    struct EndV1 {
        /// Before this one.
        entries: u64,
        users: u64,
        sessions: u64,
    }
}
