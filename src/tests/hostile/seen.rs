//! What the system says of a process: its memory, its open files, its threads, and how much its files take.

use std::fmt;
use std::path::Path;

use crate::harness::Process;

/// A look at a process.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Resident, in KiB.
    pub memory: u64,
    /// Open files and connections.
    pub descriptors: usize,
    /// Threads.
    pub threads: u64,
}

impl Seen {
    /// Looks at a process that runs.
    pub fn of(process: &Process) -> Seen {
        let proc = format!("/proc/{}", process.id());
        let status = std::fs::read_to_string(format!("{proc}/status")).expect("it runs");
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of that name");
            line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
        };
        Seen {
            memory: number("VmRSS:"),
            descriptors: std::fs::read_dir(format!("{proc}/fd")).expect("it runs").count(),
            threads: number("Threads:"),
        }
    }

    /// Asserts that it takes less than so much more memory than it did.
    #[track_caller]
    pub fn has_grown_by_less_than(&self, mib: u64, before: &Seen) {
        let grown = self.memory.saturating_sub(before.memory);
        assert!(grown < mib * 1_024, "{mib} MiB are the most: before {before}, now {self}");
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Seen { memory, descriptors, threads } = self;
        write!(f, "{} MiB, {descriptors} descriptors, {threads} threads", memory / 1_024)
    }
}

/// Returns how many bytes the files below a directory take.
pub fn bytes_below(dir: &Path) -> u64 {
    let mut bytes = 0;
    // What goes while it is looked at takes nothing.
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        bytes += match entry.metadata() {
            Ok(found) if found.is_dir() => bytes_below(&entry.path()),
            Ok(found) => found.len(),
            Err(_) => 0,
        };
    }
    bytes
}
