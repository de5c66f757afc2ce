//! What is allowed and probably not meant.

use std::net::SocketAddr;

use url::Url;

use super::Config;
use super::error::Place;
use crate::domain::host::{Host, HostPattern};
use crate::domain::identity::RemoteUser;
use crate::domain::path::RulePath;
use crate::domain::rules::{DefaultPolicy, Rules};

/// So many paths of a host are named.
const PATHS: usize = 3;

/// Something that is allowed and probably not meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mistrust {
    /// The secret travels in the clear.
    #[error("DISCORD_API_URL is http and not on this machine: the application's secret travels in the clear")]
    ClearSecret,
    /// Where people consent is reached in the clear.
    #[error(
        "DISCORD_AUTHORIZE_URL is http and not on this machine: anybody on the way can send people elsewhere, \
         or sign them in as somebody else"
    )]
    ClearConsent,
    /// Pictures are fetched in the clear.
    #[error(
        "DISCORD_CDN_URL is http and not on this machine: whoever is on the way sees whose picture a page shows"
    )]
    ClearPictures,
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
    /// A host of which only some paths have rules.
    #[error("{host} has rules for {paths} only: every other path of it is refused{}", whatever(*.in_policy))]
    PathsOnly {
        /// The host of the rules.
        host: HostPattern,
        /// The paths that have rules.
        paths: String,
        /// Whether the policy for hosts without a rule would be for it, had it none.
        in_policy: bool,
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
    if is_clear(&config.discord.api_url) {
        found.push(Mistrust::ClearSecret);
    }
    if is_clear(&config.discord.authorize_url) {
        found.push(Mistrust::ClearConsent);
    }
    if is_clear(&config.discord.cdn_url) {
        found.push(Mistrust::ClearPictures);
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
    found.extend(paths_only(rules));
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

/// Says which hosts have rules for some of their paths and none for the rest.
fn paths_only(rules: &Rules) -> Vec<Mistrust> {
    let mut hosts: Vec<&HostPattern> = Vec::new();
    for rule in &rules.rules {
        if !hosts.contains(&&rule.host) {
            hosts.push(&rule.host);
        }
    }
    let warning = |host: &HostPattern| {
        let paths = || rules.rules.iter().filter(|rule| rule.host.includes(host)).map(|rule| &rule.path);
        if paths().any(RulePath::is_root) {
            return None;
        }
        let mut named: Vec<String> = Vec::new();
        for path in paths().map(ToString::to_string) {
            if !named.contains(&path) {
                named.push(path);
            }
        }
        let more = named.len().saturating_sub(PATHS);
        named.truncate(PATHS);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let in_policy = match &rules.default_policy {
            DefaultPolicy::Deny => false,
            DefaultPolicy::SignedIn(domain) => host.domain().is_at_or_below(domain),
        };
        Some(Mistrust::PathsOnly { host: host.clone(), paths: named.join(", ") + &more, in_policy })
    };
    hosts.into_iter().filter_map(warning).collect()
}

fn whatever(in_policy: bool) -> &'static str {
    match in_policy {
        true => "; DOORBOOK_DEFAULT_POLICY is only for hosts that no rule is for",
        false => "",
    }
}

fn is_clear(url: &Url) -> bool {
    url.scheme() == "http" && !is_loopback(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}
