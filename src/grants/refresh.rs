//! New tokens for old: claimed in the log before the call, concluded after it.
//!
//! A refresh token is good once. If the answer is lost after Discord has used it up, the grant is lost,
//! so there is one refresh at a time for each user, and a restart finds either no claim, a claim that is
//! settled at once, or an outcome.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::{Grants, RefreshError};
use crate::app::{By, ExecuteError};
use crate::discord::CallError;
use crate::domain::command::Command;
use crate::domain::decide::Refusal;
use crate::domain::event::FailureCode;
use crate::domain::id::{GrantId, Hash, Sub};
use crate::domain::state::Grant;
use crate::domain::time::Timestamp;

/// Longer than a call and an append can take.
const CLAIM: Duration = Duration::from_secs(60);
/// Between two refreshes that a user asks for.
const ONCE_A_MINUTE: Duration = Duration::from_secs(60);
/// After a failure that says nothing about when to try again; doubled with each.
const PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);
/// Nothing that Discord says keeps a refresh off for longer; what seems to was written by a wrong clock.
const A_DAY: Duration = Duration::from_secs(86_400);
/// A claim that is settled after its process died is the second attempt, and the last.
const LAST_ATTEMPT: u8 = 2;

impl Grants {
    /// Refreshes a user's grant now; once a minute, and everyone who waits shares the outcome.
    pub async fn refresh_now(self: &Arc<Self>, user: Sub, by: &By) -> Result<(), RefreshError> {
        let mut landed = {
            // Under one lock: whoever comes while a call is under way joins it, whoever comes later waits.
            let mut refreshed = self.refreshed.lock().unwrap_or_else(PoisonError::into_inner);
            if !self.refreshes.is_aloft(user) {
                let now = self.clock.monotonic();
                if let Some(last) = refreshed.get(&user)
                    && now.saturating_sub(*last) < ONCE_A_MINUTE
                {
                    let wait = ONCE_A_MINUTE - now.saturating_sub(*last);
                    return Err(RefreshError::TooSoon { retry_after: whole_seconds(wait) });
                }
                refreshed.put(user, now);
            }
            let (grants, by) = (self.clone(), by.clone());
            self.refreshes.begin(user, &self.tasks, || async move { grants.refresh(user, None, &by).await })
        };
        let outcome = landed.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        outcome.unwrap_or(Err(RefreshError::Died))
    }

