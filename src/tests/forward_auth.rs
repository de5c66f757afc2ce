//! A guard before any app: what the proxies are told, by whom they are asked, and what a browser gets to see.

use std::fmt::Write as _;

use doorbook::app::By;
use doorbook::discord::stand_in::people::DEMO_GUILD;
use doorbook::domain::id::DiscordId;
use doorbook::domain::rules::Term;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::guarded::{
    AUTH, Client, FETCHES, NAVIGATES, RULES, WIKI, at_the_wiki, both, forward, forward_headers, house, nginx,
    nginx_headers, rule, to,
};
use crate::harness::{Exchange, House, MARISOL, Plan, QUIETFOX, raw};
use crate::snapshot;

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
    // A rule that came after they had signed in: nobody has asked Discord for that yet.
    let app = &house.doorbook().app;
    let mut rules = (*app.rules()).clone();
    rules.rules.insert(0, rule("wiki.example.net", "/guild", to(Term::Guild(DEMO_GUILD))));
    app.change_rules(rules, &By::SYSTEM).await.expect("changed");
    let upgrades = UPGRADES;
    let preflight: &[(&str, &str)] =
        &[("Origin", "https://app.example"), ("Access-Control-Request-Method", "PUT"), ("Accept", "*/*")];
    let cases: &[(&str, &str, &str, &str, Client<'_>)] = &[
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
    let house = House::with(Plan { file: RULES.into(), origin: AUTH, env, ..Plan::default() }).await;
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

/// oauth2-proxy CVE-2026-40575, and GHSA-5hvv-m4w4-gf6v (an agent that looks like a health check); tinyauth falls back
/// from one family to the other.
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

/// oauth2-proxy 3427: a browser asks beforehand without cookies. Only where a rule says so, and only such a question.
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_may_ask_beforehand_where_a_rule_says_so() {
    let house = house().await;
    let mut nobody = house.browser();
    let origin = ("Origin", "https://app.example");
    let asks = ("Access-Control-Request-Method", "PUT");
    for (method, path, client, status) in [
        ("OPTIONS", "/api/x", &[origin, asks][..], 200),
        ("OPTIONS", "/api/x", &[origin], 401),
        ("OPTIONS", "/api/x", &[asks], 401),
        ("OPTIONS", "/api/x", &[], 401),
        ("GET", "/api/x", &[origin, asks], 401),
        ("options", "/api/x", &[origin, asks], 401),
        ("OPTIONS", "/page", &[origin, asks], 401),
        // It could be `/read`, too, which is for GET alone.
        ("OPTIONS", "/api/../page", &[origin, asks], 403),
    ] {
        for told in both(&mut nobody, method, &format!("{WIKI}{path}"), client).await {
            assert_eq!(told.status, status, "{method} {path} {client:?}: {told}");
        }
    }
}

/// Caddy passes on what the client sent where a header is missing (GHSA-7r4p-vjf4-gxv4), and 2.6 sends a placeholder.
#[tokio::test(flavor = "multi_thread")]
async fn every_header_is_there_and_none_is_empty() {
    let house = house().await;
    let mut quietfox = at_the_wiki(&house, QUIETFOX).await;
    let names =
        ["remote-user", "remote-name", "remote-email", "remote-groups", "x-discord-id", "x-discord-roles"];
    let url = format!("{WIKI}/open");
    for told in [
        nginx(&mut quietfox, "GET", &url, FETCHES).await,
        forward(&mut quietfox, "GET", &url, FETCHES).await,
        forward(&mut house.browser(), "GET", &url, FETCHES).await,
    ] {
        for name in names {
            let value = told.header(name).unwrap_or_else(|| panic!("{name} is missing: {told}"));
            assert!(!value.is_empty() && value.bytes().all(|b| (b' '..0x7f).contains(&b)), "{told}");
        }
    }
    let told = nginx(&mut house.browser(), "GET", &url, FETCHES).await;
    assert!(names.iter().all(|name| told.header(name).is_none()), "nginx removes what is not there: {told}");
}

/// A public page may be an app's own, which believes what it is told.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_named_who_may_not_sign_in_any_more_not_even_on_a_public_page() {
    let mut house = house().await;
    let cookies = at_the_wiki(&house, MARISOL).await.cookies;
    let url = format!("{WIKI}/open");
    for (allow, known) in [(MARISOL, Some("555769466601213960")), (DiscordId(1), None)] {
        house.plan().env.push(("DOORBOOK_ALLOW", format!("user:{allow}")));
        house.restart().await;
        let mut browser = house.browser();
        browser.cookies = cookies.clone();
        let [nginx, forward] = both(&mut browser, "GET", &url, FETCHES).await;
        assert_eq!((nginx.status, forward.status), (200, 200));
        assert_eq!(nginx.header("remote-user"), known);
        assert_eq!(forward.header("remote-user"), known.or(Some("-")));
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
/// nginx would make 500 of one (tinyauth 754), and after vouch 499 a form is not sent on to where it was never meant for.
#[tokio::test(flavor = "multi_thread")]
async fn only_a_person_is_sent_away() {
    let house = house().await;
    let mut nobody = house.browser();
    let url = format!("{WIKI}/page");
    let without_upgrade = &UPGRADES[3..];
    let old: &[(&str, &str)] = &[("Accept", "text/html"), ("Sec-WebSocket-Key", "x")];
    let cases: &[(&str, &str, Client<'_>, bool)] = &[
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
        let path = login.strip_prefix(AUTH).expect("ours");
        assert_eq!(nobody.navigate(path).await.status, 302, "{url}");
        nobody.cookies.clear();
    }
}

/// tinyauth 754, oauth2-proxy GHSA-7rh7-c77v-6434 (query), GHSA-pxq7-h93f-9jrg (`#`), and dots, slashes and escapes.
#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_and_no_query_walks_around_a_strict_path_beside_a_public_host() {
    let file = r#"
        [[rule]]
        host = "wiki.example.net"
        path = "/admin"
        allow = [ { user = "555769466601213960" } ]

        [[rule]]
        host = "wiki.example.net"
        public = true
    "#;
    let house = House::with(Plan { file: file.into(), origin: AUTH, ..Plan::default() }).await;
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
