//! The server and a local Discord together: ready to click through, without an account or configuration.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use tokio::net::TcpListener;

use super::{Running, ServeError, Signals, World, start_on, unless, until_signal};
use crate::app::{Accepted, OpenError};
use crate::config::{Config, ConfigErrors, Sources};
use crate::discord::stand_in::{self, StandIn};
use crate::domain::event::MadeBy;
use crate::domain::id::{DiscordId, Secret};
use crate::event_log::start::make_directory;

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

/// The demo's application at its own stand-in; it opens nothing else.
const CLIENT_ID: u64 = 1_457_667_441_164_427_281;
const CLIENT_SECRET: &str = "the-demo-talks-to-its-own-stand-in-only";
/// What the demo leaves in its directory, and so what starting over removes.
const OURS: &[&str] = &["log", "log.probe", "HEAD", "states", "keys", "doorbook.sock", STAND_IN];
/// Where the stand-in keeps its grants; it tells a demo's directory from a server's.
const STAND_IN: &str = "stand-in.json";

/// What to do where somebody listens already.
const OTHER_PORTS: &str = "take others: `doorbook demo --port 4001 --discord-port 4002`";

/// Runs the server and the stand-in together.
pub async fn demo(options: DemoOptions) -> Result<(), ServeError> {
    let mut signals = Signals::listen();
    let starting = start_demo(&options, World::real());
    let Some((running, stand_in)) = unless(signals.next(), starting).await? else { return Ok(()) };
    let address = running.addresses.first().map_or(options.port, SocketAddr::port);
    // The address is the result of this command; everything else goes to standard error.
    let _ = writeln!(io::stdout(), "{}", welcome(address, &options.data_dir, &stand_in));
    let stopped = until_signal(running, &mut signals).await;
    stand_in.stop().await;
    stopped
}

/// Starts both, the stand-in first: doorbook's client needs its address.
pub(super) async fn start_demo(
    options: &DemoOptions,
    world: World,
) -> Result<(Running, StandIn), ServeError> {
    let listeners = loopback(options.port).await?;
    let port = listeners.first().and_then(|l| l.local_addr().ok()).map_or(options.port, |a| a.port());
    // Another site than `localhost`, as Discord is another site than yours.
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, options.discord_port));
    let discord = TcpListener::bind(address).await;
    let discord = discord.map_err(|why| ServeError::Listen { address, why, instead: OTHER_PORTS })?;
    make_directory(&options.data_dir).map_err(OpenError::Start)?;
    if options.fresh {
        start_over(&options.data_dir)?;
    }
    let data_dir = std::path::absolute(&options.data_dir)
        .map_err(|why| ServeError::Fresh { path: options.data_dir.clone(), why })?;
    let origin = format!("http://localhost:{port}");
    let redirect_url = format!("{origin}/api/auth/discord/redirect");
    let mut settings = stand_in::Settings::new(stand_in::Application {
        client_id: DiscordId(CLIENT_ID),
        client_secret: Secret::new(CLIENT_SECRET),
        redirect_uris: vec![redirect_url.clone()],
        name: "doorbook demo".into(),
    });
    settings.store = Some(options.data_dir.join(STAND_IN));
    let stand_in = stand_in::start(settings, discord, world.clock.clone(), world.entropy.clone()).await?;
    let config = configuration(&data_dir, &redirect_url, &stand_in).map_err(ServeError::DemoConfig)?;
    let running = start_on(listeners, &config, MadeBy::Demo, Accepted::default(), world).await?;
    stand_in.control().tell(Some(format!("http://{}:{port}/discord/webhook", Ipv4Addr::LOCALHOST)));
    Ok((running, stand_in))
}

/// The demo reads nothing from outside: no `.env`, no file, no variable.
fn configuration(data_dir: &Path, redirect_url: &str, stand_in: &StandIn) -> Result<Config, ConfigErrors> {
    let set: [(&str, String); 9] = [
        ("DISCORD_OAUTH_CLIENT_ID", CLIENT_ID.to_string()),
        ("DISCORD_OAUTH_SECRET", CLIENT_SECRET.to_owned()),
        ("DISCORD_REDIRECT_URL", redirect_url.to_owned()),
        ("DISCORD_API_URL", stand_in.api_url()),
        ("DISCORD_AUTHORIZE_URL", stand_in.authorize_url()),
        ("DISCORD_CDN_URL", stand_in.cdn_url()),
        ("DISCORD_PUBLIC_KEY", stand_in::webhook::public_key()),
        ("DISCORD_SCOPES", "identify email".to_owned()),
        ("DOORBOOK_DATA_DIR", data_dir.display().to_string()),
    ];
    let env: BTreeMap<OsString, OsString> =
        set.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    // An empty directory: neither `.env` nor a file is found there.
    let cwd = data_dir.join("keys");
    let system_file = cwd.join("none");
    Config::read(&Sources { flags: BTreeMap::new(), env, cwd, system_file })
}

/// Listens on both loopback addresses, because `localhost` may mean either; IPv6 may be missing.
async fn loopback(port: u16) -> Result<Vec<TcpListener>, ServeError> {
    let bind = async |ip: IpAddr, port: u16| {
        let address = SocketAddr::new(ip, port);
        let bound = TcpListener::bind(address).await;
        bound.map_err(|why| ServeError::Listen { address, why, instead: OTHER_PORTS })
    };
    let first = bind(Ipv4Addr::LOCALHOST.into(), port).await?;
    let port = first.local_addr().map_or(port, |address| address.port());
    let mut listeners = vec![first];
    match bind(Ipv6Addr::LOCALHOST.into(), port).await {
        Ok(second) => listeners.push(second),
        Err(ServeError::Listen { why, .. }) if why.kind() != io::ErrorKind::AddrInUse => {
            tracing::debug!("there is no IPv6 loopback on this machine");
        }
        Err(taken) => return Err(taken),
    }
    Ok(listeners)
}

/// Removes what a demo left, and nothing that it did not.
fn start_over(data_dir: &Path) -> Result<(), ServeError> {
    if data_dir.join("HEAD").exists() && !data_dir.join(STAND_IN).exists() {
        return Err(ServeError::NotADemo { path: data_dir.into() });
    }
    for name in OURS {
        let path = data_dir.join(name);
        let removed = match std::fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => std::fs::remove_dir_all(&path),
            Ok(_) => std::fs::remove_file(&path),
            Err(error) => Err(error),
        };
        match removed {
            Err(why) if why.kind() != io::ErrorKind::NotFound => {
                return Err(ServeError::Fresh { path, why });
            }
            _ => {}
        }
    }
    Ok(())
}

fn welcome(port: u16, data_dir: &Path, stand_in: &StandIn) -> String {
    let people: Vec<String> =
        stand_in::seeded().iter().map(|person| person.display_name().to_owned()).collect();
    format!(
        "doorbook demo is ready:\n\n  http://localhost:{port}\n\n\
         Sign in as one of {} people who live in a Discord stand-in at {}: {}.\n\
         Everything is kept in {}; start the demo again and you are still signed in. Start over with --fresh. Ctrl-C stops it.",
        people.len(),
        stand_in.url(),
        people.join(", "),
        data_dir.display(),
    )
}
