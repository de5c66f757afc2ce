//! The address of a profile, where the rules ask for it: it grows old as a membership does.

use std::sync::Arc;

use super::confirmed::STANDS;
use super::membership::Asked;
use super::{Freshness, Grants};
use crate::app::By;
use crate::domain::event::Profile;
use crate::domain::id::Sub;

impl Grants {
    /// Returns the profile as far as it counts now, and queues a refresh of an old one off the request path.
    ///
    /// Where no rule asks for an address, it counts however old it is.
    pub(super) fn counting_profile(self: &Arc<Self>, user: Sub, asked: &Asked) -> Option<Arc<Profile>> {
        let known = self.app.profile_of(user)?;
        if !asked.is_about_email {
            return Some(known.profile);
        }
        let ages = asked.ages();
        let age = match known.confirmed {
            true => self.clock.now().since(known.fetched_at),
            false => self.confirmed.age_since_the_start(ages),
        };
        if age >= ages.max_age {
            self.refresh_profile(user);
        }
        if age < ages.max_age.saturating_add(ages.grace) {
            return Some(known.profile);
        }
        let unknown = Profile { email: None, email_verified: None, ..(*known.profile).clone() };
        Some(Arc::new(unknown))
    }

    /// Asks Discord for the address now, unless it was asked a moment ago; nothing where no rule asks for it.
    pub(super) async fn recheck_profile(self: &Arc<Self>, user: Sub, asked: &Asked, by: &By) -> Freshness {
        if !asked.is_about_email {
            return Freshness::Fresh;
        }
        match self.last_fetch(user, STANDS) {
            Some(last) => last.freshness,
            None => self.fresh_profile(user, by).await,
        }
    }
}
