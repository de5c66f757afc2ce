//! Opens what is sealed, as far as the keys that are there go; what they do not open stays unknown.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use crate::crypto::KeyRing;
use crate::domain::event::{Event, Origin, Private, Profile};
use crate::domain::id::{DiscordId, Sub};
use crate::domain::record::{Owner, Record, SealedBox};
use crate::domain::state::State;
use crate::event_log::codec;

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

/// Opens boxes with the keys of the log, or with none.
#[derive(Clone, Default)]
pub struct Opener {
    keys: Option<Arc<KeyRing>>,
}

impl Opener {
    /// Opens with these keys; with none, everything sealed is unknown.
    pub fn new(keys: Option<Arc<KeyRing>>) -> Opener {
        Opener { keys }
    }

    /// Returns the personal fact of an event of the record.
    pub fn private(&self, record: &Record, index: usize) -> Option<Private> {
        let kind = codec::kind_of(record.events.get(index)?);
        let index = u16::try_from(index).ok()?;
        record.sealed.iter().find_map(|sealed| {
            let plaintext = self.open(record, sealed)?;
            codec::private_in(&plaintext, index, kind).ok()?
        })
    }

    /// Returns from where the record came.
    pub fn origin(&self, record: &Record) -> Option<Origin> {
        record.sealed.iter().filter(|sealed| matches!(sealed.owner, Owner::Context(..))).find_map(|sealed| {
            let plaintext = self.open(record, sealed)?;
            codec::origin_in(&plaintext).ok()?
        })
    }

    /// Returns the Discord id behind a pseudonym.
    pub fn id_of(&self, sub: Sub) -> Option<DiscordId> {
        self.keys.as_ref()?.discord_id_of(sub)
    }

    fn open(&self, record: &Record, sealed: &SealedBox) -> Option<zeroize::Zeroizing<Vec<u8>>> {
        self.keys.as_ref()?.unseal(record.id, sealed).ok()
    }
}

/// The names of people as the records tell them, one record after the other.
#[derive(Clone, Default)]
pub(super) struct Names {
    known: HashMap<Sub, Arc<Profile>>,
}

impl Names {
    /// Takes in what a record says about somebody's name.
    pub(super) fn hear(&mut self, record: &Record, opener: &Opener) {
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

    /// Takes in everybody whom a state knows.
    pub(super) fn of(state: &State, opener: &Opener) -> Names {
        let keys = opener.keys.as_deref();
        let known = state.users().filter_map(|(sub, user)| {
            let fact = user.profile.as_ref()?;
            let plaintext = keys?.unseal(fact.record, &fact.sealed).ok()?;
            match codec::private_in(&plaintext, fact.index, codec::PROFILE_OBSERVED).ok()?? {
                Private::Profile(profile) => Some((sub, Arc::new(profile))),
                _ => None,
            }
        });
        Names { known: known.collect() }
    }

    pub(super) fn person(&self, sub: Sub, opener: &Opener) -> Person {
        let profile = self.known.get(&sub);
        let id = profile.map(|profile| profile.id).or_else(|| opener.id_of(sub));
        Person {
            sub: sub.to_string(),
            id: id.map(|id| id.to_string()),
            username: profile.map(|profile| profile.username.clone()),
            name: profile.map(|profile| profile.display_name().to_owned()),
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (Sub, &Profile)> {
        self.known.iter().map(|(sub, profile)| (*sub, &**profile))
    }
}
