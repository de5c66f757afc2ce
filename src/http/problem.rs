//! What can go wrong for whoever asks: every problem code with its status, its words, and a way on.
//!
//! The same facts become an `application/problem+json` document (RFC 9457) or, for a navigation, a page.

use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;

use crate::app::ExecuteError;
use crate::domain::id::RequestId;
use crate::grants::{RefreshError, SignInError};

/// Why a request is not answered as it was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The state of a callback is missing, unknown, expired, used, or another browser's.
    StateMismatch,
    /// The code of a callback is missing, malformed, or refused by Discord.
    CodeRejected,
    /// Discord sent the browser back with an error.
    AuthorizationFailed,
    /// `rd` or `next` is not where a login may return.
    RedirectNotAllowed,
    /// A login was asked for by something that is not a browser going there.
    NotANavigation,
    /// The request cannot be read.
    BadRequest,
    /// What a proxy says of a request is missing or malformed.
    BadForwardedRequest,
    /// Signed in again and again, and the app still does not see it.
    SignInLoop,
    /// A ticket is used up, too old, another browser's, or another host's.
    TicketRejected,
    /// No live session.
    NotSignedIn,
    /// Signed in, but the fact that decides is missing or too old.
    MembershipUnknown,
    /// What Discord is said to have signed, it has not, or long ago.
    BadSignature,
    /// The person said no at Discord.
    SignInCancelled,
    /// Discord knows the person, and we do not let them in.
    SignInNotAllowed,
    /// The request comes from another site.
    CrossSiteRequest,
    /// Somebody who is not a trusted proxy asks as one.
    UntrustedProxy,
    /// No rule is for that host and path.
    NoRule,
    /// The rules refuse this person.
    NotAllowed,
    /// No such path.
    NotFound,
    /// No such session of this user.
    NoSuchSession,
    /// The path does not take this method.
    MethodNotAllowed {
        /// The methods it takes, as `Allow` writes them.
        allow: String,
    },
    /// The body is longer than we read.
    BodyTooLarge,
    /// Too many of these from this address, or by this user.
    TooManyRequests {
        /// Seconds.
        retry_after: u64,
    },
    /// Too many sign-ins of this user.
    TooManySignIns {
        /// Seconds.
        retry_after: u64,
    },
    /// Discord refuses our client id or secret.
    DiscordClientRejected,
    /// A defect of ours.
    Internal,
    /// Discord is slow, down or unreadable.
    DiscordUnavailable,
    /// Discord asks us to wait.
    DiscordRateLimited {
        /// Seconds.
        retry_after: u64,
    },
    /// The log cannot be written.
    LogUnavailable,
    /// The log is still being replayed.
    NotReady,
}

/// What everybody is told of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The status of the answer.
    pub status: StatusCode,
    /// The stable name, for programs.
    pub code: &'static str,
    /// What happened, in a few words.
    pub title: &'static str,
    /// What that means, and what can be done.
    pub detail: &'static str,
    /// Where to go on from the page.
    pub ways_on: &'static [WayOn],
}

/// A link of a problem's page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WayOn {
    /// Begin the sign-in again.
    SignInAgain,
    /// Sign in.
    SignIn,
    /// The same address once more.
    TryAgain,
    /// The account page.
    Account,
    /// The first page.
    Home,
}

