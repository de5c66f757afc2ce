//! Whose session a guarded app's cookie names; and who gets such a cookie from us, and how.

use http::{HeaderMap, HeaderValue};

use super::cookie::Cookies;
use super::{Front, Settings, request};
use crate::app::LiveSession;
use crate::crypto::{CookieKey, TagKey};
use crate::domain::app_cookie::{AppCookie, Scope, is_reached};
use crate::domain::event::Origin;
use crate::domain::forwarded::Forwarded;
use crate::domain::host::Host;
use crate::domain::id::SessionId;
use crate::domain::rules::Rules;
use crate::domain::target::Target;

const PURPOSE: &str = "app cookie";

/// Returns the key that authenticates app cookies.
pub(super) fn key(key: &CookieKey) -> TagKey {
    key.tag_key(PURPOSE)
}

/// Returns the app cookie's value, authenticated by our key.
pub(super) fn serialize_app(cookie: &AppCookie, key: &TagKey) -> String {
    cookie.serialize(|said| key.tag(said))
}

/// Reads an app cookie that our key has made.
pub(super) fn deserialize_app(value: &str, key: &TagKey) -> Option<AppCookie> {
    AppCookie::deserialize(value, |said, tag| key.verify(said, tag))
}

/// Returns the session of a request that waits at a proxy, from memory, and notes that it was used.
///
/// No other cookie is looked at: what opens the account opens nothing here. As with that one, exactly one live
/// session counts.
pub(super) fn of_forwarded(
    front: &Front,
    headers: &HeaderMap,
    forwarded: &Forwarded,
    origin: Option<&Origin>,
) -> Option<LiveSession> {
    let scope = front.settings.app_scope(forwarded.host());
    let name = match &scope {
        Scope::Domain(_) => front.cookies().app_name(true),
        Scope::Host(_) => front.cookies_at(forwarded).app_name(false),
    };
    let mut found: Option<SessionId> = None;
    for value in request::cookies(headers, name) {
        let cookie = deserialize_app(value, &front.app_key).filter(|cookie| cookie.scope == scope);
        let Some(live) = cookie.and_then(|cookie| front.app.session_by_id(cookie.session)) else { continue };
        match found {
            Some(other) if other != live.id => return None,
            _ => found = Some(live.id),
        }
    }
    front.app.session_used(found?, origin)
}

/// How somebody who is signed in here gets the app cookie of another place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// None is needed: nobody guards it.
    Open,
    /// The one that comes with the account cookie counts there.
    Cookie,
    /// By a ticket.
    Ticket,
}

impl Settings {
    /// Returns where an app cookie has to count to count on that host.
    fn app_scope(&self, host: &Host) -> Scope {
        match &self.guard.cookie_domain {
            Some(domain) if host.is_at_or_below(domain) => Scope::Domain(domain.clone()),
            _ => Scope::Host(host.clone()),
        }
    }

    /// Returns our own host.
    fn host(&self) -> Option<Host> {
        self.origin.host_str().and_then(|name| Host::parse(name).ok())
    }

    /// Returns where the app cookie counts that comes with the account cookie; `None` where no app needs one.
    fn own_app_scope(&self, rules: &Rules) -> Option<Scope> {
        let host = self.host()?;
        match self.app_scope(&host) {
            Scope::Host(_) if !rules.guards(&host) => None,
            scope => Some(scope),
        }
    }
}

impl Front {
    /// Returns the host of a target, if anything guards it.
    pub(super) fn guarded_host(&self, target: &Target) -> Option<Host> {
        let host = match target {
            Target::Here(_) => self.settings.host()?,
            Target::Elsewhere(_, host) => host.clone(),
        };
        self.rules().guards(&host).then_some(host)
    }

    /// Returns how somebody who is signed in here gets the app cookie of a target.
    pub(super) fn reach(&self, target: &Target) -> Reach {
        let Some(host) = self.guarded_host(target) else { return Reach::Open };
        // A cookie does not know ports: what we set for our own host reaches every app on it.
        let domain = self.settings.guard.cookie_domain.as_ref();
        let is_reached = self.settings.host().is_some_and(|own| is_reached(&host, &own, domain));
        if is_reached { Reach::Cookie } else { Reach::Ticket }
    }

    /// Returns what takes back the cookies of a session that is over.
    pub(super) fn session_over(&self) -> Vec<HeaderValue> {
        let cookies = self.cookies();
        let mut cleared = vec![cookies.clear(cookies.session_name())];
        if self.settings.own_app_scope(&self.rules()).is_some() {
            cleared.push(cookies.clear_app(self.settings.guard.cookie_domain.as_ref()));
        }
        cleared
    }

    /// Returns what ends a session in the browser that ended it.
    pub(super) fn signed_out(&self) -> Vec<HeaderValue> {
        let mut cookies = self.session_over();
        cookies.push(self.cookies().set_ask());
        cookies
    }

    /// Returns the names and attributes of our cookies on the host of an app.
    pub(super) fn cookies_at(&self, forwarded: &Forwarded) -> Cookies {
        Cookies::new(forwarded.is_https(), self.settings.session_max_age)
    }

    /// Returns the app cookie that comes with the account cookie of a session, where apps need one.
    pub(super) fn app_cookie(&self, session: SessionId) -> Option<HeaderValue> {
        let scope = self.settings.own_app_scope(&self.rules())?;
        let domain = self.settings.guard.cookie_domain.as_ref();
        let value = serialize_app(&AppCookie { session, scope }, &self.app_key);
        Some(self.cookies().set_app(&value, domain))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::id::{LogId, Secret};
    use crate::entropy::SeededEntropy;

    fn cookie_key(secret: &str) -> CookieKey {
        CookieKey::from_secret(
            LogId([1; 16]),
            &Secret::new(secret),
            Arc::new(SeededEntropy::new("app cookie")),
        )
    }

    fn key(secret: &str) -> TagKey {
        super::key(&cookie_key(secret))
    }

    fn cookie() -> AppCookie {
        let host = Host::parse("wiki.example.org").expect("a host");
        AppCookie { session: SessionId([7; 16]), scope: Scope::Host(host) }
    }

    /// caddy-discord signed its sessions under a hash of the client id, which everybody knows.
    #[test]
    fn nobody_makes_one_up_without_the_secret() {
        let value = serialize_app(&cookie(), &key("secret"));
        assert_eq!(deserialize_app(&value, &key("secret")), Some(cookie()));
        assert_eq!(deserialize_app(&value, &key("1457667441164427281")), None);
        for at in 0..value.len() {
            let other = if value.as_bytes()[at] == b'A' { "B" } else { "A" };
            let changed = [&value[..at], other, &value[at + 1..]].concat();
            assert_eq!(deserialize_app(&changed, &key("secret")), None, "{at}");
            assert_eq!(deserialize_app(&value[..at], &key("secret")), None, "{at}");
        }
    }

    #[test]
    fn what_was_authenticated_for_another_purpose_is_none() {
        let key = key("secret");
        for purpose in ["ticket", "login attempt", "app cookie "] {
            let forged = cookie().serialize(|said| cookie_key("secret").tag_key(purpose).tag(said));
            assert_eq!(deserialize_app(&forged, &key), None, "{purpose}");
        }
    }
}
