//! `/_control/`: what [`Control`] can do, over HTTP and in JSON, for tests in other processes and languages.
//!
//! No page in a browser may use it: only requests that no page can have caused are answered.

use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderName, ORIGIN};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Shared;
use super::call::Call;
use super::control::{Control, ControlError};
use super::fault_kinds;
use super::faults::Fault;
use super::people::{Membership, id};
use super::reply::Reply;
use super::requests::Route;
use super::webhook;
use crate::domain::id::DiscordId;

/// Answers a request to the control endpoint.
pub(super) async fn answer(shared: &Arc<Shared>, call: &Call, what: &str) -> Reply {
    let site = call.header(&HeaderName::from_static("sec-fetch-site"));
    if call.headers.contains_key(ORIGIN) || site.is_some_and(|site| site != "none") {
        return refusal(StatusCode::FORBIDDEN, "no page may use the control endpoint");
    }
    let control = Control::new(Arc::clone(shared));
    match directed(&control, call, what).await {
        Ok(answer) => Reply::json(StatusCode::OK, &answer).not_stored(),
        Err(Refused::NotFound) => refusal(StatusCode::NOT_FOUND, "no such control"),
        Err(Refused::Error(error @ ControlError::Store(_))) => {
            refusal(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string())
        }
        Err(Refused::Error(error)) => {
            let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
            // Some of it has many forms.
            let see = match error {
                ControlError::NotUnderstood(_) => "; GET /_control/ shows what there is, with examples",
                _ => "",
            };
            refusal(StatusCode::BAD_REQUEST, &format!("{error}{}{see}", source.unwrap_or_default()))
        }
    }
}

enum Refused {
    NotFound,
    Error(ControlError),
}

