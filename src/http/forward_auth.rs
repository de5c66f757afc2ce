//! `/auth/nginx`, `/auth/forward`, `/.doorbook/finish`: may the request that waits at a proxy pass?
//!
//! The proxy sends each request's headers and obeys our status. This file says who may ask, and writes the answer down
//! as each proxy takes it; what the answer is, is decided in [`super::access`]. All of it reads memory only.

use std::net::IpAddr;

use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use warp::reply::Response;

use super::access::{self, Access, Refusal};
use super::forwarded::{self, Family};
use super::front::{Front, Gate};
use super::problem::Problem;
use super::reply::{self, Asked, AtApp, Forms, Refused};
use super::request::Head;
use super::{app_session, finish, login, pages, request};
use crate::app::LiveSession;
use crate::domain::access::{Truth, Wanted};
use crate::domain::event::{Learned, Origin};
use crate::domain::forwarded::{FINISH, Forwarded};
use crate::domain::rules::Rules;
use crate::domain::target::Target;
use crate::grants::Standing;

/// Answers nginx, which takes 2xx, 401 and 403 and makes 500 of everything else.
pub(super) fn nginx(gate: &Gate, head: &Head) -> Response {
    Asking { gate, head, endpoint: Endpoint::Nginx }.answer()
}

/// Answers Traefik and Caddy, which hand everything but 2xx to the browser.
pub(super) fn forward(gate: &Gate, head: &Head) -> Response {
    Asking { gate, head, endpoint: Endpoint::Forward }.answer()
}

/// Answers the browser itself, where nginx passes on to us what is for this path.
pub(super) fn finish(gate: &Gate, head: &Head) -> Response {
    Asking { gate, head, endpoint: Endpoint::Finish }.answer()
}

/// Where somebody asks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    Nginx,
    Forward,
    Finish,
}

/// Somebody who asks.
struct Asking<'a> {
    gate: &'a Gate,
    head: &'a Head,
    endpoint: Endpoint,
}

/// Whoever is signed in, at the moment of the question.
struct Asker {
    session: LiveSession,
    standing: Standing,
}

