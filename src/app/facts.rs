//! Opened profiles and memberships, kept for a while: opening a box costs processor time, never disk.
//!
//! Looking does not count as a use: readers change nothing, so they do not wait for each other, and whoever has to make
//! room is opened again.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use lru::LruCache;

use crate::domain::event::{Membership, Profile};
use crate::domain::id::{RecordId, Sub};
use crate::domain::state::{Fact, Observed};
use crate::domain::time::Timestamp;

/// How many profiles are kept open.
const KEPT: NonZeroUsize = match NonZeroUsize::new(65_536) {
    Some(kept) => kept,
    None => NonZeroUsize::MIN,
};

/// A profile as it came out of its box, with room for what it looks like when it is written down.
pub struct OpenProfile {
    profile: Profile,
    written: OnceLock<Box<str>>,
}

impl OpenProfile {
    /// Takes a profile in.
    pub fn new(profile: Profile) -> OpenProfile {
        OpenProfile { profile, written: OnceLock::new() }
    }

    /// Returns what `write` makes of it, which is asked once. There is one `write` for all who ask, and it depends on
    /// nothing else that changes.
    pub fn written(&self, write: impl FnOnce(&Profile) -> String) -> &str {
        self.written.get_or_init(|| write(&self.profile).into())
    }
}

impl fmt::Debug for OpenProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenProfile(..)")
    }
}

impl Deref for OpenProfile {
    type Target = Profile;

    fn deref(&self) -> &Profile {
        &self.profile
    }
}

/// Profiles as they came out of their boxes.
#[derive(Debug)]
pub(super) struct OpenProfiles {
    kept: RwLock<LruCache<Sub, Opened>>,
}

#[derive(Debug, Clone)]
struct Opened {
    /// The record whose box it came from; a newer record makes it stale.
    record: RecordId,
    profile: Arc<OpenProfile>,
    confirmed_at: Option<Timestamp>,
}

impl Default for OpenProfiles {
    fn default() -> Self {
        OpenProfiles { kept: RwLock::new(LruCache::sparse(KEPT)) }
    }
}

impl OpenProfiles {
    /// Returns what was opened of exactly that record, and when Discord last confirmed it.
    pub(super) fn kept(&self, user: Sub, record: RecordId) -> Option<(Arc<OpenProfile>, Option<Timestamp>)> {
        let kept = self.read();
        let found = kept.peek(&user).filter(|kept| kept.record == record)?;
        Some((found.profile.clone(), found.confirmed_at))
    }

    /// Opens a profile, and keeps it.
    pub(super) fn open(
        &self,
        user: Sub,
        record: RecordId,
        open: impl FnOnce() -> Option<Profile>,
    ) -> Option<(Arc<OpenProfile>, Option<Timestamp>)> {
        let profile = Arc::new(OpenProfile::new(open()?));
        let mut kept = self.write();
        let confirmed_at = kept.peek(&user).and_then(|old| old.confirmed_at);
        kept.put(user, Opened { record, profile: profile.clone(), confirmed_at });
        Some((profile, confirmed_at))
    }

    /// Notes that Discord has just confirmed the profile that is recorded.
    pub(super) fn confirm(&self, user: Sub, at: Timestamp) {
        if let Some(kept) = self.write().get_mut(&user) {
            kept.confirmed_at = Some(at);
        }
    }

    /// Forgets what was opened of a user.
    pub(super) fn forget(&self, user: Sub) {
        self.write().pop(&user);
    }

    fn read(&self) -> RwLockReadGuard<'_, LruCache<Sub, Opened>> {
        self.kept.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, LruCache<Sub, Opened>> {
        self.kept.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of how many users the memberships are kept open: those of one may be many.
const MEMBERS_KEPT: NonZeroUsize = match NonZeroUsize::new(16_384) {
    Some(kept) => kept,
    None => NonZeroUsize::MIN,
};

/// Memberships as they came out of their boxes, all of a user together.
#[derive(Debug)]
pub(super) struct OpenMemberships {
    kept: RwLock<LruCache<Sub, Arc<KnownMemberships>>>,
}

/// What a user is in guilds, as last recorded and as far as it can be opened.
#[derive(Debug)]
pub(super) struct KnownMemberships {
    /// The slots with the records whose boxes they came from; a newer record makes all of it stale.
    from: Vec<(u16, RecordId)>,
    /// The slot of each membership, in the same order.
    slots: Vec<u16>,
    /// One a guild.
    pub(super) memberships: Arc<[Membership]>,
}

impl KnownMemberships {
    fn open(
        observed: &BTreeMap<u16, Observed>,
        open: impl Fn(&Fact) -> Option<Membership>,
    ) -> KnownMemberships {
        let opened = observed.iter().filter_map(|(slot, found)| Some((*slot, open(&found.fact)?)));
        let (slots, memberships): (Vec<_>, Vec<_>) = opened.unzip();
        KnownMemberships { from: from(observed).collect(), slots, memberships: memberships.into() }
    }

    /// Returns the memberships by the slot where the state keeps them.
    pub(super) fn by_slot(&self) -> BTreeMap<u16, Membership> {
        self.slots.iter().copied().zip(self.memberships.iter().cloned()).collect()
    }
}

impl Default for OpenMemberships {
    fn default() -> Self {
        OpenMemberships { kept: RwLock::new(LruCache::sparse(MEMBERS_KEPT)) }
    }
}

impl OpenMemberships {
    /// Returns what was opened of exactly these.
    pub(super) fn kept(
        &self,
        user: Sub,
        observed: &BTreeMap<u16, Observed>,
    ) -> Option<Arc<KnownMemberships>> {
        self.read().peek(&user).filter(|kept| kept.from.iter().copied().eq(from(observed))).cloned()
    }

    /// Opens them, and keeps them.
    pub(super) fn open(
        &self,
        user: Sub,
        observed: &BTreeMap<u16, Observed>,
        open: impl Fn(&Fact) -> Option<Membership>,
    ) -> Arc<KnownMemberships> {
        let known = Arc::new(KnownMemberships::open(observed, open));
        self.write().put(user, known.clone());
        known
    }

    /// Forgets what was opened of a user.
    pub(super) fn forget(&self, user: Sub) {
        self.write().pop(&user);
    }

    fn read(&self) -> RwLockReadGuard<'_, LruCache<Sub, Arc<KnownMemberships>>> {
        self.kept.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, LruCache<Sub, Arc<KnownMemberships>>> {
        self.kept.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn from(observed: &BTreeMap<u16, Observed>) -> impl Iterator<Item = (u16, RecordId)> {
    observed.iter().map(|(slot, found)| (*slot, found.fact.record))
}

#[cfg(test)]
mod tests;
