//! A local Discord on a real socket: what doorbook is tried, shown and tested against, without the internet.
//!
//! It answers as Discord is known to answer, and where nothing is known it takes the stricter choice. People are
//! invented ([`people`]), manners can be changed ([`switches`]), answers can be spoilt ([`faults`]), and
//! everything it was asked can be read ([`requests`]): in the same process through [`Control`], from outside over
//! the control endpoint under `/_control/`.

mod authorize;
mod avatar;
mod call;
mod codes;
pub mod control;
mod control_endpoint;
pub mod fault_kinds;
pub mod faults;
mod limits;
mod page;
pub mod people;
mod play;
mod reply;
pub mod requests;
mod resource;
mod revoke;
mod server;
mod store;
pub mod switches;
mod token;
mod tokens;
pub mod webhook;

#[cfg(test)]
mod testing;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use self::control::{Control, ControlError, Grant, Played};
pub use self::people::{Membership, Person, seeded};
pub use self::store::StoreError;
use crate::clock::Clock;
use crate::domain::id::{DiscordId, Secret};
use crate::entropy::Entropy;

/// An application that is registered at the stand-in.
#[derive(Clone, Debug)]
pub struct Application {
    /// The id.
    pub client_id: DiscordId,
    /// The secret.
    pub client_secret: Secret,
    /// The redirect URIs, compared byte by byte; the first stands in where none is given.
    pub redirect_uris: Vec<String>,
    /// The name on the consent page.
    pub name: String,
}

/// What a stand-in is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The applications it knows.
    pub applications: Vec<Application>,
    /// Its address as browsers see it, such as `http://127.0.0.1:3002`; without it, that of the listener.
    pub public_url: Option<String>,
    /// The file in which grants survive a restart; without it they do not.
    pub store: Option<PathBuf>,
    /// Who can sign in.
    pub people: Vec<Person>,
    /// Its manners at the start.
    pub switches: switches::Switches,
}

impl Settings {
    /// Returns the settings of a faithful stand-in that knows one application and the six seeded people.
    pub fn new(application: Application) -> Settings {
        Settings {
            applications: vec![application],
            public_url: None,
            store: None,
            people: seeded(),
            switches: switches::Switches::default(),
        }
    }
}

/// Why the stand-in did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StandInError {
    /// The listener has no address.
    #[error("the listener of the Discord stand-in has no address")]
    Listener(#[source] io::Error),
    /// The stored grants cannot be used.
    #[error("the grants that the Discord stand-in keeps in {path} cannot be used")]
    Store {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: StoreError,
    },
    /// An application has no redirect URI.
    #[error("the application {0} has no redirect URI")]
    NoRedirectUri(u64),
}

/// A running stand-in; it ends when it is stopped or dropped.
#[derive(Debug)]
pub struct StandIn {
    control: Control,
    address: SocketAddr,
    serving: JoinHandle<()>,
}

