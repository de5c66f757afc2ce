//! Who is let in, who is not, and how either is told.

use std::time::Duration;

use doorbook::discord::stand_in::Membership;
use doorbook::discord::stand_in::people::{DEMO_GUILD, DEMO_ROLE_KEEPER, DEMO_ROLE_MAKER};
use doorbook::discord::stand_in::requests::Route;
use doorbook::domain::id::DiscordId;
use serde_json::Value;

use super::street::{AUTH, Kind, Street};
use super::visitor::{FETCH, NAVIGATION, WEBSOCKET};
use crate::harness::MARISOL;
use crate::snapshot;

/// Somebody with one of the two roles.
pub const TESS: DiscordId = DiscordId(844_213_579_902_976_001);

/// Only keepers may open `/admin`, everybody may open `/assets`, and the rest is for whoever is signed in.
pub fn rules() -> String {
    format!(
        r#"
cookie_domain = "example.org"

[[group]]
name = "keepers"
any = [ {{ guild = "{DEMO_GUILD}", role = "{DEMO_ROLE_KEEPER}" }} ]
title = "The keepers"

[[rule]]
host = "app.example.org"
path = "/admin"
allow = [ {{ group = "keepers" }} ]

[[rule]]
host = "app.example.org"
path = "/assets"
public = true

[[rule]]
host = "app.example.org"
allow = [ {{ signed_in = true }} ]

[[rule]]
host = "public.example.org"
public = true

[[rule]]
host = "wiki.example.net"
allow = [ {{ signed_in = true }} ]

[[rule]]
host = "grafana.example.org"
allow = [ {{ signed_in = true }} ]

[[rule]]
host = "gitea.example.org"
allow = [ {{ signed_in = true }} ]

[[rule]]
host = "jellyfin.example.org"
allow = [ {{ signed_in = true }} ]
"#
    )
}

/// Returns the header as the app got it.
pub fn heard<'a>(got: &'a Value, name: &str) -> Option<&'a str> {
    let headers = got["headers"].as_array().expect("headers");
    let named = |header: &&Value| header[0].as_str().is_some_and(|known| known.eq_ignore_ascii_case(name));
    headers.iter().find(named).map(|header| header[1].as_str().expect("text"))
}

/// Returns what the app calls the request, such as `GET /x HTTP/1.1`.
pub fn request(got: &Value) -> &str {
    got["request"].as_str().expect("text").rsplit_once(' ').expect("a version").0
}

pub async fn somebody_who_may_reaches_the_app_and_it_is_told_who(kind: Kind) {
    let street = Street::open(kind, &rules()).await;
    let mut marisol = street.signed_in(MARISOL).await;
    let answer = marisol.open("https://app.example.org/admin/x?y=%20z").await;
    assert_eq!(answer.status, 200, "{answer}");
    assert!(answer.headers.iter().all(|(name, _)| name != "set-cookie"), "{answer}");
    let got = street.app.got();
    assert_eq!(got.len(), 1);
    let version =
        |line: String| if line.contains("HTTP/1.") { line.replace("HTTP/1.0", "HTTP/1.1") } else { line };
    let lines = got[0]["headers"].as_array().expect("headers").iter().map(|header| {
        format!("{}: {}", header[0].as_str().expect("a name"), header[1].as_str().expect("a value"))
    });
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    lines.insert(0, version(got[0]["request"].as_str().expect("text").to_owned()));
    snapshot!(format!("behind_{kind:?}_the_app_hears").to_lowercase(), lines.join("\n"));

    let opened = marisol.send("GET", "https://app.example.org/live", &WEBSOCKET, "").await;
    assert_eq!(opened.status, 101, "a socket: {opened}");
    let posted = marisol.send("POST", "https://app.example.org/form", &NAVIGATION, "a=b").await;
    assert_eq!(posted.status, 200, "{posted}");
    let got = street.app.got();
    assert_eq!((request(&got[1]), got[1]["body"].as_str()), ("POST /form", Some("a=b")));
}

