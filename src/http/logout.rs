//! `POST /api/auth/logout` and its page: ends this session, and no other.
//!
//! Discord is never called: there, revoking one token kills every token of that person.

use std::sync::Arc;

use http::StatusCode;

use super::reply::{self, Answer, Forms};
use super::request::Request;
use super::{Front, login, pages, session};
use crate::domain::command::Which;
use crate::domain::event::{Cause, Route};
use crate::domain::target::Target;

/// Signs out. Without a session there is nothing to end, and that is fine.
pub(super) async fn end(front: Arc<Front>, request: Request) -> Answer {
    if let Some(session) = session::of_request(&front, &request) {
        let by = front.by(&request, Route::Logout, Some(&session));
        front.app.end_sessions(session.user, Which::One(session.id), Cause::Logout, None, &by).await?;
    }
    let response = if request.is_navigation() {
        reply::see_other(target(&front, &request).as_ref().map_or("/?done=signed-out", Target::location))
    } else {
        reply::empty(StatusCode::NO_CONTENT)
    };
    Ok(reply::with_cookies(response, front.signed_out()))
}

/// The page with the one button.
pub(super) async fn page(front: Arc<Front>, request: Request) -> Answer {
    let person = front.person(&request);
    let target = target(&front, &request);
    let forms = match &target {
        Some(Target::Elsewhere(..)) => Forms::Elsewhere,
        Some(Target::Here(_)) | None => Forms::Here,
    };
    let markup = pages::logout::page(person.as_ref(), target.as_ref());
    Ok(reply::page(&front.settings, StatusCode::OK, markup, forms))
}

/// Returns where to go afterwards. A bad address must not keep anybody signed in: it counts as none.
fn target(front: &Front, request: &Request) -> Option<Target> {
    login::target(front, request).ok().flatten()
}
