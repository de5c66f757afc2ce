//! What is different between two moments: sessions, users, authorizations, memberships, rules and keys, each with
//! the position that says so.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::rows::kind_of;
use super::words::membership;
use super::{People, Person, ReadError, Reader, View, When, in_words};
use crate::domain::event::Event;
use crate::domain::id::{GrantId, Position, SessionId, Sub};
use crate::domain::record::Record;
use crate::domain::state::{Session, State};
use crate::domain::time::Timestamp;

/// Something that is there at the second moment and not at the first, or the other way round.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// For example `session opened`.
    pub what: &'static str,
    /// Where the log says so; what only time has ended stands nowhere.
    pub position: Option<u64>,
    /// When.
    pub time: Option<String>,
    /// Whose.
    pub user: Option<Person>,
    /// The session, the authorization, the key, the guild or the rules.
    pub id: Option<String>,
    /// In a few words.
    pub summary: String,
}

/// Where the log speaks of something for the last time.
#[derive(Clone)]
struct Said {
    position: Position,
    at: Timestamp,
    summary: String,
}

/// Everything that was said between the two moments.
#[derive(Default)]
struct Between {
    opened: HashMap<SessionId, Said>,
    ended: HashMap<SessionId, Said>,
    issued: HashMap<GrantId, Said>,
    revoked: HashMap<GrantId, Said>,
    /// The first authorization of each user in between: it replaced the one before.
    replaced: HashMap<Sub, Said>,
    users: HashMap<Sub, Said>,
    erased: BTreeMap<Sub, Said>,
    all_ended: Option<Said>,
    observed: HashMap<(Sub, u16), Said>,
    rules: Option<Said>,
    others: Vec<(Said, &'static str)>,
}

impl Reader {
    /// Returns what changed from one moment to a later one; `None` where the log had not begun by the second.
    ///
    /// Where it had not begun by the first, nothing was there, and everything is new.
    pub async fn diff(&self, from: When, to: When, now: Timestamp) -> Result<Option<Vec<Change>>, ReadError> {
        let Some(last) = self.position(to).await? else { return Ok(None) };
        let first = self.view(from, now).await?;
        let nothing = || View { state: State::default(), people: People::default(), now: Timestamp(0) };
        let first = first.unwrap_or_else(nothing);
        let mut second = first.clone();
        let mut between = Between::default();
        let begins = first.state.position().map_or(Position(0), Position::next);
        if begins <= last {
            self.each(begins, last, |position, record| {
                second.state.apply(position, record);
                second.people.hear(record);
                between.hear(position, second.state.eff(), record);
            })
            .await?;
        }
        second.now = match to {
            When::Now => now,
            When::At(at) => at,
            When::After(_) => second.state.eff(),
        };
        Ok(Some(Comparison { reader: self, first: &first, second: &second, between: &between }.changes()))
    }
}

impl Between {
    fn hear(&mut self, position: Position, at: Timestamp, record: &Record) {
        let sub = record.subject.map(|subject| subject.sub);
        for event in &record.events {
            let said = Said { position, at, summary: in_words(event, None) };
            match event {
                Event::SessionOpened { session, .. } => {
                    self.opened.insert(*session, said.clone());
                    sub.map(|sub| self.users.entry(sub).or_insert(said));
                }
                Event::SessionRevoked { sessions, .. } => {
                    sessions.iter().for_each(|id| drop(self.ended.insert(*id, said.clone())));
                }
                Event::GrantIssued { grant, .. } => {
                    self.issued.insert(*grant, said.clone());
                    sub.map(|sub| self.replaced.entry(sub).or_insert(said));
                }
                Event::GrantRevoked { grant, .. } => drop(self.revoked.insert(*grant, said)),
                Event::UserErased { sessions, .. } => {
                    sessions.iter().for_each(|id| drop(self.ended.insert(*id, said.clone())));
                    sub.map(|sub| self.erased.insert(sub, said));
                }
                Event::LogLossAccepted { .. } | Event::LogRestored { .. } => {
                    self.all_ended = Some(said.clone());
                    self.others.push((said, kind_of(event)));
                }
                Event::MembershipObserved { slot } => {
                    sub.map(|sub| self.observed.insert((sub, *slot), said));
                }
                Event::RulesChanged { .. } => self.rules = Some(said),
                Event::KeyRotated { .. } | Event::KeyDestroyed { .. } => {
                    self.others.push((said, kind_of(event)));
                }
                _ => {}
            }
        }
    }
}

/// Returns the sessions of a state, the oldest first: the state itself has them in no order.
fn in_order(view: &View) -> Vec<&Session> {
    let mut sessions: Vec<&Session> = view.state.sessions().collect();
    sessions.sort_by_key(|session| (session.opened_at, session.id));
    sessions
}

/// Two states, and what was said between them.
struct Comparison<'a> {
    reader: &'a Reader,
    first: &'a View,
    second: &'a View,
    between: &'a Between,
}

