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
use super::faults::Fault;
use super::people::id;
use super::reply::Reply;
use super::requests::Route;
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
            refusal(StatusCode::BAD_REQUEST, &format!("{error}{}", source.unwrap_or_default()))
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
        "POST release": "lets held answers go",
        "POST deauthorize": { "user": "id" },
        "POST expire-tokens": { "user": "id, or nothing for everybody" },
        "GET grants": "who granted what",
        "GET, DELETE requests": "what was asked; ?route= chooses",
        "GET, POST people, DELETE people/ID": { "id": "id", "global_name": "any fields to change" },
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
