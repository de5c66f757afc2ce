//! A session gets to the host of an app that our cookies do not reach: once, there, and in that browser only.

use std::time::Duration;

use doorbook::app::By;
use doorbook::domain::command::Which;
use doorbook::domain::event::Cause;
use doorbook::domain::rules::{Grants, Rule, Term};

use crate::guarded::{FETCHES, Landed, NAVIGATES, Proxy, Visitor, forward, nginx, rule, to};
use crate::harness::{House, MARISOL, Plan, QUIETFOX};

const ORIGIN: &str = "https://auth.example.org";
const WIKI: &str = "https://wiki.example.net/page?x=1&y=%2F";

fn rules() -> Vec<Rule> {
    vec![
        rule("wiki.example.net", "/", to(Term::User(MARISOL))),
        rule("other.example.com", "/", to(Term::SignedIn)),
        rule("open.example.com", "/", Grants::Public),
    ]
}

async fn house() -> House {
    House::with(Plan { rules: rules(), origin: ORIGIN, ..Plan::default() }).await
}

#[track_caller]
fn is_app(landed: &Landed, url: &str) {
    assert!(landed.is_app && landed.url == url, "{landed:#?}");
    assert_eq!(landed.answer.header("remote-user"), Some("555769466601213960"), "{landed:#?}");
}

