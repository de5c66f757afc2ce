//! What a proxy says of the request that it holds back: read whole, or not at all.
//!
//! Only the form is judged here. Who may say so, and in which headers, is decided in `http`; whether the request may
//! pass, in [`super::access`].

use super::host::Host;
use super::path::RequestPath;

/// A request that waits at a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarded {
    is_https: bool,
    is_web_socket: bool,
    host: Host,
    /// Only where it is not the scheme's own.
    port: Option<u16>,
    path: RequestPath,
    /// As it was sent, without the query.
    raw_path: String,
    /// What stands behind the `?`, where there is one; the app's business, and ours only to return to.
    query: Option<String>,
    method: String,
}

/// What cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Neither `http` nor `https`, nor what a web socket calls them.
    #[error("the scheme is none of a web site")]
    Scheme,
    /// No name of a host, or more than one.
    #[error("the host is none")]
    Host,
    /// No path, or one that can be read in no way.
    #[error("the path is none")]
    Path,
    /// A control or a `#` in the query.
    #[error("the query is none")]
    Query,
    /// No token.
    #[error("the method is none")]
    Method,
}

/// The longest method that is looked at, in bytes.
const METHOD_MAX: usize = 32;

/// Where tickets are taken, on the hosts of apps.
pub const FINISH: &str = "/.doorbook/finish";
/// At and below it every path is ours, on whatever host.
pub const OURS: &str = "/.doorbook";

impl Forwarded {
    /// Reads a whole address, as nginx is told to send it: `https://wiki.example.org/x?y`.
    pub fn from_url(url: &[u8], method: &[u8]) -> Result<Forwarded, Malformed> {
        let colon = url.windows(3).position(|window| window == b"://").ok_or(Malformed::Scheme)?;
        let (scheme, rest) = (&url[..colon], &url[colon + 3..]);
        let end =
            rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#' | b'\\')).unwrap_or(rest.len());
        Forwarded::from_parts(scheme, &rest[..end], &rest[end..], method)
    }

    /// Reads the four parts that Traefik and Caddy send. `uri` is the path and the query.
    pub fn from_parts(scheme: &[u8], host: &[u8], uri: &[u8], method: &[u8]) -> Result<Forwarded, Malformed> {
        let (is_https, is_web_socket) = read_scheme(scheme)?;
        let (host, port) = read_host(host)?;
        let (path, query) = match uri.iter().position(|byte| *byte == b'?') {
            Some(at) => (&uri[..at], Some(&uri[at + 1..])),
            None => (uri, None),
        };
        let raw_path = std::str::from_utf8(path).map_err(|_| Malformed::Path)?.to_owned();
        Ok(Forwarded {
            is_https,
            is_web_socket,
            host,
            port: port.filter(|port| *port != if is_https { 443 } else { 80 }),
            path: RequestPath::parse(&raw_path).map_err(|_| Malformed::Path)?,
            raw_path,
            query: query.map(read_query).transpose()?,
            method: read_method(method)?,
        })
    }

    /// Returns whether browsers reach that host over https.
    pub fn is_https(&self) -> bool {
        self.is_https
    }

    /// Returns whether the scheme is that of a web socket.
    pub fn is_web_socket(&self) -> bool {
        self.is_web_socket
    }

    /// Returns the host that it was sent to.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Returns its path as rules see it.
    pub fn path(&self) -> &RequestPath {
        &self.path
    }

    /// Returns its method as it was sent.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Returns its query, empty where there is none.
    pub fn query(&self) -> &str {
        self.query.as_deref().unwrap_or_default()
    }

    /// Returns whether it is for the place where tickets are taken, in that very spelling.
    pub fn is_finish(&self) -> bool {
        self.raw_path == FINISH
    }

    /// Returns the origin of the app, as a browser writes it.
    pub fn origin(&self) -> String {
        let scheme = if self.is_https { "https" } else { "http" };
        match self.port {
            Some(port) => format!("{scheme}://{}:{port}", self.host),
            None => format!("{scheme}://{}", self.host),
        }
    }

    /// Returns the address as the browser has it.
    pub fn url(&self) -> String {
        let mut url = self.origin() + &self.raw_path;
        if let Some(query) = &self.query {
            url.push('?');
            url.push_str(query);
        }
        url
    }
}

fn read_scheme(scheme: &[u8]) -> Result<(bool, bool), Malformed> {
    let is = |name: &str| scheme.eq_ignore_ascii_case(name.as_bytes());
    match () {
        () if is("https") => Ok((true, false)),
        () if is("http") => Ok((false, false)),
        () if is("wss") => Ok((true, true)),
        () if is("ws") => Ok((false, true)),
        () => Err(Malformed::Scheme),
    }
}

