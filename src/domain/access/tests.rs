//! What the rules say, told as tables: who wants what, and what becomes of it.

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::domain::host::HostPattern;
use crate::domain::path::RulePath;
use crate::domain::rules::{DefaultPolicy, Group};

const GUILD: DiscordId = DiscordId(1);
const ROLE: DiscordId = DiscordId(2);
const NELLY: DiscordId = DiscordId(7);

fn rule(host: &str, path: &str, grant: Grants) -> Rule {
    Rule {
        host: HostPattern::parse(host).expect("a host"),
        path: RulePath::parse(path).expect("a path"),
        grant,
        methods: None,
        networks: None,
        allow_preflight: false,
    }
}

fn to(allow: Vec<Term>) -> Grants {
    Grants::To { allow, deny: vec![] }
}

fn signed_in(host: &str, path: &str) -> Rule {
    rule(host, path, to(vec![Term::SignedIn]))
}

fn house(rules: Vec<Rule>) -> Rules {
    Rules { rules, ..Rules::default() }
}

fn member(roles: &[u64]) -> Membership {
    Membership {
        guild: GUILD,
        member: true,
        roles: roles.iter().map(|id| DiscordId(*id)).collect(),
        nick: None,
        pending: false,
    }
}

/// A question with its answer as a word.
struct Question {
    method: &'static str,
    address: Option<IpAddr>,
    is_preflight: bool,
    person: Option<Vec<Membership>>,
}

impl Question {
    fn by_nobody() -> Question {
        Question { method: "GET", address: None, is_preflight: false, person: None }
    }

    fn by_nelly(memberships: Vec<Membership>) -> Question {
        Question { person: Some(memberships), ..Question::by_nobody() }
    }

    fn method(self, method: &'static str) -> Question {
        Question { method, ..self }
    }

    fn from(self, address: [u8; 4]) -> Question {
        Question { address: Some(Ipv4Addr::from(address).into()), ..self }
    }

    fn preflight(self) -> Question {
        Question { method: "OPTIONS", is_preflight: true, ..self }
    }

    fn ask(&self, rules: &Rules, host: &str, path: &str) -> &'static str {
        let (host, path) = (Host::parse(host).expect("a host"), RequestPath::parse(path).expect("a path"));
        let person = self.person.as_ref().map(|memberships| Person { id: NELLY, profile: None, memberships });
        let wanted = Wanted {
            host: &host,
            path: &path,
            method: self.method,
            address: self.address,
            is_preflight: self.is_preflight,
        };
        match check(rules, &wanted, person.as_ref()) {
            Verdict::Public(_) => "public",
            Verdict::Allowed(_) => "allowed",
            Verdict::NotSignedIn => "not signed in",
            Verdict::Unknown(Reason::Allow) => "unknown by allow",
            Verdict::Unknown(_) => "unknown",
            Verdict::NotAllowed(Reason::Allow) => "not allowed by allow",
            Verdict::NotAllowed(_) => "not allowed",
            Verdict::NoRule => "no rule",
        }
    }
}

#[test]
fn nothing_is_open_that_no_rule_opens() {
    let nelly = Question::by_nelly(vec![]);
    assert_eq!(nelly.ask(&Rules::default(), "wiki.example.org", "/"), "no rule");
    let rules = house(vec![signed_in("wiki.example.org", "/docs")]);
    assert_eq!(nelly.ask(&rules, "wiki.example.org", "/docs/x"), "allowed");
    assert_eq!(nelly.ask(&rules, "wiki.example.org", "/"), "no rule");
    assert_eq!(nelly.ask(&rules, "other.example.org", "/docs"), "no rule");
    assert_eq!(Question::by_nobody().ask(&rules, "wiki.example.org", "/docs"), "not signed in");
}