    /// Settles a claim that a process before us left without an outcome.
    pub(super) async fn settle(self: &Arc<Self>, user: Sub) {
        let permit = tokio::select! {
            biased;
            () = self.stopping.cancelled() => return,
            permit = self.background.clone().acquire_owned() => permit,
        };
        let Ok(_permit) = permit else { return };
        let _held = self.lock(user).await;
        // A request may have settled it meanwhile, or a sign-in made it needless.
        let Some(grant) = self.app.grant_of(user).filter(|grant| grant.claim.is_some()) else { return };
        match self.refresh_locked(user, &grant, &By::SYSTEM).await {
            Ok(()) => tracing::info!("a refresh that an earlier process began has been settled"),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "a refresh that an earlier process began could not be settled");
            }
        }
    }

    /// Refreshes a grant, unless its access token is not `seen` any more: then somebody else has.
    ///
    /// To be called in a task that nobody can cancel.
    pub(super) async fn refresh(&self, user: Sub, seen: Option<Hash>, by: &By) -> Result<(), RefreshError> {
        let _held = self.lock(user).await;
        let grant = self.app.grant_of(user).ok_or(RefreshError::Ended)?;
        if seen.is_some_and(|seen| seen != grant.fingerprints.access) {
            return Ok(());
        }
        self.refresh_locked(user, &grant, by).await
    }

    /// Refreshes a grant, live or pending revocation, while the user's Discord lock is held.
    pub(super) async fn refresh_locked(&self, user: Sub, grant: &Grant, by: &By) -> Result<(), RefreshError> {
        self.may_refresh(grant)?;
        let (attempt, is_claimed) = self.next_attempt(grant);
        if attempt > LAST_ATTEMPT {
            let lost = Failed { code: FailureCode::OutcomeUnknown, status: None, is_final: true, wait: None };
            self.conclude_failed(user, grant, lost, LAST_ATTEMPT, by).await?;
            return Err(RefreshError::Ended);
        }
        let Some(tokens) = self.app.tokens_of(grant) else {
            tracing::error!("the tokens of a grant cannot be opened; its user has to sign in again");
            return Err(RefreshError::Died);
        };
        if !is_claimed {
            self.claim(user, grant.id, attempt, by).await?;
        }
        self.unsent().remove(&(grant.id, attempt));

        match self.client.refresh(&tokens.refresh, &grant.scopes).await {
            Ok(issued) => {
                let expires_at = self.clock.now().plus(issued.expires_in);
                let command = Command::ConcludeRefresh {
                    user,
                    grant: grant.id,
                    scopes: issued.scopes,
                    expires_at,
                    tokens: issued.tokens,
                };
                self.conclude(command, by).await
            }
            Err(error) => {
                let failed = Failed::of(&error, self.clock.now());
                self.conclude_failed(user, grant, failed, attempt, by).await?;
                Err(self.refresh_error(&error))
            }
        }
    }

    /// Returns whether a call would be made now: where nothing would be sent, nothing is claimed either.
    fn may_refresh(&self, grant: &Grant) -> Result<(), RefreshError> {
        let now = self.clock.now();
        let limited = |wait| Err(RefreshError::DiscordRateLimited { retry_after: whole_seconds(wait) });
        if let Some(stop) = *self.client.outage().borrow()
            && let Some(until) = stop.until.filter(|until| now < *until)
        {
            return limited(until.since(now));
        }
        let exhausted = self.client.exhausted_for();
        if !exhausted.is_zero() {
            return limited(exhausted);
        }
        if let Some(not_before) = grant.not_before.filter(|not_before| now < *not_before)
            && not_before.since(now) <= A_DAY
        {
            return match grant.failed_with {
                Some(FailureCode::RateLimited) => limited(not_before.since(now)),
                _ => Err(RefreshError::DiscordUnavailable),
            };
        }
        Ok(())
    }

    /// Returns the number of the next attempt, and whether it has been claimed already.
    ///
    /// Whoever holds the lock knows that no other call is under way: a claim that stands here is one whose outcome
    /// never reached the log. One for which nothing was sent may be taken up as it is.
    fn next_attempt(&self, grant: &Grant) -> (u8, bool) {
        let Some(claim) = &grant.claim else { return (1, false) };
        if self.unsent().contains(&(grant.id, claim.attempt)) {
            return (claim.attempt, true);
        }
        (claim.attempt.saturating_add(1), false)
    }

    async fn claim(&self, user: Sub, grant: GrantId, attempt: u8, by: &By) -> Result<(), RefreshError> {
        let until = self.clock.now().plus(CLAIM);
        match self.app.execute(Command::ClaimRefresh { user, grant, attempt, until }, by).await {
            Ok(_) => Ok(()),
            Err(ExecuteError::Refused(Refusal::GrantGone)) => Err(RefreshError::Ended),
            Err(error) => {
                if !matches!(error, ExecuteError::Refused(_)) {
                    // The record may be found in the log later, although nothing is sent for it now.
                    self.unsent().insert((grant, attempt));
                }
                Err(RefreshError::Execute(Arc::new(error)))
            }
        }
    }

    /// Says of a call that failed what that means for whoever asked.
    fn refresh_error(&self, error: &CallError) -> RefreshError {
        match error {
            CallError::Refused { code: FailureCode::InvalidGrant, .. } => RefreshError::Ended,
            CallError::Paused { .. } | CallError::RateLimited { .. } | CallError::Exhausted { .. } => {
                RefreshError::DiscordRateLimited { retry_after: self.seconds_to_wait(error) }
            }
            CallError::ClientRejected { .. } => RefreshError::ClientRejected,
            _ => RefreshError::DiscordUnavailable,
        }
    }

    async fn conclude_failed(
        &self,
        user: Sub,
        grant: &Grant,
        failed: Failed,
        attempt: u8,
        by: &By,
    ) -> Result<(), RefreshError> {
        let now = self.clock.now();
        let pause = (PAUSE * 2u32.saturating_pow(grant.failures.min(16))).min(LONGEST_PAUSE);
        let wait = failed.wait.unwrap_or(pause);
        let command = Command::FailRefresh {
            user,
            grant: grant.id,
            code: failed.code,
            status: failed.status,
            attempt,
            is_final: failed.is_final,
            not_before: (!failed.is_final).then(|| now.plus(wait)),
        };
        self.conclude(command, by).await
    }

    /// Records an outcome. Where the log cannot be written it is tried again until the process ends: this
    /// outcome exists nowhere else.
    async fn conclude(&self, command: Command, by: &By) -> Result<(), RefreshError> {
        loop {
            match self.app.execute(command.clone(), by).await {
                Ok(_) => return Ok(()),
                // A newer grant has taken its place: the outcome is of no use to anybody.
                Err(ExecuteError::Refused(_)) => return Ok(()),
                Err(error) if self.stopping.is_cancelled() => {
                    return Err(RefreshError::Execute(Arc::new(error)));
                }
                Err(_) => self.clock.sleep(Duration::from_secs(1)).await,
            }
        }
    }
}

impl Grants {
    fn unsent(&self) -> std::sync::MutexGuard<'_, std::collections::HashSet<(GrantId, u8)>> {
        self.unsent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a refresh failed.
struct Failed {
    code: FailureCode,
    status: Option<u16>,
    is_final: bool,
    /// How long Discord wants to be left alone, where it said so.
    wait: Option<Duration>,
}

impl Failed {
    fn of(error: &CallError, now: Timestamp) -> Failed {
        Failed {
            // Whether the token is used up is not known: the next refusal will be our own doing.
            code: if error.outcome_unknown() { FailureCode::OutcomeUnknown } else { error.failure_code() },
            status: error.status(),
            is_final: matches!(error, CallError::Refused { code: FailureCode::InvalidGrant, .. }),
            wait: error.retry_after(now),
        }
    }
}

/// Returns the seconds to wait, rounded up.
pub(super) fn whole_seconds(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX).max(1)
}
