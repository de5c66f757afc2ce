//! How many files and connections this process may have open: what it needs is asked for, and what it gets counts.
//!
//! Many systems give a process a thousand, and let it have more. A server that runs out of them cannot open its own
//! files any more, nor reach Discord; so connections stop before that.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is kept for everything that is no connection of a client: the log, Discord, the control socket.
const KEPT: u64 = 256;

/// The fewest connections that make sense.
const FEWEST: u64 = 16;

/// Asks the system for room for so many connections, and returns how many there is room for.
pub(super) fn room_for(connections: usize) -> usize {
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX);
    let needed = wanted.saturating_add(KEPT);
    let limit = getrlimit(Resource::Nofile);
    let allowed = limit.maximum.unwrap_or(u64::MAX);
    let mut current = limit.current.unwrap_or(u64::MAX);
    if current < needed && current < allowed {
        let more = needed.min(allowed);
        match setrlimit(Resource::Nofile, Rlimit { current: Some(more), maximum: limit.maximum }) {
            Ok(()) => current = more,
            Err(error) => tracing::warn!(%error, "the limit of open files could not be raised"),
        }
    }
    let room = connections_within(current, wanted);
    if room < wanted {
        tracing::warn!(
            connections = room,
            open_files = current,
            "this system allows few open files, so few connections are taken at once; raise it (LimitNOFILE, ulimit -n)"
        );
    }
    usize::try_from(room).unwrap_or(usize::MAX)
}

/// Returns how many connections so many open files leave room for.
fn connections_within(open_files: u64, wanted: u64) -> u64 {
    // Where there are few, a part of them is kept.
    let kept = KEPT.min(open_files / 2);
    wanted.min(open_files.saturating_sub(kept)).max(FEWEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_room_for_the_rest() {
        assert_eq!(connections_within(20_000, 4_096), 4_096);
        assert_eq!(connections_within(4_096 + KEPT, 4_096), 4_096);
        assert_eq!(connections_within(1_024, 4_096), 1_024 - KEPT);
        assert_eq!(connections_within(256, 4_096), 128);
        assert_eq!(connections_within(10, 4_096), FEWEST);
    }
}
