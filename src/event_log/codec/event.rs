//! The clear facts of an event as bytes: `serialize_event` and `deserialize_event`.

use super::canonical::{decode, encode};
use super::private::serialize_private;
use super::{DecodeError, EncodeError, Stored, kinds, wire};
use crate::domain::event::{
    Audit, Cause, Event, FailureCode, Fingerprints, KeyPurpose, MadeBy, Method, NewSigner, OutageCause,
    Private, Question, Requester, RestoredFrom, RevokedBy, RevokedScope, SessionScope, Stage, StateHash,
};
use crate::domain::id::{DiscordId, GrantId, Hash, LogId, Position, SessionId, SessionKey, Sub, WriterId};
use crate::domain::scopes::Scopes;
use crate::domain::time::Timestamp;

/// Writes an event, and the personal fact that belongs to it, in the newest shape.
///
/// What it returns is a promise: a log written today is read by every later doorbook. The clear facts go
/// into the record as they are; the sealed ones go into a box and never leave the process in the clear.
pub fn serialize_event(event: &Event, private: Option<&Private>) -> Result<Stored, EncodeError> {
    let (kind, version, clear) = clear(event)?;
    let sealed = private.map(|private| serialize_private(kind, private)).transpose()?;
    Ok(Stored { kind, version, clear, sealed })
}

