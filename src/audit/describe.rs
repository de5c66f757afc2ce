//! An event as JSON: what it says in the clear, and what could be opened beside it; tokens never.

use serde_json::{Map, Value, json};

use crate::domain::event::{Audit, Event, Membership, NewSigner, Private, Profile, SessionScope};
use crate::domain::id::SessionId;
use crate::domain::scopes::Scopes;
use crate::domain::time::Timestamp;

/// Returns what an event says, in words that stay as they are.
///
/// Names of members are those of `fixtures/log/v1/*.json`; codes are their names, and a hash is hexadecimal.
pub fn describe(event: &Event, private: Option<&Private>) -> Map<String, Value> {
    let mut all = match clear(event) {
        Value::Object(all) => all,
        _ => Map::new(),
    };
    match private {
        None | Some(Private::Tokens(_)) => {}
        Some(Private::Profile(profile)) => all.extend(profile_facts(profile)),
        Some(Private::Membership(membership)) => all.extend(membership_facts(membership)),
        Some(Private::Rules(text)) => drop(all.insert("text".into(), json!(text))),
        Some(Private::Denied(stranger)) => {
            all.insert("who".into(), profile_facts(&stranger.profile).into());
            if !stranger.memberships.is_empty() {
                let memberships = stranger.memberships.iter().map(membership_facts).map(Value::Object);
                all.insert("memberships".into(), memberships.collect());
            }
        }
        Some(Private::Label(label)) => drop(all.insert("label".into(), json!(label))),
        Some(Private::Reason(reason)) => drop(all.insert("reason".into(), json!(reason))),
        Some(Private::Networks(networks)) => drop(all.insert("networks".into(), json!(networks))),
    }
    all
}

