//! The cookie that guarded apps may see: what it opens, where, for how long, and what it does not open.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use doorbook::app::By;
use doorbook::clock::Clock as _;
use doorbook::domain::event::RevokedBy;

use crate::guarded::{
    AUTH, FETCHES, Landed, Proxy, RULES, Visitor, WIKI, at_home, at_the_wiki, both, forward, house, nginx,
};
use crate::harness::{Browser, Exchange, House, MARISOL, Plan, QUIETFOX};
use crate::snapshot;

/// Apps on our own root domain, and one that is not.
const BELOW: &str = r#"
cookie_domain = "example.org"

[[rule]]
host = "wiki.example.org"
allow = [ { user = "555769466601213960" } ]

[[rule]]
host = "*.apps.example.org"
allow = [ { signed_in = true } ]

[[rule]]
host = "wiki.example.net"
allow = [ { signed_in = true } ]
"#;

async fn with(file: &str) -> House {
    House::with(Plan { file: file.into(), origin: AUTH, ..Plan::default() }).await
}

#[track_caller]
fn is_app(landed: &Landed) {
    assert!(landed.is_app, "{landed:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn below_the_cookie_domain_one_cookie_is_enough() {
    for proxy in [Proxy::Nginx, Proxy::Forward] {
        let house = with(BELOW).await;
        let mut marisol = Visitor::new(&house, proxy, MARISOL);
        is_app(&marisol.go("https://wiki.example.org/page").await);
        assert_eq!(
            marisol.went_through(),
            [
                "wiki.example.org/page ",
                "auth.example.org/api/auth/discord/login rd",
                "discord",
                "auth.example.org/api/auth/discord/redirect code state",
                "wiki.example.org/page ",
            ]
        );
        assert_eq!(marisol.cookies_of("example.org"), ["__Secure-doorbook-app"]);
        assert_eq!(marisol.cookies_of("auth.example.org"), ["__Host-doorbook"]);
        for url in ["https://grafana.apps.example.org/", "https://a.b.apps.example.org/x"] {
            is_app(&marisol.go(url).await);
            assert_eq!(marisol.trail.len(), 1, "{url}");
        }
        // Elsewhere it takes a ticket.
        is_app(&marisol.go("https://wiki.example.net/").await);
        assert_eq!(marisol.trail.len(), 6);
        assert_eq!(marisol.cookies_of("wiki.example.net"), ["__Host-doorbook-app"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_of_one_scope_opens_nothing_of_another() {
    let house = with(BELOW).await;
    let mut marisol = Visitor::new(&house, Proxy::Forward, MARISOL);
    is_app(&marisol.go("https://wiki.example.org/").await);
    is_app(&marisol.go("https://wiki.example.net/").await);
    let value =
        |name: &str| marisol.jar.iter().find(|cookie| cookie.name == name).expect("set").value.clone();
    let (wide, narrow) = (value("__Secure-doorbook-app"), value("__Host-doorbook-app"));
    let mut thief = house.browser();
    for (stolen, url) in [(&wide, "https://wiki.example.net/"), (&narrow, "https://wiki.example.org/")] {
        for name in ["__Host-doorbook-app", "__Secure-doorbook-app", "__Host-doorbook", "doorbook-app"] {
            thief.cookies = BTreeMap::from([(name.to_owned(), stolen.clone())]);
            for told in both(&mut thief, "GET", url, FETCHES).await {
                assert_eq!(told.status, 401, "{name} {url}: {told}");
            }
        }
    }
    for name in ["__Host-doorbook", "__Secure-doorbook-app", "doorbook"] {
        thief.cookies = BTreeMap::from([(name.to_owned(), wide.clone())]);
        assert_eq!(thief.fetch("GET", "/api/auth/user").await.status, 401, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrower_cookie_domain_takes_no_wider_cookie() {
    let mut house = with(BELOW).await;
    let mut marisol = Visitor::new(&house, Proxy::Forward, MARISOL);
    is_app(&marisol.go("https://wiki.example.org/").await);
    let cookie = marisol.jar.iter().find(|cookie| cookie.name == "__Secure-doorbook-app").expect("set");
    let line = format!("{}={}", cookie.name, cookie.value);
    house.stop().await;
    house.plan().file =
        BELOW.replace("cookie_domain = \"example.org\"", "cookie_domain = \"auth.example.org\"");
    house.start().await.expect("doorbook starts again");
    let mut browser = house.browser();
    let told = forward(&mut browser, "GET", "https://wiki.example.org/", &[("Cookie", &line)]).await;
    assert_eq!(told.status, 401, "{told}");
}

/// vouch ends it at the sixth failure, and does not say why it failed.
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_drops_the_cookie_of_the_domain_is_told_after_three_rounds() {
    let house = with(BELOW).await;
    let mut marisol = Visitor::new(&house, Proxy::Nginx, MARISOL);
    for round in 0..4 {
        let landed = marisol.go("https://wiki.example.org/").await;
        assert_eq!(landed.is_app, round < 3, "{round}: {landed:#?}");
        if round == 3 {
            assert!(landed.answer.body.contains("400 sign_in_loop"), "{landed:#?}");
        }
        marisol.jar.retain(|cookie| cookie.name != "__Secure-doorbook-app");
    }
    // Another host, or another account, is no round of that.
    assert!(marisol.go("https://a.apps.example.org/").await.is_app);
    let switch =
        "https://auth.example.org/api/auth/discord/login?switch=1&rd=https%3A%2F%2Fwiki.example.org%2F";
    assert!(marisol.go(switch).await.is_app);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simplest_gate_needs_no_file() {
    let env = vec![
        ("DOORBOOK_ALLOW", format!("user:{MARISOL}")),
        ("DOORBOOK_DEFAULT_POLICY", "signed-in".to_owned()),
        ("DOORBOOK_COOKIE_DOMAIN", "example.org".to_owned()),
    ];
    let house = House::with(Plan { env, origin: AUTH, ..Plan::default() }).await;
    let mut marisol = Visitor::new(&house, Proxy::Nginx, MARISOL);
    is_app(&marisol.go("https://anything.at.all.example.org/x").await);
    is_app(&marisol.go("https://example.org/").await);
    for url in ["https://example.net/", "https://evilexample.org/"] {
        let landed = marisol.go(url).await;
        assert_eq!((landed.answer.status, landed.answer.code().as_str()), (403, "no_rule"), "{landed:#?}");
    }
    let mut quietfox = Visitor::new(&house, Proxy::Forward, QUIETFOX);
    let landed = quietfox.go("https://wiki.example.org/").await;
    assert!(landed.answer.body.contains("403 sign_in_not_allowed"), "{landed:#?}");
}

/// Writes down what an answer says of cookies.
fn cookies(what: &str, answer: &Exchange) -> String {
    let mut text = format!("=== {what}: {}\n", answer.status);
    for (_, value) in answer.headers.iter().filter(|(name, _)| name == "set-cookie") {
        let _ = writeln!(text, "{value}");
    }
    text + "\n"
}

#[tokio::test(flavor = "multi_thread")]
async fn the_app_cookie_comes_and_goes_with_that_of_the_account() {
    let own = "[[rule]]\nhost = \"auth.example.org\"\npath = \"/app\"\nallow = [ { signed_in = true } ]\n";
    let mut all = String::new();
    for (what, file) in
        [("with a cookie domain", BELOW), ("with a rule for the public host", own), ("with neither", RULES)]
    {
        let house = with(file).await;
        let mut marisol = Visitor::new(&house, Proxy::Forward, MARISOL);
        let mut url = format!("{AUTH}/api/auth/discord/login");
        let landed = loop {
            let (landed, next) = marisol.step(&url).await;
            match next {
                Some(_) if url.contains("/redirect?") => break landed,
                Some(next) => url = next,
                None => panic!("{landed:#?}"),
            }
        };
        all += &cookies(&format!("{what}, signing in"), &landed.answer);
        for (how, method, path) in [
            ("signing out", "POST", "/api/auth/logout"),
            ("ending all", "DELETE", "/api/auth/sessions"),
            ("disconnecting", "POST", "/api/auth/revoke"),
        ] {
            let mut marisol = at_home(&house, MARISOL).await;
            all += &cookies(&format!("{what}, {how}"), &marisol.fetch(method, path).await);
        }
    }
    snapshot!("app_cookie_comes_and_goes", all);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_on_our_own_host_is_guarded_like_any_other() {
    let own = "[[rule]]\nhost = \"auth.example.org\"\npath = \"/app\"\nallow = [ { signed_in = true } ]\n";
    let house = with(own).await;
    let mut marisol = Visitor::new(&house, Proxy::Forward, MARISOL);
    let (told, _) =
        marisol.by_proxy("GET", "https://auth.example.org/app/x?y", crate::guarded::NAVIGATES).await;
    let login = "https://auth.example.org/api/auth/discord/login?rd=%2Fapp%2Fx%3Fy";
    assert_eq!((told.status, told.header("location")), (302, Some(login)), "{told}");
    marisol.go(login).await;
    let (told, is_app) = marisol.by_proxy("GET", "https://auth.example.org/app/x?y", FETCHES).await;
    assert!(is_app, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_headers_are_called_as_the_app_wants_them() {
    let env = vec![
        ("DOORBOOK_IDENTITY_HEADERS", "webauth".to_owned()),
        ("DOORBOOK_REMOTE_USER", "username".to_owned()),
    ];
    let house = House::with(Plan { env, file: RULES.into(), origin: AUTH, ..Plan::default() }).await;
    let mut marisol = at_the_wiki(&house, MARISOL).await;
    for told in both(&mut marisol, "GET", &format!("{WIKI}/page"), FETCHES).await {
        assert_eq!(told.header("x-webauth-user"), Some("marisol.k"), "{told}");
        assert_eq!(told.header("x-webauth-name"), Some("Marisol"), "{told}");
        assert_eq!(told.header("remote-user"), None, "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_change_change_where_a_login_may_return_and_what_passes() {
    let house = house().await;
    let mut marisol = at_the_wiki(&house, MARISOL).await;
    let login = "/api/auth/discord/login?rd=https%3A%2F%2Fwiki.example.net%2F";
    assert_eq!(house.browser().navigate(login).await.status, 302);
    let app = &house.doorbook().app;
    let mut rules = (*app.rules()).clone();
    rules.rules.retain(|rule| rule.host.to_string() != "wiki.example.net");
    app.change_rules(rules, &By::SYSTEM).await.expect("changed");
    let told = house.browser().navigate(login).await;
    assert!(told.status == 400 && told.body.contains("redirect_not_allowed"), "{told}");
    for told in both(&mut marisol, "GET", &format!("{WIKI}/page"), FETCHES).await {
        assert_eq!((told.status, told.code().as_str()), (403, "no_rule"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_app_cookie_opens_neither_the_account_nor_another_host() {
    let other = "[[rule]]\nhost = \"other.example.com\"\nallow = [ { signed_in = true } ]\n";
    let file = format!("{RULES}\n{other}");
    let house = House::with(Plan { file, origin: AUTH, ..Plan::default() }).await;
    let stolen = at_the_wiki(&house, MARISOL).await;
    let value = stolen.cookies.values().next().expect("one").clone();
    let names =
        ["__Host-doorbook-app", "__Secure-doorbook-app", "__Host-doorbook", "doorbook", "doorbook-app"];
    let mut thief = house.browser();
    thief.cookies = names.iter().map(|name| ((*name).to_owned(), value.clone())).collect();
    for path in ["/api/auth/user", "/api/user/profile", "/api/auth/sessions"] {
        assert_eq!(thief.fetch("GET", path).await.status, 401, "{path}");
    }
    assert_eq!(thief.navigate("/account").await.status, 401);
    let told = thief.navigate("/logout").await;
    assert!(told.status == 200 && told.body.contains("You are not signed in in this browser."), "{told}");
    assert_eq!(thief.fetch("DELETE", "/api/auth/sessions/x").await.status, 401);
    assert_eq!(thief.fetch("POST", "/api/auth/refresh").await.status, 401);
    assert_eq!(thief.fetch("POST", "/api/auth/revoke").await.status, 401);
    thief.cookies = names.iter().map(|name| ((*name).to_owned(), value.clone())).collect();
    for host in ["https://other.example.com/", "https://sub.wiki.example.net/"] {
        for told in both(&mut thief, "GET", host, FETCHES).await {
            assert_ne!(told.status, 200, "{host}: {told}");
        }
    }
    let told = thief.navigate("/auth/recheck?rd=https%3A%2F%2Fwiki.example.net%2F").await;
    let location = told.header("location").expect("to Discord");
    assert!(told.status == 302 && location.contains("/oauth2/authorize?"), "{told}");
    assert_eq!(
        nginx(&mut thief, "GET", &format!("{WIKI}/page"), FETCHES).await.status,
        200,
        "it is good there"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_cookie_opens_nothing_behind_a_proxy() {
    let house = house().await;
    let mut marisol = at_home(&house, MARISOL).await;
    assert_eq!(marisol.fetch("GET", "/api/auth/user").await.status, 200);
    let value = marisol.cookies.values().next().expect("one").clone();
    for name in ["__Host-doorbook", "__Host-doorbook-app", "__Secure-doorbook-app", "doorbook-app"] {
        marisol.cookies = BTreeMap::from([(name.to_owned(), value.clone())]);
        for told in both(&mut marisol, "GET", &format!("{WIKI}/page"), FETCHES).await {
            assert_eq!(told.status, 401, "{name}: {told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_app_cookies_exactly_one_live_session_counts() {
    let house = house().await;
    let (first, second) = (at_the_wiki(&house, MARISOL).await, at_the_wiki(&house, MARISOL).await);
    let value = |browser: &Browser| browser.cookies.values().next().expect("one").clone();
    let (first, second) = (value(&first), value(&second));
    let ask = async |values: &[&str]| {
        let line: Vec<String> = values.iter().map(|value| format!("__Host-doorbook-app={value}")).collect();
        let line = line.join("; ");
        nginx(&mut house.browser(), "GET", &format!("{WIKI}/page"), &[("Cookie", &line)]).await.status
    };
    assert_eq!(ask(&[&first]).await, 200);
    assert_eq!(ask(&["junk", &first, &first, ""]).await, 200);
    assert_eq!(ask(&["1", "2", "3", &first]).await, 200);
    assert_eq!(ask(&["1", "2", "3", "4", &first]).await, 401, "no more than four are tried");
    assert_eq!(ask(&[&first, &second]).await, 401, "nobody can say which");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_lives_while_an_app_is_used_and_is_forgotten_when_it_is_not() {
    let house = house().await;
    let mut marisol = at_the_wiki(&house, MARISOL).await;
    let id = house.doorbook().app.sessions()[0].id;
    for _ in 0..3 {
        house.clock.advance(Duration::from_secs(6 * 86_400));
        let now = house.clock.now();
        // What was noted is written down off the request path, one at a time; the next use notes it again.
        while house.doorbook().app.state().session(id).is_some_and(|session| session.seen_at < now) {
            assert_eq!(nginx(&mut marisol, "GET", &format!("{WIKI}/page"), FETCHES).await.status, 200);
        }
    }
    house.clock.advance(Duration::from_secs(9 * 86_400));
    assert_eq!(nginx(&mut marisol, "GET", &format!("{WIKI}/page"), FETCHES).await.status, 401);
}

/// authentik 2023 and its like: logged out at the login server, and the app still opens.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_over_opens_nothing_at_once() {
    let house = house().await;
    let mut visitor = Visitor::new(&house, Proxy::Nginx, MARISOL);
    let page = format!("{WIKI}/page");
    assert!(visitor.go(&page).await.is_app);
    let user = house.doorbook().app.sessions()[0].user;
    house.doorbook().grants().revoke(user, RevokedBy::User, &By::SYSTEM).await.expect("revoked");
    let (told, is_app) = visitor.by_proxy("GET", &page, FETCHES).await;
    assert!(told.status == 401 && !is_app, "{told}");
}