fn clear(event: &Event) -> Result<(u16, u8, Vec<u8>), EncodeError> {
    Ok(match event {
        Event::ServerStarted { version, writer, config, log_size } => {
            let (writer, config, log_size) = (writer.0, config.0, *log_size);
            let stored = wire::ServerStartedV1 { version, writer, config, log_size };
            (kinds::SERVER_STARTED, 1, encode("server.started", &stored)?)
        }
        Event::ServerStopped { clean } => {
            let stored = wire::ServerStoppedV1 { clean: *clean };
            (kinds::SERVER_STOPPED, 1, encode("server.stopped", &stored)?)
        }
        Event::ClockStepped { from, to } => {
            let stored = wire::ClockSteppedV1 { from: from.0, to: to.0 };
            (kinds::CLOCK_STEPPED, 1, encode("clock.stepped", &stored)?)
        }
        Event::LogLossAccepted {
            head_sequence,
            head_position,
            head_leaf,
            last_found,
            salvaged,
            checkpoint,
        } => {
            let stored = wire::LogLossAcceptedV1 {
                head_sequence: *head_sequence,
                head_position: head_position.map(|position| position.0),
                head_leaf: head_leaf.0,
                last_found: last_found.map(|position| position.0),
                salvaged: salvaged.map(|hash| hash.0),
                checkpoint: checkpoint.map(|position| position.0),
            };
            (kinds::LOG_LOSS_ACCEPTED, 1, encode("log.loss_accepted", &stored)?)
        }
        Event::LogCreated { log, origin, made_by, public_key, version } => {
            let (log, made_by, public_key) = (log.0, made_by.code(), *public_key);
            let stored = wire::LogCreatedV1 { log, origin, made_by, public_key, version };
            (kinds::LOG_CREATED, 1, encode("log.created", &stored)?)
        }
        Event::SignInFailed { stage, code } => {
            let stored = wire::SignInFailedV1 { stage: stage.code(), code: code.code() };
            (kinds::SIGN_IN_FAILED, 1, encode("sign_in.failed", &stored)?)
        }
        Event::SignInDenied { term, rules } => {
            let stored = wire::SignInDeniedV1 { term: *term, rules: rules.0 };
            (kinds::SIGN_IN_DENIED, 1, encode("sign_in.denied", &stored)?)
        }
        Event::SignInRolledUp { from, to, counts, distinct_addresses } => {
            let stored = wire::SignInRolledUpV1 {
                from: from.0,
                to: to.0,
                counts: counts.iter().map(|(code, count)| (code.code(), *count)).collect(),
                distinct_addresses: *distinct_addresses,
            };
            (kinds::SIGN_IN_ROLLED_UP, 1, encode("sign_in.rolled_up", &stored)?)
        }
        Event::SessionOpened {
            session,
            method,
            scope,
            admin,
            key,
            expires_at,
            idle_deadline,
            rules,
            first,
            replaces,
        } => {
            let stored = wire::SessionOpenedV1 {
                session: session.0,
                method: method.code(),
                host: match scope {
                    SessionScope::All => None,
                    SessionScope::Host(host) => Some(host),
                },
                admin: *admin,
                key: key.0,
                expires_at: expires_at.0,
                idle_deadline: idle_deadline.0,
                rules: rules.0,
                first: *first,
                replaces: replaces.map(|session| session.0),
            };
            (kinds::SESSION_OPENED, 1, encode("session.opened", &stored)?)
        }
        Event::SessionSeen { session, idle_deadline } => {
            let stored = wire::SessionSeenV1 { session: session.0, idle_deadline: idle_deadline.0 };
            (kinds::SESSION_SEEN, 1, encode("session.seen", &stored)?)
        }
        Event::SessionRevoked { sessions, scope, cause } => {
            let stored = wire::SessionRevokedV1 {
                sessions: sessions.iter().map(|session| session.0).collect(),
                scope: scope.code(),
                cause: cause.code(),
            };
            (kinds::SESSION_REVOKED, 1, encode("session.revoked", &stored)?)
        }
        Event::GrantIssued { grant, application, scopes, expires_at, tokens } => {
            let stored = wire::GrantIssuedV1 {
                grant: grant.0,
                application: application.0,
                scopes: scopes.names().collect(),
                expires_at: expires_at.0,
                tokens: fingerprints_v1(tokens),
            };
            (kinds::GRANT_ISSUED, 1, encode("grant.issued", &stored)?)
        }
        Event::GrantRefreshClaimed { grant, attempt, until } => {
            let stored = wire::GrantRefreshClaimedV1 { grant: grant.0, attempt: *attempt, until: until.0 };
            (kinds::GRANT_REFRESH_CLAIMED, 1, encode("grant.refresh_claimed", &stored)?)
        }
        Event::GrantRefreshed { grant, scopes, expires_at, old, new } => {
            let stored = wire::GrantRefreshedV1 {
                grant: grant.0,
                scopes: scopes.names().collect(),
                expires_at: expires_at.0,
                old: fingerprints_v1(old),
                new: fingerprints_v1(new),
            };
            (kinds::GRANT_REFRESHED, 1, encode("grant.refreshed", &stored)?)
        }
        Event::GrantRefreshFailed { grant, code, status, attempt, is_final, not_before } => {
            let stored = wire::GrantRefreshFailedV1 {
                grant: grant.0,
                code: code.code(),
                status: *status,
                attempt: *attempt,
                is_final: *is_final,
                not_before: not_before.map(|moment| moment.0),
            };
            (kinds::GRANT_REFRESH_FAILED, 1, encode("grant.refresh_failed", &stored)?)
        }
        Event::GrantRevoked { grant, source, confirmed } => {
            let stored =
                wire::GrantRevokedV1 { grant: grant.0, source: source.code(), confirmed: *confirmed };
            (kinds::GRANT_REVOKED, 1, encode("grant.revoked", &stored)?)
        }
        Event::GrantRevocationConfirmed { grant, attempts } => {
            let stored = wire::GrantRevocationConfirmedV1 { grant: grant.0, attempts: *attempts };
            (kinds::GRANT_REVOCATION_CONFIRMED, 1, encode("grant.revocation_confirmed", &stored)?)
        }
        Event::ProfileObserved => {
            (kinds::PROFILE_OBSERVED, 1, encode("profile.observed", &wire::NothingV1 {})?)
        }
        Event::MembershipObserved { slot } => {
            let stored = wire::MembershipObservedV1 { slot: *slot };
            (kinds::MEMBERSHIP_OBSERVED, 1, encode("membership.observed", &stored)?)
        }
        Event::RulesChanged { old, new } => {
            let stored = wire::RulesChangedV1 { old: old.map(|hash| hash.0), new: new.0 };
            (kinds::RULES_CHANGED, 1, encode("rules.changed", &stored)?)
        }
        Event::DiscordUnavailable { cause, until } => {
            let stored = wire::OutageV1 { cause: cause.code(), until: until.map(|moment| moment.0) };
            (kinds::DISCORD_UNAVAILABLE, 1, encode("discord.unavailable", &stored)?)
        }
        Event::DiscordAvailable { cause, until } => {
            let stored = wire::OutageV1 { cause: cause.code(), until: until.map(|moment| moment.0) };
            (kinds::DISCORD_AVAILABLE, 1, encode("discord.available", &stored)?)
        }
        Event::LogRestored { size, root, source } => {
            let stored = wire::LogRestoredV1 { size: *size, root: root.0, source: source.code() };
            (kinds::LOG_RESTORED, 1, encode("log.restored", &stored)?)
        }
        Event::KeyRotated { purpose, key_id, signer } => {
            let signer =
                signer.map(|NewSigner { public_key, signature }| wire::NewSignerV1 { public_key, signature });
            let stored = wire::KeyRotatedV1 { purpose: purpose.code(), key_id: *key_id, signer };
            (kinds::KEY_ROTATED, 1, encode("key.rotated", &stored)?)
        }
        Event::KeyDestroyed { purpose, key_id } => {
            let stored = wire::KeyDestroyedV1 { purpose: purpose.code(), key_id: *key_id };
            (kinds::KEY_DESTROYED, 1, encode("key.destroyed", &stored)?)
        }
        Event::UserErased { requested_by, sessions, confirmed } => {
            let stored = wire::UserErasedV1 {
                requested_by: requested_by.code(),
                sessions: sessions.iter().map(|session| session.0).collect(),
                confirmed: *confirmed,
            };
            (kinds::USER_ERASED, 1, encode("user.erased", &stored)?)
        }
        Event::CheckpointSigned { size, root, note, state } => {
            let state = state.map(|state| wire::StateHashV1 { fold: state.fold, hash: state.hash.0 });
            let stored = wire::CheckpointSignedV1 { size: *size, root: root.0, note, state };
            (kinds::CHECKPOINT_SIGNED, 1, encode("checkpoint.signed", &stored)?)
        }
        Event::AuditRead(audit) => (kinds::AUDIT_READ, 1, encode("audit.read", &audit_v1(audit))?),
        Event::AuditExported(audit) => {
            (kinds::AUDIT_EXPORTED, 1, encode("audit.exported", &audit_v1(audit))?)
        }
    })
}

