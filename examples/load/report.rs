//! Everything that was measured: printed, and written down with the machine, the commit and what was to be reached.

use std::path::Path;
use std::process::Command;

use comfy_table::Table;
use serde_json::json;

use crate::growth::Cost;
use crate::table::{self, Row};
use crate::{Failure, Options, targets};

/// What was measured.
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
    pub(crate) costs: Vec<Cost>,
}

impl Report {
    /// Prints tables for people, or JSON for programs, one thing a line.
    #[expect(clippy::print_stdout, reason = "the tables are the result")]
    pub(crate) fn print(&self, json: bool) {
        if json {
            self.rows.iter().for_each(|row| println!("{}", table::as_json(row)));
            self.costs.iter().for_each(|cost| println!("{}", json!(cost)));
            return;
        }
        if !self.rows.is_empty() {
            println!("{}", table::rows(&self.rows));
        }
        if !self.costs.is_empty() {
            println!("\n{}\n\n{}", growth(&self.costs), reading(&self.costs));
        }
        println!("\n{}", targets::table(self));
    }

    /// Writes everything into a file.
    pub(crate) fn write(&self, path: &Path, options: &Options) -> Result<(), Failure> {
        let mut text = format!("{INTRODUCTION}\n{}\n", machine(options)?);
        let mut section = |title: &str, words: &str, table: Table| {
            text.push_str(&format!("\n## {title}\n\n{words}\n\n{table}\n"));
        };
        section("What was to be reached", TARGETS, targets::table(self));
        if !self.rows.is_empty() {
            section("Requests and appends", ROWS, table::rows(&self.rows));
        }
        if !self.costs.is_empty() {
            section("How cost grows", GROWTH, growth(&self.costs));
            section("Reading the log back", READING, reading(&self.costs));
        }
        text.push_str(&format!("\n## Where the rest goes\n\n{REST}"));
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        Ok(std::fs::write(path, text)?)
    }
}

const INTRODUCTION: &str = "<!-- Written by `cargo run --profile dist --example load -- --write docs/performance.md`. -->
# Performance

Wherever there is something to hold it against, a figure stands beside what the same machine could do without doorbook,
measured in the same run and in turns: so a busy moment hits both, and the ratios mean something on another machine as well. Everything is as in production:
records are sealed and on stable storage before anybody is answered, and every answer is checked. The figures are
against such ceilings only; no other login server was measured.

The parts, one at a time, are measured by `cargo bench`.
";

const REST: &str = include_str!("where_the_rest_goes.md");

const TARGETS: &str =
    "The largest town or log of this run counts. What was not measured in it is not judged.";

const ROWS: &str = "A row of *check*, *forward* and *append* is the middle round by throughput; *sign-in* and *refresh* are driven once,
and the rows of checks beside sign-ins are all rounds together, with the processor time of both kinds of work in each. *check* is `GET /api/auth/user`, *forward* is `GET /auth/forward`
as a proxy asks it; beside each stand a bare warp route and a bare hyper service that give the very same answer, headers
included, in the same accept loop. *sign-in* is complete, from the login to the callback, with the stand-in of Discord in
another process. *append* is the log alone, beside bare sled with the same grouping, flush, sync and a slot of 4 KiB
overwritten and synced, and beside a plain file with `fdatasync`; all of it happens in one process there, so CPU time
includes whoever waits. Where a timetable is given (*check, alone* and beside sign-ins: 2,000 a second), latency counts
from when a request was due.";

const GROWTH: &str = "A town is an invented log, written as a server writes it: people sign in, are seen and refresh. Those with a given
number of sessions have four a person (of 100,000 there is a second one, with one a person); those with a given number of records have at
most 10,000 people. Memory is that of the server right after its start from a stored state. *disk / records* is the database with its index over the bytes of the
records, and *sled alone* the same for the records (at most 200,000) in a database of their own. Checks come 500 a second over four connections, of at most
4,000 people, each of whom has been checked once before. Questions are whole runs
of the command line against the running server, the best of three.";

const READING: &str = "*replay* opens the log and reads, checks, decodes and applies everything; *sled iterates* opens a copy of
the database and goes through it; *fold* checks, decodes and applies from memory on one core; *SHA-256* hashes the same bytes.
Of each the best round counts. *audit verify* is a whole run of the command line against the running server.";

/// Says on what and with what was measured.
fn machine(options: &Options) -> Result<String, Failure> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism()?;
    let memory = read("/proc/meminfo");
    let memory = memory.lines().next().unwrap_or_default().trim_start_matches("MemTotal:").trim().to_owned();
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = said("git", &["describe", "--always", "--dirty"]).unwrap_or_else(|| "unknown".into());
    let rustc = said("rustc", &["--version"]).unwrap_or_else(|| "unknown".into());
    let date = said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]).unwrap_or_default();
    let command: Vec<String> = std::env::args().skip(1).collect();
    Ok(format!(
        "- machine: {cores} cores of {}, {memory} of memory, Linux {}\n- load average at the end: {} \n- commit: {commit}, {rustc}, {date}\n- command: `cargo run --profile dist --example load -- {}`\n- rounds: {} of {} s each",
        model.trim_start_matches([' ', '\t', ':']),
        kernel.trim(),
        load.trim(),
        command.join(" "),
        options.rounds,
        options.seconds,
    ))
}

fn growth(costs: &[Cost]) -> Table {
    let mut table = table::new(&[
        "sessions",
        "people",
        "records",
        "memory MiB",
        "disk MiB",
        "disk / records",
        "sled alone",
        "start, stored state",
        "start, replayed",
        "check p50 µs",
        "check p99 µs",
        "check CPU µs",
        "audit log --user",
        "audit state --at",
    ]);
    for cost in costs {
        table.add_row([
            cost.size.sessions().to_string(),
            cost.size.people.to_string(),
            cost.reading.records.to_string(),
            mib(cost.memory),
            mib(cost.disk),
            format!("{:.2}", cost.disk as f64 / cost.reading.bytes as f64),
            format!("{:.2}", cost.reading.sled_disk),
            seconds(cost.start_stored),
            seconds(cost.start_replayed),
            cost.check_p50.to_string(),
            cost.check_p99.to_string(),
            format!("{:.1}", cost.check_cpu),
            seconds(cost.audit_user),
            seconds(cost.audit_state),
        ]);
    }
    table::aligned(table, 0)
}

fn reading(costs: &[Cost]) -> Table {
    let mut table = table::new(&[
        "records",
        "bytes each",
        "replay /s",
        "sled iterates /s",
        "replay / sled",
        "fold /s",
        "SHA-256 /s",
        "audit verify",
        "verify /s",
        "verify / SHA-256",
    ]);
    for cost in costs {
        let reading = &cost.reading;
        let verified = reading.records as f64 / cost.audit_verify.as_secs_f64();
        table.add_row([
            reading.records.to_string(),
            (reading.bytes / reading.records.max(1)).to_string(),
            format!("{:.0}", reading.replay),
            format!("{:.0}", reading.sled),
            format!("{:.2}", reading.replay / reading.sled),
            format!("{:.0}", reading.fold),
            format!("{:.0}", reading.sha256),
            seconds(cost.audit_verify),
            format!("{verified:.0}"),
            format!("{:.2}", verified / reading.sha256),
        ]);
    }
    table::aligned(table, 0)
}

fn mib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1_048_576.0)
}

fn seconds(duration: std::time::Duration) -> String {
    format!("{:.3} s", duration.as_secs_f64())
}