#[test]
fn the_order_of_rules_decides_and_not_their_length() {
    let public = || rule("wiki.example.org", "/", Grants::Public);
    let admin = || rule("wiki.example.org", "/admin", to(vec![Term::User(DiscordId(8))]));
    let nelly = Question::by_nelly(vec![]);
    assert_eq!(nelly.ask(&house(vec![public(), admin()]), "wiki.example.org", "/admin"), "public");
    let rules = house(vec![admin(), public()]);
    assert_eq!(nelly.ask(&rules, "wiki.example.org", "/admin"), "not allowed");
    assert_eq!(nelly.ask(&rules, "wiki.example.org", "/administrator"), "public");
    let wide = house(vec![rule("*.example.org", "/", Grants::Public), signed_in("wiki.example.org", "/")]);
    assert_eq!(
        nelly.ask(&wide, "wiki.example.org", "/"),
        "public",
        "the first that matches, even if it is wide"
    );
}

#[test]
fn methods_and_networks_choose_among_siblings_and_never_fall_through() {
    let lan = Rule {
        networks: Some(vec!["192.168.1.0/24".parse().expect("a network")]),
        ..rule("a.example", "/", Grants::Public)
    };
    let read = Rule { methods: Some(vec!["GET".into()]), ..signed_in("a.example", "/") };
    let rules = house(vec![lan, read, rule("*.example", "/", Grants::Public)]);
    let nelly = || Question::by_nelly(vec![]);
    assert_eq!(nelly().from([192, 168, 1, 9]).ask(&rules, "a.example", "/"), "public");
    assert_eq!(nelly().from([192, 168, 2, 9]).ask(&rules, "a.example", "/"), "allowed");
    assert_eq!(nelly().ask(&rules, "a.example", "/"), "allowed", "an unknown address fits no network");
    assert_eq!(nelly().method("HEAD").ask(&rules, "a.example", "/"), "allowed");
    assert_eq!(nelly().method("POST").ask(&rules, "a.example", "/"), "no rule");
    assert_eq!(nelly().method("POST").from([192, 168, 1, 9]).ask(&rules, "a.example", "/"), "public");
    assert_eq!(nelly().method("get").ask(&rules, "a.example", "/"), "no rule", "methods have capitals");
    assert_eq!(nelly().method("POST").ask(&rules, "b.example", "/"), "public");
}

#[test]
fn a_preflight_passes_only_where_a_rule_says_so() {
    let open =
        Rule { methods: Some(vec!["GET".into()]), allow_preflight: true, ..signed_in("a.example", "/api") };
    let rules = house(vec![open, signed_in("a.example", "/")]);
    assert_eq!(Question::by_nobody().preflight().ask(&rules, "a.example", "/api/x"), "public");
    assert_eq!(Question::by_nobody().preflight().ask(&rules, "a.example", "/x"), "not signed in");
    assert_eq!(Question::by_nobody().method("OPTIONS").ask(&rules, "a.example", "/api/x"), "no rule");
    assert_eq!(Question::by_nobody().preflight().ask(&rules, "a.example", "/api/%2e%2e/x"), "not signed in");
}

/// tinyauth let everybody in where it could not ask about groups.
#[test]
fn who_is_denied_is_out_whatever_else_holds_and_the_unknown_grants_nothing() {
    let allow = vec![Term::Role { guild: GUILD, role: ROLE }];
    let deny = |deny| house(vec![rule("a.example", "/", Grants::To { allow: allow.clone(), deny })]);
    let ask = |rules: &Rules, known: Vec<Membership>| Question::by_nelly(known).ask(rules, "a.example", "/");
    let rules = deny(vec![Term::User(DiscordId(8)), Term::Role { guild: GUILD, role: DiscordId(66) }]);
    assert_eq!(ask(&rules, vec![member(&[2])]), "allowed");
    assert_eq!(ask(&rules, vec![member(&[2, 66])]), "not allowed");
    assert_eq!(ask(&rules, vec![member(&[5])]), "not allowed");
    assert_eq!(ask(&rules, vec![]), "unknown");
    let other_guild = deny(vec![Term::Guild(DiscordId(9))]);
    assert_eq!(ask(&other_guild, vec![member(&[2])]), "unknown", "an unknown reason to deny is one");
    assert_eq!(ask(&other_guild, vec![member(&[5])]), "not allowed");
    assert_eq!(ask(&deny(vec![Term::User(NELLY)]), vec![]), "not allowed");
}

