//! A guard before any app: what the proxies are told, by whom they are asked, and what a browser gets to see.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use doorbook::app::By;
use doorbook::clock::Clock as _;
use doorbook::domain::event::RevokedBy;
use doorbook::domain::id::DiscordId;
use doorbook::domain::rules::{Grants, Rule, Term};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::guarded::{
    FETCHES, NAVIGATES, Proxy, Visitor, forward, forward_headers, nginx, nginx_headers, rule, to,
};
use crate::harness::{Browser, Exchange, House, MARISOL, Plan, QUIETFOX, raw};
use crate::snapshot;

const ORIGIN: &str = "https://auth.example.org";
const WIKI: &str = "https://wiki.example.net";

fn rules() -> Vec<Rule> {
    vec![
        rule("wiki.example.net", "/open", Grants::Public),
        Rule { methods: Some(vec!["GET".into()]), ..rule("wiki.example.net", "/read", Grants::Public) },
        Rule { allow_preflight: true, ..rule("wiki.example.net", "/api", to(Term::User(MARISOL))) },
        rule("wiki.example.net", "/guild", to(Term::Guild(QUIETFOX))),
        Rule {
            networks: Some(vec!["203.0.113.0/24".parse().expect("a network")]),
            ..rule("wiki.example.net", "/lan", Grants::Public)
        },
        rule("wiki.example.net", "/", to(Term::User(MARISOL))),
        rule("public.example.net", "/", Grants::Public),
    ]
}

async fn house() -> House {
    House::with(Plan { rules: rules(), origin: ORIGIN, ..Plan::default() }).await
}

/// The browser of somebody, as far as the wiki's proxy sees it.
async fn at_the_wiki(house: &House, user: DiscordId) -> Browser {
    let mut visitor = Visitor::new(house, Proxy::Forward, user);
    visitor.go(&format!("{WIKI}/")).await;
    let mut browser = house.browser();
    let cookies = visitor.jar.iter().filter(|cookie| cookie.name == "__Host-doorbook-app");
    browser.cookies = cookies.map(|cookie| (cookie.name.clone(), cookie.value.clone())).collect();
    assert_eq!(browser.cookies.len(), 1);
    browser
}

/// The browser of somebody, as far as we see it.
async fn at_home(house: &House, user: DiscordId) -> Browser {
    let mut visitor = Visitor::new(house, Proxy::Forward, user);
    visitor.go(&format!("{ORIGIN}/api/auth/discord/login")).await;
    let mut browser = house.browser();
    let cookies = visitor.jar.iter().filter(|cookie| cookie.name == "__Host-doorbook");
    browser.cookies = cookies.map(|cookie| (cookie.name.clone(), cookie.value.clone())).collect();
    assert_eq!(browser.cookies.len(), 1);
    browser
}

/// Both endpoints' answers to one question.
async fn both(browser: &mut Browser, method: &str, url: &str, client: &[(&str, &str)]) -> [Exchange; 2] {
    [nginx(browser, method, url, client).await, forward(browser, method, url, client).await]
}

const UPGRADES: &[(&str, &str)] = &[
    ("Accept", "*/*"),
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-Fetch-Mode", "websocket"),
];

/// Writes an exchange down; of a page only its `<main>`.
fn shown(what: &str, method: &str, url: &str, client: &[(&str, &str)], answer: &Exchange) -> String {
    let mut text = format!("=== {what}\n{method} {url}\n");
    for (name, value) in client {
        let _ = writeln!(text, "{name}: {value}");
    }
    let main = answer.body.find("<main").zip(answer.body.find("</main>"));
    let body = match main {
        Some((from, to)) => answer.body[from..to].to_owned() + "</main>\n",
        None if answer.body.is_empty() => String::new(),
        None => answer.body.clone() + "\n",
    };
    let _ = write!(text, "\n{}", Exchange { body, ..answer.clone() });
    text + "\n"
}

