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
            if call.method == Method::GET
                && let Some(person) = remembered
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

#[cfg(test)]
mod tests {
    use super::super::testing::{
        Answer, CHALLENGE, CLIENT, MARISOL, OTHER_CLIENT, OTHER_REDIRECT, QUIETFOX, REDIRECT, Stage,
        parameter,
    };
    use super::*;

    async fn open(stage: &Stage, query: &str) -> Answer {
        let request = stage.http.get(stage.url(&format!("/oauth2/authorize?{query}")));
        Answer::of(request.send().await.expect("an answer")).await
    }

    async fn post(stage: &Stage, query: &str, fields: &[(&str, &str)], site: &str) -> Answer {
        let request = stage.http.post(stage.url(&format!("/oauth2/authorize?{query}"))).form(fields);
        Answer::of(request.header("sec-fetch-site", site).send().await.expect("an answer")).await
    }

    fn is_error_page(answer: &Answer, title: &str) {
        assert_eq!((answer.status, answer.header("location")), (400, ""), "{answer:?}");
        assert!(answer.text.contains(title), "{}", answer.text);
    }

    /// Row 1.
    #[tokio::test]
    async fn an_unknown_application_gets_an_error_page() {
        let stage = Stage::new().await;
        let query = Stage::query("identify", "");
        is_error_page(&open(&stage, &query.replace(CLIENT, "42")).await, "Unknown Application");
        is_error_page(&open(&stage, &query.replace("client_id", "id")).await, "Unknown Application");
        is_error_page(&open(&stage, &format!("{query}&client_id={CLIENT}")).await, "Invalid request");
    }

    /// Row 2.
    #[tokio::test]
    async fn a_redirect_uri_is_compared_byte_by_byte() {
        let stage = Stage::new().await;
        for wrong in [
            "http://localhost:3001/api/auth/discord/redirect/",
            "http://localhost:3001/api/auth/discord/Redirect",
            "https://localhost:3001/api/auth/discord/redirect",
            "http://127.0.0.1:3001/api/auth/discord/redirect",
            "http://localhost/api/auth/discord/redirect",
            "http://localhost:3001/api/auth/discord/redirect?a=b",
            "https://evil.example/",
        ] {
            let wrong: String = url::form_urlencoded::byte_serialize(wrong.as_bytes()).collect();
            let query = format!("response_type=code&client_id={CLIENT}&scope=identify&redirect_uri={wrong}");
            is_error_page(&open(&stage, &query).await, "Invalid OAuth2 redirect_uri");
        }
        assert_eq!(open(&stage, &Stage::query("identify", "")).await.status, 200);
        let old =
            stage.http.get(stage.url(&format!("/api/oauth2/authorize?{}", Stage::query("identify", ""))));
        assert_eq!(old.send().await.expect("an answer").status().as_u16(), 200);
    }

    /// Row 3.
    #[tokio::test]
    async fn without_a_redirect_uri_the_first_is_used_and_a_cancel_goes_nowhere() {
        let stage = Stage::new().await;
        let query = format!("response_type=code&client_id={CLIENT}&scope=identify");
        let played = stage.stand_in.control().authorize(&query, MARISOL, true).await.expect("authorized");
        assert!(played.location.starts_with(&format!("{REDIRECT}?code=")));
        is_error_page(&post(&stage, &query, &[("decision", "cancel")], "same-origin").await, "Cancelled");
        stage.stand_in.control().change_switches(|switches| switches.require_redirect_uri = true);
        is_error_page(&open(&stage, &query).await, "Invalid OAuth2 redirect_uri");
    }

    /// Row 4.
    #[tokio::test]
    async fn only_the_response_type_code_is_known() {
        let stage = Stage::new().await;
        let query = Stage::query("identify", "&state=s");
        let token = open(&stage, &query.replace("=code", "=token")).await;
        assert_eq!(token.header("location"), format!("{REDIRECT}?error=unsupported_response_type&state=s"));
        let none = open(&stage, &query.replace("response_type=code", "x=y")).await;
        let description = "error_description=Missing+response_type+parameter.";
        assert_eq!(
            none.header("location"),
            format!("{REDIRECT}?error=invalid_request&{description}&state=s")
        );
    }

