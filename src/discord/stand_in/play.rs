//! Plays a fault: what the caller gets instead of the right answer, and how it travels.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::Shared;
use super::call::Call;
use super::faults::{ErrorBody, Fault, FaultKind, Malformed, When};
use super::limits::{cloudflare_limit, rate_limited};
use super::reply::{Reply, json_text};
use super::requests::Noted;
use super::server::handle;

/// When a request came, and how it can be held.
#[derive(Debug)]
pub(super) struct Arrival {
    pub noted: Noted,
    pub at: Duration,
    pub released: watch::Receiver<()>,
}

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
    mut arrival: Arrival,
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
                FaultKind::DelayHeaders { seconds } => {
                    let due = arrival.at.saturating_add(duration(seconds));
                    shared.clock.sleep(due.saturating_sub(shared.clock.monotonic())).await;
                }
                _ => {
                    let _held = Held::new(shared, arrival.noted);
                    // The sender lives in `shared`, so waiting ends only when it speaks.
                    let _ = arrival.released.changed().await;
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

/// An answer that is being held; it counts as long as it lives.
struct Held<'a>(&'a Shared);

impl Held<'_> {
    fn new(shared: &Shared, noted: Noted) -> Held<'_> {
        shared.notebook.finish(noted, None, "held".into());
        shared.held.send_modify(|held| *held += 1);
        Held(shared)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.held.send_modify(|held| *held -= 1);
    }
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

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::super::faults::{LimitScope, RateLimited, RetryBody, RetryHeader};
    use super::super::people::DEMO_GUILD;
    use super::super::requests::Route;
    use super::super::testing::{Answer, MARISOL, Stage, tokens};
    use super::*;

    const ME: &str = "/api/v10/users/@me";

    async fn with_fault(fault: Fault) -> (Stage, String, String) {
        let stage = Stage::new().await;
        let (access, refresh) = stage.sign_in(MARISOL, "identify").await;
        stage.stand_in.control().add_fault(fault);
        (stage, access, refresh)
    }

    async fn me(kind: FaultKind) -> Answer {
        let (stage, access, _) = with_fault(Fault::new(Route::Me, kind).once()).await;
        stage.get(ME, &access).await
    }

    /// Asks for the person over a socket of its own.
    async fn ask(stage: &Stage, access: &str) -> TcpStream {
        let mut stream = TcpStream::connect(stage.stand_in.address()).await.expect("connects");
        let request = format!(
            "GET {ME} HTTP/1.1\r\nhost: x\r\nuser-agent: DiscordBot (x, 1)\r\nauthorization: Bearer {access}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("writes");
        stream
    }

    async fn headers(stream: &mut TcpStream) -> String {
        let mut text = Vec::new();
        while !text.ends_with(b"\r\n\r\n") {
            text.push(stream.read_u8().await.expect("a byte"));
        }
        String::from_utf8(text).expect("text")
    }

    fn nothing_more(stream: &TcpStream) -> bool {
        stream.try_read(&mut [0; 1]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Row 29.
    #[tokio::test]
    async fn a_token_can_be_rotated_and_the_answer_lost() {
        let fault = Fault::new(Route::Refresh, FaultKind::Drop).once().after_the_effect();
        let (stage, access, refresh) = with_fault(fault).await;
        let form = [
            ("client_id", super::super::testing::CLIENT),
            ("client_secret", super::super::testing::SECRET),
            ("grant_type", "refresh_token"),
            ("refresh_token", &refresh),
        ];
        let lost = stage.http.post(stage.url("/api/v10/oauth2/token")).form(&form).send().await;
        assert!(lost.is_err_and(|error| !error.is_builder()));
        assert_eq!(stage.refresh(&refresh).await.oauth().1, "invalid_grant");
        assert_eq!(stage.get(ME, &access).await.status, 401);
        let asked = stage.stand_in.control().requests();
        assert_eq!(asked.count(Route::Refresh), 2);
        let lost = asked.requests.iter().find(|request| request.route == Route::Refresh).expect("noted");
        assert_eq!((lost.status, lost.outcome.as_str()), (None, "drop"));
    }

    /// Row 29.
    #[tokio::test]
    async fn before_the_effect_means_that_nothing_is_lost() {
        let (stage, _, refresh) =
            with_fault(Fault::new(Route::Refresh, FaultKind::ServerError { status: 503, body: None }).once())
                .await;
        assert_eq!(stage.refresh(&refresh).await.status, 503);
        tokens(&stage.refresh(&refresh).await);
    }

    /// Row 43.
    #[tokio::test]
    async fn a_route_is_limited_per_token_and_the_bucket_fills_again() {
        let stage = Stage::new().await;
        let (access, _) = stage.sign_in(MARISOL, "guilds.members.read").await;
        let (other, _) = stage.sign_in(MARISOL, "guilds.members.read").await;
        let path = format!("/api/v10/users/@me/guilds/{DEMO_GUILD}/member");
        for left in (0..5).rev() {
            let answer = stage.get(&path, &access).await;
            assert_eq!((answer.status, answer.header("x-ratelimit-remaining")), (200, &*left.to_string()));
        }
        stage.clock.advance(Duration::from_millis(300));
        let limited = stage.get(&path, &access).await;
        assert_eq!((limited.status, limited.header("retry-after")), (429, "1"));
        assert_eq!(limited.header("x-ratelimit-limit"), "5");
        assert_eq!(limited.header("x-ratelimit-remaining"), "0");
        assert_eq!(limited.header("x-ratelimit-reset"), "1770091507.789");
        assert_eq!(limited.header("x-ratelimit-reset-after"), "0.700");
        assert_eq!(limited.header("x-ratelimit-scope"), "user");
        let body = limited.json();
        assert_eq!(
            (&body["message"], &body["global"]),
            (&json!("You are being rate limited."), &json!(false))
        );
        assert!((body["retry_after"].as_f64().expect("seconds") - 0.7).abs() < 1e-9);
        assert_eq!(stage.get(&path, &other).await.status, 200);
        stage.clock.advance(Duration::from_millis(700));
        assert_eq!(stage.get(&path, &access).await.status, 200);
    }

    /// Row 44.
    #[tokio::test]
    async fn a_global_limit_says_so_and_tells_no_bucket() {
        let limited = RateLimited { scope: LimitScope::Global, retry_after: 65.0, ..RateLimited::default() };
        let answer = me(FaultKind::RateLimited(limited)).await;
        assert_eq!((answer.status, answer.header("retry-after")), (429, "65"));
        assert_eq!(answer.header("x-ratelimit-global"), "true");
        assert_eq!(answer.header("x-ratelimit-scope"), "global");
        assert_eq!(answer.json()["global"], true);
        for bucket in ["limit", "remaining", "reset", "reset-after", "bucket"] {
            assert_eq!(answer.header(&format!("x-ratelimit-{bucket}")), "", "{bucket}");
        }
    }

    /// Row 45.
    #[tokio::test]
    async fn a_limit_can_have_any_odd_form() {
        let limited = |retry_after, header, body| {
            me(FaultKind::RateLimited(RateLimited { scope: LimitScope::User, retry_after, header, body }))
        };
        let answer = limited(0.3, RetryHeader::Absent, RetryBody::Json).await;
        assert_eq!((answer.header("retry-after"), &answer.json()["retry_after"]), ("", &json!(0.3)));
        let answer = limited(3_600.0, RetryHeader::Rounded, RetryBody::Empty).await;
        assert_eq!((answer.header("retry-after"), answer.text.as_str()), ("3600", ""));
        let answer = limited(1.0, RetryHeader::Rounded, RetryBody::JsonWithoutRetryAfter).await;
        assert!(answer.json().get("retry_after").is_none());
        let answer = limited(1.0, RetryHeader::Text("abc".into()), RetryBody::Json).await;
        assert_eq!(answer.header("retry-after"), "abc");
        let answer = limited(1.0, RetryHeader::Absent, RetryBody::Blocked).await;
        assert!(answer.api().1.starts_with("You are being blocked"));
        // Before version 8, and so without a version, waits are milliseconds.
        let fault = Fault::new(Route::Me, FaultKind::RateLimited(RateLimited::default()));
        let (stage, access, _) = with_fault(fault).await;
        let answer = stage.get("/api/users/@me", &access).await;
        assert_eq!((answer.header("retry-after"), &answer.json()["retry_after"]), ("1287", &json!(1287.0)));
        assert_eq!(stage.get(ME, &access).await.header("retry-after"), "2");
    }

    /// Row 46.
    #[tokio::test]
    async fn who_collects_refusals_is_banned_from_every_path_for_a_while() {
        let stage = Stage::new().await;
        stage.stand_in.control().change_switches(|switches| {
            switches.ban_after = 3;
            switches.ban_seconds = 60;
        });
        // What is limited for everybody does not count.
        let shared = RateLimited { scope: LimitScope::Shared, ..RateLimited::default() };
        stage.stand_in.control().add_fault(Fault::new(Route::Me, FaultKind::RateLimited(shared)).times(5));
        for _ in 0..5 {
            assert_eq!(stage.get(ME, "x").await.status, 429);
        }
        for _ in 0..3 {
            assert_eq!(stage.get(ME, "x").await.status, 401);
        }
        for path in [ME, "/oauth2/authorize", "/embed/avatars/1.png"] {
            let banned = stage.get(path, "x").await;
            assert_eq!((banned.status, banned.text.as_str()), (429, "error code: 1015"));
            assert!(
                banned.header("content-type").starts_with("text/plain")
                    && banned.header("retry-after").is_empty()
            );
        }
        stage.clock.advance(Duration::from_secs(60));
        assert_eq!(stage.get(ME, "x").await.status, 401);
        stage.stand_in.control().change_switches(|switches| switches.ban_tells_how_long = true);
        stage.stand_in.control().ban(Duration::from_secs(30));
        assert_eq!(stage.get(ME, "x").await.header("retry-after"), "30");
        stage.stand_in.control().end_bans();
        assert_eq!(stage.get(ME, "x").await.status, 401);
        let once = me(FaultKind::CloudflareLimit { retry_after: Some(3_600) }).await;
        assert_eq!((once.text.as_str(), once.header("retry-after")), ("error code: 1015", "3600"));
    }

    /// Row 47.
    #[tokio::test]
    async fn server_errors_are_json_html_text_or_nothing() {
        let error = |status, body| me(FaultKind::ServerError { status, body });
        assert_eq!(error(500, None).await.api(), (500, "500: Internal Server Error".into(), 0));
        let html = error(502, None).await;
        assert!(
            html.header("content-type").starts_with("text/html") && html.text.contains("502 Bad Gateway")
        );
        assert!(error(503, None).await.text.starts_with("upstream connect error"));
        let empty = error(504, Some(ErrorBody::Empty)).await;
        assert_eq!((empty.status, empty.text.as_str()), (504, ""));
        let fault = Fault::new(Route::Refresh, FaultKind::ServerError { status: 500, body: None }).times(2);
        let (stage, _, refresh) = with_fault(fault.after_the_effect()).await;
        let statuses = [stage.refresh(&refresh).await.status, stage.refresh(&refresh).await.status];
        assert_eq!(statuses, [500, 500]);
        assert_eq!(stage.refresh(&refresh).await.oauth().1, "invalid_grant");
    }

    /// Row 48.
    #[tokio::test]
    async fn a_good_answer_can_be_spoilt_in_every_way() {
        let spoilt = |how| me(FaultKind::Malformed(how));
        assert!(serde_json::from_str::<Value>(&spoilt(Malformed::TruncatedJson).await.text).is_err());
        assert_eq!(spoilt(Malformed::Empty).await.text, "");
        let html = spoilt(Malformed::Html).await;
        assert!(html.status == 200 && html.text.starts_with("<html>"));
        assert_eq!(spoilt(Malformed::IdAsNumber).await.json()["id"], json!(MARISOL.0));
        assert!(spoilt(Malformed::TopLevelArray).await.json().is_array());
        assert!(spoilt(Malformed::DuplicateKeys).await.text.matches("\"username\": ").count() >= 2);

        let (stage, access, _) =
            with_fault(Fault::new(Route::Me, FaultKind::Malformed(Malformed::Bom)).once()).await;
        stage
            .stand_in
            .control()
            .add_fault(Fault::new(Route::Me, FaultKind::Malformed(Malformed::InvalidUtf8)).once());
        stage
            .stand_in
            .control()
            .add_fault(Fault::new(Route::Me, FaultKind::Malformed(Malformed::Huge)).once());
        let bytes = async || {
            let request = stage.http.get(stage.url(ME)).bearer_auth(&access);
            request.send().await.expect("an answer").bytes().await.expect("a body")
        };
        assert!(bytes().await.starts_with(b"\xef\xbb\xbf{"));
        assert!(std::str::from_utf8(&bytes().await).is_err());
        assert!(bytes().await.len() > 50 * 1024 * 1024);
    }

    /// Row 48.
    #[tokio::test]
    async fn a_token_reply_can_be_spoilt_in_every_way() {
        let stage = Stage::new().await;
        let spoilt = async |how| {
            stage.stand_in.control().add_fault(Fault::new(Route::Token, FaultKind::Malformed(how)).once());
            stage.redeem(&stage.code(MARISOL, "identify", "").await).await.json()
        };
        assert_eq!(spoilt(Malformed::ExpiresInAsString).await["expires_in"], "604800");
        assert_eq!(spoilt(Malformed::ScopeNull).await.get("scope"), Some(&Value::Null));
        assert!(spoilt(Malformed::NoAccessToken).await.get("access_token").is_none());
        assert!(spoilt(Malformed::NoRefreshToken).await.get("refresh_token").is_none());
        assert_eq!(spoilt(Malformed::TokenTypeLowerCase).await["token_type"], "bearer");
        assert_eq!(spoilt(Malformed::TokenTypeMac).await["token_type"], "mac");
    }

    /// Row 49.
    #[tokio::test]
    async fn an_answer_can_be_late_as_a_whole() {
        let fault = Fault::new(Route::Me, FaultKind::DelayHeaders { seconds: 7.5 });
        let (stage, access, _) = with_fault(fault).await;
        let mut stream = ask(&stage, &access).await;
        stage.stand_in.control().wait_for(Route::Me, 1).await;
        stage.clock.advance(Duration::from_secs(7));
        tokio::task::yield_now().await;
        assert!(nothing_more(&stream));
        stage.clock.advance(Duration::from_millis(500));
        assert!(headers(&mut stream).await.starts_with("HTTP/1.1 200 OK"));
    }

    /// Row 49.
    #[tokio::test]
    async fn a_body_can_be_later_than_its_headers() {
        let (stage, access, _) =
            with_fault(Fault::new(Route::Me, FaultKind::DelayBody { seconds: 3.0 })).await;
        let mut stream = ask(&stage, &access).await;
        assert!(headers(&mut stream).await.contains("content-length: "));
        assert!(nothing_more(&stream));
        stage.clock.advance(Duration::from_secs(3));
        assert_eq!(stream.read_u8().await.expect("a byte"), b'{');
    }

    /// Row 49.
    #[tokio::test]
    async fn a_body_can_come_at_one_byte_a_second() {
        let (stage, access, _) = with_fault(Fault::new(Route::Me, FaultKind::OneByteASecond)).await;
        let mut stream = ask(&stage, &access).await;
        headers(&mut stream).await;
        for _ in 0..3 {
            assert!(nothing_more(&stream));
            stage.clock.advance(Duration::from_secs(1));
            stream.read_u8().await.expect("a byte");
        }
    }

    /// Row 49.
    #[tokio::test]
    async fn a_connection_can_be_reset_in_the_middle_of_the_body() {
        let (stage, access, _) = with_fault(Fault::new(Route::Me, FaultKind::ResetMidBody)).await;
        let mut stream = ask(&stage, &access).await;
        let mut text = Vec::new();
        let error = stream.read_to_end(&mut text).await.expect_err("a reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let text = String::from_utf8(text).expect("text");
        assert!(text.starts_with("HTTP/1.1 200 OK") && text.contains("\r\n\r\n{"), "{text}");
    }

    /// Row 49.
    #[tokio::test]
    async fn a_connection_can_end_without_an_answer_or_never_get_one() {
        let (stage, access, _) = with_fault(Fault::new(Route::Me, FaultKind::Drop).once()).await;
        assert_eq!(ask(&stage, &access).await.read(&mut [0; 1]).await.expect("the end"), 0);
        stage.stand_in.control().add_fault(Fault::new(Route::Me, FaultKind::Reset).once());
        let error = ask(&stage, &access).await.read(&mut [0; 1]).await.expect_err("a reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        stage.stand_in.control().add_fault(Fault::new(Route::Me, FaultKind::NeverAnswer).once());
        let stream = ask(&stage, &access).await;
        stage.stand_in.control().wait_for(Route::Me, 3).await;
        stage.clock.advance(Duration::from_secs(86_400));
        tokio::task::yield_now().await;
        assert!(nothing_more(&stream));
        stage.stand_in.stop().await;
        assert!(matches!(stream.readable().await.map(|()| stream.try_read(&mut [0; 1])), Ok(Ok(0) | Err(_))));
    }

    #[tokio::test]
    async fn held_answers_wait_until_they_are_let_go() {
        let fault = Fault::new(Route::Refresh, FaultKind::Hold).after_the_effect();
        let (stage, _, refresh) = with_fault(fault).await;
        let control = stage.stand_in.control();
        let director = async {
            control.wait_until_held(1).await;
            assert_eq!(control.grants()[0].refresh_tokens, 1);
            assert_eq!(control.requests().requests.last().expect("noted").outcome, "held");
            control.clear_faults();
            assert_eq!(stage.refresh(&refresh).await.oauth().1, "invalid_grant", "it was rotated already");
            control.release();
        };
        let (held, ()) = tokio::join!(stage.refresh(&refresh), director);
        tokens(&held);
    }

    /// Row 50.
    #[tokio::test]
    async fn a_call_can_be_sent_elsewhere() {
        let location = "http://elsewhere.example/api".to_owned();
        let answer = me(FaultKind::Redirect { status: 302, location }).await;
        assert_eq!((answer.status, answer.header("location")), (302, "http://elsewhere.example/api"));
    }

    #[tokio::test]
    async fn any_answer_at_all_can_be_given() {
        let headers = [("content-type".to_owned(), "text/html".to_owned())].into();
        let answer = me(FaultKind::Answer { status: 403, headers, body: "error code: 1020".into() }).await;
        assert_eq!((answer.status, answer.header("content-type")), (403, "text/html"));
        assert_eq!(answer.text, "error code: 1020");
    }
}
