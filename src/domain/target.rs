//! Where a login may return: reads `rd` or `next`, and refuses whatever could lead astray.
//!
//! A [`Target`] is always re-serialised by the WHATWG parser, so that what was checked is what a
//! browser will follow.

use std::sync::Arc;

use percent_encoding::percent_decode_str;
use url::{Origin, Url};

use super::forwarded::OURS;
use super::host::Host;
use super::rules::Rules;

/// The longest address to return to, in bytes.
pub const MAX_LEN: usize = 2_048;

/// An address that a browser may be sent to after a login or a logout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A path on our own origin, with its query and fragment.
    Here(String),
    /// An address on another origin, and its host.
    Elsewhere(Box<Url>, Host),
}

/// The address is not one that a login may return to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address that a login may return to")]
pub struct NotAllowed;

/// What a login may return to, as configured.
#[derive(Clone, Debug)]
pub struct TargetRules {
    own: Url,
    allowed: Vec<Origin>,
    guarded: Option<Arc<Rules>>,
}

impl TargetRules {
    /// Takes our public address and the other origins that are allowed; of all of them only the origin counts.
    pub fn new(own: &Url, allowed: &[Url]) -> TargetRules {
        let mut root = own.clone();
        root.set_path("/");
        root.set_query(None);
        root.set_fragment(None);
        TargetRules { own: root, allowed: allowed.iter().map(Url::origin).collect(), guarded: None }
    }

    /// Allows the hosts that the rules guard as well: over https whenever we are, on the scheme's own port.
    pub fn guarding(self, rules: Arc<Rules>) -> TargetRules {
        TargetRules { guarded: Some(rules), ..self }
    }

    /// Reads the one value of `rd` or `next`.
    pub fn read(&self, raw: &str) -> Result<Target, NotAllowed> {
        if raw.len() > MAX_LEN || raw.trim() != raw || raw.contains(|c: char| c.is_control() || c == '\\') {
            return Err(NotAllowed);
        }
        refuse_hidden_separators(raw)?;
        let target = if raw.starts_with('/') { self.read_path(raw)? } else { self.read_url(raw)? };
        // Escaping may have made it longer, and it must fit into a cookie.
        if target.location().len() > MAX_LEN { Err(NotAllowed) } else { Ok(target) }
    }

    fn read_path(&self, raw: &str) -> Result<Target, NotAllowed> {
        if raw.starts_with("//") {
            return Err(NotAllowed);
        }
        let url = self.own.join(raw).map_err(|_| NotAllowed)?;
        self.own_target(&url)
    }

    fn read_url(&self, raw: &str) -> Result<Target, NotAllowed> {
        let (scheme, rest) = raw.split_once("://").ok_or(NotAllowed)?;
        if !scheme.eq_ignore_ascii_case("https") && !scheme.eq_ignore_ascii_case("http") {
            return Err(NotAllowed);
        }
        // Looked for in the raw text as well, because the parser drops an empty userinfo without a word.
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.is_empty() || authority.contains('@') {
            return Err(NotAllowed);
        }
        let url = Url::parse(raw).map_err(|_| NotAllowed)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(NotAllowed);
        }
        if url.origin() == self.own.origin() {
            return self.own_target(&url);
        }
        let host = url.host_str().and_then(|name| Host::parse(name).ok()).ok_or(NotAllowed)?;
        let is_allowed = self.allowed.contains(&url.origin()) || self.is_guarded(&url, &host);
        if !is_allowed || begins_with(url.path(), OURS) {
            return Err(NotAllowed);
        }
        Ok(Target::Elsewhere(Box::new(url), host))
    }

    fn is_guarded(&self, url: &Url, host: &Host) -> bool {
        let is_as_safe = url.scheme() == "https" || self.own.scheme() == "http";
        // A name with a dot at its end is another host to a browser, and has other cookies.
        let is_that_host = url.host_str() == Some(host.as_str());
        let is_guarded = self.guarded.as_ref().is_some_and(|rules| rules.guards(host));
        is_as_safe && url.port().is_none() && is_that_host && is_guarded
    }

    /// Accepts an address on our own origin, as a path.
    fn own_target(&self, url: &Url) -> Result<Target, NotAllowed> {
        let path = url.path();
        // `/.//evil.example` is normalised to a path that begins with two slashes: as a reference,
        // that is another host.
        if url.origin() != self.own.origin() || path.starts_with("//") {
            return Err(NotAllowed);
        }
        let refused = ["/api/auth/discord", "/api/auth/revoke", "/auth", OURS];
        if refused.iter().any(|prefix| begins_with(path, prefix)) {
            return Err(NotAllowed);
        }
        Ok(Target::Here(url[url::Position::BeforePath..].to_owned()))
    }
}

impl Target {
    /// Returns `/`.
    pub fn root() -> Target {
        Target::Here("/".to_owned())
    }

    /// Returns the address as `Location` carries it: a path on our origin, or an absolute URL.
    pub fn location(&self) -> &str {
        match self {
            Target::Here(location) => location,
            Target::Elsewhere(url, _) => url.as_str(),
        }
    }

    /// Returns its path, without query and fragment.
    pub fn path(&self) -> &str {
        match self {
            Target::Here(location) => location.split(['?', '#']).next().unwrap_or_default(),
            Target::Elsewhere(url, _) => url.path(),
        }
    }
}

/// Refuses escapes before the query that somebody may take for a separator or a control later.
fn refuse_hidden_separators(raw: &str) -> Result<(), NotAllowed> {
    let before_query = raw.split(['?', '#']).next().unwrap_or_default();
    let lower = before_query.to_ascii_lowercase();
    if lower.contains("%2f") || lower.contains("%5c") {
        return Err(NotAllowed);
    }
    let decoded = percent_decode_str(before_query).decode_utf8_lossy();
    if decoded.contains(char::is_control) { Err(NotAllowed) } else { Ok(()) }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

/// Returns whether the path is `prefix` or below it, however it is written.
fn begins_with(path: &str, prefix: &str) -> bool {
    let mut found = segments(path);
    segments(prefix).all(|segment| {
        found.next().is_some_and(|found| percent_decode_str(found).decode_utf8_lossy() == segment)
    })
}

#[cfg(test)]
mod tests;
