//! Who is who: the names that the records tell, and finding a person by one of them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde::Serialize;

use super::Opener;
use crate::domain::event::{Event, Profile};
use crate::domain::id::{DiscordId, Sub};
use crate::domain::record::{Owner, Record, SealedBox, Subject};
use crate::domain::state::{Fact, FactOf, State};

/// A person, as an answer names them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Person {
    /// The pseudonym; somebody who was never let in has none.
    pub sub: Option<String>,
    /// The Discord id, unless they were erased or the keys are not there.
    pub id: Option<String>,
    /// The handle, as far as it is known at that moment.
    pub username: Option<String>,
    /// The name that is shown.
    pub name: Option<String>,
}

/// Nobody, or not one person alone, goes by that name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOnePerson {
    /// Nobody.
    #[error("nobody in this log goes by that name")]
    Nobody,
    /// Several: say which by id.
    #[error("more than one person goes by that name")]
    Ambiguous(Vec<Person>),
}

impl Person {
    /// Returns what they are called: their name, and the pseudonym where that is not known.
    pub fn by_name(&self) -> &str {
        self.name.as_deref().or(self.sub.as_deref()).unwrap_or("somebody")
    }
}

/// The names of people as the records tell them, one record after the other; boxes are opened when asked for.
#[derive(Clone, Default)]
pub struct People {
    known: HashMap<Sub, Fact>,
}

impl People {
    /// Takes in everybody whom a state knows.
    pub fn of(state: &State) -> People {
        People { known: state.users().filter_map(|(sub, user)| Some((sub, user.profile.clone()?))).collect() }
    }

    /// Takes in what a record says about somebody's name.
    pub fn hear(&mut self, record: &Record) {
        let Some(Subject { sub, .. }) = record.subject else { return };
        for (index, event) in (0..).zip(&record.events) {
            match event {
                Event::ProfileObserved => {
                    let own = |sealed: &&Arc<SealedBox>| sealed.owner == Owner::Subject(sub);
                    if let Some(sealed) = record.sealed.iter().find(own).cloned() {
                        let fact = Fact { record: record.id, sealed, index, of: FactOf::ProfileObserved };
                        self.known.insert(sub, fact);
                    }
                }
                Event::UserErased { .. } => drop(self.known.remove(&sub)),
                _ => {}
            }
        }
    }

    /// Returns how an answer names somebody.
    pub fn person(&self, sub: Sub, opener: &Opener) -> Person {
        let profile = self.profile(sub, opener);
        let id = profile.as_ref().map(|profile| profile.id).or_else(|| opener.id_of(sub));
        Person {
            sub: Some(sub.to_string()),
            id: id.map(|id| id.to_string()),
            username: profile.as_ref().map(|profile| profile.username.clone()),
            name: profile.map(|profile| profile.display_name().to_owned()),
        }
    }

    fn profile(&self, sub: Sub, opener: &Opener) -> Option<Profile> {
        opener.profile(self.known.get(&sub)?)
    }

    /// Returns whom a pseudonym or a Discord id names. What anybody is called has no part in that, so whoever asks like
    /// this need not know it.
    pub fn named(text: &str, opener: &Opener) -> Option<Sub> {
        // Somebody may call themselves by another's id, but an id names one person only.
        let by_id = || opener.sub_of(text.parse::<DiscordId>().ok()?);
        text.parse::<Sub>().ok().or_else(by_id)
    }

    /// Finds a person by Discord id, username, display name or pseudonym, in any case.
    ///
    /// Display names can be chosen freely, so a name that fits two people is never a guess.
    pub fn find(&self, text: &str, opener: &Opener) -> Result<Sub, NotOnePerson> {
        if let Some(sub) = People::named(text, opener) {
            return Ok(sub);
        }
        let wanted = text.to_lowercase();
        let goes_by = |profile: &Profile| {
            profile.username.to_lowercase() == wanted || profile.display_name().to_lowercase() == wanted
        };
        let found: BTreeSet<Sub> = self
            .known
            .iter()
            .filter(|(_, fact)| opener.profile(fact).as_ref().is_some_and(goes_by))
            .map(|(sub, _)| *sub)
            .collect();
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            (None, _) => Err(NotOnePerson::Nobody),
            (Some(one), None) => Ok(one),
            (Some(one), Some(other)) => {
                let all = [one, other].into_iter().chain(found);
                let mut all: Vec<Person> = all.map(|sub| self.person(sub, opener)).collect();
                all.sort_by(|a, b| a.id.cmp(&b.id));
                Err(NotOnePerson::Ambiguous(all))
            }
        }
    }
}
