//! A house to tell stories in: doorbook, a local Discord, a browser, and a clock that moves when told to.
//!
//! Everything is the real thing on this machine: the log is sled in a temporary directory, both servers
//! listen on sockets. Only time and randomness are handed in, so that an exchange is the same each time.
//! Browsers see `http://localhost:3001` and Discord `http://127.0.0.1:3002`, whatever ports are really used.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use doorbook::app::{Accepted, OpenError};
use doorbook::clock::{Clock, ManualClock, SystemClock};
use doorbook::config::{Config, Sources};
use doorbook::discord::stand_in::{self, Control, StandIn};
use doorbook::disk::{Disk, RealDisk};
use doorbook::domain::event::{Event, MadeBy};
use doorbook::domain::id::{DiscordId, Secret};
use doorbook::domain::record::Record;
use doorbook::domain::rules::{Rule, Rules};
use doorbook::domain::time::Timestamp;
use doorbook::entropy::SeededEntropy;
use doorbook::event_log::start::StartError;
use doorbook::event_log::{Probe, codec};
use doorbook::serve::{self, Running, ServeError, World};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// When every story begins: 2026-01-02T03:04:05Z.
pub const START: Timestamp = Timestamp(1_767_323_045_000);
/// doorbook as browsers see it.
pub const ORIGIN: &str = "http://localhost:3001";
/// The stand-in as browsers see it.
pub const DISCORD: &str = "http://127.0.0.1:3002";
/// The demo's first person.
pub const MARISOL: DiscordId = DiscordId(555_769_466_601_213_960);
/// A person without avatar, display name and e-mail.
pub const QUIETFOX: DiscordId = DiscordId(1_169_698_460_971_323_693);
/// The id of the application.
pub const CLIENT_ID: DiscordId = DiscordId(1_457_667_441_164_427_281);
/// The secret of the application; a canary, too.
pub const CLIENT_SECRET: &str = "canary-client-secret-0123456789";

/// Where and how snapshots are kept.
pub fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}

/// Describes a house before it is opened.
pub struct Plan {
    /// Variables beside the ones every house has.
    pub env: Vec<(&'static str, String)>,
    /// What durability is asked of.
    pub disk: Arc<dyn Disk>,
    /// What a start may go on without.
    pub accepted: Accepted,
    /// What stands in `doorbook.toml`, before the rules.
    pub file: String,
    /// Who may open what.
    pub rules: Vec<Rule>,
    /// doorbook as browsers see it.
    pub origin: &'static str,
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
            env: vec![],
            disk: Arc::new(RealDisk),
            accepted: Accepted::default(),
            file: String::new(),
            rules: vec![],
            origin: ORIGIN,
        }
    }
}

/// doorbook and its Discord, and the directory that outlives both.
pub struct House {
    /// Moves time for doorbook and for Discord.
    pub clock: ManualClock,
    /// Where the log is.
    pub dir: TempDir,
    plan: Plan,
    entropy: Arc<SeededEntropy>,
    stand_in: Option<StandIn>,
    discord_address: SocketAddr,
    running: Option<Running>,
}

impl House {
    /// Opens a new house.
    pub async fn open() -> House {
        House::with(Plan::default()).await
    }

    /// Opens a new house by a plan.
    pub async fn with(plan: Plan) -> House {
        let mut house = House::closed(plan).await;
        house.start().await.expect("doorbook starts");
        house
    }

    /// Builds a house in which only Discord is up.
    pub async fn closed(plan: Plan) -> House {
        doorbook::discord::install_crypto_provider();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let discord_address = listener.local_addr().expect("an address");
        let mut house = House {
            clock: ManualClock::new(START),
            dir: TempDir::new().expect("a directory"),
            plan,
            entropy: Arc::new(SeededEntropy::new("house")),
            stand_in: None,
            discord_address,
            running: None,
        };
        house.start_discord_on(listener).await;
        house
    }

    /// Starts doorbook.
    pub async fn start(&mut self) -> Result<(), ServeError> {
        // Another story that starts a program may hold every open file of this process between fork and exec, and with
        // them the lock of a house whose doorbook has just ended.
        for _ in 0..100 {
            match self.try_to_start().await {
                Err(ServeError::Open(OpenError::Start(StartError::Locked { .. }))) => {
                    SystemClock::new().sleep(Duration::from_millis(20)).await;
                }
                outcome => return outcome,
            }
        }
        self.try_to_start().await
    }

