//! A start that takes long: what it shows, and what it answers meanwhile.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use futures_util::future::{BoxFuture, join_all};
use indicatif::TermLike;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tracing_subscriber::fmt::MakeWriter;

use super::*;
use crate::app::{Accepted, By, Role};
use crate::clock::{ManualClock, SystemClock};
use crate::config::{Config, Sources};
use crate::control::{Answers as _, Client as Operator, Health as Answered};
use crate::discord::install_crypto_provider;
use crate::disk::RealDisk;
use crate::domain::command::Command;
use crate::domain::event::{FailureCode, MadeBy, Stage};
use crate::domain::time::Timestamp;
use crate::entropy::SeededEntropy;
use crate::event_log::Probe;
use crate::serve::{Running, ServeError, World, open, start_on};

/// 2026-01-02T03:04:05Z.
const START: Timestamp = Timestamp(1_767_323_045_000);
/// So many records that folding them takes longer than a few milliseconds anywhere.
const RECORDS: usize = 30_000;

/// A clock that stands still, but on which nobody waits long to show how far they are.
struct Hasty {
    stands: ManualClock,
    real: SystemClock,
    waits: watch::Sender<Vec<Duration>>,
}

impl Hasty {
    fn new() -> Arc<Hasty> {
        let (stands, real) = (ManualClock::new(START), SystemClock::new());
        Arc::new(Hasty { stands, real, waits: watch::Sender::default() })
    }

    /// Returns the waits so far: a replay is the only one at a start that waits this shortly.
    fn waits(&self) -> Vec<Duration> {
        self.waits.borrow().clone()
    }
}

impl Clock for Hasty {
    fn now(&self) -> Timestamp {
        self.stands.now()
    }

    fn monotonic(&self) -> Duration {
        self.stands.monotonic()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        if duration > Duration::from_secs(3) {
            return self.stands.sleep(duration);
        }
        self.waits.send_modify(|waits| waits.push(duration));
        self.real.sleep(Duration::from_millis(1))
    }
}

fn world(clock: Arc<dyn Clock>) -> World {
    let entropy = Arc::new(SeededEntropy::new("start"));
    World { clock, entropy, disk: Arc::new(RealDisk), probe: Probe::InProcess }
}

fn configuration(dir: &Path) -> Config {
    install_crypto_provider();
    let set = [
        ("DISCORD_OAUTH_CLIENT_ID", "1457667441164427281"),
        ("DISCORD_OAUTH_SECRET", "0123456789-client-secret"),
        ("DISCORD_REDIRECT_URL", "http://localhost:3001/api/auth/discord/redirect"),
        ("DOORBOOK_DATA_DIR", "data"),
    ];
    let env = set.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    let (cwd, system_file) = (dir.to_owned(), dir.join("none"));
    Config::read(&Sources { flags: Default::default(), env, cwd, system_file }).unwrap()
}

async fn starting(config: &Config, clock: Arc<Hasty>) -> Result<Running, ServeError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    start_on(vec![listener], config, MadeBy::Serve, Accepted::default(), world(clock)).await
}

/// Leaves a log with as many records of failed sign-ins, closed in order.
async fn failures(config: &Config, records: usize) {
    let running = starting(config, Hasty::new()).await.unwrap();
    let fail = || Command::FailSignIn { stage: Stage::Callback, code: FailureCode::StateMismatch };
    // All at once: they share syncs.
    let executed = join_all((0..records).map(|_| running.app.execute(fail(), &By::SYSTEM))).await;
    assert!(executed.iter().all(Result::is_ok), "{:?}", executed.iter().find(|done| done.is_err()));
    running.stop().await.unwrap();
    // It would stand for most of them.
    std::fs::remove_dir_all(config.local.data_dir.join("states")).unwrap();
}

/// Keeps what is traced.
#[derive(Clone, Default)]
struct Traces(Arc<Mutex<Vec<u8>>>);

impl io::Write for Traces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::Write::write(&mut *self.0.lock().unwrap(), bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Traces {
    /// Listens on this thread, on which everything here is polled, until that is dropped.
    fn listen(&self) -> impl Drop {
        struct Listening {
            guard: Option<tracing::dispatcher::DefaultGuard>,
            _second: tracing::Dispatch,
        }
        impl Drop for Listening {
            fn drop(&mut self) {
                self.guard.take();
            }
        }
        fn dispatch<W: for<'a> MakeWriter<'a> + Send + Sync + 'static>(writer: W) -> tracing::Dispatch {
            let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_writer(writer);
            tracing::Dispatch::new(subscriber.with_max_level(tracing::Level::INFO).finish())
        }
        let traces = self.clone();
        let listening = dispatch(move || traces.clone());
        let guard = tracing::dispatcher::set_default(&listening);
        // With a second one alive, tests on other threads that reach a trace first cannot switch it off.
        Listening { guard: Some(guard), _second: dispatch(io::sink) }
    }

    /// Returns the traces whose message begins so.
    fn that_say(&self, beginning: &str) -> Vec<serde_json::Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let all = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        all.filter(|trace| trace["message"].as_str().unwrap().starts_with(beginning)).collect()
    }
}

/// A terminal with the one line that a bar needs.
#[derive(Clone, Debug, Default)]
struct Glass(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    line: String,
    /// Every line that stood there when it was complete.
    drawn: Vec<String>,
}

impl Glass {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap()
    }
}

impl TermLike for Glass {
    fn width(&self) -> u16 {
        100
    }

    fn move_cursor_up(&self, lines: usize) -> io::Result<()> {
        assert_eq!(lines, 0, "it is one line");
        Ok(())
    }

