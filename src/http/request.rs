//! Everything that a handler may know of a request, read once: who asks, from where, and for what.

use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName};
use http::{Method, Uri};
use ipnet::IpNet;

use super::query::Query;
use super::site::Site;
use crate::domain::event::{Learned, Origin};
use crate::domain::id::RequestId;

/// A request but for its body; the accept loop reads it once, and all who answer share it.
#[derive(Clone, Debug)]
pub struct Head {
    /// Its number, shared by all records that it leads to.
    pub id: RequestId,
    /// Its method.
    pub method: Method,
    /// What it is for, as it came.
    pub uri: Uri,
    /// Its headers.
    pub headers: HeaderMap,
    /// The other end of the connection.
    pub peer: Option<SocketAddr>,
}

impl Head {
    /// Takes the head of a request, and puts it into its extensions.
    pub fn take<B>(id: RequestId, peer: Option<SocketAddr>, request: &mut http::Request<B>) -> Arc<Head> {
        let head = Arc::new(Head {
            id,
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: std::mem::take(request.headers_mut()),
            peer,
        });
        request.extensions_mut().insert(head.clone());
        head
    }

    /// Returns its path as it came.
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// Returns its query as it came, empty where there is none.
    pub fn query(&self) -> &str {
        self.uri.query().unwrap_or_default()
    }

    /// Returns its path and, where there is one, its query.
    pub fn path_and_query(&self) -> String {
        let (path, query) = (self.path(), self.query());
        if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
    }
}

/// A request whose body has been read.
#[derive(Clone)]
pub struct Request {
    /// All but what follows.
    pub head: Arc<Head>,
    /// What stood in the place of `{…}` in the pattern of its route.
    pub params: Vec<String>,
    /// Its query.
    pub query: Query,
    /// The client's address and agent.
    pub client: Origin,
}

impl Deref for Request {
    type Target = Head;

    fn deref(&self) -> &Head {
        &self.head
    }
}

/// The most of a user agent that is kept, in bytes.
const USER_AGENT_MAX: usize = 512;

/// The most cookies of one name that are tried.
const COOKIES_TRIED: usize = 4;

impl Request {
    /// Returns whether a person is waiting for a page.
    pub fn is_navigation(&self) -> bool {
        is_navigation(&self.method, &self.headers)
    }

    /// Returns whether the client asks for JSON by name.
    pub fn wants_json(&self) -> bool {
        accepts(&self.headers, "application/json")
    }

    /// Returns whether the browser only wants to have the answer at hand.
    pub fn is_prefetch(&self) -> bool {
        is_prefetch(&self.headers)
    }

    /// Returns the values of the cookies of that name, the first four.
    pub fn cookies<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        cookies(&self.headers, name)
    }

    /// Returns every cookie; what is not printable ASCII is none of ours.
    pub fn all_cookies(&self) -> impl Iterator<Item = (&str, &str)> {
        all_cookies(&self.headers)
    }

    /// Returns whether it may change something: it comes from this site, or from a script that no page runs.
    pub fn is_from_this_site(&self, site: &Site) -> bool {
        let fetch_site = single(&self.headers, "sec-fetch-site");
        let origin = single(&self.headers, "origin");
        match (fetch_site, origin) {
            (Single::Missing, Single::Missing) => true,
            (Single::Once("same-origin" | "none"), _) => true,
            (_, Single::Once(origin)) => site.may_change(origin),
            _ => false,
        }
    }

    /// Returns whether a `GET` that acts was sent on purpose: no image and no link of another site can.
    pub fn is_deliberate(&self, site: &Site) -> bool {
        matches!(single(&self.headers, "sec-fetch-site"), Single::Once("same-origin" | "none"))
            || matches!(single(&self.headers, "origin"), Single::Once(origin) if site.may_change(origin))
            || self.headers.contains_key("x-requested-with")
    }
}

/// Returns whether a browser says that it is not going to a page, but fetching something or wanting it at hand.
pub fn is_background(headers: &HeaderMap) -> bool {
    fetch_mode(headers).is_some_and(|mode| mode != "navigate") || is_prefetch(headers)
}

fn is_prefetch(headers: &HeaderMap) -> bool {
    let says = |name: &str| {
        headers
            .get_all(name)
            .iter()
            .any(|value| value.as_bytes().to_ascii_lowercase().windows(8).any(|window| window == b"prefetch"))
    };
    says("sec-purpose") || says("purpose")
}

/// Returns the values of the cookies of that name, the first four.
pub fn cookies<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    all_cookies(headers).filter(move |(found, _)| *found == name).map(|(_, value)| value).take(COOKIES_TRIED)
}

