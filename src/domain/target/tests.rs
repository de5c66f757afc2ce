//! Good and hostile addresses to return to.

use proptest::prelude::*;

use super::*;

fn rules() -> TargetRules {
    let url = |text: &str| Url::parse(text).expect("a URL");
    TargetRules::new(
        &url("https://login.example.org/api/auth/discord/redirect"),
        &[url("https://app.example.org"), url("https://wiki.example.net:8443")],
    )
}

#[test]
fn good_addresses_come_back_as_the_parser_writes_them() {
    let table = [
        ("/", "/"),
        ("/account", "/account"),
        ("/account?tab=1#top", "/account?tab=1#top"),
        ("/a/../b", "/b"),
        ("/a/%2e%2e/b", "/b"),
        ("/caf\u{e9}", "/caf%C3%A9"),
        ("/a b", "/a%20b"),
        ("/@nelly", "/@nelly"),
        ("/search?q=%2f%5c%00&next=//evil.example", "/search?q=%2f%5c%00&next=//evil.example"),
        ("/page#%2F", "/page#%2F"),
        ("/api/auth/user", "/api/auth/user"),
        ("/authors", "/authors"),
        ("/api/auth/discordant", "/api/auth/discordant"),
        ("/mail?to=a@b", "/mail?to=a@b"),
        ("https://login.example.org/account", "/account"),
        ("https://login.example.org:443/x", "/x"),
        ("https://app.example.org", "https://app.example.org/"),
        ("HTTPS://APP.example.org/x?y#z", "https://app.example.org/x?y#z"),
        ("https://app.example.org:443/x", "https://app.example.org/x"),
        ("https://app.example.org/auth/x", "https://app.example.org/auth/x"),
        ("https://app.example.org//x", "https://app.example.org//x"),
        ("https://wiki.example.net:8443/", "https://wiki.example.net:8443/"),
    ];
    for (raw, location) in table {
        assert_eq!(rules().read(raw).map(|t| t.location().to_owned()), Ok(location.to_owned()), "{raw:?}");
    }
}

/// oauth2-proxy GHSA-qqxw-m5fj-f7gv, GHSA-j7px-6hwj-hpjg (white space), GHSA-5m6c-jp6f-2vcv; zitadel 12559 (userinfo).
#[test]
fn hostile_addresses_are_refused() {
    let long = format!("/{}", "a".repeat(MAX_LEN));
    let grows = format!("/{}", "\u{e9}".repeat(500));
    let table = [
        "",
        " ",
        "account",
        "?x",
        "#x",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/a\\b",
        "/\t/evil.example",
        "/\n/evil.example",
        "/\r\nSet-Cookie: x=y",
        "/\u{0}",
        "/\u{7f}",
        "/\u{85}",
        " /account",
        "/account ",
        "\u{a0}/account",
        "/.//evil.example",
        "/..//evil.example",
        "/a/..//evil.example",
        "/%2e//evil.example",
        "/%2f/evil.example",
        "/%2F%2Fevil.example",
        "/%5cevil.example",
        "/a%5Cb",
        "/a%00b",
        "/a%0d%0ab",
        "/a%7f",
        "/a%c2%85",
        "/api/auth/discord/login",
        "/api/auth/discord/redirect?code=x",
        "/api/auth/discord",
        "/api/auth/discord/",
        "/api/auth/%64iscord/login",
        "/api//auth/discord/login",
        "/x/../api/auth/discord/login",
        "/x/%2e%2e/api/auth/revoke",
        "/api/auth/revoke",
        "/api/auth/revoke?x",
        "/api/auth/revoke/",
        "/auth/forward",
        "/auth/recheck?rd=/",
        "/auth",
        "/.doorbook/finish?begin",
        "https://login.example.org/auth/nginx",
        "https://login.example.org/api/auth/revoke",
        "https://login.example.org//evil.example",
        "https://app.example.org/.doorbook/finish",
        "https://app.example.org/.%64oorbook/finish",
        "https://app.example.org//.doorbook/finish",
        "https://evil.example",
        "https://app.example.org.evil.example/",
        "https://app.example.org./",
        "https://evilapp.example.org/",
        "https://sub.app.example.org/",
        "https://app.example.org:444/",
        "https://wiki.example.net/",
        "http://app.example.org/",
        "http://login.example.org/",
        "https://app.example.org@evil.example/",
        "https://nelly@app.example.org/",
        "https://nelly:pw@app.example.org/",
        "https://@app.example.org/",
        "https://:@app.example.org/",
        "https://app.example.org\\@evil.example/",
        "https://app.example.org%2fx/",
        "https://app.example.org/a%2fb",
        "https:app.example.org",
        "https:/app.example.org",
        "https:///app.example.org/",
        "https://",
        "https://?x",
        "https://[::1",
        "ftp://app.example.org/",
        "javascript:alert(1)",
        "javascript://app.example.org/%0aalert(1)",
        "data:text/html,x",
        "blob:https://app.example.org/x",
        "view-source:https://app.example.org/",
        "null",
        long.as_str(),
        grows.as_str(),
    ];
    for raw in table {
        assert_eq!(rules().read(raw), Err(NotAllowed), "{raw:?}");
    }
}

