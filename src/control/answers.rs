//! The operator's questions, answered from the state; the same code with a server and without one.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::{
    Answers, Asked, Erased, Health, Listed, Named, Rotated, RotatedKey, SessionFilter, SessionRow,
    SessionUser, Trouble, select,
};
use crate::app::{App, By, NewRoot, NewSigningKey, RetentionError, RotateError};
use crate::audit::{LogSource, Source};
use crate::domain::command::{Command, Which};
use crate::domain::event::{Cause, Requester, Route};
use crate::domain::id::{RequestId, SessionId, Sub};
use crate::domain::record::Actor;
use crate::domain::time::Month;
use crate::entropy::Entropy;
use crate::grants::{EraseError, Erasure, Grants};

/// Answers from the state of this process.
pub struct AppAnswers {
    app: Arc<App>,
    grants: Option<Arc<Grants>>,
    entropy: Arc<dyn Entropy>,
    retention: Duration,
}

impl AppAnswers {
    /// Answers for `app`, where addresses and agents stay readable for `retention`.
    pub fn new(app: Arc<App>, entropy: Arc<dyn Entropy>, retention: Duration) -> AppAnswers {
        AppAnswers { app, grants: None, entropy, retention }
    }

    /// Lets those be answered as well who ask for something at Discord.
    pub fn with_grants(self, grants: Arc<Grants>) -> AppAnswers {
        AppAnswers { grants: Some(grants), ..self }
    }

    /// Whoever is at the command line; one request binds the records together that a question leads to.
    fn operator(&self) -> By {
        By {
            actor: Actor::OPERATOR,
            request: Some(RequestId(self.entropy.draw())),
            cause: None,
            route: Some(Route::Control),
            origin: None,
        }
    }

    async fn erase_by(&self, whom: Sub, requested_by: Requester, now: bool) -> Result<Erased, Trouble> {
        let nobody =
            "without a server doorbook can only ask Discord where its client id and secret are configured";
        let grants = self.grants.as_ref().ok_or_else(|| Trouble::No(nobody.to_owned()))?;
        match grants.erase(whom, requested_by, now, &self.operator()).await {
            Ok(Erasure { position, sessions_ended, confirmed }) => {
                // So that there is something to prove it with at once.
                if let Err(error) = self.app.sign_checkpoint().await {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "an erasure was not signed for yet"
                    );
                }
                Ok(Erased { position, sessions_ended, confirmed })
            }
            Err(EraseError::Execute(error)) => {
                let error: &dyn std::error::Error = &*error;
                tracing::error!(error, "an erasure could not be recorded");
                Err(Trouble::LogUnavailable)
            }
            Err(error @ (EraseError::Keys(_) | EraseError::Died)) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "an erasure did not come to its end"
                );
                Err(Trouble::Failed(in_one_line(&error)))
            }
            Err(error) => Err(Trouble::No(error.to_string())),
        }
    }

    async fn rotate(&self, which: RotatedKey) -> Result<Rotated, Trouble> {
        let by = self.operator();
        let rotated = match which {
            RotatedKey::Root => self
                .app
                .rotate_root(&by)
                .await
                .map(|NewRoot { generation, position }| Rotated { position, name: generation.to_string() }),
            RotatedKey::Signer => self
                .app
                .rotate_signer(&by)
                .await
                .map(|NewSigningKey { key, position }| Rotated { position, name: key.to_string() }),
        };
        rotated.map_err(|error| {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "a key was not changed for another one"
            );
            match error {
                RotateError::SignerNotRecorded(_) => Trouble::LogUnavailable,
                error => Trouble::Failed(in_one_line(&error)),
            }
        })
    }

    async fn age(&self, only_look: bool) -> Result<Vec<Month>, Trouble> {
        if only_look {
            return Ok(self.app.retention_due(self.retention));
        }
        self.app.apply_retention(self.retention, &self.operator()).await.map_err(|error| {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "past months could not be made unreadable"
            );
            match error {
                RetentionError::Execute(_) => Trouble::LogUnavailable,
                error @ RetentionError::Keys(_) => Trouble::Failed(in_one_line(&error)),
            }
        })
    }

    fn listed(&self) -> Vec<Listed> {
        let listed = self.app.sessions().into_iter().filter_map(|live| {
            let key = self.app.state().session(live.id)?.key;
            let origin = self.app.origin_of(live.id);
            let user = self.user(live.user);
            let row = SessionRow {
                id: live.id,
                user,
                opened_at: live.opened_at,
                last_seen_at: live.last_seen_at,
                expires_at: live.expires_at,
                ip: origin.as_ref().and_then(|origin| origin.ip),
                user_agent: origin.and_then(|origin| origin.user_agent),
            };
            Some(Listed { row, sub: live.user, key })
        });
        listed.collect()
    }

    fn user(&self, sub: Sub) -> Option<SessionUser> {
        self.app.profile_of(sub).map(|known| SessionUser {
            id: known.profile.id,
            username: known.profile.username.clone(),
            display_name: known.profile.display_name().to_owned(),
        })
    }

    /// Everybody who has a name, signed in or not.
    fn everybody(&self) -> Vec<Named> {
        let subs: Vec<Sub> = self.app.state().users().map(|(sub, _)| sub).collect();
        subs.into_iter().filter_map(|sub| Some(Named { sub, user: self.user(sub)? })).collect()
    }

    async fn end(&self, sessions: Vec<SessionId>, reason: Option<String>) -> Result<u32, Trouble> {
        let mut by_user: BTreeMap<Sub, Vec<SessionId>> = BTreeMap::new();
        for id in sessions {
            if let Some(live) = self.app.session_by_id(id) {
                by_user.entry(live.user).or_default().push(id);
            }
        }
        // One record for each user, and one request that binds them together.
        let by = self.operator();
        let mut ended = 0;
        for (user, sessions) in by_user {
            let done =
                self.app.end_sessions(user, Which::Listed(sessions), Cause::Admin, reason.clone(), &by).await;
            ended += done.map_err(|error| {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "sessions could not be ended");
                Trouble::LogUnavailable
            })?;
        }
        Ok(ended)
    }
}

