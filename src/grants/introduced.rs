//! What somebody who signs in is in the guilds that the rules ask about: asked for before they are let in.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};

use super::confirmed::About;
use super::membership::Asked;
use super::{Grants, SignInError};
use crate::app::By;
use crate::discord::CallError;
use crate::domain::access::{Person, Truth};
use crate::domain::event::{FailureCode, Membership, Profile, Stage};
use crate::domain::id::{DiscordId, Secret, Sub};
use crate::domain::rules::MEMBERS_SCOPE;
use crate::domain::scopes::Scopes;

/// How long Discord may take to tell of all guilds together.
const PATIENCE: Duration = Duration::from_secs(10);

/// Guilds that are asked about at the same time; Discord counts by token.
const AT_ONCE: usize = 4;

/// What Discord said of somebody who signs in.
pub(super) struct Introduced {
    asked: Arc<Asked>,
    asked_at: Duration,
    /// One a guild, of those that it told of.
    pub(super) memberships: Vec<Membership>,
    /// Why it did not tell of all.
    untold: Option<Untold>,
}

/// Why Discord did not tell of a guild.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Untold {
    /// The token does not allow to ask.
    Scope,
    /// A call failed.
    Call(CallError),
}

impl Introduced {
    /// Returns the person as Discord told of them.
    pub(super) fn person<'a>(&'a self, profile: &'a Profile) -> Person<'a> {
        Person { id: profile.id, profile: Some(profile), memberships: &self.memberships }
    }

    /// Returns whether the person may come in, as far as is known.
    pub(super) fn admits(&self, profile: &Profile) -> Truth {
        self.asked.rules.allows(&self.person(profile))
    }

    /// Returns what kept Discord from telling, where that is all that keeps the person out.
    pub(super) fn missing(&self, profile: &Profile) -> Option<Untold> {
        let untold = self.untold?;
        let of_others = self.untold_guilds().map(Membership::none);
        let supposed: Vec<_> = self.memberships.iter().cloned().chain(of_others).collect();
        let supposed = Person { memberships: &supposed, ..self.person(profile) };
        let decides =
            self.admits(profile) == Truth::Unknown && self.asked.rules.allows(&supposed) == Truth::No;
        decides.then_some(untold)
    }

    fn untold_guilds(&self) -> impl Iterator<Item = DiscordId> {
        let is_told = |guild| self.memberships.iter().any(|told| told.guild == guild);
        self.asked.guilds().filter(move |guild| !is_told(*guild))
    }
}

impl Grants {
    /// Asks what the user of a fresh token is in each guild that the rules ask about.
    ///
    /// Who it is was asked for at `asked_at`.
    pub(super) async fn introduced(
        &self,
        id: DiscordId,
        asked_at: Duration,
        access: &Secret,
        scopes: &Scopes,
    ) -> Introduced {
        let asked = self.asked();
        let mut in_order: Vec<_> = asked.guilds().collect();
        let mut found = Introduced { asked, asked_at, memberships: vec![], untold: None };
        if in_order.is_empty() {
            return found;
        }
        if !scopes.has(MEMBERS_SCOPE) {
            found.untold = Some(Untold::Scope);
            return found;
        }
        let of_allow = found.asked.rules.guilds_of_allow();
        // Those first that decide whether they come in: Discord may not be willing to tell of all in time.
        in_order.sort_by_key(|guild| !of_allow.contains(guild));
        let calls: Vec<_> = in_order.into_iter().map(|guild| self.client.member(access, id, guild)).collect();
        let mut answers = pin!(stream::iter(calls).buffer_unordered(AT_ONCE));
        let mut late = pin!(self.clock.sleep(PATIENCE));
        loop {
            let answer = tokio::select! {
                biased;
                answer = answers.next() => answer,
                () = &mut late => {
                    found.untold = found.untold.or(Some(Untold::Call(CallError::TimedOut { sent: true })));
                    return found;
                }
            };
            match answer {
                None => return found,
                Some(Ok(membership)) => found.memberships.push(membership),
                Some(Err(error)) => {
                    let refused = error == CallError::Unauthorized;
                    if refused || error.failure_code() == FailureCode::ScopeMissing {
                        // The token is good: it has just said whose it is. It is not shown for this again.
                        found.untold = Some(Untold::Scope);
                        return found;
                    }
                    found.untold = found.untold.or(Some(Untold::Call(error)));
                }
            }
        }
    }

    /// Says why somebody is not let in of whom Discord has not told.
    pub(super) async fn untold(&self, untold: Untold, by: &By) -> SignInError {
        match untold {
            Untold::Call(error) => self.failed(Stage::Identity, error, by).await,
            Untold::Scope => {
                tracing::warn!(
                    "Discord does not let us ask what somebody is in a guild, so they cannot come in"
                );
                self.app.sign_in_failed(Stage::Identity, FailureCode::ScopeMissing, by).await;
                SignInError::DiscordUnavailable
            }
        }
    }

    /// Notes how old the facts of a sign-in are that is recorded.
    pub(super) fn note_introduced(&self, user: Sub, introduced: &Introduced) {
        let pause = introduced.asked.ages().pause();
        self.confirmed.keep(user, &introduced.asked.about);
        self.confirmed.confirm(user, About::Address, introduced.asked_at);
        for told in &introduced.memberships {
            self.confirmed.confirm(user, About::Guild(told.guild), introduced.asked_at);
        }
        for guild in introduced.untold_guilds() {
            self.confirmed.fail(user, About::Guild(guild), pause);
        }
    }
}
