//! The JSON of a good answer, read with care: what we use must be right, what we do not use may be anything.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::IssuedTokens;
use super::error::Unreadable;
use crate::domain::event::{Membership, Profile, Tokens};
use crate::domain::id::{DiscordId, Secret};
use crate::domain::scopes::Scopes;

/// The longest token that is taken; Discord's own are below 100 bytes, and have grown before.
const LONGEST_TOKEN: usize = 8 * 1024;

/// The longest list of scopes that is taken.
const LONGEST_SCOPE: usize = 4 * 1024;

/// The longest name, address or hash that is taken: all of them must fit into one record of the log.
const LONGEST_TEXT: usize = 1024;

/// The most roles that are taken; a guild can have 250.
const MOST_ROLES: usize = 1_000;

/// The longest life of an access token that is believed: ten years.
const LONGEST_LIFE: u64 = 10 * 366 * 86_400;

#[derive(Deserialize)]
struct TokenReply {
    access_token: String,
    token_type: String,
    expires_in: u64,
    refresh_token: Option<String>,
    scope: Option<String>,
}

/// Reads the answer to a code or a refresh token.
///
/// Without `scope` the scopes are those that were asked for (RFC 6749, 5.1).
pub(super) fn tokens<'a>(
    body: &[u8],
    requested: impl IntoIterator<Item = &'a str>,
) -> Result<IssuedTokens, Unreadable> {
    let reply = checked(object::<TokenReply>(body)?)?;
    let refresh = token(reply.refresh_token.ok_or(Unreadable::Field("refresh_token"))?, "refresh_token")?;
    let scopes: BTreeSet<&str> = match &reply.scope {
        Some(scope) if scope.len() > LONGEST_SCOPE => return Err(Unreadable::Field("scope")),
        Some(scope) => scope.split(' ').filter(|name| !name.is_empty()).collect(),
        None => requested.into_iter().collect(),
    };
    let scopes = Scopes::new(scopes).map_err(|_| Unreadable::Field("scope"))?;
    Ok(IssuedTokens {
        tokens: Tokens { access: token(reply.access_token, "access_token")?, refresh },
        scopes,
        expires_in: Duration::from_secs(reply.expires_in),
    })
}

/// Reads the answer to our own credentials; the token in it is not wanted.
pub(super) fn own_token(body: &[u8]) -> Result<(), Unreadable> {
    let reply = checked(object::<TokenReply>(body)?)?;
    token(reply.access_token, "access_token").map(drop)
}

/// Reads an answer that has nothing to say: an object, or no body at all.
pub(super) fn nothing(body: &[u8]) -> Result<(), Unreadable> {
    if body.trim_ascii().is_empty() {
        return Ok(());
    }
    object::<serde::de::IgnoredAny>(body).map(drop)
}

#[derive(Deserialize)]
struct UserReply {
    id: String,
    username: String,
    discriminator: Option<String>,
    global_name: Option<String>,
    avatar: Option<String>,
    locale: Option<String>,
    email: Option<String>,
    verified: Option<Value>,
}

/// Reads `/users/@me`.
///
/// An id must be a string: as a number it may have lost its last digits already.
pub(super) fn profile(body: &[u8]) -> Result<Profile, Unreadable> {
    let user = object::<UserReply>(body)?;
    let optional = |value: Option<String>, name| value.map(|value| text(value, name)).transpose();
    Ok(Profile {
        id: user.id.parse().map_err(|_| Unreadable::Field("id"))?,
        username: text(user.username, "username")?,
        global_name: optional(user.global_name, "global_name")?,
        // Discord may drop it one day; those who have no four digits have a zero.
        discriminator: optional(user.discriminator, "discriminator")?.unwrap_or_else(|| "0".into()),
        avatar: optional(user.avatar, "avatar")?,
        locale: optional(user.locale, "locale")?,
        email: optional(user.email, "email")?,
        // Exactly `true`: taking anything else for a yes opens other people's accounts.
        email_verified: user.verified.map(|verified| verified == Value::Bool(true)),
    })
}

#[derive(Deserialize)]
struct MemberReply {
    user: Option<Whose>,
    roles: Vec<String>,
    nick: Option<String>,
    pending: Option<bool>,
}

#[derive(Deserialize)]
struct Whose {
    id: String,
}

/// Reads what `user` is in `guild`; the roles are sorted, each once.
pub(super) fn membership(body: &[u8], user: DiscordId, guild: DiscordId) -> Result<Membership, Unreadable> {
    let member = object::<MemberReply>(body)?;
    if member.user.is_some_and(|found| found.id.parse() != Ok(user)) {
        return Err(Unreadable::Field("user"));
    }
    if member.roles.len() > MOST_ROLES {
        return Err(Unreadable::Field("roles"));
    }
    let roles: Result<Vec<DiscordId>, _> = member.roles.iter().map(|role| role.parse()).collect();
    let mut roles = roles.map_err(|_| Unreadable::Field("roles"))?;
    roles.sort_unstable();
    roles.dedup();
    let nick = member.nick.map(|nick| text(nick, "nick")).transpose()?;
    Ok(Membership { guild, member: true, roles, nick, pending: member.pending.unwrap_or(false) })
}

/// Reads a JSON object; serde alone would also take a list of the fields' values.
fn object<T: DeserializeOwned>(body: &[u8]) -> Result<T, Unreadable> {
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Unreadable::Malformed);
    }
    serde_json::from_slice(body).map_err(|_| Unreadable::Malformed)
}

fn checked(reply: TokenReply) -> Result<TokenReply, Unreadable> {
    if !reply.token_type.eq_ignore_ascii_case("bearer") {
        return Err(Unreadable::Field("token_type"));
    }
    if !(1..=LONGEST_LIFE).contains(&reply.expires_in) {
        return Err(Unreadable::Field("expires_in"));
    }
    Ok(reply)
}

/// Takes a token that can be sent back in a header.
fn token(value: String, name: &'static str) -> Result<Secret, Unreadable> {
    let secret = Secret::new(value);
    let length = secret.expose().len();
    if length == 0 || length > LONGEST_TOKEN || !secret.expose().bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Unreadable::Field(name));
    }
    Ok(secret)
}

fn text(value: String, name: &'static str) -> Result<String, Unreadable> {
    if value.len() > LONGEST_TEXT { Err(Unreadable::Field(name)) } else { Ok(value) }
}

#[cfg(test)]
mod tests;
