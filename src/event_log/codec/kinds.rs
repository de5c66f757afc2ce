//! The kinds of events: a number that is for ever, a name, and a sentence for people.

use crate::domain::event::Event;

/// One kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// What the log keeps; never given to anything else.
    pub id: u16,
    /// `noun.verb`, in the past tense.
    pub name: &'static str,
    /// What it tells.
    pub sentence: &'static str,
}

/// Returns every kind that this version knows, in ascending order of id.
pub fn kinds() -> &'static [Kind] {
    KINDS
}

/// Returns the kind with this id, if this version knows it.
pub fn kind(id: u16) -> Option<&'static Kind> {
    KINDS.binary_search_by_key(&id, |kind| kind.id).ok().and_then(|at| KINDS.get(at))
}

/// Returns the id of an event's kind.
pub fn kind_of(event: &Event) -> u16 {
    match event {
        Event::ServerStarted { .. } => SERVER_STARTED,
        Event::ServerStopped { .. } => SERVER_STOPPED,
        Event::ClockStepped { .. } => CLOCK_STEPPED,
        Event::LogLossAccepted { .. } => LOG_LOSS_ACCEPTED,
        Event::LogCreated { .. } => LOG_CREATED,
        Event::LogRestored { .. } => LOG_RESTORED,
        Event::SignInFailed { .. } => SIGN_IN_FAILED,
        Event::SignInDenied { .. } => SIGN_IN_DENIED,
        Event::SignInRolledUp { .. } => SIGN_IN_ROLLED_UP,
        Event::SessionOpened { .. } => SESSION_OPENED,
        Event::SessionSeen { .. } => SESSION_SEEN,
        Event::SessionRevoked { .. } => SESSION_REVOKED,
        Event::GrantIssued { .. } => GRANT_ISSUED,
        Event::GrantRefreshClaimed { .. } => GRANT_REFRESH_CLAIMED,
        Event::GrantRefreshed { .. } => GRANT_REFRESHED,
        Event::GrantRefreshFailed { .. } => GRANT_REFRESH_FAILED,
        Event::GrantRevoked { .. } => GRANT_REVOKED,
        Event::GrantRevocationConfirmed { .. } => GRANT_REVOCATION_CONFIRMED,
        Event::ProfileObserved => PROFILE_OBSERVED,
        Event::MembershipObserved { .. } => MEMBERSHIP_OBSERVED,
        Event::RulesChanged { .. } => RULES_CHANGED,
        Event::KeyRotated { .. } => KEY_ROTATED,
        Event::KeyDestroyed { .. } => KEY_DESTROYED,
        Event::UserErased { .. } => USER_ERASED,
        Event::DiscordUnavailable { .. } => DISCORD_UNAVAILABLE,
        Event::DiscordAvailable { .. } => DISCORD_AVAILABLE,
        Event::CheckpointSigned { .. } => CHECKPOINT_SIGNED,
        Event::AuditRead(_) => AUDIT_READ,
        Event::AuditExported(_) => AUDIT_EXPORTED,
    }
}

macro_rules! kinds {
    ($($constant:ident = $id:literal $name:literal $sentence:literal),* $(,)?) => {
        $(pub(crate) const $constant: u16 = $id;)*
        const KINDS: &[Kind] = &[$(Kind { id: $id, name: $name, sentence: $sentence }),*];
    };
}

// Numbers that are missing here belong to kinds that have no bytes yet, or never will: see the table of
// events in ARCHITECTURE.md before taking one.
kinds!(
    SERVER_STARTED = 1 "server.started" "a doorbook process started and began to write to the log",
    SERVER_STOPPED = 2 "server.stopped" "a doorbook process stopped",
    CLOCK_STEPPED = 3 "clock.stepped" "the machine's clock was set to another time",
    LOG_LOSS_ACCEPTED = 4 "log.loss_accepted" "the operator went on although acknowledged records were gone; every session ended",
    LOG_CREATED = 5 "log.created" "this log was created",
    LOG_RESTORED = 6 "log.restored" "this log was put back from a backup or an export; every session ended",
    SIGN_IN_FAILED = 10 "sign_in.failed" "a sign-in did not come to an end",
    SIGN_IN_DENIED = 11 "sign_in.denied" "somebody whom Discord knows was not let in",
    SIGN_IN_ROLLED_UP = 12 "sign_in.rolled_up" "more sign-ins failed or were denied than are recorded one by one",
    SESSION_OPENED = 20 "session.opened" "somebody signed in",
    SESSION_SEEN = 21 "session.seen" "a session was used",
    SESSION_REVOKED = 22 "session.revoked" "sessions ended before their time",
    GRANT_ISSUED = 30 "grant.issued" "Discord authorized doorbook for a user",
    GRANT_REFRESH_CLAIMED = 31 "grant.refresh_claimed" "new tokens were about to be asked for",
    GRANT_REFRESHED = 32 "grant.refreshed" "Discord gave new tokens",
    GRANT_REFRESH_FAILED = 33 "grant.refresh_failed" "Discord gave no new tokens",
    GRANT_REVOKED = 34 "grant.revoked" "an authorization ended",
    GRANT_REVOCATION_CONFIRMED = 35 "grant.revocation_confirmed" "Discord confirmed that an authorization is ended",
    PROFILE_OBSERVED = 36 "profile.observed" "a user's profile at Discord was new or had changed",
    MEMBERSHIP_OBSERVED = 37 "membership.observed" "what a user is in a guild was new or had changed",
    RULES_CHANGED = 40 "rules.changed" "other rules began to decide who may come in and what they may open",
    KEY_ROTATED = 41 "key.rotated" "a key was replaced by a new one",
    KEY_DESTROYED = 42 "key.destroyed" "a key was destroyed, and what it sealed can never be read again",
    USER_ERASED = 45 "user.erased" "a person was erased: what is known about them can never be read again",
    DISCORD_UNAVAILABLE = 46 "discord.unavailable" "calls to Discord stopped",
    DISCORD_AVAILABLE = 47 "discord.available" "calls to Discord work again",
    CHECKPOINT_SIGNED = 50 "checkpoint.signed" "doorbook signed for every record before this one",
    AUDIT_READ = 54 "audit.read" "somebody looked into the log",
    AUDIT_EXPORTED = 55 "audit.exported" "somebody took a copy of the log, or of what it holds about a person",
);
