//! Any record that doorbook could write, for property tests.

use std::net::IpAddr;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::domain::event::{
    ActorKind, Audit, Cause, Event, FailureCode, Fingerprints, KeyPurpose, Learned, MadeBy, Membership,
    Method, NewSigner, Origin, OutageCause, Private, Profile, Question, Requester, RestoredFrom, RevokedBy,
    RevokedScope, Route, SessionScope, Stage, StateHash, Stranger, Tokens,
};
use crate::domain::id::{
    DiscordId, GrantId, Hash, LogId, Position, RecordId, RequestId, Secret, SessionId, SessionKey, Sub,
    WriterId,
};
use crate::domain::record::{Actor, Context, Owner, Record, SealedBox, Subject};
use crate::domain::scopes::Scopes;
use crate::domain::time::{Month, Timestamp};

fn id<T: std::fmt::Debug>(make: fn([u8; 16]) -> T) -> impl Strategy<Value = T> {
    any::<[u8; 16]>().prop_map(make)
}

fn hash() -> impl Strategy<Value = Hash> {
    any::<[u8; 32]>().prop_map(Hash)
}

fn at() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp)
}

fn position() -> impl Strategy<Value = Position> {
    any::<u64>().prop_map(Position)
}

/// Any code, those of a newer doorbook included.
fn code<T: std::fmt::Debug>(make: fn(u16) -> T) -> impl Strategy<Value = T> {
    prop_oneof![0_u16..50, any::<u16>()].prop_map(make)
}

fn text() -> impl Strategy<Value = String> {
    ".{0,40}"
}

fn scopes() -> impl Strategy<Value = Scopes> {
    vec("[!-~]{1,40}", 0..5).prop_map(|names| Scopes::new(names.iter().map(String::as_str)).expect("scopes"))
}

fn tokens() -> impl Strategy<Value = Fingerprints> {
    (hash(), hash()).prop_map(|(access, refresh)| Fingerprints { access, refresh })
}

fn scope() -> impl Strategy<Value = SessionScope> {
    prop_oneof![Just(SessionScope::All), text().prop_map(|host| SessionScope::Host(host.into()))]
}

