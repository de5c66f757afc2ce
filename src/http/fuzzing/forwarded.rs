//! Fuzzed: whatever headers arrive from a proxy, an endpoint reads its own, and what it reads is what a browser follows.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use url::Url;

use crate::domain::event::Learned;
use crate::domain::forwarded::Forwarded;
use crate::domain::host::Host;
use crate::domain::path::RequestPath;
use crate::http::forwarded::{BadHeaders, Family, read};
use crate::http::query::{Param, Query};
use crate::http::request::client_address;

const NGINX: [&str; 2] = ["x-original-url", "x-original-method"];
const FORWARD: [&str; 4] = ["x-forwarded-proto", "x-forwarded-host", "x-forwarded-uri", "x-forwarded-method"];

/// Reads each line as a header.
pub fn forwarded(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(64) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    for (family, own, other) in
        [(Family::Nginx, &NGINX[..], &FORWARD[..]), (Family::Forward, &FORWARD, &NGINX)]
    {
        let found = read(family, &headers);
        beside_others(family, own, other, &headers, &found);
        if let Ok(request) = found {
            one_request(&request);
        }
    }
    address(&headers);
}

/// Asserts that no header but those of the family counts for anything.
fn beside_others(
    family: Family,
    own: &[&'static str],
    other: &[&'static str],
    headers: &HeaderMap,
    found: &Result<Forwarded, BadHeaders>,
) {
    let mut alone = HeaderMap::new();
    for name in own {
        for value in headers.get_all(*name) {
            alone.append(*name, value.clone());
        }
    }
    assert_eq!(&read(family, &alone), found, "the others do not count");
    let strange = ["host", "forwarded", "x-forwarded-prefix", "x-forwarded-port", "x-original-uri"];
    for name in other.iter().copied().chain(strange) {
        alone.append(name, HeaderValue::from_static("https://public.example/public"));
    }
    assert_eq!(&read(family, &alone), found, "nor does what is added");
}

fn one_request(request: &Forwarded) {
    let url = request.url();
    let followed = Url::parse(&url).unwrap_or_else(|wrong| panic!("{url:?}: {wrong}"));
    assert_eq!(followed.host_str(), Some(request.host().as_str()), "{url:?}");
    assert_eq!(followed.origin().ascii_serialization(), request.origin(), "{url:?}");
    assert!(followed.username().is_empty() && followed.password().is_none(), "{url:?}");
    assert!(followed.fragment().is_none() && !url.contains(|c: char| c.is_whitespace() || c.is_control()));
    assert!((1..=32).contains(&request.method().len()));
    // Host and path are in the one form that is compared.
    let host = request.host();
    assert_eq!(Host::parse(host.as_str()).as_ref(), Ok(host));
    normal(request.path());
    // The address says the same once more.
    let again = Forwarded::from_url(url.as_bytes(), request.method().as_bytes());
    let again = again.unwrap_or_else(|wrong| panic!("{url:?}: {wrong}"));
    assert_eq!((again.url(), again.path(), again.host()), (url, request.path(), host));
    assert_eq!((again.query(), again.is_finish()), (request.query(), request.is_finish()));
    assert!(request.is_web_socket() || again == *request, "{request:?}");
    query(request.query());
}

/// Asserts that a path is what it says, and that reading it again changes nothing.
fn normal(path: &RequestPath) {
    let normal = path.normal();
    assert!(normal.starts_with('/') && normal.bytes().all(|byte| byte.is_ascii_graphic()), "{normal:?}");
    assert!(!normal.contains("//") && !normal.contains(['?', '#']), "{normal:?}");
    assert!(normal.split('/').all(|segment| !matches!(segment, "." | "..")), "{normal:?}");
    let again = RequestPath::parse(normal).unwrap_or_else(|wrong| panic!("{normal:?}: {wrong}"));
    assert_eq!(again.normal(), normal);
    assert!(!again.is_respelled(), "{normal:?}");
    assert!(path.is_ambiguous() || !again.is_ambiguous(), "{normal:?}");
}

fn query(raw: &str) {
    let query = Query::parse(raw);
    assert_eq!(query.raw(), raw);
    for name in raw.split('&').filter_map(|pair| pair.split('=').next()) {
        // A name that needs no decoding is found under itself.
        if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            assert_ne!(query.get(name), Param::Missing, "{raw:?}");
        }
    }
}

/// Asserts that only a trusted proxy is believed about whom it speaks for.
fn address(headers: &HeaderMap) {
    let (proxy, stranger) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7)));
    let trusted = [IpNet::from(proxy)];
    assert_eq!(client_address(stranger, headers, &trusted), (stranger, Learned::Socket));
    assert_eq!(client_address(proxy, headers, &[]), (proxy, Learned::Socket));
    let (client, learned) = client_address(proxy, headers, &trusted);
    assert_eq!(client, client.to_canonical());
    assert!(learned == Learned::Forwarded || client == proxy);
    assert!(learned == Learned::Socket || headers.contains_key("x-forwarded-for"));
}
