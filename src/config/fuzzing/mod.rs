//! Fuzzed: rules decide the same however they are written down, and nothing is granted that an app reads otherwise.

mod readings;

use std::collections::BTreeSet;
use std::net::IpAddr;

use self::readings::readings;
use crate::domain::access::{Choice, Person, Reason, Truth, Verdict, Wanted, check, choose, is_ambiguous};
use crate::domain::event::{Membership, Profile};
use crate::domain::forwarded::Forwarded;
use crate::domain::host::Host;
use crate::domain::id::DiscordId;
use crate::domain::path::RequestPath;
use crate::domain::rules::{Rule, Rules};

/// What stands between the rules and the requests.
const BETWEEN: &str = "\n----\n";

/// A strict path beside a public host.
const STRICT: &str = "[[rule]]\nhost = \"a.example\"\npath = \"/admin\"\nallow = [{ user = \"7\" }]\n\n\
                      [[rule]]\nhost = \"a.example\"\npublic = true\n";

/// Reads the bytes as rules, a line `----`, and requests: a method, a host, a path with its query, an address.
pub fn rules(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (toml, requests) = text.split_once(BETWEEN).unwrap_or((text, ""));
    let strict = read(STRICT);
    let rules = super::rules(toml, None);
    match &rules {
        Ok(rules) => canonical(rules),
        Err(wrong) => assert!(!wrong.to_string().is_empty()),
    }
    for line in requests.lines().take(8) {
        let mut words = line.split(' ');
        let [method, host, uri] = [(); 3].map(|()| words.next().unwrap_or_default());
        let address = words.next().and_then(|word| word.parse().ok());
        let readings = uri.split('?').next().map(readings).unwrap_or_default();
        let asked = Asked { method, host, uri, address, readings };
        asked.of(&strict);
        asked.nobody_opens_what_is_strict(&strict);
        if let Ok(rules) = &rules {
            asked.of(rules);
        }
    }
}

fn read(text: &str) -> Rules {
    super::rules(text, None).unwrap_or_else(|wrong| panic!("{wrong}\n{text}"))
}

/// Asserts that the canonical form gives the same rules, and the same form.
fn canonical(rules: &Rules) {
    let text = rules.canonical();
    let again = read(&text);
    assert_eq!(again.canonical(), text);
    assert_eq!(again.hash(), rules.hash());
    assert_eq!((&again.allow, &again.admins, &again.rules), (&rules.allow, &rules.admins, &rules.rules));
    assert_eq!(again.default_policy, rules.default_policy);
    assert_eq!(
        (again.membership_max_age, again.membership_grace),
        (rules.membership_max_age, rules.membership_grace)
    );
    let belong = |rules: &Rules| -> Vec<_> {
        rules.groups.iter().map(|group| (group.name.clone(), group.any.clone())).collect()
    };
    assert_eq!(belong(&again), belong(rules));
}

struct Asked<'a> {
    method: &'a str,
    host: &'a str,
    uri: &'a str,
    address: Option<IpAddr>,
    /// The paths that an app may read in that of `uri`.
    readings: BTreeSet<String>,
}

