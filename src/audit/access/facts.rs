//! What is known of somebody, as last seen, and where the log says so.

use std::collections::{BTreeSet, HashMap};

use crate::audit::{Filter, Opener, ReadError, Reader};
use crate::domain::access::Person;
use crate::domain::event::{Event, Membership, Profile, Stranger};
use crate::domain::id::{DiscordId, Position, RecordId, SessionId, Sub};
use crate::domain::record::Record;
use crate::domain::rules::{Rules, Term};
use crate::domain::state::State;
use crate::domain::time::Timestamp;

/// What is known of somebody.
#[derive(Clone, Default)]
pub(in crate::audit) struct Known {
    /// Who it is, unless they were erased or the keys are not there.
    pub(in crate::audit) id: Option<DiscordId>,
    /// The profile.
    pub(in crate::audit) profile: Option<(Profile, Seen)>,
    /// What they are in guilds, one a guild.
    memberships: Vec<Membership>,
    /// Where each of these comes from, in the same order.
    seen: Vec<Seen>,
}

/// Where a fact comes from.
#[derive(Clone, Copy)]
pub(in crate::audit) struct Seen {
    /// The record that says so.
    pub(in crate::audit) record: RecordId,
    /// When it was recorded.
    pub(in crate::audit) at: Timestamp,
}

impl Known {
    /// Opens what a state has of a user.
    pub(in crate::audit) fn of(state: &State, sub: Sub, opener: &Opener) -> Known {
        let Some(user) = state.user(sub) else {
            let id = if state.is_erased(sub) { None } else { opener.id_of(sub) };
            return Known { id, ..Known::default() };
        };
        let profile = user.profile.as_ref().and_then(|fact| {
            Some((opener.profile(fact)?, Seen { record: fact.record, at: user.profile_at }))
        });
        let opened = user.memberships.values().filter_map(|found| {
            let seen = Seen { record: found.fact.record, at: found.at };
            Some((opener.membership(&found.fact)?, seen))
        });
        let (memberships, seen) = opened.unzip();
        let id = profile.as_ref().map(|(profile, _)| profile.id).or_else(|| opener.id_of(sub));
        Known { id, profile, memberships, seen }
    }

    /// Returns what was seen of somebody who was turned away.
    pub(in crate::audit) fn of_stranger(stranger: Stranger, seen: Seen) -> Known {
        let Stranger { profile, memberships } = stranger;
        let places = vec![seen; memberships.len()];
        Known { id: Some(profile.id), profile: Some((profile, seen)), memberships, seen: places }
    }

    /// Returns all of this, and of the other only what is not known here.
    pub(in crate::audit) fn over(mut self, older: Known) -> Known {
        self.id = self.id.or(older.id);
        self.profile = self.profile.or(older.profile);
        for (membership, seen) in older.memberships.into_iter().zip(older.seen) {
            if self.membership(membership.guild).is_none() {
                self.memberships.push(membership);
                self.seen.push(seen);
            }
        }
        self
    }

    /// Returns only what was recorded then or later: of an older profile all but the address, which grows old too.
    pub(in crate::audit) fn since(&self, then: Timestamp) -> Known {
        let lately = self.memberships().filter(|(_, seen)| seen.at >= then);
        let (memberships, seen) = lately.map(|(known, seen)| (known.clone(), *seen)).unzip();
        let mut profile = self.profile.clone();
        if let Some((profile, _)) = profile.as_mut().filter(|(_, seen)| seen.at < then) {
            (profile.email, profile.email_verified) = (None, None);
        }
        Known { id: self.id, profile, memberships, seen }
    }

