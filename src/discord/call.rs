//! One call from its first byte to its last: connections, the deadline, and the few retries there are.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use reqwest::RequestBuilder;

use super::answer::{self, Answer, Failure, Family};
use super::error::CallError;
use super::pause::Pause;
use crate::clock::Clock;
use crate::entropy::Entropy;

/// How long a call may take: connecting, waiting, repeating and reading included.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// How often a call that changes nothing is repeated.
const REPEATS: u32 = 2;

/// The middle of the first wait before a repetition; the next is three times as long.
const BACK_OFF: Duration = Duration::from_millis(200);

/// What must be left of the deadline for a further attempt to make sense.
const LEAST: Duration = Duration::from_millis(500);

/// What is called, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    /// For traces.
    pub(super) name: &'static str,
    /// How refusals look.
    pub(super) family: Family,
    /// Whether asking twice does no harm.
    pub(super) repeatable: bool,
}

/// Makes calls, unless all calls are paused.
pub(super) struct Caller {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) pause: Pause,
}

impl Caller {
    /// Makes a call and reads what it gives.
    ///
    /// A 429 is waited out once where that fits the deadline: it was refused before anything was done.
    /// Trouble is tried again only where the call is repeatable.
    pub(super) async fn call<T>(
        &self,
        call: Call,
        request: impl Fn() -> RequestBuilder,
        parse: impl Fn(&[u8]) -> Result<T, super::Unreadable>,
    ) -> Result<T, CallError> {
        let started = self.clock.monotonic();
        let elapsed = || self.clock.monotonic().saturating_sub(started);
        let (mut repeats, mut has_waited) = (0, false);
        let error = loop {
            if let Err(error) = self.pause.check() {
                break error;
            }
            let Failure { error, wait, stop } = match self.attempt(call, &request, elapsed()).await {
                Ok(answer) => match parse(&answer.body) {
                    Ok(value) => {
                        self.pause.answered();
                        return Ok(value);
                    }
                    Err(why) => CallError::Unreadable { status: answer.status, why }.into(),
                },
                Err(failure) => failure,
            };
            self.note(&error, stop);
            let wait = match wait {
                Some(wait) if !has_waited => {
                    has_waited = true;
                    wait
                }
                _ if call.repeatable && error.is_passing() && repeats < REPEATS => {
                    repeats += 1;
                    self.back_off(repeats)
                }
                _ => break error,
            };
            if elapsed() + wait + LEAST > DEADLINE {
                break error;
            }
            self.clock.sleep(wait).await;
        };
        trace(call, &error, repeats, elapsed());
        Err(error)
    }

    async fn attempt(
        &self,
        call: Call,
        request: impl Fn() -> RequestBuilder,
        elapsed: Duration,
    ) -> Result<Answer, Failure> {
        let left = DEADLINE.saturating_sub(elapsed);
        match request().timeout(left).send().await {
            Ok(response) => answer::read(response, call.family).await,
            Err(error) => Err(broken(call, &error).into()),
        }
    }

    /// Lets all other calls know what this one has shown.
    fn note(&self, error: &CallError, stop: Option<(crate::domain::event::OutageCause, Duration)>) {
        match (stop, error) {
            (Some((cause, wait)), _) => self.pause.stop(cause, wait),
            (None, error) if error.is_passing() => self.pause.failed(),
            // Somebody answered, but not as Discord does.
            (None, CallError::Unreadable { .. }) => {}
            (None, _) => self.pause.answered(),
        }
    }

    /// Returns a random wait, so that many who failed together do not come back together.
    fn back_off(&self, repeats: u32) -> Duration {
        let middle = BACK_OFF * 3_u32.pow(repeats - 1);
        let draw = u16::from_be_bytes(self.entropy.draw());
        middle / 2 + middle * u32::from(draw) / u32::from(u16::MAX)
    }
}

/// Says what became of a request that got no answer.
fn broken(call: Call, error: &reqwest::Error) -> CallError {
    // A call that changes something has a connection of its own, so what fails before it stands has
    // certainly not been sent.
    let sent = !error.is_connect() && !error.is_builder();
    tracing::debug!(call = call.name, sent, cause = root(error), "a call to Discord broke");
    if error.is_timeout() { CallError::TimedOut { sent } } else { CallError::Unreachable { sent } }
}

/// Returns the innermost reason, for example "connection refused"; it holds neither address nor secret.
fn root(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = match error.source() {
        Some(source) => source,
        None => return "unknown".into(),
    };
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn trace(call: Call, error: &CallError, repeats: u32, took: Duration) {
    let (call, status, took_ms) = (call.name, error.status(), took.as_millis());
    let code = error.failure_code();
    match error {
        CallError::Paused { .. } => tracing::debug!(call, %error, "Discord was not called"),
        CallError::ClientRejected { .. } => {
            tracing::error!(
                call,
                status,
                "Discord refuses our client id or secret: check DISCORD_OAUTH_CLIENT_ID and DISCORD_OAUTH_SECRET"
            );
        }
        CallError::Refused { .. } | CallError::Unauthorized => {
            tracing::info!(call, status, %code, took_ms, %error, "Discord refused a call");
        }
        _ => tracing::warn!(call, status, %code, repeats, took_ms, %error, "a call to Discord failed"),
    }
}