pub async fn a_stranger_is_sent_to_sign_in_and_comes_back_to_the_page(kind: Kind) {
    let street = Street::open(kind, &rules()).await;
    let mut visitor = street.visitor();
    let page = "https://app.example.org/page/two?x=1&y=a%26b";
    let sent = visitor.open(page).await;
    let status = if kind == Kind::Nginx { 303 } else { 302 };
    assert_eq!(sent.status, status, "{sent}");
    assert_eq!(sent.header("cache-control"), Some("no-store"), "{sent}");
    let location = sent.header("location").expect("a location");
    assert!(
        location
            .starts_with(&format!("{AUTH}/api/auth/discord/login?rd=https%3A%2F%2Fapp.example.org%2Fpage"))
    );
    assert!(street.app.got().is_empty());

    let landed = street.follow(&mut visitor, location, MARISOL).await;
    assert_eq!(landed.status, 200, "{landed}");
    let got = street.app.got();
    assert_eq!(got.len(), 1);
    assert_eq!(request(&got[0]), "GET /page/two?x=1&y=a%26b");
    assert_eq!(heard(&got[0], "remote-user"), Some(MARISOL.to_string().as_str()));
}

pub async fn a_script_a_socket_and_a_form_are_told_and_not_sent_along(kind: Kind) {
    let street = Street::open(kind, &rules()).await;
    let mut visitor = street.visitor();
    let fetched = visitor.fetch("https://app.example.org/data").await;
    assert_eq!((fetched.status, fetched.header("location")), (401, None), "{fetched}");
    if kind == Kind::Caddy {
        assert_eq!(fetched.code(), "not_signed_in");
        let login = fetched.json()["login_url"].as_str().expect("a URL").to_owned();
        assert!(login.starts_with(&format!("{AUTH}/api/auth/discord/login?rd=")), "{login}");
    }
    let socket = visitor.send("GET", "https://app.example.org/live", &WEBSOCKET, "").await;
    assert_eq!((socket.status, socket.header("location")), (401, None), "{socket}");
    let script = visitor.send("POST", "https://app.example.org/data", &FETCH, "{}").await;
    assert_eq!((script.status, script.header("location")), (401, None), "{script}");
    let form = visitor.send("POST", "https://app.example.org/form", &NAVIGATION, "a=b").await;
    assert_eq!(form.status, 303, "never 307: that would send the form to Discord: {form}");
    assert!(street.app.got().is_empty(), "none of them reached the app");
}

pub async fn whoever_lacks_the_role_is_refused_and_told_so(kind: Kind) {
    let street = Street::open(kind, &rules()).await;
    let mut tess = street.signed_in(TESS).await;
    assert_eq!(tess.open("https://app.example.org/").await.status, 200);
    assert_eq!(street.app.got().len(), 1);

    let refused = street.follow(&mut tess, "https://app.example.org/admin", TESS).await;
    assert_eq!(refused.status, 403, "{refused}");
    for words in ["The keepers", "Tess", "Check again", "Use another account"] {
        assert!(refused.body.contains(words), "{words}: {refused}");
    }
    let fetched = tess.fetch("https://app.example.org/admin").await;
    assert_eq!((fetched.status, fetched.header("location")), (403, None), "{fetched}");
    assert!(street.app.got().is_empty(), "neither reached the app");
}

