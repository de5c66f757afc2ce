//! In which headers a proxy says what was asked for: one family for each endpoint, and never one for the other.
//!
//! Behind nginx the headers of the other family are whatever the client sent.

use http::HeaderMap;

use crate::domain::forwarded::{Forwarded, Malformed};

/// The headers that an endpoint reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `X-Original-URL` and `X-Original-Method`.
    Nginx,
    /// `X-Forwarded-Proto`, `-Host`, `-Uri` and `-Method`, as Traefik and Caddy send them.
    Forward,
}

/// Why a proxy's description cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHeaders {
    /// It is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// It is there more than once.
    #[error("{0} is there more than once")]
    Twice(&'static str),
    /// They are all there, and make no request.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// Reads the one family, and nothing else.
pub fn read(family: Family, headers: &HeaderMap) -> Result<Forwarded, BadHeaders> {
    let one = |name| one(headers, name);
    Ok(match family {
        Family::Nginx => Forwarded::from_url(one("x-original-url")?, one("x-original-method")?)?,
        Family::Forward => Forwarded::from_parts(
            one("x-forwarded-proto")?,
            one("x-forwarded-host")?,
            one("x-forwarded-uri")?,
            one("x-forwarded-method")?,
        )?,
    })
}

fn one<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a [u8], BadHeaders> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Err(BadHeaders::Missing(name)),
        (Some(value), None) => Ok(value.as_bytes()),
        (Some(_), Some(_)) => Err(BadHeaders::Twice(name)),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    const NGINX: [(&str, &str); 2] =
        [("x-original-url", "https://wiki.example.org/a?b"), ("x-original-method", "POST")];
    const FORWARD: [(&str, &str); 4] = [
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "public.example.org"),
        ("x-forwarded-uri", "/public"),
        ("x-forwarded-method", "GET"),
    ];

    fn headers(lists: &[&[(&'static str, &str)]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lists.iter().flat_map(|list| list.iter()) {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"));
        }
        headers
    }

    /// Behind nginx a client's own `X-Forwarded-Uri: /public` arrives as it was sent; tinyauth falls back to it.
    #[test]
    fn an_endpoint_reads_its_own_family_and_never_the_other() {
        let both = headers(&[&NGINX, &FORWARD]);
        let read_both = |family| read(family, &both).map(|read| (read.url(), read.method().to_owned()));
        assert_eq!(read_both(Family::Nginx), Ok(("https://wiki.example.org/a?b".into(), "POST".into())));
        assert_eq!(
            read_both(Family::Forward),
            Ok(("https://public.example.org/public".into(), "GET".into()))
        );
        assert_eq!(read(Family::Nginx, &headers(&[&FORWARD])), Err(BadHeaders::Missing("x-original-url")));
        assert_eq!(read(Family::Forward, &headers(&[&NGINX])), Err(BadHeaders::Missing("x-forwarded-proto")));
    }

    /// oauth2-proxy and Traefik were led astray by headers beside these (CVE-2026-40575, -35051, -54764).
    #[test]
    fn no_other_header_counts_for_anything() {
        let others = [
            ("host", "evil.example"),
            ("x-forwarded-prefix", "/public"),
            ("x-forwarded-port", "444"),
            ("x-forwarded-server", "evil.example"),
            ("x-original-uri", "/public"),
            ("x-original-host", "evil.example"),
            ("x-real-ip", "127.0.0.1"),
            ("x-rewrite-url", "/public"),
            ("forwarded", "host=evil.example;proto=http"),
        ];
        for (family, list) in [(Family::Nginx, &NGINX[..]), (Family::Forward, &FORWARD[..])] {
            assert_eq!(read(family, &headers(&[list, &others])), read(family, &headers(&[list])));
        }
    }

    #[test]
    fn each_header_is_there_exactly_once() {
        for (family, list) in [(Family::Nginx, &NGINX[..]), (Family::Forward, &FORWARD[..])] {
            for (at, (name, value)) in list.iter().enumerate() {
                let without = [&list[..at], &list[at + 1..]].concat();
                assert_eq!(read(family, &headers(&[&without])), Err(BadHeaders::Missing(name)));
                assert_eq!(read(family, &headers(&[list, &[(name, value)]])), Err(BadHeaders::Twice(name)));
            }
        }
    }
}
