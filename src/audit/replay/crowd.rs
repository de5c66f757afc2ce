//! Whom other rules are asked about: everybody who was there or came since some moment, with what is known of them.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::audit::access::{Known, Seen};
use crate::audit::{Person, Reader, View};
use crate::domain::event::{Event, Private};
use crate::domain::id::{DiscordId, Position, SessionId, Sub};
use crate::domain::record::Record;
use crate::domain::time::Timestamp;

/// A person, who may be a stranger without a pseudonym.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Whom {
    /// The Discord id.
    pub id: Option<String>,
    /// The handle.
    pub username: Option<String>,
    /// The name that is shown.
    pub name: Option<String>,
    /// The pseudonym, once they were let in.
    pub sub: Option<String>,
}

/// Where somebody came in, or was turned away.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Came {
    pub(super) sub: Option<Sub>,
    pub(super) at: Option<Position>,
    pub(super) session: Option<SessionId>,
}

/// Somebody who is asked about; nobody is whoever is not signed in.
pub(super) struct Somebody {
    pub(super) whom: Option<Whom>,
    pub(super) known: Option<Known>,
    pub(super) came: Came,
}

/// Everybody who was there or came since.
pub(super) struct Crowd {
    users: BTreeMap<Sub, Came>,
    turned_away: HashMap<DiscordId, (Known, Position)>,
}

impl Crowd {
    /// Begins with those who were signed in at that moment.
    pub(super) fn at(view: &View, since: Timestamp) -> Crowd {
        let live = view.state.sessions().filter(|session| session.is_live(since));
        let mut newest: Vec<_> = live.map(|session| (session.opened_at, session.id, session.user)).collect();
        newest.sort_unstable();
        let came = |(_, session, sub)| (sub, Came { sub: Some(sub), at: None, session: Some(session) });
        Crowd { users: newest.into_iter().map(came).collect(), turned_away: HashMap::new() }
    }

    pub(super) fn hear(
        &mut self,
        reader: &Reader,
        position: Position,
        record: &Record,
        at: Timestamp,
        counts: bool,
    ) {
        let sub = record.subject.map(|subject| subject.sub);
        for (index, event) in record.events.iter().enumerate() {
            match (event, sub) {
                (Event::SessionOpened { .. }, Some(sub)) if counts => {
                    self.users.insert(sub, Came { sub: Some(sub), at: Some(position), session: None });
                    // They have been let in since.
                    if let Some(id) = reader.opener().id_of(sub) {
                        self.turned_away.remove(&id);
                    }
                }
                (Event::SignInDenied { .. }, _) => {
                    if let Some(Private::Denied(stranger)) = reader.opener().private(record, index) {
                        let seen = Seen { record: record.id, at };
                        let known = Known::of_stranger(*stranger, seen);
                        if let Some(id) = known.id {
                            self.turned_away.insert(id, (known, position));
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// Returns them with what is known of them, and nobody at their head.
    pub(super) fn everybody(mut self, reader: &Reader, view: &View) -> Vec<Somebody> {
        let opener = reader.opener();
        let mut all = Vec::new();
        for (sub, came) in self.users {
            if view.state.user(sub).is_none() {
                continue;
            }
            let mut known = Known::of(&view.state, sub, opener);
            if let Some((later, _)) = known.id.and_then(|id| self.turned_away.remove(&id)) {
                known = later.over(known);
            }
            let Person { sub: text, id, username, name } = view.people.person(sub, opener);
            let whom = Whom { id, username, name, sub: text };
            all.push(Somebody { whom: Some(whom), known: Some(known), came });
        }
        for (id, (known, position)) in self.turned_away {
            let sub = opener.sub_of(id);
            let known = match sub {
                Some(sub) => known.over(Known::of(&view.state, sub, opener)),
                None => known,
            };
            let profile = known.profile.as_ref().map(|(profile, _)| profile);
            let whom = Whom {
                id: Some(id.to_string()),
                username: profile.map(|profile| profile.username.clone()),
                name: profile.map(|profile| profile.display_name().to_owned()),
                sub: sub.map(|sub| sub.to_string()),
            };
            let came = Came { sub, at: Some(position), session: None };
            all.push(Somebody { whom: Some(whom), known: Some(known), came });
        }
        all.sort_by(|a, b| a.whom.cmp(&b.whom));
        all.insert(0, Somebody { whom: None, known: None, came: Came::default() });
        all
    }
}
