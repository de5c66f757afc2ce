//! Opens a log to be read and no more: from a running server, or by itself where none runs.

use std::path::PathBuf;
use std::sync::Arc;

use super::aside::Aside;
use super::{ServeError, World};
use crate::app::OpenError;
use crate::audit::{LogSource, Opener, Reader, Source};
use crate::config::Local;
use crate::control::Client;
use crate::crypto::{KeyError, KeyRing};
use crate::event_log::start::{self, Begun, StartSettings};
use crate::event_log::states::StatesDir;
use crate::event_log::{EventLog, Pace};

/// A log that can be read; it must be closed.
pub struct Reading {
    /// What reads it.
    pub reader: Reader,
    /// Why nothing that is sealed can be opened, where that is so.
    pub without_keys: Option<KeyError>,
    log: Option<EventLog>,
    aside: Option<Aside>,
}

/// Opens the log of a data directory.
///
/// A running server gives its records over the socket, and goes on signing people in meanwhile. The keys are
/// read from their files in any case: what they open is opened here.
pub async fn read(local: &Local, world: World) -> Result<Reading, ServeError> {
    let (source, log, aside) = match Client::connect(&local.data_dir, world.clock.clone()).await? {
        Some(client) => (Arc::new(client) as Arc<dyn Source>, None, None),
        None => {
            let (log, aside) = open(local, world.clone()).await?;
            (Arc::new(LogSource(log.clone())) as Arc<dyn Source>, Some(log), aside)
        }
    };
    let (opener, without_keys) = opener(local, &world);
    let mut reader = Reader::new(source, opener);
    let without_keys = match without_keys {
        None => keys_of_another_log(&reader, local).await,
        some => some,
    };
    if let Ok(Some(log_id)) = KeyRing::log_of(&local.data_dir.join("keys")) {
        let states = StatesDir::new(local.data_dir.join("states"), world.disk.clone());
        reader = reader.with_states(states, log_id);
    }
    Ok(Reading { reader, without_keys, log, aside })
}

impl Reading {
    /// Returns whether a running server gives the records.
    pub fn is_live(&self) -> bool {
        self.log.is_none()
    }

    /// Closes what was opened; a running server stays as it is.
    pub async fn close(self) -> Result<(), ServeError> {
        if let Some(log) = self.log {
            log.close().await.map_err(|error| ServeError::Reading { why: error.why })?;
        }
        drop(self.aside);
        Ok(())
    }
}

/// Opens the log itself; where nobody can write to it, a copy that is gone afterwards.
pub(super) async fn open(local: &Local, world: World) -> Result<(EventLog, Option<Aside>), ServeError> {
    let data_dir = local.data_dir.clone();
    if !start::is_begun(&data_dir).map_err(OpenError::Start)? {
        return Err(OpenError::NoLog { data_dir }.into());
    }
    let opening = tokio::task::spawn_blocking(move || -> Result<_, OpenError> {
        match open_in(data_dir.clone(), world.clone()) {
            Err(OpenError::Start(error)) if error.is_not_writable() => {
                let aside = Aside::of(&data_dir, &world)?;
                Ok((open_in(aside.data_dir(), world)?, Some(aside)))
            }
            opened => Ok((opened?, None)),
        }
    });
    match opening.await {
        Ok(opened) => Ok(opened?),
        Err(panicked) => Err(ServeError::DiskFailed { why: panicked.to_string() }),
    }
}

fn open_in(data_dir: PathBuf, world: World) -> Result<EventLog, OpenError> {
    let World { clock, entropy, disk, probe } = world;
    let settings =
        StartSettings { data_dir, accept_loss: false, probe, disk, clock, entropy, pace: Pace::default() };
    match start::begin(settings)? {
        Begun::Existing(existing) => Ok(EventLog::new(existing.open_to_read()?.engine)),
        Begun::New(_) => Err(OpenError::Unfinished),
    }
}

/// Returns what opens what is sealed, or opens nothing, and why.
pub fn opener(local: &Local, world: &World) -> (Opener, Option<KeyError>) {
    match look(local, world) {
        Ok(keys) => (Opener::new(Some(Arc::new(keys))), None),
        Err(error) => (Opener::default(), Some(error)),
    }
}

/// Returns why the keys that are there open nothing of what is read, if they are another log's.
pub async fn keys_of_another_log(reader: &Reader, local: &Local) -> Option<KeyError> {
    let (found, expected) = (reader.opener().log_id()?, reader.log_id().await?);
    let file = local.data_dir.join("keys").join("kek");
    (found != expected).then_some(KeyError::OtherLog { file, found, expected })
}

fn look(local: &Local, world: &World) -> Result<KeyRing, KeyError> {
    let missing = || KeyError::Missing { file: local.data_dir.join("keys").join("kek") };
    let settings = super::keys::settings(local)?.ok_or_else(missing)?;
    KeyRing::look(&settings, world.entropy.clone())
}
