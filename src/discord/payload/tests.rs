//! Good answers, answers with something missing or wrong, and nonsense.

use serde_json::json;

use super::*;

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

fn names(names: &[&str]) -> Scopes {
    Scopes::new(names.iter().copied()).expect("scopes")
}

#[test]
fn a_pair_of_tokens_is_read() {
    let issued = tokens(fixture!("token.json"), []).expect("discord's own answer");
    let access = "NTU1NzY5NDY2NjAxMjEzOTYw.q7RkV2mZs0YtLwXb4NcHd9uEoJ1aGf";
    assert_eq!(issued.tokens.access.expose(), access);
    assert_eq!(issued.tokens.refresh.expose(), "w3Zr8KpTq1sVxYb6Lm0NcDfGh2JtQa");
    assert_eq!(issued.scopes, names(&["email", "identify"]));
    assert_eq!(issued.expires_in, Duration::from_secs(604_800));
}

#[test]
fn scopes_are_sorted_and_stand_once_and_default_to_those_asked_for() {
    let scopes = |body: Vec<u8>| tokens(&body, ["identify", "email", "email"]).map(|issued| issued.scopes);
    let token = fixture!("token.json");
    let twice = changed(token, "scope", json!("  guilds identify guilds "));
    assert_eq!(scopes(twice), Ok(names(&["guilds", "identify"])));
    assert_eq!(scopes(without(token, "scope")), Ok(names(&["email", "identify"])));
    assert_eq!(scopes(changed(token, "scope", json!(null))), Ok(names(&["email", "identify"])));
    assert_eq!(scopes(changed(token, "scope", json!(""))), Ok(names(&[])));
    for wrong in [json!("a\nb"), json!("é"), json!("a ".repeat(4096))] {
        assert_eq!(scopes(changed(token, "scope", wrong)), Err(Unreadable::Field("scope")));
    }
}

#[test]
fn the_type_of_a_token_is_bearer_in_any_case() {
    let kind = |kind| tokens(&changed(fixture!("token.json"), "token_type", json!(kind)), []);
    assert!(kind("bearer").is_ok() && kind("BEARER").is_ok());
    assert_eq!(kind("mac"), Err(Unreadable::Field("token_type")));
}

#[test]
fn impossible_tokens_are_refused() {
    let token = fixture!("token.json");
    let check = |field, value, why| assert_eq!(tokens(&changed(token, field, value), []), Err(why));
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
    assert_eq!(tokens(&without(token, "refresh_token"), []), Err(Unreadable::Field("refresh_token")));
    assert_eq!(tokens(&without(token, "access_token"), []), Err(Unreadable::Malformed));
    assert!(tokens(&changed(token, "access_token", json!("a".repeat(1500))), []).is_ok());
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

const MARISOL: DiscordId = DiscordId(555_769_466_601_213_960);
const GUILD: DiscordId = DiscordId(716_984_394_187_276_294);

fn member(body: &[u8]) -> Result<Membership, Unreadable> {
    membership(body, MARISOL, GUILD)
}

#[test]
fn a_membership_is_read_with_its_roles_in_order() {
    let roles = [716_985_688_452_759_555, 873_839_986_770_714_645].map(DiscordId);
    let nick = Some("Mari (ops)".into());
    let expected = Membership { guild: GUILD, member: true, roles: roles.into(), nick, pending: false };
    assert!(member(fixture!("member.json")).expect("discord's own answer") == expected);
    let least = member(br#"{"roles": ["2", "1", "2"]}"#).expect("the rest may be absent");
    assert_eq!((least.roles, least.nick), (vec![DiscordId(1), DiscordId(2)], None));
    let pending = changed(fixture!("member.json"), "pending", json!(true));
    assert!(member(&pending).expect("a member").pending);
}

#[test]
fn what_is_no_membership_is_unreadable_and_never_one_without_roles() {
    let check = |field, value, why| {
        let found = member(&changed(fixture!("member.json"), field, value));
        assert_eq!(found.err(), Some(why), "{field}");
    };
    check("roles", json!(null), Unreadable::Malformed);
    check("roles", json!([1, 2]), Unreadable::Malformed);
    check("roles", json!("1"), Unreadable::Malformed);
    check("roles", json!(["1", "x"]), Unreadable::Field("roles"));
    check("roles", json!(["18446744073709551616"]), Unreadable::Field("roles"));
    check("roles", json!(vec!["1"; MOST_ROLES + 1]), Unreadable::Field("roles"));
    check("nick", json!("x".repeat(1025)), Unreadable::Field("nick"));
    check("nick", json!(7), Unreadable::Malformed);
    check("pending", json!("true"), Unreadable::Malformed);
    check("user", json!({"id": "7"}), Unreadable::Field("user"));
    check("user", json!({"id": 555_769_466_601_213_960_u64}), Unreadable::Malformed);
    assert_eq!(member(&without(fixture!("member.json"), "roles")).err(), Some(Unreadable::Malformed));
    let whole = fixture!("member.json").trim_ascii_end();
    for length in 0..whole.len() {
        assert!(member(&whole[..length]).is_err(), "cut at {length}");
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
        assert!(tokens(&fixture!("token.json")[..length], []).is_err(), "cut at {length}");
    }
}

#[test]
fn a_revocation_is_confirmed_by_an_object_or_by_silence_and_not_by_a_page() {
    assert_eq!(nothing(fixture!("revoked.json")), Ok(()));
    assert_eq!(nothing(b" \n"), Ok(()));
    assert_eq!(nothing(b"<html>Please sign in to the hotel</html>"), Err(Unreadable::Malformed));
    assert_eq!(nothing(b"{"), Err(Unreadable::Malformed));
}
