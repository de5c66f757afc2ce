//! What a bearer of a token may read: the person, a membership, the authorization itself.

use http::header::AUTHORIZATION;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::call::{Call, Place};
use super::reply::Reply;
use super::tokens::Bearer;
use super::{Shared, World, webhook};
use crate::domain::id::{DiscordId, Hash};
use crate::domain::time::Timestamp;

/// Answers a request for a resource.
pub(super) fn answer(shared: &Shared, call: &Call) -> Reply {
    if call.method != Method::GET && call.method != Method::HEAD {
        return Reply::method_not_allowed("GET, HEAD");
    }
    let world = shared.world();
    let Some(bearer) = bearer(shared, &world, call) else {
        return Reply::api_status(StatusCode::UNAUTHORIZED);
    };
    let found = match &call.place {
        Place::Me => me(&world, &bearer),
        Place::Member(guild) => member(&world, &bearer, guild),
        _ => authorization(shared, &world, &bearer),
    };
    match found {
        Ok(mut body) => {
            if world.switches.unknown_fields {
                with_unknown_key(shared, &mut body);
            }
            Reply::json(StatusCode::OK, &body)
        }
        Err(refusal) => refusal,
    }
}

/// Returns whom the token speaks for; a dead, an unknown and a missing one are all the same.
fn bearer(shared: &Shared, world: &World, call: &Call) -> Option<Bearer> {
    let (scheme, token) = call.header(&AUTHORIZATION)?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let bearer = world.tokens.bearer(&Hash::of(token.as_bytes()), shared.clock.now())?;
    let poisoned = bearer.refreshed && world.switches.poisoned.contains(&bearer.person);
    (!poisoned && world.person(bearer.person).is_some()).then_some(bearer)
}

fn needs(world: &World, bearer: &Bearer, scope: &str) -> Result<(), Reply> {
    if bearer.scopes.iter().any(|granted| granted == scope) {
        return Ok(());
    }
    Err(match world.switches.missing_scope_status {
        403 => Reply::api_error(StatusCode::FORBIDDEN, "Missing required OAuth2 scope", 50026),
        _ => Reply::api_status(StatusCode::UNAUTHORIZED),
    }
    .named("missing_scope"))
}

fn me(world: &World, bearer: &Bearer) -> Result<Value, Reply> {
    needs(world, bearer, "identify")?;
    let with_email = bearer.scopes.iter().any(|scope| scope == "email");
    world
        .person(bearer.person)
        .map(|person| person.user(with_email))
        .ok_or_else(|| Reply::api_status(StatusCode::UNAUTHORIZED))
}

fn member(world: &World, bearer: &Bearer, guild: &str) -> Result<Value, Reply> {
    needs(world, bearer, "guilds.members.read")?;
    let Ok(guild) = guild.parse::<DiscordId>() else {
        let mut body = json!({ "message": "Invalid Form Body", "code": 50035 });
        let error = json!({ "code": "NUMBER_TYPE_COERCE", "message": format!("Value \"{guild}\" is not snowflake.") });
        body["errors"] = json!({ "guild_id": { "_errors": [error] } });
        return Err(Reply::json(StatusCode::BAD_REQUEST, &body));
    };
    // That the guild does not exist and that one is not in it are not told apart.
    world
        .person(bearer.person)
        .and_then(|person| person.member(guild))
        .ok_or_else(|| Reply::api_error(StatusCode::NOT_FOUND, "Unknown Guild", 10004).named("unknown_guild"))
}

fn authorization(shared: &Shared, world: &World, bearer: &Bearer) -> Result<Value, Reply> {
    let application =
        shared.applications.iter().find(|application| application.client_id == bearer.application);
    let application = application.ok_or_else(|| Reply::api_status(StatusCode::UNAUTHORIZED))?;
    let mut body = json!({
        "application": {
            "id": application.client_id.to_string(),
            "name": application.name,
            "icon": null,
            "description": "",
            "type": null,
            "bot_public": false,
            "bot_require_code_grant": false,
            "verify_key": webhook::public_key(),
            "flags": 0,
            "flags_new": "0",
        },
        "scopes": bearer.scopes,
        "expires": iso(bearer.expires_at),
    });
    if bearer.scopes.iter().any(|scope| scope == "identify")
        && let Some(person) = world.person(bearer.person)
    {
        body["user"] = person.partial_user();
    }
    Ok(body)
}

/// Writes a time as Discord does: microseconds, and an offset in digits.
fn iso(time: Timestamp) -> String {
    let time = jiff::Timestamp::from_millisecond(time.0).unwrap_or(jiff::Timestamp::MAX);
    time.strftime("%Y-%m-%dT%H:%M:%S.%6f+00:00").to_string()
}

