//! `GET /api/auth/discord/login`: sends the browser to Discord with a new attempt.

use std::sync::Arc;

use super::app_session::Reach;
use super::problem::Problem;
use super::query::Param;
use super::reply::{self, Answer};
use super::request::{self, Request};
use super::{Front, session};
use crate::app::LiveSession;
use crate::discord::AuthorizeRequest;
use crate::domain::login::LoginAttempt;
use crate::domain::target::Target;

/// Begins a sign-in. Nothing is recorded: what strangers do must not grow the log.
pub(super) async fn begin(front: Arc<Front>, request: Request) -> Answer {
    if request::is_background(&request.headers) {
        return Err(Problem::NotANavigation.into());
    }
    let target = target(&front, &request)?.unwrap_or_else(Target::root);
    let session = session::of_request(&front, &request);
    let wants_another = request.query.is("switch", "1");
    // Who is signed in here already and wants to be elsewhere needs no Discord for it.
    if let Some(session) =
        session.as_ref().filter(|_| !wants_another && front.reach(&target) == Reach::Ticket)
    {
        front.count(&request)?;
        if let Some(way) = front.way_by_ticket(&request, session, &target) {
            return Ok(reply::found(&way));
        }
        front.no_loop(session, &target)?;
        return Ok(reply::found(&front.way_to(&target)));
    }
    to_discord(&front, &request, target, session.as_ref().filter(|_| !wants_another))
}

/// Sends the browser to Discord with a new attempt. `session` is the one of a browser that may be going in circles.
pub(super) fn to_discord(
    front: &Front,
    request: &Request,
    target: Target,
    session: Option<&LiveSession>,
) -> Answer {
    front.count(request)?;
    if let Some(session) = session {
        front.no_loop(session, &target)?;
    }
    let now = front.clock.now();
    let attempt = LoginAttempt::begin(&front.entropy.draw(), target, now);
    let asks =
        request.query.is("switch", "1") || request.cookies(front.cookies().ask_name()).next().is_some();
    let location = front.discord.authorize_url(&AuthorizeRequest {
        state: attempt.state.expose(),
        challenge: &attempt.challenge(),
        scopes: &front.app.rules().asked(&front.settings.scopes),
        prompt_none: !asks,
    });
    let cookies = front.attempts().begin(request, &attempt, now);
    Ok(reply::with_cookies(reply::found(&location), cookies))
}

impl Front {
    /// Refuses a login that follows too soon on too many that led to the same host.
    fn no_loop(&self, session: &LiveSession, target: &Target) -> Result<(), Problem> {
        match self.guarded_host(target) {
            Some(host) if self.rounds.is_loop(session.id, &host) => Err(Problem::SignInLoop),
            _ => Ok(()),
        }
    }
}

/// Reads `rd` or `next`: at most one of them, once.
pub(super) fn target(front: &Front, request: &Request) -> Result<Option<Target>, Problem> {
    let raw = match (request.query.get("rd"), request.query.get("next")) {
        (Param::Missing, Param::Missing) => return Ok(None),
        (Param::Once(raw), Param::Missing) | (Param::Missing, Param::Once(raw)) => raw,
        _ => return Err(Problem::RedirectNotAllowed),
    };
    front.targets().read(raw).map(Some).map_err(|_| Problem::RedirectNotAllowed)
}

/// Returns the address of the login that leads to `target` afterwards.
pub(super) fn address(target: Option<&Target>) -> String {
    const LOGIN: &str = "/api/auth/discord/login";
    match target.map(Target::location) {
        None | Some("/") => LOGIN.to_owned(),
        Some(location) => with_rd(LOGIN, location),
    }
}

/// Returns the address of the login as somebody else that leads to `target` afterwards.
pub(super) fn switch(target: &Target) -> String {
    format!("{}&switch=1", with_rd("/api/auth/discord/login", target.location()))
}

/// Returns an address of ours that names where to go on.
pub(super) fn with_rd(path: &str, rd: &str) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("rd", rd).finish();
    format!("{path}?{query}")
}
