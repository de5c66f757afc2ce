//! May this person open that? One pure function, asked for every request that a proxy asks about.

use std::collections::HashSet;
use std::net::IpAddr;

use super::event::{Membership, Profile};
use super::host::Host;
use super::id::DiscordId;
use super::path::RequestPath;
use super::rules::{Grants, Rule, Rules, Term};

/// What somebody wants to open.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// On which host.
    pub host: &'a Host,
    /// Which path.
    pub path: &'a RequestPath,
    /// By which method.
    pub method: &'a str,
    /// From where, where that is known.
    pub address: Option<IpAddr>,
    /// Whether a browser asks beforehand: OPTIONS with `Origin` and `Access-Control-Request-Method`.
    pub is_preflight: bool,
}

/// What is known of somebody who is signed in, as far as it counts now.
#[derive(Clone, Copy)]
pub struct Person<'a> {
    /// Who it is.
    pub id: DiscordId,
    /// The profile as last seen, where it can be opened.
    pub profile: Option<&'a Profile>,
    /// The memberships that are not too old to count, one a guild.
    pub memberships: &'a [Membership],
}

/// The answer to a question about a person; what is unknown grants nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    Yes,
    /// It does not.
    No,
    /// The fact that decides is missing.
    Unknown,
}

/// What the rules say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'r> {
    /// Granted to everybody.
    Public(&'r Rule),
    /// Granted to this person.
    Allowed(Reason<'r>),
    /// Nobody is signed in.
    NotSignedIn,
    /// A fact that decides is missing or too old.
    Unknown(Reason<'r>),
    /// The person may not.
    NotAllowed(Reason<'r>),
    /// No rule is for it, so nobody may.
    NoRule,
}

/// Which rule is asked, or why none is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice<'r> {
    /// That one.
    Rule(&'r Rule),
    /// The policy for hosts without a rule.
    DefaultPolicy,
    /// None is for the host, and nor is the policy.
    NoHost,
    /// None of those of the host is for the path.
    NoPath,
    /// This one chose the place, and no rule of the place is for the method and the address.
    NotFitting(&'r Rule),
}

/// What decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason<'r> {
    /// Who may sign in at all.
    Allow,
    /// That rule.
    Rule(&'r Rule),
    /// The policy for hosts without a rule.
    DefaultPolicy,
}

/// Asks the rules. `person` is whoever is signed in, if anybody is.
///
/// The first rule that is for the host and the path decides which others are asked: those of the same host and
/// path, whose methods and networks choose among them. An ambiguous path is granted only where every path
/// of the host would be that an app may read in it.
pub fn check<'r>(rules: &'r Rules, wanted: &Wanted<'_>, person: Option<&Person<'_>>) -> Verdict<'r> {
    let chosen = match choose(rules, wanted) {
        Choice::Rule(rule) => rule,
        Choice::DefaultPolicy => return ask(rules, Reason::DefaultPolicy, person),
        Choice::NoHost | Choice::NoPath | Choice::NotFitting(_) => return Verdict::NoRule,
    };
    let verdict = grant(rules, chosen, wanted, person);
    if is_ambiguous(rules, wanted) {
        readings(rules, wanted, person).fold(verdict, Verdict::stricter)
    } else {
        verdict
    }
}

/// Returns whether an app may read another path than these rules do.
pub fn is_ambiguous(rules: &Rules, wanted: &Wanted<'_>) -> bool {
    wanted.path.is_ambiguous()
        || rules.of_host(wanted.host).any(|rule| {
            let is_spelled_otherwise = wanted.path.is_respelled() && rule.path.holds_reserved();
            is_spelled_otherwise || rule.path.covers_in_other_letters(wanted.path)
        })
}

/// Returns what the rules say of every path of the host that an app may read in an ambiguous one.
fn readings<'a, 'r>(
    rules: &'r Rules,
    wanted: &'a Wanted<'_>,
    person: Option<&'a Person<'_>>,
) -> impl Iterator<Item = Verdict<'r>> + use<'a, 'r> {
    let of_host: Vec<&Rule> = rules.of_host(wanted.host).collect();
    let place = |rule: &'r Rule| (&rule.host, &rule.path);
    // A path that no rule is for is one of them, unless there is a rule for all.
    let uncovered = !of_host.iter().any(|rule| rule.path.is_root());
    // Of several rules for one place, those decide that fit; where none does, nobody may.
    let fitting: HashSet<_> =
        of_host.iter().filter(|rule| rule.fits(wanted)).map(|rule| place(rule)).collect();
    let verdicts = of_host.into_iter().filter_map(move |rule| match () {
        () if rule.fits(wanted) => Some(grant(rules, rule, wanted, person)),
        () if fitting.contains(&place(rule)) => None,
        () => Some(Verdict::NoRule),
    });
    verdicts.chain(uncovered.then_some(Verdict::NoRule))
}

/// Returns which rule is asked about a request, whoever sent it.
pub fn choose<'r>(rules: &'r Rules, wanted: &Wanted<'_>) -> Choice<'r> {
    let of_host = || rules.of_host(wanted.host);
    if of_host().next().is_none() {
        let by_policy = rules.default_policy.is_for(wanted.host);
        return if by_policy { Choice::DefaultPolicy } else { Choice::NoHost };
    }
    let Some(first) = of_host().find(|rule| rule.path.covers(wanted.path)) else {
        return Choice::NoPath;
    };
    let mut siblings = of_host().filter(|rule| rule.host == first.host && rule.path == first.path);
    let fitting = siblings.find(|rule| rule.fits(wanted));
    fitting.map_or(Choice::NotFitting(first), Choice::Rule)
}

fn grant<'r>(
    rules: &'r Rules,
    rule: &'r Rule,
    wanted: &Wanted<'_>,
    person: Option<&Person<'_>>,
) -> Verdict<'r> {
    match rule.grant {
        Grants::Public => Verdict::Public(rule),
        Grants::To { .. } if wanted.is_preflight && rule.allow_preflight => Verdict::Public(rule),
        Grants::To { .. } => ask(rules, Reason::Rule(rule), person),
    }
}

