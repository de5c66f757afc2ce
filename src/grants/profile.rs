//! Who somebody is by now: asked for when a page wants it fresh, or in the background when it is old.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::{Freshness, Grants, RefreshError};
use crate::app::{By, KnownProfile};
use crate::discord::CallError;
use crate::domain::command::Command;
use crate::domain::event::{Cause, Profile, RevokedBy};
use crate::domain::id::{GrantId, Sub};

/// How long an answer stands before Discord is asked again.
const STANDS: Duration = Duration::from_secs(1);
/// How long a browser waits for a fresh profile.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a background refresh that failed keeps the next one off.
const PAUSE: Duration = Duration::from_secs(60);
/// An access token that ends within this is renewed first.
pub(super) const NEARLY: Duration = Duration::from_secs(30);

/// The last answer about a user.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fetched {
    at: Duration,
    pub(super) freshness: Freshness,
}

impl Grants {
    /// Asks Discord for the profile, at most once a second per user; all who wait share the answer, and
    /// wait for three seconds at most.
    pub async fn fresh_profile(self: &Arc<Self>, user: Sub, by: &By) -> Freshness {
        if let Some(last) = self.last_fetch(user, STANDS) {
            return last.freshness;
        }
        tokio::select! {
            biased;
            freshness = self.profile_now(user, by) => freshness,
            () = self.clock.sleep(PATIENCE) => Freshness::Stale,
        }
    }

    /// Asks Discord for the profile, or joins those who do, and waits however long it takes.
    pub(super) async fn profile_now(self: &Arc<Self>, user: Sub, by: &By) -> Freshness {
        let mut landed = self.fetches.begin(user, &self.tasks, || {
            let (grants, by) = (self.clone(), by.clone());
            async move { grants.fetch(user, &by).await }
        });
        let landed = landed.wait_for(Option::is_some).await;
        landed.ok().and_then(|found| *found).unwrap_or(Freshness::Stale)
    }

    /// Notes that a profile was used, and queues a refresh of an old one off the request path.
    ///
    /// After a start every profile counts as old.
    pub fn profile_used(self: &Arc<Self>, user: Sub, known: &KnownProfile) {
        let age = self.clock.now().since(known.fetched_at);
        if known.confirmed && age < self.settings.profile_max_age {
            return;
        }
        self.refresh_profile(user);
    }

    /// Queues a refresh, unless one has just been.
    pub(super) fn refresh_profile(self: &Arc<Self>, user: Sub) {
        let is_busy = self.fetches.is_aloft(user) || self.client.is_strained();
        if is_busy || self.last_fetch(user, PAUSE).is_some() {
            return;
        }
        // Where too much goes on already, the next use asks again.
        let Ok(permit) = self.background.clone().try_acquire_owned() else { return };
        let grants = self.clone();
        let _ = self.fetches.begin(user, &self.tasks, || async move {
            let _permit = permit;
            grants.fetch(user, &By::SYSTEM).await
        });
    }

    /// Notes that Discord has just been asked, at a sign-in.
    pub(super) fn note_fetched(&self, user: Sub) {
        self.app.profile_confirmed(user);
        self.remember(user, Freshness::Fresh);
    }

    async fn fetch(&self, user: Sub, by: &By) -> Freshness {
        let freshness = self.fetch_profile(user, by).await;
        self.remember(user, freshness);
        freshness
    }

    async fn fetch_profile(&self, user: Sub, by: &By) -> Freshness {
        let Some(grant) = self.app.grant_of(user) else { return Freshness::Stale };
        let mut refreshed = false;
        if grant.expires_at <= self.clock.now().plus(NEARLY) {
            match self.refresh(user, Some(grant.fingerprints.access), by).await {
                Ok(()) => refreshed = true,
                Err(RefreshError::Ended) => return Freshness::Ended,
                Err(_) => return Freshness::Stale,
            }
        }
        match self.ask(user).await {
            Asked::Said(said) => self.observe(user, *said, by).await,
            Asked::Nothing => Freshness::Stale,
            Asked::Refused(grant) if refreshed => self.token_refused(user, grant, by).await,
            // One refresh for a 401, and no more: calling on would get this address banned.
            Asked::Refused(_) => match self.refresh(user, Some(grant.fingerprints.access), by).await {
                Ok(()) => match self.ask(user).await {
                    Asked::Said(said) => self.observe(user, *said, by).await,
                    Asked::Refused(grant) => self.token_refused(user, grant, by).await,
                    Asked::Nothing => Freshness::Stale,
                },
                Err(RefreshError::Ended) => Freshness::Ended,
                Err(_) => Freshness::Stale,
            },
        }
    }

    async fn ask(&self, user: Sub) -> Asked {
        let Some(grant) = self.app.grant_of(user) else { return Asked::Nothing };
        let Some(tokens) = self.app.tokens_of(&grant) else { return Asked::Nothing };
        match self.client.current_user(&tokens.access).await {
            Ok(profile) if Some(profile.id) == self.app.discord_id_of(user) => {
                Asked::Said(Box::new(Said { profile, grant: grant.id }))
            }
            Ok(_) => {
                tracing::error!("discord answered with another user's profile");
                Asked::Nothing
            }
            Err(CallError::Unauthorized) => Asked::Refused(grant.id),
            Err(_) => Asked::Nothing,
        }
    }

    async fn observe(&self, user: Sub, said: Said, by: &By) -> Freshness {
        let Said { profile, grant } = said;
        if self.app.grant_of(user).is_none_or(|current| current.id != grant) {
            // Somebody has signed in meanwhile, and knows better.
            return Freshness::Stale;
        }
        match self.app.execute(Command::ObserveProfile { user, profile }, by).await {
            Ok(_) => {
                self.app.profile_confirmed(user);
                Freshness::Fresh
            }
            Err(_) => Freshness::Stale,
        }
    }

    /// Discord refuses a token that it has just given: the grant is of no use to anybody.
    async fn token_refused(&self, user: Sub, grant: GrantId, by: &By) -> Freshness {
        let command = Command::Revoke {
            user,
            source: RevokedBy::TokenRefused,
            cause: Cause::TokenRefused,
            confirmed: true,
            // A refusal of an old token must not end a new grant.
            only: Some(grant),
        };
        match self.app.execute(command, by).await {
            Ok(_) => Freshness::Ended,
            Err(_) => Freshness::Stale,
        }
    }

    pub(super) fn last_fetch(&self, user: Sub, within: Duration) -> Option<Fetched> {
        let now = self.clock.monotonic();
        let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        fetched.get(&user).copied().filter(|last| now.saturating_sub(last.at) < within)
    }

    fn remember(&self, user: Sub, freshness: Freshness) {
        let at = self.clock.monotonic();
        self.fetched.lock().unwrap_or_else(PoisonError::into_inner).put(user, Fetched { at, freshness });
    }
}

enum Asked {
    Said(Box<Said>),
    Refused(GrantId),
    Nothing,
}

/// What Discord said to the token of a grant.
struct Said {
    profile: Profile,
    grant: GrantId,
}