impl Comparison<'_> {
    fn changes(&self) -> Vec<Change> {
        let mut all = Vec::new();
        self.sessions(&mut all);
        self.people_and_grants(&mut all);
        self.memberships(&mut all);
        self.rules(&mut all);
        for (said, kind) in &self.between.others {
            all.push(self.change(kind, Some(said), None, None));
        }
        all.sort_by_key(|change| (change.position.is_none(), change.position, change.time.clone()));
        all
    }

    fn sessions(&self, all: &mut Vec<Change>) {
        let between = self.between;
        let is_live = |view: &View, id: SessionId| {
            view.state.session(id).is_some_and(|session| session.is_live(view.now))
        };
        for session in in_order(self.second) {
            if is_live(self.second, session.id) && !is_live(self.first, session.id) {
                let said = between.opened.get(&session.id);
                all.push(self.change(
                    "session opened",
                    said,
                    Some(session.user),
                    Some(session.id.to_string()),
                ));
            }
        }
        for session in in_order(self.first) {
            if !is_live(self.first, session.id) || is_live(self.second, session.id) {
                continue;
            }
            let id = Some(session.id.to_string());
            let said = between.ended.get(&session.id).or(between.all_ended.as_ref());
            let mut change = self.change("session ended", said, Some(session.user), id);
            if said.is_none() {
                let seen = self.second.state.session(session.id).unwrap_or(session);
                change.time = Some(seen.deadline().to_string());
                change.summary = "time: it ran out".into();
            }
            all.push(change);
        }
    }

    fn people_and_grants(&self, all: &mut Vec<Change>) {
        let between = self.between;
        for (sub, user) in self.second.state.users() {
            let before = self.first.state.user(sub);
            if before.is_none() {
                all.push(self.change("user new", between.users.get(&sub), Some(sub), None));
            }
            let (then, now) = (before.and_then(|user| user.grant.as_ref()), user.grant.as_ref());
            if let Some(grant) = now.filter(|grant| then.is_none_or(|then| then.id != grant.id)) {
                let said = between.issued.get(&grant.id);
                all.push(self.change("grant issued", said, Some(sub), Some(grant.id.to_string())));
            }
            if let Some(grant) = then.filter(|grant| now.is_none_or(|now| now.id != grant.id)) {
                let id = Some(grant.id.to_string());
                all.push(match between.revoked.get(&grant.id) {
                    Some(said) => self.change("grant ended", Some(said), Some(sub), id),
                    None => {
                        let mut change =
                            self.change("grant ended", between.replaced.get(&sub), Some(sub), id);
                        change.summary = "a newer one took its place".into();
                        change
                    }
                });
            }
        }
        for (sub, said) in &between.erased {
            all.push(self.change("user erased", Some(said), Some(*sub), None));
        }
    }

    /// Of somebody new it is enough to say that they are.
    fn memberships(&self, all: &mut Vec<Change>) {
        for (sub, user) in self.second.state.users() {
            let Some(before) = self.first.state.user(sub) else { continue };
            for (slot, seen) in &user.memberships {
                if before.memberships.get(slot) == Some(seen) {
                    continue;
                }
                let said = self.between.observed.get(&(sub, *slot));
                let mut change = self.change("membership changed", said, Some(sub), None);
                if let Some(seen) = self.reader.opener().membership(&seen.fact) {
                    change.id = Some(seen.guild.to_string());
                    change.summary = membership(&seen);
                }
                all.push(change);
            }
        }
    }

    fn rules(&self, all: &mut Vec<Change>) {
        let (before, after) = (self.first.state.rules(), self.second.state.rules());
        if let Some(rules) = after.filter(|after| before.is_none_or(|before| before.hash != after.hash)) {
            let said = self.between.rules.as_ref();
            all.push(self.change("rules changed", said, None, Some(rules.hash.to_string())));
        }
    }

    fn change(
        &self,
        what: &'static str,
        said: Option<&Said>,
        user: Option<Sub>,
        id: Option<String>,
    ) -> Change {
        let person = |people: &People, sub| people.person(sub, self.reader.opener());
        Change {
            what,
            position: said.map(|said| said.position.0),
            time: said.map(|said| said.at.to_string()),
            user: user.map(|sub| person(&self.second.people, sub)),
            id,
            summary: said.map(|said| said.summary.clone()).unwrap_or_default(),
        }
    }
}
