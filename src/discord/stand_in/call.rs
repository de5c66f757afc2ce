//! One request as the stand-in sees it: read whole, and its place found.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE};
use http::{HeaderMap, Method};

use super::requests::{Request, Route};
use super::{Shared, World};
use crate::domain::id::Hash;

/// A request, read whole.
#[derive(Debug)]
pub(super) struct Call {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub place: Place,
    /// Whether this version of the API counts waits in milliseconds, as all before the eighth did.
    pub milliseconds: bool,
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Authorize,
    Token,
    Revoke,
    Authorization,
    Me,
    /// The guild, as it stands in the path.
    Member(String),
    Avatar,
    Front,
    Style,
    /// What stands after `/_control/`.
    Control(String),
    /// A version of the API that is gone or never was.
    GoneVersion,
    Unknown,
}

impl Call {
    pub(super) fn new(method: Method, uri: &http::Uri, headers: HeaderMap, body: Bytes) -> Call {
        let path = uri.path().to_owned();
        let (place, version) = place(&path);
        Call {
            method,
            query: uri.query().unwrap_or_default().to_owned(),
            path,
            headers,
            body,
            place,
            milliseconds: version.is_some_and(|version| version < 8),
        }
    }

    /// Returns a header, where it is there and readable.
    pub(super) fn header(&self, name: &http::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns a cookie.
    pub(super) fn cookie(&self, name: &str) -> Option<&str> {
        let cookies = self.headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        cookies
            .flat_map(|line| line.split(';'))
            .find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
    }

    /// Returns whether the body is a form; everything else is as if it were empty.
    fn is_form(&self) -> bool {
        let kind = self.header(&CONTENT_TYPE).and_then(|kind| kind.split(';').next()).unwrap_or_default();
        kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
    }

    /// Returns a field of the form; of several the first.
    pub(super) fn field(&self, name: &str) -> Option<String> {
        if !self.is_form() {
            return None;
        }
        url::form_urlencoded::parse(&self.body)
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }

    /// Returns what tells one caller from another, as far as rate limits go.
    pub(super) fn caller(&self) -> Hash {
        Hash::of(self.headers.get(AUTHORIZATION).map_or(&[], |value| value.as_bytes()))
    }

    /// Returns the name tests know the place by.
    pub(super) fn route(&self) -> Route {
        match self.place {
            Place::Authorize => Route::Authorize,
            Place::Token => match self.field("grant_type").as_deref() {
                Some("refresh_token") => Route::Refresh,
                Some("client_credentials") => Route::ClientCredentials,
                _ => Route::Token,
            },
            Place::Revoke => Route::Revoke,
            Place::Authorization => Route::Authorization,
            Place::Me => Route::Me,
            Place::Member(_) => Route::Member,
            Place::Avatar => Route::Avatar,
            Place::Front | Place::Style => Route::Page,
            Place::Control(_) | Place::GoneVersion | Place::Unknown => Route::Unknown,
        }
    }

    /// Returns the request as it may be shown.
    pub(super) fn masked(&self, shared: &Shared) -> Request {
        let names =
            |text: &[u8]| url::form_urlencoded::parse(text).map(|(name, _)| name.into_owned()).collect();
        Request {
            number: 0,
            at: shared.clock.now().to_string(),
            route: self.route(),
            method: self.method.to_string(),
            path: self.path.clone(),
            query: names(self.query.as_bytes()),
            headers: self
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), masked(name, value)))
                .collect(),
            form: if self.is_form() { names(&self.body) } else { Vec::new() },
            secret_in_url: self.secret_in_url(shared, &shared.world()),
            status: None,
            outcome: "pending".into(),
        }
    }

    fn secret_in_url(&self, shared: &Shared, world: &World) -> bool {
        let is_secret = |text: &str| {
            world.codes.knows(text)
                || world.tokens.owner(&Hash::of(text.as_bytes())).is_some()
                || shared.applications.iter().any(|a| a.client_secret.expose() == text)
        };
        url::form_urlencoded::parse(self.query.as_bytes()).any(|(_, value)| is_secret(&value))
            || self.path.split('/').any(is_secret)
    }
}

fn masked(name: &http::HeaderName, value: &http::HeaderValue) -> String {
    let text = String::from_utf8_lossy(value.as_bytes());
    match name.as_str() {
        "authorization" | "proxy-authorization" => match text.split_once(' ') {
            Some((scheme, _)) => format!("{scheme} ***"),
            None => "***".to_owned(),
        },
        "cookie" | "referer" => "***".to_owned(),
        _ => text.into_owned(),
    }
}

/// Returns the place of a path, and the version where it is one of the API.
fn place(path: &str) -> (Place, Option<u32>) {
    if let Some(rest) = path.strip_prefix("/_control") {
        let rest = rest.trim_start_matches('/').trim_end_matches('/');
        return (Place::Control(rest.to_owned()), None);
    }
    let Some(rest) = path.strip_prefix("/api/") else {
        let place = match path {
            "/" => Place::Front,
            "/assets/stand-in.css" => Place::Style,
            "/oauth2/authorize" => Place::Authorize,
            _ if path.starts_with("/avatars/") || path.starts_with("/embed/avatars/") => Place::Avatar,
            _ => Place::Unknown,
        };
        return (place, None);
    };
    let (rest, version) = match rest.split_once('/') {
        Some((first, after)) if is_version(first) => match first[1..].parse() {
            Ok(version @ 6..=10) => (after, version),
            _ => return (Place::GoneVersion, None),
        },
        _ => (rest, 6),
    };
    let place = match rest {
        "oauth2/authorize" => Place::Authorize,
        "oauth2/token" => Place::Token,
        "oauth2/token/revoke" => Place::Revoke,
        "oauth2/@me" => Place::Authorization,
        "users/@me" => Place::Me,
        _ => match rest.strip_prefix("users/@me/guilds/").and_then(|rest| rest.strip_suffix("/member")) {
            Some(guild) if !guild.contains('/') => Place::Member(guild.to_owned()),
            _ => Place::Unknown,
        },
    };
    (place, Some(version))
}

fn is_version(segment: &str) -> bool {
    segment
        .strip_prefix('v')
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row 42: the versions of the API.
    #[test]
    fn versions_six_to_ten_and_none_are_known_and_no_other() {
        for known in ["/api", "/api/v6", "/api/v7", "/api/v8", "/api/v9", "/api/v10"] {
            assert_eq!(place(&format!("{known}/users/@me")).0, Place::Me, "{known}");
            assert_eq!(place(&format!("{known}/oauth2/token")).0, Place::Token, "{known}");
        }
        for gone in ["/api/v3", "/api/v5", "/api/v11", "/api/v0", "/api/v99999999999"] {
            assert_eq!(place(&format!("{gone}/users/@me")).0, Place::GoneVersion, "{gone}");
        }
        for unknown in ["/api/vx/users/@me", "/users/@me", "/oauth2/token", "/api/v10/users/@me/", "/api/v10"]
        {
            assert_eq!(place(unknown).0, Place::Unknown, "{unknown}");
        }
        assert_eq!(place("/api/users/@me").1, Some(6));
        assert_eq!(place("/api/v10/users/@me").1, Some(10));
    }

    #[test]
    fn the_guild_stands_in_the_path() {
        assert_eq!(place("/api/v10/users/@me/guilds/42/member").0, Place::Member("42".into()));
        assert_eq!(place("/api/v10/users/@me/guilds/4/2/member").0, Place::Unknown);
    }
}
