//! The token endpoint: a code, or a refresh token, becomes a pair of tokens.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::header::AUTHORIZATION;
use http::{Method, StatusCode};
use serde_json::json;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::authorize::scopes;
use super::call::Call;
use super::reply::Reply;
use super::resource::with_unknown_key;
use super::switches::{ScopeReply, Switches, TokenShape};
use super::tokens::{Parties, pair};
use super::{Application, Shared, World};
use crate::domain::id::Hash;

const BAD: StatusCode = StatusCode::BAD_REQUEST;
const UNAUTHORIZED: StatusCode = StatusCode::UNAUTHORIZED;
const BAD_SCOPE: &str = "The requested scope is invalid, unknown, or malformed.";

/// Answers a request for tokens.
pub(super) fn answer(shared: &Arc<Shared>, call: &Call) -> Reply {
    if call.method != Method::POST {
        return Reply::method_not_allowed("POST");
    }
    // What is not a form has no fields, so it ends here too.
    let grant = match call.field("grant_type").as_deref() {
        Some("authorization_code") => redeem,
        Some("refresh_token") => refresh,
        Some("client_credentials") => own,
        _ => return Reply::oauth_error(BAD, "unsupported_grant_type", None),
    };
    match client(shared, call) {
        Ok(application) => grant(shared, call, application).unwrap_or_else(|refusal| refusal),
        Err(refusal) => refusal,
    }
}

/// Returns the application that calls, or the answer to whoever is none.
///
/// The answer does not tell which part was wrong.
pub(super) fn client<'a>(shared: &'a Shared, call: &Call) -> Result<&'a Application, Reply> {
    let switches = shared.world().switches.clone();
    let refused = |status: u16| {
        Reply::oauth_error(StatusCode::from_u16(status).unwrap_or(UNAUTHORIZED), "invalid_client", None)
    };
    let (id, secret) = match call.header(&AUTHORIZATION) {
        Some(_) if switches.basic_auth_broken => return Err(Reply::api_status(BAD)),
        Some(authorization) => basic(authorization).ok_or_else(|| refused(401))?,
        None => {
            let id = call.field("client_id").ok_or_else(|| refused(401))?;
            match call.field("client_secret").filter(|secret| !secret.is_empty()) {
                Some(secret) => (id, secret),
                // How a lost secret shows: as if the caller were a public client without PKCE.
                None if call.field("code_verifier").is_none()
                    && call.field("grant_type").as_deref() == Some("authorization_code") =>
                {
                    return Err(Reply::oauth_error(
                        BAD,
                        "invalid_request",
                        Some("Missing \"code_verifier\""),
                    ));
                }
                None => return Err(refused(401)),
            }
        }
    };
    let Some(application) = shared.application(&id) else {
        return Err(refused(switches.unknown_client_status));
    };
    let right = application.client_secret.expose().as_bytes().ct_eq(secret.as_bytes());
    if bool::from(right) { Ok(application) } else { Err(refused(401)) }
}

fn basic(authorization: &str) -> Option<(String, String)> {
    let (scheme, credentials) = authorization.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}

/// A code becomes tokens.
fn redeem(shared: &Arc<Shared>, call: &Call, application: &Application) -> Result<Reply, Reply> {
    let now = shared.clock.now();
    let mut world = shared.world();
    let text = call.field("code").filter(|code| !code.is_empty());
    let text =
        text.ok_or_else(|| Reply::oauth_error(BAD, "invalid_request", Some("Missing \"code\" in request.")))?;
    let life = Duration::from_secs(world.switches.code_life);
    let invalid_code = || Reply::oauth_error(BAD, "invalid_grant", Some("Invalid \"code\" in request."));
    let code = world.codes.find(&text, application.client_id, life, now).cloned().ok_or_else(invalid_code)?;
    let parties = (code.application, code.person);
    if code.used {
        if world.switches.code_reuse_revokes {
            world.tokens.kill(parties);
        }
        return Err(invalid_code());
    }
    let checked = if call.field("redirect_uri").as_ref() == Some(&code.redirect_uri) {
        check_verifier(code.challenge.as_deref(), call.field("code_verifier").as_deref())
    } else {
        Err(Reply::oauth_error(BAD, "invalid_grant", Some("Invalid \"redirect_uri\" in request.")))
    };
    if checked.is_ok() || world.switches.failed_attempt_burns_code {
        world.codes.use_up(&text);
    }
    checked?;
    // Whoever took the authorization back in the meantime takes the code back with it.
    if !world.tokens.covers(parties, &code.scopes) {
        return Err(invalid_code());
    }
    let scopes = match world.switches.scope_reply {
        ScopeReply::Asked => code.scopes,
        ScopeReply::Union => world.tokens.granted(parties),
        ScopeReply::Fewer => code.scopes[..code.scopes.len().saturating_sub(1)].to_vec(),
    };
    Ok(issue(shared, &mut world, parties, scopes, Kind::Code))
}