    /// Returns the person as rules see them.
    pub(in crate::audit) fn person(&self) -> Option<Person<'_>> {
        let profile = self.profile.as_ref().map(|(profile, _)| profile);
        Some(Person { id: self.id?, profile, memberships: &self.memberships })
    }

    /// Returns what they are in guilds, each with where that comes from.
    pub(in crate::audit) fn memberships(&self) -> impl Iterator<Item = (&Membership, &Seen)> {
        self.memberships.iter().zip(&self.seen)
    }

    /// Returns what they are in that guild.
    pub(in crate::audit) fn membership(&self, guild: DiscordId) -> Option<(&Membership, &Seen)> {
        self.memberships().find(|(known, _)| known.guild == guild)
    }

    /// Returns the fact by which a term that leads to no other is answered, where there is one.
    pub(in crate::audit) fn decides(&self, term: &Term) -> Option<&Seen> {
        match term {
            Term::Guild(guild) | Term::Role { guild, .. } => self.membership(*guild).map(|(_, seen)| seen),
            Term::EmailDomain(_) => self.profile.as_ref().map(|(_, seen)| seen),
            Term::User(_) | Term::Group(_) | Term::SignedIn | Term::Admin => None,
        }
    }

    /// Returns every record from which something is known.
    pub(in crate::audit) fn records(&self) -> impl Iterator<Item = RecordId> {
        let profile = self.profile.iter().map(|(_, seen)| seen);
        profile.chain(&self.seen).map(|seen| seen.record)
    }
}

/// Returns the terms to which these lead, and which lead to no others.
pub(in crate::audit) fn flat<'r>(
    rules: &'r Rules,
    terms: impl IntoIterator<Item = &'r Term>,
) -> Vec<&'r Term> {
    let of_group = |term: &'r Term| match term {
        Term::Group(name) => rules.group(name).map_or(&[][..], |group| &group.any).iter().collect(),
        term => vec![term],
    };
    let of_admins = |term: &'r Term| match term {
        Term::Admin => rules.admins.iter().flat_map(of_group).collect(),
        term => of_group(term),
    };
    terms.into_iter().flat_map(of_admins).collect()
}

/// Where the log says what was asked for.
#[derive(Default)]
pub(in crate::audit) struct Places {
    records: HashMap<RecordId, Option<Position>>,
    opened: HashMap<SessionId, Option<(RecordId, Position)>>,
}

impl Places {
    /// Asks for these records, and for the records that opened these sessions.
    pub(in crate::audit) fn wanted(
        records: impl IntoIterator<Item = RecordId>,
        sessions: impl IntoIterator<Item = SessionId>,
    ) -> Places {
        Places {
            records: records.into_iter().map(|record| (record, None)).collect(),
            opened: sessions.into_iter().map(|session| (session, None)).collect(),
        }
    }

    /// Returns where the record stands.
    pub(in crate::audit) fn of(&self, record: RecordId) -> Option<Position> {
        self.records.get(&record).copied().flatten()
    }

    /// Returns where the session was opened.
    pub(in crate::audit) fn opened(&self, session: SessionId) -> Option<Position> {
        self.opened.get(&session).copied().flatten().map(|(_, position)| position)
    }

    /// Takes in where a record stands.
    pub(in crate::audit) fn know(&mut self, record: RecordId, position: Position) {
        self.records.insert(record, Some(position));
    }

    fn hear(&mut self, position: Position, record: &Record) {
        // What storage has kept twice counts where it stands first.
        if let Some(place) = self.records.get_mut(&record.id) {
            place.get_or_insert(position);
        }
        for event in &record.events {
            if let Event::SessionOpened { session, .. } = event
                && let Some(place) = self.opened.get_mut(session)
                // A record that was overtaken stands before the one that counts.
                && place.is_none_or(|(known, _)| known != record.id)
            {
                *place = Some((record.id, position));
            }
        }
    }
}

impl Reader {
    /// Finds where these are among the records about users.
    pub(in crate::audit) async fn find_places(
        &self,
        mut places: Places,
        users: BTreeSet<Sub>,
        up_to: Position,
    ) -> Result<Places, ReadError> {
        let filter = Filter { users: Some(users), ..Filter::default() };
        let hear = |position, record: &Record, _| {
            places.hear(position, record);
            true
        };
        self.what_matters(&filter, up_to, hear).await?;
        Ok(places)
    }

    /// Finds where the rules stand that came with that record.
    pub(in crate::audit) async fn place_of_rules(
        &self,
        record: RecordId,
        up_to: Position,
    ) -> Result<Option<Position>, ReadError> {
        let mut places = Places::wanted([record], []);
        let filter = Filter { kind: Some("rules.changed".into()), ..Filter::default() };
        let hear = |position, found: &Record, _| {
            places.hear(position, found);
            true
        };
        self.what_matters(&filter, up_to, hear).await?;
        Ok(places.of(record))
    }
}