impl Asked<'_> {
    fn path(&self) -> &str {
        self.uri.split('?').next().unwrap_or_default()
    }

    /// Asks for everybody, as a page and as a preflight.
    fn of(&self, rules: &Rules) {
        let forwarded = |uri: &str| {
            Forwarded::from_parts(b"https", self.host.as_bytes(), uri.as_bytes(), self.method.as_bytes())
        };
        let Ok(request) = forwarded(self.uri) else { return };
        let other = forwarded(&format!("{}?/admin/../%2e%2e;x", self.path()));
        let other = other.unwrap_or_else(|wrong| panic!("{:?}: {wrong}", self.uri));
        let profile = profile();
        let memberships = memberships();
        let known = Person { id: DiscordId(7), profile: Some(&profile), memberships: &memberships };
        let unknown = Person { id: DiscordId(8), profile: None, memberships: &[] };
        for is_preflight in [false, true] {
            let wanted = |request| self.wanted(request, is_preflight);
            let chosen = choose(rules, &wanted(&request));
            chosen_in_range(rules, chosen);
            let everybody = check(rules, &wanted(&request), None);
            for person in [None, Some(&known), Some(&unknown)] {
                let verdict = check(rules, &wanted(&request), person);
                assert_eq!(verdict, check(rules, &wanted(&other), person), "a query decides");
                in_range(rules, verdict);
                stands(rules, verdict, everybody, person);
                if verdict.is_granted() {
                    self.every_reading(rules, &wanted(&request), person);
                }
            }
        }
    }

    fn wanted<'w>(&'w self, request: &'w Forwarded, is_preflight: bool) -> Wanted<'w> {
        Wanted {
            host: request.host(),
            path: request.path(),
            method: self.method,
            address: self.address,
            is_preflight,
        }
    }

    /// Asserts that what is granted would be in every other way to read it.
    fn every_reading(&self, rules: &Rules, wanted: &Wanted<'_>, person: Option<&Person<'_>>) {
        let is_granted = |path: &str| {
            let path = RequestPath::parse(path).unwrap_or_else(|wrong| panic!("{path:?}: {wrong}"));
            check(rules, &Wanted { path: &path, ..*wanted }, person).is_granted()
        };
        for reading in self.readings.iter().filter(|reading| reading.len() < 8_192) {
            assert!(is_granted(reading), "{:?} is granted and {reading:?} is not", self.path());
        }
        if is_ambiguous(rules, wanted) {
            for rule in rules.of_host(wanted.host) {
                assert!(is_granted(&rule.path.to_string()), "{:?} is granted, {rule:?} is not", self.path());
            }
            let policy_alone = rules.of_host(wanted.host).next().is_none();
            assert!(policy_alone || is_granted("/"), "{:?} is granted and `/` is not", self.path());
        }
    }

    /// Asserts that no spelling of a path at or below `/admin` is granted to whoever is not signed in.
    fn nobody_opens_what_is_strict(&self, rules: &Rules) {
        let Ok(host) = Host::parse("a.example") else { panic!("it is a host") };
        let Ok(path) = RequestPath::parse(self.path()) else { return };
        let wanted = Wanted {
            host: &host,
            path: &path,
            method: self.method,
            address: self.address,
            is_preflight: false,
        };
        if check(rules, &wanted, None).is_granted() {
            let is_strict = |reading: &String| reading == "/admin" || reading.starts_with("/admin/");
            assert_eq!(self.readings.iter().find(|reading| is_strict(reading)), None, "{:?}", self.path());
        }
    }
}

fn chosen_in_range(rules: &Rules, choice: Choice<'_>) {
    match choice {
        Choice::Rule(rule) => {
            let number = rule_in_range(rules, rule);
            let never = rules.shadowed().into_iter().find(|shadowed| shadowed.rule + 1 == number);
            assert_eq!(never, None, "it was said to decide nothing");
        }
        Choice::NotFitting(rule) => drop(rule_in_range(rules, rule)),
        Choice::DefaultPolicy | Choice::NoHost | Choice::NoPath => {}
    }
}

fn in_range(rules: &Rules, verdict: Verdict<'_>) {
    match verdict {
        Verdict::Public(rule) => drop(rule_in_range(rules, rule)),
        Verdict::Allowed(reason) | Verdict::Unknown(reason) | Verdict::NotAllowed(reason) => {
            if let Reason::Rule(rule) = reason {
                rule_in_range(rules, rule);
            }
        }
        Verdict::NotSignedIn | Verdict::NoRule => {}
    }
}

fn rule_in_range(rules: &Rules, rule: &Rule) -> usize {
    let number = rules.number_of(rule);
    assert!((1..=rules.rules.len()).contains(&number), "rule {number}");
    number
}

/// Asserts what a verdict promises about somebody, beside what everybody is told.
fn stands(rules: &Rules, verdict: Verdict<'_>, everybody: Verdict<'_>, person: Option<&Person<'_>>) {
    match verdict {
        // What is open to one without a name is open to all, and nothing else is open without a name.
        Verdict::Public(_) => assert!(matches!(everybody, Verdict::Public(_))),
        Verdict::Allowed(_) => {
            assert_eq!(person.map(|person| rules.allows(person)), Some(Truth::Yes));
            assert_eq!(everybody, Verdict::NotSignedIn);
        }
        Verdict::Unknown(_) | Verdict::NotAllowed(_) => assert_eq!(everybody, Verdict::NotSignedIn),
        Verdict::NotSignedIn => assert!(person.is_none()),
        Verdict::NoRule => assert_eq!(everybody, Verdict::NoRule),
    }
}

fn profile() -> Profile {
    Profile {
        id: DiscordId(7),
        username: "nelly".into(),
        global_name: None,
        discriminator: "0".into(),
        avatar: None,
        locale: None,
        email: Some("nelly@example.org".into()),
        email_verified: Some(true),
    }
}

fn memberships() -> [Membership; 1] {
    [Membership { guild: DiscordId(1), member: true, roles: vec![DiscordId(2)], nick: None, pending: false }]
}
