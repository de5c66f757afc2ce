//! Stories through public doors only: real sockets, a real log on disk, a local Discord.

#![allow(unreachable_pub, reason = "a test target has no inside and outside")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a story that cannot go on has failed")]

mod app_cookie;
mod audit;
mod bad_input;
mod canary;
mod certificates;
mod command_line;
mod copies;
mod discord_trouble;
mod documents;
mod erasure;
mod exchanges;
mod fire;
mod forward_auth;
mod golden;
mod gone;
mod guard_traces;
mod guarded;
mod harness;
mod hostile;
mod keys;
mod login;
mod memberships;
mod properties;
mod proxies;
mod recheck;
mod refresh;
mod refused;
mod reload;
mod restart;
mod revoke;
mod sessions;
mod storage;
mod tampering;
mod tickets;
mod tidy;
mod webhook;

/// Compares with `snapshots/NAME.snap`; nothing in a story is random, so nothing is filtered.
macro_rules! snapshot {
    ($name:expr, $text:expr) => {
        $crate::harness::settings().bind(|| insta::assert_snapshot!($name, $text))
    };
}
pub(crate) use snapshot;
