//! What the rules say, in words: which rule it was, what became of it, and which term holds for whom.

use super::facts::{Known, flat};
use crate::domain::access::{Choice, Person, Reason, Truth, Verdict, Wanted, choose, is_ambiguous};
use crate::domain::event::Membership;
use crate::domain::rules::{DefaultPolicy, Grants, Rule, Rules, Term};

/// What the list of those who may sign in is called.
pub(in crate::audit) const ALLOW: &str = "DOORBOOK_ALLOW";

/// So many roles or terms are named, and the others counted.
const NAMED: usize = 8;

/// Returns the name of a verdict, as answers about forwarded requests have it.
pub(in crate::audit) fn code(verdict: &Verdict<'_>) -> &'static str {
    match verdict {
        Verdict::Public(_) => "public",
        Verdict::Allowed(_) => "allowed",
        Verdict::NotSignedIn => "not_signed_in",
        Verdict::Unknown(_) => "membership_unknown",
        Verdict::NotAllowed(_) => "not_allowed",
        Verdict::NoRule => "no_rule",
    }
}

/// Returns what the rules say, in a sentence that begins in lower case and has no full stop.
pub(in crate::audit) fn sentence(
    rules: &Rules,
    wanted: &Wanted<'_>,
    person: Option<&Person<'_>>,
    verdict: &Verdict<'_>,
) -> String {
    let name = |rule: &Rule| format!("rule {}", rules.number_of(rule));
    let said = match verdict {
        Verdict::Public(rule) => format!("{} lets everybody in", name(rule)),
        Verdict::Allowed(Reason::Rule(rule)) => format!("{} lets them in", name(rule)),
        Verdict::Allowed(_) => "the default policy lets in whoever is signed in".to_owned(),
        Verdict::NotSignedIn => match choose(rules, wanted) {
            Choice::Rule(rule) => format!("{} is for people who are signed in", name(rule)),
            _ => "the default policy is for people who are signed in".to_owned(),
        },
        Verdict::Unknown(reason) => {
            let asked = reason_name(rules, *reason);
            format!(
                "{asked} depends on what is not known: {}",
                missing(rules, *reason, person, Truth::Unknown)
            )
        }
        Verdict::NotAllowed(Reason::Rule(rule @ Rule { grant: Grants::To { deny, .. }, .. }))
            if person.is_some_and(|person| rules.any(deny, person) == Truth::Yes) =>
        {
            format!("{} keeps them out", name(rule))
        }
        Verdict::NotAllowed(reason) => {
            let asked = reason_name(rules, *reason);
            format!("nothing in {asked} lets them in: {}", missing(rules, *reason, person, Truth::No))
        }
        Verdict::NoRule => no_rule(rules, wanted),
    };
    match is_ambiguous(rules, wanted) {
        true => said + "; the path can be read in two ways, so every rule of the host was asked",
        false => said,
    }
}

fn no_rule(rules: &Rules, wanted: &Wanted<'_>) -> String {
    match choose(rules, wanted) {
        Choice::NoHost if matches!(rules.default_policy, DefaultPolicy::SignedIn(_)) => {
            "no rule is for the host, and it is not below the domain of the default policy".to_owned()
        }
        Choice::NoHost | Choice::DefaultPolicy => "no rule is for the host".to_owned(),
        Choice::NoPath => "no rule of the host is for the path".to_owned(),
        Choice::NotFitting(rule) => {
            let address = match wanted.address {
                Some(address) => format!("from {address}"),
                None => "from an address that is not known".to_owned(),
            };
            format!(
                "rule {} chose the place, and no rule of it is for {} {address}",
                rules.number_of(rule),
                wanted.method
            )
        }
        // Another path decided, of those that an app may read in an ambiguous one.
        Choice::Rule(_) => "a part of the host has no rule for that method and address".to_owned(),
    }
}

/// Returns what decided, as people call it.
pub(in crate::audit) fn reason_name(rules: &Rules, reason: Reason<'_>) -> String {
    match reason {
        Reason::Allow => ALLOW.to_owned(),
        Reason::Rule(rule) => format!("rule {}", rules.number_of(rule)),
        Reason::DefaultPolicy => "the default policy".to_owned(),
    }
}

/// Names the terms that decided so, and counts those that are too many to be named.
fn missing(rules: &Rules, reason: Reason<'_>, person: Option<&Person<'_>>, so: Truth) -> String {
    let denied = match reason {
        Reason::Rule(Rule { grant: Grants::To { deny, .. }, .. }) => deny.as_slice(),
        _ => &[],
    };
    let terms = reason.terms(rules).iter().chain(denied.iter().filter(|_| so == Truth::Unknown));
    let held = terms.filter(|term| person.is_some_and(|person| rules.holds(term, person) == so));
    listed(held.map(ToString::to_string).collect())
}

fn listed(all: Vec<String>) -> String {
    let more = all.len().saturating_sub(NAMED);
    let named = all.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match (named.is_empty(), more) {
        (true, _) => "nobody is on the list".to_owned(),
        (_, 0) => named,
        (_, more) => format!("{named} and {more} more"),
    }
}

/// Returns an answer as people give it.
pub(in crate::audit) fn truth(truth: Truth) -> &'static str {
    match truth {
        Truth::Yes => "yes",
        Truth::No => "no",
        Truth::Unknown => "unknown",
    }
}

