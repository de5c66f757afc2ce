//! Why a call to Discord gave nothing, as facts that a caller can branch on.

use std::time::Duration;

use crate::domain::event::{FailureCode, OutageCause};
use crate::domain::time::Timestamp;

/// Why a call gave nothing.
///
/// It holds no word that Discord wrote: descriptions change without notice and can carry what does not
/// belong into a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// We did not call, because all calls are paused.
    #[error("calls to discord are paused until {until}")]
    Paused {
        /// Why they are.
        cause: OutageCause,
        /// Until when.
        until: Timestamp,
    },
    /// The OAuth endpoint refused what we sent, for example a code that was used before.
    #[error("discord refused with {code} (status {status})")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The code of RFC 6749; [`FailureCode::Other`] for one that it does not know.
        code: FailureCode,
    },
    /// The OAuth endpoint refused our client id or secret: somebody has to look at the configuration.
    #[error("discord refused the client id or secret (status {status})")]
    ClientRejected {
        /// The HTTP status.
        status: u16,
    },
    /// The access token was refused; that can also mean that it lacks the scope.
    #[error("discord refused the access token")]
    Unauthorized,
    /// Discord asks us to wait longer than this call can.
    #[error("discord asks us to wait for {retry_after:?}")]
    RateLimited {
        /// How long.
        retry_after: Duration,
        /// Whether that goes for every call.
        global: bool,
    },
    /// We did not call, because Discord has refused too many calls lately.
    #[error("discord has refused too many calls lately; none is made for {retry_after:?}")]
    Exhausted {
        /// How long we wait.
        retry_after: Duration,
    },
    /// There was no connection, or it broke.
    #[error("discord could not be reached")]
    Unreachable {
        /// Whether the request, or a part of it, may have arrived.
        sent: bool,
    },
    /// There was no whole answer in time.
    #[error("discord did not answer in time")]
    TimedOut {
        /// Whether the request, or a part of it, may have arrived.
        sent: bool,
    },
    /// Discord, or a proxy before it, is in trouble.
    #[error("discord answered with status {status}")]
    ServerError {
        /// The HTTP status.
        status: u16,
    },
    /// The answer says that all is well, but cannot be used.
    #[error("discord's answer is unreadable: {why}")]
    Unreadable {
        /// The HTTP status.
        status: u16,
        /// What is wrong with it.
        why: Unreadable,
    },
    /// Any other answer, for example a redirect or a 403.
    #[error("discord answered with status {status}, which was not expected")]
    Unexpected {
        /// The HTTP status.
        status: u16,
        /// Discord's own code, where the body had one.
        code: Option<i64>,
    },
}

/// What is wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It goes on and on.
    #[error("longer than {} KiB", super::answer::LONGEST / 1024)]
    TooLong,
    /// It is not the JSON object that it should be, or lacks a field.
    #[error("not the json it should be")]
    Malformed,
    /// A field has a value that cannot be.
    #[error("impossible {0}")]
    Field(&'static str),
}

/// Discord's code for an access token that lacks the scope.
const MISSING_SCOPE: i64 = 50026;

impl CallError {
    /// Returns the code under which the log keeps this failure.
    pub fn failure_code(&self) -> FailureCode {
        match self {
            CallError::Paused { .. } | CallError::RateLimited { .. } | CallError::Exhausted { .. } => {
                FailureCode::RateLimited
            }
            CallError::Refused { code, .. } => *code,
            CallError::ClientRejected { .. } => FailureCode::InvalidClient,
            CallError::Unauthorized => FailureCode::Unauthorized,
            CallError::Unexpected { code: Some(MISSING_SCOPE), .. } => FailureCode::ScopeMissing,
            CallError::Unreachable { .. }
            | CallError::TimedOut { .. }
            | CallError::ServerError { .. }
            | CallError::Unreadable { .. }
            | CallError::Unexpected { .. } => FailureCode::DiscordUnavailable,
        }
    }

