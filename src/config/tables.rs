//! The tables of the file, `[[group]]` and `[[rule]]`: who belongs together, and who may open what.

use toml::Spanned;
use toml::de::DeValue;

use super::error::{Place, Wrong};
use super::file::type_of;
use super::terms::{self, TERMS_MAX};
use super::values;
use super::walk::{TERMS, Table, Walk};
use crate::domain::host::HostPattern;
use crate::domain::path::RulePath;
use crate::domain::rules::{Grants, Group, Rule, Term};

const RULES_MAX: usize = 1_000;
const GROUPS_MAX: usize = 200;
const METHODS_MAX: usize = 20;
const NETWORKS_MAX: usize = 100;
const TITLE_MAX: usize = 100;
const HELP_MAX: usize = 500;
const INVITE_MAX: usize = 500;

/// What the tables say, and where.
#[derive(Default)]
pub(super) struct Tables {
    pub(super) groups: Vec<Group>,
    pub(super) rules: Vec<Rule>,
    /// Where each of the rules stands.
    pub(super) rule_places: Vec<Place>,
    /// Every term that was read, and where it stands.
    pub(super) terms: Vec<(Place, Term)>,
    /// Every name of a group, also of those with a mistake.
    pub(super) group_names: Vec<String>,
}

/// Reads all of one kind; each stands behind `[[…]]`.
fn each<'v, 'i>(
    walk: &mut Walk<'_>,
    name: &'static str,
    value: &'v Spanned<DeValue<'i>>,
    (what, most): (&'static str, usize),
) -> Vec<Table<'v, 'i>> {
    let DeValue::Array(items) = value.get_ref() else {
        let found = type_of(value.get_ref());
        let wrong = Wrong::Type { expected: "written in double brackets, each for itself", found };
        walk.wrong(value.span().start, name, wrong);
        return Vec::new();
    };
    if let Some(beyond) = items.get(most) {
        walk.wrong(beyond.span().start, name, Wrong::TooMany { what, most });
        return Vec::new();
    }
    items.iter().filter_map(|item| walk.table(item, name)).collect()
}

impl Tables {
    pub(super) fn read_groups(&mut self, walk: &mut Walk<'_>, value: &Spanned<DeValue<'_>>) {
        let mut lines: Vec<usize> = Vec::new();
        for table in each(walk, "group", value, ("groups", GROUPS_MAX)) {
            walk.only_keys(&table, &["name", "any", "title", "help", "invite"]);
            let name = self.group_name(walk, &table, &lines);
            if let Some(name) = &name {
                self.group_names.push(name.clone());
                lines.push(walk.line_of(&table));
            }
            let any = self.terms(walk, &table, "any");
            let title = walk.parse(&table, "title", |text| line(text, TITLE_MAX));
            let help = walk.parse(&table, "help", |text| line(text, HELP_MAX));
            let invite = walk.parse(&table, "invite", invite);
            if let (Some(name), Some(any)) = (name, any) {
                self.groups.push(Group { name, any, title, help, invite });
            }
        }
    }

    fn group_name(&self, walk: &mut Walk<'_>, table: &Table<'_, '_>, lines: &[usize]) -> Option<String> {
        if !table.has("name") {
            walk.note(table, Wrong::NoKey("name"));
        }
        walk.parse(table, "name", |name| {
            if !terms::is_group_name(name) {
                return Err(Wrong::GroupName(name.to_owned()));
            }
            match self.group_names.iter().zip(lines).find(|(known, _)| *known == name) {
                Some((_, line)) => Err(Wrong::GroupTwice { name: name.to_owned(), line: *line }),
                None => Ok(name.to_owned()),
            }
        })
    }

    pub(super) fn read_rules(&mut self, walk: &mut Walk<'_>, value: &Spanned<DeValue<'_>>) {
        for table in each(walk, "rule", value, ("rules", RULES_MAX)) {
            let known: &[&str] =
                &["host", "path", "allow", "deny", "public", "methods", "networks", "allow_preflight"];
            walk.only_keys(&table, known);
            if !table.has("host") {
                walk.note(&table, Wrong::NoKey("host"));
            }
            let host = walk.parse(&table, "host", host);
            let path = match table.has("path") {
                true => walk.parse(&table, "path", path),
                false => Some(RulePath::root()),
            };
            let grant = self.grant(walk, &table);
            let methods = walk.texts(&table, "methods", METHODS_MAX, method).map(once_each);
            let methods = methods.map(|methods| without_head(walk, &table, methods));
            let networks = walk.texts(&table, "networks", NETWORKS_MAX, values::network);
            let allow_preflight = walk.switch(&table, "allow_preflight");
            if let (Some(host), Some(path), Some(grant)) = (host, path, grant) {
                self.rules.push(Rule { host, path, grant, methods, networks, allow_preflight });
                self.rule_places.push(walk.place_of(&table));
            }
        }
    }

    /// Reads whom a rule grants: exactly one of `allow` and `public`.
    fn grant(&mut self, walk: &mut Walk<'_>, table: &Table<'_, '_>) -> Option<Grants> {
        match (table.has("allow"), table.has("public")) {
            (true, true) => walk.note(table, Wrong::GrantsTwice),
            (false, false) => walk.note(table, Wrong::GrantsNothing),
            _ => {}
        }
        let is_public = walk.only_true(table, "public");
        if is_public && table.has("deny") {
            walk.note_key(table, "deny", Wrong::DenyBesidePublic);
        }
        let allow = table.has("allow").then(|| self.terms(walk, table, "allow"));
        let deny = table.has("deny").then(|| self.terms(walk, table, "deny"));
        match allow {
            None => is_public.then_some(Grants::Public),
            Some(allow) => Some(Grants::To { allow: allow?, deny: deny.unwrap_or(Some(Vec::new()))? }),
        }
    }

    /// Reads a list of terms.
    fn terms(&mut self, walk: &mut Walk<'_>, table: &Table<'_, '_>, key: &'static str) -> Option<Vec<Term>> {
        if !table.has(key) {
            walk.note(table, Wrong::NoKey(key));
        }
        let items = walk.list(table, key, TERMS, TERMS_MAX)?;
        if key == "allow" && items.is_empty() {
            walk.note_key(table, key, Wrong::NobodyMeant);
        }
        let name = table.named(key);
        let mut all = Vec::new();
        for item in items {
            let Some(term) = terms::in_table(walk, &name, item) else { continue };
            if key == "any" && matches!(term, Term::Group(_) | Term::Admin) {
                walk.wrong(item.span().start, name.clone(), Wrong::NestedGroup);
            } else {
                self.terms.push((walk.place(item.span().start, name.clone()), term.clone()));
            }
            all.push(term);
        }
        Some(all)
    }
}

fn host(text: &str) -> Result<HostPattern, Wrong> {
    if text == "*" {
        return Err(Wrong::AnyHost);
    }
    match HostPattern::parse(text).map_err(|_| Wrong::Host(text.to_owned()))? {
        HostPattern::Below(domain) if domain.is_public_suffix() => {
            Err(Wrong::AnyBelowSuffix(domain.to_string()))
        }
        pattern => Ok(pattern),
    }
}

fn path(text: &str) -> Result<RulePath, Wrong> {
    RulePath::parse(text).map_err(|_| Wrong::Path(text.to_owned()))
}

fn method(text: &str) -> Result<Vec<String>, Wrong> {
    let is_method = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
    if (1..=32).contains(&text.len()) && text.bytes().all(is_method) {
        Ok(vec![text.to_owned()])
    } else {
        Err(Wrong::Method(text.to_owned()))
    }
}

fn once_each(methods: Vec<String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for method in methods {
        if !all.contains(&method) {
            all.push(method);
        }
    }
    all
}

/// Drops HEAD beside GET, which it counts as; alone it would never be asked about.
fn without_head(walk: &mut Walk<'_>, table: &Table<'_, '_>, mut methods: Vec<String>) -> Vec<String> {
    if methods.iter().any(|method| method == "HEAD") && !methods.iter().any(|method| method == "GET") {
        walk.note_key(table, "methods", Wrong::HeadAlone);
    }
    methods.retain(|method| method != "HEAD");
    methods
}

/// Reads a line that a page shows.
fn line(text: &str, most: usize) -> Result<String, Wrong> {
    let is_line = text.chars().count() <= most && !text.contains(char::is_control);
    match text.trim() {
        "" => Err(Wrong::Empty),
        text if is_line => Ok(text.to_owned()),
        _ => Err(Wrong::NotALineOfText(most)),
    }
}

fn invite(text: &str) -> Result<String, Wrong> {
    let url = values::http_url(text).map_err(|_| Wrong::Invite)?;
    let is_bare = url.username().is_empty() && url.password().is_none();
    let is_good = url.scheme() == "https" && is_bare && url.as_str().len() <= INVITE_MAX;
    if is_good { Ok(url.into()) } else { Err(Wrong::Invite) }
}
