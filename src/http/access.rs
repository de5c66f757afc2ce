//! What a proxy is told: decided from memory by one pure function, with everything that its answer has to say.

use crate::domain::access::Truth;
use crate::domain::access::{Reason, Verdict, Wanted, check};
use crate::domain::rules::{Group, Rules, Term};
use crate::grants::Standing;

/// What a proxy is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// The request may pass.
    Granted,
    /// Somebody has to sign in first.
    NotSignedIn,
    /// Discord has to be asked first.
    Unknown,
    /// Whoever is signed in may not.
    NotAllowed(Refusal),
    /// Nobody may.
    NoRule {
        /// Whether there are rules for that host, but none of them for this request.
        has_rules: bool,
    },
}

/// Why somebody may not, for them and for the operator.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Refusal {
    /// The groups of which one would do.
    pub(super) groups: Vec<Group>,
    /// What was missing, in the words of the configuration; nothing in it names the person.
    pub(super) missing: String,
}

/// Decides whether a request may pass, by whoever is signed in, if anybody is.
pub(super) fn decide(rules: &Rules, wanted: &Wanted<'_>, standing: Option<&Standing>) -> Access {
    let person = standing.map(Standing::person);
    match check(rules, wanted, person.as_ref()) {
        Verdict::Public(_) | Verdict::Allowed(_) => Access::Granted,
        Verdict::NotSignedIn => Access::NotSignedIn,
        Verdict::Unknown(_) => Access::Unknown,
        Verdict::NotAllowed(reason) => Access::NotAllowed(refusal(rules, reason, standing)),
        Verdict::NoRule => {
            Access::NoRule { has_rules: rules.rules.iter().any(|rule| rule.host.matches(wanted.host)) }
        }
    }
}

fn refusal(rules: &Rules, reason: Reason<'_>, standing: Option<&Standing>) -> Refusal {
    let terms = reason.terms(rules);
    let holds = standing.is_some_and(|standing| rules.any(terms, &standing.person()) == Truth::Yes);
    if holds {
        // One of the terms would do, so it is the other list.
        return Refusal { groups: vec![], missing: "nothing; the rule's deny keeps them out".to_owned() };
    }
    let groups = terms.iter().filter_map(|term| match term {
        Term::Group(name) => rules.group(name).cloned(),
        _ => None,
    });
    let words: Vec<String> = terms.iter().map(words).collect();
    let place = if reason == Reason::Allow { "DOORBOOK_ALLOW: " } else { "" };
    let missing =
        format!("{place}one of: {}", if words.is_empty() { "nobody".to_owned() } else { words.join(", ") });
    Refusal { groups: groups.collect(), missing }
}

/// Names a term for the operator. Who the users of a list are is nothing for a trace.
fn words(term: &Term) -> String {
    match term {
        Term::User(_) => "a certain user".to_owned(),
        Term::EmailDomain(domain) => format!("a verified address at {domain}"),
        Term::Guild(guild) => format!("guild {guild}"),
        Term::Role { guild, role } => format!("role {guild}/{role}"),
        Term::Group(name) => format!("group {name}"),
        Term::SignedIn => "signed in".to_owned(),
        Term::Admin => "an administrator".to_owned(),
    }
}
