//! Looking at a database that was not closed in order: on a copy, in a process of its own.
//!
//! sled's recovery rewrites what it believes torn, and may panic or abort. So a copy is opened by a
//! child process of the same binary, which reads everything and prints what it found.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::codec::{DecodeError, decode_record, leaf_hash};
use super::sled_guard::{self, Db, SledFault, guarded};
use super::start::sync_files;
use crate::disk::RealDisk;
use crate::domain::event::Event;
use crate::domain::id::Position;

/// `SIGKILL`.
const KILLED: i32 = 9;

/// How a copy of the database is looked at.
#[derive(Clone, Debug)]
pub enum Probe {
    /// By this program, which gets two or three more arguments and hands them to [`probe_child`].
    Child {
        /// Usually the running binary itself.
        program: PathBuf,
        /// What stands before those arguments, for example the name of a hidden subcommand.
        args: Vec<OsString>,
    },
    /// By this process, for tests that have no program to start: sled may abort it.
    InProcess,
}

/// What stands in a database; hashes and ids are hexadecimal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Found {
    /// The last position before which nothing is missing.
    pub(super) end: Option<u64>,
    /// The log id in the record at 0.
    pub(super) log: Option<String>,
    /// The leaf at the position that was asked for.
    pub(super) leaf: Option<String>,
    /// What ends the log early: a hole, or a record that sled cannot read.
    pub(super) broken: Option<String>,
    /// How many records stand behind that.
    pub(super) behind: u64,
    /// The first record that is whole but that doorbook cannot read.
    pub(super) unreadable: Option<(u64, String)>,
    /// Whether all of those were written by a newer doorbook.
    pub(super) is_newer: bool,
    /// The newest acceptance of a loss: `HEAD`'s sequence and leaf.
    pub(super) accepted: Option<(u64, String)>,
}

impl Probe {
    /// Looks at the copy in `dir`, and at its leaf at `at`.
    pub(super) fn run(&self, dir: &Path, at: Option<Position>) -> Result<Found, SledFault> {
        match self {
            Probe::InProcess => look_and_close(dir, at),
            Probe::Child { program, args } => {
                let at = at.map_or_else(|| "empty".to_owned(), |at| at.to_string());
                let child = ask(program, args, &[dir.as_os_str(), at.as_ref()]).map_err(|error| {
                    SledFault::machine(format!("the program that looks at it did not start: {error}"))
                })?;
                let mut lines = child.stdout.split(|byte| *byte == b'\n');
                let found: Option<Result<Found, SledFault>> =
                    lines.find_map(|line| serde_json::from_slice(line).ok());
                match found {
                    Some(Ok(found)) if child.status.success() => Ok(found),
                    Some(Err(fault)) => Err(fault),
                    // Somebody else ended it, most likely for want of memory.
                    _ if child.status.signal() == Some(KILLED) => {
                        Err(SledFault::machine("the program that looks at it was killed"))
                    }
                    _ => {
                        let why = format!("the database is damaged (reading it ended with {})", child.status);
                        Err(SledFault::damage(why))
                    }
                }
            }
        }
    }

    /// Reads what sled still gives of the records of the copy in `dir`, from `from` on; it may be none.
    pub(super) fn rest(&self, dir: &Path, from: Position) -> Vec<(Position, Bytes)> {
        let mut found = Vec::new();
        match self {
            Probe::InProcess => drop(read_rest(dir, from, |position, frame| found.push((position, frame)))),
            Probe::Child { program, args } => {
                let from = from.to_string();
                let child = ask(program, args, &[dir.as_os_str(), REST.as_ref(), from.as_ref()]);
                // However it ends: what it has said before is good.
                let said = child.map(|child| child.stdout).unwrap_or_default();
                found.extend(said.split(|byte| *byte == b'\n').filter_map(|line| {
                    let (position, raw): (u64, String) = serde_json::from_slice(line).ok()?;
                    Some((Position(position), STANDARD.decode(raw).ok()?.into()))
                }));
            }
        }
        found
    }
}

