//! Fuzzed: whatever Discord answers or sends is read within bounds, and no word of it ends up where it may be seen.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::answer::{Family, judge};
use super::error::{CallError, Unreadable};
use super::{payload, retry_after, webhook};
use crate::domain::id::DiscordId;

/// The longest of anything that is taken, in bytes.
const LONGEST: usize = 8 * 1024;

/// Some key of Ed25519: its base point.
const KEY: [u8; 32] = {
    let mut key = [0x66; 32];
    key[0] = 0x58;
    key
};

/// Reads the bytes as an answer: its status and headers in lines, an empty line, and its body.
///
/// ```text
/// 429
/// retry-after: 3
///
/// {"message": "You are being rate limited.", …}
/// ```
pub fn discord(bytes: &[u8]) {
    let at = bytes.windows(2).position(|two| two == b"\n\n");
    let (head, body) = at.map_or((&[][..], bytes), |at| (&bytes[..at], &bytes[at + 2..]));
    refusal(head, body);
    tokens(body);
    person(body);
    notice(body);
}

fn refusal(head: &[u8], body: &[u8]) {
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.trim().parse().ok()).unwrap_or(500);
    let Ok(status) = StatusCode::from_u16(status) else { return };
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let name = HeaderName::from_bytes(name.trim().as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value.trim())) {
            headers.append(name, value);
        }
    }
    for family in [Family::OAuth, Family::Api] {
        let failure = judge(status, &headers, body, family);
        let day = retry_after::LONGEST;
        assert!(failure.wait.is_none_or(|wait| wait <= day));
        assert!(failure.stop.is_none_or(|(_, stop)| stop <= day));
        match failure.error {
            CallError::RateLimited { retry_after, global } => {
                assert!(status == StatusCode::TOO_MANY_REQUESTS && retry_after <= day);
                assert_eq!(global, failure.stop.is_some());
            }
            // What ends a grant is only ever said by the token endpoint, and in its own words.
            CallError::Refused { status: said, .. } => {
                assert!(family == Family::OAuth && said == status.as_u16() && status.is_client_error());
                assert!(
                    serde_json::from_slice::<serde_json::Value>(body)
                        .is_ok_and(|body| body["error"].is_string())
                );
            }
            CallError::ClientRejected { .. } => assert!(family == Family::OAuth && status.is_client_error()),
            CallError::Unauthorized => assert_eq!((family, status.as_u16()), (Family::Api, 401)),
            CallError::ServerError { .. } | CallError::Unexpected { .. } => {}
            other => panic!("no answer means {other}"),
        }
        assert!(failure.error.to_string().len() < 200, "none of Discord's words are in it");
    }
}

fn tokens(body: &[u8]) {
    let issued = payload::tokens(body, ["identify", "email"]);
    if let Ok(issued) = &issued {
        for token in [&issued.tokens.access, &issued.tokens.refresh] {
            let token = token.expose();
            assert!(!token.is_empty() && token.len() <= LONGEST);
            assert!(token.bytes().all(|byte| byte.is_ascii_graphic()));
            // A short one may be a part of any word.
            assert!(
                token.len() < 16 || !format!("{:?}", issued.tokens).contains(token),
                "a token is printed"
            );
        }
        assert!(issued.scopes.names().is_sorted_by(|one, next| one < next), "sorted, each once");
        assert!(issued.scopes.to_string().len() <= LONGEST);
        assert!(issued.expires_in > Duration::ZERO && issued.expires_in.as_secs() < 11 * 366 * 86_400);
        // Whatever is good as a pair is good as a token of our own.
        assert_eq!(payload::own_token(body), Ok(()));
    }
    if payload::nothing(body).is_err() {
        assert!(issued.is_err(), "a pair is an object");
    }
}

fn person(body: &[u8]) {
    let short = |text: Option<&str>| text.is_none_or(|text| text.len() <= LONGEST / 8);
    if let Ok(profile) = payload::profile(body) {
        let optional = [&profile.global_name, &profile.avatar, &profile.locale, &profile.email];
        assert!(optional.into_iter().all(|text| short(text.as_deref())));
        assert!(short(Some(&profile.username)) && short(Some(&profile.discriminator)));
        if profile.email_verified == Some(true) {
            // Of what nobody uses not even the letters are looked at, so all of it need not be JSON.
            let whole = serde_json::from_slice::<serde_json::Value>(body);
            assert!(
                whole.is_err() || whole.is_ok_and(|body| body["verified"] == true),
                "nothing else is a yes"
            );
        }
    }
    let (user, guild) = (DiscordId(555_769_466_601_213_960), DiscordId(197_038_439_483_310_086));
    match payload::membership(body, user, guild) {
        Ok(member) => {
            assert!(member.member && member.guild == guild && short(member.nick.as_deref()));
            assert!(member.roles.len() <= 1_000 && member.roles.is_sorted_by(|one, next| one < next));
        }
        Err(Unreadable::TooLong) => panic!("that is said before a body is read"),
        Err(Unreadable::Malformed | Unreadable::Field(_)) => {}
    }
}

fn notice(body: &[u8]) {
    let notice = webhook::read(body);
    assert!(
        notice.is_none() || body.trim_ascii_start().first().is_some_and(|first| matches!(first, b'{' | b'['))
    );
    let key = webhook::PublicKey::new(&KEY);
    if let (Some(key), Ok(text)) = (key, std::str::from_utf8(body)) {
        assert!(!key.has_signed(text.lines().next().unwrap_or_default(), "1767323045", body));
    }
}
