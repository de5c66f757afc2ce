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
