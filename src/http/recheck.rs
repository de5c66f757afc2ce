//! `/auth/recheck` and `/auth/refused`: somebody who is signed in may not open something, here on our own host.
//!
//! The first asks Discord again and, where the rules let them in now, sends them on. The second only says so.

use std::sync::Arc;

use http::StatusCode;
use warp::reply::Response;

use super::access::{self, Access, Refusal};
use super::problem::Problem;
use super::reply::{self, Answer, Forms};
use super::request::{self, Request};
use super::{Front, login, pages, session};
use crate::app::LiveSession;
use crate::domain::access::Wanted;
use crate::domain::event::Route;
use crate::domain::path::RequestPath;
use crate::domain::target::Target;
use crate::grants::{LastAsked, Rechecked};

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
        Access::NotAllowed(refusal) => {
            let notice = asked(front.grants.last_asked(session.user));
            Ok(page(&front, &request, &refusal, &target, Some(&notice)))
        }
        Access::NoRule { .. } => Err(Problem::NoRule.into()),
        Access::Unknown(_) => Err(Problem::DiscordUnavailable.into()),
        // Whose Discord id nobody knows any more is nobody.
        Access::NotSignedIn => login::to_discord(&front, &request, target, None),
    }
}

/// Says whether Discord was asked: a page that comes again looks like one for which nothing was done.
fn asked(last: LastAsked) -> String {
    match last {
        LastAsked::Told { ago, .. } if ago.as_secs() == 0 => "Discord was asked just now.".to_owned(),
        LastAsked::Told { ago, again_in } => {
            let wait = again_in.as_secs() + u64::from(again_in.subsec_nanos() > 0);
            let (ago, wait) = (seconds(ago.as_secs()), seconds(wait));
            format!("Discord was asked {ago} ago; it can be asked again in {wait}.")
        }
        LastAsked::Untold => {
            "Discord does not answer at the moment. Please check again in a minute.".to_owned()
        }
        LastAsked::Nothing => "Nothing that decides this is asked at Discord.".to_owned(),
    }
}

fn seconds(number: u64) -> String {
    if number == 1 { "1 second".to_owned() } else { format!("{number} seconds") }
}

/// Says whether somebody may open something, and changes nothing.
pub(super) async fn refused(front: Arc<Front>, request: Request) -> Answer {
    if !request.is_navigation() {
        return Err(Problem::NotAllowed.into());
    }
    let target = login::target(&front, &request)?.unwrap_or_else(Target::root);
    let access = session::of_request(&front, &request)
        .map_or(Access::NotSignedIn, |session| decide(&front, &request, &session, &target));
    let (person, rd) = (front.person(&request), target.location());
    let (status, markup) = match access {
        Access::NotAllowed(refusal) => return Ok(page(&front, &request, &refusal, &target, None)),
        Access::NoRule { .. } => return Err(Problem::NoRule.into()),
        Access::Granted => (StatusCode::OK, pages::refused::open(person.as_ref(), rd)),
        Access::Unknown(_) => (StatusCode::FORBIDDEN, pages::refused::unknown(person.as_ref(), rd)),
        Access::NotSignedIn => (StatusCode::FORBIDDEN, pages::refused::not_signed_in(rd)),
    };
    Ok(reply::page(&front.settings, status, markup, Forms::Here))
}

/// Asks the rules for a `GET` of where somebody wants to go.
fn decide(front: &Front, request: &Request, session: &LiveSession, target: &Target) -> Access {
    let path = RequestPath::parse(target.path()).ok();
    let Some((host, path)) = front.guarded_host(target).zip(path) else { return Access::Granted };
    let rules = front.rules();
    let wanted =
        Wanted { host: &host, path: &path, method: "GET", address: request.client.ip, is_preflight: false };
    let standing = front.grants.standing(session.user);
    access::decide(&rules, &wanted, standing.as_ref())
}

fn page(
    front: &Front,
    request: &Request,
    refusal: &Refusal,
    target: &Target,
    notice: Option<&str>,
) -> Response {
    let person = front.person(request);
    let refused =
        pages::refused::Refused { home: "", person: person.as_ref(), refusal, rd: target.location(), notice };
    reply::page(&front.settings, StatusCode::FORBIDDEN, pages::refused::page(&refused), Forms::Here)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_is_said_how_long_ago_discord_was_asked() {
        let said = |ago: u64| {
            let (ago, stands) = (Duration::from_millis(ago), Duration::from_secs(10));
            asked(LastAsked::Told { ago, again_in: stands.saturating_sub(ago) })
        };
        assert_eq!(said(999), "Discord was asked just now.");
        let four = "Discord was asked 4 seconds ago; it can be asked again in 6 seconds.";
        assert_eq!((said(4_000).as_str(), said(4_500).as_str()), (four, four));
        assert_eq!(said(9_001), "Discord was asked 9 seconds ago; it can be asked again in 1 second.");
    }
}
