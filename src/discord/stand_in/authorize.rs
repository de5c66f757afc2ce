//! The consent page: may this application know who you are?
//!
//! What a person decides here is the same whether a browser posts the form or a test plays the person, so both go
//! through [`Request::read`] and [`press`].

use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderName, SET_COOKIE};
use http::{Method, StatusCode};

use super::call::Call;
use super::codes::Code;
use super::reply::Reply;
use super::{Application, Shared, page};
use crate::domain::id::DiscordId;

/// The cookie that remembers who is signed in at the stand-in.
///
/// It is the plain id: whoever can forge it could as well pick that person on the page.
const COOKIE: &str = "discord_stand_in_person";

/// The scopes that exist.
const SCOPES: &[&str] = &[
    "activities.read",
    "activities.write",
    "applications.builds.read",
    "applications.builds.upload",
    "applications.commands",
    "applications.commands.permissions.update",
    "applications.commands.update",
    "applications.entitlements",
    "applications.store.update",
    "bot",
    "connections",
    "dm_channels.read",
    "email",
    "gdm.join",
    "guilds",
    "guilds.join",
    "guilds.members.read",
    "identify",
    "identify.premium",
    "messages.read",
    "openid",
    "relationships.read",
    "role_connections.write",
    "rpc",
    "rpc.activities.write",
    "rpc.notifications.read",
    "rpc.voice.read",
    "rpc.voice.write",
    "voice",
    "webhook.incoming",
];

/// What an application asks of a person.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub application: Application,
    pub redirect_uri: String,
    /// Whether the redirect URI was given, and not taken from the application.
    redirect_given: bool,
    pub scopes: Vec<String>,
    state: Option<String>,
    pub may_skip: bool,
    challenge: Option<String>,
}

/// Why a request is not put before a person, or what a refusal leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// An error page of Discord's own: the browser goes nowhere.
    Page { title: &'static str, detail: &'static str },
    /// The browser goes back with an error.
    Redirect(String),
}

/// Answers a browser.
pub(super) fn answer(shared: &Arc<Shared>, call: &Call) -> Reply {
    let request = match Request::read(shared, &call.query) {
        Ok(request) => request,
        Err(refusal) => return refused(refusal),
    };
    let remembered = call.cookie(COOKIE).and_then(|id| id.parse::<DiscordId>().ok());
    match call.method {
        Method::GET | Method::HEAD => {
            if let Some(person) = remembered
                && skips(shared, &request, person)
            {
                return pressed(press(shared, &request, person, true), StatusCode::FOUND);
            }
            let action = format!("{}?{}", call.path, call.query);
            page::consent(&request, &shared.world().people, remembered, &action)
        }
        Method::POST => {
            // A page of another site must not consent in a person's name.
            let site = call.header(&HeaderName::from_static("sec-fetch-site"));
            if site.is_some_and(|site| site != "same-origin") {
                return page::error(
                    StatusCode::FORBIDDEN,
                    "Not from here",
                    "This form was sent from another site.",
                );
            }
            let person = call.field("user").and_then(|id| id.parse::<DiscordId>().ok());
            let approve = match call.field("decision").as_deref() {
                Some("authorize") => true,
                Some("cancel") => false,
                _ => {
                    return page::error(
                        StatusCode::BAD_REQUEST,
                        "Nothing decided",
                        "Press one of the buttons.",
                    );
                }
            };
            let Some(person) = person.or((!approve).then_some(DiscordId(0))) else {
                return page::error(
                    StatusCode::BAD_REQUEST,
                    "Nobody picked",
                    "Pick who you are, then decide.",
                );
            };
            let reply = pressed(press(shared, &request, person, approve), StatusCode::SEE_OTHER);
            if approve && reply.status == StatusCode::SEE_OTHER {
                let days = Duration::from_secs(30 * 86_400).as_secs();
                let cookie = format!("{COOKIE}={person}; HttpOnly; SameSite=Lax; Path=/; Max-Age={days}");
                return reply.with_text(SET_COOKIE.as_str(), &cookie);
            }
            reply
        }
        _ => Reply::method_not_allowed("GET, HEAD, POST"),
    }
}

/// Returns whether the page need not be shown: asked for, and everything was granted before.
pub(super) fn skips(shared: &Shared, request: &Request, person: DiscordId) -> bool {
    let world = shared.world();
    let parties = (request.application.client_id, person);
    request.may_skip && world.person(person).is_some() && world.tokens.covers(parties, &request.scopes)
}

/// Returns where the browser goes once a person has decided.
pub(super) fn press(
    shared: &Shared,
    request: &Request,
    person: DiscordId,
    approve: bool,
) -> Result<String, Refusal> {
    if !approve {
        if !request.redirect_given {
            return Err(Refusal::Page {
                title: "Cancelled",
                detail: "You refused; nobody asked to be told.",
            });
        }
        const DENIED: &str = "The resource owner or authorization server denied the request";
        return Err(request.error("access_denied", DENIED));
    }
    let text = shared.alphanumeric(30);
    let mut world = shared.world();
    if world.person(person).is_none() {
        return Err(Refusal::Page { title: "Unknown person", detail: "Nobody has this id." });
    }
    if request.scopes.iter().any(|scope| world.switches.denied_scopes.contains(scope)) {
        return Err(request.error("invalid_scope", "The requested scope is invalid, unknown, or malformed."));
    }
    world.tokens.grant((request.application.client_id, person), &request.scopes);
    let code = Code {
        application: request.application.client_id,
        person,
        redirect_uri: request.redirect_uri.clone(),
        scopes: request.scopes.clone(),
        challenge: request.challenge.clone(),
        issued_at: shared.clock.now(),
        used: false,
    };
    world.codes.issue(&text, code);
    Ok(request.callback(&[("code", &text)]))
}

