//! Fuzzed: wherever a login returns to, a browser ends up at an origin that was allowed.

use std::sync::Arc;

use url::Url;

use super::host::{Host, HostPattern};
use super::path::RulePath;
use super::rules::{DefaultPolicy, Grants, Rule, Rules};
use super::target::{MAX_LEN, Target, TargetRules};

const OWN: &str = "https://login.example.org/api/auth/discord/redirect";

/// Reads the bytes as `rd`; what is accepted leads where it may, and is accepted again as the same.
pub fn rd(bytes: &[u8]) {
    let Ok(raw) = std::str::from_utf8(bytes) else { return };
    let rules = rules();
    let Ok(target) = rules.read(raw) else { return };
    let location = target.location();
    assert!(location.len() <= MAX_LEN);
    assert!(location.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\'), "{location:?}");
    match &target {
        Target::Elsewhere(url, of) => elsewhere(location, url, of),
        Target::Here(_) => at_home(location),
    }
    assert_eq!(rules.read(location), Ok(target), "read once more");
}

/// Asserts that the address is that of an allowed host, by comparing texts.
fn elsewhere(location: &str, read: &Url, of: &Host) {
    let url = Url::parse(location).unwrap_or_else(|wrong| panic!("{location:?}: {wrong}"));
    assert_eq!(url.as_str(), location, "as a browser writes it");
    assert_eq!(url.scheme(), "https");
    assert!(url.username().is_empty() && url.password().is_none());
    let host = url.host_str().unwrap_or_default();
    let is_below = |domain: &str| host.strip_suffix(domain).is_some_and(|name| name.ends_with('.'));
    let is_allowed = match url.port() {
        None => {
            matches!(host, "app.example.net" | "wiki.example.net" | "example.org")
                || is_below("apps.example.com")
                || is_below("example.org")
        }
        Some(port) => (host, port) == ("wiki.example.net", 8443),
    };
    assert!(is_allowed && !host.starts_with('.') && !host.contains(".."), "{location:?}");
    assert_ne!(url.origin(), own().origin(), "our own is a path");
    assert_eq!((read, of.as_str()), (&url, host));
    let prefix = format!("https://{host}");
    assert!(location.starts_with(&prefix), "nothing stands before the host: {location:?}");
    refuses(url.path(), &[&[".doorbook"]]);
}

/// Asserts that a browser stays with us, and comes to no page that does something.
fn at_home(location: &str) {
    assert!(location.starts_with('/') && !location.starts_with("//"), "{location:?}");
    let followed = own().join(location).unwrap_or_else(|wrong| panic!("{location:?}: {wrong}"));
    assert_eq!(followed.origin(), own().origin(), "{location:?}");
    assert_eq!(&followed[url::Position::BeforePath..], location, "as a browser writes it");
    refuses(
        followed.path(),
        &[&["auth"], &[".doorbook"], &["api", "auth", "discord"], &["api", "auth", "revoke"]],
    );
}

fn refuses(path: &str, prefixes: &[&[&str]]) {
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    assert!(!decoded.contains(char::is_control), "{path:?}");
    let segments: Vec<&str> = decoded.split('/').filter(|segment| !segment.is_empty()).collect();
    for prefix in prefixes {
        assert!(!segments.starts_with(prefix), "{path:?} is below {prefix:?}");
    }
}

fn own() -> Url {
    url(OWN)
}

fn url(text: &str) -> Url {
    Url::parse(text).unwrap_or_else(|wrong| panic!("{text:?}: {wrong}"))
}

fn rules() -> TargetRules {
    let host = |text| Host::parse(text).unwrap_or_else(|wrong| panic!("{text:?}: {wrong}"));
    let rule = |host| Rule {
        host,
        path: RulePath::root(),
        grant: Grants::Public,
        methods: None,
        networks: None,
        allow_preflight: false,
    };
    let guarded = Rules {
        rules: vec![
            rule(HostPattern::Exact(host("wiki.example.net"))),
            rule(HostPattern::Below(host("apps.example.com"))),
        ],
        default_policy: DefaultPolicy::SignedIn(host("example.org")),
        ..Rules::default()
    };
    let allowed = [url("https://app.example.net"), url("https://wiki.example.net:8443")];
    TargetRules::new(&own(), &allowed).guarding(Arc::new(guarded))
}
