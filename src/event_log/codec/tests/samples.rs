//! One event of each kind, with data that is obviously nobody's. Never edited: the fixtures hold them.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::domain::event::{
    Audit, Cause, Event, FailureCode, Fingerprints, KeyPurpose, Learned, MadeBy, Membership, Method,
    NewSigner, Origin, OutageCause, Private, Profile, Question, Requester, RestoredFrom, RevokedBy,
    RevokedScope, Route, SessionScope, Stage, StateHash, Stranger, Tokens,
};
use crate::domain::id::{
    DiscordId, GrantId, Hash, LogId, Position, RecordId, RequestId, Secret, SessionId, SessionKey, Sub,
    WriterId,
};
use crate::domain::record::{Actor, Context, Owner, Record, SealedBox, Subject};
use crate::domain::scopes::Scopes;
use crate::domain::time::{Month, Timestamp};

/// An event with its personal fact, and both in words.
pub(super) struct Sample {
    pub(super) event: Event,
    pub(super) clear: Value,
    pub(super) private: Option<Private>,
    pub(super) sealed: Value,
}

const NOTE: &str =
    "login.example.org/doorbook/4c\n70000\ncnJy\n\n\u{2014} login.example.org/doorbook/4c x08goy==\n";

const RULES: &str =
    "default_policy = \"deny\"\nmembership_max_age = \"900s\"\nmembership_grace = \"3600s\"\n";

const AT: Timestamp = Timestamp(1_767_323_045_678);

fn later(hours: i64) -> Timestamp {
    Timestamp(AT.0 + hours * 3_600_000)
}

fn hex(byte: u8, times: usize) -> String {
    format!("{byte:02x}").repeat(times)
}

/// Returns a record of this one event, with everything that a record can have.
pub(super) fn record(event: Event) -> Record {
    Record {
        id: RecordId([0x01, 0x9b, 0x7c, 0x1e, 0x4a, 0x2e, 0x70, 0x00, 0x80, 0, 0, 0, 0, 0, 0, 0x01]),
        at: AT,
        subject: Some(Subject { sub: Sub([0x51; 16]), version: Some(300) }),
        context: Context {
            writer: WriterId([0x77; 8]),
            actor: Actor::user(Sub([0x51; 16]), Some(SessionId([0x5e; 16]))),
            request: Some(RequestId([0x4e; 16])),
            cause: Some(Position(70_000)),
            route: Some(Route::Callback),
        },
        events: vec![event],
        sealed: Vec::new(),
    }
}

/// Returns a record with one box of each owner, and nothing else that it can do without.
pub(super) fn boxed() -> Record {
    let sealed = |owner, byte: u8| {
        Arc::new(SealedBox { scheme: 1, owner, nonce: [byte; 24], ciphertext: [byte; 20].into() })
    };
    Record {
        subject: Some(Subject { sub: Sub([0x51; 16]), version: None }),
        context: Context {
            writer: WriterId([0x77; 8]),
            actor: Actor::SYSTEM,
            request: None,
            cause: None,
            route: None,
        },
        sealed: vec![
            sealed(Owner::Subject(Sub([0x51; 16])), 0xa1),
            sealed(Owner::Context(Month(202_601), Some(Sub([0x51; 16]))), 0xa2),
            sealed(Owner::Context(Month(202_601), None), 0xa3),
            sealed(Owner::Log, 0xa4),
        ],
        ..record(Event::ProfileObserved)
    }
}

/// Returns where a request came from, and that in words.
pub(super) fn origin() -> (Origin, Value) {
    let ip = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7));
    let user_agent = "Mozilla/5.0 (Example)";
    (
        Origin { ip: Some(ip), learned: Learned::Forwarded, user_agent: Some(user_agent.into()) },
        json!({ "ip": "2001:db8::7", "learned": 2, "user_agent": user_agent }),
    )
}