pub(super) fn event() -> impl Strategy<Value = Event> {
    let server = prop_oneof![
        (text(), any::<[u8; 8]>(), hash(), any::<u64>()).prop_map(|(version, writer, config, log_size)| {
            Event::ServerStarted { version, writer: WriterId(writer), config, log_size }
        }),
        any::<bool>().prop_map(|clean| Event::ServerStopped { clean }),
        (at(), at()).prop_map(|(from, to)| Event::ClockStepped { from, to }),
        (any::<u64>(), option::of(position()), hash(), option::of(position()), option::of(hash())).prop_map(
            |(head_sequence, head_position, head_leaf, last_found, salvaged)| Event::LogLossAccepted {
                head_sequence,
                head_position,
                head_leaf,
                last_found,
                salvaged,
                checkpoint: head_position,
            }
        ),
        (id(LogId), text(), code(MadeBy::from_code), any::<[u8; 32]>(), text()).prop_map(
            |(log, origin, made_by, public_key, version)| Event::LogCreated {
                log,
                origin,
                made_by,
                public_key,
                version
            }
        ),
        (code(OutageCause::from_code), option::of(at()))
            .prop_map(|(cause, until)| Event::DiscordUnavailable { cause, until }),
        (code(OutageCause::from_code), option::of(at()))
            .prop_map(|(cause, until)| Event::DiscordAvailable { cause, until }),
    ];
    let sign_in = prop_oneof![
        (code(Stage::from_code), code(FailureCode::from_code))
            .prop_map(|(stage, code)| Event::SignInFailed { stage, code }),
        (option::of(any::<u32>()), hash()).prop_map(|(term, rules)| Event::SignInDenied { term, rules }),
        (at(), at(), vec((code(FailureCode::from_code), any::<u64>()), 0..9), any::<u64>()).prop_map(
            |(from, to, counts, distinct_addresses)| Event::SignInRolledUp {
                from,
                to,
                counts,
                distinct_addresses
            }
        ),
        (
            (id(SessionId), code(Method::from_code), scope(), any::<bool>(), any::<[u8; 32]>()),
            (at(), at(), hash(), any::<bool>(), option::of(id(SessionId))),
        )
            .prop_map(
                |(
                    (session, method, scope, admin, key),
                    (expires_at, idle_deadline, rules, first, replaces),
                )| {
                    Event::SessionOpened {
                        session,
                        method,
                        scope,
                        admin,
                        key: SessionKey(key),
                        expires_at,
                        idle_deadline,
                        rules,
                        first,
                        replaces,
                    }
                }
            ),
        (id(SessionId), at())
            .prop_map(|(session, idle_deadline)| Event::SessionSeen { session, idle_deadline }),
        (vec(id(SessionId), 0..9), code(RevokedScope::from_code), code(Cause::from_code))
            .prop_map(|(sessions, scope, cause)| Event::SessionRevoked { sessions, scope, cause }),
        Just(Event::ProfileObserved),
        any::<u16>().prop_map(|slot| Event::MembershipObserved { slot }),
        (option::of(hash()), hash()).prop_map(|(old, new)| Event::RulesChanged { old, new }),
    ];
    let grant = prop_oneof![
        (id(GrantId), any::<u64>(), scopes(), at(), tokens()).prop_map(
            |(grant, application, scopes, expires_at, tokens)| Event::GrantIssued {
                grant,
                application: DiscordId(application),
                scopes,
                expires_at,
                tokens
            }
        ),
        (id(GrantId), any::<u8>(), at()).prop_map(|(grant, attempt, until)| Event::GrantRefreshClaimed {
            grant,
            attempt,
            until
        }),
        (id(GrantId), scopes(), at(), tokens(), tokens()).prop_map(
            |(grant, scopes, expires_at, old, new)| Event::GrantRefreshed {
                grant,
                scopes,
                expires_at,
                old,
                new
            }
        ),
        (
            id(GrantId),
            code(FailureCode::from_code),
            option::of(any::<u16>()),
            any::<u8>(),
            any::<bool>(),
            option::of(at())
        )
            .prop_map(|(grant, code, status, attempt, is_final, not_before)| {
                Event::GrantRefreshFailed { grant, code, status, attempt, is_final, not_before }
            }),
        (id(GrantId), code(RevokedBy::from_code), any::<bool>())
            .prop_map(|(grant, source, confirmed)| Event::GrantRevoked { grant, source, confirmed }),
        (id(GrantId), any::<u32>())
            .prop_map(|(grant, attempts)| Event::GrantRevocationConfirmed { grant, attempts }),
    ];
    let audit = || {
        (
            code(Question::from_code),
            option::of(id(Sub)),
            option::of(position()),
            option::of(position()),
            option::of(any::<u64>()),
        )
            .prop_map(|(question, user, from, to, rows)| Audit { question, user, from, to, rows })
    };
    let proof = prop_oneof![
        (any::<u64>(), hash(), code(RestoredFrom::from_code))
            .prop_map(|(size, root, source)| Event::LogRestored { size, root, source }),
        (
            code(KeyPurpose::from_code),
            any::<u32>(),
            option::of((any::<[u8; 32]>(), vec(any::<u8>(), 64..=64)))
        )
            .prop_map(|(purpose, key_id, signer)| {
                let signer = signer.and_then(|(public_key, signature)| {
                    Some(NewSigner { public_key, signature: signature.try_into().ok()? })
                });
                Event::KeyRotated { purpose, key_id, signer }
            }),
        (code(KeyPurpose::from_code), any::<u32>())
            .prop_map(|(purpose, key_id)| Event::KeyDestroyed { purpose, key_id }),
        (code(Requester::from_code), vec(id(SessionId), 0..9), option::of(any::<bool>())).prop_map(
            |(requested_by, sessions, confirmed)| Event::UserErased { requested_by, sessions, confirmed }
        ),
        (any::<u64>(), hash(), text(), option::of((any::<u32>(), hash()))).prop_map(
            |(size, root, note, state)| Event::CheckpointSigned {
                size,
                root,
                note,
                state: state.map(|(fold, hash)| StateHash { fold, hash })
            }
        ),
        audit().prop_map(Event::AuditRead),
        audit().prop_map(Event::AuditExported),
    ];
    prop_oneof![server, sign_in, grant, proof]
}

