//! Somebody is signed in and may not open something: what they are told, and how they come in after all.

use std::collections::BTreeMap;
use std::time::Duration;

use doorbook::discord::stand_in::Membership;
use doorbook::discord::stand_in::faults::{Fault, FaultKind};
use doorbook::discord::stand_in::people::{DEMO_GUILD, DEMO_ROLE_MAKER};
use doorbook::discord::stand_in::requests::Route;
use doorbook::domain::rules::Term;

use crate::guarded::{AUTH, FETCHES, Landed, NAVIGATES, Proxy, Visitor, at_home, rule, to};
use crate::harness::{House, MARISOL, Plan, QUIETFOX};
use crate::snapshot;

const WIKI: &str = "https://wiki.example.net/page?x=1";
const RECHECK: &str = "/auth/recheck?rd=https%3A%2F%2Fwiki.example.net%2Fpage%3Fx%3D1";
const REFUSED: &str = "/auth/refused?rd=https%3A%2F%2Fwiki.example.net%2Fpage%3Fx%3D1";

/// A wiki for those who have the role, with words for those who do not.
fn plan() -> Plan {
    let file = format!(
        r#"
[[group]]
name = "makers"
any = [ {{ guild = "{DEMO_GUILD}", role = "{DEMO_ROLE_MAKER}" }} ]
title = "Makers"
help = "Ask in #helpdesk"
invite = "https://discord.gg/makers"
"#
    );
    let rules = vec![rule("wiki.example.net", "/", to(Term::Group("makers".into())))];
    Plan { file, rules, origin: AUTH, ..Plan::default() }
}

async fn house() -> House {
    House::with(plan()).await
}

impl House {
    fn gives_role(&self, roles: &[doorbook::domain::id::DiscordId]) {
        assert!(self.discord().join(QUIETFOX, Membership::new(DEMO_GUILD, roles)));
    }
}

