//! Rules that never decide, because others are always asked before them.

use super::{Rule, Rules};

/// A rule that never decides, by its place in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shadowed {
    /// Which.
    pub rule: usize,
    /// The one that is asked in its place.
    pub by: usize,
}

impl Rules {
    /// Returns the rules that never decide anything, each with one that is asked before it.
    ///
    /// Such a rule may still keep an ambiguous path from being granted.
    pub fn shadowed(&self) -> Vec<Shadowed> {
        (0..self.rules.len())
            .filter_map(|rule| Some(Shadowed { rule, by: self.asked_before(rule)? }))
            .collect()
    }

    fn asked_before(&self, at: usize) -> Option<usize> {
        let rule = &self.rules[at];
        let of_same_place = |other: &Rule| other.host == rule.host && other.path == rule.path;
        // Host and path choose first, and by the first rule of a place all others of it are found.
        let first = self.rules.iter().position(of_same_place).unwrap_or(at);
        let wider = self.rules[..first]
            .iter()
            .position(|other| other.host.includes(&rule.host) && other.path.includes(&rule.path));
        wider.or_else(|| {
            let sibling = |other: &Rule| of_same_place(other) && other.takes_whatever(rule);
            self.rules[..at].iter().position(sibling)
        })
    }
}

impl Rule {
    /// Returns whether every request that the other rule is for is one for this rule, host and path aside.
    fn takes_whatever(&self, other: &Rule) -> bool {
        let methods = match (&self.methods, &other.methods) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(others)) => {
                let preflights = !other.allow_preflight || self.allow_preflight;
                preflights && others.iter().all(|method| own.contains(method))
            }
        };
        let networks = match (&self.networks, &other.networks) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(others)) => {
                others.iter().all(|network| own.iter().any(|wider| wider.contains(network)))
            }
        };
        methods && networks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::host::HostPattern;
    use crate::domain::path::RulePath;
    use crate::domain::rules::Grants;

    fn rule(host: &str, path: &str) -> Rule {
        Rule {
            host: HostPattern::parse(host).expect("a host"),
            path: RulePath::parse(path).expect("a path"),
            grant: Grants::Public,
            methods: None,
            networks: None,
            allow_preflight: false,
        }
    }

    fn methods(rule: Rule, methods: &[&str]) -> Rule {
        Rule { methods: Some(methods.iter().map(ToString::to_string).collect()), ..rule }
    }

    fn from(rule: Rule, networks: &[&str]) -> Rule {
        Rule {
            networks: Some(networks.iter().map(|text| text.parse().expect("a network")).collect()),
            ..rule
        }
    }

    fn shadowed(rules: Vec<Rule>) -> Vec<(usize, usize)> {
        let rules = Rules { rules, ..Rules::default() };
        rules.shadowed().into_iter().map(|Shadowed { rule, by }| (rule, by)).collect()
    }

    #[test]
    fn a_rule_behind_a_wider_one_never_decides() {
        for (first, second) in [
            (rule("a.example.org", "/"), rule("a.example.org", "/")),
            (rule("a.example.org", "/"), rule("a.example.org", "/admin")),
            (rule("*.example.org", "/"), rule("a.example.org", "/admin")),
            (rule("*.example.org", "/"), rule("*.a.example.org", "/")),
            (rule("a.example.org", "/x"), from(rule("a.example.org", "/x"), &["10.0.0.0/8"])),
            (
                from(rule("a.example.org", "/"), &["10.0.0.0/8"]),
                from(rule("a.example.org", "/"), &["10.1.0.0/16"]),
            ),
            (
                methods(rule("a.example.org", "/"), &["GET", "PUT"]),
                methods(rule("a.example.org", "/"), &["PUT"]),
            ),
            // Methods and networks choose only among the rules of one place.
            (methods(rule("a.example.org", "/"), &["GET"]), rule("a.example.org", "/admin")),
        ] {
            assert_eq!(shadowed(vec![first.clone(), second.clone()]), [(1, 0)], "{first:?} {second:?}");
        }
    }

    #[test]
    fn a_rule_that_decides_something_is_left_alone() {
        let preflight = |rule: Rule| Rule { allow_preflight: true, ..rule };
        for (first, second) in [
            (rule("a.example.org", "/admin"), rule("a.example.org", "/")),
            (rule("a.example.org", "/"), rule("*.example.org", "/")),
            (rule("a.example.org", "/"), rule("b.example.org", "/")),
            (rule("*.example.org", "/admin"), rule("a.example.org", "/")),
            (methods(rule("a.example.org", "/"), &["GET"]), rule("a.example.org", "/")),
            (
                methods(rule("a.example.org", "/"), &["GET"]),
                methods(rule("a.example.org", "/"), &["GET", "PUT"]),
            ),
            (
                methods(rule("a.example.org", "/"), &["GET"]),
                preflight(methods(rule("a.example.org", "/"), &["GET"])),
            ),
            (from(rule("a.example.org", "/"), &["10.0.0.0/8"]), from(rule("a.example.org", "/"), &["::/0"])),
            (
                from(rule("a.example.org", "/"), &["10.1.0.0/16"]),
                from(rule("a.example.org", "/"), &["10.0.0.0/8"]),
            ),
        ] {
            assert_eq!(shadowed(vec![first.clone(), second.clone()]), [], "{first:?} {second:?}");
        }
        // The first rule of a place stands before the wider one, so the second of it is found as well.
        let place = rule("a.example.org", "/admin");
        let rules =
            vec![methods(place.clone(), &["GET"]), rule("a.example.org", "/"), methods(place, &["PUT"])];
        assert_eq!(shadowed(rules), []);
    }
}