#[tokio::test(flavor = "multi_thread")]
async fn exchanges_of_both_endpoints() {
    let house = house().await;
    let (mut nobody, mut marisol, mut quietfox) =
        (house.browser(), at_the_wiki(&house, MARISOL).await, at_the_wiki(&house, QUIETFOX).await);
    let upgrades = UPGRADES;
    let preflight: &[(&str, &str)] =
        &[("Origin", "https://app.example"), ("Access-Control-Request-Method", "PUT"), ("Accept", "*/*")];
    let cases: &[(&str, &str, &str, &str, &[(&str, &str)])] = &[
        ("malformed", "nobody", "GET", "https://wiki.example.net/%00", FETCHES),
        ("no rule", "nobody", "GET", "https://elsewhere.example/", FETCHES),
        ("no rule, as a page", "nobody", "GET", "https://elsewhere.example/", NAVIGATES),
        ("no rule for the method", "marisol", "POST", "https://wiki.example.net/read", FETCHES),
        ("public", "nobody", "GET", "https://wiki.example.net/open", NAVIGATES),
        ("public, by somebody", "marisol", "GET", "https://wiki.example.net/open", NAVIGATES),
        ("public, by who may not", "quietfox", "GET", "https://wiki.example.net/open", NAVIGATES),
        ("asked beforehand", "nobody", "OPTIONS", "https://wiki.example.net/api", preflight),
        ("not signed in", "nobody", "GET", "https://wiki.example.net/page?x=1", NAVIGATES),
        ("not signed in, HEAD", "nobody", "HEAD", "https://wiki.example.net/page?x=1", NAVIGATES),
        ("not signed in, a form", "nobody", "POST", "https://wiki.example.net/page", NAVIGATES),
        ("not signed in, a script", "nobody", "GET", "https://wiki.example.net/page", FETCHES),
        ("not signed in, a web socket", "nobody", "GET", "wss://wiki.example.net/live", upgrades),
        ("unknown", "marisol", "GET", "https://wiki.example.net/guild", NAVIGATES),
        ("unknown, a script", "marisol", "GET", "https://wiki.example.net/guild", FETCHES),
        ("refused", "quietfox", "GET", "https://wiki.example.net/page", NAVIGATES),
        ("refused, a script", "quietfox", "GET", "https://wiki.example.net/page", FETCHES),
        ("allowed", "marisol", "GET", "https://wiki.example.net/page", NAVIGATES),
        ("allowed, a form", "marisol", "POST", "https://wiki.example.net/page", FETCHES),
    ];
    let (mut by_nginx, mut by_forward) = (String::new(), String::new());
    for (what, who, method, url, client) in cases {
        let browser = match *who {
            "marisol" => &mut marisol,
            "quietfox" => &mut quietfox,
            _ => &mut nobody,
        };
        let [nginx, forward] = both(browser, method, url, client).await;
        for told in [&nginx, &forward] {
            assert_eq!(told.header("cache-control"), Some("no-store"), "{what}: {told}");
            assert_eq!(told.header("set-cookie"), None, "{what}: {told}");
        }
        assert!(matches!(nginx.status, 200 | 401 | 403), "nginx makes 500 of it: {what}: {nginx}");
        assert!(!matches!(forward.status, 307 | 308), "{what}: {forward}");
        by_nginx += &shown(what, method, url, client, &nginx);
        by_forward += &shown(what, method, url, client, &forward);
    }
    snapshot!("forward_auth_nginx", by_nginx);
    snapshot!("forward_auth_forward", by_forward);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_trusted_proxy_is_answered() {
    let env = vec![("DOORBOOK_TRUSTED_PROXIES", "10.0.0.0/8".to_owned())];
    let house = House::with(Plan { rules: rules(), origin: ORIGIN, env, ..Plan::default() }).await;
    let mut nobody = house.browser();
    for told in both(&mut nobody, "GET", &format!("{WIKI}/open"), FETCHES).await {
        assert_eq!((told.status, told.code().as_str()), (403, "untrusted_proxy"), "{told}");
    }
    let ticket = format!("{WIKI}/.doorbook/finish?t=x");
    let told = nobody.send("GET", "/.doorbook/finish", &nginx_headers("GET", &ticket), "").await;
    assert_eq!((told.status, told.code().as_str()), (403, "untrusted_proxy"), "{told}");
    let told = forward(&mut nobody, "GET", &ticket, FETCHES).await;
    assert_eq!((told.status, told.code().as_str()), (403, "untrusted_proxy"), "{told}");
}

/// oauth2-proxy CVE-2026-40575; tinyauth falls back from one family to the other.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_adds_changes_nothing() {
    let house = house().await;
    let mut nobody = house.browser();
    let forged = [
        ("X-Forwarded-Prefix", "/open"),
        ("X-Forwarded-Port", "1"),
        ("X-Original-URI", "/open"),
        ("X-Rewrite-URL", "/open"),
        ("X-HTTP-Method-Override", "OPTIONS"),
        ("Remote-User", "555769466601213960"),
        ("Remote_User", "555769466601213960"),
        ("Remote.User", "555769466601213960"),
        ("X-Real-IP", "127.0.0.1"),
        ("Forwarded", "for=127.0.0.1;host=public.example.net"),
        ("User-Agent", "kube-probe/1.30"),
    ];
    let page = format!("{WIKI}/page");
    let beside_nginx =
        [&forged[..], &forward_headers("GET", "https://public.example.net/open")[..4]].concat();
    let told = nginx(&mut nobody, "GET", &page, &beside_nginx).await;
    assert_eq!(told.status, 401, "{told}");
    let beside_forward =
        [&forged[..], &nginx_headers("GET", "https://public.example.net/open")[..2]].concat();
    let told = forward(&mut nobody, "GET", &page, &beside_forward).await;
    assert_eq!(told.status, 401, "{told}");

    // A header of the family that a client slips in beside the proxy's own.
    for twice in nginx_headers("GET", "https://public.example.net/open").into_iter().take(2) {
        let told = nginx(&mut nobody, "GET", &page, &[twice]).await;
        assert_eq!((told.status, told.code().as_str()), (403, "bad_forwarded_request"), "{told}");
    }
    for twice in forward_headers("GET", "https://public.example.net/open").into_iter().take(4) {
        let told = forward(&mut nobody, "GET", &page, &[twice]).await;
        assert_eq!((told.status, told.code().as_str()), (400, "bad_forwarded_request"), "{told}");
    }

    // `Host` is whatever the proxy made of it.
    for (endpoint, headers) in
        [("/auth/nginx", nginx_headers("GET", &page)), ("/auth/forward", forward_headers("GET", &page))]
    {
        let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = format!(
            "GET {endpoint} HTTP/1.1\r\nHost: public.example.net\r\n{lines}Connection: close\r\n\r\n"
        );
        assert_eq!(raw(house.doorbook().addresses[0], &request).await.status, 401);
    }
}

