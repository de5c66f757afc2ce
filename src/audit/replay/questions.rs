//! What two sets of rules are asked, so that their answers can be compared: every place that either names.
//!
//! A place is a host and a path. It is asked for a GET from an address that is not known; where rules of the place
//! name methods, also for each of these and for one that none names; where they name networks, also from the
//! first address of each. `*.example.org` is asked as a host below it that no rule names. Besides there are two
//! questions that have no place: signing in, and the pages of an administrator.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use crate::domain::access::Wanted;
use crate::domain::host::{Host, HostPattern};
use crate::domain::path::{RequestPath, RulePath};
use crate::domain::rules::{DefaultPolicy, Rule, Rules};

/// So many questions are asked at most.
pub(super) const MOST: usize = 10_000;

/// One of these stands for the methods that no rule of a place names.
const OTHERS: [&str; 4] = ["POST", "PUT", "DELETE", "PATCH"];

/// Something that rules can be asked about a person.
pub(super) enum Question {
    /// May they sign in, and stay in?
    SignIn,
    /// May they open the pages of an administrator?
    Admin,
    /// May they open that?
    Open(Box<Place>),
}

/// A request that stands for many.
pub(super) struct Place {
    /// As a rule has it.
    pub(super) pattern: HostPattern,
    /// The host itself, or one that stands in for those of a pattern.
    pub(super) host: Host,
    pub(super) path: RequestPath,
    pub(super) method: String,
    pub(super) address: Option<IpAddr>,
}

impl Place {
    pub(super) fn wanted(&self) -> Wanted<'_> {
        let Place { host, path, method, address, .. } = self;
        Wanted { host, path, method, address: *address, is_preflight: false }
    }
}

/// Returns what to ask, and whether there would be more than that.
pub(super) fn of(old: &Rules, new: &Rules) -> (Vec<Question>, bool) {
    let all: Vec<&Rule> = old.rules.iter().chain(&new.rules).collect();
    let mut named: Vec<(HostPattern, RulePath)> =
        all.iter().map(|rule| (rule.host.clone(), rule.path.clone())).collect();
    for rules in [old, new] {
        if let DefaultPolicy::SignedIn(domain) = &rules.default_policy {
            named.push((HostPattern::Exact(domain.clone()), RulePath::root()));
            named.push((HostPattern::Below(domain.clone()), RulePath::root()));
        }
    }
    let mut seen = HashSet::new();
    named.retain(|(host, path)| seen.insert(format!("{host}{path}")));

    let mut questions = vec![Question::SignIn, Question::Admin];
    for (pattern, path) in named {
        let (Some(host), Ok(asked)) = (host_of(&pattern, &all), RequestPath::parse(&path.to_string())) else {
            continue;
        };
        let siblings = || all.iter().filter(|rule| rule.host == pattern && rule.path == path);
        let addresses: BTreeSet<IpAddr> = siblings()
            .flat_map(|rule| rule.networks.iter().flatten())
            .map(|network| network.network())
            .collect();
        for method in methods(siblings().filter_map(|rule| rule.methods.as_deref())) {
            for address in [None].into_iter().chain(addresses.iter().copied().map(Some)) {
                if questions.len() == MOST {
                    return (questions, true);
                }
                let (pattern, host, path) = (pattern.clone(), host.clone(), asked.clone());
                let method = method.clone();
                questions.push(Question::Open(Box::new(Place { pattern, host, path, method, address })));
            }
        }
    }
    (questions, false)
}

/// HEAD counts as GET, so it is no question of its own.
fn methods<'r>(named: impl Iterator<Item = &'r [String]>) -> Vec<String> {
    let named: BTreeSet<&str> =
        named.flatten().map(String::as_str).filter(|method| !matches!(*method, "GET" | "HEAD")).collect();
    let any = named.is_empty();
    let mut all = vec!["GET".to_owned()];
    all.extend(named.iter().map(|method| (*method).to_owned()));
    if !any {
        all.extend(OTHERS.iter().find(|other| !named.contains(*other)).map(|other| (*other).to_owned()));
    }
    all
}

