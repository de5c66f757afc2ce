//! The cookie that a guarded app may see: it names a session and says where it counts, and opens nothing else.
//!
//! It holds no secret. Whoever has it has what a proxy asks about, on the hosts it was made for, as long as the
//! session lives; the account needs the other cookie.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::host::Host;
use super::id::SessionId;

const TAG: usize = 32;

/// No cookie of this kind is longer.
const LONGEST: usize = 512;

/// A session, and where it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppCookie {
    /// Which session.
    pub session: SessionId,
    /// Where it counts.
    pub scope: Scope,
}

/// The hosts on which an app cookie counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// That domain and everything below it.
    Domain(Host),
    /// That host alone.
    Host(Host),
}

/// Returns whether the cookie that comes with a sign-in counts on that host: on our own, and at or below the cookie
/// domain. Every other host gets one of its own.
pub fn is_reached(host: &Host, own: &Host, domain: Option<&Host>) -> bool {
    host == own || domain.is_some_and(|domain| host.is_at_or_below(domain))
}

impl AppCookie {
    /// Returns the cookie's value: session, scope, and the tag of both, as base64url.
    pub fn serialize(&self, tag: impl FnOnce(&[u8]) -> [u8; TAG]) -> String {
        let (kind, host) = match &self.scope {
            Scope::Domain(domain) => (b'd', domain),
            Scope::Host(host) => (b'h', host),
        };
        let said = [&self.session.0[..], &[kind], host.as_str().as_bytes()].concat();
        let tag = tag(&said);
        URL_SAFE_NO_PAD.encode([&said[..], &tag].concat())
    }

    /// Reads a value whose tag is right.
    pub fn deserialize(value: &str, is_tag: impl FnOnce(&[u8], &[u8]) -> bool) -> Option<AppCookie> {
        if value.len() > LONGEST {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(value).ok()?;
        let (said, tag) = bytes.split_last_chunk::<TAG>()?;
        if !is_tag(said, tag) {
            return None;
        }
        let (session, scope) = said.split_first_chunk::<16>()?;
        let (kind, host) = scope.split_first()?;
        let host = Host::parse(std::str::from_utf8(host).ok()?).ok()?;
        let scope = match kind {
            b'd' => Scope::Domain(host),
            b'h' => Scope::Host(host),
            _ => return None,
        };
        Some(AppCookie { session: SessionId(*session), scope })
    }

    /// Returns the session that a value names, whoever made it: enough to end one, and to open none.
    pub fn names(value: &str) -> Option<SessionId> {
        AppCookie::deserialize(value, |_, _| true).map(|cookie| cookie.session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie(scope: fn(Host) -> Scope) -> AppCookie {
        AppCookie { session: SessionId([7; 16]), scope: scope(Host::parse("example.org").expect("a host")) }
    }

    fn read(value: &str) -> Option<AppCookie> {
        AppCookie::deserialize(value, |said, tag| said.len() == 28 && tag == [9; 32])
    }

    #[test]
    fn it_is_read_back_and_the_two_scopes_differ() {
        for cookie in [cookie(Scope::Domain), cookie(Scope::Host)] {
            let value = cookie.serialize(|_| [9; 32]);
            assert!(value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')), "{value}");
            assert_eq!(AppCookie::names(&value), Some(cookie.session));
            assert_eq!(read(&value), Some(cookie));
        }
        assert_ne!(cookie(Scope::Domain).serialize(|_| [9; 32]), cookie(Scope::Host).serialize(|_| [9; 32]));
    }

    #[test]
    fn anything_else_is_none() {
        let value = cookie(Scope::Host).serialize(|_| [9; 32]);
        for wrong in
            ["", "A", "\u{e9}", &value[1..], &format!("{value}A"), &format!("{value}="), &"A".repeat(600)]
        {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
        let encode = |said: &[u8]| URL_SAFE_NO_PAD.encode([said, &[9; 32]].concat());
        for said in
            [&[7; 16][..], &[7; 17], &[7; 5], &[&[7; 16][..], b"h"].concat(), &[&[7; 16][..], b"xa"].concat()]
        {
            assert_eq!(AppCookie::deserialize(&encode(said), |_, _| true), None, "{said:?}");
        }
        // A session's secret is none either, and is not told from it by its length alone.
        assert_eq!(AppCookie::names(&URL_SAFE_NO_PAD.encode([7; 32])), None);
    }
}
