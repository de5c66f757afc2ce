//! The way in for browsers: every path that is answered, and by whom.
//!
//! Handlers answer and never reject. In warp a rejection means "not my route", and the next route is tried: a
//! guard that rejected could be walked around.

mod access;
mod app_session;
pub mod attempt;
mod binding;
mod callback;
pub mod cookie;
mod device;
mod exchange;
mod finish;
mod forward_auth;
pub mod forwarded;
mod front;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod health;
mod home;
mod limit;
pub mod listen;
mod login;
mod logout;
mod pages;
mod problem;
pub mod query;
mod recheck;
mod refresh;
pub mod reply;
pub mod request;
mod revoke;
mod rounds;
mod said;
pub mod session;
mod sessions;
mod settings;
pub mod site;
mod tickets;
pub mod used_states;
mod user;
mod webhook;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::Method;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

pub use front::{Front, Gate};
pub use problem::Problem;
pub use settings::{Guard, Settings};

use exchange::exchange;
use reply::Answer;
use request::{Head, Request};

use crate::domain::forwarded::FINISH;

/// Every path that is answered, the methods it takes, and who answers.
///
/// `Allow`, `HEAD` and preflights are read from here as well, so that the table and what happens cannot disagree.
const TABLE: &[Row] = &[
    row("/api/auth/user", &[Get(Ready(|f, r| Box::pin(user::show(f, r))))]),
    row("/api/user/profile", &[Get(Ready(|f, r| Box::pin(user::profile(f, r))))]),
    row("/api/auth/refresh", &[Post(Ready(|f, r| Box::pin(refresh::now(f, r))))]),
    row("/api/auth/logout", &[Post(Ready(|f, r| Box::pin(logout::end(f, r))))]),
    row(
        "/api/auth/revoke",
        &[Get(Ready(|f, r| Box::pin(revoke::get(f, r)))), Post(Ready(|f, r| Box::pin(revoke::revoke(f, r))))],
    )
    .without_head(),
    row(
        "/api/auth/sessions",
        &[
            Get(Ready(|f, r| Box::pin(sessions::list(f, r)))),
            Delete(Ready(|f, r| Box::pin(sessions::end_all(f, r)))),
        ],
    ),
    row("/api/auth/sessions/end", &[Post(Ready(|f, r| Box::pin(sessions::end_all(f, r))))]),
    row("/api/auth/discord/login", &[Get(Ready(|f, r| Box::pin(login::begin(f, r))))])
        .without_head()
        .at_home(),
    row("/api/auth/discord/redirect", &[Get(Ready(|f, r| Box::pin(callback::complete(f, r))))])
        .without_head(),
    row("/", &[Get(Ready(|f, r| Box::pin(home::home(f, r))))]).at_home(),
    row("/account", &[Get(Ready(|f, r| Box::pin(home::account(f, r))))]).at_home(),
    row("/logout", &[Get(Ready(|f, r| Box::pin(logout::page(f, r))))]).at_home(),
    row("/favicon.svg", &[Get(Early(pages::icon))]),
    row("/discord/webhook", &[Post(Signed(|f, r, b| Box::pin(webhook::take(f, r, b))))]),
    row("/auth/nginx", &[Any(Proxy(forward_auth::nginx))]),
    row("/auth/forward", &[Any(Proxy(forward_auth::forward))]),
    row(FINISH, &[Any(Proxy(forward_auth::finish))]),
    row("/auth/recheck", &[Get(Ready(|f, r| Box::pin(recheck::recheck(f, r))))]).without_head().at_home(),
    row("/auth/refused", &[Get(Ready(|f, r| Box::pin(recheck::refused(f, r))))]).at_home(),
    row("/healthz", &[Get(Early(health::alive))]),
    row("/readyz", &[Get(Early(health::ready))]),
    // Last, because they take longer to compare than the others.
    row("/api/auth/sessions/{id}", &[Delete(Ready(|f, r| Box::pin(sessions::end_one(f, r))))]),
    row("/api/auth/sessions/{id}/end", &[Post(Ready(|f, r| Box::pin(sessions::end_one(f, r))))]),
];

/// One path.
struct Row {
    /// `{…}` stands for one segment.
    path: &'static str,
    has_params: bool,
    methods: &'static [Takes],
    /// Whether `HEAD` is answered like `GET`.
    head: bool,
    /// Whether a browser that came by another loopback name is sent to the public one first.
    at_home: bool,
}

