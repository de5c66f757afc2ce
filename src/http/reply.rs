//! Answers: how each kind is made, and the headers that every one of them carries.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use maud::Markup;
use serde::Serialize;
use warp::reply::Response;

use super::Settings;
use super::pages;
use super::problem::{Document, Problem};
use super::request::{self, Head};
use crate::domain::id::RequestId;
use crate::domain::target::Target;

/// More headers than any answer has; a map has room for three quarters of a power of two.
const HEADERS: usize = 16;

/// Room for the usual document: a buffer that grows is copied each time, and allocators are slow from 1 KiB on.
const USUAL: usize = 960;

/// What a handler gives back.
pub type Answer = Result<Response, Refused>;

/// A problem, with what its answer needs besides.
#[derive(Clone, Debug)]
pub struct Refused {
    /// What is wrong.
    pub problem: Problem,
    /// Where the person wanted to go; a new sign-in leads there.
    pub back: Option<Target>,
    /// Cookies that end with it.
    pub cookies: Vec<HeaderValue>,
}

impl<P: Into<Problem>> From<P> for Refused {
    fn from(problem: P) -> Refused {
        Refused { problem: problem.into(), back: None, cookies: Vec::new() }
    }
}

impl Refused {
    /// Adds cookies.
    pub fn with_cookies(mut self, cookies: Vec<HeaderValue>) -> Refused {
        self.cookies = cookies;
        self
    }

    /// Names where the person wanted to go.
    pub fn back_to(mut self, target: Option<Target>) -> Refused {
        self.back = target;
        self
    }
}

