//! What a client invents: where a request is for, and who sends it.

use serde_json::Value;

use super::doors::{TESS, heard, request, rules};
use super::street::{AUTH, Kind, Street};
use super::visitor::{FETCH, NAVIGATION};
use crate::harness::MARISOL;

/// Forged forwarded headers: GHSA-7x63-xv5r-3p2x, CVE-2026-40575, CVE-2026-35051.
pub async fn what_a_client_says_of_its_request_changes_nothing(kind: Kind) {
    let street = Street::open(kind, &rules()).await;
    let (mut nobody, mut tess) = (street.visitor(), street.signed_in(TESS).await);
    let public = "https://public.example.org/assets/x";
    let forged = [
        [("X-Forwarded-Uri", "/assets/x"), ("X-Forwarded-Host", "public.example.org")],
        [("X-Forwarded-Proto", "http"), ("X-Forwarded-Method", "OPTIONS")],
        [("X-Original-URL", public), ("X-Original-Method", "OPTIONS")],
        [("X-Original-URI", "/assets/x"), ("X-Rewrite-URL", "/assets/x")],
        [("X-Forwarded-Prefix", "/assets"), ("X-Forwarded-Port", "80")],
        [("Forwarded", "for=127.0.0.1;host=public.example.org"), ("X-Forwarded-For", "127.0.0.1")],
        [("X_Forwarded_Uri", "/assets/x"), ("X_Original_URL", public)],
        [("X-Forwarded-Uri", "/assets/x"), ("x-forwarded-uri", "/assets/y")],
        [("Connection", "close, X-Forwarded-Uri, X-Original-URL, Cookie"), ("X-Original-URL", public)],
    ];
    for headers in forged {
        let headers: Vec<_> = FETCH.into_iter().chain(headers).collect();
        let answer = nobody.send("GET", "https://app.example.org/admin", &headers, "").await;
        assert!(matches!(answer.status, 400 | 401), "{headers:?}: {answer}");
        let answer = tess.send("GET", "https://app.example.org/admin", &headers, "").await;
        assert!(matches!(answer.status, 400 | 401 | 403), "{headers:?}: {answer}");
    }
    assert!(street.app.got().is_empty());

    let headers: Vec<_> = FETCH.into_iter().chain(forged[0]).chain(forged[2]).collect();
    assert_eq!(tess.send("GET", "https://app.example.org/x", &headers, "").await.status, 200);
    let got = street.app.got();
    for name in ["x-forwarded-uri", "x-forwarded-method", "x-original-url", "x-original-method"] {
        assert_eq!(heard(&got[0], name), None, "the app may believe {name}");
    }
    assert_eq!(heard(&got[0], "x-forwarded-host"), Some("app.example.org"));
}

const NAMES: [&str; 6] =
    ["Remote-User", "Remote-Name", "Remote-Email", "Remote-Groups", "X-Discord-Id", "X-Discord-Roles"];

/// Forged identities, in every spelling: GHSA-7r4p-vjf4-gxv4, GHSA-f59h-q822-g45g, GHSA-5m6w-wvh7-57vm,
/// CVE-2025-64484.
pub async fn who_a_client_says_it_is_never_reaches_the_app(kind: Kind) {
    let street = Street::open(kind, &rules()).await;
    let mut spellings: Vec<String> = Vec::new();
    for name in NAMES {
        spellings.extend(["-", "_", "."].map(|mark| name.replace('-', mark)));
        spellings.extend(["_", "."].map(|mark| name.replacen('-', mark, 1)));
        spellings.extend([name.to_uppercase(), name.to_lowercase(), name.replace('-', "_").to_uppercase()]);
    }
    nothing_is_believed(&street, &spellings).await;
}

/// nginx drops such names by itself, until somebody tells it not to.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nginx; .ci/run installs it"]
async fn where_nginx_lets_underscores_pass_they_are_taken_out_all_the_same() {
    let street =
        Street::changed(Kind::Nginx, &rules(), |text| text.replace("underscores_in_headers off;", "")).await;
    let headers = [FETCH[0], FETCH[1], ("Some_Name", "passes")];
    street.visitor().send("GET", "https://public.example.org/", &headers, "").await;
    assert_eq!(heard(&street.app.got()[0], "some_name"), Some("passes"), "somebody has told it");
    nothing_is_believed(&street, &NAMES.map(|name| name.replace('-', "_"))).await;
}

