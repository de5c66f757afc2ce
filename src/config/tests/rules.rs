//! What the reading of rules promises.

use std::time::Duration;

use proptest::prelude::*;

use super::Place;
use crate::config::{Mistrust, headers, rules, terms, values};
use crate::domain::host::{Host, HostPattern};
use crate::domain::id::DiscordId;
use crate::domain::path::RulePath;
use crate::domain::rules::{DefaultPolicy, Grants, Group, Rule, Rules, Term};

#[track_caller]
fn good(text: &str) -> Rules {
    rules(text, None).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

fn mistakes(text: &str) -> Vec<String> {
    rules(text, None).expect_err("a mistake is found").0.iter().map(ToString::to_string).collect()
}

#[test]
fn the_examples_of_the_readme_are_read() {
    let readme = include_str!("../../../README.md");
    let blocks = readme.split("```toml\n").skip(1).filter_map(|behind| behind.split("```").next());
    let examples: Vec<&str> =
        blocks.filter(|text| text.lines().any(|line| line.starts_with("[[rule]]"))).collect();
    assert!(examples.len() >= 3, "the README has examples of rules");
    for text in examples {
        let read = good(text);
        assert!(!read.rules.is_empty(), "{text}");
        assert_eq!(read.groups.len(), text.matches("[[group]]").count(), "{text}");
        assert_eq!(read.shadowed(), [], "{text}");
        let canonical = good(&read.canonical());
        assert_eq!(canonical.hash(), read.hash());
    }
}

#[test]
fn one_meaning_has_one_canonical_text_however_it_is_written() {
    let one = good(
        "admins = [\"user:7\"]\n\
         [[rule]]\nhost = \"Wiki.Example.ORG.\"\npath = \"/admin/\"\nallow = [{ user = 7 }]\n\
         methods = [\"HEAD\", \"GET\", \"GET\"]\nnetworks = [\"10.0.0.1\"]\ndeny = []\n",
    );
    let other = good(
        "admins = \"user:7\"\ndefault_policy = \"deny\"\nmembership_max_age = \"900s\"\n\
         rule = [{ host = \"wiki.example.org\", path = \"/admin\", allow = [{ user = \"7\" }], \
         methods = [\"GET\"], networks = [\"10.0.0.1/32\"], allow_preflight = false }]\n",
    );
    assert_eq!(one, other);
    assert_eq!(one.hash(), other.hash());
}

#[test]
fn a_text_alone_needs_no_application_and_takes_settings_that_decide_nothing() {
    let read = good(
        "port = 3001\ndiscord_oauth_secret_file = \"/nowhere\"\ncookie_domain = \"example.net\"\n\
         discord_redirect_url = \"https://auth.example.org/api/auth/discord/redirect\"\n\
         default_policy = \"signed-in\"\nallow = \"guild:1\"\n",
    );
    assert_eq!(read.allow, Some(vec![Term::Guild(DiscordId(1))]));
    assert_eq!(read.default_policy, DefaultPolicy::SignedIn(Host::parse("example.net").unwrap()));
    assert_eq!(mistakes("prt = 3001\nallow = \"\"\n").len(), 2);
    let named = rules("allow = \"\"", Some("NEW.toml".as_ref())).expect_err("nobody is let in");
    assert!(named.to_string().contains("NEW.toml:1: allow: is empty"), "{named}");
}

#[test]
fn every_bound_is_the_last_number_that_is_taken() {
    let rule = |n: usize| format!("[[rule]]\nhost = \"a{n}.example\"\npublic = true\n");
    let many = |n: usize, one: &dyn Fn(usize) -> String| (0..n).map(one).collect::<String>();
    assert_eq!(good(&many(1_000, &rule)).rules.len(), 1_000);
    assert_eq!(mistakes(&many(1_001, &rule)), ["rules:3001: rule: is too many: at most 1000 rules"]);

    let group = |n: usize| format!("[[group]]\nname = \"g{n}\"\nany = []\n");
    assert_eq!(good(&many(200, &group)).groups.len(), 200);
    assert_eq!(mistakes(&many(201, &group)), ["rules:601: group: is too many: at most 200 groups"]);

    let users = |n: usize| many(n, &|n| format!("user:{},", n + 1));
    assert!(rules(&format!("allow = \"{}\"", users(1_000)), None).is_ok());
    assert_eq!(
        mistakes(&format!("allow = \"{}\"", users(1_001))),
        ["rules:1: allow: is too many: at most 1000 terms"]
    );
    let terms = |n: usize| many(n, &|n| format!("{{ user = \"{}\" }},", n + 1));
    let of = |terms: String| format!("[[rule]]\nhost = \"a.example\"\nallow = [{terms}]\n");
    assert!(rules(&of(terms(1_000)), None).is_ok());
    assert_eq!(mistakes(&of(terms(1_001))), ["rules:3: rule.allow: is too many: at most 1000 terms"]);

    // Each person would have to be looked up in each of them.
    let guilds = |n: usize| {
        format!("admins = \"guild:20\"\n{}", of(many(n, &|n| format!("{{ guild = \"{}\" }},\n", n + 1))))
    };
    assert_eq!(good(&guilds(20)).guilds().len(), 20);
    assert_eq!(mistakes(&guilds(21)), ["rules:24: rule.allow: is too many: at most 20 guilds"]);
    assert_eq!(good(&guilds(20).replace("},", "}, { guild = \"1\", role = \"2\" },")).guilds().len(), 20);
}

#[test]
fn rules_longer_than_an_event_can_hold_are_refused() {
    let path = format!("/{}", "a".repeat(900));
    let text = |n: usize| -> String {
        (0..n)
            .map(|n| format!("[[rule]]\nhost = \"a{n}.example\"\npath = \"{path}\"\npublic = true\n"))
            .collect()
    };
    let longest =
        (1..).take_while(|n| rules(&text(*n), None).is_ok()).last().expect("one rule is not too long");
    assert!(good(&text(longest)).canonical().len() <= 60_000);
    let [mistake] = &mistakes(&text(longest + 1))[..] else { panic!("one mistake") };
    assert!(mistake.starts_with("rules: the rules are too many: they take "), "{mistake}");
}

#[test]
fn a_rule_that_never_decides_is_said_with_both_lines() {
    let place = Place::good().file(
        "doorbook.toml",
        "[[rule]]\nhost = \"*.example.org\"\npublic = true\n\n\
         [[rule]]\nhost = \"wiki.example.org\"\nallow = [{ signed_in = true }]\n",
    );
    let warnings: Vec<String> = place.read().unwrap().warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        ["doorbook.toml:5: rule: never decides anything, because the one of line 1 is asked before it"]
    );
}

