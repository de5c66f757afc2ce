//! What each value may look like.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

use super::error::Wrong;
use crate::domain::host::Host;
use crate::domain::id::{DiscordId, Secret};
use crate::domain::identity::RemoteUser;

/// The one path under which Discord sends browsers back.
pub const REDIRECT_PATH: &str = "/api/auth/discord/redirect";

/// What `private_ranges` stands for: the addresses of a network behind a router, and loopback.
const PRIVATE_RANGES: [&str; 6] =
    ["192.168.0.0/16", "172.16.0.0/12", "10.0.0.0/8", "127.0.0.0/8", "fd00::/8", "::1/128"];

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Reads a duration: a number and `s`, `m`, `h`, `d`, `w` or `mo`; a month counts 31 days.
pub fn duration(text: &str) -> Result<Duration, Wrong> {
    let wrong = || Wrong::Duration(text.to_owned());
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit_at);
    let seconds = match unit {
        "s" => 1,
        "m" => MINUTE,
        "h" => HOUR,
        "d" => DAY,
        "w" => 7 * DAY,
        "mo" => 31 * DAY,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    // A thousand years are enough, and no sum of them overflows.
    let total = number.checked_mul(seconds).filter(|total| *total <= 366_000 * DAY).ok_or_else(wrong)?;
    Ok(Duration::from_secs(total))
}

pub(super) fn session_age(text: &str) -> Result<Duration, Wrong> {
    at_least(text, "1m", MINUTE)
}

pub(super) fn max_age(text: &str) -> Result<Duration, Wrong> {
    at_least(text, "1s", 1)
}

fn at_least(text: &str, least: &'static str, seconds: u64) -> Result<Duration, Wrong> {
    let found = duration(text)?;
    if found < Duration::from_secs(seconds) {
        return Err(Wrong::TooShort { value: text.to_owned(), least });
    }
    Ok(found)
}

pub(super) fn port(text: &str) -> Result<u16, Wrong> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| Wrong::Port(text.to_owned()))
}

/// An address to listen on, and its own port where it has one.
pub(super) type Listen = (IpAddr, Option<u16>);

pub(super) fn listen(text: &str) -> Result<Vec<Listen>, Wrong> {
    let mut all = Vec::new();
    for item in items(text) {
        let bare = item.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(item);
        if let Ok(ip) = bare.parse::<IpAddr>() {
            all.push((ip, None));
        } else if let Ok(address) = item.parse::<SocketAddr>() {
            all.push((address.ip(), Some(address.port())));
        } else {
            let (host, own_port) = match item.split_once(':') {
                Some((host, digits)) => {
                    (host, Some(port(digits).map_err(|_| Wrong::Listen(item.to_owned()))?))
                }
                None => (item, None),
            };
            if !host.eq_ignore_ascii_case("localhost") {
                return Err(Wrong::Listen(item.to_owned()));
            }
            all.push((Ipv4Addr::LOCALHOST.into(), own_port));
            all.push((Ipv6Addr::LOCALHOST.into(), own_port));
        }
    }
    if all.is_empty() { Err(Wrong::Empty) } else { Ok(all) }
}

pub(super) fn networks(text: &str) -> Result<Vec<IpNet>, Wrong> {
    let mut all = Vec::new();
    for item in items(text) {
        all.extend(network(item)?);
    }
    Ok(all)
}

/// Reads one network, one address, or the word that stands for several.
pub(super) fn network(item: &str) -> Result<Vec<IpNet>, Wrong> {
    if item == "private_ranges" {
        return Ok(PRIVATE_RANGES.iter().filter_map(|range| range.parse::<IpNet>().ok()).collect());
    }
    if let Ok(address) = item.parse::<IpAddr>() {
        return Ok(vec![IpNet::from(address)]);
    }
    let network: IpNet = item.parse().map_err(|_| Wrong::Network(item.to_owned()))?;
    if network != network.trunc() {
        let meant = network.trunc().to_string();
        return Err(Wrong::NetworkBits { given: item.to_owned(), meant });
    }
    Ok(vec![network])
}

pub(super) fn client_id(text: &str) -> Result<DiscordId, Wrong> {
    let id: DiscordId = text.parse().map_err(|_| Wrong::ClientId)?;
    if (17..=20).contains(&text.len()) { Ok(id) } else { Err(Wrong::ClientId) }
}