/// Returns an error with its causes, for somebody who only gets the words.
pub fn in_one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

/// Answers of a server that may still be replaying its log.
#[derive(Default)]
pub struct Starting {
    answers: OnceLock<AppAnswers>,
}

impl Starting {
    /// Answers from now on: the log has been replayed.
    pub fn open(&self, answers: AppAnswers) {
        // It opens once; a second call would bring the same answers.
        let _ = self.answers.set(answers);
    }

    fn answers(&self) -> Result<&AppAnswers, Trouble> {
        let starting =
            || Trouble::Failed("the server is still reading its log; try again in a moment".into());
        self.answers.get().ok_or_else(starting)
    }
}

impl Answers for Starting {
    fn note_audit(&self, asked: Asked) -> BoxFuture<'_, Result<(), Trouble>> {
        Box::pin(async move { self.answers()?.note_audit(asked).await })
    }

    fn erase(&self, whom: Sub, requested_by: Requester, now: bool) -> BoxFuture<'_, Result<Erased, Trouble>> {
        Box::pin(async move { self.answers()?.erase(whom, requested_by, now).await })
    }

    fn rotate_key(&self, which: RotatedKey) -> BoxFuture<'_, Result<Rotated, Trouble>> {
        Box::pin(async move { self.answers()?.rotate_key(which).await })
    }

    fn apply_retention(&self, only_look: bool) -> BoxFuture<'_, Result<Vec<Month>, Trouble>> {
        Box::pin(async move { self.answers()?.apply_retention(only_look).await })
    }

    fn source(&self) -> Result<Arc<dyn Source>, Trouble> {
        self.answers()?.source()
    }

    fn health(&self) -> BoxFuture<'_, Result<Health, Trouble>> {
        match self.answers.get() {
            Some(answers) => answers.health(),
            None => Box::pin(async { Ok(Health { ready: false, log_available: false }) }),
        }
    }

    fn sessions(&self, filter: SessionFilter) -> BoxFuture<'_, Result<Vec<SessionRow>, Trouble>> {
        Box::pin(async move { self.answers()?.sessions(filter).await })
    }

    fn revoke(
        &self,
        sessions: Vec<SessionId>,
        reason: Option<String>,
    ) -> BoxFuture<'_, Result<u32, Trouble>> {
        Box::pin(async move { self.answers()?.revoke(sessions, reason).await })
    }
}

impl Answers for AppAnswers {
    fn note_audit(&self, asked: Asked) -> BoxFuture<'_, Result<(), Trouble>> {
        let Asked { audit, networks, exported } = asked;
        let note = Command::NoteAudit { audit, networks, exported };
        Box::pin(async move {
            let noted = self.app.execute(note, &self.operator()).await;
            noted.map(drop).map_err(|error| {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "a question could not be written down");
                Trouble::LogUnavailable
            })
        })
    }

    fn erase(&self, whom: Sub, requested_by: Requester, now: bool) -> BoxFuture<'_, Result<Erased, Trouble>> {
        Box::pin(self.erase_by(whom, requested_by, now))
    }

    fn rotate_key(&self, which: RotatedKey) -> BoxFuture<'_, Result<Rotated, Trouble>> {
        Box::pin(self.rotate(which))
    }

    fn apply_retention(&self, only_look: bool) -> BoxFuture<'_, Result<Vec<Month>, Trouble>> {
        Box::pin(self.age(only_look))
    }

    fn source(&self) -> Result<Arc<dyn Source>, Trouble> {
        Ok(Arc::new(LogSource(self.app.log().clone())))
    }

    fn health(&self) -> BoxFuture<'_, Result<Health, Trouble>> {
        let log_available = self.app.log_is_available();
        Box::pin(async move { Ok(Health { ready: true, log_available }) })
    }

    fn sessions(&self, filter: SessionFilter) -> BoxFuture<'_, Result<Vec<SessionRow>, Trouble>> {
        Box::pin(async move { select(self.listed(), || self.everybody(), &filter) })
    }

    fn revoke(
        &self,
        sessions: Vec<SessionId>,
        reason: Option<String>,
    ) -> BoxFuture<'_, Result<u32, Trouble>> {
        Box::pin(self.end(sessions, reason))
    }

    /// Closes the log; never called by a server, whose log outlives a question.
    fn close(&self) -> BoxFuture<'_, Result<(), Trouble>> {
        Box::pin(async {
            self.app.close().await.map_err(|error| {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "the log could not be closed");
                Trouble::LogUnavailable
            })
        })
    }
}
