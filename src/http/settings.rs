//! What this room is configured with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

use super::cookie::Cookies;
use super::listen;
use super::site::Site;
use crate::domain::host::Host;
use crate::domain::identity::{IdentityHeaders, RemoteUser};

/// What this room is configured with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our address as browsers see it; only the origin counts.
    pub origin: Url,
    /// Other origins to which a login may return.
    pub allowed_origins: Vec<Url>,
    /// Whose forwarded headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Where avatars are.
    pub cdn_url: Url,
    /// What to ask Discord for, besides what the rules need.
    pub scopes: Vec<String>,
    /// How long the browser keeps a session's cookie.
    pub session_max_age: Duration,
    /// What guarding apps needs.
    pub guard: Guard,
    /// How connections are taken.
    pub listen: listen::Settings,
    site: Site,
}

/// What guarding apps needs.
#[derive(Clone, Debug)]
pub struct Guard {
    /// The public host or a parent of it, below which one app cookie is enough.
    pub cookie_domain: Option<Host>,
    /// What the headers are called that tell an app who is signed in.
    pub identity_headers: IdentityHeaders,
    /// What the first of them holds.
    pub remote_user: RemoteUser,
}

impl Default for Guard {
    fn default() -> Self {
        Guard {
            cookie_domain: None,
            identity_headers: IdentityHeaders::remote(),
            remote_user: RemoteUser::Id,
        }
    }
}

impl Settings {
    /// Takes what has no default that is right for everybody.
    pub fn new(origin: Url, allowed_origins: Vec<Url>, cdn_url: Url, scopes: Vec<String>) -> Settings {
        let site = Site::new(&origin, &allowed_origins);
        let trusted_proxies = [
            IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
            IpNet::new_assert(IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
        ];
        Settings {
            origin,
            allowed_origins,
            trusted_proxies: trusted_proxies.into(),
            cdn_url,
            scopes,
            session_max_age: Duration::from_secs(30 * 86_400),
            guard: Guard::default(),
            listen: listen::Settings::default(),
            site,
        }
    }

    /// Returns which origins count as this site.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// Returns the names and attributes of our cookies.
    pub fn cookies(&self) -> Cookies {
        Cookies::new(self.origin.scheme() == "https", self.session_max_age)
    }
}
