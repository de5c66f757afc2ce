//! Plays a fault: what the caller gets instead of the right answer, and how it travels.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::Shared;
use super::call::Call;
use super::faults::{ErrorBody, Fault, FaultKind, Malformed, When};
use super::limits::{cloudflare_limit, rate_limited};
use super::reply::{Reply, json_text};
use super::server::handle;

/// How an answer travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    Whole,
    BodyAfter(Duration),
    OneByteASecond,
    ResetMidBody,
    Huge,
}

/// The connection ends without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    #[error("drop")]
    Closed,
    #[error("reset")]
    Reset,
}

/// Plays `fault` on a request.
pub(super) async fn play(
    shared: &Arc<Shared>,
    call: &Call,
    fault: &Fault,
) -> Result<(Reply, Delivery), Broken> {
    let name = fault.kind.name();
    if let Some(reply) = canned(shared, call, &fault.kind) {
        if fault.when == When::After {
            handle(shared, call).await;
        }
        return Ok((reply, Delivery::Whole));
    }
    let early = fault.when == When::Before;
    let delivery = match &fault.kind {
        FaultKind::Drop | FaultKind::Reset | FaultKind::NeverAnswer => {
            if !early {
                handle(shared, call).await;
            }
            match fault.kind {
                FaultKind::Drop => return Err(Broken::Closed),
                FaultKind::Reset => return Err(Broken::Reset),
                _ => std::future::pending().await,
            }
        }
        FaultKind::DelayHeaders { .. } | FaultKind::Hold => {
            let done = if early { None } else { Some(handle(shared, call).await) };
            match fault.kind {
                FaultKind::DelayHeaders { seconds } => shared.clock.sleep(duration(seconds)).await,
                _ => {
                    // The sender lives in `shared`, so waiting ends only when it speaks.
                    let _ = shared.released.subscribe().changed().await;
                }
            }
            let reply = match done {
                Some(reply) => reply,
                None => handle(shared, call).await,
            };
            return Ok((reply, Delivery::Whole));
        }
        FaultKind::DelayBody { seconds } => Delivery::BodyAfter(duration(*seconds)),
        FaultKind::OneByteASecond => Delivery::OneByteASecond,
        FaultKind::ResetMidBody => Delivery::ResetMidBody,
        FaultKind::Malformed(Malformed::Huge) => Delivery::Huge,
        _ => Delivery::Whole,
    };
    let reply = handle(shared, call).await;
    let reply = match &fault.kind {
        FaultKind::Malformed(how) => spoil(reply, *how),
        _ => reply,
    };
    Ok((reply.named(name), delivery))
}

/// Returns the answer of a fault that needs nothing of the right one.
fn canned(shared: &Shared, call: &Call, kind: &FaultKind) -> Option<Reply> {
    let status = |code: u16| StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let reply = match kind {
        // It keeps its own name, which says whether it counts towards a ban.
        FaultKind::RateLimited(limited) => {
            return Some(rate_limited(limited, call.milliseconds, shared.clock.now()));
        }
        FaultKind::CloudflareLimit { retry_after } => cloudflare_limit(*retry_after),
        FaultKind::ServerError { status: code, body } => server_error(status(*code), *body),
        FaultKind::Redirect { status: code, location } => Reply::redirect(status(*code), location),
        FaultKind::Answer { status: code, headers, body } => {
            let mut reply = Reply::new(status(*code), "application/json", body.clone());
            for (name, value) in headers {
                if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
                    reply.headers.insert(name, value);
                }
            }
            reply
        }
        _ => return None,
    };
    Some(reply.named(kind.name()))
}

fn server_error(status: StatusCode, body: Option<ErrorBody>) -> Reply {
    let body = body.unwrap_or(match status.as_u16() {
        500 => ErrorBody::Json,
        503 => ErrorBody::Envoy,
        _ => ErrorBody::Html,
    });
    match body {
        ErrorBody::Json => Reply::api_status(status),
        ErrorBody::Html => {
            let title = status.to_string();
            Reply::new(status, "text/html; charset=UTF-8", page(&title))
        }
        ErrorBody::Envoy => Reply::new(
            status,
            "text/plain",
            "upstream connect error or disconnect/reset before headers. reset reason: overflow",
        ),
        ErrorBody::Empty => Reply::new(status, "text/plain", ""),
    }
}

fn page(title: &str) -> String {
    format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n\
         <hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n"
    )
}

/// Spoils a good answer.
fn spoil(mut reply: Reply, how: Malformed) -> Reply {
    let text = reply.body.clone();
    let mut object = match serde_json::from_slice(&text) {
        Ok(Value::Object(object)) => object,
        _ => Map::new(),
    };
    reply.body = match how {
        Malformed::TruncatedJson => text.slice(..text.len() / 2),
        Malformed::Empty => Bytes::new(),
        Malformed::Html => {
            reply.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=UTF-8"));
            page("Just a moment").into()
        }
        Malformed::IdAsNumber => {
            let id = object.get("id").and_then(Value::as_str).and_then(|id| id.parse::<u64>().ok());
            with(object, "id", json!(id.unwrap_or(1)))
        }
        Malformed::ExpiresInAsString => {
            let life = object.get("expires_in").and_then(Value::as_u64).unwrap_or(604_800);
            with(object, "expires_in", json!(life.to_string()))
        }
        Malformed::ScopeNull => with(object, "scope", Value::Null),
        Malformed::NoAccessToken => without(object, "access_token"),
        Malformed::NoRefreshToken => without(object, "refresh_token"),
        Malformed::TokenTypeLowerCase => with(object, "token_type", json!("bearer")),
        Malformed::TokenTypeMac => with(object, "token_type", json!("mac")),
        Malformed::TopLevelArray => [b"[", &*text, b"]"].concat().into(),
        Malformed::Bom => ["\u{feff}".as_bytes(), &text].concat().into(),
        Malformed::InvalidUtf8 => inserted(&text, b"\"note\": \"\xff\xfe\""),
        Malformed::DuplicateKeys => {
            object.values_mut().for_each(|value| *value = json!("wrong"));
            let wrong = json_text(&Value::Object(object));
            inserted(
                &text,
                wrong.strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}")).unwrap_or_default(),
            )
        }
        // The socket fills it.
        Malformed::Huge => Bytes::new(),
    };
    reply
}

fn with(mut object: Map<String, Value>, key: &str, value: Value) -> Bytes {
    object.insert(key.to_owned(), value);
    json_text(&Value::Object(object)).into()
}

fn without(mut object: Map<String, Value>, key: &str) -> Bytes {
    object.remove(key);
    json_text(&Value::Object(object)).into()
}

/// Inserts members at the start of an object's text.
fn inserted(text: &[u8], members: &[u8]) -> Bytes {
    let rest = text.strip_prefix(b"{").unwrap_or_default();
    let comma: &[u8] = if rest.starts_with(b"}") || members.is_empty() { b"" } else { b", " };
    [b"{", members, comma, rest].concat().into()
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}
