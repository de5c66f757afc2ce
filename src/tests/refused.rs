//! Somebody may not sign in, or may not open something: what the page says, and where it leads.

use std::time::Duration;

use doorbook::discord::stand_in::Membership;
use doorbook::discord::stand_in::people::{DEMO_GUILD, DEMO_ROLE_MAKER};
use doorbook::domain::rules::Term;

use crate::guarded::{AUTH, Landed, Proxy, Visitor, at_home, rule, to};
use crate::harness::{Browser, Exchange, House, Plan, QUIETFOX};

const WIKI: &str = "https://wiki.example.net/page";
const RD: &str = "rd=https%3A%2F%2Fwiki.example.net%2Fpage";

/// Who may come in belongs to a group that says where one joins.
fn members() -> Plan {
    let file = format!(
        r#"
allow = "group:members"

[[group]]
name = "members"
any = [ {{ guild = "{DEMO_GUILD}" }} ]
title = "Members of our server"
help = "Ask in #helpdesk"
invite = "https://discord.gg/members"
"#
    );
    Plan { file, ..Plan::default() }
}

/// The same, before a wiki for those who have a role that no group names.
fn members_and_makers() -> Plan {
    let role = Term::Role { guild: DEMO_GUILD, role: DEMO_ROLE_MAKER };
    Plan { rules: vec![rule("wiki.example.net", "/", to(role))], origin: AUTH, ..members() }
}

#[track_caller]
fn says(told: &Exchange, status: u16, parts: &[&str]) {
    assert_eq!(told.status, status, "{told}");
    for part in parts {
        assert!(told.body.contains(part), "{part}: {told}");
    }
}

#[track_caller]
fn does_not_say(told: &Exchange, parts: &[&str]) {
    for part in parts {
        assert!(!told.body.contains(part), "{part}: {told}");
    }
}

async fn comes_back(house: &House, browser: &mut Browser) -> Exchange {
    let location = browser.begin("/api/auth/discord/login?rd=%2Faccount").await;
    let callback = browser.authorize(house.discord(), &location, QUIETFOX).await;
    browser.navigate(&callback).await
}