fn profile() -> (Profile, Value) {
    (
        Profile {
            id: DiscordId(80_351_110_224_678_912),
            username: "nelly".into(),
            global_name: Some("Nelly Example".into()),
            discriminator: "0".into(),
            avatar: Some("a_00112233445566778899aabbccddeeff".into()),
            locale: Some("en-US".into()),
            email: Some("nelly@example.org".into()),
            email_verified: Some(true),
        },
        json!({
            "id": 80_351_110_224_678_912_u64, "username": "nelly", "global_name": "Nelly Example",
            "discriminator": "0", "avatar": "a_00112233445566778899aabbccddeeff", "locale": "en-US",
            "email": "nelly@example.org", "email_verified": true,
        }),
    )
}

fn membership() -> (Membership, Value) {
    (
        Membership {
            guild: DiscordId(197_038_439_483_310_086),
            member: true,
            roles: vec![DiscordId(41_771_983_423_143_936), DiscordId(7)],
            nick: Some("Nelly of Example".into()),
            pending: false,
        },
        json!({
            "guild": 197_038_439_483_310_086_u64, "member": true, "roles": [41_771_983_423_143_936_u64, 7],
            "nick": "Nelly of Example", "pending": false,
        }),
    )
}

/// Returns somebody who was not let in although they are a member, and that in words.
pub(super) fn member_who_was_denied() -> (Private, Value) {
    let ((profile, profile_in_words), (member, member_in_words)) = (profile(), membership());
    let stranger =
        Stranger { profile, memberships: vec![member, Membership::none(DiscordId(80_351_110_224_678_900))] };
    let left = json!({
        "guild": 80_351_110_224_678_900_u64, "member": false, "roles": [], "nick": null, "pending": false,
    });
    (
        Private::Denied(Box::new(stranger)),
        json!({ "profile": profile_in_words, "memberships": [member_in_words, left] }),
    )
}

fn tokens(number: u8) -> (Tokens, Value) {
    let (access, refresh) =
        (format!("example-access-token-{number}"), format!("example-refresh-token-{number}"));
    let words = json!({ "access": access, "refresh": refresh });
    (Tokens { access: Secret::new(access), refresh: Secret::new(refresh) }, words)
}

fn fingerprints(byte: u8) -> (Fingerprints, Value) {
    let prints = Fingerprints { access: Hash([byte; 32]), refresh: Hash([byte + 1; 32]) };
    (prints, json!({ "access": hex(byte, 32), "refresh": hex(byte + 1, 32) }))
}

