//! `POST /api/auth/revoke`: disconnects Discord, and ends every session of the user.

use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;

use super::problem::Problem;
use super::reply::{self, Answer, Forms};
use super::request::Request;
use super::{Front, pages};
use crate::domain::event::{RevokedBy, Route};

/// What a revocation did.
#[derive(Debug, Serialize)]
struct Done {
    revoked: Revoked,
    sessions_ended: u32,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Revoked {
    Confirmed(bool),
    Pending(&'static str),
}

/// Revokes the grant of whoever asks.
pub(super) async fn revoke(front: Arc<Front>, request: Request) -> Answer {
    let session = front.signed_in(&request)?;
    let by = front.by(&request, Route::Revoke, Some(&session));
    let done = front.grants.revoke(session.user, RevokedBy::User, &by).await?;
    let response = match (request.is_navigation(), done.confirmed) {
        (true, true) => reply::see_other("/?done=disconnected"),
        (true, false) => reply::see_other("/?done=disconnecting"),
        (false, confirmed) => {
            let (status, revoked) = if confirmed {
                (StatusCode::OK, Revoked::Confirmed(true))
            } else {
                (StatusCode::ACCEPTED, Revoked::Pending("pending"))
            };
            reply::json(status, &Done { revoked, sessions_ended: done.sessions_ended })
        }
    };
    Ok(reply::with_cookies(response, front.signed_out()))
}

/// `GET`, for programs that expect it: a page for a person, and for a script of this site the same as `POST`.
pub(super) async fn get(front: Arc<Front>, request: Request) -> Answer {
    if request.is_navigation() || request.is_prefetch() {
        let markup = pages::revoke::page(front.person(&request).as_ref());
        return Ok(reply::page(&front.settings, StatusCode::OK, markup, Forms::Here));
    }
    if !request.is_deliberate(front.settings.site()) {
        return Err(Problem::CrossSiteRequest.into());
    }
    revoke(front, request).await
}
