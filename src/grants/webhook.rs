//! Discord says that somebody has removed the application: what that ends here.

use std::sync::Arc;

use super::Grants;
use crate::app::{By, ExecuteError};
use crate::domain::command::Command;
use crate::domain::decide::Refusal;
use crate::domain::event::{Cause, RevokedBy};
use crate::domain::id::DiscordId;
use crate::domain::time::Timestamp;

impl Grants {
    /// Ends the authorization and the sessions of somebody who removed the application at `at`; returns how many
    /// sessions ended.
    ///
    /// An authorization that is younger is another one: they have signed in again since. Where there is none there is
    /// nothing to end, so the same word may come twice, late, or as the echo of what we did ourselves.
    pub async fn deauthorized(
        self: &Arc<Self>,
        id: DiscordId,
        at: Timestamp,
        by: &By,
    ) -> Result<u32, Arc<ExecuteError>> {
        // A sign-in that is under way asks once more whether its token is good.
        self.revocations_sent.note(id);
        let Some(user) = self.app.keys().sub_of(id) else { return Ok(0) };
        let Some(grant) = self.app.grant_of(user).filter(|grant| grant.issued_at <= at) else {
            return Ok(0);
        };
        let command = Command::Revoke {
            user,
            source: RevokedBy::Webhook,
            cause: Cause::DiscordDeauthorized,
            confirmed: true,
            only: Some(grant.id),
        };
        let (grants, by) = (self.clone(), by.clone());
        // In a task of its own: Discord may not wait for the end.
        let ending = self.spawn(async move { grants.app.execute(command, &by).await });
        match ending.await {
            Ok(Ok(done)) => Ok(done.sessions_ended()),
            Ok(Err(ExecuteError::Refused(Refusal::GrantGone))) => Ok(0),
            Ok(Err(error)) => Err(Arc::new(error)),
            Err(_) => Err(Arc::new(ExecuteError::FoldStopped)),
        }
    }
}