    /// Row 5.
    #[tokio::test]
    async fn a_scope_that_does_not_exist_is_a_page_and_a_denied_one_is_refused_after_authorize() {
        let stage = Stage::new().await;
        for wrong in ["identify nothing", "", "identify,email"] {
            is_error_page(&open(&stage, &Stage::query(wrong, "")).await, "Invalid scope");
        }
        let percent = Stage::query("identify email", "").replace('+', "%20");
        assert_eq!(open(&stage, &percent).await.status, 200);
        stage
            .stand_in
            .control()
            .change_switches(|switches| switches.denied_scopes = vec!["guilds.join".into()]);
        let query = Stage::query("identify guilds.join", "&state=s");
        assert_eq!(open(&stage, &query).await.status, 200);
        let played = stage.stand_in.control().authorize(&query, MARISOL, true).await.expect("an answer");
        let description = "The+requested+scope+is+invalid%2C+unknown%2C+or+malformed.";
        let wanted = format!("{REDIRECT}?error=invalid_scope&error_description={description}&state=s");
        assert_eq!(played.location, wanted);
    }

    /// Row 6.
    #[tokio::test]
    async fn a_person_is_picked_and_authorizes_or_cancels() {
        let stage = Stage::new().await;
        let query = Stage::query("identify", "&state=s");
        let id = QUIETFOX.to_string();
        let done = post(&stage, &query, &[("user", &id), ("decision", "authorize")], "same-origin").await;
        assert_eq!(done.status, 303);
        assert!(
            done.header("set-cookie").starts_with(&format!("{COOKIE}={id}; HttpOnly; SameSite=Lax; Path=/"))
        );
        let code = parameter(done.header("location"), "code").expect("a code");
        assert_eq!(code.len(), 30);
        assert_eq!(stage.redeem(&code).await.status, 200);
        let cancelled = post(&stage, &query, &[("user", &id), ("decision", "cancel")], "same-origin").await;
        assert_eq!((cancelled.status, cancelled.header("set-cookie")), (303, ""));
        let description = "The+resource+owner+or+authorization+server+denied+the+request";
        let wanted = format!("{REDIRECT}?error=access_denied&error_description={description}&state=s");
        assert_eq!(cancelled.header("location"), wanted);

        is_error_page(
            &post(&stage, &query, &[("decision", "authorize")], "same-origin").await,
            "Nobody picked",
        );
        let nobody = [("user", "42"), ("decision", "authorize")];
        is_error_page(&post(&stage, &query, &nobody, "same-origin").await, "Unknown person");
        is_error_page(&post(&stage, &query, &[("user", &id)], "same-origin").await, "Nothing decided");
        let foreign = post(&stage, &query, &[("user", &id), ("decision", "authorize")], "cross-site").await;
        assert_eq!((foreign.status, foreign.header("location")), (403, ""));
    }