impl Problem {
    /// Returns what everybody is told.
    pub fn facts(&self) -> Facts {
        use WayOn::{Account, Home, SignIn, SignInAgain, TryAgain};
        let (status, code, title, detail, ways_on): (_, _, _, _, &'static [WayOn]) = match self {
            Problem::StateMismatch => (
                StatusCode::BAD_REQUEST,
                "state_mismatch",
                "This sign-in cannot be completed",
                "It was begun more than ten minutes ago, in another browser, or has been completed already. \
                 Please begin again.",
                &[SignInAgain, Home],
            ),
            Problem::CodeRejected => (
                StatusCode::BAD_REQUEST,
                "code_rejected",
                "Discord did not confirm this sign-in",
                "The code that came back was missing, used or too old. Please begin again.",
                &[SignInAgain, Home],
            ),
            Problem::AuthorizationFailed => (
                StatusCode::BAD_REQUEST,
                "authorization_failed",
                "Discord reported an error",
                "Discord sent you back without signing you in. Please try again; if it happens again, tell the \
                 operator of this site.",
                &[SignInAgain, Home],
            ),
            Problem::RedirectNotAllowed => (
                StatusCode::BAD_REQUEST,
                "redirect_not_allowed",
                "This link leads to a place that is not allowed",
                "The link that brought you here names an address to return to that this site does not return to.",
                &[SignIn, Home],
            ),
            Problem::NotANavigation => (
                StatusCode::BAD_REQUEST,
                "not_a_navigation",
                "Sign-in must be opened as a page",
                "Send the browser to this address instead of fetching it in the background.",
                &[SignIn, Home],
            ),
            Problem::BadRequest => (
                StatusCode::BAD_REQUEST,
                "bad_request",
                "This request cannot be read",
                "Something about the request is malformed or did not arrive in time.",
                &[Home],
            ),
            Problem::BadForwardedRequest => (
                StatusCode::BAD_REQUEST,
                "bad_forwarded_request",
                "The proxy did not say what was asked for",
                "The headers in which a proxy describes a request are missing, there twice, or malformed. If every page \
                 of this site says so, its operator has to look at the proxy's configuration.",
                &[Home],
            ),
            Problem::SignInLoop => (
                StatusCode::BAD_REQUEST,
                "sign_in_loop",
                "Signing in does not reach the app",
                "You have signed in for the same app three times within a short time, and it still does not see it, so \
                 we stopped here. Likely causes: the browser blocks or drops cookies of the app's host; the app is \
                 reached over http, where its cookie is never sent; the cookie domain does not cover its host; the \
                 proxy does not pass cookies on; a clock is wrong. Please wait a minute, then open the app again; if \
                 it goes on, tell the operator of this site.",
                &[Account, Home],
            ),
            Problem::TicketRejected => (
                StatusCode::BAD_REQUEST,
                "ticket_rejected",
                "This way into the app is used up",
                "It is good once, for one minute, and only in the browser and on the host it was made for.",
                &[TryAgain, Home],
            ),
            Problem::MembershipUnknown => (
                StatusCode::UNAUTHORIZED,
                "membership_unknown",
                "Discord has to be asked first",
                "You are signed in, but what decides whether you may open this is not known, or not recently enough.",
                &[TryAgain, Home],
            ),
            Problem::NotSignedIn => (
                StatusCode::UNAUTHORIZED,
                "not_signed_in",
                "You are not signed in",
                "Your session has ended, or there was none in this browser.",
                &[SignIn, Home],
            ),
            Problem::BadSignature => (
                StatusCode::UNAUTHORIZED,
                "bad_signature",
                "Discord has not signed this",
                "The signature is missing, does not fit, or is too old. If Discord sends this, the public key that is \
                 configured here is another application's, or a clock is wrong.",
                &[Home],
            ),
            Problem::SignInCancelled => (
                StatusCode::FORBIDDEN,
                "sign_in_cancelled",
                "Sign-in was cancelled",
                "You chose not to authorize this site at Discord.",
                &[SignInAgain, Home],
            ),
            Problem::SignInNotAllowed => (
                StatusCode::FORBIDDEN,
                "sign_in_not_allowed",
                "This Discord account may not sign in here",
                "Discord confirmed who you are, but this site does not let that account in. If you have another \
                 account, use that one; otherwise ask the operator of this site.",
                &[SignInAgain, Home],
            ),
            Problem::CrossSiteRequest => (
                StatusCode::FORBIDDEN,
                "cross_site_request",
                "This request came from another site",
                "Only pages of this site may do that. Please use the buttons of your account page.",
                &[Account, Home],
            ),
            Problem::UntrustedProxy => (
                StatusCode::FORBIDDEN,
                "untrusted_proxy",
                "Only a trusted proxy may ask that",
                "This address answers proxies that the operator of this site has named, and this request did not come \
                 from one of them.",
                &[Home],
            ),
            Problem::NoRule => (
                StatusCode::FORBIDDEN,
                "no_rule",
                "Nobody may open this",
                "No rule of this site says who may open this address, so nobody may. Only its operator can change that.",
                &[Home],
            ),
            Problem::NotAllowed => (
                StatusCode::FORBIDDEN,
                "not_allowed",
                "You may not open this",
                "You are signed in, and the rules of this site do not let this account in here.",
                &[Account, Home],
            ),
            Problem::NotFound => (
                StatusCode::NOT_FOUND,
                "not_found",
                "There is nothing here",
                "No page has this address.",
                &[Home],
            ),
            Problem::NoSuchSession => (
                StatusCode::NOT_FOUND,
                "no_such_session",
                "There is no such session",
                "It has ended already, or it is not one of yours.",
                &[Account, Home],
            ),
            Problem::MethodNotAllowed { .. } => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "This address does not take this method",
                "The `Allow` header names those that it takes.",
                &[Home],
            ),
            Problem::BodyTooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "This request is too large",
                "At most 64 KiB are read.",
                &[Home],
            ),
            Problem::TooManyRequests { .. } => (
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_requests",
                "Too many requests",
                "Please wait a moment, then try again.",
                &[Home],
            ),
            Problem::TooManySignIns { .. } => (
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_sign_ins",
                "Too many sign-ins",
                "This account has signed in very often within the hour. Please wait, then try again.",
                &[SignInAgain, Home],
            ),
            Problem::DiscordClientRejected => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "discord_client_rejected",
                "Sign-in is not set up correctly",
                "Discord refuses the credentials of this site. Only its operator can mend that.",
                &[Home],
            ),
            Problem::Internal => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "Something went wrong here",
                "This is a defect of the server. Please try again; if it happens again, tell the operator the number \
                 of this request.",
                &[TryAgain, Home],
            ),
            Problem::DiscordUnavailable => (
                StatusCode::BAD_GATEWAY,
                "discord_unavailable",
                "Discord does not answer",
                "Discord is slow or down at the moment. Please try again in a minute.",
                &[SignInAgain, Home],
            ),
            Problem::DiscordRateLimited { .. } => (
                StatusCode::SERVICE_UNAVAILABLE,
                "discord_rate_limited",
                "Discord asks us to wait",
                "Too many people are signing in at the moment. Please wait a little, then try again.",
                &[SignInAgain, Home],
            ),
            Problem::LogUnavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "log_unavailable",
                "This cannot be done at the moment",
                "The server cannot write its log at the moment. What you asked for may have taken effect all the same: \
                 please look, and try again later.",
                &[TryAgain, Home],
            ),
            Problem::NotReady => (
                StatusCode::SERVICE_UNAVAILABLE,
                "not_ready",
                "The server is starting",
                "It is still reading its log. Please try again in a moment.",
                &[TryAgain, Home],
            ),
        };
        Facts { status, code, title, detail, ways_on }
    }

    /// Returns the document of RFC 9457; a defect names the request, so that its trace can be found.
    pub fn document(&self, request: RequestId) -> Document {
        let facts = self.facts();
        let instance = match self {
            Problem::Internal => Some(format!("urn:doorbook:request:{request}")),
            _ => None,
        };
        Document {
            kind: format!("urn:doorbook:problem:{}", facts.code),
            title: facts.title,
            status: facts.status.as_u16(),
            detail: facts.detail,
            code: facts.code,
            instance,
            login_url: None,
        }
    }

    /// Returns the seconds to wait, where there are any.
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Problem::TooManyRequests { retry_after }
            | Problem::TooManySignIns { retry_after }
            | Problem::DiscordRateLimited { retry_after } => Some((*retry_after).max(1)),
            _ => None,
        }
    }
}

