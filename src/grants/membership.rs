//! What is known of somebody, their memberships and their address, as far as it counts at this moment.
//!
//! It is answered from memory. What is due is queued, and asked for by [`super::recheck`] and [`super::profile`].

use std::sync::Arc;
use std::time::Duration;

use super::Grants;
use super::confirmed::{About, Ages, Look, STANDS};
use crate::app::{KnownProfile, OpenProfile};
use crate::domain::access::Person;
use crate::domain::event::{Membership, Profile};
use crate::domain::id::{DiscordId, Sub};
use crate::domain::rules::{EMAIL_SCOPE, Rules};

/// What is known of somebody, as far as it counts at this moment.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Who it is.
    pub id: DiscordId,
    /// The profile, where it can be opened; without its address where that is asked for and too old to count.
    pub profile: Option<Arc<OpenProfile>>,
    /// The memberships that are not too old to count.
    pub memberships: Arc<[Membership]>,
}

/// Everything that is known of somebody.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The profile, however old.
    pub known: KnownProfile,
    /// What counts; `None` where nobody knows their Discord id any more.
    pub standing: Option<Standing>,
    /// What they are in the guilds that the rules ask about, however old, and whether that is older than it should be.
    pub memberships: Vec<(Membership, bool)>,
}

/// The rules, and what they ask Discord about.
pub(super) struct Asked {
    pub(super) rules: Arc<Rules>,
    /// In ascending order.
    pub(super) about: Vec<About>,
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
        Standing {
            id: profile.id,
            profile: Some(Arc::new(OpenProfile::new(profile.clone()))),
            memberships: memberships.into(),
        }
    }

    /// Returns the person as the rules see it.
    pub fn person(&self) -> Person<'_> {
        Person {
            id: self.id,
            profile: self.profile.as_deref().map(|open| &**open),
            memberships: &self.memberships,
        }
    }
}

impl Asked {
    pub(super) fn ages(&self) -> Ages {
        Ages::of(&self.rules)
    }

    pub(super) fn is_about(&self, about: About) -> bool {
        self.about.binary_search(&about).is_ok()
    }

    pub(super) fn guilds(&self) -> impl Iterator<Item = DiscordId> {
        self.about.iter().filter_map(|about| match about {
            About::Guild(guild) => Some(*guild),
            About::Address => None,
        })
    }
}

impl Grants {
    /// Returns what counts now about a user, from memory; what is due is asked for off the request path.
    ///
    /// `None` where nobody knows their Discord id any more.
    pub fn standing(self: &Arc<Self>, user: Sub) -> Option<Standing> {
        let asked = self.asked();
        let (id, look) = self.look(user, &asked)?;
        let profile = self.app.profile_of(user).map(|known| known.profile);
        Some(self.as_it_counts(user, id, profile, &asked, &look))
    }

    /// Returns everything that is known of a user, from memory; `None` where the profile cannot be opened.
    pub fn seen(self: &Arc<Self>, user: Sub) -> Option<Seen> {
        let asked = self.asked();
        let looked = self.look(user, &asked);
        let known = self.app.profile_of(user)?;
        let standing =
            looked.map(|(id, look)| self.as_it_counts(user, id, Some(known.profile.clone()), &asked, &look));
        Some(Seen { known, standing, memberships: self.memberships_seen(user, &asked) })
    }

    /// Looks at how old what is known of a user is, and has asked for what is due.
    ///
    /// It is looked at before the facts themselves: what is confirmed is recorded first, so facts that are read later are no
    /// older than they were found to be.
    fn look(self: &Arc<Self>, user: Sub, asked: &Asked) -> Option<(DiscordId, Look)> {
        let id = self.app.discord_id_of(user)?;
        let look = self.confirmed.look(user, &asked.about, asked.ages());
        for about in &look.due {
            self.ask_in_background(user, *about);
        }
        Some((id, look))
    }

    fn as_it_counts(
        &self,
        user: Sub,
        id: DiscordId,
        profile: Option<Arc<OpenProfile>>,
        asked: &Asked,
        look: &Look,
    ) -> Standing {
        let profile = profile.map(|known| counting_profile(known, look));
        Standing { id, profile, memberships: self.counting(user, asked, look) }
    }

    /// Returns what is known of a user in the guilds that the rules ask about, however old, and whether that is
    /// older than it should be; from memory, and nothing is asked.
    fn memberships_seen(&self, user: Sub, asked: &Asked) -> Vec<(Membership, bool)> {
        if asked.guilds().next().is_none() {
            return Vec::new();
        }
        let known = self.app.memberships_of(user);
        let of_rules =
            known.iter().flat_map(|known| known.iter()).filter(|m| asked.is_about(About::Guild(m.guild)));
        of_rules
            .map(|membership| {
                let stale = self.confirmed.is_stale(user, About::Guild(membership.guild), asked.ages());
                (membership.clone(), stale)
            })
            .collect()
    }

    /// Returns whether Discord was asked a moment ago, by anybody, what the rules ask about a user.
    pub fn last_asked(&self, user: Sub) -> LastAsked {
        let (asked, now) = (self.asked(), self.clock.monotonic());
        let facts: Vec<Option<(Duration, bool)>> =
            asked.about.iter().map(|about| self.confirmed.last_asked(user, *about)).collect();
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

    /// Returns the memberships that are not too old to count.
    fn counting(&self, user: Sub, asked: &Asked, look: &Look) -> Arc<[Membership]> {
        if asked.guilds().next().is_none() {
            return self.no_memberships.clone();
        }
        let known = self.app.memberships_of(user).unwrap_or_else(|| self.no_memberships.clone());
        // A guild that these rules do not ask about may have been seen long ago, and other rules may be asked next.
        let is_expired = |membership: &Membership| {
            let about = About::Guild(membership.guild);
            !asked.is_about(about) || look.expired.contains(&about)
        };
        if known.iter().any(is_expired) {
            return known.iter().filter(|membership| !is_expired(membership)).cloned().collect();
        }
        // The usual case: what was opened once is shared as it is.
        known
    }

    /// Returns the rules that decide now, and what they ask about.
    ///
    /// What that is is worked out once for each change of the rules.
    pub(super) fn asked(&self) -> Arc<Asked> {
        let rules = self.app.rules();
        let known = self.asked_about.load_full();
        if let Some(known) = known.filter(|known| Arc::ptr_eq(&known.rules, &rules)) {
            return known;
        }
        let is_about_address = rules.scopes().contains(&EMAIL_SCOPE);
        let guilds = rules.guilds().into_iter().map(About::Guild);
        let about = guilds.chain(is_about_address.then_some(About::Address)).collect();
        let asked = Arc::new(Asked { rules, about });
        self.asked_about.store(Some(asked.clone()));
        asked
    }
}

/// Returns the profile as far as it counts.
fn counting_profile(known: Arc<OpenProfile>, look: &Look) -> Arc<OpenProfile> {
    if !look.expired.contains(&About::Address) {
        return known;
    }
    Arc::new(OpenProfile::new(Profile { email: None, email_verified: None, ..Profile::clone(&known) }))
}
