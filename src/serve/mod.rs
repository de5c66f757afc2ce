//! Builds every part from the configuration, listens, and drains on a signal.

mod aside;
mod copying;
mod demo;
mod descriptors;
mod forgetting;
mod importing;
mod keys;
mod mock_discord;
mod reading;
mod reloading;
mod replaying;
mod signals;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::app::{self, App, ExecuteError, Replayed, Role};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, ConfigErrors, Local, Sources};
use crate::control::{self, Answers, AppAnswers, ControlError, Starting};
use crate::crypto::{KeyError, KeyRing};
use crate::discord::stand_in::StandInError;
use crate::discord::webhook::PublicKey;
use crate::discord::{self, CallError, Client, ClientError};
use crate::disk::{Disk, RealDisk};
use crate::domain::event::MadeBy;
use crate::domain::id::{NotAnId, Position};
use crate::entropy::{Entropy, SystemEntropy};
use crate::event_log::start::{StartError, check_path};
use crate::event_log::{Health, Probe};
use crate::grants::{self, Grants};
use crate::http::{self, Gate};
use signals::{Hangups, Signals};

pub use crate::app::{Accepted, OpenError};
pub use copying::Taking;
pub use demo::{DemoOptions, demo};
pub use forgetting::{ForgetError, Gone, forget_gone};
pub use importing::{ImportError, Imported, Salvaged, Where, check_copy, import};
pub use keys::{KeysError, NewEscrow, RestoredKeys, escrow, remember_escrow, restore_keys};
pub use mock_discord::{MockDiscordOptions, mock_discord};
pub use reading::{Reading, keys_of_another_log, opener, read};

/// The version of doorbook.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How long to wait for a log that cannot be closed.
const LAST_WAIT: Duration = Duration::from_secs(20);

