//! `GET /api/auth/user`: who is signed in, as a document.

use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;

use super::Front;
use super::problem::Problem;
use super::reply::{self, Answer, Refused};
use super::request::Request;
use crate::app::LiveSession;
use crate::domain::event::Route;
use crate::domain::rules::EMAIL_SCOPE;
use crate::grants::{Freshness, Standing};

/// The user, from memory; with `?fresh=1` as Discord says now.
pub(super) async fn show(front: Arc<Front>, request: Request) -> Answer {
    if request.query.is("fresh", "1") {
        return profile(front, request).await;
    }
    let session = front.signed_in(&request)?;
    front.grants.profile_used(session.user);
    Ok(reply::json(StatusCode::OK, &document(&front, &request, &session, false)?))
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
    Ok(reply::json(StatusCode::OK, &document(&front, &request, &session, stale)?))
}

/// Says that a session has just ended, and takes its cookie back.
pub(super) fn ended(front: &Front) -> Refused {
    Refused::from(Problem::NotSignedIn).with_cookies(front.session_over())
}

/// The user document.
#[derive(Debug, Serialize)]
pub(super) struct User {
    id: String,
    username: String,
    global_name: Option<String>,
    display_name: String,
    discriminator: String,
    tag: String,
    avatar: Option<String>,
    avatar_url: String,
    locale: Option<String>,
    #[serde(flatten)]
    email: Option<Email>,
    scopes: Vec<String>,
    groups: Vec<String>,
    admin: bool,
    memberships: Vec<Membership>,
    fetched_at: String,
    stale: bool,
    session: Session,
}

/// There only with the scope.
#[derive(Debug, Serialize)]
struct Email {
    email: Option<String>,
    email_verified: bool,
}

/// What is known of the user in one guild.
#[derive(Debug, Serialize)]
struct Membership {
    guild: String,
    roles: Vec<String>,
    nick: Option<String>,
    stale: bool,
}

#[derive(Debug, Serialize)]
struct Session {
    id: String,
    opened_at: String,
    last_seen_at: String,
    expires_at: String,
}

/// Returns the document of whoever has `session`.
pub(super) fn document(
    front: &Front,
    request: &Request,
    session: &LiveSession,
    stale: bool,
) -> Result<User, Problem> {
    let Some(known) = front.app.profile_of(session.user) else {
        tracing::error!(request = %request.id, "the profile of somebody who is signed in cannot be opened");
        return Err(Problem::Internal);
    };
    let profile = &known.profile;
    let rules = front.rules();
    let standing = front.grants.standing(session.user);
    let person = standing.as_ref().map(Standing::person);
    let grant = front.app.grant_of(session.user);
    let has_email = grant.as_ref().is_some_and(|grant| grant.has_scope(EMAIL_SCOPE));
    let email = has_email.then(|| Email {
        email: profile.email.clone(),
        email_verified: profile.email_verified.unwrap_or(false),
    });
    Ok(User {
        id: profile.id.to_string(),
        username: profile.username.clone(),
        global_name: profile.global_name.clone(),
        display_name: profile.display_name().to_owned(),
        discriminator: profile.discriminator.clone(),
        tag: profile.tag(),
        avatar: profile.avatar.clone(),
        avatar_url: profile.avatar_url(front.settings.cdn_url.as_str()),
        locale: profile.locale.clone(),
        email,
        scopes: grant.map(|grant| grant.scopes).unwrap_or_default(),
        groups: person.iter().flat_map(|person| rules.groups_of(person)).map(str::to_owned).collect(),
        admin: person.is_some_and(|person| rules.is_admin(&person)),
        memberships: memberships(front, session),
        fetched_at: known.fetched_at.to_string(),
        stale,
        session: Session {
            id: session.id.to_string(),
            opened_at: session.opened_at.to_string(),
            last_seen_at: session.last_seen_at.to_string(),
            expires_at: session.expires_at.to_string(),
        },
    })
}

/// Returns what the user is in the guilds that the rules ask about, as last seen.
fn memberships(front: &Front, session: &LiveSession) -> Vec<Membership> {
    let seen = front.grants.memberships_seen(session.user).into_iter();
    seen.filter(|(known, _)| known.member)
        .map(|(known, stale)| Membership {
            guild: known.guild.to_string(),
            roles: known.roles.iter().map(ToString::to_string).collect(),
            nick: known.nick,
            stale,
        })
        .collect()
}