fn clear(event: &Event) -> Value {
    match event {
        Event::ServerStarted { version, writer, config, log_size } => json!({
            "version": version, "writer": writer.to_string(), "config": config.to_string(), "log_size": log_size,
        }),
        Event::ServerStopped { clean } => json!({ "clean": clean }),
        Event::ClockStepped { from, to } => json!({ "from": time(*from), "to": time(*to) }),
        Event::LogLossAccepted {
            head_sequence,
            head_position,
            head_leaf,
            last_found,
            salvaged,
            checkpoint,
        } => {
            json!({
                "head_sequence": head_sequence,
                "head_position": head_position.map(|position| position.0),
                "head_leaf": head_leaf.to_string(),
                "last_found": last_found.map(|position| position.0),
                "salvaged": salvaged.map(|hash| hash.to_string()),
                "checkpoint": checkpoint.map(|position| position.0),
            })
        }
        Event::LogCreated { log, origin, made_by, public_key, version } => json!({
            "log": log.to_string(), "origin": origin, "made_by": made_by.to_string(),
            "public_key": hex::encode(public_key), "version": version,
        }),
        Event::LogRestored { size, root, source } => {
            json!({ "size": size, "root": root.to_string(), "source": source.to_string() })
        }
        Event::SignInFailed { stage, code } => {
            json!({ "stage": stage.to_string(), "code": code.to_string() })
        }
        Event::SignInDenied { term, rules } => json!({ "term": term, "rules": rules.to_string() }),
        Event::SignInRolledUp { from, to, counts, distinct_addresses } => {
            let counts: Map<String, Value> =
                counts.iter().map(|(code, count)| (code.to_string(), json!(count))).collect();
            json!({
                "from": time(*from), "to": time(*to), "counts": counts, "distinct_addresses": distinct_addresses,
            })
        }
        Event::SessionOpened {
            session,
            method,
            scope,
            admin,
            key: _,
            expires_at,
            idle_deadline,
            rules,
            first,
            replaces,
        } => json!({
            "session": session.to_string(),
            "method": method.to_string(),
            "host": match scope {
                SessionScope::All => None,
                SessionScope::Host(host) => Some(host),
            },
            "admin": admin,
            "expires_at": time(*expires_at),
            "idle_deadline": time(*idle_deadline),
            "rules": rules.to_string(),
            "first": first,
            "replaces": replaces.map(|session| session.to_string()),
        }),
        Event::SessionSeen { session, idle_deadline } => {
            json!({ "session": session.to_string(), "idle_deadline": time(*idle_deadline) })
        }
        Event::SessionRevoked { sessions, scope, cause } => json!({
            "sessions": ids(sessions), "scope": scope.to_string(), "cause": cause.to_string(),
        }),
        Event::GrantIssued { grant, application, scopes, expires_at, tokens: _ } => json!({
            "grant": grant.to_string(), "application": application.to_string(), "scopes": names(scopes),
            "expires_at": time(*expires_at),
        }),
        Event::GrantRefreshClaimed { grant, attempt, until } => {
            json!({ "grant": grant.to_string(), "attempt": attempt, "until": time(*until) })
        }
        Event::GrantRefreshed { grant, scopes, expires_at, old: _, new: _ } => {
            json!({ "grant": grant.to_string(), "scopes": names(scopes), "expires_at": time(*expires_at) })
        }
        Event::GrantRefreshFailed { grant, code, status, attempt, is_final, not_before } => json!({
            "grant": grant.to_string(), "code": code.to_string(), "status": status, "attempt": attempt,
            "is_final": is_final, "not_before": not_before.map(time),
        }),
        Event::GrantRevoked { grant, source, confirmed } => json!({
            "grant": grant.to_string(), "source": source.to_string(), "confirmed": confirmed,
        }),
        Event::GrantRevocationConfirmed { grant, attempts } => {
            json!({ "grant": grant.to_string(), "attempts": attempts })
        }
        Event::ProfileObserved => json!({}),
        Event::MembershipObserved { slot } => json!({ "slot": slot }),
        Event::RulesChanged { old, new } => {
            json!({ "old": old.map(|hash| hash.to_string()), "new": new.to_string() })
        }
        Event::KeyRotated { purpose, key_id, signer } => json!({
            "purpose": purpose.to_string(), "key_id": key_id,
            "public_key": signer.map(|NewSigner { public_key, .. }| hex::encode(public_key)),
        }),
        Event::KeyDestroyed { purpose, key_id } => {
            json!({ "purpose": purpose.to_string(), "key_id": key_id })
        }
        Event::UserErased { requested_by, sessions, confirmed } => json!({
            "requested_by": requested_by.to_string(), "sessions": ids(sessions), "confirmed": confirmed,
        }),
        Event::DiscordUnavailable { cause, until } | Event::DiscordAvailable { cause, until } => {
            json!({ "cause": cause.to_string(), "until": until.map(time) })
        }
        Event::CheckpointSigned { size, root, note, state } => json!({
            "size": size, "root": root.to_string(), "note": note,
            "state": state.map(|state| json!({ "fold": state.fold, "hash": state.hash.to_string() })),
        }),
        Event::AuditRead(audit) | Event::AuditExported(audit) => asked(audit),
    }
}

fn asked(audit: &Audit) -> Value {
    json!({
        "question": audit.question.to_string(),
        "user": audit.user.map(|sub| sub.to_string()),
        "from": audit.from.map(|position| position.0),
        "to": audit.to.map(|position| position.0),
        "rows": audit.rows,
    })
}

/// Returns a membership in words that stay as they are.
pub(super) fn membership_facts(membership: &Membership) -> Map<String, Value> {
    let Membership { guild, member, roles, nick, pending } = membership;
    let roles: Vec<String> = roles.iter().map(ToString::to_string).collect();
    let facts = json!({
        "guild": guild.to_string(), "member": member, "roles": roles, "nick": nick, "pending": pending,
    });
    match facts {
        Value::Object(facts) => facts,
        _ => Map::new(),
    }
}

fn profile_facts(profile: &Profile) -> Map<String, Value> {
    let facts = json!({
        "id": profile.id.to_string(), "username": profile.username, "global_name": profile.global_name,
        "discriminator": profile.discriminator, "avatar": profile.avatar, "locale": profile.locale,
        "email": profile.email, "email_verified": profile.email_verified,
    });
    match facts {
        Value::Object(facts) => facts,
        _ => Map::new(),
    }
}

fn ids(sessions: &[SessionId]) -> Vec<String> {
    sessions.iter().map(ToString::to_string).collect()
}

fn names(scopes: &Scopes) -> Vec<&str> {
    scopes.names().collect()
}

fn time(at: Timestamp) -> String {
    at.to_string()
}
