//! A guard before any app: what the proxies are told, by whom they are asked, and what a browser gets to see.

use doorbook::domain::host::HostPattern;
use doorbook::domain::path::RulePath;
use doorbook::domain::rules::{Grants, Rule, Term};

use crate::harness::{Browser, Exchange, House, MARISOL, Plan, QUIETFOX};

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

fn to(term: Term) -> Grants {
    Grants::To { allow: vec![term], deny: vec![] }
}

/// Asks as nginx does.
async fn nginx(browser: &mut Browser, method: &str, url: &str, client: &[(&str, &str)]) -> Exchange {
    let own = [("X-Original-URL", url), ("X-Original-Method", method), ("X-Forwarded-For", "203.0.113.7")];
    browser.send("GET", "/auth/nginx", &[&own[..], client].concat(), "").await
}

/// Asks as Traefik and Caddy do.
async fn forward(browser: &mut Browser, method: &str, url: &str, client: &[(&str, &str)]) -> Exchange {
    let (proto, rest) = url.split_once("://").expect("an address");
    let (host, uri) = rest.split_at(rest.find('/').expect("a path"));
    let own = [
        ("X-Forwarded-Proto", proto),
        ("X-Forwarded-Host", host),
        ("X-Forwarded-Uri", uri),
        ("X-Forwarded-Method", method),
        ("X-Forwarded-For", "203.0.113.7"),
    ];
    browser.send("GET", "/auth/forward", &[&own[..], client].concat(), "").await
}

const NAVIGATES: &[(&str, &str)] = &[("Accept", "text/html"), ("Sec-Fetch-Mode", "navigate")];
const FETCHES: &[(&str, &str)] = &[("Accept", "*/*"), ("Sec-Fetch-Mode", "cors")];

#[tokio::test(flavor = "multi_thread")]
async fn one_rule_lets_one_person_in_and_tells_the_others_where_to_go() {
    let rules =
        vec![rule("localhost", "/open", Grants::Public), rule("localhost", "/", to(Term::User(MARISOL)))];
    let house = House::with(Plan { rules, ..Plan::default() }).await;
    let app = "http://localhost:3001/page?x=1";
    let login = "http://localhost:3001/api/auth/discord/login?rd=%2Fpage%3Fx%3D1";

    let mut nobody = house.browser();
    let told = nginx(&mut nobody, "GET", app, NAVIGATES).await;
    assert_eq!((told.status, told.header("location")), (401, Some(login)), "{told}");
    let told = nginx(&mut nobody, "GET", app, FETCHES).await;
    assert_eq!((told.status, told.header("location"), told.code().as_str()), (401, None, "not_signed_in"));
    let told = forward(&mut nobody, "GET", app, NAVIGATES).await;
    assert_eq!((told.status, told.header("location")), (302, Some(login)), "{told}");
    let told = forward(&mut nobody, "POST", app, NAVIGATES).await;
    assert_eq!((told.status, told.header("location")), (303, Some(login)), "{told}");
    let told = forward(&mut nobody, "GET", app, FETCHES).await;
    assert_eq!((told.status, told.json()["login_url"].as_str()), (401, Some(login)), "{told}");
    assert_eq!(nginx(&mut nobody, "GET", "http://localhost:3001/open", FETCHES).await.status, 200);

    let mut marisol = house.signed_in(MARISOL).await;
    for told in
        [nginx(&mut marisol, "GET", app, NAVIGATES).await, forward(&mut marisol, "POST", app, FETCHES).await]
    {
        assert_eq!((told.status, told.header("remote-user")), (200, Some("555769466601213960")), "{told}");
        assert_eq!(
            (told.header("set-cookie"), told.header("cache-control")),
            (None, Some("no-store")),
            "{told}"
        );
    }

    let mut quietfox = house.signed_in(QUIETFOX).await;
    let told = nginx(&mut quietfox, "GET", app, NAVIGATES).await;
    let refused = "http://localhost:3001/auth/refused?rd=%2Fpage%3Fx%3D1";
    assert_eq!((told.status, told.header("location")), (403, Some(refused)), "{told}");
    let told = forward(&mut quietfox, "GET", app, NAVIGATES).await;
    assert_eq!((told.status, told.header("location")), (403, None), "{told}");
    assert!(told.body.contains("You may not open this") && told.body.contains("quietfox"), "{told}");
    let told = forward(&mut quietfox, "GET", app, FETCHES).await;
    assert_eq!((told.status, told.code().as_str()), (403, "not_allowed"));

    let other = "http://elsewhere.example/";
    for told in
        [nginx(&mut marisol, "GET", other, FETCHES).await, forward(&mut marisol, "GET", other, FETCHES).await]
    {
        assert_eq!((told.status, told.code().as_str()), (403, "no_rule"), "{told}");
    }
}