/// Returns one event of each kind.
#[rustfmt::skip]
pub(super) fn samples() -> Vec<Sample> {
    let plain = |event, clear| Sample { event, clear, private: None, sealed: Value::Null };
    let (session, grant, rules) = (SessionId([0x5e; 16]), GrantId([0x6a; 16]), Hash([0x4c; 32]));
    let (session_hex, grant_hex, rules_hex) = (hex(0x5e, 16), hex(0x6a, 16), hex(0x4c, 32));
    let (someone, someone_in_words) = profile();
    let (member, member_in_words) = membership();
    let (first, first_in_words) = tokens(1);
    let (second, second_in_words) = tokens(2);
    let (old, old_in_words) = fingerprints(0x10);
    let (new, new_in_words) = fingerprints(0x20);
    let scopes = Scopes::new(["identify", "email"]).expect("scopes");
    vec![
        plain(
            Event::ServerStarted { version: "0.1.0".into(), writer: WriterId([0x77; 8]), config: Hash([0xcf; 32]), log_size: 1_000_000 },
            json!({ "version": "0.1.0", "writer": hex(0x77, 8), "config": hex(0xcf, 32), "log_size": 1_000_000 }),
        ),
        plain(Event::ServerStopped { clean: true }, json!({ "clean": true })),
        plain(
            Event::ClockStepped { from: AT, to: later(-2) },
            json!({ "from": AT.0, "to": later(-2).0 }),
        ),
        plain(
            Event::LogLossAccepted {
                head_sequence: 4_711, head_position: Some(Position(500)), head_leaf: Hash([0x1e; 32]),
                last_found: Some(Position(480)), salvaged: Some(Hash([0x5a; 32])), checkpoint: Some(Position(256)),
            },
            json!({
                "head_sequence": 4_711, "head_position": 500, "head_leaf": hex(0x1e, 32),
                "last_found": 480, "salvaged": hex(0x5a, 32), "checkpoint": 256,
            }),
        ),
        plain(
            Event::LogCreated {
                log: LogId([0x10; 16]), origin: "https://login.example.org".into(), made_by: MadeBy::Serve,
                public_key: [0x9b; 32], version: "0.1.0".into(),
            },
            json!({
                "log": hex(0x10, 16), "origin": "https://login.example.org", "made_by": 1,
                "public_key": hex(0x9b, 32), "version": "0.1.0",
            }),
        ),
        plain(
            Event::SignInFailed { stage: Stage::Token, code: FailureCode::InvalidGrant },
            json!({ "stage": 2, "code": 4 }),
        ),
        Sample {
            event: Event::SignInDenied { term: Some(3), rules },
            clear: json!({ "term": 3, "rules": rules_hex }),
            private: Some(Private::Denied(Box::new(Stranger { profile: someone.clone(), memberships: vec![] }))),
            sealed: json!({ "profile": someone_in_words, "memberships": [] }),
        },
        plain(
            Event::SignInRolledUp {
                from: AT, to: later(1),
                counts: vec![(FailureCode::InvalidGrant, 70), (FailureCode::NotAllowed, 3)], distinct_addresses: 12,
            },
            json!({ "from": AT.0, "to": later(1).0, "counts": [[4, 70], [39, 3]], "distinct_addresses": 12 }),
        ),
        Sample {
            event: Event::SessionOpened {
                session, method: Method::Discord, scope: SessionScope::Host("app.example.org".into()), admin: false,
                key: SessionKey([0x2b; 32]), expires_at: later(720), idle_deadline: later(189), rules, first: true,
                replaces: Some(SessionId([0x5d; 16])),
            },
            clear: json!({
                "session": session_hex, "method": 1, "host": "app.example.org", "admin": false, "key": hex(0x2b, 32),
                "expires_at": later(720).0, "idle_deadline": later(189).0, "rules": rules_hex, "first": true,
                "replaces": hex(0x5d, 16),
            }),
            private: Some(Private::Label("Firefox on Example".into())),
            sealed: json!({ "label": "Firefox on Example" }),
        },
        plain(
            Event::SessionSeen { session, idle_deadline: later(210) },
            json!({ "session": session_hex, "idle_deadline": later(210).0 }),
        ),
        Sample {
            event: Event::SessionRevoked {
                sessions: vec![session, SessionId([0x5d; 16])], scope: RevokedScope::All, cause: Cause::Admin,
            },
            clear: json!({ "sessions": [session_hex, hex(0x5d, 16)], "scope": 3, "cause": 5 }),
            private: Some(Private::Reason("asked for it".into())),
            sealed: json!({ "reason": "asked for it" }),
        },
        Sample {
            event: Event::GrantIssued {
                grant, application: DiscordId(1_100_000_000_000_000_001), scopes: scopes.clone(),
                expires_at: later(168), tokens: old,
            },
            clear: json!({
                "grant": grant_hex, "application": 1_100_000_000_000_000_001_u64, "scopes": ["identify", "email"],
                "expires_at": later(168).0, "tokens": old_in_words,
            }),
            private: Some(Private::Tokens(first)),
            sealed: first_in_words,
        },
        plain(
            Event::GrantRefreshClaimed { grant, attempt: 1, until: Timestamp(AT.0 + 60_000) },
            json!({ "grant": grant_hex, "attempt": 1, "until": AT.0 + 60_000 }),
        ),
        Sample {
            event: Event::GrantRefreshed { grant, scopes: scopes.clone(), expires_at: later(336), old, new },
            clear: json!({
                "grant": grant_hex, "scopes": ["identify", "email"], "expires_at": later(336).0,
                "old": old_in_words, "new": new_in_words,
            }),
            private: Some(Private::Tokens(second)),
            sealed: second_in_words,
        },
        plain(
            Event::GrantRefreshFailed {
                grant, code: FailureCode::RateLimited, status: Some(429), attempt: 2, is_final: false,
                not_before: Some(later(1)),
            },
            json!({
                "grant": grant_hex, "code": 35, "status": 429, "attempt": 2, "is_final": false,
                "not_before": later(1).0,
            }),
        ),
        plain(
            Event::GrantRevoked { grant, source: RevokedBy::User, confirmed: false },
            json!({ "grant": grant_hex, "source": 1, "confirmed": false }),
        ),
        plain(
            Event::GrantRevocationConfirmed { grant, attempts: 3 },
            json!({ "grant": grant_hex, "attempts": 3 }),
        ),
        Sample {
            event: Event::ProfileObserved,
            clear: json!({}),
            private: Some(Private::Profile(someone)),
            sealed: someone_in_words,
        },
        Sample {
            event: Event::MembershipObserved { slot: 300 },
            clear: json!({ "slot": 300 }),
            private: Some(Private::Membership(member)),
            sealed: member_in_words,
        },
        Sample {
            event: Event::RulesChanged { old: Some(rules), new: Hash([0x4d; 32]) },
            clear: json!({ "old": rules_hex, "new": hex(0x4d, 32) }),
            private: Some(Private::Rules(RULES.into())),
            sealed: json!({ "text": RULES }),
        },
        plain(
            Event::DiscordUnavailable { cause: OutageCause::GlobalRateLimit, until: Some(later(1)) },
            json!({ "cause": 1, "until": later(1).0 }),
        ),
        plain(
            Event::DiscordAvailable { cause: OutageCause::Unreachable, until: None },
            json!({ "cause": 3, "until": null }),
        ),
        plain(
            Event::LogRestored { size: 70_000, root: Hash([0x72; 32]), source: RestoredFrom::Backup },
            json!({ "size": 70_000, "root": hex(0x72, 32), "source": 1 }),
        ),
        plain(
            Event::KeyRotated {
                purpose: KeyPurpose::Signer, key_id: 0xC74F_20A3,
                signer: Some(NewSigner { public_key: [0x6b; 32], signature: [0x6c; 64] }),
            },
            json!({
                "purpose": 2, "key_id": 0xC74F_20A3_u32,
                "signer": { "public_key": hex(0x6b, 32), "signature": hex(0x6c, 64) },
            }),
        ),
        plain(
            Event::KeyDestroyed { purpose: KeyPurpose::Month, key_id: 202_511 },
            json!({ "purpose": 3, "key_id": 202_511 }),
        ),
        plain(
            Event::UserErased {
                requested_by: Requester::User, sessions: vec![session, SessionId([0x5d; 16])], confirmed: Some(true),
            },
            json!({ "requested_by": 1, "sessions": [session_hex, hex(0x5d, 16)], "confirmed": true }),
        ),
        plain(
            Event::CheckpointSigned {
                size: 70_000, root: Hash([0x72; 32]), note: NOTE.into(),
                state: Some(StateHash { fold: 1, hash: Hash([0x73; 32]) }),
            },
            json!({
                "size": 70_000, "root": hex(0x72, 32), "note": NOTE,
                "state": { "fold": 1, "hash": hex(0x73, 32) },
            }),
        ),
        Sample {
            event: Event::AuditRead(Audit {
                question: Question::Log, user: None, from: Some(Position(300)), to: Some(Position(70_000)), rows: None,
            }),
            clear: json!({ "question": 1, "user": null, "from": 300, "to": 70_000, "rows": null }),
            private: Some(Private::Networks(vec!["203.0.113.0/24".into(), "2001:db8::/32".into()])),
            sealed: json!({ "networks": ["203.0.113.0/24", "2001:db8::/32"] }),
        },
        plain(
            Event::AuditExported(Audit {
                question: Question::User, user: Some(Sub([0x51; 16])), from: None, to: Some(Position(70_000)),
                rows: Some(12),
            }),
            json!({ "question": 7, "user": hex(0x51, 16), "from": null, "to": 70_000, "rows": 12 }),
        ),
    ]
}