/// DFA believed the first entry, which the client writes.
#[tokio::test(flavor = "multi_thread")]
async fn a_network_is_that_of_the_right_most_address_that_nobody_vouches_for() {
    let house = house().await;
    let mut nobody = house.browser();
    let url = format!("{WIKI}/lan");
    for (forwarded_for, status) in [
        (&["203.0.113.7"][..], 200),
        (&["203.0.113.7, 127.0.0.1"], 200),
        (&["::ffff:203.0.113.7"], 200),
        (&["203.0.113.7, 198.51.100.1"], 403),
        (&["203.0.113.7", "198.51.100.1"], 403),
        (&["203.0.113.7, unknown"], 403),
        (&["203.0.113.7, "], 403),
        (&[""], 403),
        (&[], 403),
    ] {
        for (path, own) in
            [("/auth/nginx", nginx_headers("GET", &url)), ("/auth/forward", forward_headers("GET", &url))]
        {
            let mut headers: Vec<(&str, &str)> = own;
            headers.retain(|(name, _)| *name != "X-Forwarded-For");
            headers.extend(forwarded_for.iter().map(|entry| ("X-Forwarded-For", *entry)));
            headers.extend([("X-Real-IP", "203.0.113.7"), ("Forwarded", "for=203.0.113.7")]);
            let told = nobody.send("GET", path, &headers, "").await;
            assert_eq!(told.status, status, "{forwarded_for:?} {told}");
        }
    }
}