/// Adds a key that is documented nowhere, in one object at any depth: clients must not mind.
pub(super) fn with_unknown_key(shared: &Shared, value: &mut Value) {
    let [chosen, kind, name @ ..] = shared.entropy.draw::<6>();
    let key = format!("new_{}", hex::encode(name));
    let unknown = match kind % 5 {
        0 => Value::Null,
        1 => json!(true),
        2 => json!("soon"),
        3 => json!([1, { "deep": "er" }]),
        _ => json!({ "since": 2026 }),
    };
    let mut objects = Vec::new();
    paths(value, &mut String::new(), &mut objects);
    let Some(path) = objects.get(usize::from(chosen) % objects.len().max(1)) else { return };
    if let Some(Value::Object(object)) = value.pointer_mut(path) {
        object.insert(key, unknown);
    }
}

/// Collects the JSON pointers of all objects.
fn paths(value: &Value, here: &mut String, found: &mut Vec<String>) {
    let length = here.len();
    let mut visit = |name: &str, child: &Value| {
        here.push('/');
        here.push_str(name);
        paths(child, here, found);
        here.truncate(length);
    };
    match value {
        Value::Object(object) => {
            object.iter().for_each(|(name, child)| visit(name, child));
            found.push(here.clone());
        }
        Value::Array(items) => items.iter().enumerate().for_each(|(n, child)| visit(&n.to_string(), child)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::people::{DEMO_GUILD, seeded};
    use super::super::testing::{Answer, MARISOL, QUIETFOX, Stage};
    use super::*;

    const ME: &str = "/api/v10/users/@me";

    /// Row 34.
    #[tokio::test]
    async fn a_dead_an_unknown_and_a_missing_token_are_all_the_same() {
        let stage = Stage::new().await;
        let refused = (401, "401: Unauthorized".to_owned(), 0);
        let (access, _) = stage.sign_in(MARISOL, "identify").await;
        assert_eq!(stage.get(ME, "unknown").await.api(), refused);
        for header in
            [None, Some(format!("Bot {access}")), Some(format!("Basic {access}")), Some(access.clone())]
        {
            let mut request = stage.http.get(stage.url(ME));
            if let Some(header) = header {
                request = request.header("authorization", header);
            }
            assert_eq!(Answer::of(request.send().await.expect("an answer")).await.api(), refused);
        }
        stage.clock.advance(Duration::from_secs(604_799));
        assert_eq!(stage.get(ME, &access).await.status, 200);
        stage.clock.advance(Duration::from_secs(1));
        assert_eq!(stage.get(ME, &access).await.api(), refused);
        let post = stage.http.post(stage.url(ME)).send().await.expect("an answer");
        assert_eq!(Answer::of(post).await.api(), (405, "405: Method Not Allowed".into(), 0));
    }

    /// Row 35.
    #[tokio::test]
    async fn a_token_without_the_scope_is_refused() {
        let stage = Stage::new().await;
        let (access, _) = stage.sign_in(MARISOL, "guilds").await;
        let member = format!("/api/v10/users/@me/guilds/{DEMO_GUILD}/member");
        for path in [ME, &*member] {
            assert_eq!(stage.get(path, &access).await.api(), (401, "401: Unauthorized".into(), 0));
        }
        stage.stand_in.control().change_switches(|switches| switches.missing_scope_status = 403);
        let answer = stage.get(ME, &access).await.api();
        assert_eq!((answer.0, answer.2), (403, 50026));
    }

    /// Row 36.
    #[tokio::test]
    async fn everybody_is_told_as_they_are_and_the_e_mail_needs_its_scope() {
        let stage = Stage::new().await;
        for person in seeded() {
            let (access, _) = stage.sign_in(person.id, "identify email").await;
            let user = stage.get(ME, &access).await.json();
            assert_eq!(user["id"], person.id.to_string());
            assert_eq!(user["username"], person.username);
            assert_eq!(user["discriminator"], person.discriminator);
            assert_eq!(user["global_name"], json!(person.global_name));
            assert_eq!(user["avatar"], json!(person.avatar));
            assert_eq!((&user["email"], &user["verified"]), (&json!(person.email), &json!(person.verified)));
            let (access, _) = stage.sign_in(person.id, "identify").await;
            let user = stage.get(ME, &access).await.json();
            assert!(user.get("email").is_none() && user.get("verified").is_none());
        }
    }

    /// Row 38.
    #[tokio::test]
    async fn a_membership_is_told_and_none_is_an_unknown_guild() {
        let stage = Stage::new().await;
        stage.stand_in.control().change_switches(|switches| switches.limits.clear());
        let (access, _) = stage.sign_in(MARISOL, "guilds.members.read").await;
        let path = |guild: &str| format!("/api/v10/users/@me/guilds/{guild}/member");
        let member = stage.get(&path(&DEMO_GUILD.to_string()), &access).await.json();
        assert_eq!(member["roles"], json!(["716985688452759555", "873839986770714645"]));
        assert_eq!((&member["nick"], &member["pending"]), (&json!("Mari (ops)"), &json!(false)));
        assert_eq!(member["user"]["id"], MARISOL.to_string());
        assert!(member["user"].get("email").is_none());
        assert_eq!(stage.get(&path("42"), &access).await.api(), (404, "Unknown Guild".into(), 10004));
        assert_eq!(stage.get(&path("here"), &access).await.api().2, 50035);
        let (access, _) = stage.sign_in(QUIETFOX, "guilds.members.read").await;
        let member = stage.get(&path(&DEMO_GUILD.to_string()), &access).await.json();
        assert_eq!((&member["roles"], &member["pending"]), (&json!([]), &json!(true)));
        stage.stand_in.control().change_person(QUIETFOX, |person| person.guilds.clear());
        assert_eq!(stage.get(&path(&DEMO_GUILD.to_string()), &access).await.api().2, 10004);
    }

    /// Row 39.
    #[tokio::test]
    async fn the_authorization_tells_its_end_and_the_person_only_with_identify() {
        let stage = Stage::new().await;
        let path = "/api/v10/oauth2/@me";
        let (access, _) = stage.sign_in(MARISOL, "identify email").await;
        let body = stage.get(path, &access).await.json();
        assert_eq!(body["application"]["id"], super::super::testing::CLIENT);
        assert_eq!(body["scopes"], json!(["identify", "email"]));
        assert_eq!(body["expires"], "2026-02-10T04:05:06.789000+00:00");
        assert_eq!(body["user"]["username"], "marisol.k");
        assert!(body["user"].get("email").is_none() && body["user"].get("locale").is_none());
        let (access, _) = stage.sign_in(MARISOL, "guilds").await;
        assert!(stage.get(path, &access).await.json().get("user").is_none());
    }

    /// Row 40.
    #[tokio::test]
    async fn every_answer_carries_a_key_that_nobody_knows_at_any_depth() {
        let stage = Stage::new().await;
        let (access, _) = stage.sign_in(MARISOL, "identify").await;
        let (mut top, mut deeper) = (0, 0);
        for _ in 0..40 {
            let body = stage.get("/api/v10/oauth2/@me", &access).await.json();
            let new = |value: &Value| {
                let keys = value.as_object().expect("an object").keys();
                keys.filter(|key| key.starts_with("new_")).count()
            };
            let counts = (new(&body), new(&body["application"]) + new(&body["user"]));
            assert_eq!(counts.0 + counts.1, 1, "{body}");
            (top, deeper) = (top + counts.0, deeper + counts.1);
        }
        assert!(top > 0 && deeper > 0);
        stage.stand_in.control().change_switches(|switches| switches.unknown_fields = false);
        assert!(!stage.get(ME, &access).await.text.contains("new_"));
    }

    /// Row 41.
    #[tokio::test]
    async fn a_program_says_who_it_is() {
        let stage = Stage::new().await;
        let (access, _) = stage.sign_in(MARISOL, "identify").await;
        let ask = async |agent: &str| {
            let request = stage.http.get(stage.url(ME)).bearer_auth(&access).header("user-agent", agent);
            Answer::of(request.send().await.expect("an answer")).await
        };
        for wrong in ["", "curl/8", "DiscordBot", "Mozilla/5.0 DiscordBot (x, 1)"] {
            assert_eq!(ask(wrong).await.api(), (403, "internal network error".into(), 40333), "{wrong}");
        }
        assert_eq!(ask("DiscordBot (https://a.example, 1) more").await.status, 200);
        stage.stand_in.control().change_switches(|switches| switches.require_user_agent = false);
        assert_eq!(ask("curl/8").await.status, 200);
    }

    /// Row 42.
    #[tokio::test]
    async fn a_version_that_is_gone_and_a_path_that_never_was_are_told_apart() {
        let stage = Stage::new().await;
        let answer = stage.get("/api/v5/users/@me", "x").await.api();
        assert_eq!((answer.0, answer.2), (400, 50041));
        assert_eq!(stage.get("/api/v10/nothing", "x").await.api(), (404, "404: Not Found".into(), 0));
        assert_eq!(stage.get("/nothing", "x").await.api(), (404, "404: Not Found".into(), 0));
        assert_eq!(stage.get("/api/users/@me", "x").await.status, 401);
    }
}
