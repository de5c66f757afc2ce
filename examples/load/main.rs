//! How much a doorbook takes, beside what the machine could take: `cargo run --release --example load -- --help`.
//!
//! Servers run as processes of their own, so that their processor time is theirs alone. Every answer is checked;
//! a figure with a wrong answer in it is not a figure.

mod browser;
mod cpu;
mod run;
mod scenarios;
mod servers;
mod table;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

/// Drives a doorbook of its own and ceilings beside it, and prints what they took.
#[derive(Parser, Debug)]
#[command(name = "load", after_help = EXAMPLES)]
struct Options {
    /// What to drive; everything where nothing is named.
    #[arg(value_enum)]
    scenarios: Vec<Scenario>,
    /// How many connections at once; may be given several times.
    #[arg(long, default_values_t = [1, 64, 256])]
    connections: Vec<usize>,
    /// How long each round lasts, in seconds.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// How many rounds of each, in turns, so that a busy moment of the machine hits all alike.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Requests a second, on a timetable; latency counts from when a request was due. Without it each connection
    /// sends the next request when it has the answer to the last one.
    #[arg(long)]
    rate: Option<u64>,
    /// How many people there are.
    #[arg(long, default_value_t = 2_000)]
    people: usize,
    /// Print rows as JSON, one a line.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    child: Option<Child>,
}

const EXAMPLES: &str = "Examples:
  cargo run --release --example load
  cargo run --release --example load -- check --connections 64 --seconds 10
  cargo run --release --example load -- check --connections 64 --rate 5000";

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Scenario {
    /// `GET /api/auth/user`, beside a bare warp route and a bare hyper service with an answer of that size.
    Check,
    /// `GET /auth/forward` as a proxy asks it, beside the same with empty answers.
    Forward,
    /// Complete sign-ins, from the login to the callback.
    SignIn,
    /// `POST /api/auth/refresh`, each person once.
    Refresh,
    /// Checks while 64 sign-ins a second are being written.
    Mix,
}

/// Not for people: the servers, which the program starts by itself.
#[derive(Subcommand, Debug)]
enum Child {
    /// Runs one server until its standard input ends.
    #[command(hide = true)]
    Server(servers::ServerOptions),
}

fn main() -> ExitCode {
    doorbook::discord::install_crypto_provider();
    let options = Options::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let done = match options.child {
        Some(Child::Server(server)) => runtime.block_on(servers::serve(server)),
        None => runtime.block_on(scenarios::run(&options)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&*error),
    }
}

#[expect(clippy::print_stderr, reason = "a command says on standard error why it failed")]
fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("load: {error}");
    let mut source = error.source();
    while let Some(deeper) = source {
        eprintln!("  because: {deeper}");
        source = deeper.source();
    }
    ExitCode::from(3)
}

impl Options {
    fn wants(&self, scenario: Scenario) -> bool {
        self.scenarios.is_empty() || self.scenarios.contains(&scenario)
    }

    fn round(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

/// What can go wrong, with its cause.
type Failure = Box<dyn std::error::Error + Send + Sync>;