impl Request {
    /// Reads the query of an authorize request, and refuses what Discord refuses.
    pub(super) fn read(shared: &Shared, query: &str) -> Result<Request, Refusal> {
        let parameters: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).collect();
        let all = |name: &str| {
            parameters
                .iter()
                .filter(|(key, _)| key == name)
                .map(|(_, value)| value.to_string())
                .collect::<Vec<_>>()
        };
        for name in
            ["client_id", "redirect_uri", "response_type", "scope", "state", "prompt", "code_challenge"]
        {
            if all(name).len() > 1 {
                return Err(Refusal::Page {
                    title: "Invalid request",
                    detail: "A parameter stands there twice.",
                });
            }
        }
        let one = |name: &str| all(name).pop().filter(|value| !value.is_empty());

        let application = one("client_id").and_then(|id| shared.application(&id).cloned());
        let application = application
            .ok_or(Refusal::Page { title: "Unknown Application", detail: "No application has this id." })?;
        let given = one("redirect_uri");
        let strict = shared.world().switches.require_redirect_uri;
        let known = match &given {
            Some(uri) => application.redirect_uris.contains(uri),
            None => !strict,
        };
        let first = application.redirect_uris.first().cloned();
        let (true, Some(redirect_uri)) = (known, given.clone().or(first)) else {
            return Err(Refusal::Page {
                title: "Invalid OAuth2 redirect_uri",
                detail: "It is not, byte for byte, one that is registered for this application.",
            });
        };
        let request = Request {
            application,
            redirect_uri,
            redirect_given: given.is_some(),
            scopes: scopes(one("scope").as_deref().unwrap_or_default()),
            // An empty state is echoed as well: only an absent one is not.
            state: all("state").pop(),
            may_skip: one("prompt").as_deref() == Some("none"),
            challenge: one("code_challenge"),
        };
        match one("response_type").as_deref() {
            Some("code") => {}
            Some(_) => return Err(request.error("unsupported_response_type", "")),
            None => return Err(request.error("invalid_request", "Missing response_type parameter.")),
        }
        if request.scopes.is_empty() || request.scopes.iter().any(|scope| !SCOPES.contains(&scope.as_str())) {
            return Err(Refusal::Page {
                title: "Invalid scope",
                detail: "No scope is asked for, or one that does not exist.",
            });
        }
        request.check_pkce(one("code_challenge_method").as_deref())?;
        Ok(request)
    }

    fn check_pkce(&self, method: Option<&str>) -> Result<(), Refusal> {
        let problem = match (self.challenge.as_deref(), method) {
            (None, None) => return Ok(()),
            (None, Some(_)) => "Missing \"code_challenge\"",
            (Some(challenge), Some("S256")) if is_challenge(challenge) => return Ok(()),
            (Some(_), Some("S256")) => "Invalid \"code_challenge\"",
            (Some(_), _) => "Unsupported \"code_challenge_method\"",
        };
        Err(self.error("invalid_request", problem))
    }

    fn error(&self, error: &str, description: &str) -> Refusal {
        let mut parameters = vec![("error", error)];
        if !description.is_empty() {
            parameters.push(("error_description", description));
        }
        Refusal::Redirect(self.callback(&parameters))
    }

    fn callback(&self, parameters: &[(&str, &str)]) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(parameters);
        if let Some(state) = &self.state {
            query.append_pair("state", state);
        }
        let mark = if self.redirect_uri.contains('?') { '&' } else { '?' };
        format!("{}{mark}{}", self.redirect_uri, query.finish())
    }
}

/// Splits a list of scopes; a scope named twice counts once.
pub(super) fn scopes(text: &str) -> Vec<String> {
    let mut scopes: Vec<String> = Vec::new();
    for scope in text.split(' ').filter(|scope| !scope.is_empty()) {
        if !scopes.iter().any(|known| known == scope) {
            scopes.push(scope.to_owned());
        }
    }
    scopes
}

fn is_challenge(text: &str) -> bool {
    text.len() == 43 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

fn pressed(outcome: Result<String, Refusal>, status: StatusCode) -> Reply {
    match outcome {
        Ok(location) => Reply::redirect(status, &location).named("authorized"),
        Err(Refusal::Redirect(location)) => Reply::redirect(status, &location).named("refused"),
        Err(refusal) => refused(refusal),
    }
}

fn refused(refusal: Refusal) -> Reply {
    match refusal {
        Refusal::Page { title, detail } => page::error(StatusCode::BAD_REQUEST, title, detail),
        Refusal::Redirect(location) => Reply::redirect(StatusCode::FOUND, &location).named("refused"),
    }
}
