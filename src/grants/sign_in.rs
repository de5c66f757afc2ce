//! A code becomes a session: exchange, who is it, may they, record.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;

use super::introduced::Introduced;
use super::refresh::whole_seconds;
use super::{Grants, SignInError, SignInRequest, SignedIn, Standing};
use crate::app::{By, ExecuteError};
use crate::clock::Clock;
use crate::discord::{CallError, IssuedTokens};
use crate::domain::access::Truth;
use crate::domain::command::{Command, SignIn};
use crate::domain::event::{FailureCode, Method, Profile, Stage};
use crate::domain::id::{DiscordId, GrantId, SessionId, SessionToken, Sub};
use crate::domain::record::Actor;

impl Grants {
    /// Exchanges a code, asks who it is, and signs them in.
    ///
    /// What Discord has begun is brought to its end even where the browser goes away.
    pub async fn sign_in(self: &Arc<Self>, request: SignInRequest, by: &By) -> Result<SignedIn, SignInError> {
        let (grants, by) = (self.clone(), by.clone());
        let task = self.spawn(async move { grants.complete_sign_in(request, by).await });
        task.await.unwrap_or(Err(SignInError::Died))
    }

    async fn complete_sign_in(&self, request: SignInRequest, by: By) -> Result<SignedIn, SignInError> {
        let began = self.revocations_sent.now();
        let scopes = self.app.rules().asked(&self.settings.scopes);
        let exchanged = self.client.exchange_code(&request.code, &request.verifier, &scopes);
        let issued = match exchanged.await {
            Ok(issued) => issued,
            Err(error) => return Err(self.failed(Stage::Token, error, &by).await),
        };
        let expires_at = self.clock.now().plus(issued.expires_in);
        let asked_at = self.clock.monotonic();
        let profile = match self.client.current_user(&issued.tokens.access).await {
            Ok(profile) => profile,
            Err(error) => return Err(self.failed(Stage::Identity, error, &by).await),
        };
        if let Err(retry_after) = self.sign_ins.check(profile.id) {
            return Err(SignInError::TooMany { retry_after });
        }
        let introduced = self.introduced(profile.id, asked_at, &issued.tokens.access, &issued.scopes).await;
        if let Some(untold) = introduced.missing(&profile) {
            return Err(self.untold(untold, &by).await);
        }

        let _held = self.discord.lock(profile.id).await;
        if self.revocations_sent.since(profile.id, began) {
            // Revoking kills every token of the user, the ones we have just been given among them.
            match self.client.current_user(&issued.tokens.access).await {
                Ok(_) => {}
                Err(CallError::Unauthorized) => return Err(SignInError::StartAgain),
                Err(error) => return Err(self.failed(Stage::Identity, error, &by).await),
            }
        }
        let recorded =
            self.record(profile.clone(), &introduced, issued, expires_at, request.replaces, by.clone()).await;
        if matches!(recorded, Err(SignInError::NotAllowed(_)))
            && let Some(user) = self.app.keys().sub_of(profile.id)
        {
            // Turned away now, and let in before: whatever let them in is lost.
            let by = By { actor: Actor::user(user, None), ..by };
            self.end_unless_allowed(user, &introduced.person(&profile), &by).await;
        }
        recorded
    }

