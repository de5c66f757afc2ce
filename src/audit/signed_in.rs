//! Who is signed in at some moment, from where, and what Discord lets us do for them.

use std::collections::HashMap;
use std::net::IpAddr;

use serde::Serialize;

use super::{Opener, Person, View};
use crate::domain::event::Membership;
use crate::domain::id::Sub;
use crate::domain::state::User;
use crate::domain::time::Timestamp;

/// A session that counts at that moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SignedIn {
    /// The public id.
    pub session: String,
    /// Whose.
    pub user: Person,
    /// When it was opened.
    pub opened_at: String,
    /// When it was last recorded as used.
    pub last_seen_at: String,
    /// When it ends unless it is used.
    pub expires_at: String,
    /// From where it last came.
    pub ip: Option<IpAddr>,
    /// With what.
    pub user_agent: Option<String>,
    /// The authorization of the user, where one is live.
    pub grant: Option<GrantRow>,
    /// What the user was in guilds, as last seen; none before rules name any.
    pub memberships: Vec<MembershipRow>,
}

/// An authorization.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GrantRow {
    /// Our name for it.
    pub id: String,
    /// What it allows.
    pub scopes: Vec<String>,
    /// When it was issued.
    pub issued_at: String,
    /// When the access token ends.
    pub expires_at: String,
}

/// What somebody was in a guild.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MembershipRow {
    /// Of which guild.
    pub guild: String,
    /// Whether they were a member; the rest says nothing where they were not.
    pub member: bool,
    /// The roles they had there.
    pub roles: Vec<String>,
    /// What they were called there.
    pub nick: Option<String>,
    /// Whether they had still to pass the guild's membership screening.
    pub pending: bool,
    /// Since when nothing else was seen.
    pub recorded_at: String,
}

impl MembershipRow {
    /// Returns everything that is known of a user, as last seen.
    pub(super) fn all(user: &User, opener: &Opener) -> Vec<MembershipRow> {
        let row = |(seen, at): (Membership, Timestamp)| MembershipRow {
            guild: seen.guild.to_string(),
            member: seen.member,
            roles: seen.roles.iter().map(ToString::to_string).collect(),
            nick: seen.nick,
            pending: seen.pending,
            recorded_at: text(at),
        };
        opener.memberships(user).into_iter().map(row).collect()
    }
}

impl View {
    /// Returns every session that counts at the moment of the view, the oldest first.
    pub fn signed_in(&self, opener: &Opener) -> Vec<SignedIn> {
        let mut live: Vec<_> = self.state.sessions().filter(|session| session.is_live(self.now)).collect();
        live.sort_by_key(|session| (session.opened_at, session.id));
        // What is the same in all sessions of a person is opened once.
        let mut known: HashMap<Sub, (Person, Vec<MembershipRow>)> = HashMap::new();
        let rows = live.into_iter().map(|session| {
            let origin = session.origin.as_ref().and_then(|fact| opener.origin_of(fact));
            let user = self.state.user(session.user);
            let grant = user.and_then(|user| user.grant.as_ref());
            let (person, memberships) = known.entry(session.user).or_insert_with(|| {
                let memberships = user.map(|user| MembershipRow::all(user, opener)).unwrap_or_default();
                (self.people.person(session.user, opener), memberships)
            });
            SignedIn {
                session: session.id.to_string(),
                user: person.clone(),
                opened_at: text(session.opened_at),
                last_seen_at: text(session.seen_at),
                expires_at: text(session.deadline()),
                ip: origin.as_ref().and_then(|origin| origin.ip),
                user_agent: origin.and_then(|origin| origin.user_agent),
                grant: grant.map(|grant| GrantRow {
                    id: grant.id.to_string(),
                    scopes: grant.scopes.names().map(Into::into).collect(),
                    issued_at: text(grant.issued_at),
                    expires_at: text(grant.expires_at),
                }),
                memberships: memberships.clone(),
            }
        });
        rows.collect()
    }
}

fn text(at: Timestamp) -> String {
    at.to_string()
}