/// Why the server did not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Somebody else listens there.
    #[error(
        "cannot listen on {address}: {why}; is another doorbook running? stop what listens there, or {instead}"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        why: io::Error,
        /// What else to do about it.
        instead: &'static str,
    },
    /// The data directory, the log or the keys.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The client for Discord.
    #[error("the client for Discord cannot be built")]
    Client(#[from] ClientError),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The stand-in.
    #[error(transparent)]
    StandIn(#[from] StandInError),
    /// The log was not closed in order.
    #[error(transparent)]
    Close(#[from] ExecuteError),
    /// The storage failed in a way that only a new start can judge.
    #[error("the disk failed: {why}; doorbook stops here, and the next start looks at the log closely")]
    DiskFailed {
        /// What happened.
        why: String,
    },
    /// A log that was only read was not closed in order.
    #[error("the log was read, but could not be closed in order: {why}")]
    Reading {
        /// What happened.
        why: String,
    },
    /// A number that Discord would not give.
    #[error("the client id is not a Discord id")]
    ClientId(#[from] NotAnId),
    /// Discord refused id and secret.
    #[error(
        "discord refuses the client id or the secret: copy both again from the application's OAuth2 page"
    )]
    ClientRejected,
    /// Discord said nothing of use.
    #[error("discord could not be asked")]
    Discord(#[source] CallError),
    /// The demo's own configuration.
    #[error("the demo cannot be configured")]
    DemoConfig(#[source] ConfigErrors),
    /// Starting over would remove a log that no demo made.
    #[error("{} holds a log that `doorbook demo` did not make; nothing was removed", path.display())]
    NotADemo {
        /// Where.
        path: PathBuf,
    },
    /// Something of the demo could not be removed.
    #[error("cannot use {}: {why}", path.display())]
    Fresh {
        /// What.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
}

impl ServeError {
    /// Returns whether the configuration is to blame, and not the machine.
    pub fn is_configuration(&self) -> bool {
        match self {
            ServeError::Open(OpenError::Key(error)) => KeyError::is_configuration(error),
            ServeError::Open(OpenError::Rules(_)) => true,
            ServeError::ClientId(_) | ServeError::ClientRejected => true,
            ServeError::Client(ClientError::NotAUrl { .. }) => true,
            _ => false,
        }
    }

    /// Returns where another record stands than the one that was acknowledged, if that is why.
    pub fn changed_at(&self) -> Option<Position> {
        match self {
            ServeError::Open(OpenError::Start(StartError::Changed { position })) => Some(*position),
            _ => None,
        }
    }
}

/// The world outside the process, passed in.
#[derive(Clone)]
pub struct World {
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Random bytes.
    pub entropy: Arc<dyn Entropy>,
    /// What is on stable storage.
    pub disk: Arc<dyn Disk>,
    /// How a copy of the log is looked through after an unclean stop.
    pub probe: Probe,
}

impl World {
    /// Returns the world as it is.
    pub fn real() -> World {
        World {
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(SystemEntropy),
            disk: Arc::new(RealDisk),
            probe: match std::env::current_exe() {
                Ok(program) => Probe::Child { program, args: vec!["probe-log".into()] },
                Err(_) => Probe::InProcess,
            },
        }
    }
}

/// A server that has replayed its log and answers.
pub struct Running {
    /// Where it listens.
    pub addresses: Vec<SocketAddr>,
    /// The state and the only way to change it.
    pub app: Arc<App>,
    /// What the replay found.
    pub replayed: Replayed,
    grants: Arc<Grants>,
    clock: Arc<dyn Clock>,
    stopping: CancellationToken,
    serving: JoinHandle<bool>,
    control: JoinHandle<()>,
}

/// Binds, opens, replays, and then lets everybody in.
///
/// Health checks are answered from the first moment on.
pub async fn start(
    config: &Config,
    made_by: MadeBy,
    accepted: Accepted,
    world: World,
) -> Result<Running, ServeError> {
    let listeners = bind(&config.listen).await?;
    start_on(listeners, config, made_by, accepted, world).await
}

/// Like [`start`], on listeners that are bound.
pub async fn start_on(
    listeners: Vec<TcpListener>,
    config: &Config,
    made_by: MadeBy,
    accepted: Accepted,
    world: World,
) -> Result<Running, ServeError> {
    let addresses = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    let World { clock, entropy, .. } = world.clone();
    let client = Arc::new(Client::new(discord_settings(config), clock.clone(), entropy.clone())?);

    let mut settings = http_settings(config);
    settings.listen.connections = descriptors::room_for(settings.listen.connections);
    let gate = Gate::new(settings, clock.clone(), entropy.clone());
    let stopping = CancellationToken::new();
    let serving = tokio::spawn({
        let (gate, stopping) = (gate.clone(), stopping.clone());
        async move { http::listen::serve(listeners, gate, stopping.cancelled()).await }
    });
    // Whatever goes wrong from here on, nobody is answered any more.
    let stop_on_error = stopping.clone().drop_guard();

    let role = Role::Server { made_by, origin: origin(&config.public_origin), config: config.hash, accepted };
    let opened = open(&config.local, role, world).await?;
    // The operator may ask from here on; until the log has been replayed the answer is that it is not.
    let answers = Arc::new(Starting::default());
    let socket = control::Server::bind(&config.local.data_dir)?;
    let control = tokio::spawn({
        let (answers, clock, stopping) = (answers.clone(), clock.clone(), stopping.clone());
        async move { socket.serve(answers, clock, stopping.cancelled_owned()).await }
    });
    let (app, replayed) = replaying::shown(opened, clock.clone()).await?;

    let grants_settings = grants::Settings {
        scopes: config.scopes.clone(),
        profile_max_age: config.profile_max_age,
        role_lost_ends_sessions: config.role_lost_ends_sessions,
    };
    let grants = Grants::new(app.clone(), client.clone(), grants_settings, clock.clone(), entropy.clone());
    grants.start();
    answers.open(AppAnswers::new(app.clone(), entropy, config.local.retention).with_grants(grants.clone()));
    app.start_background(config.local.retention);
    let cookie_key = app.keys().cookie_key().clone();
    gate.open(app.clone(), grants.clone(), client, cookie_key);
    stop_on_error.disarm();
    Ok(Running { addresses, app, replayed, grants, clock, stopping, serving, control })
}

impl Running {
    /// Takes no more requests, finishes those under way, and closes the log last.
    pub async fn stop(self) -> Result<(), ServeError> {
        self.stopping.cancel();
        let _ = self.serving.await;
        let _ = self.control.await;
        self.grants.stop().await;
        let closed = tokio::select! {
            closed = self.app.close() => closed,
            () = self.clock.sleep(LAST_WAIT) => Err(ExecuteError::FoldStopped),
        };
        closed.map_err(ServeError::Close)
    }

    /// Returns what speaks to Discord between two commands.
    pub fn grants(&self) -> &Arc<Grants> {
        &self.grants
    }

    /// Waits until the storage has failed for good.
    pub async fn failed(&self) -> ServeError {
        let mut health = self.app.log_health();
        let mut progress = self.app.progress();
        let why = tokio::select! {
            failed = health.wait_for(|health| matches!(health, Health::Failed { .. })) => match failed.as_deref() {
                Ok(Health::Failed { why }) => why.to_string(),
                _ => return std::future::pending().await,
            },
            _ = progress.wait_for(|progress| progress.stopped) => "the log cannot be read on".to_owned(),
        };
        ServeError::DiskFailed { why }
    }
}

/// Runs the server until a signal ends it. `sources` are read again whenever another signal asks for it.
pub async fn run(config: Config, sources: &Sources, accepted: Accepted) -> Result<(), ServeError> {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let (mut signals, mut hangups) = (Signals::listen(), Hangups::listen());
    let starting = start(&config, MadeBy::Serve, accepted, World::real());
    let Some(running) = unless(signals.next(), starting).await? else { return Ok(()) };
    tracing::info!(
        listening = ?running.addresses,
        origin = %origin(&config.public_origin),
        "doorbook {VERSION} is ready"
    );
    // Said whatever the filter of the traces is: without it no sign-in works.
    let _ = writeln!(
        io::stderr(),
        "Discord must know exactly this redirect URL: {}\n  register it at {}",
        config.discord.redirect_url,
        portal(&config)
    );
    let app = running.app.clone();
    let reloading = reloading::on_hangup(&app, &config, sources, &mut hangups);
    tokio::select! {
        stopped = until_signal(running, &mut signals) => stopped,
        never = reloading => match never {},
    }
}

/// Starts, unless a signal comes first: a long replay can be given up, and the log is left as it was.
async fn unless<T>(
    signal: impl Future<Output = ()>,
    starting: impl Future<Output = Result<T, ServeError>>,
) -> Result<Option<T>, ServeError> {
    tokio::select! {
        biased;
        () = signal => {
            tracing::info!("given up before the start was done");
            Ok(None)
        }
        started = starting => started.map(Some),
    }
}

/// Serves until a signal comes or the disk fails; then stops in order.
async fn until_signal(running: Running, signals: &mut Signals) -> Result<(), ServeError> {
    let failed = tokio::select! {
        () = signals.next() => None,
        failed = running.failed() => Some(failed),
    };
    match failed {
        None => {
            tracing::info!("stopping: finishing what is under way");
            let stopped = tokio::select! {
                stopped = running.stop() => stopped,
                () = signals.next() => {
                    tracing::warn!("stopping at once; the next start looks at the log closely");
                    Ok(())
                }
            };
            tracing::info!("stopped");
            stopped
        }
        Some(failed) => {
            running.stopping.cancel();
            Err(failed)
        }
    }
}

/// Opens the log without a server, to answer one command; the answers must be closed.
pub async fn open_local(local: Local, world: World) -> Result<Box<dyn Answers>, ServeError> {
    let opened = open(&local, Role::Command, world.clone()).await?;
    let (app, _) = replaying::shown(opened, world.clock).await?;
    Ok(Box::new(AppAnswers::new(app, world.entropy, local.retention)))
}

/// Like [`open_local`], with Discord to ask where the configuration names the application.
pub async fn open_with_discord(
    local: Local,
    sources: &Sources,
    world: World,
) -> Result<Box<dyn Answers>, ServeError> {
    let opened = open(&local, Role::Command, world.clone()).await?;
    let (app, _) = replaying::shown(opened, world.clock.clone()).await?;
    let World { clock, entropy, .. } = world;
    let answers = AppAnswers::new(app.clone(), entropy.clone(), local.retention);
    let Ok(config) = Config::read(sources) else { return Ok(Box::new(answers)) };
    let client = Arc::new(Client::new(discord_settings(&config), clock.clone(), entropy.clone())?);
    let settings = grants::Settings {
        scopes: config.scopes,
        profile_max_age: config.profile_max_age,
        role_lost_ends_sessions: config.role_lost_ends_sessions,
    };
    let grants = Grants::new(app, client, settings, clock, entropy);
    Ok(Box::new(answers.with_grants(grants)))
}

/// Says whether the secrets fit the keys that are there, where there are any; writes nothing.
pub fn check_keys(local: &Local) -> Result<(), ServeError> {
    check_path(&local.data_dir).map_err(OpenError::Start)?;
    let Some(settings) = keys::settings(local).map_err(OpenError::Key)? else { return Ok(()) };
    Ok(KeyRing::check(&settings).map_err(OpenError::Key)?)
}

/// Proves id and secret to Discord with one call.
pub async fn check_online(config: &Config) -> Result<(), ServeError> {
    let World { clock, entropy, .. } = World::real();
    let client = Client::new(discord_settings(config), clock, entropy)?;
    client.client_credentials().await.map_err(|error| match error {
        CallError::ClientRejected { .. } => ServeError::ClientRejected,
        other => ServeError::Discord(other),
    })
}

async fn open(local: &Local, role: Role, world: World) -> Result<app::Opened, ServeError> {
    let settings = app::Settings {
        data_dir: local.data_dir.clone(),
        encrypt_secret: local.encrypt_secret.clone(),
        cookie_secret: local.cookie_secret.clone(),
        role,
        version: VERSION.into(),
        rules: local.rules.clone(),
        probe: world.probe.clone(),
    };
    // It waits for the disk, after an unclean stop for long.
    let opening =
        tokio::task::spawn_blocking(move || App::open(settings, world.clock, world.entropy, world.disk));
    match opening.await {
        Ok(opened) => Ok(opened?),
        Err(panicked) => Err(ServeError::DiskFailed { why: panicked.to_string() }),
    }
}

async fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, ServeError> {
    let mut listeners = Vec::with_capacity(addresses.len());
    for address in addresses {
        match TcpListener::bind(address).await {
            Ok(listener) => listeners.push(listener),
            Err(why) => {
                let instead = "set another port";
                return Err(ServeError::Listen { address: *address, why, instead });
            }
        }
    }
    Ok(listeners)
}

fn discord_settings(config: &Config) -> discord::Settings {
    discord::Settings {
        client_id: config.discord.client_id,
        client_secret: config.discord.client_secret.clone(),
        redirect_url: config.discord.redirect_url.to_string(),
        api_url: config.discord.api_url.to_string(),
        authorize_url: config.discord.authorize_url.to_string(),
        cdn_url: config.discord.cdn_url.to_string(),
        public_origin: origin(&config.public_origin),
    }
}

fn http_settings(config: &Config) -> http::Settings {
    let mut settings = http::Settings::new(
        config.public_origin.clone(),
        config.allowed_origins.clone(),
        config.discord.cdn_url.clone(),
        config.scopes.clone(),
    );
    settings.trusted_proxies = config.trusted_proxies.clone();
    settings.guard = http::Guard {
        cookie_domain: config.cookie_domain.clone(),
        identity_headers: config.identity_headers.clone(),
        remote_user: config.remote_user,
    };
    settings.session_max_age = config.local.rules.session_max_age;
    settings.discord_key = config.discord_public_key.as_ref().and_then(PublicKey::new);
    settings
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

fn portal(config: &Config) -> String {
    format!("https://discord.com/developers/applications/{}/oauth2", config.discord.client_id)
}

#[cfg(test)]
mod tests;