async fn nothing_is_believed(street: &Street, spellings: &[String]) {
    let mut tess = street.signed_in(TESS).await;
    for spelling in spellings {
        let headers = [FETCH[0], FETCH[1], (spelling.as_str(), "evil")];
        for url in
            ["https://app.example.org/", "https://app.example.org/assets/x", "https://public.example.org/"]
        {
            assert_eq!(tess.send("GET", url, &headers, "").await.status, 200, "{spelling}");
            assert!(matches!(street.visitor().send("GET", url, &headers, "").await.status, 200 | 401));
        }
    }
    let got = street.app.got();
    assert_eq!(got.len(), 5 * spellings.len());
    let invented: Vec<&Value> = got.iter().filter(|got| got.to_string().contains("evil")).collect();
    assert!(invented.is_empty(), "{invented:#?}");
    assert!(got.iter().step_by(5).all(|got| heard(got, "remote-user") == Some(TESS.to_string().as_str())));
}

/// nginx chooses a site by the request line, and an app may read the header.
pub async fn two_hosts_in_one_request_are_judged_and_served_as_one(kind: Kind) {
    let street = Street::open(kind, &rules()).await;
    let visitor = street.visitor();
    for site in ["app.example.org", "public.example.org"] {
        for (line, host) in [
            ("https://app.example.org/x", "public.example.org"),
            ("http://app.example.org/x", "public.example.org"),
            ("https://public.example.org/x", "app.example.org"),
            ("//app.example.org/x", "public.example.org"),
            ("/x", "public.example.org"),
            ("/x", "app.example.org"),
            ("/x", "PUBLIC.example.org:443"),
            ("/x", "public.example.org."),
            ("/x", "public.example.org\r\nHost: app.example.org"),
            ("/x", "app.example.org\r\nHost: public.example.org"),
            ("/x", "app.example.org, public.example.org"),
            ("/x", "elsewhere.example.org"),
        ] {
            let text = format!("GET {line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            let answer = visitor.raw(site, &text).await;
            let got = street.app.got();
            assert_eq!(
                answer.body.contains("\"request\""),
                !got.is_empty(),
                "{site} {line} {host}: {answer}"
            );
            for got in got {
                let heard = heard(&got, "host").expect("a host").to_lowercase();
                let heard = heard.trim_end_matches(":443").trim_end_matches('.');
                assert_eq!(heard, "public.example.org", "{site} {line} {host}: nobody has signed in");
            }
        }
    }
}

/// The same path, to a guard and to an app: GHSA-7rh7-c77v-6434, GHSA-pxq7-h93f-9jrg.
pub async fn a_path_that_can_be_read_in_two_ways_opens_nothing(kind: Kind) {
    let street = Street::open(kind, &rules()).await;
    let (mut nobody, mut tess) = (street.visitor(), street.signed_in(TESS).await);
    for path in [
        "/admin",
        "/admin/",
        "/admin/x",
        "//admin",
        "/./admin",
        "/%61dmin",
        "/%2e/admin",
        "/%2fadmin",
        "/assets/../admin",
        "/assets/%2e%2e/admin",
        "/assets/.%2e/admin",
        "/assets%2f..%2fadmin",
        "/assets/..%2fadmin",
        "/assets/..%5cadmin",
        "/assets/..\\admin",
        "/assets/..;/admin",
        "/assets/%252e%252e/admin",
        "/assets//../admin",
        "/assets/../%61dmin",
        "/assets/..%00/admin",
        "/assets/%2e%2e%2fadmin",
        "/assets/x/../../admin",
        "/admin%2f",
        "/admin;/assets",
        "/admin%3b/assets",
        "/assets#/../admin",
        "/assets%23/../admin",
        "/assets/%c0%ae%c0%ae/admin",
        "/assets/../admin?x=/assets",
    ] {
        for visitor in [&mut nobody, &mut tess] {
            let answer = visitor.fetch(&format!("https://app.example.org{path}")).await;
            // Not for anybody but keepers, or not a request at all.
            let got = street.app.got();
            assert!(got.is_empty(), "{path} reached the app: {answer}\n{got:#?}");
            assert!(matches!(answer.status, 400 | 401 | 403), "{path}: {answer}");
        }
    }
    let mut marisol = street.signed_in(MARISOL).await;
    for path in ["/admin", "/admin/", "//admin", "/%61dmin", "/assets/../admin"] {
        let answer = marisol.fetch(&format!("https://app.example.org{path}")).await;
        assert_eq!(answer.status, 200, "a keeper may, whichever way it is read: {path}: {answer}");
    }
}

/// Rules over the raw address, query and all: GHSA-7rh7-c77v-6434.
pub async fn a_query_is_no_path(kind: Kind) {
    let street = Street::open(kind, &rules()).await;
    let mut visitor = street.visitor();
    for address in [
        "/admin?/assets/x",
        "/admin?x=/assets",
        "/admin/?/../assets/x",
        "/?/assets/x",
        "/x?https://public.example.org/",
        "/admin?x=1?/assets",
        "/admin?%2fassets",
        "?/assets/x",
    ] {
        let answer = visitor.fetch(&format!("https://app.example.org{address}")).await;
        assert!(matches!(answer.status, 400 | 401 | 403), "{address}: {answer}");
    }
    assert!(street.app.got().is_empty());
    assert_eq!(visitor.fetch("https://app.example.org/assets/x?/../admin").await.status, 200);
    assert_eq!(request(&street.app.got()[0]), "GET /assets/x?/../admin", "it is the app's business");
}

pub async fn no_cookie_of_doorbook_reaches_the_app(kind: Kind) {
    let street = Street::open(kind, &rules()).await;
    let mut marisol = street.signed_in(MARISOL).await;
    assert!(marisol.cookie("app.example.org", "__Secure-doorbook-app").is_some());
    let home = "https://app.example.org/";
    assert_eq!(marisol.fetch(home).await.status, 200);
    let cookie = |got: &[Value]| heard(&got[0], "cookie").unwrap_or_default().to_owned();
    assert_eq!(cookie(&street.app.got()), "");

    let value = marisol.cookie("app.example.org", "__Secure-doorbook-app").expect("a cookie").value.clone();
    let app = format!("__Secure-doorbook-app={value}");
    for (sent, passed) in [
        (format!("theme=dark; {app}; lang=en"), "theme=dark; lang=en"),
        (format!("{app}; theme=dark"), "theme=dark"),
        (format!("{app}; __Host-doorbook=s; doorbook=t; theme=dark"), "theme=dark"),
        (format!("a=1; __Host-doorbook-bind-x=1; {app};b=2; __Host-doorbook-ask=1; c=3"), "a=1;b=2; c=3"),
        (format!("a=doorbook=1; {app}; xdoorbook=2"), "a=doorbook=1; xdoorbook=2"),
        (format!("{app}; {app}; {app}; {app}; a=1"), "a=1"),
    ] {
        let headers = [FETCH[0], FETCH[1], ("Cookie", sent.as_str())];
        let answer = street.visitor().send("GET", home, &headers, "").await;
        assert_eq!(answer.status, 200, "{sent}: {answer}");
        assert_eq!(cookie(&street.app.got()), passed, "{sent}");
    }
    let scattered = format!("a=1; {app}; b=1; doorbook=1; c=1; doorbook=2; d=1; doorbook=3; e=1");
    let headers = [FETCH[0], FETCH[1], ("Cookie", scattered.as_str())];
    assert_eq!(street.visitor().send("GET", home, &headers, "").await.status, 200);
    assert!(!cookie(&street.app.got()).contains("doorbook"), "however many somebody puts there");
}

/// Nobody outside may ask what only a proxy asks, and a proxy is asked nothing in its own voice.
pub async fn only_a_proxy_may_ask_what_a_proxy_asks(kind: Kind) {
    let street = Street::open(kind, &rules()).await;
    let mut marisol = street.signed_in(MARISOL).await;
    let headers = [
        NAVIGATION[0],
        ("X-Original-URL", "https://app.example.org/"),
        ("X-Original-Method", "GET"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "app.example.org"),
        ("X-Forwarded-Uri", "/.doorbook/finish?begin&rd=https://app.example.org/"),
        ("X-Forwarded-Method", "GET"),
    ];
    for path in ["/auth/nginx", "/auth/forward", "/.doorbook/finish?begin", "/auth/%6eginx", "//auth/forward"]
    {
        let answer = marisol.send("GET", &format!("{AUTH}{path}"), &headers, "").await;
        assert_eq!(answer.status, 404, "{path}: {answer}");
    }
    let site = "https://app.example.org";
    let asked = marisol.send("GET", &format!("{site}/_auth"), &headers[..1], "").await;
    let status = if kind == Kind::Nginx { 404 } else { 200 };
    assert_eq!(asked.status, status, "within nginx alone, and elsewhere a page of the app: {asked}");
    street.app.got();
    let ticket = marisol.send("GET", &format!("{site}/.doorbook/finish?t=x"), &headers, "").await;
    assert_eq!(ticket.status, 400, "doorbook answers, and no such ticket: {ticket}");
    assert!(ticket.body.contains("Try again"), "{ticket}");
    assert!(street.app.got().is_empty());
}
