//! What Traefik sends, replayed byte for byte as its source writes it; Traefik itself is not run.
//!
//! The question is a GET without a body: the client's headers but those of the connection, then `X-Forwarded-*` set
//! anew. Go writes `Host` and `User-Agent` first, the others by name, and `Accept-Encoding` of its own last.

use std::collections::BTreeMap;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::doors::{TESS, rules};
use super::street::AUTH;
use super::visitor::{FETCH, NAVIGATION, read_answer};
use crate::harness::{Browser, Exchange, House, MARISOL, Plan};
use crate::snapshot;

async fn house() -> House {
    let mut house = House::closed(Plan { origin: AUTH, ..Plan::default() }).await;
    std::fs::write(house.dir.path().join("doorbook.toml"), rules()).expect("a file");
    house.start().await.expect("doorbook starts");
    house
}

/// A request of a client, as it reached Traefik.
struct Sent<'a> {
    method: &'a str,
    host: &'a str,
    uri: &'a str,
    headers: &'a [(&'a str, &'a str)],
}

impl Sent<'_> {
    /// Returns the question that Traefik asks about it.
    fn question(&self, cookies: &BTreeMap<String, String>) -> String {
        let mut headers: BTreeMap<&str, String> =
            self.headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        if !cookies.is_empty() {
            let all: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            headers.insert("Cookie", all.join("; "));
        }
        for (name, value) in [
            ("X-Forwarded-For", "203.0.113.7"),
            ("X-Forwarded-Host", self.host),
            ("X-Forwarded-Method", self.method),
            ("X-Forwarded-Port", "443"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Server", "gate"),
            ("X-Forwarded-Uri", self.uri),
            ("X-Real-Ip", "203.0.113.7"),
        ] {
            headers.insert(name, value.to_owned());
        }
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!(
            "GET /auth/forward HTTP/1.1\r\nHost: 127.0.0.1:3001\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; \
             rv:140.0) Gecko/20100101 Firefox/140.0\r\n{headers}Accept-Encoding: gzip\r\n\r\n"
        )
    }
}

/// Asks several questions over one connection, as Traefik does.
async fn ask(house: &House, browser: &Browser, all: &[Sent<'_>]) -> Vec<Exchange> {
    let mut stream = TcpStream::connect(house.doorbook().addresses[0]).await.expect("it listens");
    let mut answers = Vec::new();
    for sent in all {
        stream.write_all(sent.question(&browser.cookies).as_bytes()).await.expect("it goes on");
        answers.push(read_answer(&mut stream).await);
    }
    answers
}

/// A browser at doorbook's own site, whose cookies are for every host below its domain.
async fn signed_in(house: &House, user: doorbook::domain::id::DiscordId) -> Browser {
    let mut browser = house.browser();
    let begun = browser.begin("/api/auth/discord/login").await;
    let back = house.discord().authorize(&begun, user, true).await.expect("Discord answers").location;
    let landed = browser.navigate(back.strip_prefix(AUTH).expect("back to us")).await;
    assert_eq!(landed.status, 303, "{landed}");
    browser
}

const APP: &str = "app.example.org";

fn wiki(uri: &str) -> Sent<'_> {
    Sent { method: "GET", host: "wiki.example.net", uri, headers: &NAVIGATION }
}

#[tokio::test(flavor = "multi_thread")]
async fn traefik_hears_what_it_passes_on() {
    let house = house().await;
    let page = |uri| Sent { method: "GET", host: APP, uri, headers: &NAVIGATION };
    let nobody = house.browser();
    let post = |headers| Sent { method: "POST", host: APP, uri: "/form", headers };
    let socket = [
        ("Sec-Websocket-Key", "ZG9vcmJvb2s="),
        ("Sec-Websocket-Version", "13"),
        ("Sec-Fetch-Mode", "websocket"),
    ];
    let all = [
        page("/page?x=1&y=a%26b"),
        Sent { method: "GET", host: APP, uri: "/data", headers: &FETCH },
        Sent { method: "GET", host: APP, uri: "/live", headers: &socket },
        post(&NAVIGATION),
        post(&FETCH),
        page("/assets/a.css"),
        Sent { host: "nowhere.example.org", ..page("/") },
        page("/admin%00"),
    ];
    let mut text = String::new();
    for (sent, answer) in all.iter().zip(ask(&house, &nobody, &all).await) {
        text.push_str(&format!("{}{answer}\n\n", sent.question(&BTreeMap::new()).replace("\r\n", "\n")));
        assert!(
            !(300..400).contains(&answer.status)
                || answer.header("location").is_some_and(|to| to.starts_with(AUTH))
        );
    }
    snapshot!("traefik_and_a_stranger", text);

    let marisol = signed_in(&house, MARISOL).await;
    let [allowed]: [Exchange; 1] = ask(&house, &marisol, &[page("/admin")]).await.try_into().expect("one");
    assert_eq!((allowed.status, allowed.header("set-cookie")), (200, None), "{allowed}");
    snapshot!("traefik_and_somebody_who_may", allowed);
    let tess = signed_in(&house, TESS).await;
    let all = [page("/admin"), Sent { method: "GET", host: APP, uri: "/admin", headers: &FETCH }];
    let [page, script]: [Exchange; 2] = ask(&house, &tess, &all).await.try_into().expect("two");
    assert_eq!((page.status, page.header("location")), (403, None), "{page}");
    assert!(
        page.body.contains("Check again") && page.body.contains(&format!("href=\"{AUTH}/auth/recheck?rd=")),
        "{page}"
    );
    assert_eq!((script.status, script.code().as_str()), (403, "not_allowed"), "{script}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_passes_traefik_without_a_route_of_its_own() {
    let house = house().await;
    let mut marisol = signed_in(&house, MARISOL).await;
    let mut there = house.browser();
    let mut location = String::new();
    for answer in ask(&house, &there, &[wiki("/a?b=c")]).await {
        assert_eq!(answer.status, 302, "{answer}");
        location = answer.header("location").expect("a location").to_owned();
    }
    for _ in 0..6 {
        let (host, path) =
            location["https://".len()..].split_at(location["https://".len()..].find('/').expect("a path"));
        let answer = if host == "auth.example.org" {
            marisol.navigate(path).await
        } else {
            let answer = ask(&house, &there, &[wiki(path)]).await.remove(0);
            for (_, cookie) in answer.headers.iter().filter(|(name, _)| name == "set-cookie") {
                let (name, value) =
                    cookie.split(';').next().and_then(|pair| pair.split_once('=')).expect("a pair");
                there.cookies.insert(name.to_owned(), value.to_owned());
            }
            answer
        };
        if answer.status == 200 {
            assert_eq!(answer.header("remote-user"), Some(MARISOL.to_string().as_str()), "{answer}");
            assert!(there.cookies.contains_key("__Host-doorbook-app"));
            return;
        }
        location = answer.header("location").unwrap_or_else(|| panic!("a way on: {answer}")).to_owned();
    }
    panic!("it never arrives: {location}");
}