#[track_caller]
fn is_rejected(landed: &Landed) {
    assert_eq!(landed.answer.status, 400, "{landed:#?}");
    assert!(landed.answer.body.contains("400 ticket_rejected"), "{landed:#?}");
    assert!(
        landed.answer.body.contains("<a class=\"button main\" href=\"https://wiki.example.net/\">Try again"),
        "{landed:#?}"
    );
    assert!(!landed.answer.headers.iter().any(|(name, _)| name == "set-cookie"), "{landed:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_sign_in_leads_to_apps_on_other_root_domains() {
    for proxy in [Proxy::Nginx, Proxy::Forward] {
        let house = house().await;
        let mut marisol = Visitor::new(&house, proxy, MARISOL);
        is_app(&marisol.go(WIKI).await, WIKI);
        assert_eq!(
            marisol.went_through(),
            [
                "wiki.example.net/page x y",
                "auth.example.org/api/auth/discord/login rd",
                "discord",
                "auth.example.org/api/auth/discord/redirect code state",
                "wiki.example.net/.doorbook/finish begin rd",
                "auth.example.org/api/auth/discord/login rd bind",
                "wiki.example.net/.doorbook/finish t",
                "wiki.example.net/page x y",
            ]
        );
        assert_eq!(marisol.cookies_of("wiki.example.net"), ["__Host-doorbook-app"], "the binding is over");
        assert_eq!(marisol.cookies_of("auth.example.org"), ["__Host-doorbook"]);

        // The second host needs no Discord.
        is_app(&marisol.go("https://other.example.com/").await, "https://other.example.com/");
        assert!(!marisol.went_through().contains(&"discord".to_owned()), "{:?}", marisol.trail);
        assert_eq!(marisol.trail.len(), 6, "{:?}", marisol.trail);
        is_app(&marisol.go(WIKI).await, WIKI);
        assert_eq!(marisol.trail.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_has_ended_on_every_host() {
    let house = house().await;
    let mut marisol = Visitor::new(&house, Proxy::Forward, MARISOL);
    is_app(&marisol.go(WIKI).await, WIKI);
    let mut browser = house.browser();
    let account = marisol.jar.iter().find(|cookie| cookie.name == "__Host-doorbook").expect("signed in");
    browser.cookies.insert(account.name.clone(), account.value.clone());
    assert_eq!(browser.fetch("POST", "/api/auth/logout").await.status, 204);
    let (answer, is_app) = marisol.by_proxy("GET", WIKI, FETCHES).await;
    assert_eq!((answer.status, answer.code().as_str(), is_app), (401, "not_signed_in", false));
}

/// Goes as far as the ticket, and returns its address.
async fn ticket(visitor: &mut Visitor<'_>) -> String {
    let mut url = WIKI.to_owned();
    for _ in 0..20 {
        url = visitor.step(&url).await.1.expect("it goes on");
        if url.contains("/.doorbook/finish?t=") {
            return url;
        }
    }
    panic!("no ticket: {:?}", visitor.trail);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_good_once() {
    for proxy in [Proxy::Nginx, Proxy::Forward] {
        let house = house().await;
        let mut marisol = Visitor::new(&house, proxy, MARISOL);
        let url = ticket(&mut marisol).await;
        // The browser's jar as it was, the binding included: it is the ticket that is used up.
        let before = marisol.jar.clone();
        is_app(&marisol.go(&url).await, WIKI);
        marisol.jar = before;
        is_rejected(&marisol.go(&url).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_good_in_its_browser_only_and_whoever_tries_burns_it() {
    let house = house().await;
    let mut marisol = Visitor::new(&house, Proxy::Forward, MARISOL);
    let url = ticket(&mut marisol).await;
    let mut thief = Visitor::new(&house, Proxy::Forward, QUIETFOX);
    is_rejected(&thief.go(&url).await);
    is_rejected(&marisol.go(&url).await);
    // The thief has a binding of its own, which is another one.
    let url = ticket(&mut marisol).await;
    thief.go("https://wiki.example.net/").await;
    thief
        .step(&format!(
            "https://wiki.example.net/.doorbook/finish?begin&rd={}",
            "https%3A%2F%2Fwiki.example.net%2F"
        ))
        .await;
    is_rejected(&thief.go(&url).await);
    assert!(!thief.trail.iter().any(|url| url == WIKI), "where it led is told to nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_good_on_its_host_only() {
    let house = house().await;
    let mut marisol = Visitor::new(&house, Proxy::Forward, MARISOL);
    let url = ticket(&mut marisol).await;
    let elsewhere = url.replace("wiki.example.net", "other.example.com");
    assert_ne!(url, elsewhere);
    let landed = marisol.go(&elsewhere).await;
    assert_eq!(landed.answer.status, 400, "{landed:#?}");
    is_rejected(&marisol.go(&url).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_good_for_a_minute_and_as_long_as_its_session() {
    let house = house().await;
    let mut marisol = Visitor::new(&house, Proxy::Nginx, MARISOL);
    let url = ticket(&mut marisol).await;
    house.clock.advance(Duration::from_secs(60));
    is_rejected(&marisol.go(&url).await);

    let url = ticket(&mut marisol).await;
    let user = house.doorbook().app.sessions()[0].user;
    let app = &house.doorbook().app;
    app.end_sessions(user, Which::All, Cause::Logout, None, &By::SYSTEM).await.expect("ended");
    is_rejected(&marisol.go(&url).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_in_the_background_uses_a_ticket_up() {
    let house = house().await;
    let mut marisol = Visitor::new(&house, Proxy::Forward, MARISOL);
    let url = ticket(&mut marisol).await;
    for headers in [FETCHES, &[("Sec-Purpose", "prefetch"), ("Sec-Fetch-Mode", "navigate")]] {
        let (answer, _) = marisol.by_proxy("GET", &url, headers).await;
        assert_eq!(answer.status, 400, "{answer}");
    }
    for method in ["POST", "HEAD", "OPTIONS"] {
        let (answer, _) = marisol.by_proxy(method, &url, NAVIGATES).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET")), "{answer}");
    }
    is_app(&marisol.go(&url).await, WIKI);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_to_a_ticket_leads_to_its_own_host_only() {
    let house = house().await;
    let mut browser = house.browser();
    let begin = |rd: &str| format!("https://wiki.example.net/.doorbook/finish?begin&rd={rd}");
    for rd in [
        "https%3A%2F%2Fother.example.com%2F",
        "https%3A%2F%2Fevil.example%2F",
        "https%3A%2F%2Fauth.example.org%2F",
        "%2F",
        "%2Faccount",
        "%2F%2Fwiki.example.net%2F",
        "https%3A%2F%2Fwiki.example.net%2F.doorbook%2Ffinish",
        "https%3A%2F%2Fwiki.example.net%3A8443%2F",
        "http%3A%2F%2Fwiki.example.net%2F",
        "https%3A%2F%2Fwiki.example.net%2F&rd=x",
        "",
    ] {
        for told in [
            forward(&mut browser, "GET", &begin(rd), NAVIGATES).await,
            browser
                .send(
                    "GET",
                    "/.doorbook/finish",
                    &[("X-Original-URL", begin(rd).as_str()), ("X-Original-Method", "GET")],
                    "",
                )
                .await,
        ] {
            assert_eq!((told.status, told.header("location")), (400, None), "{rd}: {told}");
            assert!(told.body.contains("redirect_not_allowed"), "{rd}: {told}");
        }
    }
    assert!(browser.cookies.is_empty());
    for query in ["", "?", "?x", "?begin&t=x", "?t=x&t=y", "?t=x&begin&rd=y", "?begin&begin&rd=y"] {
        let url = format!("https://wiki.example.net/.doorbook/finish{query}");
        let told = forward(&mut browser, "GET", &url, NAVIGATES).await;
        assert!(told.status == 400 && told.body.contains("ticket_rejected"), "{query}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_tabs_have_a_binding_each_and_no_more_than_eight() {
    let house = house().await;
    let mut marisol = Visitor::new(&house, Proxy::Forward, MARISOL);
    let mut tickets = Vec::new();
    for _ in 0..10 {
        tickets.push(ticket(&mut marisol).await);
    }
    assert_eq!(marisol.cookies_of("wiki.example.net").len(), 8);
    for (n, url) in tickets.iter().enumerate() {
        let landed = marisol.go(url).await;
        assert_eq!(landed.is_app, n >= 2, "{n}: {landed:#?}");
    }
    assert_eq!(marisol.cookies_of("wiki.example.net"), ["__Host-doorbook-app"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_is_told_when_it_asks_about_what_it_must_pass_on() {
    let house = house().await;
    let mut browser = house.browser();
    let url = "https://wiki.example.net/.doorbook/finish?begin&rd=https%3A%2F%2Fwiki.example.net%2F";
    let told = nginx(&mut browser, "GET", url, NAVIGATES).await;
    assert_eq!((told.status, told.code().as_str()), (403, "bad_forwarded_request"), "{told}");
    // And what it passes on must be for that path.
    for (url, status) in
        [("https://wiki.example.net/", 400), ("https://wiki.example.net/x/../.doorbook/finish?t=x", 400)]
    {
        let headers = [("X-Original-URL", url), ("X-Original-Method", "GET")];
        let told = browser.send("GET", "/.doorbook/finish", &headers, "").await;
        assert_eq!((told.status, told.code().as_str()), (status, "bad_forwarded_request"), "{told}");
    }
    let told =
        browser.send("GET", "/.doorbook/finish?t=x", &[("X-Forwarded-Host", "wiki.example.net")], "").await;
    assert_eq!((told.status, told.code().as_str()), (400, "bad_forwarded_request"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_another_account_it_goes_by_discord_first() {
    let house = house().await;
    let mut somebody = Visitor::new(&house, Proxy::Forward, QUIETFOX);
    let landed = somebody.go(WIKI).await;
    assert_eq!((landed.answer.status, landed.is_app), (403, false), "{landed:#?}");
    let switch = "https://auth.example.org/api/auth/discord/login?rd=https%3A%2F%2Fwiki.example.net%2Fpage%3Fx%3D1%26y%3D%252F&amp;switch=1";
    assert!(landed.answer.body.contains(switch), "{landed:#?}");
    somebody.user = MARISOL;
    is_app(&somebody.go(&switch.replace("&amp;", "&")).await, WIKI);
    assert_eq!(house.doorbook().app.sessions().len(), 1, "the other account's session has been replaced");
}

/// vouch counts failures; here it is rounds in which a sign-in changed nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_drops_the_cookie_of_an_app_is_told_after_three_rounds() {
    for proxy in [Proxy::Nginx, Proxy::Forward] {
        let house = house().await;
        let mut marisol = Visitor::new(&house, proxy, MARISOL);
        // Without any cookie there the ticket itself is rejected; so the app's own are dropped later.
        is_app(&marisol.go(WIKI).await, WIKI);
        let mut rounds = 0;
        let landed = loop {
            marisol.jar.retain(|cookie| cookie.name != "__Host-doorbook-app");
            rounds += 1;
            let landed = marisol.go(WIKI).await;
            if !landed.is_app {
                break landed;
            }
            assert!(rounds < 5, "{:?}", marisol.trail);
        };
        assert_eq!((rounds, landed.answer.status), (3, 400), "{landed:#?}");
        assert!(landed.answer.body.contains("400 sign_in_loop"), "{landed:#?}");
        house.clock.advance(Duration::from_secs(60));
        is_app(&marisol.go(WIKI).await, WIKI);
    }
}
