//! `/auth/recheck` and `/auth/refused`: somebody who is signed in may not open something, here on our own host.
//!
//! The first asks Discord again and, where the rules let them in now, sends them on. The second only says so.

use std::sync::Arc;

use http::StatusCode;
use url::Url;

use super::access::{self, Access, Refusal};
use super::problem::Problem;
use super::reply::{self, Answer, Forms};
use super::request::{self, Request};
use super::{Front, login, pages, session};
use crate::app::LiveSession;
use crate::domain::access::Wanted;
use crate::domain::event::Route;
use crate::domain::host::Host;
use crate::domain::path::RequestPath;
use crate::domain::target::Target;
use crate::grants::Rechecked;

/// Asks Discord for what the rules ask about, then the rules.
pub(super) async fn recheck(front: Arc<Front>, request: Request) -> Answer {
    if request::is_background(&request.headers) {
        return Err(Problem::NotANavigation.into());
    }
    let target = login::target(&front, &request)?.unwrap_or_else(Target::root);
    let Some(session) = session::of_request(&front, &request) else {
        return login::to_discord(&front, &request, target, None);
    };
    let by = front.by(&request, Route::ForwardAuth, Some(&session));
    match front.grants.recheck(session.user, &by).await {
        Rechecked::Done => {}
        Rechecked::ScopeMissing => return login::to_discord(&front, &request, target, Some(&session)),
        Rechecked::Ended => {
            let login = login::to_discord(&front, &request, target, None)?;
            return Ok(reply::with_cookies(login, front.session_over()));
        }
    }
    // Looked at again: it may have ended while Discord was asked.
    let Some(session) = front.app.session_by_id(session.id) else {
        return login::to_discord(&front, &request, target, None);
    };
    match decide(&front, &request, &session, &target) {
        Access::Granted => {
            let way = reply::see_other(&front.way_to(&target));
            Ok(reply::with_cookies(way, front.app_cookie(session.id)))
        }
        Access::NotAllowed(refusal) => Ok(page(&front, &request, &refusal, &target)),
        Access::NoRule { .. } => Err(Problem::NoRule.into()),
        Access::Unknown(_) => Err(Problem::DiscordUnavailable.into()),
        // Whose Discord id nobody knows any more is nobody.
        Access::NotSignedIn => login::to_discord(&front, &request, target, None),
    }
}

/// Says that somebody may not open something, and changes nothing.
pub(super) async fn refused(front: Arc<Front>, request: Request) -> Answer {
    if !request.is_navigation() {
        return Err(Problem::NotAllowed.into());
    }
    let target = login::target(&front, &request)?.unwrap_or_else(Target::root);
    let refusal = session::of_request(&front, &request)
        .map(|session| decide(&front, &request, &session, &target))
        .and_then(|access| match access {
            Access::NotAllowed(refusal) => Some(refusal),
            _ => None,
        });
    Ok(page(&front, &request, &refusal.unwrap_or_default(), &target))
}

/// Asks the rules for a `GET` of where somebody wants to go.
fn decide(front: &Front, request: &Request, session: &LiveSession, target: &Target) -> Access {
    let place = front.place(target);
    let host = place.as_ref().and_then(Url::host_str).and_then(|name| Host::parse(name).ok());
    let path = place.as_ref().and_then(|url| RequestPath::parse(url.path()).ok());
    let rules = front.rules();
    let Some((host, path)) = host.zip(path).filter(|(host, _)| rules.guards(host)) else {
        return Access::Granted;
    };
    let wanted =
        Wanted { host: &host, path: &path, method: "GET", address: request.client.ip, is_preflight: false };
    let standing = front.grants.standing(session.user);
    access::decide(&rules, &wanted, standing.as_ref())
}

fn page(front: &Front, request: &Request, refusal: &Refusal, target: &Target) -> warp::reply::Response {
    let person = front.person(request);
    let refused = pages::refused::Refused {
        home: "",
        person: person.as_ref(),
        groups: &refusal.groups,
        rd: target.location(),
    };
    reply::page(&front.settings, StatusCode::FORBIDDEN, pages::refused::page(&refused), Forms::Here)
}
