//! `/api/auth/sessions`: the sessions of whoever asks, to see and to end.

use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;

use super::Front;
use super::problem::Problem;
use super::reply::{self, Answer};
use super::request::Request;
use crate::app::LiveSession;
use crate::domain::command::Which;
use crate::domain::event::{Cause, Route};
use crate::domain::id::SessionId;

#[derive(Debug, Serialize)]
struct List {
    sessions: Vec<Listed>,
}

#[derive(Debug, Serialize)]
struct Listed {
    id: String,
    opened_at: String,
    last_seen_at: String,
    expires_at: String,
    ip: Option<String>,
    user_agent: Option<String>,
    current: bool,
}

#[derive(Debug, Serialize)]
struct Ended {
    sessions_ended: u32,
}

/// Lists them, newest first.
pub(super) async fn list(front: Arc<Front>, request: Request) -> Answer {
    let current = front.signed_in(&request)?;
    let listed = |live: LiveSession| {
        let origin = front.app.origin_of(live.id).unwrap_or_default();
        Listed {
            id: live.id.to_string(),
            opened_at: live.opened_at.to_string(),
            last_seen_at: live.last_seen_at.to_string(),
            expires_at: live.expires_at.to_string(),
            ip: origin.ip.map(|ip| ip.to_string()),
            user_agent: origin.user_agent,
            current: live.id == current.id,
        }
    };
    let sessions = front.app.sessions_of(current.user).into_iter().map(listed).collect();
    Ok(reply::json(StatusCode::OK, &List { sessions }))
}

/// Ends one of them. One of another user is none.
pub(super) async fn end_one(front: Arc<Front>, request: Request) -> Answer {
    let current = front.signed_in(&request)?;
    let wanted = request.params.first().and_then(|id| id.parse::<SessionId>().ok());
    let sessions = front.app.sessions_of(current.user);
    let id = sessions.into_iter().map(|live| live.id).find(|id| Some(*id) == wanted);
    let id = id.ok_or(Problem::NoSuchSession)?;

    let is_own = id == current.id;
    let cause = if is_own { Cause::Logout } else { Cause::OtherDevice };
    let by = front.by(&request, Route::Sessions, Some(&current));
    if front.app.end_sessions(current.user, Which::One(id), cause, None, &by).await? == 0 {
        // Somebody was faster.
        return Err(Problem::NoSuchSession.into());
    }
    let response = match (request.is_navigation(), is_own) {
        (false, _) => reply::empty(StatusCode::NO_CONTENT),
        (true, true) => reply::see_other("/?done=signed-out"),
        (true, false) => reply::see_other("/account?done=ended"),
    };
    let cookies = if is_own { front.signed_out() } else { Vec::new() };
    Ok(reply::with_cookies(response, cookies))
}

/// Ends all of them, this one included.
pub(super) async fn end_all(front: Arc<Front>, request: Request) -> Answer {
    let current = front.signed_in(&request)?;
    let by = front.by(&request, Route::Sessions, Some(&current));
    let sessions_ended =
        front.app.end_sessions(current.user, Which::All, Cause::OtherDevice, None, &by).await?;
    let response = if request.is_navigation() {
        reply::see_other("/?done=signed-out-everywhere")
    } else {
        reply::json(StatusCode::OK, &Ended { sessions_ended })
    };
    Ok(reply::with_cookies(response, front.signed_out()))
}