#[test]
fn what_guards_nothing_or_too_much_is_said() {
    let file = "[[rule]]\nhost = \"wiki.example.org\"\nallow = [{ signed_in = true }]\n";
    let beyond = || Place::good().env("DOORBOOK_LISTEN", "0.0.0.0");
    assert_eq!(beyond().read().unwrap().warnings, [], "nothing is guarded");
    assert_eq!(beyond().file("doorbook.toml", file).read().unwrap().warnings, [Mistrust::ProxyElsewhere]);
    let said = |place: Place| place.file("doorbook.toml", file).read().unwrap().warnings;
    assert_eq!(said(Place::good()), [], "the proxy is on this machine");
    assert_eq!(said(beyond().env("DOORBOOK_TRUSTED_PROXIES", "127.0.0.0/8,::1/128")), [], "somebody said so");
    assert_eq!(
        Place::good().env("DOORBOOK_REMOTE_USER", "username").read().unwrap().warnings,
        [Mistrust::NamesChangeHands]
    );
    let signed_in = Place::good()
        .env("DOORBOOK_DEFAULT_POLICY", "signed-in")
        .env("DOORBOOK_COOKIE_DOMAIN", "example.org");
    let domain = Host::parse("example.org").unwrap();
    assert_eq!(signed_in.read().unwrap().warnings, [Mistrust::OpenToAnybody { domain }]);
    assert_eq!(signed_in.env("DOORBOOK_ALLOW", "guild:1").read().unwrap().warnings, []);
}

