//! Opens what is sealed, as far as the keys that are there go; what they do not open stays unknown.

use std::sync::Arc;

use crate::crypto::KeyRing;
use crate::domain::event::{Membership, Origin, Private, Profile};
use crate::domain::id::{DiscordId, LogId, Sub};
use crate::domain::record::{Owner, Record, SealedBox};
use crate::domain::state::{Fact, User};
use crate::domain::time::Timestamp;
use crate::event_log::codec;

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

    /// Returns the log whose keys these are.
    pub fn log_id(&self) -> Option<LogId> {
        self.keys.as_ref().map(|keys| keys.log_id())
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

    /// Returns whether the keys open this box.
    pub fn opens(&self, record: &Record, sealed: &SealedBox) -> bool {
        self.open(record, sealed).is_some()
    }

    /// Returns the profile that a fact of the state holds.
    pub fn profile(&self, fact: &Fact) -> Option<Profile> {
        match self.private_of(fact, codec::PROFILE_OBSERVED)? {
            Private::Profile(profile) => Some(profile),
            _ => None,
        }
    }

    /// Returns what a user is in guilds as last seen, each with the moment when it was recorded.
    pub fn memberships(&self, user: &User) -> Vec<(Membership, Timestamp)> {
        let opened =
            user.memberships.values().filter_map(|seen| Some((self.membership(&seen.fact)?, seen.at)));
        opened.collect()
    }

    /// Returns the membership that a fact of the state holds.
    pub fn membership(&self, fact: &Fact) -> Option<Membership> {
        match self.private_of(fact, codec::MEMBERSHIP_OBSERVED)? {
            Private::Membership(membership) => Some(membership),
            _ => None,
        }
    }

    /// Returns the rules that a fact of the state holds, as a text.
    pub fn rules(&self, fact: &Fact) -> Option<String> {
        match self.private_of(fact, codec::RULES_CHANGED)? {
            Private::Rules(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the address and agent that a fact of the state holds.
    pub fn origin_of(&self, fact: &Fact) -> Option<Origin> {
        let plaintext = self.keys.as_ref()?.unseal(fact.record, &fact.sealed).ok()?;
        codec::origin_in(&plaintext).ok()?
    }

    /// Returns the Discord id behind a pseudonym.
    pub fn id_of(&self, sub: Sub) -> Option<DiscordId> {
        self.keys.as_ref()?.discord_id_of(sub)
    }

    /// Returns the pseudonym of a Discord user who has a key.
    pub fn sub_of(&self, id: DiscordId) -> Option<Sub> {
        self.keys.as_ref()?.sub_of(id)
    }

    fn private_of(&self, fact: &Fact, kind: u16) -> Option<Private> {
        let plaintext = self.keys.as_ref()?.unseal(fact.record, &fact.sealed).ok()?;
        codec::private_in(&plaintext, fact.index, kind).ok()?
    }

    fn open(&self, record: &Record, sealed: &SealedBox) -> Option<zeroize::Zeroizing<Vec<u8>>> {
        self.keys.as_ref()?.unseal(record.id, sealed).ok()
    }
}
