//! What a bearer of a token may read: the person, a membership, the authorization itself.

use http::header::AUTHORIZATION;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::call::{Call, Place};
use super::reply::Reply;
use super::tokens::Bearer;
use super::{Shared, World};
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
            "verify_key": Hash::of(application.client_id.to_string().as_bytes()).to_string(),
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