/// Answers with JSON.
pub fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let mut written = Vec::with_capacity(USUAL);
    match serde_json::to_writer(&mut written, body) {
        Ok(()) => with_body(status, "application/json", written),
        // Our own structs have string keys and no maps of anything else; there is nothing to fail.
        Err(_) => empty(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// Answers with one JSON object: the members of `first`, which is written already, and behind them those of `rest`.
/// Both have some.
pub fn json_behind(first: &str, rest: &impl Serialize) -> Response {
    let mut written = Vec::with_capacity(USUAL);
    written.extend_from_slice(first.strip_suffix('}').unwrap_or_default().as_bytes());
    let joint = written.len();
    match (serde_json::to_writer(&mut written, rest), written.get_mut(joint)) {
        (Ok(()), Some(brace @ b'{')) if joint > 0 => *brace = b',',
        _ => return empty(StatusCode::INTERNAL_SERVER_ERROR),
    }
    with_body(StatusCode::OK, "application/json", written)
}

/// Answers with a problem as programs read it.
pub fn problem(document: &Document) -> Response {
    let mut response = json(document.status(), document);
    let kind = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Answers with nothing but a status.
pub fn empty(status: StatusCode) -> Response {
    answered(status, Bytes::new())
}

/// Sends the browser on with 302; the request was a `GET`.
pub fn found(location: &str) -> Response {
    redirect(StatusCode::FOUND, location)
}

/// Sends the browser on with 303: whatever the request was, the next one is a `GET` without a body.
pub fn see_other(location: &str) -> Response {
    redirect(StatusCode::SEE_OTHER, location)
}

/// Answers with a page under a strict policy.
pub fn page(settings: &Settings, status: StatusCode, markup: Markup, forms: Forms) -> Response {
    let mut response = with_body(status, "text/html; charset=utf-8", markup.into_string().into_bytes());
    if let Ok(policy) = HeaderValue::from_str(&pages::policy(settings, forms)) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// Where the forms of a page may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forms {
    /// To this site.
    Here,
    /// To this site, whose answer may lead elsewhere: browsers apply `form-action` to every redirect that follows.
    Elsewhere,
    /// There are none: the page stands on the host of an app.
    None,
}

/// Adds cookies to an answer.
pub fn with_cookies(mut response: Response, cookies: impl IntoIterator<Item = HeaderValue>) -> Response {
    for cookie in cookies {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// What a problem's page or document must know of its request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The request's number.
    pub id: RequestId,
    /// Its path and query, for a link that tries again.
    pub path_and_query: String,
    /// Its path.
    pub path: String,
    /// Whether trying again is a link.
    pub is_get: bool,
    /// Whether a person is waiting for a page.
    pub is_navigation: bool,
    /// Where its page stands, if that is the host of an app.
    pub at_app: Option<AtApp>,
}

/// A page that a proxy shows on the host of an app.
#[derive(Clone, Debug)]
pub struct AtApp {
    /// Our origin: no link may be relative there.
    pub home: String,
    /// What was asked for, for a link that tries again.
    pub again: Option<String>,
}

impl Asked {
    /// Reads what is needed.
    pub fn of(head: &Head) -> Asked {
        Asked {
            id: head.id,
            path_and_query: head.path_and_query(),
            path: head.path().to_owned(),
            is_get: matches!(head.method, Method::GET | Method::HEAD),
            is_navigation: request::is_navigation(&head.method, &head.headers),
            at_app: None,
        }
    }
}

/// Ends every answer: a problem becomes its page or its document, and the common headers are set.
pub fn finish(settings: &Settings, head: &Head, answer: Answer) -> Response {
    let response = answer.unwrap_or_else(|refused| refuse(settings, &Asked::of(head), refused));
    harden(settings, head, response)
}

/// Says what is wrong, as a page or as a document.
pub(super) fn refuse(settings: &Settings, asked: &Asked, refused: Refused) -> Response {
    let facts = refused.problem.facts();
    if let Problem::Internal = &refused.problem {
        tracing::error!(request = %asked.id, path = asked.path, "a request failed by a defect");
    }
    let mut response = if asked.is_navigation {
        let markup = pages::problem::page(&refused, asked);
        let forms = if asked.at_app.is_some() { Forms::None } else { Forms::Here };
        page(settings, facts.status, markup, forms)
    } else {
        problem(&refused.problem.document(asked.id))
    };
    if let Some(seconds) = refused.problem.retry_after() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Problem::MethodNotAllowed { allow } = &refused.problem
        && let Ok(allow) = HeaderValue::from_str(allow)
    {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    with_cookies(response, refused.cookies)
}

/// Sets the headers that every answer carries.
///
/// There is no HSTS: it would bind every other service of this host, which is for its proxy to decide.
fn harden(settings: &Settings, head: &Head, mut response: Response) -> Response {
    const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
    const FIXED: [(HeaderName, HeaderValue); 4] = [
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (
            PERMISSIONS_POLICY,
            HeaderValue::from_static("camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
        ),
    ];
    let headers = response.headers_mut();
    headers.extend(FIXED);
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if head.path().starts_with("/api/") {
        headers.insert(header::VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = cors_origin(settings, head) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
    response
}

/// Returns the origin that may read this answer, as its header.
fn cors_origin(settings: &Settings, head: &Head) -> Option<HeaderValue> {
    let origin = request::origin(&head.headers).filter(|origin| settings.site().may_read(origin))?;
    if is_cors_path(head.path()) { HeaderValue::from_str(origin).ok() } else { None }
}

/// Answers a preflight; `None` where this origin may not read this path.
pub fn preflight(settings: &Settings, head: &Head) -> Option<Response> {
    cors_origin(settings, head)?;
    let mut response = empty(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, DELETE"));
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("Content-Type, X-Requested-With"),
    );
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    Some(response)
}

/// The way to Discord and back is for browsers, not for scripts of other origins.
fn is_cors_path(path: &str) -> bool {
    path.starts_with("/api/") && !path.starts_with("/api/auth/discord/")
}

fn redirect(status: StatusCode, location: &str) -> Response {
    // Raw UTF-8 that a request line may hold goes back as it came.
    let Ok(location) = HeaderValue::from_bytes(location.as_bytes()) else {
        return empty(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let mut response = empty(status);
    response.headers_mut().insert(header::LOCATION, location);
    response
}

fn with_body(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response {
    let mut response = answered(status, body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn answered(status: StatusCode, body: Bytes) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    // Room for all that follow, once: a map that grows is built anew.
    *response.headers_mut() = HeaderMap::with_capacity(HEADERS);
    response
}
