//! `POST /api/auth/refresh`: new tokens from Discord, now.

use std::sync::Arc;

use super::reply::{self, Answer};
use super::request::Request;
use super::{Front, user};
use crate::domain::event::Route;
use crate::grants::RefreshError;

/// Refreshes the grant of whoever asks.
pub(super) async fn now(front: Arc<Front>, request: Request) -> Answer {
    let session = front.signed_in(&request)?;
    let by = front.by(&request, Route::Refresh, Some(&session));
    match front.grants.refresh_now(session.user, &by).await {
        Ok(()) => {}
        Err(RefreshError::Ended) if front.app.session_by_id(session.id).is_none() => {
            return Err(user::ended(&front));
        }
        Err(error) => return Err(error.into()),
    }
    let Some(session) = front.app.session_by_id(session.id) else { return Err(user::ended(&front)) };
    if request.is_navigation() {
        // Whoever pressed the button wants to see what Discord says of them now.
        front.grants.fresh_profile(session.user, &by).await;
        return Ok(reply::see_other("/account?done=refreshed"));
    }
    Ok(user::document(&front, &request, &session, false)?)
}