/// Reads an event in any shape that doorbook has ever written.
///
/// An older shape is brought up to date one step at a time, without clock, configuration or other
/// events; a fact that it lacks becomes an explicit unknown. A kind or version that this doorbook does
/// not know is an error and never something known.
pub fn deserialize_event(kind: u16, version: u8, clear: &[u8]) -> Result<Event, DecodeError> {
    Ok(match (kind, version) {
        (kinds::SERVER_STARTED, 1) => {
            let stored: wire::ServerStartedV1<'_> = decode("server.started", clear)?;
            Event::ServerStarted {
                version: stored.version.into(),
                writer: WriterId(stored.writer),
                config: Hash(stored.config),
                log_size: stored.log_size,
            }
        }
        (kinds::SERVER_STOPPED, 1) => {
            let stored: wire::ServerStoppedV1 = decode("server.stopped", clear)?;
            Event::ServerStopped { clean: stored.clean }
        }
        (kinds::CLOCK_STEPPED, 1) => {
            let stored: wire::ClockSteppedV1 = decode("clock.stepped", clear)?;
            Event::ClockStepped { from: Timestamp(stored.from), to: Timestamp(stored.to) }
        }
        (kinds::LOG_LOSS_ACCEPTED, 1) => {
            let stored: wire::LogLossAcceptedV1 = decode("log.loss_accepted", clear)?;
            Event::LogLossAccepted {
                head_sequence: stored.head_sequence,
                head_position: stored.head_position.map(Position),
                head_leaf: Hash(stored.head_leaf),
                last_found: stored.last_found.map(Position),
                salvaged: stored.salvaged.map(Hash),
                checkpoint: stored.checkpoint.map(Position),
            }
        }
        (kinds::LOG_CREATED, 1) => {
            let stored: wire::LogCreatedV1<'_> = decode("log.created", clear)?;
            Event::LogCreated {
                log: LogId(stored.log),
                origin: stored.origin.into(),
                made_by: MadeBy::from_code(stored.made_by),
                public_key: stored.public_key,
                version: stored.version.into(),
            }
        }
        (kinds::SIGN_IN_FAILED, 1) => {
            let stored: wire::SignInFailedV1 = decode("sign_in.failed", clear)?;
            Event::SignInFailed {
                stage: Stage::from_code(stored.stage),
                code: FailureCode::from_code(stored.code),
            }
        }
        (kinds::SIGN_IN_DENIED, 1) => {
            let stored: wire::SignInDeniedV1 = decode("sign_in.denied", clear)?;
            Event::SignInDenied { term: stored.term, rules: Hash(stored.rules) }
        }
        (kinds::SIGN_IN_ROLLED_UP, 1) => {
            let stored: wire::SignInRolledUpV1 = decode("sign_in.rolled_up", clear)?;
            let counts = stored.counts.into_iter();
            Event::SignInRolledUp {
                from: Timestamp(stored.from),
                to: Timestamp(stored.to),
                counts: counts.map(|(code, count)| (FailureCode::from_code(code), count)).collect(),
                distinct_addresses: stored.distinct_addresses,
            }
        }
        (kinds::SESSION_OPENED, 1) => {
            let stored: wire::SessionOpenedV1<'_> = decode("session.opened", clear)?;
            Event::SessionOpened {
                session: SessionId(stored.session),
                method: Method::from_code(stored.method),
                scope: stored.host.map_or(SessionScope::All, |host| SessionScope::Host(host.into())),
                admin: stored.admin,
                key: SessionKey(stored.key),
                expires_at: Timestamp(stored.expires_at),
                idle_deadline: Timestamp(stored.idle_deadline),
                rules: Hash(stored.rules),
                first: stored.first,
                replaces: stored.replaces.map(SessionId),
            }
        }
        (kinds::SESSION_SEEN, 1) => {
            let stored: wire::SessionSeenV1 = decode("session.seen", clear)?;
            Event::SessionSeen {
                session: SessionId(stored.session),
                idle_deadline: Timestamp(stored.idle_deadline),
            }
        }
        (kinds::SESSION_REVOKED, 1) => {
            let stored: wire::SessionRevokedV1 = decode("session.revoked", clear)?;
            Event::SessionRevoked {
                sessions: stored.sessions.into_iter().map(SessionId).collect(),
                scope: RevokedScope::from_code(stored.scope),
                cause: Cause::from_code(stored.cause),
            }
        }
        (kinds::GRANT_ISSUED, 1) => {
            let stored: wire::GrantIssuedV1<'_> = decode("grant.issued", clear)?;
            Event::GrantIssued {
                grant: GrantId(stored.grant),
                application: DiscordId(stored.application),
                scopes: scopes(&stored.scopes)?,
                expires_at: Timestamp(stored.expires_at),
                tokens: fingerprints(&stored.tokens),
            }
        }
        (kinds::GRANT_REFRESH_CLAIMED, 1) => {
            let stored: wire::GrantRefreshClaimedV1 = decode("grant.refresh_claimed", clear)?;
            Event::GrantRefreshClaimed {
                grant: GrantId(stored.grant),
                attempt: stored.attempt,
                until: Timestamp(stored.until),
            }
        }
        (kinds::GRANT_REFRESHED, 1) => {
            let stored: wire::GrantRefreshedV1<'_> = decode("grant.refreshed", clear)?;
            Event::GrantRefreshed {
                grant: GrantId(stored.grant),
                scopes: scopes(&stored.scopes)?,
                expires_at: Timestamp(stored.expires_at),
                old: fingerprints(&stored.old),
                new: fingerprints(&stored.new),
            }
        }
        (kinds::GRANT_REFRESH_FAILED, 1) => {
            let stored: wire::GrantRefreshFailedV1 = decode("grant.refresh_failed", clear)?;
            Event::GrantRefreshFailed {
                grant: GrantId(stored.grant),
                code: FailureCode::from_code(stored.code),
                status: stored.status,
                attempt: stored.attempt,
                is_final: stored.is_final,
                not_before: stored.not_before.map(Timestamp),
            }
        }
        (kinds::GRANT_REVOKED, 1) => {
            let stored: wire::GrantRevokedV1 = decode("grant.revoked", clear)?;
            Event::GrantRevoked {
                grant: GrantId(stored.grant),
                source: RevokedBy::from_code(stored.source),
                confirmed: stored.confirmed,
            }
        }
        (kinds::GRANT_REVOCATION_CONFIRMED, 1) => {
            let stored: wire::GrantRevocationConfirmedV1 = decode("grant.revocation_confirmed", clear)?;
            Event::GrantRevocationConfirmed { grant: GrantId(stored.grant), attempts: stored.attempts }
        }
        (kinds::PROFILE_OBSERVED, 1) => {
            let wire::NothingV1 {} = decode("profile.observed", clear)?;
            Event::ProfileObserved
        }
        (kinds::MEMBERSHIP_OBSERVED, 1) => {
            let stored: wire::MembershipObservedV1 = decode("membership.observed", clear)?;
            Event::MembershipObserved { slot: stored.slot }
        }
        (kinds::RULES_CHANGED, 1) => {
            let stored: wire::RulesChangedV1 = decode("rules.changed", clear)?;
            Event::RulesChanged { old: stored.old.map(Hash), new: Hash(stored.new) }
        }
        (kinds::DISCORD_UNAVAILABLE, 1) => {
            let stored: wire::OutageV1 = decode("discord.unavailable", clear)?;
            Event::DiscordUnavailable {
                cause: OutageCause::from_code(stored.cause),
                until: stored.until.map(Timestamp),
            }
        }
        (kinds::DISCORD_AVAILABLE, 1) => {
            let stored: wire::OutageV1 = decode("discord.available", clear)?;
            Event::DiscordAvailable {
                cause: OutageCause::from_code(stored.cause),
                until: stored.until.map(Timestamp),
            }
        }
        (kinds::LOG_RESTORED, 1) => {
            let stored: wire::LogRestoredV1 = decode("log.restored", clear)?;
            Event::LogRestored {
                size: stored.size,
                root: Hash(stored.root),
                source: RestoredFrom::from_code(stored.source),
            }
        }
        (kinds::KEY_ROTATED, 1) => {
            let stored: wire::KeyRotatedV1 = decode("key.rotated", clear)?;
            Event::KeyRotated {
                purpose: KeyPurpose::from_code(stored.purpose),
                key_id: stored.key_id,
                signer: stored
                    .signer
                    .map(|wire::NewSignerV1 { public_key, signature }| NewSigner { public_key, signature }),
            }
        }
        (kinds::KEY_DESTROYED, 1) => {
            let stored: wire::KeyDestroyedV1 = decode("key.destroyed", clear)?;
            Event::KeyDestroyed { purpose: KeyPurpose::from_code(stored.purpose), key_id: stored.key_id }
        }
        (kinds::USER_ERASED, 1) => {
            let stored: wire::UserErasedV1 = decode("user.erased", clear)?;
            Event::UserErased {
                requested_by: Requester::from_code(stored.requested_by),
                sessions: stored.sessions.into_iter().map(SessionId).collect(),
                confirmed: stored.confirmed,
            }
        }
        (kinds::CHECKPOINT_SIGNED, 1) => {
            let stored: wire::CheckpointSignedV1<'_> = decode("checkpoint.signed", clear)?;
            let state = stored.state.map(|state| StateHash { fold: state.fold, hash: Hash(state.hash) });
            let (size, root) = (stored.size, Hash(stored.root));
            Event::CheckpointSigned { size, root, note: stored.note.into(), state }
        }
        (kinds::AUDIT_READ, 1) => Event::AuditRead(audit(&decode("audit.read", clear)?)),
        (kinds::AUDIT_EXPORTED, 1) => Event::AuditExported(audit(&decode("audit.exported", clear)?)),
        (kind, version) => return Err(DecodeError::Unknown { kind, version }),
    })
}

fn audit_v1(audit: &Audit) -> wire::AuditV1 {
    wire::AuditV1 {
        question: audit.question.code(),
        user: audit.user.map(|sub| sub.0),
        from: audit.from.map(|position| position.0),
        to: audit.to.map(|position| position.0),
        rows: audit.rows,
    }
}

fn audit(stored: &wire::AuditV1) -> Audit {
    Audit {
        question: Question::from_code(stored.question),
        user: stored.user.map(Sub),
        from: stored.from.map(Position),
        to: stored.to.map(Position),
        rows: stored.rows,
    }
}

fn fingerprints_v1(tokens: &Fingerprints) -> wire::FingerprintsV1 {
    wire::FingerprintsV1 { access: tokens.access.0, refresh: tokens.refresh.0 }
}

fn fingerprints(stored: &wire::FingerprintsV1) -> Fingerprints {
    Fingerprints { access: Hash(stored.access), refresh: Hash(stored.refresh) }
}

pub(super) fn scopes(stored: &[&str]) -> Result<Scopes, DecodeError> {
    Scopes::new(stored.iter().copied()).map_err(|_| DecodeError::Malformed { what: "a scope" })
}