#[test]
fn a_host_whose_other_paths_no_rule_is_for_is_named() {
    let said = |more: &[(&str, &str)], hosts: &[(&str, &str)]| -> Vec<String> {
        let rule = |(host, path): &(&str, &str)| {
            format!("[[rule]]\nhost = \"{host}\"\npath = \"{path}\"\nallow = [{{ admin = true }}]\n")
        };
        let place = more.iter().fold(Place::good(), |place, (name, value)| place.env(name, value));
        let place = place.file("doorbook.toml", &hosts.iter().map(rule).collect::<String>());
        place.read().unwrap().warnings.iter().map(ToString::to_string).collect()
    };
    let admin = ("wiki.example.org", "/admin");
    assert_eq!(
        said(&[], &[admin]),
        ["wiki.example.org has rules for /admin only: every other path of it is refused"]
    );
    for covered in [("wiki.example.org", "/"), ("*.example.org", "/")] {
        assert_eq!(said(&[], &[admin, covered]), Vec::<String>::new(), "{covered:?}");
    }
    // The root of one host is not that of those beside it.
    let below = ("*.example.org", "/x");
    assert_eq!(
        said(&[], &[("wiki.example.org", "/"), below]),
        ["*.example.org has rules for /x only: every other path of it is refused"]
    );
    let policy = [
        ("DOORBOOK_DEFAULT_POLICY", "signed-in"),
        ("DOORBOOK_COOKIE_DOMAIN", "example.org"),
        ("DOORBOOK_ALLOW", "guild:1"),
    ];
    let ways = ["/a", "/b", "/c", "/d", "/e"].map(|path| ("wiki.example.org", path));
    assert_eq!(
        said(&policy, &ways),
        ["wiki.example.org has rules for /a, /b, /c and 2 more only: every other path of it is refused; \
          DOORBOOK_DEFAULT_POLICY is only for hosts that no rule is for"]
    );
}

fn id() -> impl Strategy<Value = DiscordId> {
    prop_oneof![(1..30u64), Just(u64::MAX), any::<u64>()].prop_map(DiscordId)
}

fn guild() -> impl Strategy<Value = DiscordId> {
    (1..20u64).prop_map(DiscordId)
}

/// A term that leads to no other.
fn flat() -> impl Strategy<Value = Term> {
    let domains = prop::sample::select(vec!["example.org", "xn--bcher-kva.example", "a.b.c.example"]);
    prop_oneof![
        id().prop_map(Term::User),
        guild().prop_map(Term::Guild),
        (guild(), 100..200u64).prop_map(|(guild, role)| Term::Role { guild, role: DiscordId(role) }),
        domains.prop_map(|domain| Term::EmailDomain(domain.into())),
    ]
}

fn listed(groups: Vec<String>) -> BoxedStrategy<Term> {
    if groups.is_empty() {
        return flat().boxed();
    }
    prop_oneof![flat(), prop::sample::select(groups).prop_map(Term::Group)].boxed()
}

fn in_rule(groups: Vec<String>) -> impl Strategy<Value = Term> {
    prop_oneof![4 => listed(groups), 1 => Just(Term::SignedIn), 1 => Just(Term::Admin)]
}

fn grant(groups: Vec<String>) -> impl Strategy<Value = Grants> {
    let allow = prop::collection::vec(in_rule(groups.clone()), 1..5);
    let deny = prop::collection::vec(in_rule(groups), 0..3);
    prop_oneof![
        1 => Just(Grants::Public),
        3 => (allow, deny).prop_map(|(allow, deny)| Grants::To { allow, deny }),
    ]
}

fn rule(groups: Vec<String>) -> impl Strategy<Value = Rule> {
    let host = prop_oneof![
        "[a-z0-9]{1,8}\\.example",
        "\\*\\.[a-z]{1,8}\\.example",
        Just("[2001:db8::1]".to_owned())
    ];
    let path = prop_oneof![Just("/".to_owned()), "/[a-zA-Z0-9._~-]{1,8}(/[a-z%\u{e9}]{0,3}[a-z]){0,2}"];
    let methods =
        prop::collection::btree_set(prop::sample::select(vec!["GET", "POST", "M-SEARCH", "X_1"]), 1..4);
    let networks = prop::collection::vec((any::<std::net::IpAddr>(), 0..=32u8), 1..3);
    (host, path, grant(groups), prop::option::of(methods), prop::option::of(networks), any::<bool>())
        .prop_filter_map("a path", |(host, path, grant, methods, networks, allow_preflight)| {
            Some(Rule {
                host: HostPattern::parse(&host).ok()?,
                path: RulePath::parse(&path).ok()?,
                grant,
                methods: methods.map(|all| all.into_iter().map(String::from).collect()),
                networks: networks.map(|all| {
                    let network = |(ip, bits)| ipnet::IpNet::new(ip, bits).expect("a network").trunc();
                    all.into_iter().map(network).collect()
                }),
                allow_preflight,
            })
        })
}