/// Asks who may sign in at all, then what decides here.
fn ask<'r>(rules: &'r Rules, reason: Reason<'r>, person: Option<&Person<'_>>) -> Verdict<'r> {
    let Some(person) = person else { return Verdict::NotSignedIn };
    let admitted = rules.allows(person);
    let granted = match reason {
        Reason::Rule(Rule { grant: Grants::To { allow, deny }, .. }) => {
            rules.any(allow, person).and(rules.any(deny, person).not())
        }
        _ => Truth::Yes,
    };
    match (admitted, granted) {
        (Truth::No, _) => Verdict::NotAllowed(Reason::Allow),
        (_, Truth::No) => Verdict::NotAllowed(reason),
        (Truth::Unknown, _) => Verdict::Unknown(Reason::Allow),
        (_, Truth::Unknown) => Verdict::Unknown(reason),
        (Truth::Yes, Truth::Yes) => Verdict::Allowed(reason),
    }
}

impl Rule {
    /// Returns whether the rule is for that method, and for clients from there.
    fn fits(&self, wanted: &Wanted<'_>) -> bool {
        self.takes(wanted) && self.is_for(wanted.address)
    }

    /// Returns whether the rule is for that method.
    fn takes(&self, wanted: &Wanted<'_>) -> bool {
        let method = if wanted.method == "HEAD" { "GET" } else { wanted.method };
        let asks_before = wanted.is_preflight && self.allow_preflight;
        asks_before || self.methods.as_ref().is_none_or(|methods| methods.iter().any(|taken| taken == method))
    }

    /// Returns whether the rule is for clients from there. An unknown address fits no network.
    fn is_for(&self, address: Option<IpAddr>) -> bool {
        self.networks.as_ref().is_none_or(|networks| {
            address.is_some_and(|address| networks.iter().any(|network| network.contains(&address)))
        })
    }
}

impl<'r> Verdict<'r> {
    /// Returns the one of the two that grants less; of equals the first.
    fn stricter(self, other: Verdict<'r>) -> Verdict<'r> {
        let strictness = |verdict: &Verdict<'_>| match verdict {
            Verdict::Public(_) => 0,
            Verdict::Allowed(_) => 1,
            Verdict::Unknown(_) => 2,
            Verdict::NotSignedIn => 3,
            Verdict::NotAllowed(_) => 4,
            Verdict::NoRule => 5,
        };
        if strictness(&other) > strictness(&self) { other } else { self }
    }

    /// Returns whether the request may pass.
    pub fn is_granted(&self) -> bool {
        matches!(self, Verdict::Public(_) | Verdict::Allowed(_))
    }
}

impl<'r> Reason<'r> {
    /// Returns the terms of which one had to hold.
    pub fn terms(self, rules: &'r Rules) -> &'r [Term] {
        match self {
            Reason::Allow => rules.allow.as_deref().unwrap_or_default(),
            Reason::Rule(Rule { grant: Grants::To { allow, .. }, .. }) => allow,
            Reason::Rule(_) | Reason::DefaultPolicy => &[],
        }
    }
}

impl Person<'_> {
    /// Returns what counts about that guild.
    pub fn membership(&self, guild: DiscordId) -> Option<&Membership> {
        self.memberships.iter().find(|membership| membership.guild == guild)
    }

    /// Returns whether the person has a verified address at that domain; unknown without the scope.
    pub(super) fn has_email_at(&self, domain: &str) -> Truth {
        let Some(profile) = self.profile else { return Truth::Unknown };
        match profile.email_verified {
            None => Truth::Unknown,
            Some(false) => Truth::No,
            Some(true) => {
                let at = profile.email.as_deref().and_then(|email| email.rsplit_once('@'));
                Truth::from(at.is_some_and(|(_, at)| at.eq_ignore_ascii_case(domain)))
            }
        }
    }
}

impl Truth {
    /// Yes where either is.
    pub fn or(self, other: Truth) -> Truth {
        match (self, other) {
            (Truth::Yes, _) | (_, Truth::Yes) => Truth::Yes,
            (Truth::Unknown, _) | (_, Truth::Unknown) => Truth::Unknown,
            (Truth::No, Truth::No) => Truth::No,
        }
    }

    /// Yes where both are.
    pub fn and(self, other: Truth) -> Truth {
        self.not().or(other.not()).not()
    }

    /// The opposite; of the unknown, the unknown.
    #[expect(clippy::should_implement_trait, reason = "three values, not two: `!` would promise more")]
    pub fn not(self) -> Truth {
        match self {
            Truth::Yes => Truth::No,
            Truth::No => Truth::Yes,
            Truth::Unknown => Truth::Unknown,
        }
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Truth {
        if holds { Truth::Yes } else { Truth::No }
    }
}

#[cfg(test)]
mod tests;