/// Returns every cookie; what is not printable ASCII is none of ours.
pub fn all_cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let headers = headers.get_all(header::COOKIE).iter();
    headers.flat_map(|header| header.as_bytes().split(|b| *b == b';')).filter_map(|pair| {
        let (name, value) = std::str::from_utf8(pair).ok()?.split_once('=')?;
        Some((name.trim_matches([' ', '\t']), value.trim_matches([' ', '\t'])))
    })
}

/// Returns whether the request is a browser going to a page.
pub fn is_navigation(method: &Method, headers: &HeaderMap) -> bool {
    // A proxy may drop `Upgrade` from what it asks us; the rest of a web socket's handshake it passes on.
    if accepts(headers, "application/json")
        || has(headers, "x-requested-with", "xmlhttprequest")
        || has(headers, "upgrade", "websocket")
        || headers.contains_key("sec-websocket-key")
    {
        return false;
    }
    let fetch_metadata = headers.keys().any(|name| name.as_str().starts_with("sec-fetch-"));
    if fetch_metadata {
        return matches!(single(headers, "sec-fetch-mode"), Single::Once("navigate"));
    }
    matches!(*method, Method::GET | Method::HEAD | Method::POST) && accepts(headers, "text/html")
}

/// Returns the client's address: what the peer says if it is a trusted proxy, else the peer's own.
///
/// Right-most first: whatever stands further left was written by somebody whom nobody vouches for.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> (IpAddr, Learned) {
    let peer = peer.to_canonical();
    let is_trusted = |ip: &IpAddr| trusted.iter().any(|net| net.contains(ip));
    if !is_trusted(&peer) {
        return (peer, Learned::Socket);
    }
    match forwarded_for(headers, is_trusted) {
        Some(client) => (client, Learned::Forwarded),
        None => (peer, Learned::Socket),
    }
}

/// Returns the right-most `X-Forwarded-For` entry that is not trusted or, where all are, the right-most;
/// `None` without the header, or where the entry in that place cannot be read.
pub fn forwarded_for(headers: &HeaderMap, is_trusted: impl Fn(&IpAddr) -> bool) -> Option<IpAddr> {
    let from_the_right = headers.get_all("x-forwarded-for").iter().rev();
    let mut right_most = None;
    for entry in from_the_right.flat_map(|header| header.as_bytes().rsplit(|b| *b == b',')) {
        let ip = address(entry)?;
        if !is_trusted(&ip) {
            return Some(ip);
        }
        right_most = right_most.or(Some(ip));
    }
    right_most
}

/// Reads an address as proxies write it: bare, in brackets, or with a port.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let ip = bare
        .parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|with_port| with_port.ip()));
    ip.map(|ip| ip.to_canonical())
}

/// Returns the agent, cut at a character within the limit; what is not UTF-8 is replaced.
pub fn user_agent(headers: &HeaderMap) -> Option<String> {
    let bytes = headers.get(header::USER_AGENT)?.as_bytes();
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    text.truncate(text.floor_char_boundary(USER_AGENT_MAX));
    (!text.is_empty()).then_some(text)
}

/// How often and how well a header is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Single<'a> {
    Missing,
    Once(&'a str),
    Malformed,
}

/// Returns how often and how well a header is there.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &str) -> Single<'a> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Single::Missing,
        (Some(value), None) => value.to_str().map_or(Single::Malformed, Single::Once),
        _ => Single::Malformed,
    }
}

/// Returns whether `Accept` names the media type.
fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value
            .split(',')
            .any(|range| range.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(media_type))
    })
}

fn has(headers: &HeaderMap, name: &'static str, value: &str) -> bool {
    let name = HeaderName::from_static(name);
    headers.get_all(name).iter().any(|found| found.as_bytes().eq_ignore_ascii_case(value.as_bytes()))
}

/// Returns the one `Origin` of a request.
pub fn origin(headers: &HeaderMap) -> Option<&str> {
    match single(headers, "origin") {
        Single::Once(origin) => Some(origin),
        _ => None,
    }
}

