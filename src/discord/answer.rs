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
    /// 2xx, or 404 where that is a good answer.
    pub(super) status: u16,
    /// At most [`LONGEST`] bytes.
    pub(super) body: Vec<u8>,
}

/// Reads an answer to its end, or to as much of it as is needed.
///
/// `absent` are the codes with which a 404 is a good answer: that there is nothing.
pub(super) async fn read(mut response: Response, family: Family, absent: &[i64]) -> Result<Answer, Failure> {
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
    if status == StatusCode::NOT_FOUND && code_of(&body).is_some_and(|code| absent.contains(&code)) {
        return Ok(Answer { status: status.as_u16(), body });
    }
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

/// Returns Discord's own code for what is wrong.
fn code_of(body: &[u8]) -> Option<i64> {
    serde_json::from_slice::<Map<String, Value>>(body).ok()?.get("code")?.as_i64()
}

/// Says what an answer other than 2xx means.
pub(super) fn judge(status: StatusCode, headers: &HeaderMap, body: &[u8], family: Family) -> Failure {
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
        "invalid_request" | "invalid_grant"
            if description.is_some_and(|d| d.starts_with("Missing \"code_verifier\"")) =>
        {
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
    } else if !matches!(body.trim_ascii_start().first(), None | Some(b'{')) {
        // Discord writes JSON, if it is cut or not; text and HTML are Cloudflare's, and mean this address.
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

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! fixture {
        ($name:literal) => {
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/discord/", $name))
        };
    }

    fn judged(status: u16, headers: &[(&'static str, &'static str)], body: &str, family: Family) -> Failure {
        let headers = headers
            .iter()
            .map(|(name, value)| {
                (
                    reqwest::header::HeaderName::from_static(name),
                    reqwest::header::HeaderValue::from_static(value),
                )
            })
            .collect();
        judge(StatusCode::from_u16(status).expect("a status"), &headers, body.as_bytes(), family)
    }

    #[track_caller]
    fn check(status: u16, body: &str, family: Family, expected: CallError) {
        assert_eq!(judged(status, &[], body, family), Failure::from(expected), "{status} {body}");
    }

    fn seconds(value: f64) -> Duration {
        Duration::from_secs_f64(value)
    }

    #[test]
    fn refusals_of_the_token_endpoint_are_told_apart_by_their_code() {
        let refused = |code| CallError::Refused { status: 400, code };
        let check = |status, body, expected| check(status, body, Family::OAuth, expected);
        check(400, fixture!("invalid_grant.json"), refused(FailureCode::InvalidGrant));
        check(400, fixture!("invalid_grant_refresh.json"), refused(FailureCode::InvalidGrant));
        check(400, fixture!("invalid_code_verifier.json"), refused(FailureCode::InvalidRequest));
        check(400, r#"{"error": "invalid_scope"}"#, refused(FailureCode::InvalidScope));
        check(400, r#"{"error": "unsupported_grant_type"}"#, refused(FailureCode::UnsupportedGrantType));
        check(400, r#"{"error": "unauthorized_client"}"#, refused(FailureCode::UnauthorizedClient));
        check(400, r#"{"error": "access_denied"}"#, refused(FailureCode::AccessDenied));
        check(400, r#"{"error": "news_of_tomorrow"}"#, refused(FailureCode::Other));
        check(400, r#"{"error": "server_error"}"#, CallError::ServerError { status: 400 });
    }

    #[test]
    fn a_lost_or_wrong_secret_is_our_own_mistake() {
        let check = |status, body| check(status, body, Family::OAuth, CallError::ClientRejected { status });
        check(401, fixture!("invalid_client.json"));
        check(400, fixture!("invalid_client.json"));
        check(400, fixture!("missing_code_verifier.json"));
        check(401, fixture!("unauthorized.json"));
    }

    #[test]
    fn refusals_of_the_api_are_told_apart_by_their_status() {
        let unexpected = |status, code| CallError::Unexpected { status, code };
        check(401, fixture!("unauthorized.json"), Family::Api, CallError::Unauthorized);
        check(401, "", Family::Api, CallError::Unauthorized);
        check(403, fixture!("missing_scope.json"), Family::Api, unexpected(403, Some(50026)));
        check(400, fixture!("bad_request.json"), Family::OAuth, unexpected(400, Some(0)));
        check(400, fixture!("bad_request.html"), Family::OAuth, unexpected(400, None));
        check(401, "<html>", Family::OAuth, unexpected(401, None));
        check(302, "", Family::Api, unexpected(302, None));
        // The other family's shape in the wrong place is no reason to end a grant.
        check(404, fixture!("invalid_grant.json"), Family::Api, unexpected(404, None));
    }

    #[test]
    fn trouble_is_trouble_in_whatever_words() {
        for family in [Family::OAuth, Family::Api] {
            let check = |status, body| check(status, body, family, CallError::ServerError { status });
            check(500, fixture!("internal_server_error.json"));
            check(502, fixture!("bad_gateway.html"));
            check(503, fixture!("envoy_503.txt"));
            check(504, "");
            check(500, fixture!("invalid_grant.json"));
            check(599, "\u{feff}{");
        }
    }

    #[test]
    fn a_limit_of_one_route_does_not_stop_all_calls() {
        let headers = [("retry-after", "2"), ("x-ratelimit-scope", "user")];
        let failure = judged(429, &headers, fixture!("rate_limited.json"), Family::Api);
        let limit = |retry_after| CallError::RateLimited { retry_after, global: false };
        let expected = |secs| Failure { error: limit(seconds(secs)), wait: Some(seconds(secs)), stop: None };
        assert_eq!(failure, expected(2.0));
        assert_eq!(judged(429, &[], fixture!("rate_limited.json"), Family::OAuth), expected(1.287));
        assert_eq!(judged(429, &[("retry-after", "3")], "", Family::OAuth), expected(3.0));
        let shared = judged(429, &[("x-ratelimit-scope", "shared")], "{}", Family::Api);
        assert_eq!(shared, Failure::from(limit(UNTOLD_LIMIT)), "not told: not waited for");
        let cut = &fixture!("rate_limited.json")[..30];
        assert_eq!(judged(429, &[("retry-after", "3")], cut, Family::Api), expected(3.0));
    }

    #[test]
    fn a_global_limit_stops_all_calls() {
        let stop = Some((OutageCause::GlobalRateLimit, seconds(64.57)));
        let failure = judged(429, &[], fixture!("rate_limited_global.json"), Family::Api);
        assert_eq!(failure.stop, stop);
        assert_eq!(failure.error, CallError::RateLimited { retry_after: seconds(64.57), global: true });
        for header in [("x-ratelimit-global", "true"), ("x-ratelimit-scope", "global")] {
            let failure = judged(429, &[header, ("retry-after", "65")], "{}", Family::OAuth);
            assert_eq!(failure.stop, Some((OutageCause::GlobalRateLimit, seconds(65.0))), "{header:?}");
        }
    }

    #[test]
    fn a_ban_stops_all_calls_for_as_long_as_it_says_or_ten_minutes() {
        let stop = |status, headers: &[_], body| judged(status, headers, body, Family::OAuth).stop;
        let ban = |secs| Some((OutageCause::CloudflareBan, seconds(secs)));
        assert_eq!(stop(429, &[], fixture!("cloudflare_1015.txt")), ban(600.0));
        assert_eq!(stop(429, &[("retry-after", "3600")], fixture!("cloudflare_1015.txt")), ban(3600.0));
        assert_eq!(stop(429, &[("retry-after", "abc")], fixture!("bad_gateway.html")), ban(600.0));
        assert_eq!(stop(429, &[], fixture!("rate_limited_blocked.json")), ban(600.0));
        assert_eq!(stop(429, &[], ""), ban(600.0));
        assert_eq!(stop(403, &[], fixture!("cloudflare_40333.json")), ban(600.0));
        assert_eq!(stop(403, &[("retry-after", "30")], fixture!("cloudflare_1020.txt")), ban(30.0));
        assert_eq!(stop(403, &[], fixture!("missing_scope.json")), None);
    }

    #[test]
    fn a_ban_without_an_end_is_not_waited_for() {
        assert_eq!(judged(429, &[], fixture!("cloudflare_1015.txt"), Family::Api).wait, None);
        assert_eq!(judged(403, &[("retry-after", "1")], "error code: 1020", Family::Api).wait, None);
    }
}
