//! How cost grows with sessions and with records: memory, disk, starts, session checks, and questions about the log.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use http::StatusCode;
use serde::Serialize;
use tempfile::TempDir;
use tokio::process::Command;

use crate::browser::{Connection, expect};
use crate::replay::{self, Reading};
use crate::run::{Pace, now};
use crate::scenarios::{check, drive_checks};
use crate::servers::{Kind, Server, environment};
use crate::town::{Town, discord_id, session_token};
use crate::{Failure, Options, cpu};

/// Where a Discord would be, if anybody in these towns asked it.
const NOBODY: &str = "127.0.0.1:9";

/// A town of a size.
#[derive(Args, Clone, Copy, Debug, Serialize)]
pub(crate) struct Size {
    #[arg(long)]
    pub(crate) people: u64,
    #[arg(long)]
    pub(crate) browsers: u64,
    /// Where there are to be more records than sign-ins: how many.
    #[arg(long, default_value_t = 0)]
    pub(crate) records: u64,
}

impl Size {
    /// Four browsers a person.
    pub(crate) fn of_sessions(sessions: u64) -> Size {
        Size { people: (sessions / 4).max(1), browsers: 4, records: 0 }
    }

    /// One browser a person.
    pub(crate) fn of_people(people: u64) -> Size {
        Size { people, browsers: 1, records: 0 }
    }

    /// Ten thousand people, or fewer where there are not that many records.
    pub(crate) fn of_records(records: u64) -> Size {
        Size { people: (records / 8).min(10_000), browsers: 1, records }
    }

    /// How many sessions there are in the end.
    pub(crate) fn sessions(self) -> u64 {
        self.people * (self.browsers + u64::from(self.records > 0))
    }
}

/// What a town of some size costs.
#[derive(Debug, Serialize)]
pub(crate) struct Cost {
    pub(crate) size: Size,
    /// Of the server, right after its start.
    pub(crate) memory: u64,
    pub(crate) disk: u64,
    /// From the call to the answer that it listens, with a stored state and without.
    pub(crate) start_stored: Duration,
    pub(crate) start_replayed: Duration,
    pub(crate) check_p50: u64,
    pub(crate) check_p99: u64,
    pub(crate) check_cpu: f64,
    pub(crate) audit_user: Duration,
    pub(crate) audit_state: Duration,
    pub(crate) audit_verify: Duration,
    pub(crate) reading: Reading,
}

/// Writes a town; in a process of its own, because a server that has just started is what is measured.
pub(crate) async fn write(data_dir: &Path, size: Size) -> Result<(), Failure> {
    let things = (size.people * size.browsers).max(size.records);
    let town = Town::open(data_dir, things).await?;
    town.sign_everybody_in(size.people, size.browsers).await?;
    town.live_until(size.people, size.records).await?;
    Ok(town.app.close().await?)
}

/// Measures a town of that size.
pub(crate) async fn cost(options: &Options, size: Size) -> Result<Cost, Failure> {
    let dir = TempDir::new()?;
    let data = dir.path().join("data");
    let Size { people, browsers, records } = size;
    run(Command::new(std::env::current_exe()?)
        .args(["town", "--people", &people.to_string(), "--browsers", &browsers.to_string()])
        .args(["--records", &records.to_string(), "--data-dir"])
        .arg(&data))
    .await?;

    let (server, start_stored) = started(dir.path()).await?;
    let memory = cpu::memory(server.process());
    let cookies = cookies(size);
    let pace = Pace { lasts: Duration::from_secs(2), rate: Some(500) };
    let mut one = Connection::open(server.address).await?;
    let bytes = one.send(check(&cookies[0], 0)?).await?.body.len();
    // The first check of a session that nobody has seen for two days is written down, and asks for a profile: once.
    for (person, cookie) in cookies.iter().enumerate() {
        expect(&one.send(check(cookie, u32::try_from(person)?)?).await?, StatusCode::OK)?;
    }
    let checks = drive_checks(&server, check, 4, pace, &cookies, bytes).await?;
    let somebody = discord_id(people / 2).to_string();
    let audit_user = asked(dir.path(), &["audit", "log", "--format", "json", "--user", &somebody]).await?;
    let total = records.max(people * browsers);
    let halfway = (total / 2).to_string();
    let audit_state = asked(dir.path(), &["audit", "state", "--format", "json", "--at", &halfway]).await?;
    let audit_verify = asked(dir.path(), &["audit", "verify"]).await?;
    server.stop().await?;

    let reading = replay::read(&data, options.rounds).await?;
    std::fs::remove_dir_all(data.join("states"))?;
    let (server, start_replayed) = started(dir.path()).await?;
    server.stop().await?;
    Ok(Cost {
        size,
        memory,
        disk: bytes_in(&data.join("log"))?,
        start_stored,
        start_replayed,
        check_p50: checks.latency.value_at_quantile(0.5),
        check_p99: checks.latency.value_at_quantile(0.99),
        check_cpu: checks.processor_micros(),
        audit_user,
        audit_state,
        audit_verify,
        reading,
    })
}

/// Starts a server and returns how long it took until it was ready.
async fn started(dir: &Path) -> Result<(Server, Duration), Failure> {
    let began: Instant = now();
    let arguments = [("--data-dir", dir.display().to_string()), ("--discord", NOBODY.to_owned())];
    let server = Server::start(Kind::Doorbook, &arguments).await?;
    Ok((server, began.elapsed()))
}

/// Returns the cookies of at most a few thousand people, from their first browsers.
fn cookies(size: Size) -> Arc<[String]> {
    (0..size.people.min(4_000))
        .map(|person| format!("doorbook={}", session_token(person).to_cookie()))
        .collect()
}

/// Asks `doorbook` a question on the command line, three times, and returns the shortest time to the whole answer.
async fn asked(dir: &Path, question: &[&str]) -> Result<Duration, Failure> {
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let began = now();
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("cli").args(question).env_clear().envs(environment(dir, NOBODY)).current_dir(dir);
        run(&mut command).await?;
        best = best.min(began.elapsed());
    }
    Ok(best)
}

async fn run(command: &mut Command) -> Result<(), Failure> {
    let done = command.stdin(Stdio::null()).kill_on_drop(true).output().await?;
    if done.status.success() {
        return Ok(());
    }
    Err(format!("{command:?} failed: {}", String::from_utf8_lossy(&done.stderr)).into())
}

/// Returns how many bytes the files in a directory have.
pub(crate) fn bytes_in(dir: &Path) -> Result<u64, Failure> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { bytes_in(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}
