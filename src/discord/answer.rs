//! What Discord answered: a bounded body, and what a status with either error family, or neither, means.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use serde_json::{Map, Value};

use super::error::{CallError, Unreadable};
use super::retry_after;
use crate::domain::event::{FailureCode, OutageCause};

/// The most that is read of any answer, in bytes.
pub(super) const LONGEST: usize = 1024 * 1024;

/// How long we keep off after a ban or a block that does not say how long it lasts.
const UNTOLD_STOP: Duration = Duration::from_secs(600);

/// How long a limit of one route lasts that does not say how long it lasts.
const UNTOLD_LIMIT: Duration = Duration::from_secs(5);

/// Discord's code for "Cloudflare does not let you through".
const BLOCKED: i64 = 40333;

/// Which of Discord's two ways of refusing is to be expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// `{"error": …}`, from the token endpoint.
    OAuth,
    /// `{"message": …, "code": …}`, from everything else.
    Api,
}

/// A call that gave nothing, and what follows from that for this call and for all others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Failure {
    /// What the caller learns.
    pub(super) error: CallError,
    /// After how long Discord said that the same call may be made again.
    pub(super) wait: Option<Duration>,
    /// For how long no call at all may be made.
    pub(super) stop: Option<(OutageCause, Duration)>,
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Failure {
        Failure { error, wait: None, stop: None }
    }
}

/// A good answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// 2xx.
    pub(super) status: u16,
    /// At most [`LONGEST`] bytes.
    pub(super) body: Vec<u8>,
}

/// Reads an answer to its end, or to as much of it as is needed.
pub(super) async fn read(mut response: Response, family: Family) -> Result<Answer, Failure> {
    let status = response.status();
    let body = read_body(&mut response).await;
    if status.is_success() {
        let body = body.map_err(|(cut, _)| match cut {
            Cut::TooLong => CallError::Unreadable { status: status.as_u16(), why: Unreadable::TooLong },
            Cut::Broken => CallError::Unreachable { sent: true },
            Cut::TimedOut => CallError::TimedOut { sent: true },
        })?;
        return Ok(Answer { status: status.as_u16(), body });
    }
    // The status says enough, so what came of the body has to do.
    let body = body.unwrap_or_else(|(_, part)| part);
    Err(judge(status, response.headers(), &body, family))
}

enum Cut {
    TooLong,
    Broken,
    TimedOut,
}

async fn read_body(response: &mut Response) -> Result<Vec<u8>, (Cut, Vec<u8>)> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > LONGEST => return Err((Cut::TooLong, body)),
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(error) if error.is_timeout() => return Err((Cut::TimedOut, body)),
            Err(_) => return Err((Cut::Broken, body)),
        }
    }
}

/// Says what an answer other than 2xx means.
fn judge(status: StatusCode, headers: &HeaderMap, body: &[u8], family: Family) -> Failure {
    let object = serde_json::from_slice::<Map<String, Value>>(body).ok();
    let oauth_error = object.as_ref().and_then(|object| object.get("error")?.as_str());
    let code = object.as_ref().and_then(|object| object.get("code")?.as_i64());
    let number = status.as_u16();
    match number {
        429 => limited(headers, body, object.as_ref()),
        500.. => CallError::ServerError { status: number }.into(),
        403 if code == Some(BLOCKED) || is_cloudflare_text(body) => {
            let wait = retry_after::told(header(headers, RETRY_AFTER.as_str()), None);
            Failure {
                error: CallError::Unexpected { status: number, code },
                wait: None,
                stop: Some((OutageCause::CloudflareBan, wait.unwrap_or(UNTOLD_STOP))),
            }
        }
        400..=499 if family == Family::OAuth => {
            let description = object.as_ref().and_then(|object| object.get("error_description")?.as_str());
            match oauth_error {
                Some(error) => refused(number, error, description).into(),
                // 401 is the answer to bad credentials in either family, but not from a proxy's page.
                None if number == 401 && object.is_some() => {
                    CallError::ClientRejected { status: number }.into()
                }
                None => CallError::Unexpected { status: number, code }.into(),
            }
        }
        401 => CallError::Unauthorized.into(),
        _ => CallError::Unexpected { status: number, code }.into(),
    }
}

/// Says what an error code of OAuth means.
///
/// Descriptions change without notice and are never compared, but for one: a client secret that got
/// lost on its way shows as a missing verifier, because without either Discord takes us for a public client.
fn refused(status: u16, error: &str, description: Option<&str>) -> CallError {
    let code = match error {
        "invalid_client" => return CallError::ClientRejected { status },
        "invalid_request" if description.is_some_and(|d| d.starts_with("Missing \"code_verifier\"")) => {
            return CallError::ClientRejected { status };
        }
        "server_error" | "temporarily_unavailable" => return CallError::ServerError { status },
        "access_denied" => FailureCode::AccessDenied,
        "invalid_request" => FailureCode::InvalidRequest,
        "invalid_grant" => FailureCode::InvalidGrant,
        "unauthorized_client" => FailureCode::UnauthorizedClient,
        "unsupported_grant_type" => FailureCode::UnsupportedGrantType,
        "invalid_scope" => FailureCode::InvalidScope,
        _ => FailureCode::Other,
    };
    CallError::Refused { status, code }
}

/// Says whom a 429 stops, and for how long.
fn limited(headers: &HeaderMap, body: &[u8], object: Option<&Map<String, Value>>) -> Failure {
    let told = retry_after::told(
        header(headers, RETRY_AFTER.as_str()),
        object.and_then(|object| object.get("retry_after")),
    );
    let scope = header(headers, "x-ratelimit-scope");
    let is_global = object.and_then(|object| object.get("global")) == Some(&Value::Bool(true))
        || header(headers, "x-ratelimit-global").is_some_and(|value| value.eq_ignore_ascii_case("true"))
        || scope == Some("global");
    let cause = if is_global {
        Some(OutageCause::GlobalRateLimit)
    } else if object.is_none() && !body.is_empty() {
        // Discord writes JSON; text and HTML are Cloudflare's, and mean this address.
        Some(OutageCause::CloudflareBan)
    } else if told.is_none() && scope.is_none() {
        // How Discord blocks an address that was limited too often: neither a wait nor a scope.
        Some(OutageCause::CloudflareBan)
    } else {
        None
    };
    let untold = if cause.is_some() { UNTOLD_STOP } else { UNTOLD_LIMIT };
    let retry_after = told.unwrap_or(untold);
    Failure {
        error: CallError::RateLimited { retry_after, global: cause.is_some() },
        wait: told,
        stop: cause.map(|cause| (cause, retry_after)),
    }
}

/// Returns whether this is the text with which Cloudflare refuses, such as `error code: 1020`.
fn is_cloudflare_text(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"error code: 10")
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