    fn move_cursor_down(&self, lines: usize) -> io::Result<()> {
        self.move_cursor_up(lines)
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        panic!("nothing may be left on the terminal: {text}")
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.seen().line.push_str(text);
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.seen().line.clear();
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let mut seen = self.seen();
        let line = seen.line.trim_end().to_owned();
        seen.drawn.push(line);
        Ok(())
    }
}

#[test]
fn a_line_says_what_was_replayed_and_what_was_not() {
    let took = Duration::from_micros(3_200);
    let mut found = Replayed { stored: 0, records: 9, events: 14, sessions: 1, took };
    assert_eq!(outcome(&found), "replayed the log: 14 events, 1 live session, 3.2ms");
    found.stored = 65_536;
    let after = "replayed the log: 14 events after a stored state of 65536 records, 1 live session, 3.2ms";
    assert_eq!(outcome(&found), after);
}

#[tokio::test]
async fn a_long_replay_says_how_far_it_is_in_traces_or_on_a_terminal() {
    let dir = TempDir::new().unwrap();
    let config = configuration(dir.path());
    failures(&config, RECORDS).await;

    let (clock, traces) = (Hasty::new(), Traces::default());
    let listening = traces.listen();
    let opened = replayable(&config, clock.clone()).await;
    let of = opened.records();
    assert!(of >= RECORDS as u64, "{of}");
    let (app, found) = shown_on(None, opened, clock.clone()).await.unwrap();
    drop(listening);
    let lines = traces.that_say("replaying the log");
    assert!(lines.len() >= 3, "{lines:?}");
    assert!(lines.iter().all(|line| line["of"] == of && line["level"] == "INFO"), "{lines:?}");
    let done: Vec<u64> = lines.iter().map(|line| line["records"].as_u64().unwrap()).collect();
    assert!(done.is_sorted() && done.first() < done.last(), "{done:?}");
    let lines = traces.that_say("replayed");
    let said = format!("replayed the log: {} events, 0 live sessions, 0.0ns", found.events);
    assert!(lines.len() == 1 && lines[0]["message"] == said, "{lines:?}");
    assert!(found.stored == 0 && found.events >= of && lines[0]["events"] == found.events, "{lines:?}");
    let (soon, every) = (Duration::from_millis(500), Duration::from_secs(3));
    let waits = clock.waits();
    assert!(waits[0] == soon && waits[1..].iter().all(|wait| *wait == every), "{waits:?}");
    app.close().await.unwrap();

    let (clock, traces, glass) = (Hasty::new(), Traces::default(), Glass::default());
    let listening = traces.listen();
    let opened = replayable(&config, clock.clone()).await;
    let of = opened.records();
    let terminal = ProgressDrawTarget::term_like(Box::new(glass.clone()));
    let (app, _) = shown_on(Some(terminal), opened, clock.clone()).await.unwrap();
    drop(listening);
    app.close().await.unwrap();
    let seen = glass.seen();
    let (last, bars) = seen.drawn.split_last().expect("something was drawn");
    assert!(last.is_empty() && seen.line.trim().is_empty(), "it is cleared: {:?}", seen.line);
    assert!(bars.len() >= 3, "{bars:?}");
    let whole = format!(" of {},{:03} records, ", of / 1_000, of % 1_000);
    for bar in bars {
        assert!(bar.starts_with("replaying the log ") && bar.contains(&whole), "{bar:?}");
        assert!(bar.ends_with(" left"), "{bar:?}");
    }
    assert!(bars.first() != bars.last(), "it moves: {bars:?}");
    assert!(traces.that_say("replaying the log").is_empty(), "not twice");
    assert_eq!(traces.that_say("replayed the log: ").len(), 1);
    assert_eq!(clock.waits()[..2], [soon, Duration::from_millis(100)]);
}

async fn replayable(config: &Config, clock: Arc<Hasty>) -> Opened {
    let made_by = MadeBy::Serve;
    let role =
        Role::Server { made_by, origin: String::new(), config: config.hash, accepted: Accepted::default() };
    open(&config.local, role, world(clock)).await.unwrap()
}

#[tokio::test]
async fn while_the_log_is_replayed_the_process_is_alive_and_not_ready() {
    let dir = TempDir::new().unwrap();
    let config = configuration(dir.path());
    failures(&config, 100).await;

    let clock = Hasty::new();
    let mut waits = clock.waits.subscribe();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let world = world(clock.clone());
    let mut starting = Box::pin(start_on(vec![listener], &config, MadeBy::Serve, Accepted::default(), world));
    tokio::select! {
        biased;
        _ = waits.wait_for(|waits| !waits.is_empty()) => {}
        _ = &mut starting => panic!("it does not wait for its replay"),
    }
    // The start stands in its replay now, and comes no further until it is polled again.
    let alive = get(address, "/healthz").await;
    assert!(alive.starts_with("HTTP/1.1 200 ") && alive.ends_with(r#"{"status":"alive"}"#), "{alive}");
    let ready = get(address, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503 ") && ready.contains(r#""code":"not_ready""#), "{ready}");
    let operator = operator(&config).await;
    let not_yet = Answered { ready: false, log_available: false };
    assert_eq!(operator.health().await.unwrap(), not_yet);
    assert!(operator.sessions(Default::default()).await.unwrap_err().to_string().contains("still reading"));

    let running = starting.await.unwrap();
    let ready = get(address, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 200 "), "{ready}");
    let by_now = Answered { ready: true, log_available: true };
    assert_eq!(operator.health().await.unwrap(), by_now);
    running.stop().await.unwrap();
}

async fn operator(config: &Config) -> Operator {
    Operator::connect(&config.local.data_dir, Arc::new(SystemClock::new())).await.unwrap().unwrap()
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost:3001\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