impl From<ControlError> for Refused {
    fn from(error: ControlError) -> Refused {
        Refused::Error(error)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Authorize {
    url: String,
    #[serde(with = "id")]
    user: DiscordId,
    #[serde(default = "yes")]
    approve: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Someone {
    #[serde(with = "id")]
    user: DiscordId,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Member {
    #[serde(with = "id")]
    user: DiscordId,
    /// Whatever of it is left out is as for somebody who has just joined.
    membership: Membership,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Left {
    #[serde(with = "id")]
    user: DiscordId,
    #[serde(with = "id")]
    guild: DiscordId,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    url: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ban {
    seconds: u64,
}

async fn directed(control: &Control, call: &Call, what: &str) -> Result<Value, Refused> {
    let (what, argument) = what.split_once('/').unwrap_or((what, ""));
    Ok(match (&call.method, what, argument) {
        (&Method::GET, "", "") => help(),
        (&Method::POST, "authorize", "") => {
            let Authorize { url, user, approve } = read(call)?;
            json!(control.authorize(&url, user, approve).await?)
        }
        (&Method::POST, "faults", "") => {
            control.add_fault(read::<Fault>(call)?);
            json!({ "faults": control.faults() })
        }
        (&Method::GET, "faults", "") => json!({ "faults": control.faults() }),
        (&Method::DELETE, "faults", "") => {
            control.clear_faults();
            json!({ "faults": [] })
        }
        (&Method::POST, "release", "") => {
            control.release();
            json!({})
        }
        (&Method::POST, "deauthorize", "") => {
            json!({ "ended": control.deauthorize(read::<Someone>(call)?.user).await? })
        }
        (&Method::POST, "expire-tokens", "") => {
            let user = if call.body.trim_ascii().is_empty() { json!({}) } else { read(call)? };
            let user = match user {
                Value::Object(fields) if fields.is_empty() => None,
                fields => Some(understood::<Someone>(fields)?.user),
            };
            json!({ "expired": control.expire_tokens(user).await? })
        }
        (&Method::GET, "grants", "") => json!({ "grants": control.grants() }),
        (&Method::GET, "requests", "") => {
            let mut requests = control.requests();
            let wanted = url::form_urlencoded::parse(call.query.as_bytes()).find(|(key, _)| key == "route");
            if let Some((_, wanted)) = wanted {
                let wanted: Route = understood(json!(wanted))?;
                requests.requests.retain(|request| request.route == wanted);
            }
            json!(requests)
        }
        (&Method::DELETE, "requests", "") => {
            control.forget_requests();
            json!({})
        }
        (&Method::GET, "people", "") => json!({ "people": control.people() }),
        (&Method::POST, "people", "") => json!(control.merge_person(read(call)?)?),
        (&Method::DELETE, "people", id) => {
            let id = id.parse().map_err(|_| ControlError::UnknownPerson)?;
            json!({ "removed": control.remove_person(id).await? })
        }
        (&Method::POST, "members", "") => {
            let Member { user, membership } = read(call)?;
            if !control.join(user, membership) {
                return Err(ControlError::UnknownPerson.into());
            }
            json!({})
        }
        (&Method::DELETE, "members", "") => {
            let Left { user, guild } = read(call)?;
            if !control.leave(user, guild) {
                return Err(ControlError::UnknownPerson.into());
            }
            json!({})
        }
        (&Method::GET, "webhook", "") => json!({
            "public_key": webhook::public_key(), "told": control.told(0).await,
        }),
        (&Method::POST, "webhook", "") => {
            control.tell(read::<Told>(call)?.url);
            json!({ "public_key": webhook::public_key() })
        }
        (&Method::GET, "switches", "") => json!(control.switches()),
        (&Method::POST, "switches", "") => json!(control.merge_switches(read(call)?)?),
        (&Method::DELETE, "switches", "") => {
            control.reset_switches();
            json!(control.switches())
        }
        (&Method::POST, "ban", "") => {
            control.ban(Duration::from_secs(read::<Ban>(call)?.seconds));
            json!({})
        }
        (&Method::DELETE, "ban", "") => {
            control.end_bans();
            json!({})
        }
        _ => return Err(Refused::NotFound),
    })
}

fn help() -> Value {
    json!({
        "POST authorize": { "url": "the authorize URL or its query", "user": "id", "approve": true },
        "GET, POST, DELETE faults": { "on": "token", "kind": "drop", "when": "after", "times": 1, "skip": 0 },
        "faults": fault_kinds::help(),
        "POST release": "lets held answers go",
        "POST deauthorize": { "user": "id" },
        "POST expire-tokens": { "user": "id, or nothing for everybody" },
        "GET grants": "who granted what",
        "GET, DELETE requests": "what was asked; ?route= chooses",
        "GET, POST people, DELETE people/ID": { "id": "id", "global_name": "any fields to change" },
        "POST members": { "user": "id", "membership": { "guild": "id", "roles": ["id"], "nick": null, "pending": false } },
        "DELETE members": { "user": "id", "guild": "id" },
        "GET, POST webhook": { "url": "where signed events go, over http; null for nowhere" },
        "GET, POST, DELETE switches": "the manners; DELETE puts them back",
        "POST, DELETE ban": { "seconds": 60 },
    })
}

fn read<T: DeserializeOwned>(call: &Call) -> Result<T, ControlError> {
    serde_json::from_slice(&call.body).map_err(ControlError::NotUnderstood)
}

fn understood<T: DeserializeOwned>(value: Value) -> Result<T, ControlError> {
    serde_json::from_value(value).map_err(ControlError::NotUnderstood)
}

fn refusal(status: StatusCode, message: &str) -> Reply {
    Reply::json(status, &json!({ "message": message }))
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::super::people::DEMO_GUILD;
    use super::super::testing::{Answer, CLIENT, MARISOL, SECRET, Stage, parameter};
    use super::*;

    async fn send(stage: &Stage, method: Method, what: &str, body: &Value) -> Answer {
        let request =
            stage.http.request(method, stage.url(&format!("/_control/{what}"))).body(body.to_string());
        Answer::of(request.send().await.expect("an answer")).await
    }

    /// Row 11.
    #[tokio::test]
    async fn a_person_is_played_without_a_browser() {
        let stage = Stage::new().await;
        let url = format!("{}?{}", stage.stand_in.authorize_url(), Stage::query("identify", "&state=s"));
        let approve = json!({ "url": url, "user": MARISOL.to_string(), "approve": true });
        let played = send(&stage, Method::POST, "authorize", &approve).await.json();
        assert_eq!(played["asked"], true);
        let location = played["location"].as_str().expect("a place");
        assert_eq!(stage.redeem(&parameter(location, "code").expect("a code")).await.status, 200);
        let again = json!({ "url": format!("{url}&prompt=none"), "user": MARISOL.to_string() });
        assert_eq!(send(&stage, Method::POST, "authorize", &again).await.json()["asked"], false);
        let cancel = json!({ "url": url, "user": MARISOL.to_string(), "approve": false });
        let played = send(&stage, Method::POST, "authorize", &cancel).await.json();
        let location = played["location"].as_str().expect("a place");
        assert_eq!(parameter(location, "error").as_deref(), Some("access_denied"));
        for wrong in [
            json!({ "url": url, "user": "42" }),
            json!({ "url": url.replace(CLIENT, "42"), "user": MARISOL.to_string() }),
            json!({ "url": url, "user": MARISOL.0 }),
            json!({ "url": url, "user": MARISOL.to_string(), "approved": true }),
        ] {
            let refused = send(&stage, Method::POST, "authorize", &wrong).await;
            assert_eq!(refused.status, 400);
            assert!(refused.json()["message"].is_string());
        }
    }

    #[tokio::test]
    async fn no_page_may_use_it() {
        let stage = Stage::new().await;
        let ask = async |name: &'static str, value: &str| {
            let request = stage.http.get(stage.url("/_control/people")).header(name, value);
            request.send().await.expect("an answer").status().as_u16()
        };
        assert_eq!(ask("accept", "application/json").await, 200);
        assert_eq!(ask("sec-fetch-site", "none").await, 200);
        for site in ["cross-site", "same-site", "same-origin"] {
            assert_eq!(ask("sec-fetch-site", site).await, 403, "{site}");
        }
        assert_eq!(ask("origin", "http://127.0.0.1:3002").await, 403);
        assert_eq!(ask("origin", "null").await, 403);
    }

    #[tokio::test]
    async fn everything_can_be_reached() {
        let stage = Stage::new().await;
        let (access, _) = stage.sign_in(MARISOL, "identify").await;
        let me = "/api/v10/users/@me";

        let fault = json!({ "on": "me", "kind": { "server_error": { "status": 500 } }, "times": 1 });
        let waiting = send(&stage, Method::POST, "faults", &fault).await.json();
        assert_eq!(waiting["faults"].as_array().expect("a list").len(), 1);
        assert_eq!(stage.get(me, &access).await.status, 500);
        assert_eq!(stage.get(me, &access).await.status, 200);
        send(&stage, Method::POST, "faults", &json!({ "on": "any", "kind": "drop" })).await;
        assert_eq!(
            send(&stage, Method::DELETE, "faults", &Value::Null).await.json(),
            json!({ "faults": [] })
        );

        let change = json!({ "id": MARISOL.to_string(), "global_name": null, "username": "mari" });
        assert!(send(&stage, Method::POST, "people", &change).await.json()["avatar"].is_string());
        assert_eq!(stage.get(me, &access).await.json()["username"], "mari");
        let new = json!({ "id": "77", "username": "new" });
        assert_eq!(send(&stage, Method::POST, "people", &new).await.status, 200);
        let people = send(&stage, Method::GET, "people", &Value::Null).await.json();
        assert_eq!(people["people"].as_array().expect("a list").len(), 7);
        assert_eq!(
            send(&stage, Method::POST, "people", &json!({ "id": "77", "name": "x" })).await.status,
            400
        );
        assert_eq!(
            send(&stage, Method::DELETE, "people/77", &Value::Null).await.json(),
            json!({ "removed": true })
        );

        let guild = DEMO_GUILD.to_string();
        let member =
            json!({ "user": MARISOL.to_string(), "membership": { "guild": guild, "roles": ["42"] } });
        assert_eq!(send(&stage, Method::POST, "members", &member).await.json(), json!({}));
        let left = json!({ "user": "77", "guild": guild });
        assert_eq!(send(&stage, Method::DELETE, "members", &left).await.status, 400, "nobody has this id");
        let people = stage.stand_in.control().people();
        let found = people.iter().find(|person| person.id == MARISOL).expect("she is there");
        assert_eq!(found.guilds, [Membership::new(DEMO_GUILD, &[DiscordId(42)])]);
        let left = json!({ "user": MARISOL.to_string(), "guild": guild });
        assert_eq!(send(&stage, Method::DELETE, "members", &left).await.json(), json!({}));
        assert!(stage.stand_in.control().people().iter().all(|p| p.id != MARISOL || p.guilds.is_empty()));

        let told = send(&stage, Method::GET, "webhook", &Value::Null).await.json();
        assert_eq!(told, json!({ "public_key": webhook::public_key(), "told": [] }));
        let nowhere = json!({ "url": null });
        assert_eq!(send(&stage, Method::POST, "webhook", &nowhere).await.status, 200);

        let switches = send(&stage, Method::POST, "switches", &json!({ "expires_in": 9 })).await.json();
        assert_eq!((&switches["expires_in"], &switches["code_life"]), (&json!(9), &json!(100)));
        assert_eq!(send(&stage, Method::POST, "switches", &json!({ "expire": 9 })).await.status, 400);
        assert_eq!(
            send(&stage, Method::DELETE, "switches", &Value::Null).await.json()["expires_in"],
            604_800
        );

        let grants = send(&stage, Method::GET, "grants", &Value::Null).await.json();
        assert_eq!(grants["grants"][0]["access_tokens"], 1);
        let user = json!({ "user": MARISOL.to_string() });
        assert_eq!(send(&stage, Method::POST, "expire-tokens", &user).await.json(), json!({ "expired": 1 }));
        assert_eq!(stage.get(me, &access).await.status, 401);
        assert_eq!(
            send(&stage, Method::POST, "expire-tokens", &json!({})).await.json(),
            json!({ "expired": 0 })
        );
        assert_eq!(send(&stage, Method::POST, "deauthorize", &user).await.json(), json!({ "ended": true }));

        send(&stage, Method::POST, "ban", &json!({ "seconds": 60 })).await;
        assert_eq!(stage.get(me, &access).await.text, "error code: 1015");
        send(&stage, Method::DELETE, "ban", &Value::Null).await;
        assert_eq!(stage.get(me, &access).await.status, 401);
        assert_eq!(send(&stage, Method::POST, "release", &Value::Null).await.json(), json!({}));
        let help = send(&stage, Method::GET, "", &Value::Null).await;
        assert_eq!(help.status, 200);
        // Every kind that is shown can be sent just so.
        for kind in help.json()["faults"]["kind"].as_array().expect("a list") {
            let fault = json!({ "on": "me", "kind": kind, "times": 1 });
            assert_eq!(send(&stage, Method::POST, "faults", &fault).await.status, 200, "{kind}");
        }
        let bare = json!({ "on": "me", "kind": "server_error" });
        let refused = send(&stage, Method::POST, "faults", &bare).await;
        assert_eq!(refused.status, 400);
        let message = refused.json()["message"].to_string();
        assert!(message.contains("GET /_control/ shows"), "{message}");
        assert_eq!(send(&stage, Method::GET, "nothing", &Value::Null).await.status, 404);
    }

    /// Row 52.
    #[tokio::test]
    async fn every_request_is_noted_without_its_secrets() {
        let stage = Stage::new().await;
        let (access, refresh) = stage.sign_in(MARISOL, "identify").await;
        stage.get("/api/v10/users/@me", &access).await;
        stage.get(&format!("/api/v10/users/@me?token={access}"), "x").await;
        let basic =
            stage.http.post(stage.url("/api/v10/oauth2/token/revoke")).basic_auth(CLIENT, Some(SECRET));
        basic.form(&[("token", &refresh)]).send().await.expect("an answer");
        let noted = send(&stage, Method::GET, "requests", &Value::Null).await;
        for secret in [SECRET, &access, &refresh] {
            assert!(!noted.text.contains(secret));
        }
        let noted = noted.json();
        assert_eq!(
            (&noted["total"], &noted["counts"]),
            (&json!(4), &json!({ "token": 1, "me": 2, "revoke": 1 }))
        );
        let requests = noted["requests"].as_array().expect("a list");
        let token = &requests[0];
        assert_eq!(
            token["form"],
            json!(["client_id", "client_secret", "grant_type", "code", "redirect_uri"])
        );
        assert_eq!(
            (&token["method"], &token["status"], &token["outcome"]),
            (&json!("POST"), &json!(200), &json!("ok"))
        );
        assert!(
            requests[1]["headers"]
                .as_array()
                .expect("pairs")
                .contains(&json!(["authorization", "Bearer ***"]))
        );
        assert_eq!(
            (&requests[1]["secret_in_url"], &requests[2]["secret_in_url"]),
            (&json!(false), &json!(true))
        );
        assert_eq!(requests[2]["query"], json!(["token"]));
        assert!(
            requests[3]["headers"]
                .as_array()
                .expect("pairs")
                .contains(&json!(["authorization", "Basic ***"]))
        );
        let revoked = send(&stage, Method::GET, "requests?route=revoke", &Value::Null).await.json();
        assert_eq!(revoked["requests"].as_array().expect("a list").len(), 1);
        send(&stage, Method::DELETE, "requests", &Value::Null).await;
        assert_eq!(send(&stage, Method::GET, "requests", &Value::Null).await.json()["total"], 0);
    }
}
