//! A browser that goes to apps behind a proxy: cookies by host and domain, redirects, and Discord in between.
//!
//! The proxy is played here, as nginx or as Traefik and Caddy do; the app behind it answers with what it was told.

use std::collections::BTreeMap;

use doorbook::domain::host::HostPattern;
use doorbook::domain::id::DiscordId;
use doorbook::domain::path::RulePath;
use doorbook::domain::rules::{Grants, Rule, Term};
use url::Url;

use crate::harness::{Browser, DISCORD, Exchange, House, Plan};

/// A rule without conditions.
pub fn rule(host: &str, path: &str, grant: Grants) -> Rule {
    Rule {
        host: HostPattern::parse(host).expect("a host"),
        path: RulePath::parse(path).expect("a path"),
        grant,
        methods: None,
        networks: None,
        allow_preflight: false,
    }
}

/// A grant to whoever one term holds for.
pub fn to(term: Term) -> Grants {
    Grants::To { allow: vec![term], deny: vec![] }
}

/// doorbook before guarded apps.
pub const AUTH: &str = "https://auth.example.org";
/// An app on another root domain.
pub const WIKI: &str = "https://wiki.example.net";

/// Rules for the wiki, a word for each way in.
pub const RULES: &str = r#"
[[rule]]
host = "wiki.example.net"
path = "/open"
public = true

[[rule]]
host = "wiki.example.net"
path = "/read"
public = true
methods = ["GET"]

[[rule]]
host = "wiki.example.net"
path = "/api"
allow = [ { user = "555769466601213960" } ]
allow_preflight = true

[[rule]]
host = "wiki.example.net"
path = "/lan"
public = true
networks = ["203.0.113.0/24"]

[[rule]]
host = "wiki.example.net"
allow = [ { user = "555769466601213960" } ]

[[rule]]
host = "public.example.net"
public = true
"#;

/// A house that guards a wiki for Marisol.
pub async fn house() -> House {
    House::with(Plan { file: RULES.into(), origin: AUTH, ..Plan::default() }).await
}

/// Where the apps' proxy says its clients come from.
pub const CLIENT: &str = "203.0.113.7";

/// What a client sends.
pub type Client<'a> = &'a [(&'a str, &'a str)];

/// A person who goes to a page.
pub const NAVIGATES: &[(&str, &str)] =
    &[("Accept", "text/html"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Site", "none")];
/// A script of a page.
pub const FETCHES: &[(&str, &str)] = &[("Accept", "*/*"), ("Sec-Fetch-Mode", "cors")];

/// What nginx sends, as its configuration says.
pub fn nginx_headers<'a>(method: &'a str, url: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![("X-Original-URL", url), ("X-Original-Method", method), ("X-Forwarded-For", CLIENT)]
}

/// What Traefik and Caddy send.
pub fn forward_headers<'a>(method: &'a str, url: &'a str) -> Vec<(&'a str, &'a str)> {
    let (proto, rest) = url.split_once("://").expect("an address");
    let (host, uri) = rest.split_at(rest.find('/').expect("a path"));
    vec![
        ("X-Forwarded-Proto", proto),
        ("X-Forwarded-Host", host),
        ("X-Forwarded-Uri", uri),
        ("X-Forwarded-Method", method),
        ("X-Forwarded-For", CLIENT),
    ]
}

/// Asks as nginx does, with the headers of a client.
pub async fn nginx(browser: &mut Browser, method: &str, url: &str, client: &[(&str, &str)]) -> Exchange {
    let own = nginx_headers(method, url);
    browser.send("GET", "/auth/nginx", &[&own[..], client].concat(), "").await
}

/// Asks as Traefik and Caddy do, with the headers of a client.
pub async fn forward(browser: &mut Browser, method: &str, url: &str, client: &[(&str, &str)]) -> Exchange {
    let own = forward_headers(method, url);
    browser.send("GET", "/auth/forward", &[&own[..], client].concat(), "").await
}

/// The browser of somebody, as far as the wiki's proxy sees it.
pub async fn at_the_wiki(house: &House, user: DiscordId) -> Browser {
    let mut visitor = Visitor::new(house, Proxy::Forward, user);
    visitor.go(&format!("{WIKI}/")).await;
    let mut browser = house.browser();
    let cookies = visitor.jar.iter().filter(|cookie| cookie.name == "__Host-doorbook-app");
    browser.cookies = cookies.map(|cookie| (cookie.name.clone(), cookie.value.clone())).collect();
    assert_eq!(browser.cookies.len(), 1);
    browser
}

