//! Builds every part from the configuration, listens, and drains on a signal.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use url::Url;

use crate::config::{Config, Local};
use crate::control::Answers;
use crate::domain::id::Secret;

/// Why the server did not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Not built yet.
    #[error("this part is not built yet")]
    NotBuilt,
}

impl ServeError {
    /// Returns whether the configuration is to blame, and not the machine.
    pub fn is_configuration(&self) -> bool {
        match self {
            ServeError::NotBuilt => false,
        }
    }
}

/// How the demo is to run.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// Where it keeps everything.
    pub data_dir: PathBuf,
    /// Whether to start over.
    pub fresh: bool,
    /// doorbook's port on loopback.
    pub port: u16,
    /// The stand-in's port on loopback.
    pub discord_port: u16,
}

/// How the stand-in is to run alone.
#[derive(Clone, Debug)]
pub struct MockDiscordOptions {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The id of the one application it knows.
    pub client_id: String,
    /// That application's secret.
    pub client_secret: Secret,
    /// The redirect URLs registered for it.
    pub redirect_uris: Vec<Url>,
}

/// Runs the server until a signal ends it.
pub async fn run(config: Config, accept_loss: bool) -> Result<(), ServeError> {
    let _ = (config, accept_loss);
    Err(ServeError::NotBuilt)
}

/// Runs the server and the stand-in together.
pub async fn demo(options: DemoOptions) -> Result<(), ServeError> {
    let _ = options;
    Err(ServeError::NotBuilt)
}

/// Runs the stand-in alone.
pub async fn mock_discord(options: MockDiscordOptions) -> Result<(), ServeError> {
    let _ = options;
    Err(ServeError::NotBuilt)
}

/// Opens the log without a server, to answer one command.
pub async fn open_local(local: Local) -> Result<Box<dyn Answers>, ServeError> {
    let _ = local;
    Err(ServeError::NotBuilt)
}

/// Proves id and secret to Discord with one call.
pub async fn check_online(config: &Config) -> Result<(), ServeError> {
    let _ = config;
    Err(ServeError::NotBuilt)
}

/// Opens a copy of the database and iterates over everything in it, in a process of its own.
pub fn probe_log(dir: &Path) -> Result<(), ServeError> {
    let _ = dir;
    Err(ServeError::NotBuilt)
}
