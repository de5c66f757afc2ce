//! How much a doorbook takes, beside what the machine could take: `cargo run --profile dist --example load -- --help`.
//!
//! Servers run as processes of their own, so that their processor time is theirs alone. Every answer is checked;
//! a figure with a wrong answer in it is not a figure.

mod append;
mod browser;
mod cpu;
mod growth;
mod replay;
mod report;
mod run;
mod scenarios;
mod servers;
mod table;
mod targets;
mod town;

use std::ffi::OsString;
use std::path::PathBuf;
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
    /// How many sessions there are in the towns whose cost is measured; may be given several times.
    #[arg(long, default_values_t = [1_000, 10_000, 100_000, 1_000_000])]
    sessions: Vec<u64>,
    /// How many records there are in the logs whose cost is measured; may be given several times.
    #[arg(long, default_values_t = [10_000, 100_000, 1_000_000])]
    records: Vec<u64>,
    /// Print rows as JSON, one a line.
    #[arg(long)]
    json: bool,
    /// Write everything into this file as well, with the machine and the commit.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    #[command(subcommand)]
    child: Option<Child>,
}

const EXAMPLES: &str = "Examples:
  cargo run --profile dist --example load
  cargo run --profile dist --example load -- check --connections 64 --seconds 10
  cargo run --profile dist --example load -- check --connections 64 --rate 5000
  cargo run --profile dist --example load -- growth --sessions 10000 --records 5000000
  cargo run --profile dist --example load -- --write docs/performance.md";

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
    /// Durable appends, beside bare sled and a plain file.
    Append,
    /// What sessions and records cost: memory, disk, starts, questions; and reading them back beside sled's iteration.
    Growth,
}

/// Not for people: the servers, which the program starts by itself.
#[derive(Subcommand, Debug)]
enum Child {
    /// Runs one server until its standard input ends.
    #[command(hide = true)]
    Server(servers::ServerOptions),
    /// Writes a log of some size and ends.
    #[command(hide = true)]
    Town {
        #[arg(long)]
        data_dir: PathBuf,
        #[command(flatten)]
        size: growth::Size,
    },
    /// Is doorbook's command line.
    #[command(hide = true)]
    Cli {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    doorbook::discord::install_crypto_provider();
    let options = Options::parse();
    if let Some(Child::Cli { arguments }) = options.child {
        return match doorbook::cli::Outside::of_process() {
            Ok(mut outside) => {
                doorbook::cli::run(std::iter::once("doorbook".into()).chain(arguments), &mut outside)
            }
            Err(error) => failed(&error),
        };
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let done = match options.child {
        Some(Child::Server(server)) => runtime.block_on(servers::serve(server)),
        Some(Child::Town { data_dir, size }) => runtime.block_on(growth::write(&data_dir, size)),
        Some(Child::Cli { .. }) | None => runtime.block_on(scenarios::run(&options)),
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