/// The browser of somebody, as far as we see it.
pub async fn at_home(house: &House, user: DiscordId) -> Browser {
    let mut visitor = Visitor::new(house, Proxy::Forward, user);
    visitor.go(&format!("{AUTH}/api/auth/discord/login")).await;
    let mut browser = house.browser();
    let cookies = visitor.jar.iter().filter(|cookie| cookie.name == "__Host-doorbook");
    browser.cookies = cookies.map(|cookie| (cookie.name.clone(), cookie.value.clone())).collect();
    assert_eq!(browser.cookies.len(), 1);
    browser
}

/// Both endpoints' answers to one question.
pub async fn both(browser: &mut Browser, method: &str, url: &str, client: &[(&str, &str)]) -> [Exchange; 2] {
    [nginx(browser, method, url, client).await, forward(browser, method, url, client).await]
}

/// The proxy before the apps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    Nginx,
    Forward,
}

/// Somebody on the way through pages, and what they have seen.
pub struct Visitor<'h> {
    house: &'h House,
    proxy: Proxy,
    /// Who they say they are at Discord.
    pub user: DiscordId,
    /// Their cookies.
    pub jar: Vec<Cookie>,
    /// The addresses they went through, newest last.
    pub trail: Vec<String>,
}

/// A cookie in a jar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    pub name: String,
    pub value: String,
    host: String,
    /// Whether it goes to hosts below as well.
    is_domain: bool,
    is_secure: bool,
}

/// Where a visit ended.
#[derive(Debug)]
pub struct Landed {
    /// The address in the end.
    pub url: String,
    /// The answer there; an app's own is what the proxy was told.
    pub answer: Exchange,
    /// Whether the app was reached.
    pub is_app: bool,
}