/// Returns a host of the pattern that no rule names by itself.
fn host_of(pattern: &HostPattern, all: &[&Rule]) -> Option<Host> {
    let domain = match pattern {
        HostPattern::Exact(host) => return Some(host.clone()),
        HostPattern::Below(domain) => domain,
    };
    let is_named = |host: &Host| all.iter().any(|rule| rule.host.domain() == host);
    let names = std::iter::once("any".to_owned()).chain((1..=all.len()).map(|n| format!("any{n}")));
    names.filter_map(|name| Host::parse(&format!("{name}.{domain}")).ok()).find(|host| !is_named(host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::rules::{Grants, Term};

    fn rule(host: &str, path: &str) -> Rule {
        Rule {
            host: HostPattern::parse(host).unwrap(),
            path: RulePath::parse(path).unwrap(),
            grant: Grants::To { allow: vec![Term::SignedIn], deny: vec![] },
            methods: None,
            networks: None,
            allow_preflight: false,
        }
    }

    fn asked(old: Vec<Rule>, new: Rules) -> Vec<String> {
        let old = Rules { rules: old, ..Rules::default() };
        let (questions, _) = of(&old, &new);
        let word = |question: &Question| match question {
            Question::SignIn => "sign in".to_owned(),
            Question::Admin => "admin".to_owned(),
            Question::Open(place) => {
                let from = place.address.map(|address| format!(" from {address}")).unwrap_or_default();
                format!("{} {}{}{from}", place.method, place.host, place.path.normal())
            }
        };
        questions.iter().map(word).collect()
    }

    #[test]
    fn every_place_of_both_is_asked_once_in_all_ways_that_its_rules_tell_apart() {
        let methods = Some(vec!["GET".to_owned(), "HEAD".to_owned(), "POST".to_owned()]);
        let networks = Some(vec!["192.168.1.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()]);
        let old = vec![
            rule("wiki.example.org", "/admin"),
            rule("wiki.example.org", "/"),
            Rule { methods, ..rule("wiki.example.org", "/") },
            Rule { networks, ..rule("lab.example.org", "/") },
        ];
        let new = Rules {
            rules: vec![
                rule("*.example.org", "/"),
                rule("any.example.org", "/"),
                rule("wiki.example.org", "/"),
            ],
            default_policy: DefaultPolicy::SignedIn(Host::parse("example.net").unwrap()),
            ..Rules::default()
        };
        assert_eq!(
            asked(old, new),
            [
                "sign in",
                "admin",
                "GET wiki.example.org/admin",
                "GET wiki.example.org/",
                "POST wiki.example.org/",
                "PUT wiki.example.org/",
                "GET lab.example.org/",
                "GET lab.example.org/ from 192.168.1.0",
                "GET lab.example.org/ from 2001:db8::",
                "GET any1.example.org/",
                "GET any.example.org/",
                "GET example.net/",
                "GET any.example.net/",
            ]
        );
    }

    #[test]
    fn a_host_that_stands_in_is_also_below_no_pattern_that_is_named() {
        let new = Rules {
            rules: vec![rule("*.any.example.org", "/"), rule("*.example.org", "/")],
            ..Rules::default()
        };
        assert_eq!(asked(vec![], new)[2..], ["GET any.any.example.org/", "GET any1.example.org/"]);
    }

    #[test]
    fn there_are_never_more_questions_than_the_most() {
        let networks: Vec<_> = (0..=255u8).map(|n| format!("10.0.{n}.0/24").parse().unwrap()).collect();
        let rules = |n| Rule { networks: Some(networks.clone()), ..rule("a.example.org", &format!("/{n}")) };
        let old = Rules { rules: (0..50).map(rules).collect(), ..Rules::default() };
        let (questions, more) = of(&old, &Rules::default());
        assert_eq!((questions.len(), more), (MOST, true));
    }
}