/// The verifier must be there, look like one, and hash to the challenge.
fn check_verifier(challenge: Option<&str>, verifier: Option<&str>) -> Result<(), Reply> {
    let request = |text| Err(Reply::oauth_error(BAD, "invalid_request", Some(text)));
    let Some(verifier) = verifier else {
        return if challenge.is_some() { request("Missing \"code_verifier\"") } else { Ok(()) };
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if !(43..=128).contains(&verifier.len()) || !verifier.bytes().all(allowed) {
        return request("Invalid \"code_verifier\"");
    }
    let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
    if challenge == Some(hash.as_str()) {
        return Ok(());
    }
    Err(Reply::oauth_error(BAD, "invalid_grant", Some("Code challenge failed.")))
}

/// A refresh token becomes a new pair; it is good once.
fn refresh(shared: &Arc<Shared>, call: &Call, application: &Application) -> Result<Reply, Reply> {
    let mut world = shared.world();
    let missing =
        || Reply::oauth_error(BAD, "invalid_request", Some("Missing \"refresh_token\" in request."));
    let text = call.field("refresh_token").filter(|token| !token.is_empty()).ok_or_else(missing)?;
    let hash = Hash::of(text.as_bytes());
    let invalid = || Reply::oauth_error(BAD, "invalid_grant", Some("Invalid \"refresh_token\" in request"));
    let (parties, old) = world.tokens.refreshable(application.client_id, &hash).ok_or_else(invalid)?;
    let asked = scopes(&call.field("scope").unwrap_or_default());
    if asked.iter().any(|scope| !old.scopes.contains(scope)) {
        return Err(Reply::oauth_error(BAD, "invalid_scope", Some(BAD_SCOPE)));
    }
    let scopes = match world.switches.scope_reply {
        ScopeReply::Union if asked.is_empty() => world.tokens.granted(parties),
        _ if asked.is_empty() => old.scopes,
        _ => asked,
    };
    let survives = world.switches.old_access_token_survives;
    world.tokens.use_up(parties, &hash, survives);
    Ok(issue(shared, &mut world, parties, scopes, Kind::Refresh))
}

/// The application gets a token of its own; it belongs to its owner, who is the first person here.
fn own(shared: &Arc<Shared>, call: &Call, application: &Application) -> Result<Reply, Reply> {
    let mut world = shared.world();
    let asked = scopes(&call.field("scope").unwrap_or_default());
    let owner = world.people.first().map(|person| person.id);
    let (false, Some(owner)) = (asked.is_empty(), owner) else {
        return Err(Reply::oauth_error(BAD, "invalid_scope", Some(BAD_SCOPE)));
    };
    Ok(issue(shared, &mut world, (application.client_id, owner), asked, Kind::Own))
}

/// What new tokens come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Refresh,
    Own,
}

fn issue(shared: &Shared, world: &mut World, parties: Parties, scopes: Vec<String>, kind: Kind) -> Reply {
    let now = shared.clock.now();
    let life = Duration::from_secs(world.switches.expires_in);
    let (access, refresh) = draw(shared, &world.switches, parties);
    let refresh = (kind != Kind::Own).then_some(refresh);
    let new = pair(&access, refresh.as_deref(), scopes.clone(), now, life, kind == Kind::Refresh);
    world.tokens.issue(parties, new, now);
    let mut body = json!({
        "token_type": "Bearer",
        "access_token": access,
        "expires_in": world.switches.expires_in,
        "scope": shuffled(shared, scopes).join(" "),
    });
    if let Some(refresh) = refresh {
        body["refresh_token"] = json!(refresh);
    }
    if world.switches.unknown_fields {
        with_unknown_key(shared, &mut body);
    }
    Reply::json(StatusCode::OK, &body).not_stored()
}

