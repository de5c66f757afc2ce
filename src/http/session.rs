//! From a session to a cookie value and back: the pair that Passport hides and this project shows.
//!
//! [`serialize_session`] runs once, when somebody has signed in. [`deserialize_session`] runs with every request.
//! The cookie holds nothing but a random secret; everything else is looked up in the state, which is only ever
//! what replaying the log gives. So a session that has ended is over everywhere at once, no cookie can be made up,
//! and who holds a copy of the log holds the SHA-256 of secrets and no session.

use super::Front;
use super::request::Request;
use crate::app::{App, LiveSession};
use crate::domain::event::Origin;
use crate::domain::id::SessionToken;

/// Returns the cookie value of a session that has just been opened: its secret, as base64url.
pub fn serialize_session(token: &SessionToken) -> String {
    token.to_cookie()
}

/// Returns the live session that a cookie value opens, if it opens one, and notes that it was used from `origin`.
///
/// It reads memory only. The value is hashed and the hash is looked up, so there is nothing to compare and
/// nothing to learn from how long it takes.
pub fn deserialize_session(value: &str, app: &App, origin: &Origin) -> Option<LiveSession> {
    app.session(&SessionToken::from_cookie(value)?, origin)
}

/// Returns the session of a request.
///
/// A browser may send several cookies of the name, and not all of them need be ours: exactly one live session
/// counts. Two would mean that somebody else's was slipped in, and nobody can say which.
pub fn of_request(front: &Front, request: &Request) -> Option<LiveSession> {
    let mut found: Option<LiveSession> = None;
    for value in request.cookies(front.cookies().session_name()) {
        let Some(live) = deserialize_session(value, &front.app, &request.client) else { continue };
        match &found {
            Some(other) if other.id != live.id => return None,
            _ => found = Some(live),
        }
    }
    found
}