/// A method that a path takes.
enum Takes {
    Any(Handler),
    Get(Handler),
    Post(Handler),
    Delete(Handler),
}

use Handler::{Early, Proxy, Ready, Signed};
use Takes::{Any, Delete, Get, Post};

/// Who answers.
#[derive(Clone, Copy)]
enum Handler {
    /// As soon as the process listens.
    Early(fn(&Gate) -> Answer),
    /// At once, whatever the state of the log, without looking at a body: a proxy asks.
    Proxy(fn(&Gate, &Head) -> Response),
    /// As soon as the log has been replayed.
    Ready(fn(Arc<Front>, Request) -> BoxFuture<'static, Answer>),
    /// The same, with the body and from any site: who asks proves itself by a signature.
    Signed(fn(Arc<Front>, Request, Bytes) -> BoxFuture<'static, Answer>),
}

const fn row(path: &'static str, methods: &'static [Takes]) -> Row {
    let (mut at, mut has_params) = (0, false);
    while at < path.len() {
        has_params |= path.as_bytes()[at] == b'{';
        at += 1;
    }
    Row { path, has_params, methods, head: true, at_home: false }
}

impl Row {
    const fn without_head(self) -> Row {
        Row { head: false, ..self }
    }

    const fn at_home(self) -> Row {
        Row { at_home: true, ..self }
    }

    /// Returns what stands in the places of `{…}`, if the path is this one.
    fn matches(&self, path: &str) -> Option<Vec<String>> {
        if !self.has_params {
            return (self.path == path).then(Vec::new);
        }
        let mut params = Vec::new();
        let mut found = path.split('/');
        for wanted in self.path.split('/') {
            let segment = found.next()?;
            if wanted.starts_with('{') && !segment.is_empty() {
                params.push(segment.to_owned());
            } else if wanted != segment {
                return None;
            }
        }
        found.next().is_none().then_some(params)
    }

    fn handler(&self, method: &Method) -> Option<Handler> {
        self.methods.iter().find_map(|takes| match takes {
            Any(handler) => Some(*handler),
            Get(handler) if *method == Method::GET => Some(*handler),
            Get(handler) if *method == Method::HEAD && self.head => Some(*handler),
            Post(handler) if *method == Method::POST => Some(*handler),
            Delete(handler) if *method == Method::DELETE => Some(*handler),
            _ => None,
        })
    }

    fn allow(&self) -> String {
        let names = self.methods.iter().map(|takes| match takes {
            Any(_) => "*",
            Get(_) if self.head => "GET, HEAD",
            Get(_) => "GET",
            Post(_) => "POST",
            Delete(_) => "DELETE",
        });
        names.collect::<Vec<_>>().join(", ")
    }
}

/// Returns every route as one filter that always answers, where a request carries its [`Head`].
pub fn routes(gate: &Arc<Gate>) -> BoxedFilter<(Response,)> {
    let gate = gate.clone();
    let asked = warp::ext::get::<Arc<Head>>().and(warp::body::stream());
    let answered = asked.then(move |head: Arc<Head>, body| {
        let gate = gate.clone();
        async move { exchange(&gate, &head, body).await }
    });
    answered.boxed()
}

/// A row that takes the method of a request.
struct Found {
    row: &'static Row,
    handler: Handler,
    params: Vec<String>,
}

/// The first row of a path decides; a later one with `{…}` in that place does not.
fn find(head: &Head) -> Option<Found> {
    let (row, params) = TABLE.iter().find_map(|row| Some((row, row.matches(head.path())?)))?;
    Some(Found { row, handler: row.handler(&head.method)?, params })
}

/// Answers what no row takes: a preflight, a wrong method, an unknown path.
fn unmatched(gate: &Gate, head: &Head) -> Answer {
    let Some(row) = TABLE.iter().find(|row| row.matches(head.path()).is_some()) else {
        return Err(Problem::NotFound.into());
    };
    let is_preflight =
        head.method == Method::OPTIONS && head.headers.contains_key("access-control-request-method");
    if is_preflight && let Some(response) = reply::preflight(&gate.settings, head) {
        return Ok(response);
    }
    Err(Problem::MethodNotAllowed { allow: row.allow() }.into())
}

/// Where the snapshots of this room stand, seen from its files.
#[cfg(test)]
pub(crate) const SNAPSHOTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots");

/// Compares with the named snapshot.
#[cfg(test)]
fn snapshot(name: &str, text: &str) {
    insta::with_settings!({
        snapshot_path => SNAPSHOTS, prepend_module_to_snapshot => false, omit_expression => true
    }, {
        insta::assert_snapshot!(name, text);
    });
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http_body_util::{BodyExt, Full};
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;
    use url::Url;

    use super::*;
    use crate::clock::ManualClock;
    use crate::domain::id::RequestId;
    use crate::domain::time::Timestamp;
    use crate::entropy::SeededEntropy;

    /// Asks a server that is still replaying its log, and writes the exchange down.
    async fn ask(method: &str, path: &str, headers: &[(&'static str, &str)]) -> String {
        let url = |text: &str| Url::parse(text).expect("a URL");
        let settings = Settings::new(
            url("http://localhost:3001"),
            vec![url("http://localhost:5173"), url("https://app.example.org")],
            url("https://cdn.discordapp.com"),
            vec!["identify".into()],
        );
        let clock = Arc::new(ManualClock::new(Timestamp(1_767_323_045_000)));
        let gate = Gate::new(settings, clock, Arc::new(SeededEntropy::new("http")));
        let service = TowerToHyperService::new(warp::service(routes(&gate)));
        let mut request = http::Request::builder()
            .method(method)
            .uri(path)
            .body(Full::new(Bytes::new()))
            .expect("a request");
        let mut shown = format!("{method} {path}\n");
        for (name, value) in headers {
            request.headers_mut().append(*name, HeaderValue::from_str(value).expect("a value"));
            shown.push_str(&format!("{name}: {value}\n"));
        }
        let id = RequestId(gate.entropy.draw());
        Head::take(id, None, &mut request);
        let response = service.call(request).await.expect("routes always answer");
        shown.push_str(&format!("\n{}\n", response.status()));
        for (name, value) in response.headers() {
            shown.push_str(&format!("{name}: {}\n", value.to_str().expect("ASCII")));
        }
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        shown + "\n" + &String::from_utf8_lossy(&body) + "\n"
    }

    #[track_caller]
    fn has(shown: &str, parts: &[&str]) {
        for part in parts {
            assert!(shown.contains(part), "{part:?} is missing in:\n{shown}");
        }
    }

    #[test]
    fn each_path_stands_in_the_table_once() {
        for row in TABLE {
            let path = row.path.replace("{id}", "0123");
            let first = TABLE.iter().find(|other| other.matches(&path).is_some()).map(|other| other.path);
            assert_eq!(first, Some(row.path), "another row stands in its way");
        }
    }

    #[test]
    fn a_pattern_takes_whole_segments_only() {
        let one = row("/api/auth/sessions/{id}/end", &[]);
        for segment in ["x", "{id}"] {
            let path = format!("/api/auth/sessions/{segment}/end");
            assert_eq!(one.matches(&path), Some(vec![segment.to_owned()]));
        }
        for path in [
            "/api/auth/sessions//end",
            "/api/auth/sessions/x/end/",
            "/api/auth/sessions/x",
            "/api/auth/sessions/x/y/end",
            "api/auth/sessions/x/end",
            "",
        ] {
            assert_eq!(one.matches(path), None, "{path}");
        }
        assert!(row("/", &[]).matches("/").is_some() && row("/", &[]).matches("//").is_none());
    }

    #[tokio::test]
    async fn a_wrong_method_is_told_which_ones_are_right() {
        let table = [
            ("POST", "/", "GET, HEAD"),
            ("HEAD", "/api/auth/discord/login", "GET"),
            ("HEAD", "/api/auth/discord/redirect", "GET"),
            ("HEAD", "/api/auth/revoke", "GET, POST"),
            ("PUT", "/api/auth/sessions", "GET, HEAD, DELETE"),
            ("GET", "/api/auth/sessions/x", "DELETE"),
            ("DELETE", "/api/auth/sessions/end", "POST"),
            ("GET", "/api/auth/logout", "POST"),
            ("OPTIONS", "/api/auth/user", "GET, HEAD"),
        ];
        for (method, path, allow) in table {
            let shown = ask(method, path, &[]).await;
            has(&shown, &["\n405 Method Not Allowed\n", &format!("\nallow: {allow}\n")]);
        }
        let shown = ask("POST", "/api/auth/user", &[("accept", "application/json")]).await;
        snapshot("http_wrong_method", &shown);
    }

    #[tokio::test]
    async fn what_is_not_there_is_told_to_programs_and_to_people() {
        snapshot("http_not_found_program", &ask("GET", "/nowhere?x", &[]).await);
        for path in ["/account/", "//", "/API/auth/user", "/api/auth/user%2f", "/auth", "/.doorbook"] {
            has(&ask("GET", path, &[]).await, &["\n404 Not Found\n"]);
        }
        let page = ask("GET", "/nowhere", &[("sec-fetch-mode", "navigate")]).await;
        has(&page, &["content-type: text/html", "<!DOCTYPE html>", "404 not_found"]);
    }

    #[tokio::test]
    async fn a_sibling_may_ask_beforehand_and_others_may_not() {
        let preflight = |origin| [("origin", origin), ("access-control-request-method", "DELETE")];
        let shown = ask("OPTIONS", "/api/auth/sessions/x", &preflight("http://localhost:5173")).await;
        snapshot("http_preflight", &shown);
        for (path, origin) in [
            ("/api/auth/user", "https://app.example.org"),
            ("/api/auth/user", "https://evil.example"),
            ("/api/auth/user", "null"),
            ("/api/auth/discord/login", "http://localhost:5173"),
            ("/account", "http://localhost:5173"),
        ] {
            let shown = ask("OPTIONS", path, &preflight(origin)).await;
            has(&shown, &["\n405 "]);
            assert!(!shown.contains("\naccess-control-allow"), "{shown}");
        }
    }

    #[tokio::test]
    async fn a_sibling_reads_answers_and_their_failures() {
        let shown = ask("GET", "/api/auth/user", &[("origin", "http://localhost:5173")]).await;
        has(
            &shown,
            &[
                "access-control-allow-origin: http://localhost:5173\n",
                "access-control-allow-credentials: true\n",
                "vary: Origin\n",
            ],
        );
        for path in ["/api/auth/discord/redirect", "/account"] {
            let shown = ask("GET", path, &[("origin", "http://localhost:5173")]).await;
            assert!(!shown.contains("\naccess-control-allow"), "{shown}");
        }
        has(&ask("GET", "/api/nowhere", &[]).await, &["vary: Origin\n"]);
    }

    #[tokio::test]
    async fn another_loopback_name_is_sent_home_first() {
        let host = [("host", "127.0.0.1:3001")];
        for path in ["/", "/account?x=1", "/logout?rd=%2F", "/api/auth/discord/login?rd=%2Faccount"] {
            let shown = ask("GET", path, &host).await;
            has(&shown, &["\n302 Found\n", &format!("location: http://localhost:3001{path}\n")]);
        }
        has(&ask("GET", "/api/auth/user", &host).await, &["\n503 "]);
        has(&ask("GET", "/account", &[("host", "localhost:8080")]).await, &["\n503 "]);
    }

    #[tokio::test]
    async fn another_site_changes_nothing() {
        for (method, path) in [
            ("POST", "/api/auth/logout"),
            ("POST", "/api/auth/refresh"),
            ("POST", "/api/auth/revoke"),
            ("DELETE", "/api/auth/sessions"),
            ("DELETE", "/api/auth/sessions/x"),
            ("POST", "/api/auth/sessions/end"),
            ("POST", "/api/auth/sessions/x/end"),
        ] {
            let from = async |name, value| ask(method, path, &[(name, value)]).await;
            has(&from("origin", "https://evil.example").await, &["\n403 ", "cross_site_request"]);
            has(&from("sec-fetch-site", "same-site").await, &["\n403 "]);
            has(&from("origin", "http://localhost:3001").await, &["\n503 ", "not_ready"]);
            has(&ask(method, path, &[]).await, &["\n503 ", "not_ready"]);
        }
    }

    #[tokio::test]
    async fn before_the_log_is_known_it_says_so() {
        snapshot("http_alive", &ask("GET", "/healthz", &[]).await);
        snapshot("http_not_ready", &ask("GET", "/readyz", &[]).await);
        has(&ask("GET", "/favicon.svg", &[]).await, &["image/svg+xml", "<svg"]);
        let page = ask("GET", "/account", &[("accept", "text/html")]).await;
        has(&page, &["\n503 ", "Try again", "href=\"/account\""]);
    }
}