#[track_caller]
fn is_refused(landed: &Landed, at: &str) {
    assert_eq!((landed.answer.status, landed.url.as_str()), (403, at), "{landed:#?}");
    for part in [
        "You may not open this",
        "quietfox",
        "Makers",
        "Ask in #helpdesk",
        "href=\"https://discord.gg/makers\"",
        "Check again",
        "Use another account",
        "403 not_allowed",
    ] {
        assert!(landed.answer.body.contains(part), "{part}: {landed:#?}");
    }
    let main = landed.answer.body.split_once("<main").expect("a page").1;
    assert!(!main.contains("<form"), "all of it is links");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_refused_is_told_who_they_are_here_and_whom_to_ask() {
    for (proxy, at) in [(Proxy::Nginx, format!("{AUTH}{REFUSED}")), (Proxy::Forward, WIKI.to_owned())] {
        let house = house().await;
        let mut quietfox = Visitor::new(&house, proxy, QUIETFOX);
        let landed = quietfox.go(WIKI).await;
        is_refused(&landed, &at);
        let (told, _) = quietfox.by_proxy("GET", WIKI, FETCHES).await;
        assert_eq!((told.status, told.code().as_str()), (403, "not_allowed"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_was_given_counts_after_check_again() {
    for proxy in [Proxy::Nginx, Proxy::Forward] {
        let house = house().await;
        let mut quietfox = Visitor::new(&house, proxy, QUIETFOX);
        assert_eq!(quietfox.go(WIKI).await.answer.status, 403);
        house.gives_role(&[DEMO_ROLE_MAKER]);
        house.clock.advance(Duration::from_secs(10));
        let landed = quietfox.go(&format!("{AUTH}{RECHECK}")).await;
        assert!(landed.is_app && landed.url == WIKI, "{landed:#?}");
        // Back as a login goes: by a ticket, so that the app cookie is this session's.
        let expected = [
            "auth.example.org/auth/recheck rd",
            "wiki.example.net/.doorbook/finish begin rd",
            "auth.example.org/api/auth/discord/login rd bind",
            "wiki.example.net/.doorbook/finish t",
            "wiki.example.net/page x",
        ];
        assert_eq!(quietfox.went_through(), expected);
        assert_eq!(landed.answer.header("remote-groups"), Some("makers"));
        let roles = format!("{DEMO_GUILD}/{DEMO_ROLE_MAKER}");
        assert_eq!(landed.answer.header("x-discord-roles"), Some(roles.as_str()));
        assert_eq!(house.discord().count(Route::Member), 2, "once at the sign-in, and once again");
        assert!(quietfox.go(&format!("{AUTH}{RECHECK}")).await.is_app);
        assert_eq!(house.discord().count(Route::Member), 2, "not within ten seconds");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn checking_again_says_so_where_nothing_has_changed_and_asks_discord_every_ten_seconds() {
    let house = house().await;
    let mut quietfox = Visitor::new(&house, Proxy::Forward, QUIETFOX);
    quietfox.go(WIKI).await;
    let asked = house.discord().count(Route::Member);
    let recheck = format!("{AUTH}{RECHECK}");
    let long_ago = "Discord was asked 4 seconds ago; it can be asked again in 6 seconds.";
    // The sign-in asked a moment ago, and from ten seconds later on somebody who waits may have it asked again.
    for (wait, times, said) in [
        (4, asked, long_ago),
        (6, asked + 1, "Discord was asked just now."),
        (0, asked + 1, "Discord was asked just now."),
        (4, asked + 1, long_ago),
    ] {
        house.clock.advance(Duration::from_secs(wait));
        let landed = quietfox.go(&recheck).await;
        is_refused(&landed, &recheck);
        assert!(landed.answer.body.contains(said), "{said}: {landed:#?}");
        assert_eq!(house.discord().count(Route::Member), times);
    }
    let Landed { answer, .. } = quietfox.go(&format!("{AUTH}{REFUSED}")).await;
    assert!(!answer.body.contains("Discord was asked"), "{answer}");
    house.clock.advance(Duration::from_secs(10));
    // Not a passing trouble, so it is not asked again.
    let unreadable = FaultKind::Answer { status: 200, headers: BTreeMap::new(), body: "{".into() };
    house.discord().add_fault(Fault::new(Route::Member, unreadable));
    let landed = quietfox.go(&recheck).await;
    is_refused(&landed, &recheck);
    assert!(landed.answer.body.contains("Discord does not answer at the moment"), "{landed:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fact_that_is_missing_sends_a_person_to_have_it_asked_and_says_so_while_it_cannot_be() {
    let mut house = house().await;
    house.gives_role(&[DEMO_ROLE_MAKER]);
    let mut quietfox = Visitor::new(&house, Proxy::Forward, QUIETFOX);
    assert!(quietfox.go(WIKI).await.is_app);
    let jar = quietfox.jar.clone();
    // Longer than a fact counts without being confirmed.
    house.discord_goes_down().await;
    house.clock.advance(Duration::from_secs(3 * 3_600));
    let mut quietfox = Visitor::new(&house, Proxy::Forward, QUIETFOX);
    quietfox.jar = jar.clone();
    let (told, _) = quietfox.by_proxy("GET", WIKI, FETCHES).await;
    let recheck = format!("{AUTH}{RECHECK}");
    assert_eq!((told.status, told.code().as_str()), (401, "membership_unknown"), "{told}");
    assert_eq!(told.json()["login_url"].as_str(), Some(recheck.as_str()));
    let landed = house.as_time_passes(Duration::from_millis(500), quietfox.go(WIKI)).await;
    assert_eq!((landed.answer.status, landed.url.as_str()), (502, recheck.as_str()), "{landed:#?}");
    assert!(landed.answer.body.contains("502 discord_unavailable"), "{landed:#?}");
    assert!(
        landed.answer.body.contains(&format!("href=\"{}\">Try again", RECHECK.replace('&', "&amp;"))),
        "{landed:#?}"
    );

    house.discord_comes_up().await;
    house.gives_role(&[DEMO_ROLE_MAKER]);
    house.clock.advance(Duration::from_secs(60));
    let mut quietfox = Visitor::new(&house, Proxy::Forward, QUIETFOX);
    quietfox.jar = jar;
    let landed = house.as_time_passes(Duration::from_millis(500), quietfox.go(WIKI)).await;
    assert!(landed.is_app, "{landed:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_session_here_checking_again_is_signing_in() {
    let house = house().await;
    house.gives_role(&[DEMO_ROLE_MAKER]);
    let mut quietfox = Visitor::new(&house, Proxy::Nginx, QUIETFOX);
    let landed = quietfox.go(&format!("{AUTH}{RECHECK}")).await;
    assert!(landed.is_app && landed.url == WIKI, "{landed:#?}");
    assert_eq!(quietfox.went_through()[1], "discord");
    let mut browser = house.browser();
    let told = browser.navigate(REFUSED).await;
    assert!(told.status == 403 && told.body.contains("You are not signed in in this browser"), "{told}");
    assert!(browser.cookies.is_empty(), "it changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_signed_in_before_a_guild_was_asked_about_is_sent_through_discord_once_more() {
    let mut house = House::with(Plan { origin: AUTH, ..Plan::default() }).await;
    let mut quietfox = Visitor::new(&house, Proxy::Forward, QUIETFOX);
    quietfox.go(&format!("{AUTH}/api/auth/discord/login")).await;
    let jar = quietfox.jar.clone();
    house.stop().await;
    *house.plan() = plan();
    house.start().await.expect("doorbook starts again");
    house.gives_role(&[DEMO_ROLE_MAKER]);
    let mut quietfox = Visitor::new(&house, Proxy::Forward, QUIETFOX);
    quietfox.jar = jar;
    let landed = quietfox.go(WIKI).await;
    assert!(landed.is_app, "{landed:#?}");
    let trail = quietfox.went_through();
    assert!(trail.contains(&"auth.example.org/auth/recheck rd".to_owned()), "{trail:#?}");
    assert_eq!(trail.iter().filter(|step| *step == "discord").count(), 1, "{trail:#?}");
    let asked = house.discord().count(Route::Member);
    assert_eq!(asked, 1, "the old token is not tried for what it does not cover");
}

#[tokio::test(flavor = "multi_thread")]
async fn so_is_whoever_signed_in_before_an_address_was_asked_about() {
    let env = vec![("DISCORD_SCOPES", "identify".to_owned())];
    let mut house = House::with(Plan { env, origin: AUTH, ..Plan::default() }).await;
    let mut marisol = Visitor::new(&house, Proxy::Nginx, MARISOL);
    marisol.go(&format!("{AUTH}/api/auth/discord/login")).await;
    let jar = marisol.jar.clone();
    house.stop().await;
    house.plan().rules = vec![rule("wiki.example.net", "/", to(Term::EmailDomain("example.test".into())))];
    house.start().await.expect("doorbook starts again");
    let mut marisol = Visitor::new(&house, Proxy::Nginx, MARISOL);
    marisol.jar = jar;
    let landed = marisol.go(WIKI).await;
    assert!(landed.is_app, "{landed:#?}");
    let trail = marisol.went_through();
    assert_eq!(trail.iter().filter(|step| *step == "discord").count(), 1, "{trail:#?}");
    assert_eq!(landed.answer.header("remote-email"), Some("marisol@example.test"));
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_page_leads_astray_and_nothing_in_the_background_asks_discord() {
    let house = house().await;
    let mut browser = at_home(&house, QUIETFOX).await;
    for rd in [
        "https%3A%2F%2Fevil.example%2F",
        "%2F%2Fevil.example%2F",
        "https%3A%2F%2Fwiki.example.net%40evil.example%2F",
        "https%3A%2F%2Fwiki.example.net.evil.example%2F",
        "http%3A%2F%2Fwiki.example.net%2F",
        "%2Fauth%2Frecheck",
        "%2Fapi%2Fauth%2Fdiscord%2Flogin",
        "javascript%3Aalert(1)",
        "https%3A%2F%2Fwiki.example.net%2F&rd=%2F",
        "%2F&next=%2F",
    ] {
        for path in ["/auth/recheck", "/auth/refused"] {
            let told = browser.navigate(&format!("{path}?rd={rd}")).await;
            assert!(told.status == 400 && told.body.contains("redirect_not_allowed"), "{path} {rd}: {told}");
        }
    }
    house.clock.advance(Duration::from_secs(10));
    let asked = house.discord().count(Route::Member);
    for headers in [FETCHES, &[("Sec-Fetch-Mode", "navigate"), ("Sec-Purpose", "prefetch")]] {
        let told = browser.send("GET", RECHECK, headers, "").await;
        assert!(told.status == 400 && told.body.contains("not_a_navigation"), "{told}");
    }
    for method in ["HEAD", "POST"] {
        assert_eq!(browser.send(method, RECHECK, NAVIGATES, "").await.status, 405, "{method}");
    }
    assert_eq!(house.discord().count(Route::Member), asked);
    let told = browser.send("GET", REFUSED, FETCHES, "").await;
    assert_eq!((told.status, told.code().as_str()), (403, "not_allowed"), "{told}");
    // Where nobody guards, there is nothing to ask.
    assert_eq!(browser.navigate("/auth/recheck?rd=%2Faccount").await.header("location"), Some("/account"));
    assert_eq!(browser.navigate("/auth/recheck").await.header("location"), Some("/"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_document_says_what_the_rules_ask_about() {
    let file = format!("admins = \"group:makers\"\n{}", plan().file);
    let house = House::with(Plan { file, ..plan() }).await;
    let mut membership = Membership::new(DEMO_GUILD, &[DEMO_ROLE_MAKER]);
    membership.nick = Some("the fox".into());
    assert!(house.discord().join(QUIETFOX, membership));
    let mut quietfox = at_home(&house, QUIETFOX).await;
    let told = quietfox.fetch("GET", "/api/auth/user").await;
    snapshot!("user_document_of_a_member", serde_json::to_string_pretty(&told.json()).expect("JSON"));
    let user = told.json();
    assert_eq!((&user["admin"], &user["groups"][0]), (&true.into(), &"makers".into()));
    assert_eq!(user["memberships"][0]["stale"], false);

    let mut marisol = at_home(&house, MARISOL).await;
    house.discord().leave(MARISOL, DEMO_GUILD);
    house.clock.advance(Duration::from_secs(10));
    marisol.navigate(RECHECK).await;
    let user = marisol.fetch("GET", "/api/auth/user").await.json();
    assert_eq!(
        (&user["admin"], &user["groups"], &user["memberships"]),
        (&false.into(), &serde_json::json!([]), &serde_json::json!([]))
    );
}
