//! What Discord tells us without being asked: a signature to check before anything is believed, and an event.

use ed25519_dalek::{Signature, VerifyingKey};
use serde::Deserialize;

use crate::domain::id::DiscordId;
use crate::domain::time::Timestamp;

/// The public key of our application, by which Discord signs what it sends.
#[derive(Clone, Debug)]
pub struct PublicKey(VerifyingKey);

/// What was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Discord wants to know whether somebody is here.
    Ping,
    /// Somebody removed an application from their account.
    Deauthorized {
        /// Which application.
        application: DiscordId,
        /// Who.
        user: DiscordId,
        /// When, where that can be read.
        at: Option<Timestamp>,
    },
    /// Something else, which is none of our business.
    Other,
}

impl PublicKey {
    /// Takes the bytes of a key; `None` where they are none, or one by which anybody can sign.
    pub fn new(bytes: &[u8; 32]) -> Option<PublicKey> {
        VerifyingKey::from_bytes(bytes).ok().filter(|key| !key.is_weak()).map(PublicKey)
    }

    /// Returns whether Discord has signed the timestamp and the body together; `signature` is in hexadecimal digits.
    pub fn has_signed(&self, signature: &str, timestamp: &str, body: &[u8]) -> bool {
        let mut bytes = [0; Signature::BYTE_SIZE];
        if hex::decode_to_slice(signature, &mut bytes).is_err() {
            return false;
        }
        let message = [timestamp.as_bytes(), body].concat();
        self.0.verify_strict(&message, &Signature::from_bytes(&bytes)).is_ok()
    }
}

#[derive(Deserialize)]
struct Envelope {
    version: u64,
    application_id: String,
    #[serde(rename = "type")]
    kind: u64,
    event: Option<Event>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    timestamp: Option<String>,
    data: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Deauthorized {
    user: Who,
}

#[derive(Deserialize)]
struct Who {
    id: String,
}

/// Reads what Discord has signed; `None` where it is not what Discord says it sends.
pub fn read(body: &[u8]) -> Option<Notice> {
    let envelope: Envelope = serde_json::from_slice(body).ok()?;
    match (envelope.version, envelope.kind, envelope.event) {
        (1, 0, _) => Some(Notice::Ping),
        (1, 1, Some(event)) if event.kind == "APPLICATION_DEAUTHORIZED" => {
            let data: Deauthorized = serde_json::from_value(event.data?).ok()?;
            Some(Notice::Deauthorized {
                application: envelope.application_id.parse().ok()?,
                user: data.user.id.parse().ok()?,
                at: event.timestamp.and_then(|text| moment(&text)),
            })
        }
        (1, 1, None) => None,
        _ => Some(Notice::Other),
    }
}

/// Reads a time as Discord writes it here: without an offset, and meant in UTC.
fn moment(text: &str) -> Option<Timestamp> {
    let at = text.parse::<jiff::Timestamp>().ok().or_else(|| {
        let civil = text.parse::<jiff::civil::DateTime>().ok()?;
        jiff::tz::TimeZone::UTC.to_timestamp(civil).ok()
    });
    at.map(|at| Timestamp(at.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer as _, SigningKey};
    use serde_json::{Value, json};

    use super::*;

    fn deauthorized() -> Value {
        json!({
            "version": 1, "application_id": "1457667441164427281", "type": 1,
            "event": {
                "type": "APPLICATION_DEAUTHORIZED", "timestamp": "2026-02-03T04:05:06.789012",
                "data": { "user": { "id": "555769466601213960", "username": "marisol.k", "new": [1] } },
            },
        })
    }

    #[track_caller]
    fn reads(value: &Value, expected: Option<Notice>) {
        assert_eq!(read(value.to_string().as_bytes()), expected, "{value}");
    }

    #[test]
    fn only_the_owner_of_the_key_can_have_signed_exactly_that() {
        let signing = SigningKey::from_bytes(&[7; 32]);
        let key = PublicKey::new(signing.verifying_key().as_bytes()).expect("a key");
        let signature = hex::encode(signing.sign(b"1770091507{}").to_bytes());
        assert!(key.has_signed(&signature, "1770091507", b"{}"));
        assert!(key.has_signed(&signature.to_uppercase(), "1770091507", b"{}"));
        assert!(!key.has_signed(&signature, "1770091508", b"{}"));
        assert!(!key.has_signed(&signature, "1770091507", b"{ }"));
        for wrong in ["", "00", &signature[2..], &format!("{signature}00"), &signature.replace('a', "g")] {
            assert!(!key.has_signed(wrong, "1770091507", b"{}"), "{wrong}");
        }
        let other = SigningKey::from_bytes(&[8; 32]).sign(b"1770091507{}");
        assert!(!key.has_signed(&hex::encode(other.to_bytes()), "1770091507", b"{}"));
        // To be signed is to be signed by this key: the neutral element verifies anything.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        assert!(PublicKey::new(&neutral).is_none());
    }

    #[test]
    fn pings_and_removals_are_known_and_the_rest_is_none_of_our_business() {
        let user = DiscordId(555_769_466_601_213_960);
        let application = DiscordId(1_457_667_441_164_427_281);
        let at = Some(Timestamp(1_770_091_506_789));
        reads(&deauthorized(), Some(Notice::Deauthorized { application, user, at }));
        reads(&json!({ "version": 1, "application_id": "1", "type": 0 }), Some(Notice::Ping));
        for (field, value) in [("/version", json!(2)), ("/type", json!(7)), ("/event/type", json!("X"))] {
            let mut other = deauthorized();
            *other.pointer_mut(field).expect("a field") = value;
            reads(&other, Some(Notice::Other));
        }
    }

    #[test]
    fn what_discord_does_not_send_is_unreadable() {
        for (field, value) in [
            ("/application_id", json!(1_457_667_441_164_427_281_u64)),
            ("/application_id", json!("x")),
            ("/event", json!(null)),
            ("/event/data", json!(null)),
            ("/event/data/user", json!(null)),
            ("/event/data/user/id", json!(7)),
            ("/event/data/user/id", json!("-7")),
        ] {
            let mut wrong = deauthorized();
            *wrong.pointer_mut(field).expect("a field") = value;
            reads(&wrong, None);
        }
        for wrong in [&b""[..], b"{", b"null", b"[]", b"{\"type\":0}", b"\xff"] {
            assert_eq!(read(wrong), None);
        }
    }

    #[test]
    fn a_time_may_have_an_offset_or_none_and_need_not_be_readable() {
        let noon = Some(Timestamp(1_770_120_000_000));
        for text in ["2026-02-03T12:00:00", "2026-02-03T12:00:00.000001Z", "2026-02-03T13:00:00+01:00"] {
            assert_eq!(moment(text), noon, "{text}");
        }
        for text in ["", "yesterday", "1770120000", "2026-02-30T12:00:00"] {
            assert_eq!(moment(text), None, "{text}");
        }
    }
}