impl<'h> Visitor<'h> {
    /// Somebody whose browser has never been anywhere.
    pub fn new(house: &'h House, proxy: Proxy, user: DiscordId) -> Visitor<'h> {
        Visitor { house, proxy, user, jar: vec![], trail: vec![] }
    }

    /// Goes to an address and on to wherever it leads.
    pub async fn go(&mut self, url: &str) -> Landed {
        let mut url = url.to_owned();
        self.trail.clear();
        for _ in 0..40 {
            let (landed, next) = self.step(&url).await;
            match next {
                Some(next) => url = next,
                None => return landed,
            }
        }
        panic!("it goes on for ever: {:#?}", self.trail);
    }

    /// Goes to an address, and returns where it leads.
    pub async fn step(&mut self, url: &str) -> (Landed, Option<String>) {
        self.trail.push(url.to_owned());
        if url.starts_with(DISCORD) {
            let played = self.house.discord().authorize(url, self.user, true).await.expect("back");
            let answer = Exchange { status: 302, headers: vec![], body: String::new() };
            return (Landed { url: url.to_owned(), answer, is_app: false }, Some(played.location));
        }
        let (answer, is_app) = match url.strip_prefix(self.house.origin()) {
            Some(path) => (self.send("GET", path, url, NAVIGATES).await, false),
            None => self.by_proxy("GET", url, NAVIGATES).await,
        };
        let is_redirect = matches!(answer.status, 302 | 303);
        let next = answer.header("location").filter(|_| is_redirect).map(|location| {
            Url::parse(url).and_then(|from| from.join(location)).expect("an address").to_string()
        });
        (Landed { url: url.to_owned(), answer, is_app }, next)
    }

    /// Sends a request to an app; the proxy asks first.
    pub async fn by_proxy(&mut self, method: &str, url: &str, client: &[(&str, &str)]) -> (Exchange, bool) {
        let is_finish = Url::parse(url).expect("an address").path() == "/.doorbook/finish";
        match self.proxy {
            Proxy::Nginx if is_finish => {
                let headers = [&nginx_headers(method, url)[..], client].concat();
                (self.send(method, "/.doorbook/finish", url, &headers).await, false)
            }
            Proxy::Nginx => {
                let before = self.jar.clone();
                let headers = [&nginx_headers(method, url)[..], client].concat();
                let told = self.send("GET", "/auth/nginx", url, &headers).await;
                // nginx drops what its sub-request wants to set.
                self.jar = before;
                let location = told.header("location").map(str::to_owned);
                match (told.status, location) {
                    (200, _) => (told, true),
                    (401 | 403, Some(location)) => (
                        Exchange { status: 303, headers: vec![("location".into(), location)], ..told },
                        false,
                    ),
                    (401 | 403, None) => (told, false),
                    _ => panic!("nginx would answer 500: {told}"),
                }
            }
            Proxy::Forward => {
                let headers = [&forward_headers(method, url)[..], client].concat();
                let told = self.send("GET", "/auth/forward", url, &headers).await;
                let is_app = told.status == 200;
                (told, is_app)
            }
        }
    }

    /// Sends a request to doorbook with the cookies for an address, and keeps those that come back for it.
    async fn send(&mut self, method: &str, path: &str, url: &str, headers: &[(&str, &str)]) -> Exchange {
        let url = Url::parse(url).expect("an address");
        let (host, is_https) = (url.host_str().expect("a host").to_owned(), url.scheme() == "https");
        let fits = |cookie: &&Cookie| {
            let below = cookie.is_domain && host.ends_with(&format!(".{}", cookie.host));
            (cookie.host == host || below) && (is_https || !cookie.is_secure)
        };
        let line: Vec<String> =
            self.jar.iter().filter(fits).map(|cookie| format!("{}={}", cookie.name, cookie.value)).collect();
        let line = line.join("; ");
        let mut all = headers.to_vec();
        if !line.is_empty() {
            all.push(("Cookie", &line));
        }
        let mut browser = self.house.browser();
        browser.cookies = BTreeMap::new();
        let answer = browser.send(method, path, &all, "").await;
        for (_, set) in answer.headers.iter().filter(|(name, _)| name == "set-cookie") {
            self.keep(set, &host, is_https);
        }
        answer
    }

    /// Does with a cookie what browsers do.
    fn keep(&mut self, set: &str, host: &str, is_https: bool) {
        let mut parts = set.split("; ");
        let (name, value) = parts.next().and_then(|pair| pair.split_once('=')).expect("a pair");
        let attributes: Vec<&str> = parts.collect();
        let domain = attributes.iter().find_map(|part| part.strip_prefix("Domain="));
        let is_secure = attributes.contains(&"Secure");
        assert!(attributes.contains(&"Path=/") && attributes.contains(&"HttpOnly"), "{set}");
        assert!(!is_secure || is_https, "a browser drops it: {set}");
        assert!(!name.starts_with("__") || is_secure, "a browser drops it: {set}");
        assert!(!name.starts_with("__Host-") || domain.is_none(), "a browser drops it: {set}");
        if let Some(domain) = domain {
            assert!(host == domain || host.ends_with(&format!(".{domain}")), "a browser drops it: {set}");
        }
        let kept = Cookie {
            name: name.to_owned(),
            value: value.to_owned(),
            host: domain.unwrap_or(host).to_owned(),
            is_domain: domain.is_some(),
            is_secure,
        };
        let is_over = attributes.contains(&"Max-Age=0");
        let same = |other: &Cookie| {
            other.name == kept.name && other.host == kept.host && other.is_domain == kept.is_domain
        };
        // A cookie that is set again keeps its place.
        match self.jar.iter().position(same) {
            Some(at) if is_over => drop(self.jar.remove(at)),
            Some(at) => self.jar[at] = kept,
            None if is_over => {}
            None => self.jar.push(kept),
        }
    }

    /// The cookies of a host, by name.
    pub fn cookies_of(&self, host: &str) -> Vec<String> {
        let of_host = |cookie: &&Cookie| cookie.host == host;
        self.jar.iter().filter(of_host).map(|cookie| cookie.name.clone()).collect()
    }

    /// The host and path of each address of the trail, and the names in its query; of Discord only that it was there.
    pub fn went_through(&self) -> Vec<String> {
        let short = |url: &String| {
            if url.starts_with(DISCORD) {
                return "discord".to_owned();
            }
            let url = Url::parse(url).expect("an address");
            let names: Vec<String> = url.query_pairs().map(|(name, _)| name.into_owned()).collect();
            format!("{}{} {}", url.host_str().expect("a host"), url.path(), names.join(" "))
        };
        self.trail.iter().map(short).collect()
    }
}
