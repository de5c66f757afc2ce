//! The strings behind the stage: plays people, spoils answers, moves state, and reads what was asked.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::authorize::{Refusal, Request, press, skips};
use super::faults::Fault;
use super::people::{Membership, Person, id};
use super::requests::{Requests, Route};
use super::store::StoreError;
use super::switches::Switches;
use super::webhook::{self, Sent};
use super::{Shared, lock};
use crate::domain::id::DiscordId;

/// The means to direct a running stand-in; the control endpoint offers the same over HTTP.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

/// Why the stand-in could not be directed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Nobody has this id.
    #[error("nobody has this id")]
    UnknownPerson,
    /// Discord would show an error page, and the browser would go nowhere.
    #[error("Discord shows an error page: {0}")]
    ErrorPage(&'static str),
    /// What was sent is not what it should be.
    #[error("not understood")]
    NotUnderstood(#[source] serde_json::Error),
    /// What was granted could not be stored.
    #[error("the grants could not be stored")]
    Store(#[from] StoreError),
}

/// What came of playing a person at the consent page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Played {
    /// Where the browser goes: the callback with a code or an error.
    pub location: String,
    /// Whether the consent page was shown.
    pub asked: bool,
}

/// What one person granted to one application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The application.
    #[serde(with = "id")]
    pub application: DiscordId,
    /// The person.
    #[serde(with = "id")]
    pub user: DiscordId,
    /// Every scope ever granted, sorted.
    pub scopes: Vec<String>,
    /// How many access tokens are alive.
    pub access_tokens: usize,
    /// How many refresh tokens are alive.
    pub refresh_tokens: usize,
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Control(..)")
    }
}

