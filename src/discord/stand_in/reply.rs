//! Answers as Discord words them, before anything goes wrong with them.

use std::io;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, PRAGMA};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

/// An answer, whole.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// What the list of requests calls it.
    pub outcome: String,
}

impl Reply {
    /// Returns an answer of any kind.
    pub(super) fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        let outcome =
            if status.is_client_error() || status.is_server_error() { status.as_str() } else { "ok" };
        Reply { status, headers, body: body.into(), outcome: outcome.to_owned() }
    }

    /// Returns JSON.
    pub(super) fn json(status: StatusCode, value: &Value) -> Reply {
        Reply::new(status, "application/json", json_text(value))
    }

    /// Returns an error of the OAuth family.
    pub(super) fn oauth_error(status: StatusCode, error: &str, description: Option<&str>) -> Reply {
        let mut body = json!({ "error": error });
        if let Some(description) = description {
            body["error_description"] = json!(description);
        }
        Reply { outcome: error.to_owned(), ..Reply::json(status, &body) }.not_stored()
    }

    /// Returns an error of the API family.
    pub(super) fn api_error(status: StatusCode, message: &str, code: u32) -> Reply {
        Reply::json(status, &json!({ "message": message, "code": code }))
    }

    /// Returns the generic error of the API family for a status.
    pub(super) fn api_status(status: StatusCode) -> Reply {
        let reason = status.canonical_reason().unwrap_or_default();
        Reply::api_error(status, &format!("{}: {reason}", status.as_u16()), 0)
    }

    /// Returns 405, and what would have been right.
    pub(super) fn method_not_allowed(allowed: &'static str) -> Reply {
        Reply::api_status(StatusCode::METHOD_NOT_ALLOWED).with(ALLOW, allowed)
    }

    /// Returns an answer without a body that sends a browser elsewhere.
    pub(super) fn redirect(status: StatusCode, location: &str) -> Reply {
        let mut reply = Reply::new(status, "text/plain; charset=utf-8", Bytes::new()).not_stored();
        // Built from percent-encoded text, so it is a header value; where a caller gave something else there is none.
        if let Ok(location) = HeaderValue::from_str(location) {
            reply.headers.insert(http::header::LOCATION, location);
        }
        reply
    }

    /// Returns the answer with the headers that forbid to keep it.
    pub(super) fn not_stored(self) -> Reply {
        self.with(CACHE_CONTROL, "no-store").with(PRAGMA, "no-cache")
    }

    /// Returns the answer with one more header.
    pub(super) fn with(mut self, name: HeaderName, value: &'static str) -> Reply {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    /// Returns the answer with one more header whose value was computed.
    pub(super) fn with_text(mut self, name: &'static str, value: &str) -> Reply {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
        self
    }

    /// Returns the answer under another name in the list of requests.
    pub(super) fn named(self, outcome: impl Into<String>) -> Reply {
        Reply { outcome: outcome.into(), ..self }
    }
}

/// Writes JSON with a space after each colon and comma, as Discord does.
pub(super) fn json_text(value: &Value) -> Vec<u8> {
    let mut text = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, Spaced);
    match value.serialize(&mut serializer) {
        Ok(()) => text,
        // A `Value` has string keys and a `Vec` takes every byte: there is nothing to fail.
        Err(_) => value.to_string().into_bytes(),
    }
}

struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_of_errors_are_worded_as_discord_words_them() {
        let oauth = Reply::oauth_error(
            StatusCode::BAD_REQUEST,
            "invalid_grant",
            Some("Invalid \"code\" in request."),
        );
        let text = r#"{"error": "invalid_grant", "error_description": "Invalid \"code\" in request."}"#;
        assert_eq!(oauth.body, text);
        assert_eq!(
            (oauth.headers["cache-control"].as_bytes(), oauth.outcome.as_str()),
            (&b"no-store"[..], "invalid_grant")
        );
        let api = Reply::api_status(StatusCode::UNAUTHORIZED);
        assert_eq!(api.body, r#"{"code": 0, "message": "401: Unauthorized"}"#);
    }
}
