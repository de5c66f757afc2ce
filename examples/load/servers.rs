//! The servers that are driven: doorbook, its Discord, and what the machine could do without any of it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use doorbook::clock::SystemClock;
use doorbook::config::{Config, Sources};
use doorbook::discord::stand_in::{self, Person};
use doorbook::domain::event::MadeBy;
use doorbook::domain::id::{DiscordId, Secret};
use doorbook::entropy::SystemEntropy;
use doorbook::serve::{self, World};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::Failure;

/// doorbook as the configuration calls it; requests name this host and go to whatever port was free.
pub(crate) const ORIGIN: &str = "http://localhost:3001";
const CLIENT_ID: u64 = 1_457_667_441_164_427_281;
const CLIENT_SECRET: &str = "load-0123456789-load-0123456789-load";
const RULES: &str = "[[rule]]\nhost = \"localhost\"\nallow = [ { signed_in = true } ]\n";
/// The first person's id; the others follow.
pub(crate) const FIRST_PERSON: u64 = 700_000_000_000_000_000;

#[derive(Args, Debug)]
pub(crate) struct ServerOptions {
    #[arg(value_enum)]
    kind: Kind,
    #[arg(long)]
    data_dir: Option<PathBuf>,
    #[arg(long)]
    discord: Option<SocketAddr>,
    #[arg(long, default_value_t = 0)]
    people: usize,
    /// How many bytes a ceiling answers with.
    #[arg(long, default_value_t = 0)]
    bytes: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Kind {
    Doorbook,
    Discord,
    Warp,
    Hyper,
}

/// A server in a process of its own; it ends with this value.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    child: tokio::process::Child,
}

impl Server {
    /// Starts this very program as a server and waits until it listens.
    pub(crate) async fn start(kind: Kind, arguments: &[(&str, String)]) -> Result<Server, Failure> {
        let name = kind.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("server").arg(name).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        for (flag, value) in arguments {
            command.arg(flag).arg(value);
        }
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let said = BufReader::new(stdout).lines().next_line().await?.ok_or("the server did not start")?;
        Ok(Server { address: said.parse()?, child })
    }

    /// Returns the id of its process.
    pub(crate) fn process(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }
}

/// Runs one server until standard input ends.
pub(crate) async fn serve(options: ServerOptions) -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let ended = async {
        let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
    };
    match options.kind {
        Kind::Doorbook => {
            let config = configuration(&options)?;
            let running =
                serve::start_on(vec![listener], &config, MadeBy::Serve, Default::default(), World::real())
                    .await?;
            say(address);
            ended.await;
            running.stop().await?;
        }
        Kind::Discord => {
            let mut settings = stand_in::Settings::new(stand_in::Application {
                client_id: DiscordId(CLIENT_ID),
                client_secret: Secret::new(CLIENT_SECRET),
                redirect_uris: vec![format!("{ORIGIN}/api/auth/discord/redirect")],
                name: "load".into(),
            });
            let everybody = (0..options.people as u64)
                .map(|n| Person::new(DiscordId(FIRST_PERSON + n), format!("person{n}")));
            settings.people.extend(everybody);
            let clock = Arc::new(SystemClock::new());
            let stand_in = stand_in::start(settings, listener, clock, Arc::new(SystemEntropy)).await?;
            say(address);
            ended.await;
            stand_in.stop().await;
        }
        Kind::Warp => {
            use warp::Filter as _;
            let body: Arc<str> = "x".repeat(options.bytes).into();
            let route = warp::path!("api" / "auth" / "user")
                .map(move || warp::reply::with_header(body.to_string(), "content-type", "application/json"));
            let service = hyper_util::service::TowerToHyperService::new(warp::service(route));
            say(address);
            tokio::select! { () = ended => {}, () = accept(listener, service) => {} }
        }
        Kind::Hyper => {
            let body = Bytes::from("x".repeat(options.bytes));
            let service = service_fn(move |_request: hyper::Request<hyper::body::Incoming>| {
                let answer = http::Response::builder()
                    .header("content-type", "application/json")
                    .body(Full::new(body.clone()));
                async move { Ok::<_, Infallible>(answer.unwrap_or_default()) }
            });
            say(address);
            tokio::select! { () = ended => {}, () = accept(listener, service) => {} }
        }
    }
    Ok(())
}

/// The accept loop of doorbook, without what it guards against.
async fn accept<S, B>(listener: TcpListener, service: S)
where
    S: hyper::service::Service<hyper::Request<hyper::body::Incoming>, Response = http::Response<B>>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    S::Error: Into<Failure>,
    B: hyper::body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Failure>,
{
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let service = service.clone();
        tokio::spawn(async move {
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

#[expect(clippy::print_stdout, reason = "this is how the parent learns the port")]
fn say(address: SocketAddr) {
    println!("{address}");
}

fn configuration(options: &ServerOptions) -> Result<Config, Failure> {
    let discord = options.discord.ok_or("--discord is missing")?;
    let data_dir = options.data_dir.clone().ok_or("--data-dir is missing")?;
    // One guarded host, the one that browsers know: its app cookie comes with the sign-in.
    std::fs::create_dir_all(&data_dir)?;
    std::fs::write(data_dir.join("doorbook.toml"), RULES)?;
    let discord = format!("http://{discord}");
    let set = [
        ("DISCORD_OAUTH_CLIENT_ID", CLIENT_ID.to_string()),
        ("DISCORD_OAUTH_SECRET", CLIENT_SECRET.to_owned()),
        ("DISCORD_REDIRECT_URL", format!("{ORIGIN}/api/auth/discord/redirect")),
        ("DISCORD_API_URL", format!("{discord}/api/v10")),
        ("DISCORD_AUTHORIZE_URL", format!("{discord}/oauth2/authorize")),
        ("DISCORD_CDN_URL", discord),
        ("DOORBOOK_DATA_DIR", data_dir.join("data").display().to_string()),
    ];
    let env: BTreeMap<OsString, OsString> =
        set.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    // Nothing is read from where the program happens to stand.
    let sources =
        Sources { flags: BTreeMap::new(), env, cwd: data_dir.clone(), system_file: data_dir.join("none") };
    Ok(Config::read(&sources)?)
}