fn read_host(host: &[u8]) -> Result<(Host, Option<u16>), Malformed> {
    let text = std::str::from_utf8(host).map_err(|_| Malformed::Host)?;
    Host::parse_with_port(text).map_err(|_| Malformed::Host)
}

/// Escapes what is not ASCII, as a browser would have.
fn read_query(query: &[u8]) -> Result<String, Malformed> {
    if query.iter().any(|byte| matches!(byte, b'#' | 0..=b' ' | 0x7f)) {
        return Err(Malformed::Query);
    }
    let mut read = String::with_capacity(query.len());
    for byte in query {
        match byte {
            0x80.. => read.push_str(&format!("%{byte:02X}")),
            byte => read.push(char::from(*byte)),
        }
    }
    Ok(read)
}

fn read_method(method: &[u8]) -> Result<String, Malformed> {
    let is_token = |byte: &u8| {
        matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
            || byte.is_ascii_alphanumeric()
    };
    if method.is_empty() || method.len() > METHOD_MAX || !method.iter().all(is_token) {
        return Err(Malformed::Method);
    }
    std::str::from_utf8(method).map(str::to_owned).map_err(|_| Malformed::Method)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url(url: &str) -> Result<Forwarded, Malformed> {
        Forwarded::from_url(url.as_bytes(), b"GET")
    }

    fn parts(scheme: &str, host: &str, uri: &str, method: &str) -> Result<Forwarded, Malformed> {
        Forwarded::from_parts(scheme.as_bytes(), host.as_bytes(), uri.as_bytes(), method.as_bytes())
    }

    #[test]
    fn an_address_is_read_as_the_browser_has_it() {
        for (raw, origin, again) in [
            ("https://wiki.example.org/", "https://wiki.example.org", "https://wiki.example.org/"),
            ("HTTPS://Wiki.Example.org./a?b=c", "https://wiki.example.org", "https://wiki.example.org/a?b=c"),
            ("https://wiki.example.org:443/", "https://wiki.example.org", "https://wiki.example.org/"),
            ("https://wiki.example.org:80/", "https://wiki.example.org:80", "https://wiki.example.org:80/"),
            ("http://wiki.example.org:80/", "http://wiki.example.org", "http://wiki.example.org/"),
            ("http://localhost:8080/x", "http://localhost:8080", "http://localhost:8080/x"),
            ("wss://wiki.example.org/live", "https://wiki.example.org", "https://wiki.example.org/live"),
            ("ws://wiki.example.org/live", "http://wiki.example.org", "http://wiki.example.org/live"),
            ("https://[2001:DB8::1]:8443/", "https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443/"),
            (
                "https://b\u{fc}cher.example/",
                "https://xn--bcher-kva.example",
                "https://xn--bcher-kva.example/",
            ),
            // Nothing is tidied up in what is only to be returned to.
            ("https://a.example//x/../%61?", "https://a.example", "https://a.example//x/../%61?"),
            ("https://a.example/?q=https://b/?", "https://a.example", "https://a.example/?q=https://b/?"),
            ("https://a.example/?q=\u{e9}", "https://a.example", "https://a.example/?q=%C3%A9"),
        ] {
            let read = url(raw).unwrap_or_else(|wrong| panic!("{raw:?}: {wrong}"));
            assert_eq!((read.origin().as_str(), read.url().as_str()), (origin, again), "{raw:?}");
        }
        assert_eq!(url("https://a.example/x//y?z").expect("good").path().normal(), "/x/y");
        assert_eq!(url("https://a.example/x?y=1&z").expect("good").query(), "y=1&z");
        assert!(url("wss://a.example/").expect("good").is_web_socket());
    }

    #[test]
    fn four_parts_say_the_same_as_a_whole_address() {
        for (scheme, host, uri) in [
            ("https", "wiki.example.org", "/a%20b?c"),
            ("http", "localhost:8080", "/"),
            ("wss", "a.example", "//"),
            ("https", "a.example:443", "/?"),
        ] {
            let whole = url(&format!("{scheme}://{host}{uri}"));
            assert_eq!(parts(scheme, host, uri, "GET"), whole, "{scheme} {host} {uri}");
            assert!(whole.is_ok());
        }
        assert_eq!(parts("https", "a.example", "/", "PROPFIND").expect("good").method(), "PROPFIND");
    }

    #[test]
    fn what_is_no_request_is_malformed() {
        use Malformed::{Host, Path, Query, Scheme};
        for (raw, wrong) in [
            ("", Scheme),
            ("/x", Scheme),
            ("wiki.example.org/x", Scheme),
            ("//wiki.example.org/x", Scheme),
            ("://wiki.example.org/", Scheme),
            ("ftp://wiki.example.org/", Scheme),
            ("file:///etc/passwd", Scheme),
            ("javascript://wiki.example.org/%0aalert(1)", Scheme),
            ("https:wiki.example.org/", Scheme),
            ("https:/wiki.example.org/", Scheme),
            ("https, http://wiki.example.org/", Scheme),
            (" https://wiki.example.org/", Scheme),
            ("https://", Host),
            ("https:///", Host),
            ("https:///evil.example/", Host),
            ("https://@wiki.example.org/", Host),
            ("https://nelly@wiki.example.org/", Host),
            ("https://wiki.example.org@evil.example/", Host),
            ("https://wiki.example.org:/", Host),
            ("https://wiki.example.org:x/", Host),
            ("https://wiki.example.org:65536/", Host),
            ("https://wiki .example.org/", Host),
            ("https://wiki%2eexample.org/", Host),
            ("https://*.example.org/", Host),
            ("https://a.example,b.example/", Host),
            ("https://a.example, b.example/", Host),
            ("https://wiki.example.org\u{0}/", Host),
            ("https://wiki.example.org", Path),
            ("https://wiki.example.org?x", Path),
            ("https://wiki.example.org#x", Path),
            ("https://wiki.example.org\\x", Path),
            ("https://wiki.example.org/a#b", Path),
            ("https://wiki.example.org/a%00", Path),
            ("https://wiki.example.org/a%", Path),
            ("https://wiki.example.org/a%zz", Path),
            ("https://wiki.example.org/a b", Path),
            ("https://wiki.example.org/a\tb", Path),
            ("https://wiki.example.org/\u{e9}", Path),
            ("https://wiki.example.org/?a#b", Query),
            ("https://wiki.example.org/?a b", Query),
            ("https://wiki.example.org/?a\tb", Query),
            ("https://wiki.example.org/?a\u{7f}", Query),
        ] {
            assert_eq!(url(raw), Err(wrong), "{raw:?}");
        }
        for method in ["", "GE T", "GET,", "GET\t", "G\u{c9}T", "(GET)", &"X".repeat(33)] {
            assert_eq!(parts("https", "a.example", "/", method), Err(Malformed::Method), "{method:?}");
        }
        for uri in ["", "x", "*", "https://a.example/x", "?x", "#"] {
            assert_eq!(parts("https", "a.example", uri, "GET"), Err(Path), "{uri:?}");
        }
        assert_eq!(parts("https", "a.example/x", "/", "GET"), Err(Host));
        assert_eq!(Forwarded::from_parts(b"https", b"a\xff", b"/", b"GET"), Err(Host));
        assert_eq!(Forwarded::from_parts(b"https", b"a", b"/\xff", b"GET"), Err(Path));
        assert_eq!(
            Forwarded::from_parts(b"https", b"a", b"/?\xff", b"GET").map(|read| read.url()),
            Ok("https://a/?%FF".to_owned())
        );
    }

    #[test]
    fn tickets_are_taken_at_one_spelling_only() {
        assert!(FINISH.strip_prefix(OURS).is_some_and(|below| below.starts_with('/')));
        assert!(url("https://a.example/.doorbook/finish?begin&rd=x").expect("good").is_finish());
        for other in [
            "/.doorbook/finish/",
            "//.doorbook/finish",
            "/.doorbook/%66inish",
            "/.doorbook",
            "/x/../.doorbook/finish",
        ] {
            assert!(!url(&format!("https://a.example{other}")).expect("good").is_finish(), "{other}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn no_bytes_make_it_panic(
            scheme in prop::collection::vec(any::<u8>(), 0..8),
            host in prop::collection::vec(any::<u8>(), 0..40),
            uri in prop::collection::vec(any::<u8>(), 0..80),
            method in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let _ = Forwarded::from_parts(&scheme, &host, &uri, &method);
            let _ = Forwarded::from_url(&[b"https://", &host[..], b"/", &uri].concat(), &method);
            let _ = Forwarded::from_url(&uri, b"GET");
        }

        #[test]
        fn an_address_that_is_read_leads_a_browser_to_that_host(
            host in "[a-z0-9.@:\\[\\]*%/\\\\,]{1,12}",
            uri in "/[a-z/.@:;%2fe?#\\\\]{0,20}",
        ) {
            let Ok(read) = parts("https", &host, &uri, "GET") else { return Ok(()) };
            let followed = url::Url::parse(&read.url()).expect("an address");
            prop_assert_eq!(followed.host_str(), Some(read.host().as_str()));
            prop_assert_eq!(followed.origin().ascii_serialization(), read.origin());
            prop_assert!(followed.username().is_empty() && followed.fragment().is_none());
        }
    }
}
