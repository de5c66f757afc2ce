//! What the stand-in was asked: every request with its secrets masked, so that tests can count.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::lock;

/// How many requests are remembered.
const KEPT: usize = 10_000;

/// The routes of the stand-in, as tests name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// The consent page and its form.
    Authorize,
    /// The token endpoint, for anything but the grants below.
    Token,
    /// The token endpoint with `grant_type=refresh_token`.
    Refresh,
    /// The token endpoint with `grant_type=client_credentials`.
    ClientCredentials,
    /// The revocation endpoint.
    Revoke,
    /// `GET /users/@me`.
    Me,
    /// `GET /users/@me/guilds/{id}/member`.
    Member,
    /// `GET /oauth2/@me`.
    Authorization,
    /// Pictures.
    Avatar,
    /// The front page and its style.
    Page,
    /// Anything else.
    Unknown,
}

impl Route {
    /// Returns whether this is a route of the API, which programs call and not people.
    pub fn is_api(self) -> bool {
        matches!(
            self,
            Route::Token
                | Route::Refresh
                | Route::ClientCredentials
                | Route::Revoke
                | Route::Me
                | Route::Member
                | Route::Authorization
        )
    }
}

/// One request, without anything that may not be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Its number since the start or since the requests were last forgotten, from 1.
    pub number: u64,
    /// When it was read, in RFC 3339.
    pub at: String,
    /// Where it went.
    pub route: Route,
    /// The method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The names in the query.
    pub query: Vec<String>,
    /// The headers; what could be secret is masked.
    pub headers: Vec<(String, String)>,
    /// The names in the form.
    pub form: Vec<String>,
    /// Whether the client secret, a live code or a live token stood in the URL.
    pub secret_in_url: bool,
    /// The status answered; none while it is pending, or where nothing was answered.
    pub status: Option<u16>,
    /// What became of it: `ok`, the error's name, or the fault that was played.
    pub outcome: String,
}

/// The requests and how many there were per route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// How many there were.
    pub total: u64,
    /// How many there were per route.
    pub counts: BTreeMap<Route, u64>,
    /// The last 10,000 of them, oldest first.
    pub requests: Vec<Request>,
}

impl Requests {
    /// Returns how many requests there were on `route`.
    pub fn count(&self, route: Route) -> u64 {
        self.counts.get(&route).copied().unwrap_or(0)
    }
}

/// Where requests are noted.
#[derive(Debug)]
pub(super) struct Notebook {
    pages: Mutex<Pages>,
    arrivals: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Pages {
    /// Grows when the requests are forgotten, so that a request still under way is not mistaken for a new one.
    volume: u64,
    total: u64,
    counts: BTreeMap<Route, u64>,
    kept: VecDeque<Request>,
}

/// A request under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noted {
    volume: u64,
    number: u64,
}

impl Notebook {
    pub(super) fn new() -> Notebook {
        Notebook { pages: Mutex::default(), arrivals: watch::Sender::new(0) }
    }

    /// Notes a request that has been read; its number is given here.
    pub(super) fn begin(&self, mut request: Request) -> Noted {
        let mut pages = lock(&self.pages);
        pages.total += 1;
        request.number = pages.total;
        *pages.counts.entry(request.route).or_default() += 1;
        let noted = Noted { volume: pages.volume, number: request.number };
        if pages.kept.len() >= KEPT {
            pages.kept.pop_front();
        }
        pages.kept.push_back(request);
        drop(pages);
        self.arrivals.send_modify(|arrivals| *arrivals += 1);
        noted
    }

    /// Notes how it ended.
    pub(super) fn finish(&self, noted: Noted, status: Option<u16>, outcome: String) {
        let mut pages = lock(&self.pages);
        if pages.volume != noted.volume {
            return;
        }
        // The newest stand last, so the one looked for is near the end.
        if let Some(request) = pages.kept.iter_mut().rev().find(|request| request.number == noted.number) {
            request.status = status;
            request.outcome = outcome;
        }
    }

    pub(super) fn read(&self) -> Requests {
        let pages = lock(&self.pages);
        Requests {
            total: pages.total,
            counts: pages.counts.clone(),
            requests: pages.kept.iter().cloned().collect(),
        }
    }

    pub(super) fn count(&self, route: Route) -> u64 {
        lock(&self.pages).counts.get(&route).copied().unwrap_or(0)
    }

    pub(super) fn forget(&self) {
        let mut pages = lock(&self.pages);
        *pages = Pages { volume: pages.volume + 1, ..Pages::default() };
    }

    /// Waits until at least `count` requests on `route` have been read.
    pub(super) async fn wait_for(&self, route: Route, count: u64) {
        let mut arrivals = self.arrivals.subscribe();
        // The sender lives in `self`, so it cannot be gone.
        let _ = arrivals.wait_for(|_| self.count(route) >= count).await;
    }
}
