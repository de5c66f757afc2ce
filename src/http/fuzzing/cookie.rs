//! Fuzzed: whatever cookies a browser brings, only what we made opens anything, and no foreign name is repeated.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use url::Url;

use crate::crypto::CookieKey;
use crate::domain::app_cookie::AppCookie;
use crate::domain::event::Origin;
use crate::domain::id::{LogId, RequestId, Secret, SessionToken};
use crate::domain::login::LoginAttempt;
use crate::domain::target::{Target, TargetRules};
use crate::domain::time::Timestamp;
use crate::entropy::SeededEntropy;
use crate::http::app_session::{self, deserialize_app, serialize_app};
use crate::http::attempt::Attempts;
use crate::http::binding;
use crate::http::cookie::Cookies;
use crate::http::query::Query;
use crate::http::request::{Head, Request};
use crate::http::session::serialize_session;

const NOW: Timestamp = Timestamp(1_767_323_045_000);

/// The most of one sort that a browser is left with.
const MOST: usize = 8;

/// Reads each line as a `Cookie` header.
pub fn cookie(bytes: &[u8]) {
    let lines = bytes.split(|byte| *byte == b'\n').take(16);
    let lines = lines.filter_map(|line| HeaderValue::from_bytes(line).ok());
    let request = request(lines.map(|line| (header::COOKIE, line)).collect());
    for (name, value) in request.all_cookies() {
        assert!(!name.contains(';') && !value.contains(';') && !name.contains('='));
        one_value(value);
    }
    for secure in [true, false] {
        let cookies = Cookies::new(secure, Duration::from_secs(60));
        by_name(&request, cookies);
        an_attempt(&request, cookies);
        a_binding(&request, cookies);
    }
}

/// Asserts that a value is what we would have written, or is none of ours.
fn one_value(value: &str) {
    if let Some(token) = SessionToken::from_cookie(value) {
        assert_eq!(serialize_session(&token), value);
        assert!(!format!("{token:?}").contains(value));
    }
    let key = app_session::key(&key());
    if let Some(cookie) = deserialize_app(value, &key) {
        assert_eq!(serialize_app(&cookie, &key), value);
    }
    let mut tag = None;
    let keep = |_: &[u8], found: &[u8]| found.try_into().map(|found| tag = Some(found)).is_ok();
    if let Some((cookie, tag)) = AppCookie::deserialize(value, keep).zip(tag) {
        assert_eq!(AppCookie::names(value), Some(cookie.session));
        let again = cookie.serialize(|_| tag);
        assert_eq!(AppCookie::deserialize(&again, |_, found| *found == tag), Some(cookie));
    }
}

fn by_name(request: &Request, cookies: Cookies) {
    for name in [cookies.session_name(), cookies.ask_name(), cookies.app_name(true), cookies.app_name(false)]
    {
        let all = request.all_cookies().filter(|(found, _)| *found == name).map(|(_, value)| value);
        assert!(request.cookies(name).eq(all.take(4)), "{name}");
    }
}

fn an_attempt(request: &Request, cookies: Cookies) {
    let own = Url::parse("https://login.example.org").unwrap_or_else(|wrong| panic!("{wrong}"));
    let attempts = Attempts::new(cookies, key(), TargetRules::new(&own, &[]));
    let attempt = LoginAttempt::begin(&[1; 64], Target::root(), NOW);
    let state = attempt.state.expose();
    if let Some(accepted) = attempts.accept(request, state, NOW) {
        assert_eq!(accepted.verifier, attempt.verifier, "a cookie that we did not make");
    }
    let set = attempts.begin(request, &attempt, NOW);
    let ours = changed(request, &set, cookies.attempt_prefix());
    assert!(ours.len() <= MOST, "{ours:?}");
    // Whatever else the browser has, the answer to this attempt is taken.
    let mut headers = HeaderMap::new();
    headers.extend(set.last().map(|set| (header::COOKIE, pair(set))));
    headers.extend(request.headers.get_all(header::COOKIE).iter().map(|line| (header::COOKIE, line.clone())));
    let accepted = attempts.accept(&self::request(headers), state, NOW);
    assert_eq!(accepted.map(|accepted| accepted.verifier), Some(attempt.verifier.clone()));
}

