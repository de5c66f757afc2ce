//! The JSON of a good answer, read with care: what we use must be right, what we do not use may be anything.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::IssuedTokens;
use super::error::Unreadable;
use crate::domain::event::{Profile, Tokens};
use crate::domain::id::Secret;

/// The longest token that is taken; Discord's own are below 100 bytes, and have grown before.
const LONGEST_TOKEN: usize = 8 * 1024;

/// The longest list of scopes that is taken.
const LONGEST_SCOPE: usize = 4 * 1024;

/// The longest name, address or hash that is taken: all of them must fit into one record of the log.
const LONGEST_TEXT: usize = 1024;

/// The longest life of an access token that is believed: ten years.
const LONGEST_LIFE: u64 = 10 * 366 * 86_400;

#[derive(Deserialize)]
struct TokenReply {
    access_token: String,
    token_type: String,
    expires_in: u64,
    refresh_token: Option<String>,
    scope: Option<String>,
}

/// Reads the answer to a code or a refresh token.
///
/// Without `scope` the scopes are those that were asked for (RFC 6749, 5.1).
pub(super) fn tokens(body: &[u8], requested: &[String]) -> Result<IssuedTokens, Unreadable> {
    let reply = checked(object::<TokenReply>(body)?)?;
    let refresh = token(reply.refresh_token.ok_or(Unreadable::Field("refresh_token"))?, "refresh_token")?;
    let mut scopes = match &reply.scope {
        Some(scope) => split(scope)?,
        None => requested.to_vec(),
    };
    scopes.sort_unstable();
    scopes.dedup();
    Ok(IssuedTokens {
        tokens: Tokens { access: token(reply.access_token, "access_token")?, refresh },
        scopes,
        expires_in: Duration::from_secs(reply.expires_in),
    })
}

/// Reads the answer to our own credentials; the token in it is not wanted.
pub(super) fn own_token(body: &[u8]) -> Result<(), Unreadable> {
    let reply = checked(object::<TokenReply>(body)?)?;
    token(reply.access_token, "access_token").map(drop)
}

/// Reads an answer that has nothing to say: an object, or no body at all.
pub(super) fn nothing(body: &[u8]) -> Result<(), Unreadable> {
    if body.trim_ascii().is_empty() {
        return Ok(());
    }
    object::<serde::de::IgnoredAny>(body).map(drop)
}

#[derive(Deserialize)]
struct UserReply {
    id: String,
    username: String,
    discriminator: Option<String>,
    global_name: Option<String>,
    avatar: Option<String>,
    locale: Option<String>,
    email: Option<String>,
    verified: Option<Value>,
}

/// Reads `/users/@me`.
///
/// An id must be a string: as a number it may have lost its last digits already.
pub(super) fn profile(body: &[u8]) -> Result<Profile, Unreadable> {
    let user = object::<UserReply>(body)?;
    let optional = |value: Option<String>, name| value.map(|value| text(value, name)).transpose();
    Ok(Profile {
        id: user.id.parse().map_err(|_| Unreadable::Field("id"))?,
        username: text(user.username, "username")?,
        global_name: optional(user.global_name, "global_name")?,
        // Discord may drop it one day; those who have no four digits have a zero.
        discriminator: optional(user.discriminator, "discriminator")?.unwrap_or_else(|| "0".into()),
        avatar: optional(user.avatar, "avatar")?,
        locale: optional(user.locale, "locale")?,
        email: optional(user.email, "email")?,
        // Exactly `true`: taking anything else for a yes opens other people's accounts.
        email_verified: user.verified.map(|verified| verified == Value::Bool(true)),
    })
}

/// Reads a JSON object; serde alone would also take a list of the fields' values.
fn object<T: DeserializeOwned>(body: &[u8]) -> Result<T, Unreadable> {
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Unreadable::Malformed);
    }
    serde_json::from_slice(body).map_err(|_| Unreadable::Malformed)
}

fn checked(reply: TokenReply) -> Result<TokenReply, Unreadable> {
    if !reply.token_type.eq_ignore_ascii_case("bearer") {
        return Err(Unreadable::Field("token_type"));
    }
    if !(1..=LONGEST_LIFE).contains(&reply.expires_in) {
        return Err(Unreadable::Field("expires_in"));
    }
    Ok(reply)
}

/// Takes a token that can be sent back in a header.
fn token(value: String, name: &'static str) -> Result<Secret, Unreadable> {
    let secret = Secret::new(value);
    let length = secret.expose().len();
    if length == 0 || length > LONGEST_TOKEN || !secret.expose().bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Unreadable::Field(name));
    }
    Ok(secret)
}

