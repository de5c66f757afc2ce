//! Who somebody is by now: asked for when a page wants it fresh, or in the background when it is old.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::confirmed::About;
use super::recheck::Checked;
use super::{Freshness, Grants};
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
    freshness: Freshness,
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
        let mut landed = self.fetch(user, by);
        let landed = landed.wait_for(Option::is_some).await;
        landed.ok().and_then(|checked| *checked).map_or(Freshness::Stale, Freshness::from)
    }

    /// Begins to ask Discord for the profile, or joins those who do.
    pub(super) fn fetch(self: &Arc<Self>, user: Sub, by: &By) -> watch::Receiver<Option<Checked>> {
        self.fetches.begin(user, &self.tasks, || {
            let (grants, by) = (self.clone(), by.clone());
            async move { grants.fetch_and_note(user, &by).await }
        })
    }

    /// Notes that a profile was used, and queues a refresh of an old one off the request path.
    ///
    /// After a start every profile counts as old.
    pub fn profile_used(self: &Arc<Self>, user: Sub, known: &KnownProfile) {
        let age = self.clock.now().since(known.fetched_at);
        let is_young = known.confirmed && age < self.settings.profile_max_age;
        if !is_young && self.last_fetch(user, PAUSE).is_none() {
            self.refresh_profile(user);
        }
    }

    /// Begins a refresh that nobody waits for, unless one is under way.
    pub(super) fn refresh_profile(self: &Arc<Self>, user: Sub) {
        if self.fetches.is_aloft(user) || self.client.is_strained() {
            return;
        }
        // Where too much goes on already, the next use asks again.
        let Ok(permit) = self.background.clone().try_acquire_owned() else { return };
        let grants = self.clone();
        let _ = self.fetches.begin(user, &self.tasks, || async move {
            let _permit = permit;
            grants.fetch_and_note(user, &By::SYSTEM).await
        });
    }

    /// Notes that Discord has just been asked, at a sign-in.
    pub(super) fn note_fetched(&self, user: Sub) {
        self.app.profile_confirmed(user);
        self.remember(user, Freshness::Fresh);
    }

    async fn fetch_and_note(self: &Arc<Self>, user: Sub, by: &By) -> Checked {
        self.confirmed.ask(user, About::Address);
        let checked = self.with_the_grant_of_now(user, || self.fetch_profile(user, by)).await;
        self.note(user, About::Address, checked);
        self.remember(user, checked.into());
        checked
    }

    async fn fetch_profile(self: &Arc<Self>, user: Sub, by: &By) -> Checked {
        let Some(grant) = self.app.grant_of(user) else { return Checked::Failed(None) };
        let refresh = || self.refresh(user, Some(grant.fingerprints.access), by);
        let is_old = grant.expires_at <= self.clock.now().plus(NEARLY);
        if is_old && let Err(error) = refresh().await {
            return error.into();
        }
        let mut told = self.ask(user).await;
        // One refresh for a 401, and no more: calling on would get this address banned.
        if matches!(told, Told::Refused(_)) && !is_old {
            if let Err(error) = refresh().await {
                return error.into();
            }
            told = self.ask(user).await;
        }
        match told {
            Told::Said(said) => self.observe(user, *said, by).await,
            Told::Refused(grant) => self.token_refused(user, grant, by).await,
            Told::Nothing(wait) => Checked::Failed(wait),
        }
    }

    async fn ask(&self, user: Sub) -> Told {
        let Some(grant) = self.app.grant_of(user) else { return Told::Nothing(None) };
        let Some(tokens) = self.app.tokens_of(&grant) else { return Told::Nothing(None) };
        let asked_at = self.clock.monotonic();
        match self.client.current_user(&tokens.access).await {
            Ok(profile) if Some(profile.id) == self.app.discord_id_of(user) => {
                Told::Said(Box::new(Said { profile, grant: grant.id, asked_at }))
            }
            Ok(_) => {
                tracing::error!("discord answered with another user's profile");
                Told::Nothing(None)
            }
            Err(CallError::Unauthorized) => Told::Refused(grant.id),
            Err(error) => Told::Nothing(error.retry_after(self.clock.now())),
        }
    }

    async fn observe(self: &Arc<Self>, user: Sub, said: Said, by: &By) -> Checked {
        let Said { profile, grant, asked_at } = said;
        // From here on no sign-in of theirs comes to its end.
        let _held = self.lock(user).await;
        if self.app.grant_of(user).is_none_or(|current| current.id != grant) {
            // They have signed in meanwhile: the new grant is asked with.
            return Checked::Failed(None);
        }
        if self.app.execute(Command::ObserveProfile { user, profile }, by).await.is_err() {
            return Checked::Failed(None);
        }
        self.app.profile_confirmed(user);
        self.confirmed.confirm(user, About::Address, asked_at);
        self.end_if_lost(user, by).await;
        Checked::Confirmed
    }

    /// Discord refuses a token that it has just given: the grant is of no use to anybody.
    async fn token_refused(&self, user: Sub, grant: GrantId, by: &By) -> Checked {
        let command = Command::Revoke {
            user,
            source: RevokedBy::TokenRefused,
            cause: Cause::TokenRefused,
            confirmed: true,
            // A refusal of an old token must not end a new grant.
            only: Some(grant),
        };
        match self.app.execute(command, by).await {
            Ok(_) => Checked::Ended,
            Err(_) => Checked::Failed(None),
        }
    }

    fn last_fetch(&self, user: Sub, within: Duration) -> Option<Fetched> {
        let now = self.clock.monotonic();
        let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        fetched.get(&user).copied().filter(|last| now.saturating_sub(last.at) < within)
    }

    fn remember(&self, user: Sub, freshness: Freshness) {
        let at = self.clock.monotonic();
        self.fetched.lock().unwrap_or_else(PoisonError::into_inner).put(user, Fetched { at, freshness });
    }
}

impl From<Checked> for Freshness {
    fn from(checked: Checked) -> Freshness {
        match checked {
            Checked::Confirmed => Freshness::Fresh,
            Checked::Failed(_) | Checked::ScopeMissing => Freshness::Stale,
            Checked::Ended => Freshness::Ended,
        }
    }
}

enum Told {
    Said(Box<Said>),
    /// The token of that grant was refused.
    Refused(GrantId),
    /// Nothing of use; Discord wants to be left alone for so long, where it said that.
    Nothing(Option<Duration>),
}

/// What Discord said to the token of a grant.
struct Said {
    profile: Profile,
    grant: GrantId,
    asked_at: Duration,
}