    async fn record(
        &self,
        profile: Profile,
        introduced: &Introduced,
        issued: IssuedTokens,
        expires_at: crate::domain::time::Timestamp,
        replaces: Option<SessionId>,
        by: By,
    ) -> Result<SignedIn, SignInError> {
        let admitted = introduced.admits(&profile) == Truth::Yes;
        let standing = Box::new(Standing::told(&profile, &introduced.memberships));
        let keys = self.app.keys();
        let user: Option<Sub> = if admitted {
            let made = keys.ensure_subject(profile.id).await;
            Some(made.map_err(|error| SignInError::Execute(Arc::new(ExecuteError::Key(error))))?)
        } else {
            if !self.app.note_stranger(FailureCode::NotAllowed, &by).await {
                return Err(SignInError::NotAllowed(standing));
            }
            keys.sub_of(profile.id)
        };
        let token = SessionToken::new(self.entropy.draw());
        let session = SessionId(self.entropy.draw());
        let command = Command::SignIn(Box::new(SignIn {
            user,
            profile,
            memberships: introduced.memberships.clone(),
            grant: GrantId(self.entropy.draw()),
            application: self.client.application(),
            scopes: issued.scopes,
            expires_at,
            tokens: issued.tokens,
            session,
            key: token.key(),
            method: Method::Discord,
            replaces,
        }));
        let by = By { actor: user.map_or(Actor::NOBODY, |sub| Actor::user(sub, None)), ..by };
        let recorded = self.app.execute(command, &by).await;
        recorded.map_err(|error| SignInError::Execute(Arc::new(error)))?;
        // The outcome is what was recorded: a session that is in the state, or none.
        let session = self.app.session_by_id(session).ok_or(SignInError::NotAllowed(standing))?;
        self.note_fetched(session.user);
        self.note_introduced(session.user, introduced);
        Ok(SignedIn { token, session })
    }

    pub(super) async fn failed(&self, stage: Stage, error: CallError, by: &By) -> SignInError {
        self.app.sign_in_failed(stage, error.failure_code(), by).await;
        match error {
            CallError::Paused { .. } | CallError::RateLimited { .. } | CallError::Exhausted { .. } => {
                SignInError::DiscordRateLimited { retry_after: self.seconds_to_wait(&error) }
            }
            CallError::Refused { .. } if stage == Stage::Token => SignInError::CodeRejected,
            CallError::ClientRejected { .. } => SignInError::ClientRejected,
            _ => SignInError::DiscordUnavailable,
        }
    }
}

/// How many sign-ins one user may make in an hour.
const PER_HOUR: usize = 60;
const AN_HOUR: Duration = Duration::from_secs(3_600);
/// Users whose sign-ins are counted; beyond it those are forgotten who signed in longest ago.
const COUNTED: NonZeroUsize = match NonZeroUsize::new(16_384) {
    Some(counted) => counted,
    None => NonZeroUsize::MIN,
};

/// Counts the sign-ins of the last hour by user.
pub(super) struct Limits {
    clock: Arc<dyn Clock>,
    made: Mutex<LruCache<DiscordId, VecDeque<Duration>>>,
}

impl Limits {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Limits {
        Limits { clock, made: Mutex::new(LruCache::sparse(COUNTED)) }
    }

    /// Counts one sign-in; where it is one too many, returns the seconds to wait.
    fn check(&self, id: DiscordId) -> Result<(), u64> {
        let now = self.clock.monotonic();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let made = made.get_or_insert_mut(id, VecDeque::new);
        while made.front().is_some_and(|first| now.saturating_sub(*first) >= AN_HOUR) {
            made.pop_front();
        }
        match made.front() {
            Some(first) if made.len() >= PER_HOUR => {
                Err(whole_seconds(AN_HOUR.saturating_sub(now.saturating_sub(*first))))
            }
            _ => {
                made.push_back(now);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::domain::time::Timestamp;

    #[test]
    fn sixty_in_any_hour_and_the_wait_is_told() {
        let clock = ManualClock::new(Timestamp(0));
        let limits = Limits::new(Arc::new(clock.clone()));
        for _ in 0..60 {
            assert_eq!(limits.check(DiscordId(1)), Ok(()));
            clock.advance(Duration::from_secs(10));
        }
        assert_eq!(limits.check(DiscordId(1)), Err(3_000));
        assert_eq!(limits.check(DiscordId(2)), Ok(()));
        clock.advance(Duration::from_secs(3_000));
        assert_eq!(limits.check(DiscordId(1)), Ok(()));
        assert_eq!(limits.check(DiscordId(1)), Err(10));
    }
}
