//! `GET /api/auth/discord/login`: sends the browser to Discord with a new attempt.

use std::sync::Arc;

use super::Front;
use super::problem::Problem;
use super::query::Param;
use super::reply::{self, Answer};
use super::request::{self, Request};
use crate::discord::AuthorizeRequest;
use crate::domain::login::LoginAttempt;
use crate::domain::target::Target;

/// Begins a sign-in. Nothing is recorded: what strangers do must not grow the log.
pub(super) async fn begin(front: Arc<Front>, request: Request) -> Answer {
    let is_fetch = request::fetch_mode(&request.headers).is_some_and(|mode| mode != "navigate");
    if is_fetch || request.is_prefetch() {
        return Err(Problem::NotANavigation.into());
    }
    let target = target(&front, &request)?.unwrap_or_else(Target::root);
    front.count(&request)?;

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
    let cookies = front.attempts.begin(&request, &attempt, now);
    Ok(reply::with_cookies(reply::found(&location), cookies))
}

/// Reads `rd` or `next`: at most one of them, once.
pub(super) fn target(front: &Front, request: &Request) -> Result<Option<Target>, Problem> {
    let raw = match (request.query.get("rd"), request.query.get("next")) {
        (Param::Missing, Param::Missing) => return Ok(None),
        (Param::Once(raw), Param::Missing) | (Param::Missing, Param::Once(raw)) => raw,
        _ => return Err(Problem::RedirectNotAllowed),
    };
    front.attempts.targets().read(raw).map(Some).map_err(|_| Problem::RedirectNotAllowed)
}

/// Returns the address of the login that leads to `target` afterwards.
pub(super) fn address(target: Option<&Target>) -> String {
    const LOGIN: &str = "/api/auth/discord/login";
    match target.map(Target::location) {
        None | Some("/") => LOGIN.to_owned(),
        Some(location) => {
            let query =
                url::form_urlencoded::Serializer::new(String::new()).append_pair("rd", location).finish();
            format!("{LOGIN}?{query}")
        }
    }
}