/// nginx passes `Content-Length` on without a body; whoever waits for one hangs.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_not_waited_for_and_the_connection_ends() {
    let house = house().await;
    let address = house.doorbook().addresses[0];
    for (endpoint, url) in
        [("/auth/nginx", "/open"), ("/auth/forward", "/open"), ("/.doorbook/finish", "/.doorbook/finish")]
    {
        let url = format!("{WIKI}{url}");
        let own = match endpoint {
            "/auth/forward" => forward_headers("POST", &url),
            _ => nginx_headers("POST", &url),
        };
        let own: String = own.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        for framing in ["Content-Length: 5", "Content-Length: 999999999", "Transfer-Encoding: chunked"] {
            for method in ["GET", "POST", "PROPFIND"] {
                let request = format!("{method} {endpoint} HTTP/1.1\r\nHost: x\r\n{own}{framing}\r\n\r\n");
                // Nothing says that the connection is to end; and yet it does.
                let answer = raw(address, &request).await;
                assert_eq!(answer.header("connection"), Some("close"), "{method} {framing}: {answer}");
                assert!(matches!(answer.status, 200 | 405), "{method} {framing}: {answer}");
            }
        }
        // Without a body, or with one of no length, the next question comes on the same connection.
        let mut stream = TcpStream::connect(address).await.expect("connected");
        for framing in ["", "Content-Length: 0\r\n", ""] {
            let request = format!("GET {endpoint} HTTP/1.1\r\nHost: x\r\n{own}{framing}\r\n");
            stream.write_all(request.as_bytes()).await.expect("sent");
            let mut answer = Vec::new();
            while !answer.windows(4).any(|window| window == b"\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut answer).await.expect("an answer"), 0, "it was closed");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_method_asks_and_an_upgrade_is_answered_as_plain_http() {
    let house = house().await;
    let mut marisol = at_the_wiki(&house, MARISOL).await;
    let url = format!("{WIKI}/live");
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND"] {
        let own = [&nginx_headers(method, &url)[..], UPGRADES].concat();
        let told = marisol.send(method, "/auth/nginx", &own, "").await;
        assert_eq!((told.status, told.header("upgrade")), (200, None), "{method} {told}");
        let own = [&forward_headers(method, &url)[..], UPGRADES].concat();
        let told = marisol.send(method, "/auth/forward", &own, "").await;
        assert_eq!((told.status, told.header("upgrade")), (200, None), "{method} {told}");
    }
}

/// pomerium 1279, authentik 19860: a redirect breaks a web socket, and a script cannot follow it (oauth2-proxy 1522).
#[tokio::test(flavor = "multi_thread")]
async fn only_a_person_is_sent_away() {
    let house = house().await;
    let mut nobody = house.browser();
    let url = format!("{WIKI}/page");
    let without_upgrade = &UPGRADES[3..];
    let old: &[(&str, &str)] = &[("Accept", "text/html"), ("Sec-WebSocket-Key", "x")];
    let cases: &[(&str, &str, &[(&str, &str)], bool)] = &[
        ("GET", &url, NAVIGATES, true),
        ("POST", &url, NAVIGATES, true),
        ("GET", &url, &[("Accept", "text/html")], true),
        ("POST", &url, &[("Accept", "text/html")], true),
        ("DELETE", &url, &[("Accept", "text/html")], false),
        ("GET", &url, FETCHES, false),
        ("GET", &url, &[("Accept", "text/html"), ("Sec-Fetch-Mode", "no-cors")], false),
        ("GET", &url, &[("Accept", "text/html"), ("X-Requested-With", "XMLHttpRequest")], false),
        ("GET", &url, &[("Accept", "application/json, text/html")], false),
        ("GET", &url, UPGRADES, false),
        ("GET", &url, without_upgrade, false),
        ("GET", &url, old, false),
        ("GET", "wss://wiki.example.net/page", &[("Accept", "text/html")], false),
        ("GET", &url, &[], false),
    ];
    for (method, url, client, sent_away) in cases {
        let [nginx, forward] = both(&mut nobody, method, url, client).await;
        assert_eq!(
            (nginx.status, nginx.header("location").is_some()),
            (401, *sent_away),
            "{client:?} {nginx}"
        );
        assert!(nginx.header("www-authenticate").is_none(), "{nginx}");
        let expected = match (sent_away, *method) {
            (true, "GET") => 302,
            // caddy-discord and tinyauth answered 307, which sends the form to Discord.
            (true, _) => 303,
            (false, _) => 401,
        };
        assert_eq!(forward.status, expected, "{client:?} {forward}");
        if !sent_away {
            assert_eq!(forward.code(), "not_signed_in");
            let login = forward.json()["login_url"].as_str().expect("a URL").to_owned();
            assert_eq!(
                login,
                "https://auth.example.org/api/auth/discord/login?rd=https%3A%2F%2Fwiki.example.net%2Fpage"
            );
        }
    }
}

/// Whatever cannot be returned to, is not: the first page of that host is.
#[tokio::test(flavor = "multi_thread")]
async fn where_a_login_cannot_return_it_returns_to_the_first_page_there() {
    let house = house().await;
    let mut nobody = house.browser();
    let long = format!("{WIKI}/{}", "a".repeat(2_100));
    for (url, rd) in [
        ("https://wiki.example.net/a%20b?q=%2f", "https%3A%2F%2Fwiki.example.net%2Fa%2520b%3Fq%3D%252f"),
        ("https://wiki.example.net/x/../y", "https%3A%2F%2Fwiki.example.net%2Fy"),
        ("https://wiki.example.net//evil.example/", "https%3A%2F%2Fwiki.example.net%2F%2Fevil.example%2F"),
        ("https://wiki.example.net/a%2fb", "https%3A%2F%2Fwiki.example.net%2F"),
        ("https://wiki.example.net/a\\b", "https%3A%2F%2Fwiki.example.net%2F"),
        ("https://wiki.example.net/.doorbook/x", "https%3A%2F%2Fwiki.example.net%2F"),
        ("https://wiki.example.net:8443/x", "https%3A%2F%2Fwiki.example.net%2F"),
        ("http://wiki.example.net/x", "https%3A%2F%2Fwiki.example.net%2F"),
        (long.as_str(), "https%3A%2F%2Fwiki.example.net%2F"),
    ] {
        let told = forward(&mut nobody, "GET", url, NAVIGATES).await;
        let login = format!("https://auth.example.org/api/auth/discord/login?rd={rd}");
        assert_eq!((told.status, told.header("location")), (302, Some(login.as_str())), "{url}");
        let path = login.strip_prefix(ORIGIN).expect("ours");
        assert_eq!(nobody.navigate(path).await.status, 302, "{url}");
        nobody.cookies.clear();
    }
}

/// tinyauth 754, oauth2-proxy GHSA-7rh7-c77v-6434 (query), GHSA-pxq7-h93f-9jrg (`#`), and dots, slashes and escapes.
#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_and_no_query_walks_around_a_strict_path_beside_a_public_host() {
    let rules = vec![
        rule("wiki.example.net", "/admin", to(Term::User(MARISOL))),
        rule("wiki.example.net", "/", Grants::Public),
    ];
    let house = House::with(Plan { rules, origin: ORIGIN, ..Plan::default() }).await;
    let mut nobody = house.browser();
    let spellings = include_str!("../../fixtures/paths/admin.txt");
    assert!(spellings.lines().count() >= 40);
    for path in spellings.lines() {
        for method in ["GET", "HEAD", "POST", "OPTIONS", "PROPFIND", "get"] {
            for query in ["", "?", "?/open", "?x=/../open"] {
                let url = format!("{WIKI}{path}{query}");
                for told in both(&mut nobody, method, &url, FETCHES).await {
                    assert_eq!(told.status, 401, "{method} {url}: {told}");
                }
            }
        }
    }
    for path in ["/admin#", "/admin#/open", "/open#/admin", "/admin%00", "/admin%", "/admin?x#y"] {
        let [nginx, forward] = both(&mut nobody, "GET", &format!("{WIKI}{path}"), FETCHES).await;
        assert_eq!((nginx.status, forward.status), (403, 400), "{path}");
    }
    for path in ["/", "/administrator", "/x/admin", "/open?/admin", "/?x=/admin", "/?a;b"] {
        for told in both(&mut nobody, "GET", &format!("{WIKI}{path}"), FETCHES).await {
            assert_eq!(told.status, 200, "{path}: {told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_app_cookie_opens_neither_the_account_nor_another_host() {
    let rules = [rules(), vec![rule("other.example.com", "/", to(Term::SignedIn))]].concat();
    let house = House::with(Plan { rules, origin: ORIGIN, ..Plan::default() }).await;
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
    assert_eq!(thief.fetch("POST", "/api/auth/refresh").await.status, 401);
    assert_eq!(thief.fetch("POST", "/api/auth/revoke").await.status, 401);
    assert_ne!(thief.navigate("/admin").await.status, 200);
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
        assert_eq!(nginx(&mut marisol, "GET", &format!("{WIKI}/page"), FETCHES).await.status, 200);
        // What was noted is written down off the request path.
        let now = house.clock.now();
        house.until(|state| state.session(id).is_some_and(|session| session.seen_at >= now)).await;
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