fn split(scope: &str) -> Result<Vec<String>, Unreadable> {
    if scope.len() > LONGEST_SCOPE || !scope.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
        return Err(Unreadable::Field("scope"));
    }
    Ok(scope.split(' ').filter(|name| !name.is_empty()).map(Into::into).collect())
}

fn text(value: String, name: &'static str) -> Result<String, Unreadable> {
    if value.len() > LONGEST_TEXT { Err(Unreadable::Field(name)) } else { Ok(value) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::id::DiscordId;

    macro_rules! fixture {
        ($name:literal) => {
            include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/discord/", $name))
        };
    }

    /// Returns a fixture with one field replaced, or taken away by `null` in `without`.
    fn changed(fixture: &[u8], field: &str, value: Value) -> Vec<u8> {
        let mut object: Value = serde_json::from_slice(fixture).expect("a fixture is json");
        object[field] = value;
        object.to_string().into_bytes()
    }

    fn without(fixture: &[u8], field: &str) -> Vec<u8> {
        let mut object: Value = serde_json::from_slice(fixture).expect("a fixture is json");
        object.as_object_mut().expect("an object").remove(field);
        object.to_string().into_bytes()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_pair_of_tokens_is_read() {
        let issued = tokens(fixture!("token.json"), &[]).expect("discord's own answer");
        let access = "NTU1NzY5NDY2NjAxMjEzOTYw.q7RkV2mZs0YtLwXb4NcHd9uEoJ1aGf";
        assert_eq!(issued.tokens.access.expose(), access);
        assert_eq!(issued.tokens.refresh.expose(), "w3Zr8KpTq1sVxYb6Lm0NcDfGh2JtQa");
        assert_eq!(issued.scopes, names(&["email", "identify"]));
        assert_eq!(issued.expires_in, Duration::from_secs(604_800));
    }

    #[test]
    fn scopes_are_sorted_and_stand_once_and_default_to_those_asked_for() {
        let asked = names(&["identify", "email", "email"]);
        let scopes = |body: Vec<u8>| tokens(&body, &asked).map(|issued| issued.scopes);
        let token = fixture!("token.json");
        let twice = changed(token, "scope", json!("  guilds identify guilds "));
        assert_eq!(scopes(twice), Ok(names(&["guilds", "identify"])));
        assert_eq!(scopes(without(token, "scope")), Ok(names(&["email", "identify"])));
        assert_eq!(scopes(changed(token, "scope", json!(null))), Ok(names(&["email", "identify"])));
        assert_eq!(scopes(changed(token, "scope", json!(""))), Ok(vec![]));
        for wrong in [json!("a\nb"), json!("é"), json!("a ".repeat(4096))] {
            assert_eq!(scopes(changed(token, "scope", wrong)), Err(Unreadable::Field("scope")));
        }
    }

    #[test]
    fn the_type_of_a_token_is_bearer_in_any_case() {
        let kind = |kind| tokens(&changed(fixture!("token.json"), "token_type", json!(kind)), &[]);
        assert!(kind("bearer").is_ok() && kind("BEARER").is_ok());
        assert_eq!(kind("mac"), Err(Unreadable::Field("token_type")));
    }

    #[test]
    fn impossible_tokens_are_refused() {
        let token = fixture!("token.json");
        let check = |field, value, why| assert_eq!(tokens(&changed(token, field, value), &[]), Err(why));
        check("expires_in", json!(0), Unreadable::Field("expires_in"));
        check("expires_in", json!(u64::MAX), Unreadable::Field("expires_in"));
        check("expires_in", json!(-1), Unreadable::Malformed);
        check("expires_in", json!(1.5), Unreadable::Malformed);
        check("expires_in", json!("604800"), Unreadable::Malformed);
        check("access_token", json!(null), Unreadable::Malformed);
        check("access_token", json!(""), Unreadable::Field("access_token"));
        check("access_token", json!("a\r\nX-Evil: 1"), Unreadable::Field("access_token"));
        check("access_token", json!("a".repeat(8 * 1024 + 1)), Unreadable::Field("access_token"));
        check("refresh_token", json!(null), Unreadable::Field("refresh_token"));
        assert_eq!(tokens(&without(token, "refresh_token"), &[]), Err(Unreadable::Field("refresh_token")));
        assert_eq!(tokens(&without(token, "access_token"), &[]), Err(Unreadable::Malformed));
        assert!(tokens(&changed(token, "access_token", json!("a".repeat(1500))), &[]).is_ok());
    }

    #[test]
    fn our_own_token_needs_no_refresh_token() {
        assert_eq!(own_token(fixture!("token_client_credentials.json")), Ok(()));
        assert_eq!(own_token(b"{}"), Err(Unreadable::Malformed));
    }

    #[test]
    fn a_whole_user_is_read() {
        let user = profile(fixture!("user.json")).expect("discord's own answer");
        let expected = Profile {
            id: DiscordId(555_769_466_601_213_960),
            username: "marisol.k".into(),
            global_name: Some("Marisol".into()),
            discriminator: "0".into(),
            avatar: Some("a_3f1c5d7e9b2a4c6d8e0f1a2b3c4d5e6f".into()),
            locale: Some("es-ES".into()),
            email: Some("marisol@example.test".into()),
            email_verified: Some(true),
        };
        assert!(user == expected);
    }

    #[test]
    fn sparse_and_legacy_users_are_read() {
        let sparse = profile(fixture!("user_sparse.json")).expect("discord's own answer");
        assert_eq!((sparse.global_name, sparse.avatar, sparse.email), (None, None, None));
        assert_eq!(sparse.email_verified, Some(false));
        let legacy = profile(fixture!("user_legacy.json")).expect("discord's own answer");
        assert_eq!((legacy.tag().as_str(), legacy.email_verified), ("Old Timer#0042", None));
        let least = profile(br#"{"id": "7", "username": "x"}"#).expect("the rest may be absent");
        assert_eq!((least.id, least.discriminator.as_str(), least.locale), (DiscordId(7), "0", None));
    }

    #[test]
    fn an_address_is_verified_only_by_exactly_true() {
        for wrong in [json!("true"), json!(1), json!([true]), json!(false)] {
            let user = profile(&changed(fixture!("user.json"), "verified", wrong)).expect("still a user");
            assert_eq!(user.email_verified, Some(false));
        }
        let user = profile(&changed(fixture!("user.json"), "verified", json!(null))).expect("still a user");
        assert_eq!(user.email_verified, None);
    }

    #[test]
    fn an_id_is_a_string_of_digits_that_fits() {
        let id = |value| profile(&changed(fixture!("user.json"), "id", value)).map(|user| user.id);
        assert_eq!(id(json!(555_769_466_601_213_960_u64)), Err(Unreadable::Malformed));
        for wrong in ["", "me", "-1", "1e5", "18446744073709551616"] {
            assert_eq!(id(json!(wrong)), Err(Unreadable::Field("id")), "{wrong}");
        }
        assert_eq!(id(json!("18446744073709551615")), Ok(DiscordId(u64::MAX)));
    }

    #[test]
    fn a_name_that_would_not_fit_into_a_record_is_refused() {
        for field in ["username", "global_name", "discriminator", "avatar", "locale", "email"] {
            let long = changed(fixture!("user.json"), field, json!("x".repeat(1025)));
            assert_eq!(profile(&long).err(), Some(Unreadable::Field(field)));
        }
    }

    #[test]
    fn nonsense_is_unreadable_and_never_panics() {
        let whole = fixture!("user.json");
        let nested = format!(r#"{{"id": "1", "username": "x", "y": {}"#, "[".repeat(100_000)).into_bytes();
        let cases: [&[u8]; 12] = [
            b"",
            b"null",
            b"<html>",
            b"[\"1\", \"x\"]",
            b"[\"1\", \"x\", \"0\", null, null, null, null, true]",
            b"{\"id\": \"1\"",
            b"{\"id\": \"1\", \"id\": \"2\", \"username\": \"x\"}",
            b"\xef\xbb\xbf{\"id\": \"1\", \"username\": \"x\"}",
            b"{\"id\": \"1\", \"username\": \"\xff\"}",
            b"{\"id\": \"1\", \"username\": \"\\ud800\"}",
            b"{\"id\": \"1\", \"username\": \"x\"} trailing",
            &nested,
        ];
        for case in cases {
            assert!(profile(case).is_err(), "{}", String::from_utf8_lossy(&case[..case.len().min(60)]));
        }
        let end = whole.trim_ascii_end().len();
        for length in 0..end {
            assert!(profile(&whole[..length]).is_err(), "cut at {length}");
        }
        for length in 0..fixture!("token.json").trim_ascii_end().len() {
            assert!(tokens(&fixture!("token.json")[..length], &[]).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn a_revocation_is_confirmed_by_an_object_or_by_silence_and_not_by_a_page() {
        assert_eq!(nothing(fixture!("revoked.json")), Ok(()));
        assert_eq!(nothing(b" \n"), Ok(()));
        assert_eq!(nothing(b"<html>Please sign in to the hotel</html>"), Err(Unreadable::Malformed));
        assert_eq!(nothing(b"{"), Err(Unreadable::Malformed));
    }
}