/// Starts a stand-in on `listener`.
pub async fn start(
    settings: Settings,
    listener: TcpListener,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<StandIn, StandInError> {
    let address = listener.local_addr().map_err(StandInError::Listener)?;
    if let Some(application) = settings.applications.iter().find(|a| a.redirect_uris.is_empty()) {
        return Err(StandInError::NoRedirectUri(application.client_id.0));
    }
    let (store, stored) = match settings.store {
        None => (None, Default::default()),
        Some(path) => {
            let opening = path.clone();
            let opened = tokio::task::spawn_blocking(move || store::Store::open(&opening)).await;
            // The task can only fail by panicking, and then the file was not read.
            let opened = opened.unwrap_or_else(|error| Err(io::Error::other(error).into()));
            let (store, stored) = opened.map_err(|source| StandInError::Store { path, source })?;
            (Some(store), stored)
        }
    };
    let url = settings.public_url.unwrap_or_else(|| format!("http://{address}"));
    let shared = Arc::new(Shared {
        applications: settings.applications,
        url: url.trim_end_matches('/').to_owned(),
        clock,
        entropy,
        world: Mutex::new(World {
            people: settings.people,
            switches: settings.switches.clone(),
            tokens: tokens::Tokens::from_stored(stored),
            codes: codes::Codes::default(),
        }),
        first_switches: settings.switches,
        faults: Mutex::default(),
        traffic: Mutex::default(),
        notebook: requests::Notebook::new(),
        released: watch::Sender::new(()),
        held: watch::Sender::new(0),
        store,
        post: webhook::Post::new(),
    });
    let serving = tokio::spawn(server::serve(Arc::clone(&shared), listener));
    Ok(StandIn { control: Control::new(shared), address, serving })
}

impl StandIn {
    /// Returns the address as browsers see it, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.control.shared().url
    }

    /// Returns the base of the API.
    pub fn api_url(&self) -> String {
        format!("{}/api/v10", self.url())
    }

    /// Returns the address of the consent page.
    pub fn authorize_url(&self) -> String {
        format!("{}/oauth2/authorize", self.url())
    }

    /// Returns the base of the pictures.
    pub fn cdn_url(&self) -> String {
        self.url().to_owned()
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the means to play people, to spoil answers and to read what was asked.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Stops at once: open connections are cut, and the port is free when this returns.
    pub async fn stop(mut self) {
        self.serving.abort();
        // It was cancelled; there is nothing else to learn from it.
        let _ = (&mut self.serving).await;
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// What all parts of a running stand-in share.
struct Shared {
    applications: Vec<Application>,
    url: String,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// Every change to it happens under this one lock, so that of two redemptions exactly one wins.
    world: Mutex<World>,
    first_switches: switches::Switches,
    faults: Mutex<faults::Waiting>,
    traffic: Mutex<limits::Traffic>,
    notebook: requests::Notebook,
    /// Lets the held answers go.
    released: watch::Sender<()>,
    /// How many answers are held.
    held: watch::Sender<u64>,
    store: Option<store::Store>,
    post: webhook::Post,
}

/// Everything that Discord knows.
struct World {
    people: Vec<Person>,
    switches: switches::Switches,
    tokens: tokens::Tokens,
    codes: codes::Codes,
}

impl World {
    fn person(&self, id: DiscordId) -> Option<&Person> {
        self.people.iter().find(|person| person.id == id)
    }
}

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    fn application(&self, id: &str) -> Option<&Application> {
        let id: DiscordId = id.parse().ok()?;
        self.applications.iter().find(|application| application.client_id == id)
    }

    /// Brings what was granted to the file, if there is one and it is behind.
    async fn save(self: &Arc<Self>) -> Result<(), StoreError> {
        let Some(store) = &self.store else { return Ok(()) };
        let (version, bytes) = {
            let world = self.world();
            let version = world.tokens.version();
            if !store.is_behind(version) {
                return Ok(());
            }
            (version, store::bytes(world.tokens.authorizations())?)
        };
        let shared = Arc::clone(self);
        let written = tokio::task::spawn_blocking(move || match &shared.store {
            Some(store) => store.write(version, &bytes),
            None => Ok(()),
        });
        written.await.unwrap_or_else(|error| Err(io::Error::other(error).into()))
    }

    /// Draws `length` letters and digits.
    fn alphanumeric(&self, length: usize) -> String {
        const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        let mut text = String::with_capacity(length);
        while text.len() < length {
            // 248 is the largest multiple of 62 in a byte: what lies above would prefer the first letters.
            let drawn = self.entropy.draw::<32>().into_iter().filter(|byte| *byte < 248);
            text.extend(
                drawn.take(length - text.len()).map(|byte| char::from(ALPHABET[usize::from(byte % 62)])),
            );
        }
        text
    }
}

/// Takes a lock; what a panicking handler left behind is whole, because every change is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::testing::{MARISOL, Stage, settings};
    use super::*;

    #[tokio::test]
    async fn a_restart_signs_nobody_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = Settings { store: Some(folder.path().join("grants.json")), ..settings() };
        let first = Stage::with(settings.clone()).await;
        let (access, refresh) = first.sign_in(MARISOL, "identify").await;
        first.stand_in.stop().await;

        let second = Stage::with(settings.clone()).await;
        assert_eq!(second.get("/api/v10/users/@me", &access).await.status, 200);
        let query = Stage::query("identify", "&prompt=none");
        let again = second.stand_in.control().authorize(&query, MARISOL, true);
        assert!(!again.await.expect("authorized").asked);
        assert_eq!(second.refresh(&refresh).await.status, 200);
        second.stand_in.stop().await;

        let third = Stage::with(settings).await;
        assert_eq!(third.refresh(&refresh).await.oauth().1, "invalid_grant", "a used token stays used");
    }

    #[tokio::test]
    async fn a_damaged_store_stops_the_start() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("grants.json");
        std::fs::write(&path, "{").expect("writes");
        let settings = Settings { store: Some(path), ..settings() };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let clock = Arc::new(crate::clock::SystemClock::new());
        let error = start(settings, listener, clock, Arc::new(crate::entropy::SystemEntropy)).await;
        let error = error.expect_err("it does not start").to_string();
        assert!(error.contains("grants.json") && error.contains("cannot be used"), "{error}");
    }

    #[tokio::test]
    async fn a_stopped_stand_in_frees_its_port() {
        let stage = Stage::new().await;
        let address = stage.stand_in.address();
        assert_eq!(stage.stand_in.api_url(), format!("http://{address}/api/v10"));
        assert_eq!(stage.stand_in.cdn_url(), format!("http://{address}"));
        stage.get("/", "").await;
        stage.stand_in.stop().await;
        TcpListener::bind(address).await.expect("the port is free");
    }

    #[tokio::test]
    async fn a_body_over_64_kib_is_refused() {
        let stage = Stage::new().await;
        let long = "x".repeat(64 * 1024);
        assert_eq!(stage.token(&[("code", &long)]).await.api(), (413, "413: Payload Too Large".into(), 0));
    }
}