pub(super) fn profile() -> impl Strategy<Value = Profile> {
    (
        (any::<u64>(), text(), option::of(text()), text()),
        (option::of(text()), option::of(text()), option::of(text()), option::of(any::<bool>())),
    )
        .prop_map(
            |((id, username, global_name, discriminator), (avatar, locale, email, email_verified))| {
                let id = DiscordId(id);
                Profile { id, username, global_name, discriminator, avatar, locale, email, email_verified }
            },
        )
}

pub(super) fn membership() -> impl Strategy<Value = Membership> {
    (any::<u64>(), any::<bool>(), vec(any::<u64>(), 0..9), option::of(text()), any::<bool>()).prop_map(
        |(guild, member, roles, nick, pending)| Membership {
            guild: DiscordId(guild),
            member,
            roles: roles.into_iter().map(DiscordId).collect(),
            nick,
            pending,
        },
    )
}

/// A personal fact with an id of a kind that it belongs to.
pub(super) fn private() -> impl Strategy<Value = (u16, Private)> {
    let tokens = (text(), text())
        .prop_map(|(access, refresh)| Tokens { access: Secret::new(access), refresh: Secret::new(refresh) });
    prop_oneof![
        (prop_oneof![Just(30), Just(32)], tokens.prop_map(Private::Tokens)),
        (Just(36), profile().prop_map(Private::Profile)),
        (Just(20), text().prop_map(Private::Label)),
        (Just(22), text().prop_map(Private::Reason)),
        (Just(37), membership().prop_map(Private::Membership)),
        (Just(40), text().prop_map(Private::Rules)),
        (
            Just(11),
            (profile(), vec(membership(), 0..4)).prop_map(|(profile, memberships)| {
                Private::Denied(Box::new(Stranger { profile, memberships }))
            })
        ),
        (prop_oneof![Just(54), Just(55)], vec(text(), 0..4).prop_map(Private::Networks)),
    ]
}

pub(super) fn origin() -> impl Strategy<Value = Origin> {
    (option::of(any::<IpAddr>()), code(Learned::from_code), option::of(text()))
        .prop_map(|(ip, learned, user_agent)| Origin { ip, learned, user_agent })
}

fn context() -> impl Strategy<Value = Context> {
    (
        any::<[u8; 8]>(),
        code(ActorKind::from_code),
        option::of(id(Sub)),
        option::of(id(SessionId)),
        option::of(id(RequestId)),
        option::of(position()),
        option::of(code(Route::from_code)),
    )
        .prop_map(|(writer, kind, sub, via, request, cause, route)| {
            let actor = Actor { kind, sub, via };
            Context { writer: WriterId(writer), actor, request, cause, route }
        })
}

fn sealed() -> impl Strategy<Value = Arc<SealedBox>> {
    let owner = prop_oneof![
        id(Sub).prop_map(Owner::Subject),
        (any::<u32>(), option::of(id(Sub))).prop_map(|(month, sub)| Owner::Context(Month(month), sub)),
        Just(Owner::Log),
    ];
    (any::<u8>(), owner, any::<[u8; 24]>(), vec(any::<u8>(), 0..200)).prop_map(
        |(scheme, owner, nonce, ciphertext)| {
            Arc::new(SealedBox { scheme, owner, nonce, ciphertext: ciphertext.into() })
        },
    )
}

pub(crate) fn record() -> impl Strategy<Value = Record> {
    let subject = option::of((id(Sub), option::of(any::<u64>())))
        .prop_map(|subject| subject.map(|(sub, version)| Subject { sub, version }));
    (id(RecordId), at(), subject, context(), vec(event(), 1..6), vec(sealed(), 0..4)).prop_map(
        |(id, at, subject, context, events, sealed)| Record { id, at, subject, context, events, sealed },
    )
}
