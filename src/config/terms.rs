//! Who is meant: a term as a setting lists it, `guild:ID`, and as a table of the file has it, `{ guild = "ID" }`.

use toml::Spanned;
use toml::de::DeValue;

use super::error::Wrong;
use super::values::items;
use super::walk::Walk;
use crate::domain::host::Host;
use crate::domain::id::DiscordId;
use crate::domain::rules::Term;

/// How many terms one list may have.
pub(super) const TERMS_MAX: usize = 1_000;

/// Reads who may sign in.
pub(super) fn allow(text: &str) -> Result<Vec<Term>, Wrong> {
    let terms = listed(text)?;
    if terms.is_empty() { Err(Wrong::NobodyAllowed) } else { Ok(terms) }
}

/// Reads who is an administrator.
pub(super) fn admins(text: &str) -> Result<Vec<Term>, Wrong> {
    let terms = listed(text)?;
    if terms.is_empty() { Err(Wrong::Empty) } else { Ok(terms) }
}

fn listed(text: &str) -> Result<Vec<Term>, Wrong> {
    let terms: Vec<Term> = items(text).map(term).collect::<Result<_, _>>()?;
    if terms.len() > TERMS_MAX {
        return Err(Wrong::TooMany { what: "terms", most: TERMS_MAX });
    }
    Ok(terms)
}

fn term(text: &str) -> Result<Term, Wrong> {
    let wrong = || Wrong::Term(text.to_owned());
    let id = |digits: &str| digits.parse::<DiscordId>().map_err(|_| wrong());
    let (word, value) = text.split_once(':').ok_or_else(wrong)?;
    match word {
        "user" => Ok(Term::User(id(value)?)),
        "guild" => Ok(Term::Guild(id(value)?)),
        "role" => {
            let (guild, role) = value.split_once('/').ok_or_else(wrong)?;
            role_of(id(guild)?, id(role)?)
        }
        "email" => email_domain(value).map(Term::EmailDomain).ok_or_else(wrong),
        "group" if is_group_name(value) => Ok(Term::Group(value.to_owned())),
        _ => Err(wrong()),
    }
}

fn role_of(guild: DiscordId, role: DiscordId) -> Result<Term, Wrong> {
    // Discord lists a member's roles without this one.
    if guild == role { Err(Wrong::Everyone) } else { Ok(Term::Role { guild, role }) }
}

fn email_domain(text: &str) -> Option<String> {
    let host = Host::parse(text).ok()?;
    (host.as_str().contains('.') && !host.is_address()).then(|| host.to_string())
}

pub(super) fn is_group_name(name: &str) -> bool {
    let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
    (1..=32).contains(&name.len()) && name.bytes().all(known)
}

const KEYS: [&str; 7] = ["user", "guild", "role", "group", "email_domain", "signed_in", "admin"];

/// Reads one term of a table's list.
pub(super) fn in_table(walk: &mut Walk<'_>, list: &str, item: &Spanned<DeValue<'_>>) -> Option<Term> {
    if let DeValue::String(text) = item.get_ref() {
        let place = item.span().start;
        walk.wrong(place, list, Wrong::TermIsATable(as_table(text)));
        return None;
    }
    let table = walk.table(item, list)?;
    let before = walk.mistakes();
    walk.only_keys(&table, &KEYS);
    let found = match table.keys()[..] {
        ["user"] => walk.parse(&table, "user", id).map(Term::User),
        ["guild"] => walk.parse(&table, "guild", id).map(Term::Guild),
        ["guild", "role"] => {
            let (guild, role) = (walk.parse(&table, "guild", id), walk.parse(&table, "role", id));
            role_of(guild?, role?).map_err(|wrong| walk.note_key(&table, "role", wrong)).ok()
        }
        ["group"] => {
            let name = |text: &str| match is_group_name(text) {
                true => Ok(Term::Group(text.to_owned())),
                false => Err(Wrong::GroupName(text.to_owned())),
            };
            walk.parse(&table, "group", name)
        }
        ["email_domain"] => {
            let domain = |text: &str| email_domain(text).ok_or_else(|| Wrong::EmailDomain(text.to_owned()));
            walk.parse(&table, "email_domain", domain).map(Term::EmailDomain)
        }
        ["signed_in"] => walk.only_true(&table, "signed_in").then_some(Term::SignedIn),
        ["admin"] => walk.only_true(&table, "admin").then_some(Term::Admin),
        _ => None,
    };
    // What is not a term at all is said once, and not beside a key that nobody knows.
    if found.is_none() && walk.mistakes() == before {
        walk.note(&table, Wrong::NotOneTerm);
    }
    found
}

/// Writes a term of a setting as a table has it; what is none becomes an example.
fn as_table(text: &str) -> String {
    match term(text) {
        Ok(Term::User(id)) => format!("{{ user = \"{id}\" }}"),
        Ok(Term::Guild(id)) => format!("{{ guild = \"{id}\" }}"),
        Ok(Term::Role { guild, role }) => format!("{{ guild = \"{guild}\", role = \"{role}\" }}"),
        Ok(Term::EmailDomain(domain)) => format!("{{ email_domain = \"{domain}\" }}"),
        Ok(Term::Group(name)) => format!("{{ group = \"{name}\" }}"),
        _ => "{ guild = \"ID\" }, { guild = \"ID\", role = \"ID\" } or { user = \"ID\" }".to_owned(),
    }
}

fn id(text: &str) -> Result<DiscordId, Wrong> {
    text.parse().map_err(|_| Wrong::NotAnId(text.to_owned()))
}