/// Starts the child and returns what it says.
fn ask(program: &Path, args: &[OsString], question: &[&OsStr]) -> std::io::Result<Output> {
    Command::new(program)
        .args(args)
        .env(PARENT, std::process::id().to_string())
        .args(question)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .output()
}

/// Asks the child for records, in the place of the position that it looks at.
const REST: &str = "rest";

/// Reads records up to where that ends, and hands them over.
fn read_rest(dir: &Path, from: Position, mut take: impl FnMut(Position, Bytes)) -> Result<(), SledFault> {
    let db = sled_guard::open(dir)?;
    let read = guarded(|| {
        for entry in db.range(from.0.to_be_bytes()..) {
            let (key, frame) = entry?;
            take(sled_guard::position(&key)?, Bytes::copy_from_slice(&frame));
        }
        Ok(())
    });
    sled_guard::close(db)?;
    read
}

fn print_rest(dir: &Path, from: Position) -> ExitCode {
    let mut out = std::io::stdout().lock();
    let read = read_rest(dir, from, |position, frame| {
        let line = serde_json::json!([position.0, STANDARD.encode(&frame)]);
        // Whoever does not listen any more needs no more.
        drop(writeln!(out, "{line}"));
    });
    if read.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(3) }
}

/// Runs the child's side of [`Probe::Child`] on the arguments that it was given, and prints one line
/// of JSON for the parent, or one for each record.
pub fn probe_child(args: &[OsString]) -> ExitCode {
    if let Err(why) = end_with_parent() {
        drop(writeln!(std::io::stdout(), "{}", serde_json::json!({ "Err": SledFault::machine(why) })));
        return ExitCode::from(3);
    }
    let found = match args {
        [dir, rest, from] if rest == REST => {
            let from = from.to_str().and_then(|from| from.parse().ok()).unwrap_or_default();
            return print_rest(Path::new(dir), Position(from));
        }
        [dir, at] => {
            let at = at.to_str().and_then(|at| at.parse().ok()).map(Position);
            look_and_close(Path::new(dir), at)
        }
        _ => Err(SledFault::machine("a directory and a position are needed")),
    };
    let printed = serde_json::to_string(&found).map_err(std::io::Error::other);
    let printed = printed.and_then(|line| writeln!(std::io::stdout(), "{line}"));
    if printed.is_ok() && found.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(3) }
}

/// The parent's number, for the child.
const PARENT: &str = "DOORBOOK_PROBE_PARENT";

/// Ends this process when its parent is gone: whoever starts next makes another copy at the same place.
fn end_with_parent() -> Result<(), String> {
    let set = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    set.map_err(|error| format!("the program that looks at it cannot be tied to this one: {error}"))?;
    let parent = rustix::process::getppid().map(|parent| parent.as_raw_nonzero().to_string());
    // It may have been gone before.
    match std::env::var(PARENT) {
        Ok(expected) if parent.as_ref() != Some(&expected) => Err("nobody waits for it any more".to_owned()),
        _ => Ok(()),
    }
}

fn look_and_close(dir: &Path, at: Option<Position>) -> Result<Found, SledFault> {
    let db = sled_guard::open(dir)?;
    let found = look(&db, at);
    sled_guard::close(db)?;
    sync_files(dir, &RealDisk)
        .map_err(|error| SledFault::machine(format!("the copy could not be synced: {error}")))?;
    found
}

/// Reads everything in a database.
pub(super) fn look(db: &Db, at: Option<Position>) -> Result<Found, SledFault> {
    let mut found = Found::default();
    let mut next = Position(0);
    let read = guarded(|| {
        for entry in db.iter() {
            let (key, frame) = entry?;
            let position = sled_guard::position(&key)?;
            if position != next && found.broken.is_none() {
                found.broken = Some(format!("it is missing; the next one stands at {position}"));
            }
            if found.broken.is_some() {
                found.behind += 1;
                continue;
            }
            note(&mut found, position, &frame, at);
            next = position.next();
        }
        Ok(())
    });
    found.end = next.0.checked_sub(1);
    if let Err(fault) = read
        && found.broken.is_none()
    {
        found.broken = Some(fault.why);
    }
    Ok(found)
}