fn any_rules() -> impl Strategy<Value = Rules> {
    prop::collection::btree_set("[a-z0-9_-]{1,32}", 0..4).prop_flat_map(|names| {
        let names: Vec<String> = names.into_iter().collect();
        let in_group = prop_oneof![5 => flat(), 1 => Just(Term::SignedIn)];
        let anys = prop::collection::vec(prop::collection::vec(in_group, 0..4), names.len());
        let allow = prop::option::of(prop::collection::vec(listed(names.clone()), 1..4));
        let admins = prop::collection::vec(listed(names.clone()), 0..3);
        let rules = prop::collection::vec(rule(names.clone()), 0..6);
        let domain = prop::option::of("[a-z]{1,8}\\.example");
        (anys, allow, admins, rules, domain, 1..100_000u64, 0..100_000u64).prop_map(
            move |(anys, allow, admins, rules, domain, max_age, grace)| Rules {
                allow,
                admins,
                groups: names
                    .iter()
                    .zip(anys)
                    .map(|(name, any)| Group {
                        name: name.clone(),
                        any,
                        title: None,
                        help: None,
                        invite: None,
                    })
                    .collect(),
                rules,
                default_policy: match domain {
                    Some(domain) => DefaultPolicy::SignedIn(Host::parse(&domain).expect("a host")),
                    None => DefaultPolicy::Deny,
                },
                membership_max_age: Duration::from_secs(max_age),
                membership_grace: Duration::from_secs(grace),
                ..Rules::default()
            },
        )
    })
}

/// Pieces of which files with mistakes are made.
fn piece() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "[[rule]]\n",
        "[[group]]\n",
        "[rule]\n",
        "host = ",
        "path = ",
        "allow = ",
        "deny = ",
        "public = true\n",
        "methods = ",
        "networks = ",
        "allow_preflight = ",
        "name = ",
        "any = ",
        "title = ",
        "invite = ",
        "[",
        "]",
        "{",
        "}",
        "=",
        ",",
        "\n",
        "\"",
        "'",
        ".",
        "*",
        "\"*.example.org\"",
        "\"wiki.example.org\"",
        "\"/admin\"",
        "user",
        "guild = \"1\"",
        "role = 2",
        "group",
        "{ user = \"1\" }",
        "signed_in = true",
        "admins = \"guild:1,role:1/2\"\n",
        "default_policy = \"signed-in\"\n",
        "cookie_domain = ",
        "true",
        "1979-05-27",
        "identity_headers = { user = \"X-User\" }\n",
        "membership_grace = \"1h\"\n",
        "\\u0000",
        "\u{e9}",
        "10.0.0.0/8",
    ]);
    prop_oneof![3 => known.prop_map(String::from), 1 => "\\PC{0,4}", 1 => any::<char>().prop_map(String::from)]
}

proptest! {
    #[test]
    fn the_canonical_text_is_read_back_as_the_same_rules(rules in any_rules()) {
        let text = rules.canonical();
        let read = super::super::rules(&text, None);
        let read = read.unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        prop_assert_eq!(read.canonical(), text);
        prop_assert_eq!(read.hash(), rules.hash());
        prop_assert_eq!(read, rules);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_text_makes_the_reading_panic_and_every_mistake_has_a_place(
        text in prop::collection::vec(piece(), 0..30).prop_map(|pieces| pieces.concat()),
    ) {
        let lines = text.lines().count() + 1;
        if let Err(errors) = rules(&text, None) {
            prop_assert!(!errors.0.is_empty());
            for mistake in errors.0 {
                let (line, is_whole) = match &mistake.place {
                    crate::config::Place::File { line, .. } => (*line, false),
                    crate::config::Place::Whole(_) => (1, true),
                    other => panic!("{other}"),
                };
                prop_assert!(is_whole || (1..=lines).contains(&line), "{mistake}");
            }
        }
    }


    #[test]
    fn no_value_of_a_setting_makes_the_reading_panic(
        text in prop_oneof!["\\PC{0,30}", "(user|guild|role|email|group|=|:|/|,|\\.|-|X|1|é| ){0,12}"],
    ) {
        let _ = terms::allow(&text);
        let _ = terms::admins(&text);
        let _ = headers::read(&text);
        let _ = values::cookie_domain(&text, Some(&Host::parse("auth.example.org").expect("a host")));
        let _ = values::public_key(&text);
        let _ = values::network(&text);
    }
}
