//! The names of web sites: what a proxy says a request was for, and which of them a rule means.

use std::fmt;
use std::net::Ipv4Addr;

/// The longest host name, in bytes.
const MAX_LEN: usize = 253;

/// A host in the one form that is compared: lower case, IDNA, without a dot at its end and without a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(String);

/// The text is not the name of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a host")]
pub struct NotAHost;

impl Host {
    /// Reads a host without a port; an IPv6 address stands in brackets.
    pub fn parse(raw: &str) -> Result<Host, NotAHost> {
        if is_plain(raw) {
            return Ok(Host(raw.to_owned()));
        }
        Host::read(raw)
    }

    /// Reads a host however it is written.
    fn read(raw: &str) -> Result<Host, NotAHost> {
        // The parser decodes escapes and drops tabs; a host that needs either is not one that we were asked for.
        let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '%' | '*' | '@' | '/' | '\\');
        if raw.is_empty() || raw.contains(odd) {
            return Err(NotAHost);
        }
        let bare =
            if raw.ends_with("..") { return Err(NotAHost) } else { raw.strip_suffix('.').unwrap_or(raw) };
        let host = url::Host::parse(bare).map_err(|_| NotAHost)?.to_string();
        // The parser takes more for a letter than any host has: a quotation mark, a comma, a brace.
        let is_letter = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
        if !host.starts_with('[') && !host.bytes().all(is_letter) {
            return Err(NotAHost);
        }
        let empty_label = host.starts_with('.') || host.contains("..") || host.ends_with('.');
        if host.is_empty() || host.len() > MAX_LEN || empty_label { Err(NotAHost) } else { Ok(Host(host)) }
    }

    /// Reads a host and the port behind it, if there is one.
    pub fn parse_with_port(raw: &str) -> Result<(Host, Option<u16>), NotAHost> {
        let (host, port) = match raw.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (raw, None),
        };
        let port = match port {
            None => None,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                Some(digits.parse().map_err(|_| NotAHost)?)
            }
            Some(_) => return Err(NotAHost),
        };
        Ok((Host::parse(host)?, port))
    }

    /// Returns the name as a URL carries it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether this is `domain` or below it.
    pub fn is_at_or_below(&self, domain: &Host) -> bool {
        self == domain || self.is_below(domain)
    }

    /// Returns whether this is below `domain`, at any depth. An address is below nothing.
    pub fn is_below(&self, domain: &Host) -> bool {
        self.0.strip_suffix(domain.as_str()).is_some_and(|labels| labels.len() > 1 && labels.ends_with('.'))
            && !self.is_address()
    }

    /// Returns whether it is a public suffix, below which anybody may have a name: `org`, `github.io`.
    pub fn is_public_suffix(&self) -> bool {
        let written = self.as_written();
        let suffix = psl::suffix(written.as_bytes());
        !self.is_address() && suffix.is_some_and(|suffix| suffix.is_known() && suffix == written.as_bytes())
    }

    /// Returns the domain that somebody has registered, as people write it; of an address, the address.
    pub fn registrable(&self) -> String {
        let written = self.as_written();
        let domain = psl::domain_str(&written).filter(|_| !self.is_address());
        domain.map(str::to_owned).unwrap_or(written)
    }

    /// Returns the name as people write it, as the list of public suffixes does.
    fn as_written(&self) -> String {
        idna::domain_to_unicode(&self.0).0
    }

    /// Returns whether this is an IP address.
    pub fn is_address(&self) -> bool {
        self.0.starts_with('[') || self.0.parse::<Ipv4Addr>().is_ok()
    }
}

/// Returns whether a name is in our form as it came, as nearly all are: labels of small ASCII letters, none of them
/// encoded, and no number at the end.
fn is_plain(raw: &str) -> bool {
    let is_letter = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    let is_label =
        |label: &str| !label.is_empty() && label.bytes().all(is_letter) && !label.starts_with("xn--");
    let ends_in_a_word = |label: &str| label.starts_with(|first: char| first.is_ascii_lowercase());
    raw.len() <= MAX_LEN && raw.split('.').all(is_label) && raw.rsplit('.').next().is_some_and(ends_in_a_word)
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which hosts a rule is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// That one.
    Exact(Host),
    /// `*.example.org`: every host below it, at any depth, and not the domain itself.
    Below(Host),
}

impl HostPattern {
    /// Reads `wiki.example.org` or `*.example.org`.
    pub fn parse(text: &str) -> Result<HostPattern, NotAHost> {
        match text.strip_prefix("*.") {
            Some(domain) => {
                let domain = Host::parse(domain)?;
                if domain.is_address() { Err(NotAHost) } else { Ok(HostPattern::Below(domain)) }
            }
            None => Host::parse(text).map(HostPattern::Exact),
        }
    }

    /// Returns whether the rule is for that host.
    pub fn matches(&self, host: &Host) -> bool {
        match self {
            HostPattern::Exact(exact) => exact == host,
            HostPattern::Below(domain) => host.is_below(domain),
        }
    }

    /// Returns whether the rule is for every host that the other is for.
    pub fn includes(&self, other: &HostPattern) -> bool {
        match (self, other) {
            (_, HostPattern::Exact(host)) => self.matches(host),
            (HostPattern::Below(domain), HostPattern::Below(other)) => other.is_at_or_below(domain),
            (HostPattern::Exact(_), HostPattern::Below(_)) => false,
        }
    }