const ACCEPT: &str = "Accept the rules of the Discord server first, then try again.";

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_sign_in_is_told_as_whom_they_came_and_where_one_joins() {
    let house = House::with(members()).await;
    house.discord().leave(QUIETFOX, DEMO_GUILD);
    let mut browser = house.browser();
    let told = comes_back(&house, &mut browser).await;
    let parts = [
        "You came as",
        "@<bdi>quietfox</bdi>",
        "Members of our server",
        "Ask in #helpdesk",
        "href=\"https://discord.gg/members\"",
        "href=\"/api/auth/discord/login?rd=%2Faccount&amp;switch=1\">Use another account",
        "href=\"/api/auth/discord/login?rd=%2Faccount\">Try again",
        "403 sign_in_not_allowed",
    ];
    says(&told, 403, &parts);
    does_not_say(&told, &[ACCEPT]);

    let screened = Membership { pending: true, ..Membership::new(DEMO_GUILD, &[]) };
    assert!(house.discord().join(QUIETFOX, screened));
    let told = comes_back(&house, &mut browser).await;
    says(
        &told,
        403,
        &[ACCEPT, "class=\"button main\" href=\"/api/auth/discord/login?rd=%2Faccount\">Try again"],
    );

    assert!(house.discord().join(QUIETFOX, Membership::new(DEMO_GUILD, &[])));
    let told = comes_back(&house, &mut browser).await;
    assert_eq!((told.status, told.header("location")), (303, Some("/account")), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_left_the_server_is_told_where_one_joins_and_a_role_without_a_group_is_said_in_words() {
    for proxy in [Proxy::Nginx, Proxy::Forward] {
        let house = House::with(members_and_makers()).await;
        assert!(house.discord().join(QUIETFOX, Membership::new(DEMO_GUILD, &[])));
        let mut quietfox = Visitor::new(&house, proxy, QUIETFOX);
        let Landed { answer, .. } = quietfox.go(WIKI).await;
        let words =
            "It is for members of a Discord server with a certain role; ask the operator of this site.";
        says(&answer, 403, &["You may not open this", words]);

        house.discord().leave(QUIETFOX, DEMO_GUILD);
        house.clock.advance(Duration::from_secs(10));
        let parts =
            ["You may not open this", "quietfox", "Members of our server", "https://discord.gg/members"];
        says(&quietfox.go(&format!("{AUTH}/auth/recheck?{RD}")).await.answer, 403, &parts);
        says(&quietfox.go(&format!("{AUTH}/auth/refused?{RD}")).await.answer, 403, &parts);
        let Landed { answer, .. } = quietfox.go(WIKI).await;
        says(&answer, 403, &parts);
        does_not_say(&answer, &[words]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_a_refusal_says_so_when_it_is_open_by_now_and_leads_there() {
    let house = House::with(members_and_makers()).await;
    assert!(house.discord().join(QUIETFOX, Membership::new(DEMO_GUILD, &[])));
    let mut quietfox = Visitor::new(&house, Proxy::Nginx, QUIETFOX);
    let refused = quietfox.go(WIKI).await;
    assert_eq!(refused.url, format!("{AUTH}/auth/refused?{RD}"), "{refused:#?}");
    assert!(house.discord().join(QUIETFOX, Membership::new(DEMO_GUILD, &[DEMO_ROLE_MAKER])));
    house.clock.advance(Duration::from_secs(10));
    let landed = quietfox.go(&format!("{AUTH}/auth/recheck?{RD}")).await;
    assert!(landed.is_app && landed.url == WIKI, "{landed:#?}");

    let Landed { answer, .. } = quietfox.go(&refused.url).await;
    let way = format!("/auth/recheck?{RD}");
    says(&answer, 200, &["You may open this now", "quietfox", &format!("href=\"{way}\">Open it")]);
    does_not_say(&answer, &["do not let this account", "not_allowed", "Check again"]);
    let landed = quietfox.go(&format!("{AUTH}{way}")).await;
    assert!(landed.is_app && landed.url == WIKI, "{landed:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_known_is_no_refusal_and_what_nobody_may_says_so() {
    let house = House::with(members_and_makers()).await;
    assert!(house.discord().join(QUIETFOX, Membership::new(DEMO_GUILD, &[])));
    let mut browser = at_home(&house, QUIETFOX).await;
    // Longer than a fact counts without being confirmed.
    house.clock.advance(Duration::from_secs(3 * 3_600));
    let told = browser.navigate(&format!("/auth/refused?{RD}")).await;
    says(&told, 403, &["Discord has to be asked first", &format!("href=\"/auth/recheck?{RD}\">Check again")]);
    does_not_say(&told, &["do not let this account"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_asked_to_sign_in_and_not_to_be_somebody_else() {
    let house = House::with(members_and_makers()).await;
    let told = house.browser().navigate(&format!("/auth/refused?{RD}")).await;
    let way = format!("href=\"/api/auth/discord/login?{RD}\">Sign in with Discord");
    says(&told, 403, &["You are not signed in in this browser", &way]);
    does_not_say(&told, &["Use another account", "Check again", "Your account"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_is_said_and_nobody_signs_out_twice() {
    let house = House::open().await;
    let mut browser = house.signed_in(QUIETFOX).await;
    let told = browser.navigate("/logout?rd=%2Faccount").await;
    says(&told, 200, &["Sign out</button>", "href=\"/account\">Back"]);
    let told = browser.submit("/api/auth/logout").await;
    assert_eq!((told.status, told.header("location")), (303, Some("/?done=signed-out")), "{told}");
    let told = browser.navigate("/?done=signed-out").await;
    says(&told, 200, &["You are signed out.", "Sign in with Discord"]);
    let told = browser.navigate("/logout?rd=%2Faccount").await;
    says(&told, 200, &["You are not signed in", "href=\"/account\">Back"]);
    does_not_say(&told, &["<form", "Sign out</button>"]);
}
