//! The one door to change: decide, append, apply. And the state, to read.

use std::net::IpAddr;
use std::sync::Arc;

use crate::domain::command::{Command, Which};
use crate::domain::event::{Cause, FailureCode, Origin, Profile, Route, Stage};
use crate::domain::id::{DiscordId, Position, RequestId, SessionId, SessionToken, Sub};
use crate::domain::record::Actor;
use crate::domain::state::State;
use crate::domain::time::Timestamp;

/// Who asks for a change, and from where.
#[derive(Clone, Debug)]
pub struct By {
    /// On whose behalf.
    pub actor: Actor,
    /// The request, shared by all its records.
    pub request: Option<RequestId>,
    /// The record that led to it.
    pub cause: Option<Position>,
    /// Where the request came in.
    pub route: Option<Route>,
    /// The client's address and agent; only ever stored sealed.
    pub origin: Option<Origin>,
}

/// A session that counts at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveSession {
    /// The public id.
    pub id: SessionId,
    /// Whose.
    pub user: Sub,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it was last used, exact to one quantum after a restart.
    pub last_seen_at: Timestamp,
    /// When it ends unless it is used, or whatever happens.
    pub expires_at: Timestamp,
}

/// A profile, and how old it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownProfile {
    /// As Discord said.
    pub profile: Profile,
    /// When Discord last confirmed it; after a start, when it was recorded.
    pub fetched_at: Timestamp,
}

/// Why a change did not happen.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The log cannot be written at the moment; the change may or may not be found in it later.
    #[error("the log cannot be written")]
    LogUnavailable,
}

/// The state, and the only way to change it.
pub struct App {}

impl App {
    /// Returns the live session that a cookie's secret opens, from memory, and notes that it was used.
    pub fn session(&self, token: &SessionToken, origin: &Origin) -> Option<LiveSession> {
        unimplemented!()
    }

    /// Returns the live sessions of a user, newest first, from memory.
    pub fn sessions_of(&self, user: Sub) -> Vec<LiveSession> {
        unimplemented!()
    }

    /// Returns from where a session was last seen to come.
    pub fn origin_of(&self, session: SessionId) -> Option<Origin> {
        unimplemented!()
    }

    /// Returns the profile as last known, from memory; `None` where it cannot be opened.
    pub fn profile_of(&self, user: Sub) -> Option<KnownProfile> {
        unimplemented!()
    }

    /// Returns the scopes of the user's live grant.
    pub fn scopes_of(&self, user: Sub) -> Vec<String> {
        unimplemented!()
    }

    /// Ends sessions of one user, at once; returns how many were live.
    pub async fn end_sessions(
        &self,
        user: Sub,
        which: Which,
        cause: Cause,
        by: &By,
    ) -> Result<u32, ExecuteError> {
        unimplemented!()
    }

    /// Records a failed sign-in, or counts it where this address or everybody has had enough of them.
    pub async fn sign_in_failed(&self, stage: Stage, code: FailureCode, by: &By) {
        unimplemented!()
    }

    /// Returns whether the log can be written.
    pub fn log_is_available(&self) -> bool {
        unimplemented!()
    }
}
