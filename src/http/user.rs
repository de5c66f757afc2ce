//! `GET /api/auth/user`: who is signed in, as a document.

use std::fmt::Display;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use warp::reply::Response;

use super::Front;
use super::problem::Problem;
use super::reply::{self, Answer, Refused};
use super::request::Request;
use crate::app::LiveSession;
use crate::domain::event::{self, Profile, Route};
use crate::domain::id::{DiscordId, SessionId};
use crate::domain::rules::EMAIL_SCOPE;
use crate::domain::time::Timestamp;
use crate::grants::{Freshness, Seen, Standing};

/// The user, from memory; with `?fresh=1` as Discord says now.
pub(super) async fn show(front: Arc<Front>, request: Request) -> Answer {
    if request.query.is("fresh", "1") {
        return profile(front, request).await;
    }
    let session = front.signed_in(&request)?;
    let seen = seen(&front, &request, &session)?;
    front.grants.profile_used(session.user, &seen.known);
    Ok(told(&front, &session, &seen, false))
}

/// The user, as Discord says now or, where it does not answer, as it last said.
pub(super) async fn profile(front: Arc<Front>, request: Request) -> Answer {
    let session = front.signed_in(&request)?;
    let by = front.by(&request, Route::User, Some(&session));
    let stale = match front.grants.fresh_profile(session.user, &by).await {
        Freshness::Fresh => false,
        // Whether it was this session that ended is looked at below.
        Freshness::Stale | Freshness::Ended => true,
    };
    // Looked at again: the session may have ended while Discord was asked.
    let Some(session) = front.app.session_by_id(session.id) else { return Err(ended(&front)) };
    Ok(document(&front, &request, &session, stale)?)
}

/// Says that a session has just ended, and takes its cookie back.
pub(super) fn ended(front: &Front) -> Refused {
    Refused::from(Problem::NotSignedIn).with_cookies(front.session_over())
}

/// What of the user document a profile alone says; it is written once for each profile, and stands first.
#[derive(Debug, Serialize)]
struct Profiled<'a> {
    #[serde(serialize_with = "shown")]
    id: DiscordId,
    username: &'a str,
    global_name: Option<&'a str>,
    display_name: &'a str,
    discriminator: &'a str,
    tag: String,
    avatar: Option<&'a str>,
    avatar_url: String,
    locale: Option<&'a str>,
}

/// The rest of it. It is written with every request, so it borrows whatever it can.
#[derive(Debug, Serialize)]
struct User<'a> {
    /// There only with the scope, as what follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email_verified: Option<bool>,
    scopes: Vec<&'a str>,
    groups: Vec<&'a str>,
    admin: bool,
    memberships: Vec<Membership<'a>>,
    #[serde(serialize_with = "shown")]
    fetched_at: Timestamp,
    stale: bool,
    session: Session,
}

/// What is known of the user in one guild.
#[derive(Debug, Serialize)]
struct Membership<'a> {
    #[serde(serialize_with = "shown")]
    guild: DiscordId,
    roles: Vec<String>,
    nick: Option<&'a str>,
    stale: bool,
}

#[derive(Debug, Serialize)]
struct Session {
    #[serde(serialize_with = "shown")]
    id: SessionId,
    #[serde(serialize_with = "shown")]
    opened_at: Timestamp,
    #[serde(serialize_with = "shown")]
    last_seen_at: Timestamp,
    #[serde(serialize_with = "shown")]
    expires_at: Timestamp,
}

/// Writes a value as people read it.
fn shown<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// Returns what is known of whoever has `session`.
fn seen(front: &Front, request: &Request, session: &LiveSession) -> Result<Seen, Problem> {
    front.grants.seen(session.user).ok_or_else(|| {
        tracing::error!(request = %request.id, "the profile of somebody who is signed in cannot be opened");
        Problem::Internal
    })
}

/// Answers with the document of whoever has `session`.
pub(super) fn document(
    front: &Front,
    request: &Request,
    session: &LiveSession,
    stale: bool,
) -> Result<Response, Problem> {
    Ok(told(front, session, &seen(front, request, session)?, stale))
}

fn told(front: &Front, session: &LiveSession, seen: &Seen, stale: bool) -> Response {
    let Seen { known, standing, memberships } = seen;
    let (profile, rules) = (&known.profile, front.rules());
    let person = standing.as_ref().map(Standing::person);
    let first = profile.written(|profile| profiled(front, profile));
    let state = front.app.state();
    let grant = state.user(session.user).and_then(|user| user.grant.as_ref());
    let tells_email = grant.is_some_and(|grant| grant.has_scope(EMAIL_SCOPE));
    let user = User {
        email: tells_email.then_some(profile.email.as_deref()),
        email_verified: tells_email.then(|| profile.email_verified.unwrap_or(false)),
        scopes: grant.iter().flat_map(|grant| grant.scopes.names()).collect(),
        groups: person.iter().flat_map(|person| rules.groups_of(person)).collect(),
        admin: person.is_some_and(|person| rules.is_admin(&person)),
        memberships: memberships.iter().filter_map(Membership::of).collect(),
        fetched_at: known.fetched_at,
        stale,
        session: Session {
            id: session.id,
            opened_at: session.opened_at,
            last_seen_at: session.last_seen_at,
            expires_at: session.expires_at,
        },
    };
    reply::json_behind(first, &user)
}

/// Writes down what a profile says.
fn profiled(front: &Front, profile: &Profile) -> String {
    let profiled = Profiled {
        id: profile.id,
        username: &profile.username,
        global_name: profile.global_name.as_deref(),
        display_name: profile.display_name(),
        discriminator: &profile.discriminator,
        tag: profile.tag(),
        avatar: profile.avatar.as_deref(),
        avatar_url: profile.avatar_url(front.settings.cdn_url.as_str()),
        locale: profile.locale.as_deref(),
    };
    serde_json::to_string(&profiled).unwrap_or_default()
}

impl Membership<'_> {
    /// Returns what the user is there, if they are a member.
    fn of((known, stale): &(event::Membership, bool)) -> Option<Membership<'_>> {
        known.member.then(|| Membership {
            guild: known.guild,
            roles: known.roles.iter().map(ToString::to_string).collect(),
            nick: known.nick.as_deref(),
            stale: *stale,
        })
    }
}
