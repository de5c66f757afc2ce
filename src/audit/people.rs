//! Who is who: the names that the records tell, and finding a person by one of them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde::Serialize;

use super::Opener;
use crate::domain::event::{Event, Private, Profile};
use crate::domain::id::{DiscordId, Sub};
use crate::domain::record::Record;

/// A person, as an answer names them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Person {
    /// The pseudonym.
    pub sub: String,
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

/// The names of people as the records tell them, one record after the other.
#[derive(Clone, Default)]
pub struct People {
    known: HashMap<Sub, Arc<Profile>>,
}

impl People {
    /// Takes in what a record says about somebody's name.
    pub fn hear(&mut self, record: &Record, opener: &Opener) {
        let Some(subject) = record.subject else { return };
        for (index, event) in record.events.iter().enumerate() {
            match event {
                Event::ProfileObserved => {
                    if let Some(Private::Profile(profile)) = opener.private(record, index) {
                        self.known.insert(subject.sub, Arc::new(profile));
                    }
                }
                Event::UserErased { .. } => drop(self.known.remove(&subject.sub)),
                _ => {}
            }
        }
    }

    /// Returns how an answer names somebody.
    pub fn person(&self, sub: Sub, opener: &Opener) -> Person {
        let profile = self.known.get(&sub);
        let id = profile.map(|profile| profile.id).or_else(|| opener.id_of(sub));
        Person {
            sub: sub.to_string(),
            id: id.map(|id| id.to_string()),
            username: profile.map(|profile| profile.username.clone()),
            name: profile.map(|profile| profile.display_name().to_owned()),
        }
    }

    /// Finds a person by Discord id, username, display name or pseudonym, in any case.
    ///
    /// Display names can be chosen freely, so a name that fits two people is never a guess.
    pub fn find(&self, text: &str, opener: &Opener) -> Result<Sub, NotOnePerson> {
        if let Ok(sub) = text.parse::<Sub>() {
            return Ok(sub);
        }
        // Somebody may call themselves by another's id, but an id names one person only.
        if let Ok(id) = text.parse::<DiscordId>()
            && let Some(sub) = self.by_id(id).or_else(|| opener.sub_of(id))
        {
            return Ok(sub);
        }
        let wanted = text.to_lowercase();
        let goes_by = |profile: &Profile| {
            profile.username.to_lowercase() == wanted || profile.display_name().to_lowercase() == wanted
        };
        let found: BTreeSet<Sub> =
            self.known.iter().filter(|(_, profile)| goes_by(profile)).map(|(sub, _)| *sub).collect();
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

    fn by_id(&self, id: DiscordId) -> Option<Sub> {
        self.known.iter().find(|(_, profile)| profile.id == id).map(|(sub, _)| *sub)
    }
}
