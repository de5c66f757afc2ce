//! What is allowed and probably not meant.

use std::net::SocketAddr;

use url::Url;

use super::Config;
use super::error::Place;
use crate::domain::host::Host;
use crate::domain::identity::RemoteUser;
use crate::domain::rules::DefaultPolicy;

/// Something that is allowed and probably not meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mistrust {
    /// The secret travels in the clear.
    #[error("DISCORD_API_URL is http and not on this machine: the application's secret travels in the clear")]
    ClearSecret,
    /// Everybody is a proxy.
    #[error("DOORBOOK_TRUSTED_PROXIES covers every address: whoever connects may claim any address")]
    EveryProxy,
    /// Browsers are sent to a port of their own machine where nobody listens.
    #[error(
        "DISCORD_REDIRECT_URL names port {port} of this machine, and doorbook does not listen there: \
         unless something before it does, browsers come back to nobody"
    )]
    OtherPort {
        /// The port of the redirect URL.
        port: u16,
    },
    /// Whoever is between a browser and us reads the cookies.
    #[error(
        "DISCORD_REDIRECT_URL is http and not on this machine: cookies go without Secure, \
         and anybody on the way can take a session; use https"
    )]
    ClearCookies,
    /// Apps are told names that change hands.
    #[error(
        "DOORBOOK_REMOTE_USER is username: whoever takes a name that somebody gave up is that person to your apps; \
         id stays the same for ever"
    )]
    NamesChangeHands,
    /// The proxies that are to ask are probably not believed.
    #[error(
        "apps are guarded, doorbook listens beyond this machine, and DOORBOOK_TRUSTED_PROXIES is its default: \
         a proxy on another machine or in another container is refused with untrusted_proxy; name its network"
    )]
    ProxyElsewhere,
    /// Whoever signs in opens hosts, and whoever wants to signs in.
    #[error(
        "DOORBOOK_DEFAULT_POLICY is signed-in and DOORBOOK_ALLOW is not set: anybody with a Discord account may open \
         every host at or below {domain} that no rule is for"
    )]
    OpenToAnybody {
        /// The cookie domain.
        domain: Host,
    },
    /// A rule that is never asked.
    #[error("{rule}: never decides anything, because the one of line {by} is asked before it")]
    NeverDecides {
        /// Where it stands.
        rule: Place,
        /// The line of the other one.
        by: usize,
    },
}

/// Says what is doubtful; `proxies_by_default` is whether nobody named the trusted proxies.
pub(super) fn of(config: &Config, proxies_by_default: bool) -> Vec<Mistrust> {
    let mut found = Vec::new();
    let api_url = &config.discord.api_url;
    if api_url.scheme() == "http" && !is_loopback(api_url) {
        found.push(Mistrust::ClearSecret);
    }
    if config.trusted_proxies.iter().any(|network| network.prefix_len() == 0) {
        found.push(Mistrust::EveryProxy);
    }
    let rules = &config.local.rules;
    let guards = !rules.rules.is_empty() || rules.default_policy != DefaultPolicy::Deny;
    let beyond = config.listen.iter().any(|address| !address.ip().is_loopback());
    if guards && beyond && proxies_by_default {
        found.push(Mistrust::ProxyElsewhere);
    }
    found.extend(way_back(&config.discord.redirect_url, &config.listen));
    if let (DefaultPolicy::SignedIn(domain), None) = (&rules.default_policy, &rules.allow) {
        found.push(Mistrust::OpenToAnybody { domain: domain.clone() });
    }
    if config.remote_user == RemoteUser::Username {
        found.push(Mistrust::NamesChangeHands);
    }
    found
}

/// Says what is doubtful about where browsers come back to.
fn way_back(redirect_url: &Url, listen: &[SocketAddr]) -> Option<Mistrust> {
    if !is_loopback(redirect_url) {
        return (redirect_url.scheme() == "http").then_some(Mistrust::ClearCookies);
    }
    let port = redirect_url.port_or_known_default()?;
    // Port 0 is whichever is free, so nobody knows yet.
    let listens = listen.iter().any(|address| address.port() == port || address.port() == 0);
    (!listens).then_some(Mistrust::OtherPort { port })
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}