/// Rules for `wiki.example.net` and everything below `apps.example.com`; for hosts below `example.org` the policy.
fn guarding(own: &str) -> TargetRules {
    use crate::domain::host::HostPattern;
    use crate::domain::path::RulePath;
    use crate::domain::rules::{DefaultPolicy, Grants, Rule};
    let rule = |host| Rule {
        host: HostPattern::parse(host).expect("a host"),
        path: RulePath::parse("/admin").expect("a path"),
        grant: Grants::Public,
        methods: None,
        networks: None,
        allow_preflight: false,
    };
    let rules = Rules {
        rules: vec![rule("wiki.example.net"), rule("*.apps.example.com"), rule("xn--bcher-kva.example")],
        default_policy: DefaultPolicy::SignedIn(Host::parse("example.org").expect("a host")),
        ..Rules::default()
    };
    TargetRules::new(&Url::parse(own).expect("a URL"), &[]).guarding(Arc::new(rules))
}

#[test]
fn the_hosts_of_rules_are_places_to_return_to() {
    let rules = guarding("https://login.example.org");
    for (raw, location) in [
        ("https://wiki.example.net", "https://wiki.example.net/"),
        ("https://wiki.example.net:443/admin?x=%2f#y", "https://wiki.example.net/admin?x=%2f#y"),
        ("HTTPS://WIKI.example.net/elsewhere", "https://wiki.example.net/elsewhere"),
        ("https://a.apps.example.com/", "https://a.apps.example.com/"),
        ("https://a.b.apps.example.com/", "https://a.b.apps.example.com/"),
        ("https://b\u{fc}cher.example/", "https://xn--bcher-kva.example/"),
        ("https://example.org/", "https://example.org/"),
        ("https://grafana.example.org/d/1", "https://grafana.example.org/d/1"),
        ("https://login.example.org/account", "/account"),
    ] {
        assert_eq!(rules.read(raw).map(|t| t.location().to_owned()), Ok(location.to_owned()), "{raw:?}");
    }
    let target = rules.read("https://wiki.example.net/x").expect("a target");
    assert!(
        matches!(&target, Target::Elsewhere(_, host) if host.as_str() == "wiki.example.net"),
        "{target:?}"
    );
    assert_eq!(target.path(), "/x");
    let here = rules.read("/account?a=/b#/c").expect("a target");
    assert_eq!(here, Target::Here("/account?a=/b#/c".into()));
    assert_eq!(here.path(), "/account");
}

