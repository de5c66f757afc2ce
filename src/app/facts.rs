//! Opened profiles, kept for a while: opening a box costs processor time, never disk.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;

use crate::domain::event::Profile;
use crate::domain::id::{RecordId, Sub};
use crate::domain::time::Timestamp;

/// How many profiles are kept open.
const KEPT: NonZeroUsize = match NonZeroUsize::new(65_536) {
    Some(kept) => kept,
    None => NonZeroUsize::MIN,
};

/// Profiles as they came out of their boxes.
#[derive(Debug)]
pub(super) struct OpenProfiles {
    kept: Mutex<LruCache<Sub, Opened>>,
}

#[derive(Debug, Clone)]
struct Opened {
    /// The record whose box it came from; a newer record makes it stale.
    record: RecordId,
    profile: Arc<Profile>,
    confirmed_at: Option<Timestamp>,
}

impl Default for OpenProfiles {
    fn default() -> Self {
        OpenProfiles { kept: Mutex::new(LruCache::new(KEPT)) }
    }
}

impl OpenProfiles {
    /// Returns a profile, and when Discord last confirmed it, opening its box where that is needed.
    pub(super) fn get(
        &self,
        user: Sub,
        record: RecordId,
        open: impl FnOnce() -> Option<Profile>,
    ) -> Option<(Arc<Profile>, Option<Timestamp>)> {
        if let Some(kept) = self.lock().get(&user).filter(|kept| kept.record == record) {
            return Some((kept.profile.clone(), kept.confirmed_at));
        }
        let profile = Arc::new(open()?);
        let mut kept = self.lock();
        let confirmed_at = kept.peek(&user).and_then(|old| old.confirmed_at);
        kept.put(user, Opened { record, profile: profile.clone(), confirmed_at });
        Some((profile, confirmed_at))
    }

    /// Notes that Discord has just confirmed the profile that is recorded.
    pub(super) fn confirm(&self, user: Sub, at: Timestamp) {
        if let Some(kept) = self.lock().get_mut(&user) {
            kept.confirmed_at = Some(at);
        }
    }

    /// Forgets what was opened of a user.
    pub(super) fn forget(&self, user: Sub) {
        self.lock().pop(&user);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LruCache<Sub, Opened>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
