//! Hosts and addresses as they may stand in the configuration of a proxy: strictly read, so that nothing that
//! is typed can say more than where something is.

use std::fmt;

use crate::domain::host::Host;

/// The name of a web site; letters, digits, dots, hyphens and underscores, with a dot in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Site(Host);

/// A host and a port that a proxy reaches by plain HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Upstream {
    host: String,
    port: u16,
    is_loopback: bool,
}

impl Site {
    /// Reads the host of a web site, without a scheme and without a port.
    pub(super) fn parse(text: &str) -> Result<Site, String> {
        match Host::parse(text) {
            Ok(host) if !host.is_address() && host.as_str().contains('.') => Ok(Site(host)),
            _ => Err("not the name of a web site, such as wiki.example.org".to_owned()),
        }
    }

    /// Returns the host.
    pub(super) fn host(&self) -> &Host {
        &self.0
    }
}

impl Upstream {
    /// Reads `HOST:PORT` or `http://HOST:PORT`.
    pub(super) fn parse(text: &str) -> Result<Upstream, String> {
        if text.starts_with("https://") {
            return Err("only plain HTTP, such as http://127.0.0.1:3000".to_owned());
        }
        let bare = text.strip_prefix("http://").unwrap_or(text);
        match Host::parse_with_port(bare.strip_suffix('/').unwrap_or(bare)) {
            Ok((host, Some(port))) if port != 0 => {
                Ok(Upstream { is_loopback: is_loopback(&host), host: host.to_string(), port })
            }
            _ => Err("not a host and a port, such as 127.0.0.1:3000".to_owned()),
        }
    }

    /// Returns whether it is on the machine of the proxy.
    pub(super) fn is_loopback(&self) -> bool {
        self.is_loopback
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

fn is_loopback(host: &Host) -> bool {
    let address = host.as_str().trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    address.map_or(host.as_str() == "localhost", |address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What would end a word, a line or a block in one of the three configurations.
    const BREAKS: [&str; 24] = [
        "a.org;",
        "a.org {",
        "a.org}",
        "a.org\nimport x",
        "a.org\r",
        "a .org",
        "a.org#",
        "$host.org",
        "{$HOME}.org",
        "{env.HOME}.org",
        "'a.org'",
        "\"a.org\"",
        "`a.org`",
        "a.org`)||Host(`b.org",
        "a\\.org",
        "(a).org",
        "~a.org",
        "*.a.org",
        "a,b.org",
        "a.org&&true",
        "a=b.org",
        "a.org/path",
        "user@a.org",
        "a%24.org",
    ];

    #[test]
    fn the_name_of_a_site_says_nothing_else() {
        for (text, site) in [
            ("wiki.example.org", "wiki.example.org"),
            ("Wiki.Example.ORG.", "wiki.example.org"),
            ("b\u{fc}cher.example", "xn--bcher-kva.example"),
            ("my_app.example.org", "my_app.example.org"),
        ] {
            assert_eq!(Site::parse(text).map(|site| site.to_string()).as_deref(), Ok(site));
        }
        for text in BREAKS.iter().chain(&[
            "",
            ".",
            "localhost",
            "import",
            "192.0.2.1",
            "[::1]",
            "a.org:443",
            "https://a.org",
        ]) {
            assert!(Site::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_upstream_is_a_host_and_a_port() {
        for (text, upstream, is_loopback) in [
            ("127.0.0.1:3000", "127.0.0.1:3000", true),
            ("http://localhost:8096/", "localhost:8096", true),
            ("http://[::1]:3000", "[::1]:3000", true),
            ("Grafana:3000", "grafana:3000", false),
            ("10.0.0.7:80", "10.0.0.7:80", false),
        ] {
            let read = Upstream::parse(text).unwrap();
            assert_eq!((read.to_string().as_str(), read.is_loopback()), (upstream, is_loopback));
        }
        let with_port = BREAKS.iter().map(|text| format!("{text}:3000"));
        let others = ["", "3000", ":3000", "a", "a:0", "a:x", "a:3000/x", "https://a:3000", "unix:/tmp/a:1"];
        for text in with_port.chain(others.map(str::to_owned)) {
            assert!(Upstream::parse(&text).is_err(), "{text:?}");
        }
    }
}
