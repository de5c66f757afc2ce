//! The names of things, one type each, so that none can be taken for another.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

macro_rules! bytes {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl fmt::Display for $name {
            /// Writes lower-case hexadecimal.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut written = [0; 2 * $len];
                hex::encode_to_slice(self.0, &mut written).map_err(|_| fmt::Error)?;
                f.write_str(std::str::from_utf8(&written).map_err(|_| fmt::Error)?)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                let mut bytes = [0; $len];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| NotAnId)?;
                Ok($name(bytes))
            }
        }
    };
}

/// The text is not an id of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id of this kind")]
pub struct NotAnId;

bytes!(
    /// The pseudonym of a Discord user in the log.
    ///
    /// The way from the Discord id to it is in the key files, not in the log, so that
    /// an erased user leaves no id behind.
    Sub, 16);
bytes!(
    /// The public id of a session: what people and records use.
    SessionId, 16);
bytes!(
    /// The SHA-256 of a session's secret: the only form in which it is stored.
    SessionKey, 32);
bytes!(
    /// One authorization that Discord gave us for a user.
    GrantId, 16);
bytes!(
    /// The id of a record, a UUID of version 7.
    RecordId, 16);
bytes!(
    /// What one request caused: shared by all its records.
    RequestId, 16);
bytes!(
    /// One process that wrote to the log, drawn anew at each start.
    WriterId, 8);
bytes!(
    /// One log, drawn when it was created.
    LogId, 16);
bytes!(
    /// A SHA-256.
    Hash, 32);

impl Hash {
    /// Returns the SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Hash {
        Hash(Sha256::digest(bytes).into())
    }
}

/// A place in the log; the first record stands at 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Position(pub u64);

impl Position {
    /// Returns the position after this one.
    pub fn next(self) -> Position {
        Position(self.0 + 1)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A Discord snowflake: the id of a user, a guild, a role or an application.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DiscordId(pub u64);

impl fmt::Display for DiscordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for DiscordId {
    /// Writes nothing that tells who it is: Discord ids stay out of traces.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DiscordId(..)")
    }
}

impl FromStr for DiscordId {
    type Err = NotAnId;

    /// Reads decimal digits without sign or leading zero, as Discord writes them.
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits || (text.len() > 1 && text.starts_with('0')) {
            return Err(NotAnId);
        }
        text.parse().map(DiscordId).map_err(|_| NotAnId)
    }
}

/// The secret a browser holds to prove that it owns a session.
///
/// It is never logged, stored or compared: only its [`SessionKey`] is.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SessionToken([u8; 32]);

impl SessionToken {
    /// Wraps freshly drawn random bytes.
    pub fn new(bytes: [u8; 32]) -> SessionToken {
        SessionToken(bytes)
    }

    /// Returns the form of this secret that may be stored.
    pub fn key(&self) -> SessionKey {
        SessionKey(Sha256::digest(self.0).into())
    }

    /// Returns the secret as a cookie carries it: 43 characters of base64url.
    pub fn to_cookie(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Reads a cookie value; anything but 43 characters of canonical base64url is none.
    pub fn from_cookie(value: &str) -> Option<SessionToken> {
        let bytes = URL_SAFE_NO_PAD.decode(value).ok()?;
        bytes.try_into().ok().map(SessionToken)
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(..)")
    }
}

/// A secret text of OAuth: an access token, a refresh token, a code, a client secret.
///
/// It prints as nothing and is wiped when dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret(String);

impl Secret {
    /// Takes the text in.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// Shows the text, to send or to seal it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns the SHA-256 of the text: it names a token without holding it.
    pub fn fingerprint(&self) -> Hash {
        Hash::of(self.0.as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_value_is_read_back_and_nothing_else_is() {
        let token = SessionToken::new([7; 32]);
        let cookie = token.to_cookie();
        assert_eq!(cookie.len(), 43);
        assert_eq!(SessionToken::from_cookie(&cookie).map(|t| t.key()), Some(token.key()));
        for wrong in ["", "a", &cookie[..42], &format!("{cookie}A"), &format!("{cookie}="), "é"] {
            assert!(SessionToken::from_cookie(wrong).is_none(), "{wrong:?}");
        }
        // The last character holds four unused bits; only zeros are canonical.
        assert!(SessionToken::from_cookie(&format!("{}d", &cookie[..42])).is_none());
    }

    #[test]
    fn snowflakes_are_decimal_without_sign_or_leading_zero() {
        assert_eq!("555769466601213960".parse(), Ok(DiscordId(555_769_466_601_213_960)));
        for wrong in ["", "0123", "-1", "+1", "1.0", " 1", "99999999999999999999"] {
            assert_eq!(wrong.parse::<DiscordId>(), Err(NotAnId), "{wrong:?}");
        }
    }

    #[test]
    fn secrets_print_as_nothing() {
        let shown = format!("{:?} {:?} {:?}", Secret::new("hush"), SessionToken::new([9; 32]), DiscordId(42));
        assert_eq!(shown, "Secret(..) SessionToken(..) DiscordId(..)");
    }
}