    /// Returns the host, or the domain that all of them are below.
    pub fn domain(&self) -> &Host {
        match self {
            HostPattern::Exact(host) | HostPattern::Below(host) => host,
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Exact(host) => host.fmt(f),
            HostPattern::Below(domain) => write!(f, "*.{domain}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn host(text: &str) -> Host {
        Host::parse(text).unwrap_or_else(|_| panic!("{text:?} is a host"))
    }

    #[test]
    fn one_host_has_one_form_however_it_is_written() {
        for (raw, form) in [
            ("Wiki.Example.ORG", "wiki.example.org"),
            ("wiki.example.org.", "wiki.example.org"),
            ("b\u{fc}cher.example", "xn--bcher-kva.example"),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
            ("localhost", "localhost"),
            ("192.0.2.1", "192.0.2.1"),
            ("[2001:DB8::1]", "[2001:db8::1]"),
            ("my_app.example.org", "my_app.example.org"),
        ] {
            assert_eq!(host(raw).as_str(), form, "{raw:?}");
        }
    }

    proptest! {
        /// A name that is taken as it came is what the parser of URLs makes of it.
        #[test]
        fn a_plain_name_is_read_as_any_other(
            labels in prop::collection::vec("[a-zA-Z0-9_-]{0,4}|xn--[a-z0-9]{0,5}|[0-9]{1,3}|0x[0-9a-f]{0,2}", 0..5),
        ) {
            let raw = labels.join(".");
            prop_assert_eq!(Host::parse(&raw), Host::read(&raw), "{}", raw);
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        let long = "a.".repeat(140) + "example";
        for raw in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "a..",
            "*",
            "*.example.org",
            "a b",
            "a\tb",
            "a/b",
            "a\\b",
            "user@a",
            "a%2eb",
            "ex%61mple.org",
            "a\"b.example",
            "a,b.example",
            "a{b}.example",
            "$a.example",
            "a;b.example",
            "a:b",
            "[::1",
            "::1",
            "a#b",
            "a?b",
            "\u{7f}",
            long.as_str(),
        ] {
            assert_eq!(Host::parse(raw), Err(NotAHost), "{raw:?}");
        }
    }

    #[test]
    fn a_port_is_read_and_dropped() {
        let read = |raw| Host::parse_with_port(raw).map(|(host, port)| (host.to_string(), port));
        assert_eq!(read("wiki.example.org:8443"), Ok(("wiki.example.org".into(), Some(8443))));
        assert_eq!(read("wiki.example.org.:443"), Ok(("wiki.example.org".into(), Some(443))));
        assert_eq!(read("[::1]:80"), Ok(("[::1]".into(), Some(80))));
        assert_eq!(read("[::1]"), Ok(("[::1]".into(), None)));
        for raw in ["a:", "a:x", "a:-1", "a:65536", "a:80:80", ":80", "a:8 0", "[::1]:x"] {
            assert_eq!(read(raw), Err(NotAHost), "{raw:?}");
        }
    }

    #[test]
    fn below_is_any_depth_and_not_the_domain_itself() {
        let below = HostPattern::parse("*.Example.org").expect("a pattern");
        for inside in ["a.example.org", "a.b.example.org", "A.EXAMPLE.ORG."] {
            assert!(below.matches(&host(inside)), "{inside}");
        }
        for outside in ["example.org", "evilexample.org", "example.org.evil.net", "org"] {
            assert!(!below.matches(&host(outside)), "{outside}");
        }
        assert_eq!(below.to_string(), "*.example.org");
        for wrong in ["*", "*.", "*.*.org", "a.*.org", "*example.org", "*.192.0.2.1"] {
            assert_eq!(HostPattern::parse(wrong), Err(NotAHost), "{wrong:?}");
        }
        assert!(host("example.org").is_at_or_below(&host("example.org")));
    }

    #[test]
    fn a_pattern_includes_another_where_no_host_of_it_is_left_out() {
        let includes = |wide: &str, narrow: &str| {
            let pattern = |text| HostPattern::parse(text).expect("a pattern");
            pattern(wide).includes(&pattern(narrow))
        };
        for (wide, narrow) in [
            ("a.example.org", "a.example.org"),
            ("*.example.org", "a.example.org"),
            ("*.example.org", "*.example.org"),
            ("*.example.org", "*.a.example.org"),
        ] {
            assert!(includes(wide, narrow), "{wide} {narrow}");
        }
        for (wide, narrow) in [
            ("a.example.org", "b.example.org"),
            ("a.example.org", "*.example.org"),
            ("*.example.org", "example.org"),
            ("*.a.example.org", "*.example.org"),
            ("*.example.org", "*.other.example"),
        ] {
            assert!(!includes(wide, narrow), "{wide} {narrow}");
        }
    }

    #[test]
    fn below_a_public_suffix_anybody_may_have_a_name() {
        for suffix in ["org", "co.uk", "github.io", "foo.ck", "\u{516c}\u{53f8}.cn", "XN--55QX5D.CN"] {
            assert!(host(suffix).is_public_suffix(), "{suffix}");
        }
        for own in [
            "example.org",
            "example.co.uk",
            "nelly.github.io",
            "www.ck",
            "lan",
            "localhost",
            "192.0.2.1",
            "[::1]",
        ] {
            assert!(!host(own).is_public_suffix(), "{own}");
        }
    }
}
