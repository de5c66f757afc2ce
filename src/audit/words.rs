//! An event in a few words, for people: what a table shows and a story is told in.

use std::fmt::Display;

use crate::domain::event::{
    Audit, Cause, Event, FailureCode, KeyPurpose, MadeBy, Membership, OutageCause, Private, Question,
    Requester, RestoredFrom, RevokedBy, RevokedScope, Stage,
};
use crate::domain::scopes::Scopes;

/// So many guilds of a stranger are named, and the others counted.
const GUILDS: usize = 3;

/// Returns what happened, in a few words that begin in lower case and have no full stop.
pub fn in_words(event: &Event, private: Option<&Private>) -> String {
    match event {
        Event::ServerStarted { version, log_size, .. } => {
            format!("doorbook {version} started with {} in the log", counted(*log_size, "record"))
        }
        Event::ServerStopped { clean: true } => "doorbook stopped in order".into(),
        Event::ServerStopped { clean: false } => "doorbook stopped".into(),
        Event::ClockStepped { from, to } => format!("the clock was set from {from} to {to}"),
        Event::LogLossAccepted { last_found: Some(last), .. } => {
            format!("went on although records behind position {last} were gone; every session ended")
        }
        Event::LogLossAccepted { last_found: None, .. } => {
            "went on although every record was gone; every session ended".into()
        }
        Event::LogCreated { made_by, origin, .. } => match made_by {
            MadeBy::Demo => format!("the demo made this log for {origin}"),
            _ => format!("this log was made for {origin}"),
        },
        Event::LogRestored { size, source, .. } => {
            let source = match source {
                RestoredFrom::Backup => "a backup",
                RestoredFrom::Import => "an export",
                _ => "a copy",
            };
            format!("put back from {source} of {}; every session ended", counted(*size, "record"))
        }
        Event::SignInFailed { stage, code } => {
            format!("a sign-in failed {}: {}", at_stage(*stage), failure(*code))
        }
        Event::SignInDenied { .. } => match private {
            Some(Private::Denied(who)) => {
                let name = who.profile.display_name();
                format!("{name} ({}) was not let in{}", who.profile.id, seen_of(&who.memberships))
            }
            _ => "was not let in".into(),
        },
        Event::SignInRolledUp { counts, distinct_addresses, .. } => {
            let all: u64 = counts.iter().map(|(_, count)| count).sum();
            let from = match distinct_addresses {
                1 => "1 address".to_owned(),
                many => format!("{many} addresses"),
            };
            format!("{} more failed or were denied, from {from}", counted(all, "sign-in"))
        }
        Event::SessionOpened { first, replaces, .. } => match (first, replaces) {
            (true, _) => "signed in for the first time".into(),
            (false, Some(_)) => "signed in again in the same browser".into(),
            (false, None) => "signed in".into(),
        },
        Event::SessionSeen { .. } => "was here".into(),
        Event::SessionRevoked { sessions, scope, cause } => {
            let which = match (sessions.len(), scope) {
                (1, RevokedScope::All) => "the only session ended".to_owned(),
                (1, _) => "a session ended".to_owned(),
                (many, RevokedScope::All) => format!("all {many} sessions ended"),
                (many, _) => format!("{many} sessions ended"),
            };
            let reason = match private {
                Some(Private::Reason(reason)) => format!(" (\u{201c}{reason}\u{201d})"),
                _ => String::new(),
            };
            format!("{which}: {}{reason}", because(*cause))
        }
        Event::GrantIssued { scopes, .. } => format!("Discord authorized doorbook for {}", listed(scopes)),
        Event::GrantRefreshClaimed { attempt: 1, .. } => "new tokens were asked for".into(),
        Event::GrantRefreshClaimed { .. } => "new tokens were asked for once more".into(),
        Event::GrantRefreshed { .. } => "Discord gave new tokens".into(),
        Event::GrantRefreshFailed { code, is_final, .. } => {
            let end = if *is_final { ", for good" } else { "" };
            format!("Discord gave no new tokens{end}: {}", failure(*code))
        }
        Event::GrantRevoked { source, confirmed, .. } => {
            let told = if *confirmed { "" } else { "; Discord has yet to confirm" };
            format!("the authorization ended: {}{told}", ended_by(*source))
        }
        Event::GrantRevocationConfirmed { .. } => "Discord confirmed the end of the authorization".into(),
        Event::ProfileObserved => match private {
            Some(Private::Profile(profile)) => {
                format!("goes by {} ({})", profile.display_name(), profile.tag())
            }
            _ => "the profile changed".into(),
        },
        Event::MembershipObserved { .. } => match private {
            Some(Private::Membership(seen)) => membership(seen),
            _ => "what they are in a guild changed".into(),
        },
        Event::RulesChanged { old: None, .. } => "the rules were written down".into(),
        Event::RulesChanged { old: Some(_), .. } => "the rules changed".into(),
        Event::KeyRotated { purpose, key_id, .. } => match purpose {
            KeyPurpose::Signer => format!("another key signs from now on: {key_id:08x}"),
            _ => format!("the root of the keys was replaced by number {key_id}"),
        },
        Event::KeyDestroyed { key_id, .. } => format!(
            "addresses and user agents of {:04}-{:02} can never be read again",
            key_id / 100,
            key_id % 100
        ),
        Event::UserErased { requested_by, .. } => match requested_by {
            Requester::User => "was erased, as they asked".into(),
            _ => "was erased".into(),
        },
        Event::DiscordUnavailable { cause, until } => {
            let until = until.map(|until| format!(" until {until}")).unwrap_or_default();
            format!("calls to Discord stopped{until}: {}", outage(*cause))
        }
        Event::DiscordAvailable { .. } => "calls to Discord work again".into(),
        Event::CheckpointSigned { size, state, .. } => {
            let with = if state.is_some() { ", with a stored state" } else { "" };
            format!("signed for the first {}{with}", counted(*size, "record"))
        }
        Event::AuditRead(audit) => format!("the log was read: {}", question(audit)),
        Event::AuditExported(audit) => format!("a copy was taken: {}", question(audit)),
    }
}

