//! `/healthz` and `/readyz`: is the process alive, and does it know its log?

use http::StatusCode;
use serde::Serialize;

use super::Gate;
use super::problem::Problem;
use super::reply::{self, Answer};

#[derive(Serialize)]
struct Alive {
    status: &'static str,
}

#[derive(Serialize)]
struct Ready {
    log: &'static str,
}

/// The process answers.
pub(super) fn alive(_: &Gate) -> Answer {
    Ok(reply::json(StatusCode::OK, &Alive { status: "alive" }))
}

/// The log has been replayed; whether it can be written is told besides.
///
/// It stays ready while the log cannot be written: sessions are checked in memory all the same.
pub(super) fn ready(gate: &Gate) -> Answer {
    let front = gate.front().ok_or(Problem::NotReady)?;
    let log = if front.app.log_is_available() { "ok" } else { "unavailable" };
    Ok(reply::json(StatusCode::OK, &Ready { log }))
}
