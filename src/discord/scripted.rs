//! A server in the tests that says exactly what it is told to, byte by byte, and remembers what it heard.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{CallError, Client, IssuedTokens, Settings};
use crate::clock::{Clock, ManualClock};
use crate::domain::event::{Membership, Profile};
use crate::domain::id::{DiscordId, Secret};
use crate::domain::scopes::Scopes;
use crate::domain::time::Timestamp;
use crate::entropy::SeededEntropy;

pub(super) const START: Timestamp = Timestamp(1_767_323_045_000);
pub(super) const GUILD: DiscordId = DiscordId(716_984_394_187_276_294);
const MARISOL: DiscordId = DiscordId(555_769_466_601_213_960);
const CODE: &str = "Vb3nQ8sLw0ZrTy5KdXc2PfHj7MaUeG";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// Returns the text of a payload as Discord sends it.
macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/discord/", $name))
    };
}
pub(super) use fixture;

/// What to do with one connection, once its request has been read.
pub(super) enum Act {
    /// Say this and close.
    Say(String),
    /// Say this and keep the connection open without listening any more.
    Hold(String),
    /// Say this and reset the connection.
    Reset(String),
    /// Say this and then spaces for ever.
    Endless(String),
}

/// Returns an answer as it stands on the wire.
pub(super) fn answer(status: u16, headers: &[&str], body: &str) -> String {
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    format!("HTTP/1.1 {status} -\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// Says this and closes, as JSON, the usual case.
pub(super) fn json(status: u16, body: &str) -> Act {
    Act::Say(answer(status, &["Content-Type: application/json", "Connection: close"], body))
}

/// The server; each connection plays the next act.
pub(super) struct Scripted {
    pub(super) url: String,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    pub(super) async fn start(acts: impl IntoIterator<Item = Act>) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback is there");
        let address = listener.local_addr().expect("it is bound").to_string();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let server = Scripted { url: format!("http://{address}/api/v10"), heard: heard.clone() };
        let acts: Vec<Act> = acts.into_iter().collect();
        tokio::spawn(async move {
            let mut acts = acts.into_iter();
            while let Ok((stream, _)) = listener.accept().await {
                let act = acts.next().unwrap_or_else(|| json(418, "the script is over"));
                tokio::spawn(play(stream, act, heard.clone(), address.clone()));
            }
        });
        server
    }

    /// Returns the requests so far, whole, with the address replaced by a fixed name.
    pub(super) fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("nobody panics with it").clone()
    }
}

async fn play(mut stream: TcpStream, act: Act, heard: Arc<Mutex<Vec<String>>>, address: String) {
    let request = read_request(&mut stream).await;
    heard.lock().expect("nobody panics with it").push(request.replace(&address, "discord.test"));
    match act {
        Act::Say(text) => {
            let _ = stream.write_all(text.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
        Act::Hold(text) => {
            let _ = stream.write_all(text.as_bytes()).await;
            std::future::pending::<()>().await;
        }
        Act::Reset(text) => {
            let _ = stream.write_all(text.as_bytes()).await;
            stream.set_zero_linger().expect("linux can");
        }
        Act::Endless(text) => {
            let _ = stream.write_all(text.as_bytes()).await;
            while stream.write_all(&[b' '; 16 * 1024]).await.is_ok() {}
        }
    }
}

/// Reads up to the end that `Content-Length` announces.
async fn read_request(stream: &mut TcpStream) -> String {
    let (mut text, mut bytes) = (String::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut bytes).await.unwrap_or(0);
        text.push_str(&String::from_utf8_lossy(&bytes[..read]));
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
            if body.len() >= length.parse::<usize>().unwrap_or(0) {
                return text.replace("\r\n", "\n");
            }
        }
        if read == 0 {
            return text;
        }
    }
}

/// A clock that moves on at once whenever somebody waits, and remembers for how long.
pub(super) struct EagerClock {
    pub(super) clock: ManualClock,
    waits: Mutex<Vec<Duration>>,
}

impl EagerClock {
    pub(super) fn new(wall: Timestamp) -> Arc<EagerClock> {
        Arc::new(EagerClock { clock: ManualClock::new(wall), waits: Mutex::default() })
    }

    pub(super) fn waits(&self) -> Vec<Duration> {
        self.waits.lock().expect("nobody panics with it").clone()
    }
}

impl Clock for EagerClock {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.waits.lock().expect("nobody panics with it").push(duration);
        self.clock.advance(duration);
        Box::pin(std::future::ready(()))
    }
}

/// A client, its clock, and what it talks to.
pub(super) struct Rig {
    pub(super) client: Client,
    pub(super) clock: Arc<EagerClock>,
    pub(super) discord: Scripted,
}

impl Rig {
    pub(super) async fn new(acts: impl IntoIterator<Item = Act>) -> Rig {
        let discord = Scripted::start(acts).await;
        let clock = EagerClock::new(START);
        Rig { client: client(&discord.url, clock.clone()), clock, discord }
    }

    pub(super) async fn user(&self) -> Result<Profile, CallError> {
        self.client.current_user(&Secret::new("access-1")).await
    }

    pub(super) async fn member(&self) -> Result<Membership, CallError> {
        self.client.member(&Secret::new("access-1"), MARISOL, GUILD).await
    }

    pub(super) async fn exchange(&self) -> Result<IssuedTokens, CallError> {
        self.client.exchange_code(&Secret::new(CODE), &Secret::new(VERIFIER), &[]).await
    }

    pub(super) async fn refresh(&self) -> Result<IssuedTokens, CallError> {
        self.client.refresh(&Secret::new("refresh-1"), &Scopes::default()).await
    }

    pub(super) fn calls(&self) -> usize {
        self.discord.heard().len()
    }
}

pub(super) fn settings(api_url: &str) -> Settings {
    Settings {
        client_id: DiscordId(1_457_667_441_164_427_281),
        client_secret: Secret::new("s3cret&+ä"),
        redirect_url: "http://localhost:3001/api/auth/discord/redirect".into(),
        api_url: api_url.into(),
        authorize_url: "https://discord.com/oauth2/authorize".into(),
        cdn_url: "https://cdn.discordapp.com".into(),
        public_origin: "http://localhost:3001".into(),
    }
}

pub(super) fn client(api_url: &str, clock: Arc<EagerClock>) -> Client {
    Client::new(settings(api_url), clock, Arc::new(SeededEntropy::new("jitter"))).expect("a client")
}

pub(super) fn good_user() -> Act {
    json(200, fixture!("user.json"))
}

pub(super) fn good_token() -> Act {
    json(200, fixture!("token.json"))
}

pub(super) fn secs(value: f64) -> Duration {
    Duration::from_secs_f64(value)
}
