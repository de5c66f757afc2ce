//! What somebody is in the guilds that the rules ask about, as far as it counts at this moment.
//!
//! It is answered from memory. What is due is queued, and asked for by [`super::recheck`].

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::confirmed::{Ages, STANDS};
use super::email::EMAIL;
use super::{Freshness, Grants};
use crate::domain::access::Person;
use crate::domain::event::{Membership, Profile};
use crate::domain::id::{DiscordId, Sub};
use crate::domain::rules::Rules;

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

/// Whether Discord was asked a moment ago what the rules ask about somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastAsked {
    /// It told.
    Told {
        /// How long ago it was asked.
        ago: Duration,
        /// How long it takes until somebody who waits may have it asked again.
        again_in: Duration,
    },
    /// It did not tell, or could not be asked.
    Untold,
    /// The rules ask it nothing.
    Nothing,
}

impl Standing {
    /// Returns what Discord has told of somebody who signs in.
    pub(super) fn told(profile: &Profile, memberships: &[Membership]) -> Standing {
        Standing { id: profile.id, profile: Some(Arc::new(profile.clone())), memberships: memberships.into() }
    }

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

    /// Returns whether Discord was asked a moment ago, by anybody, what the rules ask about a user.
    pub fn last_asked(&self, user: Sub) -> LastAsked {
        let (asked, now) = (self.asked(), self.clock.monotonic());
        let guilds = asked.guilds.iter().map(|guild| self.confirmed.last_asked(user, *guild));
        let address = asked.is_about_email.then(|| {
            let fetched = self.last_fetch(user, STANDS)?;
            Some((fetched.at, fetched.freshness == Freshness::Fresh))
        });
        let facts: Vec<Option<(Duration, bool)>> = guilds.chain(address).collect();
        let Some(newest) = facts.iter().flatten().map(|(at, _)| now.saturating_sub(*at)).min() else {
            return if facts.is_empty() { LastAsked::Nothing } else { LastAsked::Untold };
        };
        let is_told = |(at, told): (Duration, bool)| told && now.saturating_sub(at) < STANDS;
        if facts.iter().all(|fact| fact.is_some_and(is_told)) {
            LastAsked::Told { ago: newest, again_in: STANDS.saturating_sub(newest) }
        } else {
            LastAsked::Untold
        }
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
                let is_about_email = rules.scopes().contains(&EMAIL);
                asked.insert(Asked { rules, guilds, is_about_email }).clone()
            }
        }
    }
}
