//! The servers that are driven: doorbook, its Discord, and what the machine could do without any of it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
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
use doorbook::http::{Gate, listen};
use doorbook::serve::{self, World};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::service::{Service, service_fn};
use hyper_util::service::TowerToHyperService;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;
use url::Url;

use crate::Failure;
use crate::browser::Answer;

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
    /// What a ceiling answers with.
    #[arg(long)]
    answer: Option<PathBuf>,
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

    /// Lets it end in order, and waits for that.
    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        drop(self.child.stdin.take());
        let status = self.child.wait().await?;
        if status.success() { Ok(()) } else { Err(format!("a server ended with {status}").into()) }
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
            let answer = Constant::read(&options)?;
            let routes = warp::path!("api" / "auth" / "user").or(warp::path!("auth" / "forward")).unify();
            let service = warp::service(routes.map(move || -> warp::reply::Response { answer.response() }));
            say(address);
            accept(listener, || TowerToHyperService::new(service.clone()), ended).await?;
        }
        Kind::Hyper => {
            let answer = Arc::new(Constant::read(&options)?);
            say(address);
            let service = || {
                let answer = answer.clone();
                service_fn(move |_: http::Request<Incoming>| {
                    let answer = answer.response::<Full<Bytes>>();
                    async move { Ok::<_, Infallible>(answer) }
                })
            };
            accept(listener, service, ended).await?;
        }
    }
    Ok(())
}

/// Takes connections as doorbook does, within the same limits, until `ended`.
async fn accept<S, B>(
    listener: TcpListener,
    service: impl Fn() -> S,
    ended: impl Future<Output = ()>,
) -> Result<(), Failure>
where
    S: Service<http::Request<Incoming>, Response = http::Response<B>, Error = Infallible> + Send + 'static,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Failure>,
{
    let origin = Url::parse(ORIGIN)?;
    let settings = doorbook::http::Settings::new(origin.clone(), vec![], origin, vec![]);
    let gate = Gate::new(settings, Arc::new(SystemClock::new()), Arc::new(SystemEntropy));
    listen::accept_all(vec![listener], &gate, |_, _| service(), ended).await;
    Ok(())
}

/// The answer that a ceiling gives to everything: a doorbook's own, as it once came over the wire.
#[derive(Serialize, Deserialize)]
pub(crate) struct Constant {
    headers: Vec<(String, String)>,
    body: String,
}

impl Constant {
    /// Keeps an answer, but for the length, which whoever sends it says by itself.
    pub(crate) fn of(answer: &Answer) -> Result<Constant, Failure> {
        let mut headers = Vec::new();
        for (name, value) in answer.headers.iter().filter(|(name, _)| *name != http::header::CONTENT_LENGTH) {
            headers.push((name.as_str().to_owned(), value.to_str()?.to_owned()));
        }
        Ok(Constant { headers, body: String::from_utf8(answer.body.to_vec())? })
    }

    /// Writes it where a ceiling reads it.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Failure> {
        Ok(std::fs::write(path, serde_json::to_vec(self)?)?)
    }

    fn read(options: &ServerOptions) -> Result<Answered, Failure> {
        let path = options.answer.as_deref().ok_or("--answer is missing")?;
        let constant: Constant = serde_json::from_slice(&std::fs::read(path)?)?;
        let mut headers = HeaderMap::new();
        for (name, value) in &constant.headers {
            headers.append(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
        }
        Ok(Answered { headers, body: constant.body.into() })
    }
}

#[derive(Clone)]
struct Answered {
    headers: HeaderMap,
    body: Bytes,
}

impl Answered {
    fn response<B: From<Bytes>>(&self) -> http::Response<B> {
        let mut response = http::Response::new(self.body.clone().into());
        *response.headers_mut() = self.headers.clone();
        response
    }
}

#[expect(clippy::print_stdout, reason = "this is how the parent learns the port")]
fn say(address: SocketAddr) {
    println!("{address}");
}

/// Returns the configuration of a doorbook in `dir`, as the environment gives it.
pub(crate) fn environment(dir: &Path, discord: &str) -> [(&'static str, String); 7] {
    let discord = format!("http://{discord}");
    [
        ("DISCORD_OAUTH_CLIENT_ID", CLIENT_ID.to_string()),
        ("DISCORD_OAUTH_SECRET", CLIENT_SECRET.to_owned()),
        ("DISCORD_REDIRECT_URL", format!("{ORIGIN}/api/auth/discord/redirect")),
        ("DISCORD_API_URL", format!("{discord}/api/v10")),
        ("DISCORD_AUTHORIZE_URL", format!("{discord}/oauth2/authorize")),
        ("DISCORD_CDN_URL", discord),
        ("DOORBOOK_DATA_DIR", dir.join("data").display().to_string()),
    ]
}

fn configuration(options: &ServerOptions) -> Result<Config, Failure> {
    let discord = options.discord.ok_or("--discord is missing")?;
    let dir = options.data_dir.clone().ok_or("--data-dir is missing")?;
    // One guarded host, the one that browsers know: its app cookie comes with the sign-in.
    std::fs::create_dir_all(&dir)?;
    std::fs::write(dir.join("doorbook.toml"), RULES)?;
    let set = environment(&dir, &discord.to_string());
    let env: BTreeMap<OsString, OsString> =
        set.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    // Nothing is read from where the program happens to stand.
    let sources = Sources { flags: BTreeMap::new(), env, cwd: dir.clone(), system_file: dir.join("none") };
    Ok(Config::read(&sources)?)
}