impl Control {
    pub(super) fn new(shared: Arc<Shared>) -> Control {
        Control { shared }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Plays `user` at the consent page, signed in already: presses Authorize, or Cancel.
    ///
    /// `address` is the whole authorize URL or its query. Under `prompt=none`, and where everything was granted
    /// before, the page is not shown and nothing can be refused.
    pub async fn authorize(
        &self,
        address: &str,
        user: DiscordId,
        approve: bool,
    ) -> Result<Played, ControlError> {
        let shared = &self.shared;
        if shared.world().person(user).is_none() {
            return Err(ControlError::UnknownPerson);
        }
        let query = address.split_once('?').map_or(address, |(_, query)| query);
        let query = query.split_once('#').map_or(query, |(query, _)| query);
        let mut asked = false;
        let location = Request::read(shared, query).and_then(|request| {
            asked = !skips(shared, &request, user);
            press(shared, &request, user, approve || !asked)
        });
        shared.save().await?;
        match location {
            Ok(location) | Err(Refusal::Redirect(location)) => Ok(Played { location, asked }),
            Err(Refusal::Page { title, .. }) => Err(ControlError::ErrorPage(title)),
        }
    }

    /// Lets a fault wait for its request; faults are played in the order in which they were added.
    pub fn add_fault(&self, fault: Fault) {
        lock(&self.shared.faults).add(fault);
    }

    /// Returns the faults that wait.
    pub fn faults(&self) -> Vec<Fault> {
        lock(&self.shared.faults).list()
    }

    /// Forgets the faults that wait; answers that are held stay held.
    pub fn clear_faults(&self) {
        lock(&self.shared.faults).clear();
    }

    /// Lets all answers go that a [`Hold`](super::faults::FaultKind::Hold) holds now.
    pub fn release(&self) {
        self.shared.released.send_replace(());
    }

    /// Waits until at least `count` answers are held at once.
    pub async fn wait_until_held(&self, count: u64) {
        // The sender lives in `self`, so it cannot be gone.
        let _ = self.shared.held.subscribe().wait_for(|held| *held >= count).await;
    }

    /// Removes every application from a person's account, as they do in their settings; returns whether there was one.
    ///
    /// All tokens die at once, and the applications are told where [`Self::tell`] says so.
    pub async fn deauthorize(&self, user: DiscordId) -> Result<bool, ControlError> {
        let removed = {
            let mut world = self.shared.world();
            let all = world.tokens.authorizations().keys();
            let removed: Vec<DiscordId> =
                all.filter(|parties| parties.1 == user).map(|parties| parties.0).collect();
            world.tokens.end_all_of(user);
            removed
        };
        self.shared.save().await?;
        for application in &removed {
            webhook::tell_deauthorized(&self.shared, *application, user);
        }
        Ok(!removed.is_empty())
    }

    /// Says where signed events go, over http; at the start they go nowhere.
    pub fn tell(&self, url: Option<String>) {
        self.shared.post.set_url(url);
    }

    /// Waits until at least `count` events have been taken or given up, and returns them.
    pub async fn told(&self, count: usize) -> Vec<Sent> {
        let mut sent = self.shared.post.sent();
        // The sender lives in `self`, so it cannot be gone.
        sent.wait_for(|sent| sent.len() >= count).await.map(|sent| sent.clone()).unwrap_or_default()
    }

    /// Lets the access tokens of one person, or of all, expire; returns how many did. Refresh tokens live on.
    pub async fn expire_tokens(&self, user: Option<DiscordId>) -> Result<usize, ControlError> {
        let now = self.shared.clock.now();
        let expired = self.shared.world().tokens.expire(user, now);
        self.shared.save().await?;
        Ok(expired)
    }

    /// Returns who granted what, and how many tokens are alive.
    pub fn grants(&self) -> Vec<Grant> {
        let now = self.shared.clock.now();
        let world = self.shared.world();
        let grants = world.tokens.authorizations().iter().map(|((application, user), authorization)| Grant {
            application: *application,
            user: *user,
            scopes: authorization.scopes.iter().cloned().collect(),
            access_tokens: authorization.pairs.iter().filter(|pair| now < pair.expires_at).count(),
            refresh_tokens: authorization.pairs.iter().filter(|pair| pair.refresh.is_some()).count(),
        });
        grants.collect()
    }

    /// Returns who can sign in.
    pub fn people(&self) -> Vec<Person> {
        self.shared.world().people.clone()
    }

    /// Changes the person with this id, or adds them.
    pub fn put_person(&self, person: Person) {
        let mut world = self.shared.world();
        match world.people.iter_mut().find(|known| known.id == person.id) {
            Some(known) => *known = person,
            None => world.people.push(person),
        }
    }

    /// Changes a person; returns whether there is one with this id.
    pub fn change_person(&self, user: DiscordId, change: impl FnOnce(&mut Person)) -> bool {
        let mut world = self.shared.world();
        let person = world.people.iter_mut().find(|person| person.id == user);
        person.map(change).is_some()
    }

    /// Makes a person a member of a guild, with these roles and no others, or changes what they are there; returns
    /// whether there is such a person.
    pub fn join(&self, user: DiscordId, membership: Membership) -> bool {
        self.change_person(user, |person| {
            person.guilds.retain(|known| known.guild != membership.guild);
            person.guilds.push(membership);
        })
    }

    /// Lets a person leave a guild; returns whether there is such a person.
    pub fn leave(&self, user: DiscordId, guild: DiscordId) -> bool {
        self.change_person(user, |person| person.guilds.retain(|known| known.guild != guild))
    }

    /// Removes an account, and all tokens with it; returns whether there was one.
    pub async fn remove_person(&self, user: DiscordId) -> Result<bool, ControlError> {
        let removed = {
            let mut world = self.shared.world();
            let before = world.people.len();
            world.people.retain(|person| person.id != user);
            world.tokens.end_all_of(user);
            world.people.len() < before
        };
        self.shared.save().await?;
        Ok(removed)
    }

    /// Returns the switches as they stand.
    pub fn switches(&self) -> Switches {
        self.shared.world().switches.clone()
    }

    /// Changes the switches.
    pub fn change_switches(&self, change: impl FnOnce(&mut Switches)) {
        change(&mut self.shared.world().switches);
    }

    /// Puts the switches back to what they were at the start.
    pub fn reset_switches(&self) {
        self.shared.world().switches = self.shared.first_switches.clone();
    }

    /// Bans everybody for so long: every path but the control endpoint answers `error code: 1015`.
    pub fn ban(&self, how_long: Duration) {
        let until = self.shared.clock.monotonic().saturating_add(how_long);
        lock(&self.shared.traffic).ban_everybody(Some(until));
    }

    /// Ends all bans.
    pub fn end_bans(&self) {
        lock(&self.shared.traffic).ban_everybody(None);
    }

    /// Returns what was asked since the start, or since it was last forgotten.
    pub fn requests(&self) -> Requests {
        self.shared.notebook.read()
    }

    /// Returns how many requests there were on a route.
    pub fn count(&self, route: Route) -> u64 {
        self.shared.notebook.count(route)
    }

    /// Forgets what was asked.
    pub fn forget_requests(&self) {
        self.shared.notebook.forget();
    }

    /// Waits until at least `count` requests on `route` have been read, answered or not.
    pub async fn wait_for(&self, route: Route, count: u64) {
        self.shared.notebook.wait_for(route, count).await;
    }

    /// Changes some of a person's fields, or adds a person, from JSON.
    pub(super) fn merge_person(&self, changes: Value) -> Result<Person, ControlError> {
        #[derive(Deserialize)]
        struct Who {
            #[serde(with = "id")]
            id: DiscordId,
        }
        let who: Who = serde_json::from_value(changes.clone()).map_err(ControlError::NotUnderstood)?;
        let known = self.people().into_iter().find(|person| person.id == who.id);
        let person: Person = match known {
            Some(person) => merged(&person, changes)?,
            None => serde_json::from_value(changes).map_err(ControlError::NotUnderstood)?,
        };
        self.put_person(person.clone());
        Ok(person)
    }

    /// Changes some switches, from JSON.
    pub(super) fn merge_switches(&self, changes: Value) -> Result<Switches, ControlError> {
        let switches: Switches = merged(&self.switches(), changes)?;
        self.change_switches(|all| *all = switches.clone());
        Ok(switches)
    }
}

fn merged<T: Serialize + for<'de> Deserialize<'de>>(old: &T, changes: Value) -> Result<T, ControlError> {
    let mut all = serde_json::to_value(old).map_err(ControlError::NotUnderstood)?;
    if let (Value::Object(all), Value::Object(changes)) = (&mut all, changes) {
        all.extend(changes);
    }
    serde_json::from_value(all).map_err(ControlError::NotUnderstood)
}