    /// Returns the HTTP status, where there was an answer.
    pub fn status(&self) -> Option<u16> {
        match *self {
            CallError::Refused { status, .. }
            | CallError::ClientRejected { status }
            | CallError::ServerError { status }
            | CallError::Unreadable { status, .. }
            | CallError::Unexpected { status, .. } => Some(status),
            CallError::Unauthorized => Some(401),
            CallError::RateLimited { .. } => Some(429),
            CallError::Paused { .. }
            | CallError::Exhausted { .. }
            | CallError::Unreachable { .. }
            | CallError::TimedOut { .. } => None,
        }
    }

    /// Returns whether Discord may have done what was asked although we have no word of it.
    ///
    /// For a code or a refresh token this means that it may be used up, and that its successor may be lost.
    pub fn outcome_unknown(&self) -> bool {
        match *self {
            CallError::Unreachable { sent } | CallError::TimedOut { sent } => sent,
            CallError::ServerError { .. } | CallError::Unreadable { .. } => true,
            // Whoever redirects us is not who should have answered.
            CallError::Unexpected { status, .. } => status < 400,
            CallError::Paused { .. }
            | CallError::Refused { .. }
            | CallError::ClientRejected { .. }
            | CallError::Unauthorized
            | CallError::RateLimited { .. }
            | CallError::Exhausted { .. } => false,
        }
    }

    /// Returns how long Discord wants to be left alone, where it said so.
    pub fn retry_after(&self, now: Timestamp) -> Option<Duration> {
        match *self {
            CallError::Paused { until, .. } => Some(until.since(now)),
            CallError::RateLimited { retry_after, .. } | CallError::Exhausted { retry_after } => {
                Some(retry_after)
            }
            _ => None,
        }
    }

    /// Returns whether the same call may well succeed a moment later.
    pub(super) fn is_passing(&self) -> bool {
        matches!(
            self,
            CallError::Unreachable { .. } | CallError::TimedOut { .. } | CallError::ServerError { .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNTIL: Timestamp = Timestamp(90_000);

    #[test]
    fn the_outcome_is_unknown_only_where_discord_may_have_acted() {
        let unknown = |error: CallError| error.outcome_unknown();
        assert!(unknown(CallError::Unreachable { sent: true }));
        assert!(unknown(CallError::TimedOut { sent: true }));
        assert!(unknown(CallError::ServerError { status: 503 }));
        assert!(unknown(CallError::Unreadable { status: 200, why: Unreadable::Malformed }));
        assert!(unknown(CallError::Unexpected { status: 302, code: None }));
        assert!(!unknown(CallError::Unreachable { sent: false }));
        assert!(!unknown(CallError::TimedOut { sent: false }));
        assert!(!unknown(CallError::Paused { cause: OutageCause::CloudflareBan, until: UNTIL }));
        assert!(!unknown(CallError::Refused { status: 400, code: FailureCode::InvalidGrant }));
        assert!(!unknown(CallError::ClientRejected { status: 401 }));
        assert!(!unknown(CallError::RateLimited { retry_after: Duration::ZERO, global: false }));
        assert!(!unknown(CallError::Unexpected { status: 403, code: Some(40333) }));
    }

    #[test]
    fn every_failure_has_the_code_that_the_log_keeps() {
        let missing_scope = CallError::Unexpected { status: 403, code: Some(50026) };
        assert_eq!(missing_scope.failure_code(), FailureCode::ScopeMissing);
        let not_found = CallError::Unexpected { status: 404, code: Some(0) };
        assert_eq!(not_found.failure_code(), FailureCode::DiscordUnavailable);
        assert_eq!(CallError::ClientRejected { status: 400 }.failure_code(), FailureCode::InvalidClient);
        let paused = CallError::Paused { cause: OutageCause::GlobalRateLimit, until: UNTIL };
        assert_eq!(paused.failure_code(), FailureCode::RateLimited);
        assert_eq!(paused.retry_after(Timestamp(60_000)), Some(Duration::from_secs(30)));
        assert_eq!((paused.status(), CallError::Unauthorized.status()), (None, Some(401)));
    }
}
