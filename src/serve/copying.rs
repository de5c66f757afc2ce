//! Takes a copy of a log: written down in the log itself first, and read then.

use std::sync::Arc;

use super::aside::Aside;
use super::reading::open as open_to_read;
use super::{ServeError, World, open, replaying};
use crate::app::{OpenError, Role};
use crate::audit::{LogSource, Opener, ReadError, Reader};
use crate::config::Local;
use crate::control::{Answers, AppAnswers, Asked, Client, Trouble};
use crate::domain::event::{Audit, Question};
use crate::domain::id::{Position, Sub};
use crate::event_log::EventLog;

/// A log of which a copy is taken; it must be closed.
pub struct Taking {
    /// What reads it; no key is at hand, because a copy needs none.
    pub reader: Reader,
    /// Why nothing can be written down, where that is so.
    pub not_noted: Option<ServeError>,
    answers: Option<Box<dyn Answers>>,
    /// Where the log ended before this program wrote to it.
    before: Option<Position>,
    log: Option<EventLog>,
    aside: Option<Aside>,
}

impl Taking {
    /// Opens the log of a data directory, through the server that runs on it or by itself.
    ///
    /// Where nobody can write to it, or its keys are not there, it is only read.
    ///
    /// What is sealed is opened by `opener`; a copy of the log needs none.
    pub async fn open(local: &Local, opener: Opener, world: World) -> Result<Taking, ServeError> {
        if let Some(client) = Client::connect(&local.data_dir, world.clock.clone()).await? {
            let reader = Reader::new(Arc::new(client.clone()), opener);
            let answers: Box<dyn Answers> = Box::new(client);
            return Ok(Taking {
                reader,
                not_noted: None,
                answers: Some(answers),
                before: None,
                log: None,
                aside: None,
            });
        }
        match Taking::through_app(local, opener.clone(), world.clone()).await {
            Err(error) if may_be_read(&error) => {
                let (log, aside) = open_to_read(local, world).await?;
                let reader = Reader::new(Arc::new(LogSource(log.clone())), opener);
                let not_noted = Some(error);
                Ok(Taking { reader, not_noted, answers: None, before: None, log: Some(log), aside })
            }
            taken => taken,
        }
    }

    async fn through_app(local: &Local, opener: Opener, world: World) -> Result<Taking, ServeError> {
        let opened = open(local, Role::Command, world.clone()).await?;
        // A start may have something to write down itself; that is not part of the copy.
        let before = opened.records().checked_sub(1).map(Position);
        let (app, _) = replaying::shown(opened, world.clock).await?;
        let reader = Reader::new(Arc::new(LogSource(app.log().clone())), opener);
        let answers: Box<dyn Answers> = Box::new(AppAnswers::new(app, world.entropy, local.retention));
        Ok(Taking { reader, not_noted: None, answers: Some(answers), before, log: None, aside: None })
    }

    /// Returns the last position that the copy may have.
    pub async fn head(&self) -> Result<Option<Position>, ReadError> {
        match self.before {
            Some(before) => Ok(Some(before)),
            None => self.reader.head().await,
        }
    }

    /// Writes down that a copy is taken, up to a position; no copy holds that record itself.
    pub async fn note(&self, question: Question, user: Option<Sub>, to: Position) -> Result<(), Trouble> {
        let Some(answers) = &self.answers else { return Ok(()) };
        let rows = user.is_none().then_some(to.next().0);
        let audit = Audit { question, user, from: None, to: Some(to), rows };
        answers.note_audit(Asked { audit, networks: Vec::new(), exported: true }).await
    }

    /// Closes what was opened; a running server stays as it is.
    pub async fn close(self) -> Result<(), ServeError> {
        let Taking { answers, log, aside, .. } = self;
        if let Some(answers) = answers {
            let closed = answers.close().await;
            closed.map_err(|error| ServeError::Reading { why: error.to_string() })?;
        }
        if let Some(log) = log {
            log.close().await.map_err(|error| ServeError::Reading { why: error.why })?;
        }
        drop(aside);
        Ok(())
    }
}

/// Returns whether the log may all the same be whole, only not for this program to write to.
fn may_be_read(error: &ServeError) -> bool {
    match error {
        ServeError::Open(OpenError::Start(error)) => error.is_not_writable(),
        // A secret that is not given, or another one, is a mistake to be put right.
        ServeError::Open(OpenError::Key(error)) => !error.is_configuration(),
        ServeError::Open(
            OpenError::SubjectsMissing { .. }
            | OpenError::MonthMissing { .. }
            | OpenError::SignerGone(_)
            | OpenError::Signer(_)
            | OpenError::Forget(_)
            | OpenError::Fold(_),
        ) => true,
        _ => false,
    }
}
