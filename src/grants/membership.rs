//! What somebody is in the guilds that the rules ask about, as far as it counts at this moment.
//!
//! It is answered from memory. What is due is queued, and asked for by [`super::recheck`].

use std::sync::{Arc, PoisonError};

use super::Grants;
use super::confirmed::Ages;
use crate::domain::access::Person;
use crate::domain::event::{Membership, Profile};
use crate::domain::id::{DiscordId, Sub};
use crate::domain::rules::{EMAIL_SCOPE, Rules};

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

/// The rules, and what they ask Discord about.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) rules: Arc<Rules>,
    /// In ascending order.
    pub(super) guilds: Arc<[DiscordId]>,
    /// Whether they ask for addresses.
    pub(super) is_about_email: bool,
}

impl Standing {
    /// Returns the person as the rules see it.
    pub fn person(&self) -> Person<'_> {
        Person { id: self.id, profile: self.profile.as_deref(), memberships: &self.memberships }
    }
}

impl Asked {
    pub(super) fn ages(&self) -> Ages {
        Ages::of(&self.rules)
    }

    pub(super) fn is_about(&self, guild: DiscordId) -> bool {
        self.guilds.binary_search(&guild).is_ok()
    }
}

impl Grants {
    /// Returns what counts now about a user, from memory; what is due is asked for off the request path.
    ///
    /// `None` where nobody knows their Discord id any more.
    pub fn standing(self: &Arc<Self>, user: Sub) -> Option<Standing> {
        let id = self.app.discord_id_of(user)?;
        let asked = self.asked();
        let (profile, memberships) = (self.counting_profile(user, &asked), self.counting(user, &asked));
        Some(Standing { id, profile, memberships })
    }

    /// Returns what is known of a user in the guilds that the rules ask about, however old, and whether that is
    /// older than it should be; from memory, and nothing is asked.
    pub fn memberships_seen(&self, user: Sub) -> Vec<(Membership, bool)> {
        let asked = self.asked();
        let known = self.app.memberships_of(user);
        let of_rules = known.iter().flat_map(|known| known.iter()).filter(|m| asked.is_about(m.guild));
        of_rules
            .map(|membership| {
                let stale = self.confirmed.is_stale(user, membership.guild, asked.ages());
                (membership.clone(), stale)
            })
            .collect()
    }

    /// Returns the memberships that are not too old to count, and queues what is due.
    fn counting(self: &Arc<Self>, user: Sub, asked: &Asked) -> Arc<[Membership]> {
        if asked.guilds.is_empty() {
            return self.no_memberships.clone();
        }
        let known = self.app.memberships_of(user).unwrap_or_else(|| self.no_memberships.clone());
        let look = self.confirmed.look(user, &asked.guilds, asked.ages());
        for guild in look.due {
            self.check_in_background(user, guild);
        }
        // A guild that these rules do not ask about may have been seen long ago, and other rules may be asked next.
        let is_expired = |membership: &Membership| {
            !asked.is_about(membership.guild) || look.expired.contains(&membership.guild)
        };
        if known.iter().any(is_expired) {
            return known.iter().filter(|membership| !is_expired(membership)).cloned().collect();
        }
        // The usual case: what was opened once is shared as it is.
        known
    }

    /// Returns the rules that decide now, and the guilds that they ask about.
    ///
    /// Which guilds those are is worked out once for each change of the rules.
    pub(super) fn asked(&self) -> Asked {
        let rules = self.app.rules();
        let mut asked = self.asked_about.lock().unwrap_or_else(PoisonError::into_inner);
        match &*asked {
            Some(known) if Arc::ptr_eq(&known.rules, &rules) => known.clone(),
            _ => {
                let guilds = rules.guilds().into_iter().collect();
                let is_about_email = rules.scopes().contains(&EMAIL_SCOPE);
                asked.insert(Asked { rules, guilds, is_about_email }).clone()
            }
        }
    }
}