/// Returns the one `Sec-Fetch-Mode` of a request, where there is any.
fn fetch_mode(headers: &HeaderMap) -> Option<&str> {
    match single(headers, "sec-fetch-mode") {
        Single::Missing => None,
        Single::Once(mode) => Some(mode),
        Single::Malformed => Some(""),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use url::Url;

    use super::*;

    type Listed = [(&'static str, &'static str)];

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_bytes(value.as_bytes()).expect("a value"),
            );
        }
        headers
    }

    fn request(list: &[(&'static str, &str)]) -> Request {
        let head = Head {
            id: RequestId([0; 16]),
            method: Method::POST,
            uri: Uri::from_static("/"),
            headers: headers(list),
            peer: None,
        };
        Request { head: head.into(), params: vec![], query: Query::default(), client: Origin::default() }
    }

    #[test]
    fn the_client_is_the_right_most_address_that_nobody_vouches_for() {
        let trusted: Vec<IpNet> =
            ["127.0.0.0/8", "::1/128", "10.0.0.0/8"].map(|net| net.parse().expect("a net")).into();
        let table: &[(&str, &[&str], &str, Learned)] = &[
            // The peer is nobody: what it says counts for nothing.
            ("203.0.113.9", &["198.51.100.1"], "203.0.113.9", Learned::Socket),
            ("203.0.113.9", &[], "203.0.113.9", Learned::Socket),
            ("127.0.0.1", &[], "127.0.0.1", Learned::Socket),
            ("127.0.0.1", &["198.51.100.1"], "198.51.100.1", Learned::Forwarded),
            ("127.0.0.1", &["6.6.6.6, 198.51.100.1"], "198.51.100.1", Learned::Forwarded),
            ("127.0.0.1", &["6.6.6.6, 198.51.100.1, 10.0.0.1"], "198.51.100.1", Learned::Forwarded),
            ("127.0.0.1", &["6.6.6.6", "198.51.100.1", "10.0.0.1"], "198.51.100.1", Learned::Forwarded),
            ("127.0.0.1", &["10.0.0.2, 10.0.0.1"], "10.0.0.1", Learned::Forwarded),
            ("127.0.0.1", &["198.51.100.1, unknown"], "127.0.0.1", Learned::Socket),
            ("127.0.0.1", &["unknown, 198.51.100.1"], "198.51.100.1", Learned::Forwarded),
            ("127.0.0.1", &["198.51.100.1,"], "127.0.0.1", Learned::Socket),
            ("127.0.0.1", &[""], "127.0.0.1", Learned::Socket),
            ("127.0.0.1", &["\u{e9}"], "127.0.0.1", Learned::Socket),
            ("127.0.0.1", &["198.51.100.1:4711"], "198.51.100.1", Learned::Forwarded),
            ("127.0.0.1", &["[2001:db8::1]:4711"], "2001:db8::1", Learned::Forwarded),
            ("127.0.0.1", &["[2001:db8::1]"], "2001:db8::1", Learned::Forwarded),
            ("127.0.0.1", &["2001:db8::1"], "2001:db8::1", Learned::Forwarded),
            ("127.0.0.1", &["::ffff:198.51.100.1"], "198.51.100.1", Learned::Forwarded),
            ("127.0.0.1", &["6.6.6.6, ::ffff:10.0.0.1"], "6.6.6.6", Learned::Forwarded),
            ("::ffff:127.0.0.1", &["198.51.100.1"], "198.51.100.1", Learned::Forwarded),
            ("::ffff:203.0.113.9", &["198.51.100.1"], "203.0.113.9", Learned::Socket),
            ("::1", &["198.51.100.1"], "198.51.100.1", Learned::Forwarded),
        ];
        for (peer, forwarded, client, learned) in table {
            let list: Vec<_> = forwarded.iter().map(|value| ("x-forwarded-for", *value)).collect();
            let found = client_address(peer.parse().expect("an address"), &headers(&list), &trusted);
            assert_eq!(found, (client.parse().expect("an address"), *learned), "{peer} {forwarded:?}");
        }
        let others = headers(&[("forwarded", "for=6.6.6.6"), ("x-real-ip", "6.6.6.6")]);
        let local = "127.0.0.1".parse().expect("an address");
        assert_eq!(client_address(local, &others, &trusted), (local, Learned::Socket));
    }

    #[test]
    fn a_navigation_is_what_a_browser_says_or_looks_like() {
        const PAGE: (&str, &str) = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
        const GO: (&str, &str) = ("sec-fetch-mode", "navigate");
        let table: &[(Method, &Listed, bool)] = &[
            (Method::GET, &[GO], true),
            (Method::GET, &[GO, PAGE], true),
            (Method::POST, &[GO], true),
            (Method::DELETE, &[GO], true),
            (Method::GET, &[PAGE], true),
            (Method::HEAD, &[PAGE], true),
            (Method::POST, &[PAGE], true),
            (Method::DELETE, &[PAGE], false),
            (Method::PUT, &[PAGE], false),
            (Method::GET, &[], false),
            (Method::GET, &[("accept", "*/*")], false),
            (Method::GET, &[("sec-fetch-mode", "cors"), PAGE], false),
            (Method::GET, &[("sec-fetch-mode", "no-cors"), PAGE], false),
            (Method::GET, &[("sec-fetch-site", "same-origin"), PAGE], false),
            (Method::GET, &[GO, ("accept", "application/json")], false),
            (Method::GET, &[("accept", "application/json, text/html;q=0.5")], false),
            (Method::GET, &[("accept", "Application/JSON;q=1")], false),
            (Method::GET, &[GO, ("x-requested-with", "XMLHttpRequest")], false),
            (Method::GET, &[PAGE, ("x-requested-with", "xmlhttprequest")], false),
            (Method::GET, &[PAGE, ("x-requested-with", "com.example.app")], true),
            (Method::GET, &[PAGE, ("upgrade", "websocket")], false),
            (Method::GET, &[GO, ("upgrade", "WebSocket")], false),
            (Method::GET, &[PAGE, ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")], false),
            (Method::GET, &[GO, ("sec-fetch-mode", "cors")], false),
            (Method::GET, &[("accept", "text/html-not")], false),
        ];
        for (method, list, expected) in table {
            assert_eq!(is_navigation(method, &headers(list)), *expected, "{method} {list:?}");
        }
    }

    #[test]
    fn cookies_are_found_in_any_header_and_at_most_four_are_tried() {
        let asked = request(&[
            ("cookie", "a=1; doorbook=x ;doorbook=\u{e9}; b"),
            ("cookie", "doorbook=y;doorbook=z; doorbook=; doorbook=late;=v; doorbookish=n"),
        ]);
        assert_eq!(asked.cookies("doorbook").collect::<Vec<_>>(), ["x", "\u{e9}", "y", "z"]);
        assert_eq!(asked.cookies("a").collect::<Vec<_>>(), ["1"]);
        assert_eq!(asked.cookies("b").count(), 0);
        let mut broken = HeaderMap::new();
        broken.append(header::COOKIE, HeaderValue::from_bytes(b"a=\xff; c=2").expect("a value"));
        assert_eq!(all_cookies(&broken).collect::<Vec<_>>(), [("c", "2")]);
    }

    #[test]
    fn what_changes_something_comes_from_this_site() {
        let url = |text: &str| Url::parse(text).expect("a URL");
        let site = Site::new(&url("https://login.example.org"), &[url("https://app.example.org")]);
        let (own, app) = ("https://login.example.org", "https://app.example.org");
        let table: &[(&Listed, bool, bool)] = &[
            (&[], true, false),
            (&[("sec-fetch-site", "same-origin")], true, true),
            (&[("sec-fetch-site", "none")], true, true),
            (&[("sec-fetch-site", "same-site")], false, false),
            (&[("sec-fetch-site", "cross-site")], false, false),
            (&[("origin", own)], true, true),
            (&[("origin", app)], true, true),
            (&[("sec-fetch-site", "same-site"), ("origin", app)], true, true),
            (&[("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")], false, false),
            (&[("origin", "null")], false, false),
            (&[("origin", "")], false, false),
            (&[("origin", "https://evil.example")], false, false),
            (&[("origin", own), ("origin", "https://evil.example")], false, false),
            (&[("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")], false, false),
            (&[("x-requested-with", "fetch")], true, true),
            (&[("sec-fetch-site", "cross-site"), ("x-requested-with", "fetch")], false, true),
        ];
        for (list, may_post, may_get) in table {
            let asked = request(list);
            assert_eq!(
                (asked.is_from_this_site(&site), asked.is_deliberate(&site)),
                (*may_post, *may_get),
                "{list:?}"
            );
        }
    }

    #[test]
    fn an_agent_is_cut_within_the_limit_and_between_characters() {
        assert_eq!(user_agent(&headers(&[])), None);
        assert_eq!(user_agent(&headers(&[("user-agent", "")])), None);
        let long = "\u{e9}".repeat(400);
        let kept = user_agent(&headers(&[("user-agent", &format!("x{long}"))])).expect("an agent");
        assert_eq!(kept.len(), 511);
        assert!(kept.chars().skip(1).all(|c| c == '\u{e9}'));
    }

    #[test]
    fn a_prefetch_is_known_by_either_header() {
        assert!(request(&[("sec-purpose", "prefetch;prerender")]).is_prefetch());
        assert!(request(&[("purpose", "prefetch")]).is_prefetch());
        assert!(!request(&[("sec-purpose", "other")]).is_prefetch());
    }
}
