//! Discord between two commands: sign-in, refresh, revocation; one at a time per user.

use crate::app::{By, ExecuteError, LiveSession};
use crate::domain::event::RevokedBy;
use crate::domain::id::{Secret, SessionId, SessionToken, Sub};
use crate::domain::time::Timestamp;

/// What the browser brought back from Discord.
#[derive(Debug)]
pub struct SignInRequest {
    /// The code of the callback.
    pub code: Secret,
    /// The PKCE verifier of the attempt.
    pub verifier: Secret,
    /// The session that this browser has.
    pub replaces: Option<SessionId>,
}

/// A sign-in that is on stable storage.
#[derive(Debug)]
pub struct SignedIn {
    /// The secret for the cookie.
    pub token: SessionToken,
    /// The session.
    pub session: LiveSession,
}

/// Why nobody was signed in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// Discord refused the code: 400 `code_rejected`.
    #[error("discord refused the code")]
    CodeRejected,
    /// 502 `discord_unavailable`.
    #[error("discord is slow, down or unreadable")]
    DiscordUnavailable,
    /// 503 `discord_rate_limited`, with the seconds to wait.
    #[error("discord asked to wait")]
    DiscordRateLimited {
        /// Seconds.
        retry_after: u64,
    },
    /// 500 `discord_client_rejected`.
    #[error("discord refused the client id or secret")]
    ClientRejected,
    /// 403 `sign_in_not_allowed`.
    #[error("not on the list")]
    NotAllowed,
    /// 429 `too_many_sign_ins`, with the seconds to wait.
    #[error("too many sign-ins of this user")]
    TooMany {
        /// Seconds.
        retry_after: u64,
    },
    /// A revocation overtook the sign-in: the browser goes to Discord again.
    #[error("the authorization was revoked meanwhile")]
    StartAgain,
    /// 503 `log_unavailable`.
    #[error(transparent)]
    Execute(#[from] ExecuteError),
}

/// Why a refresh gave nothing new.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The grant is dead and the sessions have ended: 401, cookie cleared.
    #[error("the grant is dead")]
    Ended,
    /// Once a minute per user: 429 `too_many_requests`.
    #[error("refreshed a moment ago")]
    TooSoon {
        /// Seconds.
        retry_after: u64,
    },
    /// 502 `discord_unavailable`.
    #[error("discord is slow, down or unreadable")]
    DiscordUnavailable,
    /// 503 `discord_rate_limited`.
    #[error("discord asked to wait")]
    DiscordRateLimited {
        /// Seconds.
        retry_after: u64,
    },
    /// 500 `discord_client_rejected`.
    #[error("discord refused the client id or secret")]
    ClientRejected,
    /// 503 `log_unavailable`.
    #[error(transparent)]
    Execute(#[from] ExecuteError),
}

/// What asking Discord for the profile gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// The known profile is what Discord just said.
    Fresh,
    /// Discord failed or was too slow; the known profile is the last one.
    Stale,
    /// The grant was found dead; the sessions have ended.
    Ended,
}

/// What a revocation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Live sessions that ended.
    pub sessions_ended: u32,
    /// Whether Discord has confirmed; otherwise we go on asking.
    pub confirmed: bool,
}

/// Discord, one call at a time per user.
pub struct Grants {}

impl Grants {
    /// Exchanges a code, asks who it is, and signs them in.
    pub async fn sign_in(&self, request: SignInRequest, by: &By) -> Result<SignedIn, SignInError> {
        unimplemented!()
    }

    /// Refreshes a user's grant now (`POST /api/auth/refresh`).
    pub async fn refresh_now(&self, user: Sub, by: &By) -> Result<(), RefreshError> {
        unimplemented!()
    }

    /// Asks Discord for the profile (`?fresh=1`), at most once a second per user, waiting 3 s at most.
    pub async fn fresh_profile(&self, user: Sub, by: &By) -> Freshness {
        unimplemented!()
    }

    /// Notes that a profile was used, and queues a refresh of an old one off the request path.
    pub fn profile_used(&self, user: Sub) {
        unimplemented!()
    }

    /// Ends the grant at Discord and every session of the user.
    pub async fn revoke(&self, user: Sub, source: RevokedBy, by: &By) -> Result<Revoked, ExecuteError> {
        unimplemented!()
    }
}
