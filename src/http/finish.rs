//! `/.doorbook/finish`, on the host of an app that our cookies do not reach: a session gets there by a ticket.
//!
//! ```text
//! app  ?begin&rd=…   a cookie that ties the ticket to this browser
//! us   login?rd=…&bind=…   a ticket, if somebody is signed in here
//! app  ?t=…          the ticket is taken, and the app cookie set
//! ```
//!
//! No answer here is 2xx: behind Traefik and Caddy the proxy asks whether the request may pass, and it may not.

use http::header::HeaderValue;
use warp::reply::Response;

use super::app_session::{Reach, serialize_app};
use super::front::Front;
use super::problem::Problem;
use super::query::{Param, Query};
use super::reply::{self, Refused};
use super::request::Head;
use super::request::Request;
use super::tickets::Ticket;
use super::{binding, login, request};
use crate::app::LiveSession;
use crate::domain::app_cookie::{AppCookie, Scope};
use crate::domain::forwarded::{FINISH, Forwarded};
use crate::domain::id::Hash;
use crate::domain::target::Target;

/// Answers a browser that is on its way.
pub(super) fn answer(front: &Front, head: &Head, forwarded: &Forwarded) -> Result<Response, Refused> {
    if forwarded.method() != "GET" {
        return Err(Problem::MethodNotAllowed { allow: "GET".into() }.into());
    }
    // Nothing in the background begins anything, or uses a ticket up.
    if request::is_background(&head.headers) {
        return Err(Problem::NotANavigation.into());
    }
    let query = Query::parse(forwarded.query());
    match (query.get("begin"), query.get("t")) {
        (Param::Once(_), Param::Missing) => begin(front, head, forwarded, &query),
        (Param::Missing, Param::Once(ticket)) => redeem(front, head, forwarded, ticket),
        _ => Err(Problem::TicketRejected.into()),
    }
}

/// Sets this tab's binding cookie and sends the browser back to us for a ticket.
fn begin(front: &Front, head: &Head, forwarded: &Forwarded, query: &Query) -> Result<Response, Refused> {
    let Param::Once(rd) = query.get("rd") else { return Err(Problem::RedirectNotAllowed.into()) };
    let target = front.targets().read(rd).map_err(|_| Problem::RedirectNotAllowed)?;
    let is_there = matches!(&target, Target::Elsewhere(_, host) if host == forwarded.host());
    if !is_there || front.reach(&target) != Reach::Ticket {
        return Err(Problem::RedirectNotAllowed.into());
    }
    let (cookies, binding) = binding::begin(front.cookies_at(forwarded), &head.headers, front.entropy.draw());
    let login = login::address(Some(&target));
    let back = reply::found(&format!("{}{login}&bind={binding}", front.settings.site().own()));
    Ok(reply::with_cookies(back, cookies))
}

/// Takes a ticket: from here on the app's host has a cookie of its own for this session.
fn redeem(front: &Front, head: &Head, forwarded: &Forwarded, ticket: &str) -> Result<Response, Refused> {
    let cookies = front.cookies_at(forwarded);
    let is_good = |ticket: &Ticket| {
        ticket.host == *forwarded.host()
            && binding::holds(cookies, &head.headers, &ticket.binding)
            && front.app.session_by_id(ticket.session).is_some()
    };
    let ticket = front.tickets.take(ticket).filter(is_good).ok_or(Problem::TicketRejected)?;
    front.rounds.completed(None, ticket.session, ticket.host.clone());
    let scope = Scope::Host(ticket.host);
    let value = serialize_app(&AppCookie { session: ticket.session, scope }, &front.app_key);
    let set: [HeaderValue; 2] = [cookies.set_app(&value, None), binding::clear(cookies, &ticket.binding)];
    Ok(reply::with_cookies(reply::see_other(ticket.target.location()), set))
}

impl Front {
    /// Returns where a browser goes that is signed in here and wants to go to `target`: there, or for a ticket first.
    pub(super) fn way_to(&self, target: &Target) -> String {
        match target {
            Target::Elsewhere(url, _) if self.reach(target) == Reach::Ticket => finish_url(url, |query| {
                query.append_key_only("begin").append_pair("rd", url.as_str());
            }),
            target => target.location().to_owned(),
        }
    }

    /// Returns where a browser goes that is signed in here and has asked for a ticket with `bind`.
    pub(super) fn way_by_ticket(
        &self,
        request: &Request,
        session: &LiveSession,
        target: &Target,
    ) -> Option<String> {
        let binding: Hash = request.query.get("bind").value(64)?.parse().ok()?;
        let Target::Elsewhere(url, host) = target else { return None };
        let ticket = Ticket { session: session.id, host: host.clone(), binding, target: target.clone() };
        let text = self.tickets.give(self.entropy.draw(), ticket);
        Some(finish_url(url, |query| {
            query.append_pair("t", &text);
        }))
    }
}

/// Returns the address of the place where tickets are taken, on the origin of `url`.
fn finish_url(
    url: &url::Url,
    fill: impl FnOnce(&mut url::form_urlencoded::Serializer<'_, String>),
) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    fill(&mut query);
    format!("{}{FINISH}?{}", url.origin().ascii_serialization(), query.finish())
}
