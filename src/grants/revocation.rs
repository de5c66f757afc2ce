//! Ending an authorization: here at once, at Discord as soon as it confirms, however often we must ask.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Grants, RefreshError, Revoked};
use crate::app::{By, ExecuteError};
use crate::discord::CallError;
use crate::domain::command::Command;
use crate::domain::event::{Cause, FailureCode, RevokedBy};
use crate::domain::id::{DiscordId, Sub};

/// How long a browser waits for Discord to confirm.
const PATIENCE: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Revocations remembered for sign-ins that overlap with them.
const REMEMBERED: usize = 65_536;

/// How far a revocation came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Discord has confirmed.
    Confirmed,
    /// Nothing is pending any more: a new sign-in has taken its place.
    Superseded,
    /// Discord has not confirmed.
    Pending,
}

impl Grants {
    /// Ends the grant and every session of the user, and asks Discord to do the same.
    pub async fn revoke(
        self: &Arc<Self>,
        user: Sub,
        source: RevokedBy,
        by: &By,
    ) -> Result<Revoked, Arc<ExecuteError>> {
        let cause = match source {
            RevokedBy::User => Cause::UserRevoked,
            RevokedBy::Webhook => Cause::DiscordDeauthorized,
            _ => Cause::Admin,
        };
        self.revoke_because(user, source, cause, by).await
    }

    /// Like [`Self::revoke`], where the sessions end for a reason of their own.
    pub(super) async fn revoke_because(
        self: &Arc<Self>,
        user: Sub,
        source: RevokedBy,
        cause: Cause,
        by: &By,
    ) -> Result<Revoked, Arc<ExecuteError>> {
        let command = Command::Revoke { user, source, cause, confirmed: false, only: None };
        let (grants, by) = (self.clone(), by.clone());
        let (tell, told) = tokio::sync::oneshot::channel();
        // All of it in a task of its own: a browser that goes away takes nothing with it.
        let mut first = self.spawn(async move {
            let done = grants.app.execute(command, &by).await.map_err(Arc::new);
            let failed = done.is_err();
            // Whoever asked may have gone.
            let _ = tell.send(done.map(|done| done.sessions_ended()));
            let step = if failed { Step::Pending } else { grants.send_revocation(user, 1).await };
            if step == Step::Pending {
                // After a failure, too: the record may be found in the log later, and then it counts.
                grants.revoke_in_background(user, FIRST_PAUSE);
            }
            step
        });
        let sessions_ended = told.await.unwrap_or(Err(Arc::new(ExecuteError::FoldStopped)))?;
        let step = tokio::select! {
            biased;
            step = &mut first => step.unwrap_or(Step::Pending),
            () = self.clock.sleep(PATIENCE) => Step::Pending,
        };
        Ok(Revoked { sessions_ended, confirmed: step == Step::Confirmed })
    }

    /// Goes on asking until Discord confirms or a new sign-in makes it needless.
    pub(super) fn revoke_in_background(self: &Arc<Self>, user: Sub, pause: Duration) {
        if !self.revoking.insert(user) {
            return;
        }
        let grants = self.clone();
        self.spawn(async move {
            let _one_loop = OneLoop { grants: grants.clone(), user };
            let mut pause = pause;
            for attempt in 1.. {
                tokio::select! {
                    biased;
                    () = grants.stopping.cancelled() => return,
                    () = grants.clock.sleep(pause) => {}
                }
                if grants.send_revocation(user, attempt).await != Step::Pending {
                    return;
                }
                pause = (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
            }
        });
    }

    async fn send_revocation(&self, user: Sub, attempts: u32) -> Step {
        let Some(id) = self.app.discord_id_of(user) else { return Step::Superseded };
        let permit = tokio::select! {
            biased;
            () = self.stopping.cancelled() => return Step::Pending,
            permit = self.background.acquire() => permit,
        };
        let Ok(_permit) = permit else { return Step::Pending };
        let _held = self.discord.lock(id).await;
        let pending = || self.app.state().user(user).and_then(|user| user.revocation.clone());
        let nothing = || if self.app.log_is_available() { Step::Superseded } else { Step::Pending };
        let Some(revocation) = pending() else { return nothing() };
        if revocation.grant.claim.is_some() || revocation.grant.uncertain {
            // Which tokens are the current ones is known only once the refresh has an outcome.
            match self.refresh_locked(user, &revocation.grant, &By::SYSTEM).await {
                Ok(()) | Err(RefreshError::Ended) => {}
                Err(_) => return Step::Pending,
            }
        }
        let Some(revocation) = pending() else { return nothing() };
        let Some(tokens) = self.app.tokens_of(&revocation.grant) else {
            tracing::error!("the tokens of a revoked grant cannot be opened, so Discord cannot be told");
            return Step::Pending;
        };
        let revoked = self.client.revoke(&tokens.refresh).await;
        // Noted when it is over, under the lock that a sign-in takes before it looks here.
        self.revocations_sent.note(id);
        match revoked {
            Ok(()) | Err(CallError::Refused { code: FailureCode::InvalidGrant, .. }) => {}
            Err(_) => return Step::Pending,
        }
        let confirmed = Command::ConfirmRevocation { user, grant: revocation.grant.id, attempts };
        match self.app.execute(confirmed, &By::SYSTEM).await {
            Ok(_) => Step::Confirmed,
            Err(ExecuteError::Refused(_)) => Step::Superseded,
            Err(_) => Step::Pending,
        }
    }
}

/// Lets another loop about the user begin, however this one ends.
struct OneLoop {
    grants: Arc<Grants>,
    user: Sub,
}

impl Drop for OneLoop {
    fn drop(&mut self) {
        self.grants.revoking.remove(&self.user);
    }
}

/// Which users' authorizations were revoked, and when, in the order of the calls.
#[derive(Debug, Default)]
pub(super) struct Sent {
    calls: Mutex<Calls>,
}

#[derive(Debug, Default)]
struct Calls {
    count: u64,
    last: HashMap<DiscordId, u64>,
}

/// A moment in the order of revocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark(u64);

impl Sent {
    /// Returns this moment.
    pub(super) fn now(&self) -> Mark {
        Mark(self.lock().count)
    }

    /// Returns whether a revocation of that user was sent after `mark`.
    pub(super) fn since(&self, id: DiscordId, mark: Mark) -> bool {
        self.lock().last.get(&id).is_some_and(|last| *last > mark.0)
    }

    /// Notes that the authorization of that user was revoked.
    pub(super) fn note(&self, id: DiscordId) {
        let mut calls = self.lock();
        calls.count += 1;
        let count = calls.count;
        calls.last.insert(id, count);
        if calls.last.len() > REMEMBERED {
            // A sign-in takes seconds; the older half is from long before any that is under way.
            calls.last.retain(|_, last| *last + (REMEMBERED as u64) / 2 > count);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