    async fn try_to_start(&mut self) -> Result<(), ServeError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let config = self.config();
        let world = self.world();
        let accepted = self.plan.accepted;
        let running = serve::start_on(vec![listener], &config, MadeBy::Serve, accepted, world).await?;
        self.running = Some(running);
        Ok(())
    }

    /// Stops doorbook in order.
    pub async fn stop(&mut self) {
        let running = self.running.take().expect("doorbook runs");
        running.stop().await.expect("it stops in order");
    }

    /// Stops and starts doorbook; Discord goes on.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.start().await.expect("doorbook starts again");
    }

    /// Changes the plan for the next start.
    pub fn plan(&mut self) -> &mut Plan {
        &mut self.plan
    }

    /// The running server.
    pub fn doorbook(&self) -> &Running {
        self.running.as_ref().expect("doorbook runs")
    }

    /// The means to play people and to spoil answers.
    pub fn discord(&self) -> &Control {
        self.stand_in.as_ref().expect("discord is up").control()
    }

    /// Where Discord really listens.
    pub fn discord_address(&self) -> SocketAddr {
        self.discord_address
    }

    /// Takes Discord down; its grants are kept.
    pub async fn discord_goes_down(&mut self) {
        self.stand_in.take().expect("discord is up").stop().await;
    }

    /// Brings Discord back on the same port.
    pub async fn discord_comes_up(&mut self) {
        let listener = TcpListener::bind(self.discord_address).await.expect("its port");
        self.start_discord_on(listener).await;
    }

    /// A browser that has never been here.
    pub fn browser(&self) -> Browser {
        Browser { address: self.doorbook().addresses[0], cookies: BTreeMap::new() }
    }

    /// A browser in which somebody has just signed in.
    pub async fn signed_in(&self, user: DiscordId) -> Browser {
        let mut browser = self.browser();
        let landed = browser.sign_in(self.discord(), user).await;
        assert_eq!(landed.status, 303, "{landed}");
        browser
    }

    /// Where doorbook keeps everything.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The variables of the configuration.
    pub fn env(&self) -> Vec<(String, String)> {
        let discord = format!("http://{}", self.discord_address);
        let mut env = vec![
            ("DISCORD_OAUTH_CLIENT_ID".to_owned(), CLIENT_ID.to_string()),
            ("DISCORD_OAUTH_SECRET".to_owned(), CLIENT_SECRET.to_owned()),
            ("DISCORD_REDIRECT_URL".to_owned(), self.redirect_url()),
            ("DISCORD_API_URL".to_owned(), format!("{discord}/api/v10")),
            ("DISCORD_AUTHORIZE_URL".to_owned(), format!("{DISCORD}/oauth2/authorize")),
            ("DISCORD_CDN_URL".to_owned(), DISCORD.to_owned()),
            ("DISCORD_SCOPES".to_owned(), "identify email".to_owned()),
            ("DOORBOOK_DATA_DIR".to_owned(), self.data_dir().display().to_string()),
        ];
        for (name, value) in &self.plan.env {
            env.retain(|(known, _)| known != name);
            env.push(((*name).to_owned(), value.clone()));
        }
        env
    }

    /// Writes `doorbook.toml`, where the plan has anything for it.
    fn write_file(&self) {
        let rules = Rules { rules: self.plan.rules.clone(), ..Rules::default() }.canonical();
        let rules = rules.find("[[rule]]").map_or("", |at| &rules[at..]);
        let text = format!("{}\n{rules}", self.plan.file);
        if !text.trim().is_empty() {
            std::fs::write(self.dir.path().join("doorbook.toml"), text).expect("a file");
        }
    }

    /// Where Discord sends browsers back.
    fn redirect_url(&self) -> String {
        format!("{}/api/auth/discord/redirect", self.plan.origin)
    }

    /// doorbook as browsers see it.
    pub fn origin(&self) -> &'static str {
        self.plan.origin
    }

    /// The configuration.
    pub fn config(&self) -> Config {
        let env: BTreeMap<OsString, OsString> =
            self.env().into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let cwd = self.dir.path().to_owned();
        let system_file = cwd.join("none.toml");
        self.write_file();
        Config::read(&Sources { flags: BTreeMap::new(), env, cwd, system_file })
            .expect("a good configuration")
    }

    /// The world, with time and chance of its own.
    pub fn world(&self) -> World {
        World {
            clock: Arc::new(self.clock.clone()),
            entropy: self.entropy.clone(),
            disk: self.plan.disk.clone(),
            probe: Probe::Child { program: binary().into(), args: vec!["probe-log".into()] },
        }
    }

    async fn start_discord_on(&mut self, listener: TcpListener) {
        let mut settings = stand_in::Settings::new(stand_in::Application {
            client_id: CLIENT_ID,
            client_secret: Secret::new(CLIENT_SECRET),
            redirect_uris: vec![self.redirect_url()],
            name: "House".into(),
        });
        settings.public_url = Some(DISCORD.into());
        settings.store = Some(self.dir.path().join("stand-in.json"));
        let entropy = Arc::new(SeededEntropy::new("discord"));
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let started = stand_in::start(settings, listener, clock, entropy).await;
        self.stand_in = Some(started.expect("discord starts"));
    }
}