/// Returns why a term holds for somebody or not, in a few words. No address is in them.
pub(super) fn why(rules: &Rules, term: &Term, known: &Known) -> String {
    match term {
        Term::User(id) => match known.id {
            Some(own) if own == *id => "it is them".to_owned(),
            Some(_) => "it is somebody else".to_owned(),
            None => "who they are is not known".to_owned(),
        },
        Term::EmailDomain(_) => email(rules, term, known).to_owned(),
        Term::Guild(guild) => match known.membership(*guild) {
            None => "nothing is recorded about that guild".to_owned(),
            Some((membership, _)) => standing(membership).to_owned(),
        },
        Term::Role { guild, role } => match known.membership(*guild) {
            None => "nothing is recorded about that guild".to_owned(),
            Some((Membership { member: true, roles, .. }, _)) if roles.contains(role) => {
                "has the role".into()
            }
            Some((Membership { member: true, .. }, _)) => "a member without the role".to_owned(),
            Some((membership, _)) => standing(membership).to_owned(),
        },
        Term::SignedIn => "whoever is signed in".to_owned(),
        Term::Group(name) if rules.group(name).is_none() => "no group has that name".to_owned(),
        Term::Group(_) | Term::Admin => {
            let terms = flat(rules, [term]).len();
            format!("any of {terms} {}", if terms == 1 { "term" } else { "terms" })
        }
    }
}

/// Returns what somebody is who lacks that term, as a sentence about them.
pub(in crate::audit) fn lacking(rules: &Rules, term: &Term, known: &Known) -> String {
    let guild = term.guild().map(|guild| known.membership(guild).map(|(membership, _)| membership));
    match (guild, term) {
        (Some(None), _) => "Discord has not said what they are there".to_owned(),
        (Some(Some(Membership { member: false, .. })), _) => "they are no member".to_owned(),
        (Some(Some(Membership { pending: true, .. })), Term::Guild(_)) => {
            "they have yet to pass its screening".to_owned()
        }
        (Some(Some(_)), Term::Role { .. }) => "they are a member without the role".to_owned(),
        (_, Term::User(_)) => "they are somebody else".to_owned(),
        (_, term) => why(rules, term, known),
    }
}

fn email(rules: &Rules, term: &Term, known: &Known) -> &'static str {
    match known.profile.as_ref().map(|(profile, _)| profile) {
        None => "no profile is known",
        Some(profile) => match profile.email_verified {
            None => "Discord was not asked for the address",
            Some(false) => "the address is not verified",
            Some(true) if profile.email.is_none() => "there is no address",
            Some(true) if known.person().is_some_and(|person| rules.holds(term, &person) == Truth::Yes) => {
                "a verified address there"
            }
            Some(true) => "a verified address somewhere else",
        },
    }
}

/// Returns what somebody is in a guild, in a few words.
pub(super) fn standing(membership: &Membership) -> &'static str {
    match membership {
        Membership { member: false, .. } => "no member",
        Membership { pending: true, .. } => "has yet to pass the guild's screening",
        Membership { .. } => "a member",
    }
}

/// Returns the roles that somebody has in a guild, those first that rules ask about.
pub(super) fn roles(rules: &Rules, membership: &Membership) -> String {
    if !membership.member || membership.roles.is_empty() {
        return String::new();
    }
    let asked = rules.roles();
    let mut all = membership.roles.clone();
    all.sort_by_key(|role| (!asked.contains(&(membership.guild, *role)), *role));
    format!(" with {}", listed(all.iter().map(|role| format!("role {role}")).collect()))
}