pub async fn a_role_that_is_lost_closes_the_door_within_minutes(kind: Kind) {
    let street = Street::open(kind, &rules()).await;
    let mut marisol = street.signed_in(MARISOL).await;
    let admin = "https://app.example.org/admin";
    assert_eq!(marisol.fetch(admin).await.status, 200);

    let discord = street.house.discord();
    assert!(discord.change_person(MARISOL, |person| {
        person.guilds = vec![Membership::new(DEMO_GUILD, &[DEMO_ROLE_MAKER])];
    }));
    assert_eq!(marisol.fetch(admin).await.status, 200, "what is known still counts");
    let asked = discord.count(Route::Member);
    street.house.clock.advance(Duration::from_secs(15 * 60 + 1));
    assert_eq!(marisol.fetch(admin).await.status, 200, "and is asked for again meanwhile");
    discord.wait_for(Route::Member, asked + 1).await;
    street.app.got();
    let closed = async {
        loop {
            let answer = marisol.fetch(admin).await;
            if answer.status != 200 {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    };
    let refused = tokio::time::timeout(Duration::from_secs(30), closed).await.expect("soon");
    assert_eq!(refused.status, 403, "{refused}");
    street.app.got();
    assert_eq!(marisol.fetch(admin).await.status, 403);
    assert!(street.app.got().is_empty());
    assert_eq!(marisol.fetch("https://app.example.org/").await.status, 200, "the rest is open as before");
}

pub async fn a_role_that_is_gained_opens_the_door_at_the_next_check(kind: Kind) {
    let street = Street::open(kind, &rules()).await;
    let mut tess = street.signed_in(TESS).await;
    let refused = street.follow(&mut tess, "https://app.example.org/admin?x", TESS).await;
    assert_eq!(refused.status, 403, "{refused}");
    let again = link(&refused.body, "Check again");
    let again = match kind {
        Kind::Nginx => format!("{AUTH}{again}"),
        // There the page stands on the app's host.
        Kind::Caddy => again,
    };
    assert!(again.starts_with(&format!("{AUTH}/auth/recheck?rd=")), "{again}");

    let still = street.follow(&mut tess, &again, TESS).await;
    assert_eq!(still.status, 403, "{still}");
    assert!(street.house.discord().change_person(TESS, |person| {
        person.guilds = vec![Membership::new(DEMO_GUILD, &[DEMO_ROLE_KEEPER])];
    }));
    street.house.clock.advance(Duration::from_secs(11));
    let landed = street.follow(&mut tess, &again, TESS).await;
    assert_eq!(landed.status, 200, "{landed}");
    let got = street.app.got();
    assert_eq!(got.len(), 1);
    assert_eq!(request(&got[0]), "GET /admin?x");
    assert_eq!(heard(&got[0], "remote-groups"), Some("keepers"));
}

/// Returns where the link with these words leads.
pub fn link(page: &str, words: &str) -> String {
    let at = page.find(&format!(">{words}<")).unwrap_or_else(|| panic!("no link {words:?} in {page}"));
    let tag = &page[page[..at].rfind('<').expect("a tag")..at];
    let href = tag.split_once("href=\"").and_then(|(_, rest)| rest.split_once('"')).expect("a link").0;
    href.replace("&amp;", "&")
}

pub async fn a_ticket_takes_a_session_to_another_root_domain(kind: Kind) {
    let street = Street::open(kind, &rules()).await;
    let mut visitor = street.visitor();
    let landed = street.follow(&mut visitor, "https://wiki.example.net/a?b=c", MARISOL).await;
    assert_eq!(landed.status, 200, "{landed}");
    let got = street.app.got();
    assert_eq!(got.len(), 1, "nothing of the ticket reached the app");
    assert_eq!(request(&got[0]), "GET /a?b=c");
    assert_eq!(heard(&got[0], "remote-user"), Some(MARISOL.to_string().as_str()));
    assert!(visitor.cookie("wiki.example.net", "__Host-doorbook-app").is_some());
    assert!(visitor.cookie("wiki.example.net", "__Host-doorbook").is_none(), "it opens no account");

    let mut thief = street.visitor();
    let stolen = visitor.cookie("wiki.example.net", "__Host-doorbook-app").expect("a cookie").value.clone();
    thief.put("app.example.org", "__Secure-doorbook-app", &stolen);
    thief.put("app.example.org", "__Host-doorbook-app", &stolen);
    assert_eq!(thief.fetch("https://app.example.org/").await.status, 401, "it is for its own host");
    thief.put("auth.example.org", "__Host-doorbook", &stolen);
    assert_eq!(thief.fetch(&format!("{AUTH}/api/auth/user")).await.status, 401);
}

pub async fn a_public_page_asks_nothing_and_the_app_hears_of_nobody(kind: Kind) {
    let street = Street::open(kind, &rules()).await;
    let mut visitor = street.visitor();
    for url in ["https://app.example.org/assets/a.css", "https://public.example.org/"] {
        assert_eq!(visitor.open(url).await.status, 200, "{url}");
        let got = street.app.got();
        assert_eq!(got.len(), 1);
        for name in
            ["remote-user", "remote-name", "remote-email", "remote-groups", "x-discord-id", "x-discord-roles"]
        {
            assert_eq!(heard(&got[0], name), None, "{url}: {name}");
        }
    }
    let mut marisol = street.signed_in(MARISOL).await;
    assert_eq!(marisol.open("https://app.example.org/assets/a.css").await.status, 200);
    assert_eq!(heard(&street.app.got()[0], "remote-user"), Some(MARISOL.to_string().as_str()));
}

pub async fn a_host_without_a_rule_is_closed_to_everybody(kind: Kind) {
    let street = Street::open(kind, &rules()).await;
    for visitor in [&mut street.visitor(), &mut street.signed_in(MARISOL).await] {
        let refused = visitor.open("https://nowhere.example.org/").await;
        assert_eq!((refused.status, refused.header("location")), (403, None), "{refused}");
    }
    assert!(street.app.got().is_empty());
}

pub async fn the_link_that_signs_out_closes_the_door(kind: Kind) {
    let street = Street::open(kind, &rules()).await;
    let mut marisol = street.signed_in(MARISOL).await;
    assert_eq!(marisol.open("https://app.example.org/").await.status, 200);
    // The very link that stands in the file.
    let page = marisol.open("https://auth.example.org/logout").await;
    assert_eq!(page.status, 200, "{page}");
    let action =
        page.body.split_once("action=\"").and_then(|(_, rest)| rest.split_once('"')).expect("a form").0;
    let headers = [NAVIGATION[0], NAVIGATION[1], ("Sec-Fetch-Site", "same-origin"), ("Origin", AUTH)];
    let url = format!("{AUTH}{}", action.replace("&amp;", "&"));
    let left = marisol.send("POST", &url, &headers, "").await;
    assert_eq!(left.status, 303, "{left}");
    street.app.got();
    assert_eq!(marisol.fetch("https://app.example.org/").await.status, 401);
    assert!(street.app.got().is_empty());
}

pub async fn an_app_with_an_example_hears_what_it_listens_to_and_nothing_more(kind: Kind) {
    let street = Street::open(kind, &rules()).await;
    let mut marisol = street.signed_in(MARISOL).await;
    let id = MARISOL.to_string();
    let mail = "marisol@example.test";
    let web = "x-webauth-";
    for (app, told) in [
        ("grafana", vec![("user", id.as_str()), ("name", "Marisol"), ("email", mail)]),
        ("gitea", vec![("user", id.as_str()), ("fullname", "Marisol"), ("email", mail)]),
        ("jellyfin", vec![]),
    ] {
        let url = format!("https://{app}.example.org/");
        let mut forged = vec![FETCH[0], FETCH[1], ("Remote-User", "evil"), ("X-Discord-Id", "evil")];
        let believed =
            ["X-WEBAUTH-USER", "X_WEBAUTH_ROLE", "X-WEBAUTH-ROLE", "X.WEBAUTH.EMAIL", "X-WEBAUTH-GROUPS"];
        if app != "jellyfin" {
            forged.extend(believed.map(|name| (name, "evil")));
        }
        assert_eq!(street.visitor().fetch(&url).await.status, 401, "{app}");
        assert_eq!(marisol.send("GET", &url, &forged, "").await.status, 200, "{app}");
        let got = street.app.got();
        assert_eq!(got.len(), 1, "{app}");
        let listened = |name: &&str| match app {
            "jellyfin" => name.starts_with("remote") || name.starts_with("x-discord"),
            _ => name.replace(['_', '.'], "-").starts_with(web),
        };
        let headers = got[0]["headers"].as_array().expect("headers").iter();
        let names: Vec<String> =
            headers.map(|header| header[0].as_str().expect("a name").to_lowercase()).collect();
        let mut heard_of: Vec<&str> = names.iter().map(String::as_str).filter(listened).collect();
        heard_of.sort_unstable();
        let mut expected: Vec<String> = told.iter().map(|(what, _)| format!("{web}{what}")).collect();
        expected.sort_unstable();
        assert_eq!(heard_of, expected, "{app}: {got:#?}");
        for (what, value) in told {
            assert_eq!(heard(&got[0], &format!("{web}{what}")), Some(value), "{app}");
        }
    }
}