fn a_binding(request: &Request, cookies: Cookies) {
    let random = [7; 32];
    let (set, binding) = binding::begin(cookies, &request.headers, random);
    let ours = changed(request, &set, cookies.binding_prefix());
    assert!(ours.len() <= MOST, "{ours:?}");
    let Some((name, value)) = set.last().map(text).and_then(|set| set.split(';').next()?.split_once('='))
    else {
        panic!("none is set")
    };
    assert_eq!(value, URL_SAFE_NO_PAD.encode(random));
    let is_there = request.cookies(name).any(|found| found == value);
    assert_eq!(binding::holds(cookies, &request.headers, &binding), is_there);
}

/// Asserts that only names of ours are cleared, each once and because it was there, and that the last is set.
///
/// Returns the names of that sort that the browser has then.
fn changed(request: &Request, set: &[HeaderValue], prefix: &str) -> BTreeSet<String> {
    let is_ours = |name: &str| {
        let id = name.strip_prefix(prefix).unwrap_or_default();
        id.len() == 16 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let mut names: BTreeSet<String> =
        request.all_cookies().map(|(name, _)| name.to_owned()).filter(|name| is_ours(name)).collect();
    let Some((last, cleared)) = set.split_last() else { panic!("nothing is set") };
    for clearing in cleared {
        let (name, rest) = text(clearing).split_once('=').unwrap_or_default();
        assert!(names.remove(name), "{name:?} is cleared and not there");
        assert!(rest.starts_with("; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"), "{rest:?}");
    }
    let name = text(last).split('=').next().unwrap_or_default();
    assert!(is_ours(name), "{name:?}");
    names.insert(name.to_owned());
    names
}

fn request(headers: HeaderMap) -> Request {
    Request {
        head: Arc::new(Head {
            id: RequestId([0; 16]),
            method: Method::GET,
            uri: Uri::from_static("/"),
            headers,
            peer: None,
        }),
        params: Vec::new(),
        query: Query::default(),
        client: Origin::default(),
    }
}

fn key() -> CookieKey {
    let entropy = Arc::new(SeededEntropy::new("fuzzing"));
    CookieKey::from_secret(LogId([1; 16]), &Secret::new("a secret of at least 32 characters"), entropy)
}

fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_else(|wrong| panic!("{wrong}"))
}

/// Returns the `name=value` of a cookie that is set.
fn pair(set: &HeaderValue) -> HeaderValue {
    let pair = text(set).split(';').next().unwrap_or_default();
    HeaderValue::from_str(pair).unwrap_or_else(|wrong| panic!("{wrong}"))
}

/// Returns what a browser sends that has cookies of ours, to begin with.
#[cfg(test)]
pub(crate) fn jars() -> Vec<String> {
    use crate::domain::app_cookie::Scope;
    use crate::domain::host::Host;
    use crate::domain::id::SessionId;
    let mut jars = Vec::new();
    for secure in [true, false] {
        let cookies = Cookies::new(secure, Duration::from_secs(60));
        let session = serialize_session(&SessionToken::new([7; 32]));
        jars.push(format!("{}={session}; {}=1", cookies.session_name(), cookies.ask_name()));
        let host = Host::parse("wiki.example.org").expect("a host");
        let app = AppCookie { session: SessionId([7; 16]), scope: Scope::Host(host) };
        jars.push(format!("{}={}", cookies.app_name(false), serialize_app(&app, &app_session::key(&key()))));
        let own = Url::parse("https://login.example.org").expect("a URL");
        let attempts = Attempts::new(cookies, key(), TargetRules::new(&own, &[]));
        let begun: Vec<String> = (1..=9)
            .map(|n| {
                let attempt = LoginAttempt::begin(&[n; 64], Target::root(), NOW);
                text(&pair(&attempts.begin(&request(HeaderMap::new()), &attempt, NOW)[0])).to_owned()
            })
            .collect();
        jars.extend([begun[0].clone(), begun.join("; "), begun.join("\n")]);
        let bindings: Vec<String> = (1..=9)
            .map(|n| text(&pair(&binding::begin(cookies, &HeaderMap::new(), [n; 32]).0[0])).to_owned())
            .collect();
        jars.extend([bindings[6].clone(), bindings.join("; ")]);
    }
    jars
}
