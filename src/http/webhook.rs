//! `POST /discord/webhook`: Discord says that somebody has removed the application from their account.
//!
//! It is the one route that reads a body, and the one that believes nobody but a signature: not the address, not the
//! origin, not a cookie.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, StatusCode};

use super::Front;
use super::problem::Problem;
use super::reply::{self, Answer};
use super::request::{Request, Single, single};
use crate::discord::webhook::{Notice, PublicKey, read};
use crate::domain::event::{ActorKind, Route};
use crate::domain::record::Actor;
use crate::domain::time::Timestamp;

/// How far the time of a signature may be from ours.
const APART: Duration = Duration::from_secs(15 * 60);

/// Discord waits for three seconds, and then asks again.
const PATIENCE: Duration = Duration::from_millis(2_500);

/// Takes what Discord says.
pub(super) async fn take(front: Arc<Front>, request: Request, body: Bytes) -> Answer {
    let Some(key) = &front.settings.discord_key else { return Err(Problem::NotFound.into()) };
    let now = front.clock.now();
    let signed_at = signed_at(key, &request.headers, &body)
        .filter(|at| now.since(*at) <= APART && at.since(now) <= APART)
        .ok_or(Problem::BadSignature)?;
    match read(&body) {
        Some(Notice::Deauthorized { application, user, at })
            if application == front.discord.application() =>
        {
            let actor = Actor { kind: ActorKind::Discord, sub: None, via: None };
            let mut by = front.by(&request, Route::Webhook, None);
            by.actor = actor;
            let ended = tokio::select! {
                biased;
                ended = front.grants.deauthorized(user, at.unwrap_or(signed_at), &by) => ended?,
                // What was begun goes on; the next try finds it done.
                () = front.clock.sleep(PATIENCE) => return Err(Problem::LogUnavailable.into()),
            };
            tracing::info!(request = %request.id, sessions_ended = ended, "Discord says that somebody removed the application");
        }
        Some(Notice::Deauthorized { .. }) => {
            tracing::warn!(request = %request.id, "Discord tells us of another application; nothing was done");
        }
        Some(Notice::Ping) => {
            tracing::info!(request = %request.id, "Discord asks whether the webhook is here")
        }
        Some(Notice::Other) => {
            tracing::debug!(request = %request.id, "Discord tells us something we did not ask for");
        }
        // The next try would bring the same.
        None => tracing::warn!(request = %request.id, "Discord tells us something that cannot be read"),
    }
    let mut response = reply::empty(StatusCode::NO_CONTENT);
    // Discord wants one, although there is no content.
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// Returns when the request was signed, if Discord has signed it.
fn signed_at(key: &PublicKey, headers: &HeaderMap, body: &[u8]) -> Option<Timestamp> {
    let Single::Once(signature) = single(headers, "x-signature-ed25519") else { return None };
    let Single::Once(timestamp) = single(headers, "x-signature-timestamp") else { return None };
    let is_number = timestamp.len() <= 12 && timestamp.bytes().all(|b| b.is_ascii_digit());
    let seconds: i64 = timestamp.parse().ok().filter(|_| is_number)?;
    key.has_signed(signature, timestamp, body).then_some(Timestamp(seconds * 1_000))
}
