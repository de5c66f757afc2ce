//! Somebody has certainly lost what let them in: their sessions end, where that is wanted.

use std::sync::Arc;

use super::Grants;
use crate::app::By;
use crate::domain::access::{Person, Truth};
use crate::domain::command::Which;
use crate::domain::event::Cause;
use crate::domain::id::Sub;

impl Grants {
    /// Ends the sessions of a user who may not stay in, as far as what is known of them counts now.
    pub(super) async fn end_if_lost(self: &Arc<Self>, user: Sub, by: &By) {
        if self.settings.role_lost_ends_sessions
            && let Some(standing) = self.standing(user)
        {
            self.end_unless_allowed(user, &standing.person(), by).await;
        }
    }

    /// Ends the sessions of a user who is that person and may not stay in.
    ///
    /// Every fact that decides has to be known: an unknown one ends nothing.
    pub(super) async fn end_unless_allowed(&self, user: Sub, person: &Person<'_>, by: &By) {
        if !self.settings.role_lost_ends_sessions || self.app.rules().allows(person) != Truth::No {
            return;
        }
        match self.app.end_sessions(user, Which::All, Cause::RoleLost, None, by).await {
            Ok(0) => {}
            Ok(sessions) => tracing::info!(sessions, "somebody lost what let them in, and is signed out"),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "somebody lost what let them in, but could not be signed out");
            }
        }
    }
}