/// The program itself.
pub fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_doorbook"))
}

/// Somebody's browser: cookies, and one request at a time.
#[derive(Clone)]
pub struct Browser {
    address: SocketAddr,
    /// Name and value of each cookie.
    pub cookies: BTreeMap<String, String>,
}

impl Browser {
    /// The same browser, at a doorbook that has been started again.
    pub fn at(mut self, house: &House) -> Browser {
        self.address = house.doorbook().addresses[0];
        self
    }

    /// Opens a page, as a person does.
    pub async fn navigate(&mut self, path: &str) -> Exchange {
        self.send(
            "GET",
            path,
            &[("Accept", "text/html"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Site", "none")],
            "",
        )
        .await
    }

    /// Presses the button of a form.
    pub async fn submit(&mut self, path: &str) -> Exchange {
        let headers = [
            ("Accept", "text/html"),
            ("Sec-Fetch-Mode", "navigate"),
            ("Sec-Fetch-Site", "same-origin"),
            ("Origin", ORIGIN),
            ("Content-Type", "application/x-www-form-urlencoded"),
        ];
        self.send("POST", path, &headers, "").await
    }

    /// Asks as a script of the page does.
    pub async fn fetch(&mut self, method: &str, path: &str) -> Exchange {
        let headers =
            [("Accept", "application/json"), ("Sec-Fetch-Mode", "cors"), ("Sec-Fetch-Site", "same-origin")];
        self.send(method, path, &headers, "").await
    }

    /// Goes to Discord, authorizes as `user`, and comes back.
    pub async fn sign_in(&mut self, discord: &Control, user: DiscordId) -> Exchange {
        let begun = self.begin("/api/auth/discord/login").await;
        let callback = self.authorize(discord, &begun, user).await;
        self.navigate(&callback).await
    }

    /// Begins a login and returns where it sends the browser.
    pub async fn begin(&mut self, path: &str) -> String {
        let begun = self.navigate(path).await;
        assert_eq!(begun.status, 302, "{begun}");
        begun.header("location").expect("a location").to_owned()
    }

    /// Plays the person at Discord and returns the path of the callback.
    pub async fn authorize(&self, discord: &Control, location: &str, user: DiscordId) -> String {
        let played = discord.authorize(location, user, true).await.expect("discord sends the browser back");
        played.location.strip_prefix(ORIGIN).expect("back to us").to_owned()
    }

    /// Sends any request; cookies are sent and kept.
    pub async fn send(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Exchange {
        self.try_send(method, target, headers, body).await.expect("an answer that is whole")
    }

    /// Sends any request as [`Browser::send`] does; none where no whole answer came back.
    pub async fn try_send(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Option<Exchange> {
        let mut request =
            format!("{method} {target} HTTP/1.1\r\nHost: localhost:3001\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("user-agent")) {
            request.push_str(
                "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n",
            );
        }
        for (name, value) in headers {
            let _ = write!(request, "{name}: {value}\r\n");
        }
        if !self.cookies.is_empty() && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("cookie")) {
            let all: Vec<String> =
                self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let _ = write!(request, "Cookie: {}\r\n", all.join("; "));
        }
        if !body.is_empty() || matches!(method, "POST" | "DELETE") {
            let _ = write!(request, "Content-Length: {}\r\n", body.len());
        }
        let _ = write!(request, "\r\n{body}");
        let answer = try_exchange(self.address, request.as_bytes()).await.ok()?;
        let exchange = Exchange::try_read(&answer)?;
        for cookie in exchange.headers.iter().filter(|(name, _)| name == "set-cookie") {
            let (pair, attributes) = cookie.1.split_once(';').unwrap_or((&cookie.1, ""));
            let (name, value) = pair.split_once('=').expect("a cookie has a name");
            if attributes.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        Some(exchange)
    }
}

/// Sends bytes and reads until the server closes, 45 s at most.
pub async fn exchange(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    try_exchange(address, request).await.expect("somebody listens and takes the request")
}

/// Sends bytes and reads until the server closes, 45 s at most: a disk that does not answer is waited for; an error where nobody takes them.
async fn try_exchange(address: SocketAddr, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let exchanged = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request).await?;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        Ok(answer)
    };
    tokio::time::timeout(Duration::from_secs(45), exchanged).await.expect("an answer in time")
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// For example 200.
    pub status: u16,
    /// Names in lower case, in the order of the answer.
    pub headers: Vec<(String, String)>,
    /// The body as text.
    pub body: String,
}

impl Exchange {
    /// Reads an answer that is whole.
    pub fn read(bytes: &[u8]) -> Exchange {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
        let headers = lines.filter_map(|line| line.split_once(": "));
        Exchange {
            status: status.unwrap_or_else(|| panic!("no status: {head:?}")),
            headers: headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect(),
            body: body.to_owned(),
        }
    }

    /// Reads an answer to a request whose connection may have broken; none unless all of it is there.
    fn try_read(bytes: &[u8]) -> Option<Exchange> {
        bytes.windows(4).any(|end| end == b"\r\n\r\n").then_some(())?;
        let exchange = Exchange::read(bytes);
        let length = exchange.header("content-length").and_then(|length| length.parse().ok());
        let is_whole =
            length.is_none_or(|length: usize| exchange.body.is_empty() || exchange.body.len() >= length);
        is_whole.then_some(exchange)
    }

    /// Returns the first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Reads the body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    /// Returns the `code` of a problem document.
    #[track_caller]
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_else(|| panic!("no code: {self}")).to_owned()
    }
}

impl std::fmt::Display for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "HTTP/1.1 {}", self.status)?;
        for (name, value) in &self.headers {
            writeln!(f, "{name}: {value}")?;
        }
        write!(f, "\n{}", self.body)
    }
}

