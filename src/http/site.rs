//! Which origins count as this site: our own, those allowed, and those that may read the API.

use std::net::IpAddr;

use url::{Host, Url};

use crate::domain;

/// Our origin and its friends, as an `Origin` header writes them.
#[derive(Clone, Debug)]
pub struct Site {
    own: String,
    host: String,
    loopback: bool,
    allowed: Vec<String>,
    readers: Vec<String>,
}

impl Site {
    /// Takes our public address and the allowed origins.
    pub fn new(own: &Url, allowed: &[Url]) -> Site {
        let text = |url: &Url| url.origin().ascii_serialization();
        Site {
            own: text(own),
            host: own.host_str().unwrap_or_default().to_owned(),
            loopback: own.host().is_some_and(|host| is_loopback(&host)),
            allowed: allowed.iter().map(text).collect(),
            readers: allowed.iter().filter(|other| same_site(own, other)).map(text).collect(),
        }
    }

    /// Returns our origin, for example `https://login.example.org`.
    pub fn own(&self) -> &str {
        &self.own
    }

    /// Returns whether a request with this `Origin` may change something.
    pub fn may_change(&self, origin: &str) -> bool {
        origin == self.own || self.allowed.iter().any(|allowed| allowed == origin)
    }

    /// Returns whether pages of this origin may read the API with the cookies of their visitor.
    ///
    /// Other sites may not, even where a login returns to them: browsers would not send the cookie.
    pub fn may_read(&self, origin: &str) -> bool {
        self.readers.iter().any(|reader| reader == origin)
    }

    /// Returns whether this `Host` is another name than the loopback name that we are known by.
    ///
    /// `localhost` and `127.0.0.1` are two hosts to a browser: a login begun on one cannot end on the other.
    pub fn is_other_loopback(&self, host: &str) -> bool {
        self.loopback && !without_port(host).eq_ignore_ascii_case(&self.host)
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.is_empty() => name,
        _ => host,
    }
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => IpAddr::from(*ip).to_canonical().is_loopback(),
    }
}

/// Returns whether a browser counts two addresses as one site: same scheme, same registrable domain,
/// whatever the port.
fn same_site(a: &Url, b: &Url) -> bool {
    let registrable = |url: &Url| Some(domain::host::Host::parse(url.host_str()?).ok()?.registrable());
    a.scheme() == b.scheme() && registrable(a).is_some() && registrable(a) == registrable(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(own: &str, allowed: &[&str]) -> Site {
        let url = |text: &str| Url::parse(text).expect("a URL");
        let allowed: Vec<Url> = allowed.iter().map(|text| url(text)).collect();
        Site::new(&url(own), &allowed)
    }

    #[test]
    fn siblings_and_other_ports_may_read_and_other_sites_may_not() {
        let table = [
            ("https://login.example.org", "https://app.example.org", true),
            ("https://login.example.org", "https://example.org", true),
            ("https://login.example.org", "https://app.example.org:8443", true),
            ("https://login.example.org", "https://app.example.net", false),
            ("https://login.example.co.uk", "https://app.example.co.uk", true),
            ("https://login.example.co.uk", "https://other.co.uk", false),
            ("https://nelly.github.io", "https://wumpus.github.io", false),
            ("https://login.xn--55qx5d.cn", "https://other.xn--55qx5d.cn", false),
            ("https://login.own.xn--55qx5d.cn", "https://app.own.xn--55qx5d.cn", true),
            ("https://login.xn--bcher-kva.example", "https://app.xn--bcher-kva.example", true),
            ("http://localhost:3001", "http://localhost:5173", true),
            ("http://localhost:3001", "http://127.0.0.1:5173", false),
            ("http://127.0.0.1:3001", "http://10.0.0.1:5173", false),
            ("http://127.0.0.1:3001", "http://127.0.0.1:5173", true),
            ("http://login.example.org", "https://app.example.org", false),
        ];
        for (own, other, may) in table {
            let site = site(own, &[other]);
            assert_eq!(site.may_read(other), may, "{own} {other}");
            assert!(site.may_change(other) && site.may_change(own), "{own} {other}");
        }
    }

    #[test]
    fn an_origin_is_compared_whole() {
        let site = site("https://login.example.org", &["https://app.example.org"]);
        for origin in [
            "null",
            "",
            "https://login.example.org/",
            "https://login.example.org.evil.example",
            "http://login.example.org",
            "https://login.example.org:8443",
        ] {
            assert!(!site.may_change(origin) && !site.may_read(origin), "{origin}");
        }
        assert!(!site.may_read("https://login.example.org"), "our own pages need no CORS");
    }

    #[test]
    fn only_a_loopback_site_has_other_loopback_names() {
        let local = site("http://localhost:3001", &[]);
        assert!(local.is_other_loopback("127.0.0.1:3001"));
        assert!(local.is_other_loopback("[::1]:3001"));
        assert!(!local.is_other_loopback("localhost:3001"));
        assert!(!local.is_other_loopback("LOCALHOST:8080"));
        assert!(!site("http://[::1]:3001", &[]).is_other_loopback("[::1]:3001"));
        assert!(!site("http://[::1]:3001", &[]).is_other_loopback("[::1]"));
        assert!(!site("https://login.example.org", &[]).is_other_loopback("127.0.0.1"));
    }
}