/// A problem as programs read it.
#[derive(Debug, Serialize)]
pub struct Document {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: &'static str,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    login_url: Option<String>,
}

impl Document {
    /// Returns the status that the answer has.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Says it with another status, to who takes no other.
    pub fn with_status(self, status: StatusCode) -> Document {
        Document { status: status.as_u16(), ..self }
    }

    /// Names where a browser has to be sent for it to go away.
    pub fn with_login(self, login_url: String) -> Document {
        Document { login_url: Some(login_url), ..self }
    }
}

impl From<ExecuteError> for Problem {
    /// What it was is traced here; the browser is told no more than whether trying again may help.
    fn from(error: ExecuteError) -> Problem {
        Problem::from(Arc::new(error))
    }
}

impl From<Arc<ExecuteError>> for Problem {
    fn from(error: Arc<ExecuteError>) -> Problem {
        tracing::warn!(error = &*error as &(dyn std::error::Error + 'static), "a change was not recorded");
        match *error {
            ExecuteError::Encode(_) | ExecuteError::Seal(_) | ExecuteError::Overtaken => Problem::Internal,
            _ => Problem::LogUnavailable,
        }
    }
}

impl From<RefreshError> for Problem {
    fn from(error: RefreshError) -> Problem {
        match error {
            RefreshError::Ended => Problem::NotSignedIn,
            RefreshError::TooSoon { retry_after } => Problem::TooManyRequests { retry_after },
            RefreshError::DiscordUnavailable => Problem::DiscordUnavailable,
            RefreshError::DiscordRateLimited { retry_after } => Problem::DiscordRateLimited { retry_after },
            RefreshError::ClientRejected => Problem::DiscordClientRejected,
            RefreshError::Died => Problem::Internal,
            RefreshError::Execute(error) => error.into(),
        }
    }
}

impl From<SignInError> for Problem {
    fn from(error: SignInError) -> Problem {
        match error {
            SignInError::CodeRejected => Problem::CodeRejected,
            // The callback begins again by itself; where it cannot, this is what to say.
            SignInError::StartAgain => Problem::StateMismatch,
            SignInError::DiscordUnavailable => Problem::DiscordUnavailable,
            SignInError::DiscordRateLimited { retry_after } => Problem::DiscordRateLimited { retry_after },
            SignInError::ClientRejected => Problem::DiscordClientRejected,
            SignInError::NotAllowed(_) => Problem::SignInNotAllowed,
            SignInError::TooMany { retry_after } => Problem::TooManySignIns { retry_after },
            SignInError::Died => Problem::Internal,
            SignInError::Execute(error) => error.into(),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// One of each.
    pub(in crate::http) fn all() -> Vec<Problem> {
        vec![
            Problem::StateMismatch,
            Problem::CodeRejected,
            Problem::AuthorizationFailed,
            Problem::RedirectNotAllowed,
            Problem::NotANavigation,
            Problem::BadRequest,
            Problem::BadForwardedRequest,
            Problem::SignInLoop,
            Problem::TicketRejected,
            Problem::NotSignedIn,
            Problem::MembershipUnknown,
            Problem::BadSignature,
            Problem::SignInCancelled,
            Problem::SignInNotAllowed,
            Problem::CrossSiteRequest,
            Problem::UntrustedProxy,
            Problem::NoRule,
            Problem::NotAllowed,
            Problem::NotFound,
            Problem::NoSuchSession,
            Problem::MethodNotAllowed { allow: "GET, HEAD".into() },
            Problem::BodyTooLarge,
            Problem::TooManyRequests { retry_after: 7 },
            Problem::TooManySignIns { retry_after: 7 },
            Problem::DiscordClientRejected,
            Problem::Internal,
            Problem::DiscordUnavailable,
            Problem::DiscordRateLimited { retry_after: 7 },
            Problem::LogUnavailable,
            Problem::NotReady,
        ]
    }

    #[test]
    fn every_problem_has_a_document() {
        let documents: Vec<_> = all()
            .iter()
            .map(|problem| {
                serde_json::to_string_pretty(&problem.document(RequestId([0xab; 16]))).expect("JSON")
            })
            .collect();
        crate::http::snapshot("http_problem_documents", &documents.join("\n"));
    }

    #[test]
    fn no_two_problems_share_a_code_and_each_has_a_way_on() {
        let mut codes: Vec<_> = all().iter().map(|problem| problem.facts().code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), all().len());
        assert!(all().iter().all(|problem| !problem.facts().ways_on.is_empty()));
    }

    #[test]
    fn a_wait_is_never_nothing() {
        assert_eq!(Problem::TooManyRequests { retry_after: 0 }.retry_after(), Some(1));
        assert_eq!(Problem::NotFound.retry_after(), None);
    }
}