fn note(found: &mut Found, position: Position, frame: &[u8], at: Option<Position>) {
    if Some(position) == at {
        found.leaf = Some(leaf_hash(frame).to_string());
    }
    let record = match decode_record(frame) {
        Ok(record) => record,
        Err(error) => {
            note_unreadable(found, position, &error);
            return;
        }
    };
    for event in &record.events {
        match event {
            Event::LogCreated { log, .. } if position == Position(0) => found.log = Some(log.to_string()),
            Event::LogLossAccepted { head_sequence, head_leaf, .. } => {
                found.accepted = Some((*head_sequence, head_leaf.to_string()));
            }
            _ => {}
        }
    }
}

fn note_unreadable(found: &mut Found, position: Position, error: &DecodeError) {
    found.is_newer = error.is_newer() && (found.is_newer || found.unreadable.is_none());
    if found.unreadable.is_none() {
        let way_on = match error.is_newer() {
            true => "start the doorbook that wrote it",
            false => "the database was changed; put the right one back, or restore a backup",
        };
        found.unreadable = Some((position.0, format!("{error}; {way_on}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_log::rig::{Rig, frame};

    /// This test program as the child.
    fn child() -> Probe {
        let name = concat!(module_path!(), "::the_side_of_the_child");
        let name = name.split_once("::").expect("a crate").1;
        let args = ["--quiet", "--nocapture", "--ignored", "--exact", name];
        Probe::Child {
            program: std::env::current_exe().expect("a program"),
            args: args.map(OsString::from).to_vec(),
        }
    }

    #[test]
    #[ignore = "run by the tests below, with the two arguments of a child"]
    fn the_side_of_the_child() {
        let args: Vec<OsString> = std::env::args_os().collect();
        if let [.., dir, at] = &args[..]
            && Path::new(dir).join("db").exists()
        {
            probe_child(&[dir.clone(), at.clone()]);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_child_says_what_this_process_would() {
        let rig = Rig::filled(9, true).await;
        let log = rig.path().join("log");
        for at in [None, Some(Position(0)), Some(Position(8)), Some(Position(9))] {
            let found = child().run(&log, at).expect("it is whole");
            assert_eq!(Ok(found.clone()), Probe::InProcess.run(&log, at));
            assert_eq!((found.end, found.behind, &found.broken), (Some(8), 0, &None));
            assert_eq!(found.leaf.is_some(), at.is_some_and(|at| at.0 < 9));
        }
        let found = child().run(&log, Some(Position(8))).expect("it is whole");
        assert_eq!(found.leaf, Some(leaf_hash(&frame(8)).to_string()));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_unclean_log_is_started_by_way_of_a_child() {
        let rig = Rig::filled(9, false).await;
        let settings = crate::event_log::start::StartSettings { probe: child(), ..rig.settings(false) };
        let Ok(crate::event_log::start::Begun::Existing(log)) = crate::event_log::start::begin(settings)
        else {
            panic!("there is a log");
        };
        let started = log.open().expect("a start");
        assert_eq!((started.head, started.clean), (Some(Position(8)), false));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_torn_database_that_takes_the_child_with_it_is_damage() {
        let rig = Rig::filled(9, false).await;
        std::fs::write(rig.db(), vec![0xA5; 9 << 20]).expect("torn");
        match child().run(&rig.path().join("log"), Some(Position(8))) {
            Ok(found) => assert_eq!(found.end, None),
            Err(fault) => assert!(fault.damage, "{fault}"),
        }
    }
}