impl House {
    /// Puts the hands of the house's clock where those of the machine are, for stories with processes.
    pub async fn for_processes() -> House {
        let house = House::closed(Plan::default()).await;
        house.clock.step_to(SystemClock::new().now());
        house
    }

    /// Reads every event of the log, which nobody has open, with its record's position.
    pub fn events(&self) -> Vec<(u64, Event)> {
        let records = records(&self.data_dir());
        let events =
            |(position, record): (u64, Record)| record.events.into_iter().map(move |event| (position, event));
        records.into_iter().flat_map(events).collect()
    }

    /// Reads every record of the log, which nobody has open.
    pub fn records(&self) -> Vec<Record> {
        records(&self.data_dir()).into_iter().map(|(_, record)| record).collect()
    }
}

/// Reads every record of the log of a data directory, which nobody has open, with its position.
pub fn records(data_dir: &Path) -> Vec<(u64, Record)> {
    let copy = TempDir::new().expect("a directory");
    for file in std::fs::read_dir(data_dir.join("log")).expect("a log") {
        let file = file.expect("a file");
        if file.path().is_file() {
            std::fs::copy(file.path(), copy.path().join(file.file_name())).expect("a copy");
        }
    }
    let log = sled::Config::new().path(copy.path()).segment_size(SLED_SEGMENT).open().expect("sled");
    let mut records = Vec::new();
    for entry in log.iter() {
        let (key, frame) = entry.expect("a record");
        let position = u64::from_be_bytes(key.as_ref().try_into().expect("a position"));
        records.push((position, codec::decode_record(&frame).expect("a record of ours")));
    }
    records
}