    #[tokio::test]
    async fn the_consent_page_is_strict_and_escapes_what_people_are_called() {
        let stage = Stage::new().await;
        let page = open(&stage, &Stage::query("identify email", "&state=%22%3E%3Cscript%3E")).await;
        let policy = page.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("form-action"), "{policy}");
        assert!(!page.text.contains("<script"), "{}", page.text);
        for shown in [
            "🦊 שלום &lt;script&gt;alert(1)&lt;/script&gt;",
            "Old Timer#0042",
            "Lantern &lt;Login&gt;",
            "See your e-mail address",
            "this is not Discord",
            "http://localhost:3001",
        ] {
            assert!(page.text.contains(shown), "{shown}");
        }
        assert_eq!(page.text.matches("type=\"radio\"").count(), 6);
        let style = stage.http.get(stage.url("/assets/stand-in.css")).send().await.expect("an answer");
        assert_eq!(style.headers()["content-type"], "text/css; charset=utf-8");
        assert!(stage.http.get(stage.url("/")).send().await.expect("an answer").status().is_success());
    }

    /// Row 7.
    #[tokio::test]
    async fn the_page_is_skipped_only_on_request_and_for_what_was_granted_before() {
        let stage = Stage::new().await;
        let ask = async |scope: &str, more: &str, person: Option<DiscordId>| {
            let query = Stage::query(scope, more);
            let mut request = stage.http.get(stage.url(&format!("/oauth2/authorize?{query}")));
            if let Some(person) = person {
                request = request.header("cookie", format!("other=1; {COOKIE}={person}"));
            }
            request.send().await.expect("an answer").status().as_u16()
        };
        assert_eq!(ask("identify", "&prompt=none", Some(MARISOL)).await, 200, "nothing granted yet");
        stage.code(MARISOL, "identify email", "").await;
        assert_eq!(ask("identify", "&prompt=none", Some(MARISOL)).await, 302);
        assert_eq!(ask("email identify", "&prompt=none", Some(MARISOL)).await, 302);
        assert_eq!(ask("identify", "", Some(MARISOL)).await, 200, "consent is the default");
        assert_eq!(ask("identify", "&prompt=consent", Some(MARISOL)).await, 200);
        assert_eq!(ask("identify guilds", "&prompt=none", Some(MARISOL)).await, 200, "more than granted");
        assert_eq!(ask("identify", "&prompt=none", Some(QUIETFOX)).await, 200, "somebody else");
        assert_eq!(ask("identify", "&prompt=none", None).await, 200, "nobody is signed in");
    }

    /// Row 8.
    #[tokio::test]
    async fn the_state_comes_back_as_it_was() {
        let stage = Stage::new().await;
        for state in ["+ / = % & space é", "a+b%2Bc", "", "~.-_", "\"<>'"] {
            let encoded: String = url::form_urlencoded::byte_serialize(state.as_bytes()).collect();
            let query = Stage::query("identify", &format!("&state={encoded}"));
            for approve in [true, false] {
                let played =
                    stage.stand_in.control().authorize(&query, MARISOL, approve).await.expect("an answer");
                assert_eq!(parameter(&played.location, "state").as_deref(), Some(state));
            }
        }
        let played = stage.stand_in.control().authorize(&Stage::query("identify", ""), MARISOL, true).await;
        assert_eq!(parameter(&played.expect("authorized").location, "state"), None);
    }

    /// Row 9.
    #[tokio::test]
    async fn a_challenge_comes_with_its_method_and_the_method_is_s256() {
        let stage = Stage::new().await;
        let problem = async |more: &str| {
            let answer = open(&stage, &Stage::query("identify", more)).await;
            (answer.status, parameter(answer.header("location"), "error_description").unwrap_or_default())
        };
        let unsupported = (302, "Unsupported \"code_challenge_method\"".to_owned());
        assert_eq!(problem(&format!("&code_challenge={CHALLENGE}")).await, unsupported);
        assert_eq!(
            problem(&format!("&code_challenge={CHALLENGE}&code_challenge_method=plain")).await,
            unsupported
        );
        let invalid = (302, "Invalid \"code_challenge\"".to_owned());
        assert_eq!(problem("&code_challenge=short&code_challenge_method=S256").await, invalid);
        let good = format!("&code_challenge={CHALLENGE}&code_challenge_method=S256");
        assert_eq!(open(&stage, &Stage::query("identify", &good)).await.status, 200);
    }

    #[tokio::test]
    async fn what_a_redirect_uri_has_in_its_query_stays() {
        let stage = Stage::new().await;
        let uri: String = url::form_urlencoded::byte_serialize(OTHER_REDIRECT.as_bytes()).collect();
        let query = format!("response_type=code&client_id={OTHER_CLIENT}&scope=identify&redirect_uri={uri}");
        let played = stage.stand_in.control().authorize(&query, MARISOL, true).await.expect("authorized");
        assert!(played.location.starts_with("http://localhost:4000/callback?from=discord&code="));
    }
}