/// oauth2-proxy: GHSA-qqxw-m5fj-f7gv, GHSA-j7px-6hwj-hpjg (white space), GHSA-5m6c-jp6f-2vcv; zitadel 12559 (`@`).
#[test]
fn beside_the_hosts_of_rules_nothing_is_a_place_to_return_to() {
    let rules = guarding("https://login.example.org");
    let table = [
        "https://evil.example/",
        "https://example.net/",
        "https://evilwiki.example.net/",
        "https://sub.wiki.example.net/",
        "https://wiki.example.net.evil.example/",
        "https://wiki.example.net.",
        "https://wiki.example.net./",
        "https://apps.example.com/",
        "https://evilapps.example.com/",
        "https://a.apps.example.com.evil.example/",
        "https://.apps.example.com/",
        "https://a..apps.example.com/",
        "https://evilexample.org/",
        "https://example.org.evil.example/",
        "https://grafana.example.org./",
        "http://wiki.example.net/",
        "http://grafana.example.org/",
        "http://wiki.example.net:443/",
        "https://wiki.example.net:8443/",
        "https://wiki.example.net:80/",
        "https://wiki.example.net:0/",
        "wss://wiki.example.net/",
        "ftp://wiki.example.net/",
        "javascript://wiki.example.net/%0aalert(1)",
        "//wiki.example.net/",
        "///wiki.example.net/",
        "/\\wiki.example.net/",
        "https:wiki.example.net/",
        "https:/wiki.example.net/",
        "https:///wiki.example.net/",
        "https:\\\\wiki.example.net/",
        "wiki.example.net/",
        "https://wiki.example.net@evil.example/",
        "https://wiki.example.net:x@evil.example/",
        "https://nelly@wiki.example.net/",
        "https://@wiki.example.net/",
        "https://evil.example#@wiki.example.net/",
        "https://evil.example?@wiki.example.net/",
        "https://evil.example\\@wiki.example.net/",
        "https://evil.example/wiki.example.net",
        "https://evil.example%2fwiki.example.net/",
        "https://evil.example%23.apps.example.com/",
        "https://evil.example\u{ff0f}.apps.example.com/",
        "https://evil.example\u{2044}.apps.example.com/x\\y",
        "https://evil.example .apps.example.com/",
        "https://evil.example\t.apps.example.com/",
        "\thttps://wiki.example.net/",
        " https://wiki.example.net/",
        "https://wiki.example.net/ ",
        "https://wiki.example.net/\n",
        "https://wiki.example.net/%0a",
        "https://wiki.example.net/%09",
        "https://wiki.example.net/a%2fb",
        "https://wiki.example.net/%5cevil.example",
        "https://wiki.example.net/a\\b",
        "https://wiki.example.net/.doorbook/finish?begin",
        "https://wiki.example.net/.doorbook/finish?t=x",
        "https://wiki.example.net/.doorbook",
        "https://wiki.example.net/x/../.doorbook/finish",
        "https://wiki.example.net/.%64oorbook/finish",
        "https://wiki.example.net//.doorbook/finish",
        "https://login.example.org/auth/recheck?rd=x",
        "https://login.example.org/.doorbook/finish",
        "https://login.example.org//evil.example/",
        "https://192.0.2.1/",
        "https://[2001:db8::1]/",
    ];
    assert!(table.len() >= 40);
    for raw in table {
        assert_eq!(rules.read(raw), Err(NotAllowed), "{raw:?}");
    }
}

#[test]
fn where_we_are_plain_http_the_hosts_of_rules_may_be_so_too() {
    let rules = guarding("http://login.example.org:3001");
    assert!(
        rules.read("http://wiki.example.net/").is_ok() && rules.read("https://wiki.example.net/").is_ok()
    );
    assert_eq!(rules.read("http://wiki.example.net:3001/"), Err(NotAllowed));
}

#[test]
fn an_address_may_be_as_long_as_the_limit_and_no_longer() {
    let at = format!("/{}", "a".repeat(MAX_LEN - 1));
    assert_eq!(rules().read(&at).map(|t| t.location().len()), Ok(MAX_LEN));
}

#[test]
fn where_we_are_plain_http_so_may_be_the_way_back() {
    let own = Url::parse("http://localhost:3001").expect("a URL");
    let rules = TargetRules::new(&own, &[Url::parse("http://localhost:5173").expect("a URL")]);
    assert!(rules.read("http://localhost:5173/app").is_ok_and(|t| matches!(t, Target::Elsewhere(..))));
    assert!(rules.read("http://localhost:3001/account").is_ok_and(|t| matches!(t, Target::Here(_))));
    assert_eq!(rules.read("https://localhost:5173/app"), Err(NotAllowed));
    assert_eq!(rules.read("http://localhost/app"), Err(NotAllowed));
}

/// Pieces from which open redirects are usually built.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("/".to_owned()),
        Just("\\".to_owned()),
        Just("..".to_owned()),
        Just(".".to_owned()),
        Just("%2e".to_owned()),
        Just("%2f".to_owned()),
        Just("@".to_owned()),
        Just(":".to_owned()),
        Just("?".to_owned()),
        Just("#".to_owned()),
        Just("\t".to_owned()),
        Just("https://".to_owned()),
        Just("http:".to_owned()),
        Just("app.example.org".to_owned()),
        Just("login.example.org".to_owned()),
        Just("evil.example".to_owned()),
        "\\PC{0,3}",
    ];
    prop::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_address_ever_leads_to_another_origin(raw in hostile()) {
        let rules = rules();
        for raw in [raw.clone(), format!("/{raw}"), format!("https://app.example.org{raw}")] {
            let Ok(target) = rules.read(&raw) else { continue };
            // What a browser does with `Location`, seen from where the answer comes from.
            let followed = rules.own.join("/api/auth/discord/redirect").and_then(|from| from.join(target.location()));
            let origin = followed.expect("a target can be followed").origin();
            let is_allowed = match &target {
                Target::Here(_) => origin == rules.own.origin(),
                Target::Elsewhere(..) => rules.allowed.contains(&origin),
            };
            prop_assert!(is_allowed, "{raw:?} -> {target:?}");
            // Reading it again changes nothing.
            prop_assert_eq!(rules.read(target.location()), Ok(target.clone()));
        }
    }
}