/// Reads a URL of another server; a slash at its end is dropped.
pub(super) fn server_url(text: &str) -> Result<Url, Wrong> {
    let mut url = http_url(text)?;
    let bare = url.username().is_empty() && url.password().is_none() && !text.contains('@');
    if !bare || url.query().is_some() || url.fragment().is_some() {
        return Err(Wrong::UrlParts);
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

pub(super) fn redirect_url(text: &str) -> Result<Url, Wrong> {
    let url = http_url(text).map_err(|_| Wrong::RedirectUrl("this is not such a URL"))?;
    let why = if !url.username().is_empty() || url.password().is_some() || text.contains('@') {
        "no user in it"
    } else if url.query().is_some() || url.fragment().is_some() {
        "nothing after it"
    } else if url.path() != REDIRECT_PATH || !text.ends_with(REDIRECT_PATH) {
        "this one has another path"
    } else {
        return Ok(url);
    };
    Err(Wrong::RedirectUrl(why))
}

pub(super) fn http_url(text: &str) -> Result<Url, Wrong> {
    // The parser forgives what a person would not: control characters, backslashes, `https:host`.
    let odd = |c: char| c.is_whitespace() || c.is_control() || c == '\\';
    if text.contains(odd) || !text.contains("://") {
        return Err(Wrong::NotHttp);
    }
    let url = Url::parse(text).map_err(|_| Wrong::NotHttp)?;
    if matches!(url.scheme(), "http" | "https") { Ok(url) } else { Err(Wrong::NotHttp) }
}

pub(super) fn origins(text: &str) -> Result<Vec<Url>, Wrong> {
    items(text).map(origin).collect()
}

fn origin(text: &str) -> Result<Url, Wrong> {
    match text {
        "*" => return Err(Wrong::AnyOrigin),
        "null" => return Err(Wrong::NullOrigin),
        _ => {}
    }
    let wrong = || Wrong::Origin(text.to_owned());
    let url = http_url(text).map_err(|_| wrong())?;
    let authority = text.split_once("://").map_or("", |(_, rest)| rest);
    // Nothing after the host, not even a slash, and no pattern in it.
    if authority.contains(['/', '?', '#', '@', '*']) {
        return Err(wrong());
    }
    Ok(url)
}

pub(super) fn scopes(text: &str) -> Result<Vec<String>, Wrong> {
    let mut all: Vec<String> = Vec::new();
    for scope in text.split([' ', ',', '\t', '\n']).filter(|scope| !scope.is_empty()) {
        if !scope.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._".contains(&b)) {
            return Err(Wrong::Scope(scope.to_owned()));
        }
        if !all.iter().any(|known| known == scope) {
            all.push(scope.to_owned());
        }
    }
    if all.iter().any(|scope| scope == "identify") { Ok(all) } else { Err(Wrong::NoIdentify) }
}

/// What becomes of hosts without a rule.
pub(super) enum Policy {
    Deny,
    SignedIn,
}

pub(super) fn policy(text: &str) -> Result<Policy, Wrong> {
    match text {
        "deny" => Ok(Policy::Deny),
        "signed-in" => Ok(Policy::SignedIn),
        _ => Err(Wrong::Policy(text.to_owned())),
    }
}

/// Reads the domain of the app cookie; `public` is where we are, where that is known.
pub(super) fn cookie_domain(text: &str, public: Option<&Host>) -> Result<Host, Wrong> {
    let domain = Host::parse(text).map_err(|_| Wrong::CookieDomain(text.to_owned()))?;
    if domain.is_address() {
        return Err(Wrong::CookieDomain(text.to_owned()));
    }
    if domain.is_public_suffix() || !domain.as_str().contains('.') {
        return Err(Wrong::CookieSuffix(text.to_owned()));
    }
    match public {
        Some(public) if !public.is_at_or_below(&domain) => {
            Err(Wrong::CookieElsewhere { domain: text.to_owned(), public: public.to_string() })
        }
        _ => Ok(domain),
    }
}

/// Reads whether a lost role also ends the sessions.
pub(super) fn role_lost(text: &str) -> Result<bool, Wrong> {
    match text {
        "keep" => Ok(false),
        "end-session" => Ok(true),
        _ => Err(Wrong::Word { given: text.to_owned(), known: "keep and end-session" }),
    }
}

pub(super) fn remote_user(text: &str) -> Result<RemoteUser, Wrong> {
    match text {
        "id" => Ok(RemoteUser::Id),
        "username" => Ok(RemoteUser::Username),
        _ => Err(Wrong::Word { given: text.to_owned(), known: "id and username" }),
    }
}

/// Reads Discord's key for its webhook: a point of Ed25519, and none that would accept anything.
pub(super) fn public_key(text: &str) -> Result<[u8; 32], Wrong> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| Wrong::PublicKey)?;
    match ed25519_dalek::VerifyingKey::from_bytes(&bytes) {
        Ok(key) if !key.is_weak() => Ok(bytes),
        _ => Err(Wrong::PublicKey),
    }
}

/// How diagnostics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// For programs.
    Json,
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, Wrong> {
    match text {
        "pretty" => Ok(LogFormat::Pretty),
        "json" => Ok(LogFormat::Json),
        _ => Err(Wrong::LogFormat(text.to_owned())),
    }
}

pub(super) fn filter(text: &str) -> Result<String, Wrong> {
    match text.parse::<tracing_subscriber::filter::Targets>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(Wrong::Filter(text.to_owned())),
    }
}

/// Takes a key in: at least 32 bytes.
pub(super) fn key(text: &str) -> Result<Secret, Wrong> {
    if text.len() < 32 { Err(Wrong::ShortSecret) } else { Ok(Secret::new(text)) }
}

/// Takes Discord's secret in.
pub(super) fn client_secret(text: &str) -> Result<Secret, Wrong> {
    if text.bytes().all(|b| b.is_ascii_graphic()) { Ok(Secret::new(text)) } else { Err(Wrong::UncleanSecret) }
}

pub(super) fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}