/// The program as a process of its own; whatever is still running when this is dropped is killed.
pub struct Process {
    child: std::process::Child,
    /// Where it listens, or would.
    pub address: SocketAddr,
    output: TempDir,
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// None where a signal ended it.
    pub code: Option<i32>,
    /// Its results.
    pub stdout: String,
    /// Everything else it said.
    pub stderr: String,
}

impl Process {
    /// Starts a command with the configuration of a house.
    pub fn spawn(house: &House, args: &[&str], env: &[(&str, &str)]) -> Process {
        let port = free_port();
        let mut all: BTreeMap<String, String> = house.env().into_iter().collect();
        all.insert("PORT".into(), port.to_string());
        all.extend(env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Process::spawn_in(house.dir.path(), args, all, port)
    }

    /// Starts a command in a directory, with no other variables than these.
    pub fn spawn_in(cwd: &Path, args: &[&str], env: BTreeMap<String, String>, port: u16) -> Process {
        let mut command = std::process::Command::new(binary());
        command.args(args);
        Process::of(command, cwd, env, port)
    }

    /// Starts anything, as [`Process::spawn_in`] starts the program.
    pub fn of(
        mut command: std::process::Command,
        cwd: &Path,
        env: BTreeMap<String, String>,
        port: u16,
    ) -> Process {
        let output = TempDir::new().expect("a directory");
        let file = |name: &str| std::fs::File::create(output.path().join(name)).expect("a file");
        command.env_clear().envs(env).current_dir(cwd);
        command.stdin(std::process::Stdio::null()).stdout(file("out")).stderr(file("err"));
        let child = command.spawn().expect("the program starts");
        Process { child, address: SocketAddr::from(([127, 0, 0, 1], port)), output }
    }

    /// Starts `doorbook serve` and waits until it is ready.
    pub async fn serve(house: &House) -> Process {
        let mut process = Process::spawn(house, &["serve"], &[]);
        process.ready().await;
        process
    }

    /// Waits until it is ready, a minute at most.
    pub async fn ready(&mut self) {
        if let Some(ended) = self.ready_or_ended().await {
            panic!("it ended: {ended:?}");
        }
    }

    /// Waits until it is ready or has ended, a minute at most.
    pub async fn ready_or_ended(&mut self) -> Option<Ended> {
        let clock = SystemClock::new();
        let request = b"GET /readyz HTTP/1.1\r\nHost: localhost:3001\r\nConnection: close\r\n\r\n";
        while clock.monotonic() < Duration::from_secs(60) {
            if let Some(ended) = self.ended() {
                return Some(ended);
            }
            // It may end between two steps of the exchange.
            if let Ok(mut stream) = TcpStream::connect(self.address).await {
                let mut answer = Vec::new();
                let _ = stream.write_all(request).await;
                let _ = stream.read_to_end(&mut answer).await;
                if answer.starts_with(b"HTTP/1.1 200") {
                    return None;
                }
            }
            clock.sleep(Duration::from_millis(10)).await;
        }
        panic!("it is not ready after a minute: {}", self.said("err"));
    }

    /// Waits until something listens where it should, a minute at most.
    pub async fn listens(&mut self) {
        let clock = SystemClock::new();
        while TcpStream::connect(self.address).await.is_err() {
            if let Some(ended) = self.ended() {
                panic!("it ended: {ended:?}");
            }
            assert!(clock.monotonic() < Duration::from_secs(60), "it does not: {}", self.said("err"));
            clock.sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until `/readyz` says just that, a minute at most.
    pub async fn until_readyz_says(&self, body: &str) {
        let clock = SystemClock::new();
        while self.browser().fetch("GET", "/readyz").await.body != body {
            assert!(clock.monotonic() < Duration::from_secs(60), "it does not: {}", self.said("err"));
            clock.sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until `/readyz` says just that or it has ended: a log that gets no answer fails after a minute.
    pub async fn readyz_says_or_ended(&mut self, body: &str) -> Option<Ended> {
        let clock = SystemClock::new();
        while self.browser().try_send("GET", "/readyz", &[], "").await.is_none_or(|ready| ready.body != body)
        {
            if let Some(ended) = self.ended() {
                return Some(ended);
            }
            assert!(clock.monotonic() < Duration::from_secs(120), "it does not: {}", self.said("err"));
            clock.sleep(Duration::from_millis(10)).await;
        }
        None
    }

    /// Waits until it has written that to standard error, a minute at most, and returns all of it.
    pub async fn until_it_says(&self, text: &str) -> String {
        let clock = SystemClock::new();
        loop {
            let said = self.said("err");
            if said.contains(text) {
                return said;
            }
            assert!(clock.monotonic() < Duration::from_secs(60), "it does not say {text:?}: {said}");
            clock.sleep(Duration::from_millis(10)).await;
        }
    }

    /// A browser that has never been here.
    pub fn browser(&self) -> Browser {
        self.visited_by(BTreeMap::new())
    }

    /// A browser with these cookies.
    pub fn visited_by(&self, cookies: BTreeMap<String, String>) -> Browser {
        Browser { address: self.address, cookies }
    }

    /// A browser in which somebody has just signed in.
    pub async fn signed_in(&self, house: &House, user: DiscordId) -> Browser {
        let mut browser = self.browser();
        let landed = browser.sign_in(house.discord(), user).await;
        assert_eq!(landed.status, 303, "{landed}");
        browser
    }

    /// Kills it, as a power cut would.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("a child of ours");
    }

    /// Asks it to end, and waits until it has.
    pub async fn terminate(&mut self) -> Ended {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        self.ends().await
    }

    /// Asks it to read its configuration again.
    pub fn hang_up(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("it runs");
    }

    /// Waits until it has ended, a minute at most.
    pub async fn ends(&mut self) -> Ended {
        let clock = SystemClock::new();
        while clock.monotonic() < Duration::from_secs(60) {
            if let Some(ended) = self.ended() {
                return ended;
            }
            clock.sleep(Duration::from_millis(5)).await;
        }
        panic!("it does not end: {}", self.said("err"));
    }

    /// Returns whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.ended().is_some()
    }

    fn ended(&mut self) -> Option<Ended> {
        let status = self.child.try_wait().expect("a child of ours")?;
        Some(Ended { code: status.code(), stdout: self.said("out"), stderr: self.said("err") })
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to `out` or `err`.
    pub fn said(&self, name: &str) -> String {
        std::fs::read_to_string(self.output.path().join(name)).expect("its output")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As `event_log` opens it.
pub const SLED_SEGMENT: usize = 8 << 20;

/// A port that nobody has, below those that the system gives to whoever asks for any.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 12_000 + u16::try_from(std::process::id() % 150).expect("small") * 100;
    loop {
        let port = base + NEXT.fetch_add(1, Ordering::SeqCst) % 2_000;
        let free = |ip: &str| {
            std::net::TcpListener::bind((ip, port))
                .map_or_else(|error| error.kind() != std::io::ErrorKind::AddrInUse, |_| true)
        };
        if free("127.0.0.1") && free("::1") {
            return port;
        }
    }
}

impl House {
    /// Stops doorbook where that may well fail.
    pub async fn stop_somehow(&mut self) -> Result<(), ServeError> {
        self.running.take().expect("doorbook runs").stop().await
    }
}

/// Sends one request as it stands, and reads the answer.
pub async fn raw(address: SocketAddr, request: &str) -> Exchange {
    Exchange::read(&exchange(address, request.as_bytes()).await)
}

impl House {
    /// Returns the position of the last record applied.
    pub fn head(&self) -> Option<doorbook::domain::id::Position> {
        self.doorbook().app.progress().borrow().position
    }

    /// Waits until the log has made the state so; 30 s at most.
    pub async fn until(&self, so: impl Fn(&doorbook::domain::state::State) -> bool) {
        let mut progress = self.doorbook().app.progress();
        let waited = async {
            while !so(&self.doorbook().app.state()) {
                progress.changed().await.expect("the log is being applied");
            }
        };
        tokio::time::timeout(Duration::from_secs(30), waited).await.expect("the state becomes so");
    }

    /// Waits for something that takes time, and moves the clock on by `step` as long as it is not there.
    pub async fn as_time_passes<T>(&self, step: Duration, something: impl Future<Output = T>) -> T {
        let mut something = std::pin::pin!(something);
        for _ in 0..1_000 {
            match tokio::time::timeout(Duration::from_millis(20), &mut something).await {
                Ok(came) => return came,
                Err(_) => self.clock.advance(step),
            }
        }
        panic!("it does not come, however late it is");
    }
}
