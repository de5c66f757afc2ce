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
use crate::domain::id::{Hash, Sub};
use crate::domain::state::Grant;

/// Longer than a call and an append can take.
const CLAIM: Duration = Duration::from_secs(60);
/// Between two refreshes that a user asks for.
const ONCE_A_MINUTE: Duration = Duration::from_secs(60);
/// After a failure that says nothing about when to try again.
const PAUSE: Duration = Duration::from_secs(30);
/// A claim that is settled after its process died is the second attempt, and the last.
const LAST_ATTEMPT: u8 = 2;

impl Grants {
    /// Refreshes a user's grant now; once a minute, and everyone who waits shares the outcome.
    pub async fn refresh_now(self: &Arc<Self>, user: Sub, by: &By) -> Result<(), RefreshError> {
        if !self.refreshes.is_aloft(user) {
            let now = self.clock.monotonic();
            let mut refreshed = self.refreshed.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(last) = refreshed.get(&user)
                && now.saturating_sub(*last) < ONCE_A_MINUTE
            {
                let wait = ONCE_A_MINUTE - now.saturating_sub(*last);
                return Err(RefreshError::TooSoon { retry_after: wait.as_secs().max(1) });
            }
            refreshed.put(user, now);
        }
        let (grants, by) = (self.clone(), by.clone());
        let call = move || async move { grants.refresh(user, None, &by).await };
        self.refreshes.join(user, &self.tasks, call).await.unwrap_or(Err(RefreshError::DiscordUnavailable))
    }

    /// Settles a claim that a process before us left without an outcome.
    pub(super) async fn settle(self: &Arc<Self>, user: Sub) {
        let Ok(_permit) = self.background.clone().acquire_owned().await else { return };
        match self.refresh(user, None, &By::SYSTEM).await {
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
        let now = self.clock.now();
        if let Some(not_before) = grant.not_before.filter(|not_before| now < *not_before) {
            let retry_after = not_before.since(now).as_secs().max(1);
            return Err(RefreshError::DiscordRateLimited { retry_after });
        }
        // Whoever holds the lock knows that no other call is under way: a claim that stands here is one
        // whose outcome never reached the log.
        let attempt = grant.claim.map_or(1, |claim| claim.attempt.saturating_add(1));
        if attempt > LAST_ATTEMPT {
            self.conclude_failed(user, grant, FailureCode::OutcomeUnknown, None, LAST_ATTEMPT, by).await?;
            return Err(RefreshError::Ended);
        }
        let Some(tokens) = self.app.tokens_of(grant) else {
            return Err(RefreshError::Ended);
        };
        let claim = Command::ClaimRefresh { user, grant: grant.id, attempt, until: now.plus(CLAIM) };
        self.app.execute(claim, by).await.map_err(refused)?;

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
                let (code, status) = (error.failure_code(), error.status());
                self.conclude_failed(user, grant, code, Some((status, &error)), attempt, by).await?;
                Err(match error {
                    CallError::Refused { code: FailureCode::InvalidGrant, .. } => RefreshError::Ended,
                    CallError::Paused { .. } | CallError::RateLimited { .. } => {
                        RefreshError::DiscordRateLimited { retry_after: self.seconds_to_wait(&error) }
                    }
                    CallError::ClientRejected { .. } => RefreshError::ClientRejected,
                    _ => RefreshError::DiscordUnavailable,
                })
            }
        }
    }

    async fn conclude_failed(
        &self,
        user: Sub,
        grant: &Grant,
        code: FailureCode,
        answer: Option<(Option<u16>, &CallError)>,
        attempt: u8,
        by: &By,
    ) -> Result<(), RefreshError> {
        let is_final = matches!(code, FailureCode::InvalidGrant | FailureCode::OutcomeUnknown);
        let now = self.clock.now();
        let wait = answer.and_then(|(_, error)| error.retry_after(now)).unwrap_or(PAUSE);
        let command = Command::FailRefresh {
            user,
            grant: grant.id,
            code,
            status: answer.and_then(|(status, _)| status),
            attempt,
            is_final,
            not_before: (!is_final).then(|| now.plus(wait)),
        };
        self.conclude(command, by).await
    }

    /// Records an outcome. Where the log cannot be written it is tried again for as long as the claim
    /// stands: this outcome exists nowhere else.
    async fn conclude(&self, command: Command, by: &By) -> Result<(), RefreshError> {
        let until = self.clock.monotonic() + CLAIM;
        loop {
            match self.app.execute(command.clone(), by).await {
                Ok(_) => return Ok(()),
                // A newer grant has taken its place: the outcome is of no use to anybody.
                Err(ExecuteError::Refused(_)) => return Ok(()),
                Err(error) if self.clock.monotonic() >= until => {
                    return Err(RefreshError::Execute(Arc::new(error)));
                }
                Err(_) => self.clock.sleep(Duration::from_secs(1)).await,
            }
        }
    }
}

fn refused(error: ExecuteError) -> RefreshError {
    match error {
        ExecuteError::Refused(Refusal::GrantGone) => RefreshError::Ended,
        other => RefreshError::Execute(Arc::new(other)),
    }
}
