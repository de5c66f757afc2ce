//! The configurations in `deploy/`, and how they are filled in for one host.
//!
//! They are whole and run as they stand. What is filled in are the four names at the top of each, and the
//! paragraphs that list headers.

use std::fmt::Write as _;

use super::app::{App, Telling};
use super::place::{Site, Upstream};
use crate::domain::identity::IdentityHeaders;

/// A proxy that has a configuration in `deploy/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Proxy {
    /// nginx 1.18 or newer
    Nginx,
    /// Caddy 2.6 or newer
    Caddy,
    /// Traefik 3, by its file provider
    Traefik,
}

/// What is filled in before an app.
pub(super) struct Guard<'a> {
    pub(super) host: &'a Site,
    pub(super) upstream: &'a Upstream,
    pub(super) doorbook: &'a Upstream,
    pub(super) login: &'a Site,
    pub(super) app: Option<App>,
    pub(super) names: &'a IdentityHeaders,
}

const APP: &str = "app.example.org";
const LOGIN: &str = "auth.example.org";
const UPSTREAM: &str = "127.0.0.1:3000";
const DOORBOOK: &str = "127.0.0.1:3001";

const NOTES: &str = "# The link that signs out";
const WHO: &str = "# Who it is, as doorbook says";
const STRIP: &str = "# What a client may not say of itself";
const ASK: &str = "# The question to doorbook, and who it is";
const NOBODY: &str = "# Where a page is public";
const PATTERN: &str = "authResponseHeadersRegex:";

impl Proxy {
    /// Returns the configuration for a host with an app.
    pub(super) fn guard(self, guard: &Guard<'_>) -> String {
        let telling = Telling::of(guard.app, self, guard.names);
        let template = match self {
            Proxy::Nginx => nginx(include_str!("../../../deploy/nginx/app.conf"), &telling),
            Proxy::Caddy => caddy(include_str!("../../../deploy/caddy/app.caddyfile"), &telling),
            Proxy::Traefik => traefik(include_str!("../../../deploy/traefik/app.yml"), &telling),
        };
        let template = match guard.app {
            Some(app) => replace_paragraph(&template, NOTES, &app.notes(&telling)),
            None => template,
        };
        let (host, login) = (guard.host.to_string(), guard.login.to_string());
        let (upstream, doorbook) = (guard.upstream.to_string(), guard.doorbook.to_string());
        fill(&template, &[(APP, &host), (LOGIN, &login), (UPSTREAM, &upstream), (DOORBOOK, &doorbook)])
    }

    /// Returns the configuration for the host where people sign in.
    pub(super) fn login(self, login: &Site, doorbook: &Upstream) -> String {
        let template = match self {
            Proxy::Nginx => include_str!("../../../deploy/nginx/login.conf"),
            Proxy::Caddy => include_str!("../../../deploy/caddy/login.caddyfile"),
            Proxy::Traefik => include_str!("../../../deploy/traefik/login.yml"),
        };
        fill(template, &[(LOGIN, &login.to_string()), (DOORBOOK, &doorbook.to_string())])
    }
}

fn nginx(template: &str, telling: &Telling) -> String {
    let mut who = Vec::new();
    for told in &telling.told {
        let said = spelled(&told.said.to_ascii_lowercase(), "_");
        who.push(format!("auth_request_set $doorbook_{} $upstream_http_{said};", told.what));
    }
    for told in &telling.told {
        who.push(format!("proxy_set_header {} $doorbook_{};", told.heard, told.what));
    }
    let mut strip = Vec::new();
    for told in &telling.told {
        strip.push(spelled(&told.heard, "_"));
    }
    for name in &telling.untold {
        strip.extend(["-", "_"].map(|between| spelled(name, between)));
    }
    let strip: Vec<String> = strip.into_iter().map(|name| format!("proxy_set_header {name} \"\";")).collect();
    refill(&refill(template, WHO, &who), STRIP, &strip)
}

fn caddy(template: &str, telling: &Telling) -> String {
    let strip: Vec<String> =
        patterns(telling).into_iter().map(|name| format!("request_header -{name}")).collect();
    let mut ask = vec![format!("forward_auth {DOORBOOK} {{"), "\turi /auth/forward".to_owned()];
    if !telling.told.is_empty() {
        let mut copy = "\tcopy_headers".to_owned();
        for told in &telling.told {
            let _ = match told.said == told.heard {
                true => write!(copy, " {}", told.said),
                false => write!(copy, " {}>{}", told.said, told.heard),
            };
        }
        ask.push(copy);
    }
    ask.push("}".to_owned());
    let mut nobody = Vec::new();
    if let Some((user, others)) = telling.told.split_first() {
        nobody.push(format!("@nobody header {} -", user.heard));
        let names = others.iter().chain([user]).map(|told| &told.heard);
        nobody.extend(names.map(|name| format!("request_header @nobody -{name}")));
    }
    refill(&refill(&refill(template, STRIP, &strip), ASK, &ask), NOBODY, &nobody)
}