#[test]
fn who_may_not_sign_in_any_more_may_open_nothing_but_what_is_public() {
    let rules = |allow| Rules {
        allow: Some(allow),
        ..house(vec![rule("a.example", "/public", Grants::Public), signed_in("a.example", "/")])
    };
    let members = rules(vec![Term::Guild(GUILD)]);
    let ask = |known: Vec<Membership>, path| Question::by_nelly(known).ask(&members, "a.example", path);
    assert_eq!(ask(vec![member(&[])], "/"), "allowed");
    assert_eq!(ask(vec![Membership::none(GUILD)], "/"), "not allowed by allow");
    assert_eq!(ask(vec![], "/"), "unknown by allow");
    assert_eq!(ask(vec![], "/public"), "public");
}

#[test]
fn the_policy_counts_for_hosts_without_a_rule_at_or_below_its_domain() {
    let rules = Rules {
        allow: Some(vec![Term::User(NELLY)]),
        default_policy: DefaultPolicy::SignedIn(Host::parse("example.org").expect("a host")),
        ..house(vec![signed_in("wiki.example.org", "/docs")])
    };
    let nelly = Question::by_nelly(vec![]);
    for host in ["example.org", "a.example.org", "a.b.example.org"] {
        assert_eq!(nelly.ask(&rules, host, "/x;y"), "allowed", "{host}");
        assert_eq!(Question::by_nobody().ask(&rules, host, "/"), "not signed in", "{host}");
    }
    for host in ["evilexample.org", "example.net", "example.org.evil.net"] {
        assert_eq!(nelly.ask(&rules, host, "/"), "no rule", "{host}");
    }
    assert_eq!(nelly.ask(&rules, "wiki.example.org", "/"), "no rule", "that host has a rule");
    let strangers = Rules { allow: Some(vec![Term::User(DiscordId(8))]), ..rules };
    assert_eq!(nelly.ask(&strangers, "a.example.org", "/"), "not allowed by allow");
}

/// A strict path beside a public host: no spelling of the path, by no method, gets past the rule.
#[test]
fn no_spelling_walks_around_a_strict_path_beside_a_public_host() {
    let staff = || vec![Term::Group("staff".into())];
    let rules = Rules {
        groups: vec![Group {
            name: "staff".into(),
            any: vec![Term::User(DiscordId(8))],
            title: None,
            help: None,
            invite: None,
        }],
        ..house(vec![
            rule("wiki.example.org", "/admin", to(staff())),
            Rule { methods: Some(vec!["GET".into()]), ..rule("wiki.example.org", "/", Grants::Public) },
            Rule { methods: Some(vec!["POST".into()]), ..signed_in("wiki.example.org", "/") },
        ])
    };
    let spellings: Vec<&str> = include_str!("../../../fixtures/paths/admin.txt").lines().collect();
    assert!(spellings.len() >= 40);
    for path in spellings {
        for method in ["GET", "HEAD", "POST"] {
            let ask = |question: Question| question.method(method).ask(&rules, "wiki.example.org", path);
            assert_eq!(ask(Question::by_nobody()), "not signed in", "{method} {path}");
            assert_eq!(ask(Question::by_nelly(vec![])), "not allowed", "{method} {path}");
        }
        for method in ["DELETE", "OPTIONS", "PROPFIND", "get", "X"] {
            let found = Question::by_nobody().method(method).ask(&rules, "wiki.example.org", path);
            assert!(matches!(found, "not signed in" | "no rule"), "{method} {path}: {found}");
        }
    }
    for path in ["/", "/x", "/admins", "/x/admin", "/a%20b", "/caf%C3%A9"] {
        assert_eq!(Question::by_nobody().ask(&rules, "wiki.example.org", path), "public", "{path}");
    }
}

