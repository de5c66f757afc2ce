//! Erasing a person: at Discord, in the log, and from the keys, in that order.
//!
//! The sessions end first, whatever happens. Then Discord is asked to end the authorization, because the tokens to
//! ask with are about to be unreadable. Only then is the erasure recorded, and only then are the keys destroyed: a
//! start destroys them again that finds the record and a key, so a kill in between revives nobody.

use std::sync::Arc;
use std::time::Duration;

use super::Grants;
use crate::app::{By, ExecuteError};
use crate::crypto::{Forget, KeyError};
use crate::domain::command::Command;
use crate::domain::decide::Refusal;
use crate::domain::event::{Cause, Event, Requester, RevokedBy};
use crate::domain::id::{Position, Sub};

/// How long Discord is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often somebody may sign in again meanwhile before that is said.
const TRIES: u32 = 3;

/// Somebody who is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// Where the log says so.
    pub position: Position,
    /// Live sessions that ended.
    pub sessions_ended: u32,
    /// Whether Discord has confirmed the end of the authorization; `None` where there was none.
    pub confirmed: Option<bool>,
}

/// Why somebody was not erased, or not wholly.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EraseError {
    /// Nobody goes by that pseudonym, or they were erased before.
    #[error("there is no such user")]
    NoSuchUser,
    /// Discord has not confirmed within the time that it is waited for.
    #[error(
        "discord has not confirmed the end of the authorization; the sessions have ended and doorbook goes on asking: try again later, or erase now and let the certificate say so"
    )]
    NotConfirmed,
    /// They signed in again while they were being erased.
    #[error("they signed in again meanwhile; try again")]
    SignedInAgain,
    /// It could not be recorded.
    #[error("the erasure could not be recorded")]
    Execute(#[source] Arc<ExecuteError>),
    /// It is recorded, but the keys are still there.
    #[error(
        "the erasure is recorded, but the keys could not be destroyed; ask again, or leave it to the next start"
    )]
    Keys(#[source] KeyError),
    /// A defect of ours ended the task.
    #[error("the erasure broke; try again")]
    Died,
}

impl Grants {
    /// Erases a person; with `now` whether Discord confirms or not.
    ///
    /// It runs in a task of its own: whoever asked may go away.
    pub async fn erase(
        self: &Arc<Self>,
        user: Sub,
        requested_by: Requester,
        now: bool,
        by: &By,
    ) -> Result<Erasure, EraseError> {
        let (grants, by) = (self.clone(), by.clone());
        let erasing = self.spawn(async move { grants.erase_here(user, requested_by, now, &by).await });
        erasing.await.unwrap_or(Err(EraseError::Died))
    }

    async fn erase_here(
        self: &Arc<Self>,
        user: Sub,
        requested_by: Requester,
        now: bool,
        by: &By,
    ) -> Result<Erasure, EraseError> {
        if self.app.state().is_erased(user) {
            // Their keys may have outlived the record, where the disk failed.
            self.destroy_keys(user).await?;
            return Err(EraseError::NoSuchUser);
        }
        let (mut sessions_ended, mut had_grant) = (0, false);
        for _ in 0..TRIES {
            let (has_grant, is_pending) = {
                let state = self.app.state();
                let found = state.user(user).ok_or(EraseError::NoSuchUser)?;
                (found.grant.is_some(), found.revocation.is_some())
            };
            had_grant |= has_grant || is_pending;
            let source = match requested_by {
                Requester::User => RevokedBy::User,
                _ => RevokedBy::Operator,
            };
            let revoked = self.revoke_because(user, source, Cause::Erased, by).await;
            sessions_ended += revoked.map_err(EraseError::Execute)?.sessions_ended;
            self.confirmed_in_time(user).await;

            // From here on no sign-in of theirs comes to its end, and no call of ours is under way.
            let _held = self.lock(user).await;
            let (has_grant, is_pending) = {
                let state = self.app.state();
                let found = state.user(user).ok_or(EraseError::NoSuchUser)?;
                (found.grant.is_some(), found.revocation.is_some())
            };
            if has_grant {
                continue;
            }
            if is_pending && !now {
                return Err(EraseError::NotConfirmed);
            }
            let confirmed = had_grant.then_some(!is_pending);
            let position = self.record_erasure(user, requested_by, confirmed, by).await?;
            self.destroy_keys(user).await?;
            return Ok(Erasure { position, sessions_ended, confirmed });
        }
        Err(EraseError::SignedInAgain)
    }

    async fn destroy_keys(&self, user: Sub) -> Result<(), EraseError> {
        let forgotten = self.app.keys().forget(Forget::sub(user)).await;
        self.app.forget_opened(user);
        forgotten.map(drop).map_err(EraseError::Keys)
    }

    async fn record_erasure(
        &self,
        user: Sub,
        requested_by: Requester,
        confirmed: Option<bool>,
        by: &By,
    ) -> Result<Position, EraseError> {
        let done = self.app.execute(Command::Erase { user, requested_by, confirmed }, by).await;
        let done = done.map_err(|error| match error {
            ExecuteError::Refused(Refusal::NoSuchUser) => EraseError::NoSuchUser,
            error => EraseError::Execute(Arc::new(error)),
        })?;
        let erased = |event: &&Event| matches!(event, Event::UserErased { .. });
        match (done.events().find(erased), done.position()) {
            (Some(_), Some(position)) => Ok(position),
            _ => Err(EraseError::Died),
        }
    }

    /// Waits until Discord has confirmed, or for as long as it is waited for.
    async fn confirmed_in_time(&self, user: Sub) {
        let is_pending = || self.app.state().user(user).is_some_and(|found| found.revocation.is_some());
        let mut progress = self.app.progress();
        let confirmed = progress.wait_for(|progress| progress.stopped || !is_pending());
        tokio::select! {
            biased;
            _ = confirmed => {}
            () = self.stopping.cancelled() => {}
            () = self.clock.sleep(PATIENCE) => {}
        }
    }
}