impl Asking<'_> {
    fn answer(&self) -> Response {
        if !self.is_trusted() {
            return self.problem(Problem::UntrustedProxy, None);
        }
        let Some(front) = self.gate.front() else { return self.problem(Problem::NotReady, None) };
        let family = match self.endpoint {
            Endpoint::Nginx | Endpoint::Finish => Family::Nginx,
            Endpoint::Forward => Family::Forward,
        };
        let forwarded = match forwarded::read(family, &self.head.headers) {
            Ok(forwarded) => forwarded,
            Err(error) => {
                if self.gate.said.is_due(("malformed", self.head.peer.map(|peer| peer.ip()))) {
                    let path = self.head.path();
                    tracing::warn!(path, code = "bad_forwarded_request", %error, "a proxy's request cannot be read");
                }
                return self.problem(Problem::BadForwardedRequest, None);
            }
        };
        match (self.endpoint, forwarded.is_finish()) {
            (Endpoint::Nginx, true) => self.has_no_location(&forwarded),
            (Endpoint::Forward | Endpoint::Finish, true) => self.finish(front, &forwarded),
            (Endpoint::Nginx | Endpoint::Forward, false) => self.decide(front, &forwarded),
            (Endpoint::Finish, false) => self.problem(Problem::BadForwardedRequest, Some(&forwarded)),
        }
    }

    /// Returns whether the other end of the connection is a proxy that is believed.
    fn is_trusted(&self) -> bool {
        let Some(peer) = self.head.peer.map(|peer| peer.ip().to_canonical()) else { return false };
        if self.trusts(&peer) {
            return true;
        }
        if self.gate.said_of_strangers.is_due(("untrusted", peer)) {
            tracing::warn!(
                %peer,
                code = "untrusted_proxy",
                "{} was asked by an address that is not a trusted proxy; if it is yours, add it to DOORBOOK_TRUSTED_PROXIES",
                self.head.path()
            );
        }
        false
    }

    fn trusts(&self, address: &IpAddr) -> bool {
        self.gate.settings.trusted_proxies.iter().any(|network| network.contains(address))
    }

    /// Answers a browser that comes for a ticket, or with one.
    fn finish(&self, front: &Front, forwarded: &Forwarded) -> Response {
        finish::answer(front, self.head, forwarded).unwrap_or_else(|refused| {
            let mut asked = asked_at_app(self.gate, self.head, Some(forwarded));
            // The same address once more would be the same ticket once more.
            if let Some(app) = &mut asked.at_app {
                app.again = Some(format!("{}/", forwarded.origin()));
            }
            reply::refuse(&self.gate.settings, &asked, refused)
        })
    }

    /// Answers nginx, which must not ask about the place where tickets are taken, but pass it on.
    fn has_no_location(&self, forwarded: &Forwarded) -> Response {
        if self.gate.said_of_strangers.is_due(("finish", forwarded.host())) {
            tracing::warn!(
                host = %forwarded.host(),
                code = "bad_forwarded_request",
                "nginx asked whether {FINISH} may pass: that host needs a `location = {FINISH}` of its own, which passes the request to doorbook"
            );
        }
        self.problem(Problem::BadForwardedRequest, Some(forwarded))
    }

    fn decide(&self, front: &Front, forwarded: &Forwarded) -> Response {
        let headers = &self.head.headers;
        let address = request::forwarded_for(headers, |address| self.trusts(address));
        // An unknown address is no other one: the session was not moved.
        let origin = address.map(|ip| Origin {
            ip: Some(ip),
            learned: Learned::Forwarded,
            user_agent: request::user_agent(headers),
        });
        let asker =
            app_session::of_forwarded(front, headers, forwarded, origin.as_ref()).and_then(|session| {
                let standing = front.grants.standing(session.user)?;
                Some(Asker { session, standing })
            });
        let is_preflight = forwarded.method() == "OPTIONS"
            && headers.contains_key(header::ORIGIN)
            && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        let wanted = Wanted {
            host: forwarded.host(),
            path: forwarded.path(),
            method: forwarded.method(),
            address,
            is_preflight,
        };
        let rules = front.rules();
        match access::decide(&rules, &wanted, asker.as_ref().map(|asker| &asker.standing)) {
            Access::Granted => self.granted(front, &rules, asker.as_ref()),
            Access::NotSignedIn => self.sign_in(front, forwarded, Problem::NotSignedIn),
            Access::Unknown(refusal) => {
                self.say(Problem::MembershipUnknown, forwarded, asker.as_ref(), &refusal);
                self.sign_in(front, forwarded, Problem::MembershipUnknown)
            }
            Access::NotAllowed(refusal) => self.not_allowed(front, forwarded, asker.as_ref(), &refusal),
            Access::NoRule { has_rules } => self.no_rule(forwarded, has_rules),
        }
    }

    /// Lets it pass, and tells the app who it is, if that is somebody who may still sign in: a public page may be
    /// an app's own.
    fn granted(&self, front: &Front, rules: &Rules, asker: Option<&Asker>) -> Response {
        let mut response = reply::empty(StatusCode::OK);
        let asker = asker.filter(|asker| rules.allows(&asker.standing.person()) == Truth::Yes);
        // nginx removes a header that is not there; Caddy may pass on what the client sent.
        if asker.is_none() && self.endpoint == Endpoint::Nginx {
            return response;
        }
        let guard = &front.settings.guard;
        let person = asker.map(|asker| asker.standing.person());
        for (name, value) in guard.identity_headers.of(rules, guard.remote_user, person.as_ref()) {
            // The configuration takes no other names, and every value is ASCII; left out, either may be the client's own.
            let value = HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static("-"));
            if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }

    /// Sends a browser to where the missing fact is got, and tells everybody else where that is.
    fn sign_in(&self, front: &Front, forwarded: &Forwarded, problem: Problem) -> Response {
        let target = target(front, forwarded);
        let path = match (&problem, &target) {
            (Problem::MembershipUnknown, Some(target)) => login::with_rd("/auth/recheck", target.location()),
            _ => login::address(target.as_ref()),
        };
        let url = format!("{}{path}", front.settings.site().own());
        let is_navigation = is_navigation(forwarded, self.head);
        if self.endpoint == Endpoint::Forward && is_navigation {
            return match forwarded.method() {
                "GET" | "HEAD" => reply::found(&url),
                // Never 307 or 308: those would send the form once more, to us or to Discord.
                _ => reply::see_other(&url),
            };
        }
        let mut response = reply::problem(&problem.document(self.head.id).with_login(url.clone()));
        if self.endpoint == Endpoint::Nginx && is_navigation {
            set_location(&mut response, &url);
        }
        response
    }

    fn not_allowed(
        &self,
        front: &Front,
        forwarded: &Forwarded,
        asker: Option<&Asker>,
        refusal: &Refusal,
    ) -> Response {
        if let Some(asker) = asker {
            front.grants.recheck_soon(asker.session.user);
        }
        self.say(Problem::NotAllowed, forwarded, asker, refusal);
        let own = front.settings.site().own();
        let target = target(front, forwarded);
        let rd = target.as_ref().map_or("/", Target::location);
        if !is_navigation(forwarded, self.head) {
            return self.problem(Problem::NotAllowed, Some(forwarded));
        }
        if self.endpoint == Endpoint::Nginx {
            let mut response = self.problem(Problem::NotAllowed, Some(forwarded));
            set_location(&mut response, &format!("{own}{}", login::with_rd("/auth/refused", rd)));
            return response;
        }
        let profile = asker.and_then(|asker| asker.standing.profile.as_ref());
        let person = profile.map(|profile| pages::Person::new(profile, &front.settings));
        let page = pages::refused::Refused { home: own, person: person.as_ref(), refusal, rd, notice: None };
        reply::page(&front.settings, StatusCode::FORBIDDEN, pages::refused::page(&page), Forms::None)
    }

    /// Says, once a minute for each person and what they lack, why somebody who is signed in does not pass.
    fn say(&self, problem: Problem, forwarded: &Forwarded, asker: Option<&Asker>, refusal: &Refusal) {
        let (code, host) = (problem.facts().code, forwarded.host());
        let Some(asker) = asker else { return };
        if self.gate.said.is_due((code, asker.session.user, &refusal.missing)) {
            let (session, missing) = (asker.session.id, &refusal.missing);
            tracing::info!(%session, %host, code, missing, "somebody who is signed in does not pass");
        }
    }

    fn no_rule(&self, forwarded: &Forwarded, has_rules: bool) -> Response {
        let host = forwarded.host();
        if self.gate.said_of_strangers.is_due(("no rule", host)) {
            let why = match has_rules {
                true => "the host has rules, but none for this path, method and network",
                false => "the host has no rule",
            };
            tracing::info!(
                %host,
                code = "no_rule",
                method = forwarded.method(),
                "refused, because {why}; if people are to open it, add this:\n\n\
                 [[rule]]\nhost = \"{host}\"\nallow = [ {{ signed_in = true }} ]\n"
            );
        }
        self.problem(Problem::NoRule, Some(forwarded))
    }

    /// Says what is wrong, in a way that this proxy takes.
    fn problem(&self, problem: Problem, forwarded: Option<&Forwarded>) -> Response {
        if self.endpoint == Endpoint::Nginx {
            return reply::problem(&problem.document(self.head.id).with_status(StatusCode::FORBIDDEN));
        }
        reply::refuse(
            &self.gate.settings,
            &asked_at_app(self.gate, self.head, forwarded),
            Refused::from(problem),
        )
    }
}