fn traefik(template: &str, telling: &Telling) -> String {
    let mut names = Vec::new();
    for name in believed_families(telling) {
        let between = "[^0-9a-z]";
        let (stem, end) = name.strip_suffix('*').map_or((name.as_str(), "$"), |stem| (stem, between));
        names.push(format!("{}{end}", spelled(&stem.to_ascii_lowercase(), between)));
    }
    let line = format!("{PATTERN} \"(?i)^({})\"", names.join("|"));
    let at = |text: &str| text.trim_start().starts_with(PATTERN);
    let indented = |text: &str| format!("{}{line}", &text[..text.len() - text.trim_start().len()]);
    template.lines().map(|text| if at(text) { indented(text) } else { text.to_owned() } + "\n").collect()
}

/// Groups of headers of which nothing else is one: all of them go.
const FAMILIES: [&str; 4] = ["Remote", "X-Discord", "X-WEBAUTH", "X-Auth-Request"];

/// Returns the names that the app believes, and in the place of those of a family the family, with `*`.
fn believed_families(telling: &Telling) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in telling.believed() {
        let family = FAMILIES.into_iter().find(|family| {
            let rest = name.get(family.len()..).filter(|rest| rest.starts_with('-'));
            rest.is_some() && name[..family.len()].eq_ignore_ascii_case(family)
        });
        let name = family.map_or_else(|| name.to_owned(), |family| format!("{family}*"));
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Returns what Caddy is to remove: each name, or family, with every mark that may stand between its words.
fn patterns(telling: &Telling) -> Vec<String> {
    let mut patterns = Vec::new();
    for name in believed_families(telling) {
        let mut spellings = vec![String::new()];
        for (n, word) in name.split('-').enumerate() {
            let marks: &[&str] = if n == 0 { &[""] } else { &["-", "_", "."] };
            spellings = spellings
                .iter()
                .flat_map(|start| marks.iter().map(move |mark| format!("{start}{mark}{word}")))
                .collect();
        }
        patterns.extend(spellings);
    }
    patterns
}

/// Returns the name with another mark between its words.
fn spelled(name: &str, between: &str) -> String {
    name.replace('-', between)
}

/// Puts values in the place of names, all at once, so that a value is never taken for a name.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    let next = |rest: &str| {
        let found = values.iter().filter_map(|(name, value)| Some((rest.find(name)?, *name, *value)));
        found.map(|(at, name, value)| (at, name.to_owned(), value.to_owned())).min()
    };
    while let Some((at, name, value)) = next(rest) {
        filled.push_str(&rest[..at]);
        filled.push_str(&value);
        rest = &rest[at + name.len()..];
    }
    filled + rest
}

/// Puts other lines under the comment that begins so; without any, the comment goes as well.
fn refill(template: &str, comment: &str, lines: &[String]) -> String {
    let (before, paragraph, after) = paragraph(template, comment);
    if lines.is_empty() {
        return format!("{before}{}", after.strip_prefix('\n').unwrap_or(after));
    }
    let indent: String = paragraph.chars().take_while(|c| c.is_whitespace()).collect();
    let comments = paragraph.lines().take_while(|line| line.trim_start().starts_with('#'));
    let comments: String = comments.map(|line| format!("{line}\n")).collect();
    let lines: String = lines.iter().map(|line| format!("{indent}{line}\n")).collect();
    format!("{before}{comments}{lines}{after}")
}

fn replace_paragraph(template: &str, comment: &str, by: &str) -> String {
    let (before, _, after) = paragraph(template, comment);
    format!("{before}{by}{after}")
}

/// Splits off the paragraph whose first line begins so: it ends before an empty line.
fn paragraph<'t>(template: &'t str, comment: &str) -> (&'t str, &'t str, &'t str) {
    let mut start = 0;
    for line in template.split_inclusive('\n') {
        if line.trim_start().starts_with(comment) {
            break;
        }
        start += line.len();
    }
    let mut end = start;
    for line in template[start..].split_inclusive('\n').take_while(|line| !line.trim().is_empty()) {
        end += line.len();
    }
    (&template[..start], &template[start..end], &template[end..])
}
