//! Opens a log to be read and no more: from a running server, or by itself where none runs.

use std::sync::Arc;

use super::{ServeError, World};
use crate::app::OpenError;
use crate::audit::{LogSource, Opener, Reader, Source};
use crate::clock::Clock;
use crate::config::Local;
use crate::control::Client;
use crate::crypto::{KeyError, KeyRing, KeySettings};
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
}

/// Opens the log of a data directory.
///
/// A running server gives its records over the socket, and goes on signing people in meanwhile. The keys are
/// read from their files in any case: what they open is opened here.
pub async fn read(local: &Local, clock: Arc<dyn Clock>) -> Result<Reading, ServeError> {
    let (source, log) = match Client::connect(&local.data_dir, clock).await? {
        Some(client) => (Arc::new(client) as Arc<dyn Source>, None),
        None => {
            let log = open(local).await?;
            (Arc::new(LogSource(log.clone())) as Arc<dyn Source>, Some(log))
        }
    };
    let (keys, without_keys) = match look(local) {
        Ok(keys) => (Some(Arc::new(keys)), None),
        Err(error) => (None, Some(error)),
    };
    let mut reader = Reader::new(source, Opener::new(keys));
    if let Ok(Some(log_id)) = KeyRing::log_of(&local.data_dir.join("keys")) {
        let states = StatesDir::new(local.data_dir.join("states"), World::real().disk);
        reader = reader.with_states(states, log_id);
    }
    Ok(Reading { reader, without_keys, log })
}

impl Reading {
    /// Returns whether a running server gives the records.
    pub fn is_live(&self) -> bool {
        self.log.is_none()
    }

    /// Closes what was opened; a running server stays as it is.
    pub async fn close(self) -> Result<(), ServeError> {
        match self.log {
            Some(log) => log.close().await.map_err(|error| ServeError::Reading { why: error.why }),
            None => Ok(()),
        }
    }
}

async fn open(local: &Local) -> Result<EventLog, ServeError> {
    let data_dir = local.data_dir.clone();
    if !data_dir.join("HEAD").exists() {
        return Err(OpenError::NoLog { data_dir }.into());
    }
    let World { clock, entropy, disk, probe } = World::real();
    let settings =
        StartSettings { data_dir, accept_loss: false, probe, disk, clock, entropy, pace: Pace::default() };
    let opening = tokio::task::spawn_blocking(move || match start::begin(settings)? {
        Begun::Existing(existing) => Ok(EventLog::new(existing.open()?.engine)),
        Begun::New(_) => Err(OpenError::Unfinished),
    });
    match opening.await {
        Ok(opened) => Ok(opened?),
        Err(panicked) => Err(ServeError::DiskFailed { why: panicked.to_string() }),
    }
}

fn look(local: &Local) -> Result<KeyRing, KeyError> {
    let dir = local.data_dir.join("keys");
    let log_id = KeyRing::log_of(&dir)?.ok_or_else(|| KeyError::Missing { file: dir.join("kek") })?;
    let settings = KeySettings {
        dir,
        log_id,
        encrypt_secret: local.encrypt_secret.clone(),
        cookie_secret: local.cookie_secret.clone(),
    };
    KeyRing::look(&settings, World::real().entropy)
}