/// Returns scopes as they are listed in a line.
pub(super) fn listed(scopes: &Scopes) -> String {
    scopes.names().collect::<Vec<_>>().join(", ")
}

/// Returns what Discord said of a stranger's guilds, as far as a line has room for it.
fn seen_of(memberships: &[Membership]) -> String {
    let seen: Vec<String> = memberships.iter().take(GUILDS).map(membership).collect();
    match (seen.is_empty(), memberships.len() - seen.len()) {
        (true, _) => String::new(),
        (false, 0) => format!(": {}", seen.join(", ")),
        (false, more) => format!(": {} and {}", seen.join(", "), counted(more, "more guild")),
    }
}

/// Returns what somebody is in a guild, in a few words.
pub(super) fn membership(seen: &Membership) -> String {
    let guild = seen.guild;
    match seen {
        Membership { member: false, .. } => format!("is no member of guild {guild}"),
        Membership { pending: true, .. } => format!("has yet to pass the screening of guild {guild}"),
        Membership { roles, .. } => {
            format!("is a member of guild {guild} with {}", counted(roles.len(), "role"))
        }
    }
}

/// Says how many there are of something.
pub fn counted<N: Display + PartialEq + From<u8>>(number: N, what: &str) -> String {
    if number == N::from(1) { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn at_stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Callback => "on the way back from Discord",
        Stage::Token => "when Discord was asked for tokens",
        Stage::Identity => "when Discord was asked who it is",
        _ => "somewhere",
    }
}

fn failure(code: FailureCode) -> String {
    match code {
        FailureCode::AccessDenied => "cancelled at Discord".into(),
        FailureCode::InvalidGrant => "Discord does not take the code or token".into(),
        FailureCode::InvalidClient => "Discord refuses the client id or secret".into(),
        FailureCode::StateMismatch => "it was not begun in that browser, or too long ago".into(),
        FailureCode::CodeRejected => "there was no usable code".into(),
        FailureCode::DiscordUnavailable => "Discord did not answer".into(),
        FailureCode::RateLimited => "Discord asked to wait".into(),
        FailureCode::Unauthorized => "Discord does not take a token that it has just given".into(),
        FailureCode::OutcomeUnknown => "nobody knows what became of the call".into(),
        FailureCode::NotAllowed => "not allowed in".into(),
        other => other.to_string(),
    }
}

fn because(cause: Cause) -> String {
    match cause {
        Cause::Logout => "signed out".into(),
        Cause::OtherDevice => "ended from the list of sessions".into(),
        Cause::Replaced => "signed in again in the same browser".into(),
        Cause::TooMany => "more sessions than one person may have".into(),
        Cause::Admin => "ended by the operator".into(),
        Cause::UserRevoked => "disconnected Discord here".into(),
        Cause::RoleLost => "lost the role".into(),
        Cause::DiscordDeauthorized => "removed the application at Discord".into(),
        Cause::TokenRefused => "Discord refused the token".into(),
        Cause::GrantLost => "the refresh token was used up and its successor is unknown".into(),
        Cause::KeyCompromise => "a key is no longer trusted".into(),
        Cause::Erased => "erased".into(),
        other => other.to_string(),
    }
}

fn ended_by(source: RevokedBy) -> String {
    match source {
        RevokedBy::User => "the user ended it".into(),
        RevokedBy::Admin | RevokedBy::Operator => "the operator ended it".into(),
        RevokedBy::Webhook => "Discord said so".into(),
        RevokedBy::InvalidGrant => "Discord did not take the refresh token".into(),
        RevokedBy::TokenRefused => "Discord refused a new token".into(),
        RevokedBy::Other => "its tokens are lost".into(),
        other @ RevokedBy::Unknown(_) => other.to_string(),
    }
}

fn outage(cause: OutageCause) -> String {
    match cause {
        OutageCause::GlobalRateLimit => "a rate limit for all calls".into(),
        OutageCause::CloudflareBan => "this machine's address is blocked".into(),
        OutageCause::Unreachable => "no answer".into(),
        other => other.to_string(),
    }
}

fn question(audit: &Audit) -> String {
    match audit.question {
        Question::User => "everything about one person".into(),
        Question::Export => "the whole log".into(),
        Question::Backup => "a backup".into(),
        other => other.to_string(),
    }
}