/// Returns what an answer that a browser sees on the host of an app must know.
fn asked_at_app(gate: &Gate, head: &Head, forwarded: Option<&Forwarded>) -> Asked {
    let is_navigation = match forwarded {
        Some(forwarded) => is_navigation(forwarded, head),
        None => request::is_navigation(&head.method, &head.headers),
    };
    let at_app = AtApp { home: gate.settings.site().own().to_owned(), again: forwarded.map(Forwarded::url) };
    Asked {
        id: head.id,
        path_and_query: head.path().to_owned(),
        path: head.path().to_owned(),
        is_get: true,
        is_navigation,
        at_app: Some(at_app),
    }
}

/// Returns whether a person waits for a page at the proxy. Its own method counts for nothing, it is always `GET`.
fn is_navigation(forwarded: &Forwarded, head: &Head) -> bool {
    let method = Method::from_bytes(forwarded.method().as_bytes());
    !forwarded.is_web_socket() && method.is_ok_and(|method| request::is_navigation(&method, &head.headers))
}

/// Returns where to come back to: what was asked for or, where a login may not return to that, the first page there.
fn target(front: &Front, forwarded: &Forwarded) -> Option<Target> {
    let targets = front.targets();
    let root = format!("{}/", forwarded.origin());
    let plain = format!("{}://{}/", front.settings.origin.scheme(), forwarded.host());
    [forwarded.url(), root, plain].iter().find_map(|url| targets.read(url).ok())
}

fn set_location(response: &mut Response, url: &str) {
    if let Ok(url) = HeaderValue::from_str(url) {
        response.headers_mut().insert(header::LOCATION, url);
    }
}
