//! `/` and `/account`: who is signed in, and what they can do about it.

use std::sync::Arc;

use http::StatusCode;

use super::problem::Problem;
use super::query::Param;
use super::reply::{self, Answer, Forms, Refused};
use super::request::Request;
use super::{Front, device, pages, session};
use crate::domain::target::Target;

/// The first page.
pub(super) async fn home(front: Arc<Front>, request: Request) -> Answer {
    let person = front.person(&request);
    let markup = pages::home::page(person.as_ref(), notice(&request));
    Ok(reply::page(&front.settings, StatusCode::OK, markup, Forms::Here))
}

/// The profile and the sessions of whoever asks.
pub(super) async fn account(front: Arc<Front>, request: Request) -> Answer {
    let Some((current, person)) = session::of_request(&front, &request).zip(front.person(&request)) else {
        let target = front.targets().read("/account").unwrap_or_else(|_| Target::root());
        return Err(Refused::from(Problem::NotSignedIn).back_to(Some(target)));
    };
    let sessions = front.app.sessions_of(current.user).into_iter().map(|live| {
        let origin = front.app.origin_of(live.id).unwrap_or_default();
        pages::account::Session {
            id: live.id,
            device: device::describe(origin.user_agent.as_deref()),
            address: origin.ip,
            opened_at: live.opened_at,
            last_seen_at: live.last_seen_at,
            expires_at: live.expires_at,
            is_current: live.id == current.id,
        }
    });
    let markup = pages::account::page(&person, &sessions.collect::<Vec<_>>(), notice(&request));
    Ok(reply::page(&front.settings, StatusCode::OK, markup, Forms::Here))
}

/// Returns what has just been done, as the address says; only our own words are shown.
fn notice(request: &Request) -> Option<&'static str> {
    if request.query.is("signin", "cancelled") {
        return Some("Sign-in was cancelled. Nothing has changed.");
    }
    let Param::Once(done) = request.query.get("done") else { return None };
    Some(match done {
        "signed-out" => "You are signed out.",
        "signed-out-everywhere" => "You are signed out everywhere.",
        "disconnected" => "Discord is disconnected, and all your sessions have ended.",
        "disconnecting" => {
            "All your sessions have ended. Discord does not answer at the moment; we go on trying until it confirms."
        }
        "refreshed" => "Refreshed at Discord just now.",
        "ended" => "That session has ended.",
        _ => return None,
    })
}
