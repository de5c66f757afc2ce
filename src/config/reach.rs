//! How the app cookie comes to the hosts of the rules: by itself, or by a ticket.

use std::fmt;

use super::error::Place;
use crate::domain::app_cookie::is_reached;
use crate::domain::host::{Host, HostPattern};
use crate::domain::rules::Rules;

/// A host that a rule names, and how it gets its cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardedHost {
    /// As the rule has it.
    pub host: HostPattern,
    /// How it gets its cookie.
    pub reach: Reach,
    /// The first rule that names it.
    pub place: Place,
}

/// How a host gets the app cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The cookie of a sign-in reaches it.
    Cookie,
    /// It gets one of its own.
    Ticket,
    /// Some of the hosts of a pattern are reached, and the others get their own.
    CookieAt(Vec<HostPattern>),
}

/// Returns every host that a rule names, in the order of the rules.
pub(super) fn of(rules: &Rules, places: &[Place], public: &Host, domain: Option<&Host>) -> Vec<GuardedHost> {
    let mut all: Vec<GuardedHost> = Vec::new();
    for (rule, place) in rules.rules.iter().zip(places) {
        if !all.iter().any(|known| known.host == rule.host) {
            let reach = reach(&rule.host, public, domain);
            all.push(GuardedHost { host: rule.host.clone(), reach, place: place.clone() });
        }
    }
    all
}

fn reach(host: &HostPattern, public: &Host, domain: Option<&Host>) -> Reach {
    let reached = |host: &Host| is_reached(host, public, domain);
    match host {
        HostPattern::Exact(host) if reached(host) => Reach::Cookie,
        HostPattern::Exact(_) => Reach::Ticket,
        HostPattern::Below(above) if domain.is_some_and(|domain| above.is_at_or_below(domain)) => {
            Reach::Cookie
        }
        HostPattern::Below(_) => {
            let mut some = Vec::new();
            // A domain below the pattern's lies wholly inside it.
            if let Some(domain) = domain.filter(|domain| host.matches(domain)) {
                some.push(HostPattern::Exact(domain.clone()));
                some.push(HostPattern::Below(domain.clone()));
            } else if host.matches(public) {
                some.push(HostPattern::Exact(public.clone()));
            }
            if some.is_empty() { Reach::Ticket } else { Reach::CookieAt(some) }
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reach::Cookie => f.write_str("app cookie"),
            Reach::Ticket => f.write_str("ticket"),
            Reach::CookieAt(some) => {
                let some: Vec<String> = some.iter().map(ToString::to_string).collect();
                write!(f, "app cookie at {}; elsewhere ticket", some.join(" and "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_reached_at_and_below_the_cookie_domain_and_where_we_are() {
        let host = |text: &str| Host::parse(text).unwrap();
        let said = |pattern: &str, domain: Option<&str>| {
            let pattern = HostPattern::parse(pattern).unwrap();
            reach(&pattern, &host("auth.example.org"), domain.map(host).as_ref()).to_string()
        };
        let own = Some("example.org");
        assert_eq!(said("wiki.example.org", own), "app cookie");
        assert_eq!(said("example.org", own), "app cookie");
        assert_eq!(said("wiki.example.net", own), "ticket");
        assert_eq!(said("evilexample.org", own), "ticket");
        assert_eq!(said("192.0.2.1", own), "ticket");
        assert_eq!(said("auth.example.org", None), "app cookie");
        assert_eq!(said("wiki.example.org", None), "ticket");
        assert_eq!(said("x.auth.example.org", None), "ticket");

        assert_eq!(said("*.example.org", own), "app cookie");
        assert_eq!(said("*.wiki.example.org", own), "app cookie");
        assert_eq!(said("*.example.net", own), "ticket");
        let some = "app cookie at auth.example.org; elsewhere ticket";
        assert_eq!(said("*.example.org", None), some);
        assert_eq!(said("*.auth.example.org", None), "ticket");
        let some = "app cookie at auth.example.org and *.auth.example.org; elsewhere ticket";
        assert_eq!(said("*.example.org", Some("auth.example.org")), some);
    }
}