#[test]
fn an_ambiguous_path_passes_where_every_reading_of_it_does() {
    let rules = house(vec![signed_in("a.example", "/admin"), signed_in("a.example", "/")]);
    assert_eq!(Question::by_nelly(vec![]).ask(&rules, "a.example", "/x;y"), "allowed");
    assert_eq!(Question::by_nobody().ask(&rules, "a.example", "/x;y"), "not signed in");
    let lan = Rule {
        networks: Some(vec!["192.168.1.0/24".parse().expect("a network")]),
        ..rule("a.example", "/lan", Grants::Public)
    };
    let rules = house(vec![lan, rule("a.example", "/", Grants::Public)]);
    assert_eq!(Question::by_nobody().ask(&rules, "a.example", "/x"), "public");
    assert_eq!(Question::by_nobody().ask(&rules, "a.example", "/x//lan"), "no rule");
    assert_eq!(Question::by_nobody().from([192, 168, 1, 1]).ask(&rules, "a.example", "/x//lan"), "public");
    // Of two rules for one place, the one that fits decides in every spelling.
    let lan = Rule { path: RulePath::root(), ..rules.rules[0].clone() };
    let rules = house(vec![lan, signed_in("a.example", "/")]);
    for path in ["/x", "/x;y", "/x//y"] {
        let ask = |question: Question| question.ask(&rules, "a.example", path);
        assert_eq!(ask(Question::by_nelly(vec![]).from([192, 0, 2, 1])), "allowed", "{path}");
        assert_eq!(ask(Question::by_nobody().from([192, 0, 2, 1])), "not signed in", "{path}");
    }
    assert_eq!(Question::by_nobody().from([192, 168, 1, 1]).ask(&rules, "a.example", "/x"), "public");
}

/// A rule that is for other methods closes its path to this one, under every name.
#[test]
fn no_spelling_walks_into_a_place_that_is_for_other_methods() {
    let post = Rule { methods: Some(vec!["POST".into()]), ..rule("a.example", "/admin", to(vec![])) };
    let rules = house(vec![post, rule("a.example", "/", Grants::Public)]);
    for path in ["/admin", "/admin;x", "/x%2f..%2fadmin", "/x/..;/admin", "/admin%3Fx", "/admin%23x"] {
        assert_eq!(Question::by_nobody().ask(&rules, "a.example", path), "no rule", "{path}");
    }
    assert_eq!(Question::by_nobody().ask(&rules, "a.example", "/x"), "public");
}

/// What an app may read as a path that no rule opens is not opened.
#[test]
fn an_ambiguous_path_is_refused_where_a_part_of_the_host_has_no_rule() {
    let rules = house(vec![rule("a.example", "/docs", Grants::Public)]);
    assert_eq!(Question::by_nobody().ask(&rules, "a.example", "/docs/x"), "public");
    assert_eq!(Question::by_nobody().ask(&rules, "a.example", "/docs/..;/secret"), "no rule");
}

/// `%3A` is `:` to the app, and so it is to the rule.
#[test]
fn an_escape_walks_around_no_rule_whose_path_may_be_spelled_in_two_ways() {
    for (path, spellings) in [
        (
            "/wiki/Special:UserRights",
            ["/wiki/Special:UserRights", "/wiki/Special%3AUserRights", "/wiki/Special%3auserrights"],
        ),
        ("/%40admin", ["/@admin", "/%40admin", "/%40admin/x"]),
        ("/a[1]", ["/a[1]", "/a%5B1%5d", "/a[1%5D"]),
    ] {
        let strict = rule("a.example", path, to(vec![Term::User(DiscordId(8))]));
        let rules = house(vec![strict, rule("a.example", "/", Grants::Public)]);
        for spelling in spellings {
            let found = Question::by_nobody().ask(&rules, "a.example", spelling);
            assert_eq!(found, "not signed in", "{spelling}");
        }
        assert_eq!(Question::by_nobody().ask(&rules, "a.example", "/x"), "public");
    }
    let plain = house(vec![signed_in("a.example", "/admin"), rule("a.example", "/", Grants::Public)]);
    assert_eq!(Question::by_nobody().ask(&plain, "a.example", "/page%3A1"), "public");
}

#[test]
fn three_values_follow_the_logic_of_kleene() {
    use Truth::{No, Unknown, Yes};
    for (left, right, or, and) in [
        (Yes, Yes, Yes, Yes),
        (Yes, No, Yes, No),
        (Yes, Unknown, Yes, Unknown),
        (No, No, No, No),
        (No, Unknown, Unknown, No),
        (Unknown, Unknown, Unknown, Unknown),
    ] {
        assert_eq!((left.or(right), right.or(left)), (or, or));
        assert_eq!((left.and(right), right.and(left)), (and, and));
    }
}