fn draw(shared: &Shared, switches: &Switches, parties: Parties) -> (String, String) {
    match switches.token_shape {
        TokenShape::Current => {
            let front = URL_SAFE_NO_PAD.encode(parties.1.to_string());
            (format!("{front}.{}", shared.alphanumeric(30)), shared.alphanumeric(30))
        }
        TokenShape::Short => (shared.alphanumeric(30), shared.alphanumeric(30)),
        TokenShape::Long => (shared.alphanumeric(1_500), shared.alphanumeric(1_500)),
    }
}

/// The order of scopes means nothing, so it is another one each time.
fn shuffled(shared: &Shared, mut scopes: Vec<String>) -> Vec<String> {
    for end in (1..scopes.len()).rev() {
        let [byte] = shared.entropy.draw::<1>();
        scopes.swap(end, usize::from(byte) % (end + 1));
    }
    scopes
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::testing::{
        Answer, CHALLENGE, CLIENT, MARISOL, OTHER_CLIENT, QUIETFOX, REDIRECT, SECRET, Stage, VERIFIER, tokens,
    };
    use super::*;

    fn error(status: u16, error: &str, description: &str) -> (u16, String, String) {
        (status, error.into(), description.into())
    }

    fn bad_code() -> (u16, String, String) {
        error(400, "invalid_grant", "Invalid \"code\" in request.")
    }

    fn bad_refresh() -> (u16, String, String) {
        error(400, "invalid_grant", "Invalid \"refresh_token\" in request")
    }

    /// Row 13.
    #[tokio::test]
    async fn a_code_is_good_once() {
        let stage = Stage::new().await;
        let code = stage.code(MARISOL, "identify", "").await;
        assert_eq!(stage.redeem(&code).await.status, 200);
        assert_eq!(stage.redeem(&code).await.oauth(), bad_code());
    }

    /// Row 13.
    #[tokio::test]
    async fn of_many_redemptions_at_once_exactly_one_wins() {
        let stage = Stage::new().await;
        let code = stage.code(MARISOL, "identify", "").await;
        let answers = futures_util::future::join_all((0..20).map(|_| stage.redeem(&code))).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
        assert_eq!(answers.iter().filter(|answer| answer.status == 400).count(), 19);
    }

    /// Row 14.
    #[tokio::test]
    async fn a_code_lives_for_a_hundred_seconds() {
        let stage = Stage::new().await;
        let (early, late) =
            (stage.code(MARISOL, "identify", "").await, stage.code(MARISOL, "identify", "").await);
        stage.clock.advance(Duration::from_millis(99_999));
        assert_eq!(stage.redeem(&early).await.status, 200);
        stage.clock.advance(Duration::from_millis(1));
        assert_eq!(stage.redeem(&late).await.oauth(), bad_code());
    }

    /// Rows 15 and 27.
    #[tokio::test]
    async fn codes_and_refresh_tokens_belong_to_their_application() {
        let stage = Stage::new().await;
        let other = [("client_id", OTHER_CLIENT), ("client_secret", "other-secret")];
        let code = stage.code(MARISOL, "identify", "").await;
        let grant = [("grant_type", "authorization_code"), ("code", &*code), ("redirect_uri", REDIRECT)];
        assert_eq!(stage.form("/api/oauth2/token", &[&other[..], &grant].concat()).await.oauth(), bad_code());
        let (_, refresh) = tokens(&stage.redeem(&code).await);
        let grant = [("grant_type", "refresh_token"), ("refresh_token", &*refresh)];
        assert_eq!(
            stage.form("/api/oauth2/token", &[&other[..], &grant].concat()).await.oauth(),
            bad_refresh()
        );
        assert_eq!(stage.refresh(&refresh).await.status, 200);
    }

    /// Rows 16 and 17.
    #[tokio::test]
    async fn a_wrong_or_missing_redirect_uri_is_refused_and_burns_the_code() {
        let stage = Stage::new().await;
        let refused = error(400, "invalid_grant", "Invalid \"redirect_uri\" in request.");
        let slash = format!("{REDIRECT}/");
        for wrong in [Some(slash.as_str()), Some("http://localhost:3001/other"), None] {
            let code = stage.code(MARISOL, "identify", "").await;
            let mut fields = vec![("grant_type", "authorization_code"), ("code", &*code)];
            fields.extend(wrong.map(|wrong| ("redirect_uri", wrong)));
            assert_eq!(stage.token(&fields).await.oauth(), refused);
            assert_eq!(stage.redeem(&code).await.oauth(), bad_code());
            stage.stand_in.control().change_switches(|switches| switches.failed_attempt_burns_code = false);
            let code = stage.code(MARISOL, "identify", "").await;
            let fields = [("grant_type", "authorization_code"), ("code", &*code), ("redirect_uri", "x")];
            assert_eq!(stage.token(&fields).await.oauth(), refused);
            assert_eq!(stage.redeem(&code).await.status, 200);
            stage.stand_in.control().reset_switches();
        }
    }

    /// Row 18.
    #[tokio::test]
    async fn a_second_use_of_a_code_can_be_made_to_kill_the_tokens() {
        let stage = Stage::new().await;
        for kills in [false, true] {
            stage.stand_in.control().change_switches(|switches| switches.code_reuse_revokes = kills);
            let code = stage.code(MARISOL, "identify", "").await;
            let (access, _) = tokens(&stage.redeem(&code).await);
            assert_eq!(stage.redeem(&code).await.oauth(), bad_code());
            assert_eq!(stage.get("/api/v10/users/@me", &access).await.status, if kills { 401 } else { 200 });
        }
    }

    /// Row 19.
    #[tokio::test]
    async fn the_verifier_must_fit_the_challenge() {
        let stage = Stage::new().await;
        let challenge = format!("&code_challenge={CHALLENGE}&code_challenge_method=S256");
        let wrong = "x".repeat(43);
        let cases = [
            (&*challenge, Some(VERIFIER), None),
            (&challenge, None, Some(error(400, "invalid_request", "Missing \"code_verifier\""))),
            (&challenge, Some("short"), Some(error(400, "invalid_request", "Invalid \"code_verifier\""))),
            (&challenge, Some(&*wrong), Some(error(400, "invalid_grant", "Code challenge failed."))),
            (&challenge, Some(CHALLENGE), Some(error(400, "invalid_grant", "Code challenge failed."))),
            ("", Some(VERIFIER), Some(error(400, "invalid_grant", "Code challenge failed."))),
            ("", None, None),
        ];
        for (more, verifier, refused) in cases {
            let code = stage.code(MARISOL, "identify", more).await;
            let mut fields =
                vec![("grant_type", "authorization_code"), ("code", &*code), ("redirect_uri", REDIRECT)];
            fields.extend(verifier.map(|verifier| ("code_verifier", verifier)));
            let answer = stage.token(&fields).await;
            match refused {
                None => assert_eq!(answer.status, 200, "{more} {verifier:?}"),
                Some(refused) => assert_eq!(answer.oauth(), refused, "{more} {verifier:?}"),
            }
        }
    }

    /// Row 20.
    #[tokio::test]
    async fn only_a_posted_form_is_read() {
        let stage = Stage::new().await;
        let address = stage.url("/api/v10/oauth2/token");
        let got = Answer::of(stage.http.get(&address).send().await.expect("an answer")).await;
        assert_eq!(got.api(), (405, "405: Method Not Allowed".into(), 0));
        assert_eq!(got.header("allow"), "POST");

        let form =
            format!("client_id={CLIENT}&client_secret={SECRET}&grant_type=client_credentials&scope=identify");
        let json = r#"{"grant_type": "client_credentials"}"#;
        let unsupported = error(400, "unsupported_grant_type", "");
        for (kind, query, body) in [
            (Some("application/json"), "", json),
            (Some("multipart/form-data; boundary=x"), "", &*form),
            (None, "", &form),
            (Some("application/x-www-form-urlencoded"), &*form, ""),
            (Some("application/x-www-form-urlencoded"), "", "grant_type=password"),
        ] {
            let mut request = stage.http.post(format!("{address}?{query}")).body(body.to_owned());
            if let Some(kind) = kind {
                request = request.header("content-type", kind);
            }
            let answer = Answer::of(request.send().await.expect("an answer")).await;
            assert_eq!(answer.oauth(), unsupported, "{kind:?}");
        }
        let kind = "application/x-www-form-urlencoded; charset=utf-8";
        let request = stage.http.post(&address).header("content-type", kind).body(form);
        assert_eq!(Answer::of(request.send().await.expect("an answer")).await.status, 200);
    }

    /// Row 21.
    #[tokio::test]
    async fn an_application_must_prove_itself_and_is_not_told_what_was_wrong() {
        let stage = Stage::new().await;
        let grant = [("grant_type", "refresh_token"), ("refresh_token", "x")];
        let refused = error(401, "invalid_client", "");
        let form = async |credentials: &[(&str, &str)]| {
            stage.form("/api/v10/oauth2/token", &[credentials, &grant].concat()).await
        };
        let mut bodies = HashSet::new();
        for wrong in [
            &[("client_id", CLIENT), ("client_secret", "wrong")][..],
            &[("client_id", "42"), ("client_secret", SECRET)],
            &[("client_id", "no id"), ("client_secret", SECRET)],
            &[("client_id", CLIENT)],
            &[],
        ] {
            let answer = form(wrong).await;
            assert_eq!(answer.oauth(), refused, "{wrong:?}");
            bodies.insert(answer.text);
        }
        assert_eq!(bodies.len(), 1);

        let basic = async |value: String| {
            let request = stage.http.post(stage.url("/api/v10/oauth2/token")).form(&grant);
            Answer::of(request.header("authorization", value).send().await.expect("an answer")).await.oauth()
        };
        let encode = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert_eq!(basic(encode(&format!("{CLIENT}:{SECRET}"))).await, bad_refresh());
        for wrong in [encode(&format!("{CLIENT}:wrong")), encode(CLIENT), "Basic !".into(), "Bearer x".into()]
        {
            assert_eq!(basic(wrong).await, refused);
        }

        let lost = [("client_id", CLIENT), ("grant_type", "authorization_code"), ("code", "x")];
        let answer = stage.form("/api/v10/oauth2/token", &lost).await;
        assert_eq!(answer.oauth(), error(400, "invalid_request", "Missing \"code_verifier\""));
        stage.stand_in.control().change_switches(|switches| switches.unknown_client_status = 400);
        assert_eq!(form(&[("client_id", "42"), ("client_secret", SECRET)]).await.status, 400);
    }

    /// Row 22.
    #[tokio::test]
    async fn the_grant_type_is_looked_at_first_then_the_application_then_the_code() {
        let stage = Stage::new().await;
        let wrong = [("client_id", CLIENT), ("client_secret", "wrong"), ("code", "x")];
        let with = |kind| [&wrong[..], &[("grant_type", kind)]].concat();
        let nothing = stage.form("/api/v10/oauth2/token", &with("nothing")).await;
        assert_eq!(nothing.oauth().1, "unsupported_grant_type");
        let unproven = stage.form("/api/v10/oauth2/token", &with("authorization_code")).await;
        assert_eq!(unproven.oauth().1, "invalid_client");
        let without_code = stage.token(&[("grant_type", "authorization_code"), ("redirect_uri", "x")]).await;
        assert_eq!(without_code.oauth(), error(400, "invalid_request", "Missing \"code\" in request."));
        let wrong_code = stage.token(&[("grant_type", "authorization_code"), ("code", "x")]).await;
        assert_eq!(wrong_code.oauth(), bad_code());
    }

    /// Row 23.
    #[tokio::test]
    async fn a_good_answer_has_all_fields_and_may_not_be_kept() {
        let stage = Stage::new().await;
        stage.stand_in.control().change_switches(|switches| switches.expires_in = 5);
        let answer = stage.redeem(&stage.code(MARISOL, "identify email", "").await).await;
        let body = answer.json();
        assert_eq!(body["token_type"], "Bearer");
        assert_eq!(body["expires_in"], 5);
        assert!(body["access_token"].is_string() && body["refresh_token"].is_string());
        assert_eq!((answer.header("cache-control"), answer.header("pragma")), ("no-store", "no-cache"));
        assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("x-ratelimit")));
        let (access, _) = tokens(&answer);
        stage.clock.advance(Duration::from_secs(5));
        assert_eq!(stage.get("/api/v10/users/@me", &access).await.status, 401);
        let own = stage.token(&[("grant_type", "client_credentials"), ("scope", "identify")]).await.json();
        assert!(own["access_token"].is_string() && own["refresh_token"].is_null());
        let own = stage.token(&[("grant_type", "client_credentials")]).await.oauth();
        assert_eq!(own, error(400, "invalid_scope", BAD_SCOPE));
    }

    /// Row 24.
    #[tokio::test]
    async fn tokens_have_the_shape_of_today_or_of_other_days() {
        let stage = Stage::new().await;
        let (access, refresh) = stage.sign_in(MARISOL, "identify").await;
        assert!(access.starts_with("NTU1NzY5NDY2NjAxMjEzOTYw."));
        assert_eq!((access.len(), refresh.len()), (55, 30));
        for (shape, length) in [(TokenShape::Short, 30), (TokenShape::Long, 1_500)] {
            stage.stand_in.control().change_switches(|switches| switches.token_shape = shape);
            assert_eq!(stage.sign_in(MARISOL, "identify").await.0.len(), length);
        }
    }

    /// Row 25.
    #[tokio::test]
    async fn the_scopes_come_in_any_order_and_may_be_more_or_fewer() {
        let stage = Stage::new().await;
        let granted = async |scope: &str| {
            let body = stage.redeem(&stage.code(MARISOL, scope, "").await).await.json();
            body["scope"].as_str().expect("scopes").to_owned()
        };
        let mut orders = HashSet::new();
        for _ in 0..20 {
            orders.insert(granted("identify email guilds").await);
        }
        assert!(orders.len() > 1, "{orders:?}");
        assert_eq!(granted("identify").await, "identify");
        stage.stand_in.control().change_switches(|switches| switches.scope_reply = ScopeReply::Union);
        assert_eq!(granted("identify").await.split(' ').count(), 3);
        stage.stand_in.control().change_switches(|switches| switches.scope_reply = ScopeReply::Fewer);
        assert_eq!(granted("identify email").await, "identify");
    }

    /// Row 26.
    #[tokio::test]
    async fn a_refresh_gives_two_new_tokens_and_kills_the_two_old_ones() {
        let stage = Stage::new().await;
        let (access, refresh) = stage.sign_in(MARISOL, "identify").await;
        let (new_access, new_refresh) = tokens(&stage.refresh(&refresh).await);
        assert!(new_access != access && new_refresh != refresh);
        assert_eq!(stage.refresh(&refresh).await.oauth(), bad_refresh());
        assert_eq!(stage.get("/api/v10/users/@me", &access).await.status, 401);
        assert_eq!(stage.get("/api/v10/users/@me", &new_access).await.status, 200);
        stage.stand_in.control().change_switches(|switches| switches.old_access_token_survives = true);
        tokens(&stage.refresh(&new_refresh).await);
        assert_eq!(stage.get("/api/v10/users/@me", &new_access).await.status, 200);
        let missing = stage.token(&[("grant_type", "refresh_token")]).await.oauth();
        assert_eq!(missing.1, "invalid_request");
    }

    /// Row 26.
    #[tokio::test]
    async fn of_many_refreshes_at_once_exactly_one_wins() {
        let stage = Stage::new().await;
        let (_, refresh) = stage.sign_in(MARISOL, "identify").await;
        let answers = futures_util::future::join_all((0..20).map(|_| stage.refresh(&refresh))).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    }

    /// Row 28.
    #[tokio::test]
    async fn a_refresh_may_ask_for_fewer_scopes_and_not_for_more() {
        let stage = Stage::new().await;
        let (_, refresh) = stage.sign_in(MARISOL, "identify email").await;
        let grant =
            |refresh, scope| [("grant_type", "refresh_token"), ("refresh_token", refresh), ("scope", scope)];
        let more = stage.token(&grant(&refresh, "identify guilds")).await;
        assert_eq!(more.oauth(), error(400, "invalid_scope", BAD_SCOPE));
        let fewer = stage.token(&grant(&refresh, "identify")).await;
        assert_eq!(fewer.json()["scope"], "identify");
        let (access, _) = tokens(&fewer);
        assert!(stage.get("/api/v10/users/@me", &access).await.json().get("email").is_none());
    }

    /// Row 30.
    #[tokio::test]
    async fn a_poisoned_person_gets_tokens_that_are_worth_nothing() {
        let stage = Stage::new().await;
        stage.stand_in.control().change_switches(|switches| switches.poisoned = vec![MARISOL]);
        for (person, status) in [(MARISOL, 401), (QUIETFOX, 200)] {
            let (access, refresh) = stage.sign_in(person, "identify").await;
            assert_eq!(stage.get("/api/v10/users/@me", &access).await.status, 200);
            let (access, _) = tokens(&stage.refresh(&refresh).await);
            assert_eq!(stage.get("/api/v10/users/@me", &access).await.status, status);
        }
    }
}
