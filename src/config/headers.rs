//! What the headers are called that tell an app who it serves: a preset, or a map of names.

use toml::de::{DeTable, DeValue};

use super::error::Wrong;
use super::file::type_of;
use super::values::items;
use crate::domain::identity::IdentityHeaders;

const NAME_MAX: usize = 64;

/// Headers that mean something to a browser, a proxy or an app already, and those that tell us what was asked for.
const TAKEN: [&str; 42] = [
    "accept",
    "age",
    "allow",
    "alt-svc",
    "authorization",
    "cache-control",
    "clear-site-data",
    "connection",
    "cookie",
    "date",
    "etag",
    "expect",
    "expires",
    "forwarded",
    "host",
    "keep-alive",
    "last-modified",
    "link",
    "location",
    "origin",
    "pragma",
    "range",
    "referer",
    "referrer-policy",
    "refresh",
    "retry-after",
    "server",
    "set-cookie",
    "strict-transport-security",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "x-content-type-options",
    "x-frame-options",
    "x-real-ip",
    "x-requested-with",
];

/// And every header that begins like this.
const TAKEN_PREFIXES: [&str; 10] = [
    "accept-",
    "access-control-",
    "content-",
    "cross-origin-",
    "if-",
    "proxy-",
    "sec-",
    "x-accel-",
    "x-http-method",
    "x-original-",
];

/// Of the family that proxies write, these tell an app where a request came from; `X-Forwarded-User` is free.
const TAKEN_FORWARDED: [&str; 9] =
    ["by", "for", "host", "method", "port", "prefix", "proto", "server", "uri"];

/// Reads `remote`, `x-auth-request`, `webauth`, or a map such as `user=X-User,email=X-Mail`. What a map does not
/// name is called as `remote` has it.
pub(super) fn read(text: &str) -> Result<IdentityHeaders, Wrong> {
    match text {
        "remote" => return Ok(IdentityHeaders::remote()),
        "x-auth-request" => return Ok(IdentityHeaders::x_auth_request()),
        "webauth" => return Ok(IdentityHeaders::webauth()),
        _ => {}
    }
    let mut headers = IdentityHeaders::remote();
    let mut said = Vec::new();
    for item in items(text) {
        let wrong = || Wrong::HeaderMap(item.to_owned());
        let (fact, name) = item.split_once('=').ok_or_else(wrong)?;
        let (fact, name) = (fact.trim(), name.trim());
        let field = match fact {
            "user" => &mut headers.user,
            "name" => &mut headers.name,
            "email" => &mut headers.email,
            "groups" => &mut headers.groups,
            "discord_id" => &mut headers.discord_id,
            "roles" => &mut headers.roles,
            _ => return Err(wrong()),
        };
        if said.contains(&fact) {
            return Err(wrong());
        }
        said.push(fact);
        check_name(name)?;
        *field = name.to_owned();
    }
    if said.is_empty() {
        return Err(Wrong::Empty);
    }
    check_distinct(&headers)?;
    Ok(headers)
}

/// Writes a table of the file as [`read`] takes it.
pub(super) fn of_table(map: &DeTable<'_>) -> Result<String, Wrong> {
    let mut items = Vec::new();
    for (fact, name) in map {
        let DeValue::String(name) = name.get_ref() else {
            return Err(Wrong::Type { expected: "a map of names", found: type_of(name.get_ref()) });
        };
        check_name(name)?;
        if fact.get_ref().contains([',', '=']) {
            return Err(Wrong::HeaderMap(fact.get_ref().to_string()));
        }
        items.push(format!("{}={name}", fact.get_ref()));
    }
    if items.is_empty() { Err(Wrong::Empty) } else { Ok(items.join(",")) }
}

fn check_name(name: &str) -> Result<(), Wrong> {
    let is_name = name.len() <= NAME_MAX
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && name.starts_with(|c: char| c.is_ascii_alphabetic());
    if !is_name {
        return Err(Wrong::HeaderName(name.to_owned()));
    }
    let lower = name.to_ascii_lowercase();
    let is_forwarded = lower.strip_prefix("x-forwarded-").is_some_and(|rest| TAKEN_FORWARDED.contains(&rest));
    let begins = TAKEN_PREFIXES.iter().any(|prefix| lower.starts_with(prefix));
    if is_forwarded || begins || TAKEN.contains(&lower.as_str()) {
        return Err(Wrong::HeaderTaken(name.to_owned()));
    }
    Ok(())
}

fn check_distinct(headers: &IdentityHeaders) -> Result<(), Wrong> {
    let IdentityHeaders { user, name, email, groups, discord_id, roles } = headers;
    let mut all: Vec<String> =
        [user, name, email, groups, discord_id, roles].map(|name| name.to_ascii_lowercase()).into();
    all.sort();
    match all.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Wrong::HeaderTwice(pair[0].clone())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_has_its_names_and_a_map_names_what_it_wants() {
        assert_eq!(read("remote"), Ok(IdentityHeaders::remote()));
        assert_eq!(read("x-auth-request"), Ok(IdentityHeaders::x_auth_request()));
        assert_eq!(read("webauth"), Ok(IdentityHeaders::webauth()));
        let named = read("user=X-User, email = X-Forwarded-Email ,discord_id=X-Id").unwrap();
        let expected = IdentityHeaders {
            user: "X-User".into(),
            email: "X-Forwarded-Email".into(),
            discord_id: "X-Id".into(),
            ..IdentityHeaders::remote()
        };
        assert_eq!(named, expected);
    }

    #[test]
    fn a_name_that_means_something_else_is_refused() {
        for name in [
            "Cookie",
            "set-cookie",
            "HOST",
            "Authorization",
            "Proxy-Authorization",
            "Connection",
            "Transfer-Encoding",
            "Content-Length",
            "Content-Security-Policy",
            "Location",
            "X-Accel-Redirect",
            "X-Forwarded-For",
            "X-Forwarded-Uri",
            "X-Original-URL",
            "X-HTTP-Method-Override",
            "Sec-Fetch-Mode",
            "Access-Control-Allow-Origin",
        ] {
            let found = read(&format!("user={name}"));
            assert_eq!(found, Err(Wrong::HeaderTaken(name.to_owned())), "{name}");
        }
        for name in ["", "X_User", "X.User", "X User", "-X", "1X", "X-\u{dc}ser", "X:", &"x".repeat(65)] {
            let found = read(&format!("user={name}"));
            assert_eq!(found, Err(Wrong::HeaderName(name.to_owned())), "{name}");
        }
    }

    #[test]
    fn two_facts_never_share_a_name() {
        assert_eq!(read("user=X-Who,name=x-who"), Err(Wrong::HeaderTwice("x-who".into())));
        assert_eq!(read("user=Remote-Email"), Err(Wrong::HeaderTwice("remote-email".into())));
        for wrong in ["authelia", "user", "user:X-User", "role=X-Role", "user=X-A,user=X-B"] {
            assert!(matches!(read(wrong), Err(Wrong::HeaderMap(_))), "{wrong}");
        }
        assert_eq!(read(","), Err(Wrong::Empty));
    }
}
