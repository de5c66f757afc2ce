//! One call from its first byte to its last: connections, the deadline, and the few retries there are.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use reqwest::RequestBuilder;

use super::answer::{self, Answer, Failure, Family};
use super::budget::{Budget, SPENT};
use super::error::CallError;
use super::limits::{Limits, Route};
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
    /// What a limit that it meets binds.
    pub(super) route: Route,
    /// How refusals look.
    pub(super) family: Family,
    /// Codes with which a 404 is an answer and no failure.
    pub(super) absent: &'static [i64],
    /// Whether asking twice does no harm.
    pub(super) repeatable: bool,
}

/// Makes calls, unless all calls are paused or those of the same route are limited.
pub(super) struct Caller {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) pause: Pause,
    pub(super) limits: Limits,
    pub(super) budget: Budget,
}

impl Caller {
    /// Makes a call and reads what it gives.
    ///
    /// A limit is waited out once where that fits the deadline, whether this call met it (it was refused
    /// before anything was done) or one before it. Trouble is tried again only where the call is repeatable.
    pub(super) async fn call<T>(
        &self,
        call: Call,
        request: impl Fn() -> RequestBuilder,
        parse: impl Fn(&Answer) -> Result<T, super::Unreadable>,
    ) -> Result<T, CallError> {
        let started = self.clock.monotonic();
        let elapsed = || self.clock.monotonic().saturating_sub(started);
        let fits = |wait| elapsed() + wait + LEAST <= DEADLINE;
        let (mut sent, mut repeats, mut has_waited) = (false, 0, false);
        let error = loop {
            if let Err(error) = self.pause.check() {
                break error;
            }
            let left = self.budget.left(SPENT);
            if !left.is_zero() {
                break CallError::Exhausted { retry_after: left };
            }
            let left = self.limits.left(call.route);
            if !left.is_zero() {
                if has_waited || !fits(left) {
                    break CallError::RateLimited { retry_after: left, global: false };
                }
                has_waited = true;
                self.clock.sleep(left).await;
                continue;
            }
            sent = true;
            let Failure { error, wait, stop } = match self.attempt(call, &request, elapsed()).await {
                Ok(answer) => match parse(&answer) {
                    Ok(value) => {
                        self.pause.answered();
                        return Ok(value);
                    }
                    Err(why) => CallError::Unreadable { status: answer.status, why }.into(),
                },
                Err(failure) => failure,
            };
            self.note(call, &error, stop);
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
            if !fits(wait) {
                break error;
            }
            self.clock.sleep(wait).await;
        };
        trace(call, &error, sent, repeats, elapsed());
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
            Ok(response) => answer::read(response, call.family, call.absent).await,
            Err(error) => Err(broken(call, &error).into()),
        }
    }

    /// Lets all other calls know what this one has shown.
    fn note(
        &self,
        call: Call,
        error: &CallError,
        stop: Option<(crate::domain::event::OutageCause, Duration)>,
    ) {
        self.budget.note(error.status());
        if let CallError::RateLimited { retry_after, global: false } = *error {
            self.limits.met(call.route, retry_after);
        }
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

fn trace(call: Call, error: &CallError, sent: bool, repeats: u32, took: Duration) {
    let (call, status, took_ms) = (call.name, error.status(), took.as_millis());
    let code = error.failure_code();
    match error {
        CallError::Paused { .. } | CallError::Exhausted { .. } => {
            tracing::debug!(call, %error, "Discord was not called");
        }
        // Whoever met the limit has said so.
        CallError::RateLimited { .. } if !sent => tracing::debug!(call, %error, "Discord was not called"),
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

#[cfg(test)]
mod tests {
    use super::super::scripted::{
        Act, EagerClock, Rig, START, answer, client, fixture, good_token, good_user, json, secs,
    };
    use super::super::{Outage, Unreadable};
    use super::*;
    use crate::domain::event::OutageCause;
    use crate::domain::id::Secret;
    use crate::domain::scopes::Scopes;

    #[tokio::test]
    async fn a_question_is_repeated_twice_with_growing_jittered_waits() {
        let trouble = || Act::Say(answer(502, &["Connection: close"], fixture!("bad_gateway.html")));
        let rig = Rig::new([trouble(), trouble(), good_user()]).await;
        assert!(rig.user().await.is_ok());
        let waits = rig.clock.waits();
        assert_eq!(waits.len(), 2);
        assert!((secs(0.1)..=secs(0.3)).contains(&waits[0]), "{waits:?}");
        assert!((secs(0.3)..=secs(0.9)).contains(&waits[1]), "{waits:?}");

        let rig = Rig::new([trouble(), trouble(), trouble(), good_user()]).await;
        assert_eq!(rig.user().await.err(), Some(CallError::ServerError { status: 502 }));
        assert_eq!(rig.calls(), 3);
    }

    #[tokio::test]
    async fn what_changes_something_is_never_sent_twice() {
        let cut = answer(200, &[], fixture!("token.json")).replace("identify email\"}", "");
        let acts = || {
            [
                (json(500, fixture!("internal_server_error.json")), CallError::ServerError { status: 500 }),
                (
                    Act::Say(answer(503, &[], fixture!("envoy_503.txt"))),
                    CallError::ServerError { status: 503 },
                ),
                (Act::Reset(String::new()), CallError::Unreachable { sent: true }),
                (Act::Say(String::new()), CallError::Unreachable { sent: true }),
                (Act::Say(cut.clone()), CallError::Unreachable { sent: true }),
                (Act::Reset(cut.clone()), CallError::Unreachable { sent: true }),
                (json(200, "<html>"), CallError::Unreadable { status: 200, why: Unreadable::Malformed }),
            ]
        };
        for (act, expected) in acts() {
            let rig = Rig::new([act, good_token()]).await;
            let error = rig.exchange().await.expect_err("it fails");
            assert_eq!((error, error.outcome_unknown(), rig.calls()), (expected, true, 1));
        }
        for (act, expected) in acts() {
            let rig = Rig::new([act, good_token()]).await;
            assert_eq!((rig.refresh().await, rig.calls()), (Err(expected), 1));
        }
        for (act, expected) in acts() {
            let rig = Rig::new([act, json(200, "{}")]).await;
            let result = rig.client.revoke(&Secret::new("refresh-1")).await;
            // The cut answer is too short for its length, whatever it says.
            assert_eq!((result, rig.calls()), (Err(expected), 1));
        }
    }

    #[tokio::test]
    async fn without_a_connection_nothing_was_sent() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback is there");
        let address = listener.local_addr().expect("it is bound");
        drop(listener);
        let clock = EagerClock::new(START);
        let client = client(&format!("http://{address}"), clock.clone());
        let error =
            client.refresh(&Secret::new("refresh-1"), &Scopes::default()).await.expect_err("nobody is there");
        assert_eq!((error, error.outcome_unknown()), (CallError::Unreachable { sent: false }, false));
        assert_eq!(clock.waits().len(), 0);
        let error = client.current_user(&Secret::new("access-1")).await.err();
        assert_eq!(error, Some(CallError::Unreachable { sent: false }));
        assert_eq!(clock.waits().len(), 2);
    }

    #[tokio::test]
    async fn a_short_limit_is_waited_out_once() {
        let limited = || {
            let headers = ["Retry-After: 2", "X-RateLimit-Scope: user", "Connection: close"];
            Act::Say(answer(429, &headers, fixture!("rate_limited.json")))
        };
        let rig = Rig::new([limited(), good_user()]).await;
        assert!(rig.user().await.is_ok());
        assert_eq!(rig.clock.waits(), [secs(2.0)]);

        let rig = Rig::new([limited(), good_token()]).await;
        assert!(rig.refresh().await.is_ok(), "what was limited was not done");
        assert_eq!(rig.clock.waits(), [secs(2.0)]);

        let rig = Rig::new([limited(), limited(), good_user()]).await;
        let expected = CallError::RateLimited { retry_after: secs(2.0), global: false };
        assert_eq!(rig.user().await.err(), Some(expected));
        assert_eq!((rig.calls(), rig.clock.waits().len()), (2, 1));
    }

    #[tokio::test]
    async fn a_limit_longer_than_the_deadline_is_the_callers_to_wait_for() {
        let rig = Rig::new([limited(9.6)]).await;
        let expected = CallError::RateLimited { retry_after: secs(9.6), global: false };
        assert_eq!(rig.user().await.err(), Some(expected));
        assert_eq!(rig.clock.waits().len(), 0);
    }

    fn limited(seconds: f64) -> Act {
        json(429, &format!(r#"{{"retry_after": {seconds}, "global": false}}"#))
    }

    #[tokio::test]
    async fn a_limit_that_one_call_met_is_not_tried_by_the_next() {
        let rig = Rig::new([limited(90.0), good_user(), good_user()]).await;
        let expected = |left| CallError::RateLimited { retry_after: secs(left), global: false };
        assert_eq!(rig.user().await.err(), Some(expected(90.0)));
        rig.clock.clock.advance(secs(30.0));
        assert_eq!(rig.user().await.err(), Some(expected(60.0)), "what is left of it");
        assert_eq!((rig.calls(), rig.clock.waits().len()), (1, 0));
        let other = rig.client.current_user(&Secret::new("access-2")).await;
        assert!(other.is_ok(), "another token has a limit of its own");

        rig.clock.clock.advance(secs(55.0));
        assert!(rig.user().await.is_ok());
        assert_eq!((rig.calls(), rig.clock.waits()), (3, vec![secs(5.0)]), "a short rest is waited out");
    }

    #[tokio::test]
    async fn a_limit_of_the_token_endpoint_binds_whatever_is_sent_there_and_nothing_else() {
        let rig = Rig::new([limited(90.0), json(200, "{}"), good_user(), good_token()]).await;
        let expected = CallError::RateLimited { retry_after: secs(90.0), global: false };
        assert_eq!(rig.refresh().await, Err(expected));
        assert_eq!(rig.client.refresh(&Secret::new("refresh-2"), &Scopes::default()).await, Err(expected));
        assert_eq!(rig.exchange().await, Err(expected), "the code is kept for later");
        assert_eq!(rig.client.client_credentials().await, Err(expected));
        assert_eq!((rig.calls(), expected.outcome_unknown()), (1, false));
        assert_eq!(rig.client.revoke(&Secret::new("refresh-1")).await, Ok(()));
        assert!(rig.user().await.is_ok());
        rig.clock.clock.advance(secs(90.0));
        assert!(rig.exchange().await.is_ok());
        assert_eq!(rig.clock.waits().len(), 0);
    }

    #[tokio::test]
    async fn a_call_waits_once_whoever_met_the_limit() {
        let rig = Rig::new([limited(9.6), limited(0.5), good_user()]).await;
        let expected = |left| CallError::RateLimited { retry_after: secs(left), global: false };
        assert_eq!(rig.user().await.err(), Some(expected(9.6)));
        rig.clock.clock.advance(secs(8.6));
        assert_eq!(rig.user().await.err(), Some(expected(0.5)), "it had waited for the first one");
        assert_eq!((rig.calls(), rig.clock.waits()), (2, vec![secs(1.0)]));
    }

    #[tokio::test]
    async fn a_limit_that_does_not_say_how_long_binds_the_next_call_for_a_moment() {
        let shared = answer(429, &["X-RateLimit-Scope: shared", "Connection: close"], "{}");
        let rig = Rig::new([Act::Say(shared), good_user()]).await;
        assert_eq!(rig.user().await.err().and_then(|error| error.status()), Some(429));
        assert!(rig.user().await.is_ok());
        assert_eq!((rig.calls(), rig.clock.waits()), (2, vec![secs(5.0)]));
    }

    #[tokio::test]
    async fn waiting_and_answering_share_one_deadline() {
        let rig = Rig::new([limited(9.4), Act::Hold(String::new())]).await;
        // By the real clock, because the transport keeps to that.
        let in_time = |call| tokio::time::timeout(secs(5.0), call);
        let error = in_time(rig.exchange()).await.expect("600 ms are left").expect_err("nobody answers");
        assert_eq!((error, error.outcome_unknown()), (CallError::TimedOut { sent: true }, true));

        let half = answer(200, &[], fixture!("user.json")).replace("\"verified\": true\n}\n", "");
        let rig = Rig::new([limited(9.4), Act::Hold(half)]).await;
        assert_eq!(rig.user().await.err(), Some(CallError::TimedOut { sent: true }));
    }

    #[tokio::test]
    async fn a_blocked_user_agent_pauses_every_call() {
        let rig = Rig::new([json(403, fixture!("cloudflare_40333.json"))]).await;
        assert_eq!(rig.user().await.err(), Some(CallError::Unexpected { status: 403, code: Some(40333) }));
        assert!(matches!(rig.user().await, Err(CallError::Paused { .. })));
        assert_eq!(rig.calls(), 1);
    }

    #[tokio::test]
    async fn being_unreachable_is_told_and_pauses_nothing() {
        let resets = (0..6).map(|_| Act::Reset(String::new()));
        let rig = Rig::new(resets.chain([good_token()])).await;
        let told = rig.client.outage();
        for _ in 0..4 {
            let _ = rig.refresh().await;
        }
        assert_eq!(*told.borrow(), None);
        let _ = rig.refresh().await;
        assert_eq!(*told.borrow(), Some(Outage { cause: OutageCause::Unreachable, until: None }));
        let _ = rig.refresh().await;
        rig.refresh().await.expect("it was tried all the time");
        assert_eq!(*told.borrow(), None);
    }

    #[tokio::test]
    async fn a_refusal_shows_that_discord_works_and_a_foreign_page_does_not() {
        let resets = (0..5).map(|_| Act::Reset(String::new()));
        let answers = [json(200, "<html>"), json(400, fixture!("invalid_grant.json"))];
        let rig = Rig::new(resets.chain(answers)).await;
        let told = rig.client.outage();
        for _ in 0..6 {
            rig.refresh().await.expect_err("no answer, then a foreign one");
        }
        assert!(told.borrow().is_some());
        rig.refresh().await.expect_err("refused");
        assert_eq!(*told.borrow(), None);
    }

    #[tokio::test]
    async fn no_more_than_a_mebibyte_is_read() {
        let endless = |status| Act::Endless(format!("HTTP/1.1 {status} -\r\n\r\n"));
        let rig = Rig::new([endless(200), endless(500)]).await;
        let why = Unreadable::TooLong;
        assert_eq!(rig.exchange().await, Err(CallError::Unreadable { status: 200, why }));
        assert_eq!(rig.exchange().await, Err(CallError::ServerError { status: 500 }));

        let padded = |length: usize| {
            let user = fixture!("user.json");
            json(200, &format!("{user}{}", " ".repeat(length - user.len())))
        };
        let rig = Rig::new([padded(1024 * 1024), padded(1024 * 1024 + 1)]).await;
        assert!(rig.user().await.is_ok());
        assert_eq!(rig.user().await.err(), Some(CallError::Unreadable { status: 200, why }));
    }

    #[tokio::test]
    async fn a_limit_counts_even_if_its_body_is_cut() {
        let whole = answer(429, &["Retry-After: 3"], fixture!("rate_limited.json"));
        let rig = Rig::new([Act::Say(whole.replace("\"global\": false}", "")), good_user()]).await;
        assert!(rig.user().await.is_ok());
        assert_eq!(rig.clock.waits(), [secs(3.0)]);
        assert_eq!(*rig.client.outage().borrow(), None);
    }

    #[tokio::test]
    async fn a_failed_call_leaves_one_trace_and_no_secret_in_it() {
        let body = r#"{"error": "invalid_grant", "error_description": "canary-body"}"#;
        let acts = [json(400, body), json(502, body), json(200, body), Act::Reset("canary-body".into())];
        for act in acts {
            let rig = Rig::new([act]).await;
            let traces = Traces::default();
            let writer = traces.clone();
            let listening = subscriber(move || writer.clone());
            // With a second one alive, tests on other threads that reach a trace first cannot switch it off.
            let _second = subscriber(std::io::sink);
            let guard = tracing::dispatcher::set_default(&listening);
            rig.client
                .exchange_code(&Secret::new("canary-code"), &Secret::new("canary-verifier"), &[])
                .await
                .expect_err("none of them is good");
            drop(guard);
            let text =
                String::from_utf8(traces.0.lock().expect("nobody panics with it").clone()).expect("text");
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(text.contains("call=\"exchange_code\"") && text.contains("took_ms="), "{text}");
            for secret in ["canary", "s3cret", "1457667441164427281"] {
                assert!(!text.contains(secret), "{text}");
            }
        }
    }

    fn subscriber<W>(writer: W) -> tracing::Dispatch
    where
        W: for<'a> tracing_subscriber::fmt::MakeWriter<'a> + Send + Sync + 'static,
    {
        let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_ansi(false);
        tracing::Dispatch::new(subscriber.with_writer(writer).finish())
    }

    #[derive(Clone, Default)]
    struct Traces(Arc<std::sync::Mutex<Vec<u8>>>);

    impl std::io::Write for Traces {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("nobody panics with it").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_call_can_run_in_a_task_of_its_own() {
        let rig = Rig::new([good_token()]).await;
        let client = Arc::new(rig.client);
        let task =
            tokio::spawn(async move { client.refresh(&Secret::new("refresh-1"), &Scopes::default()).await });
        assert!(task.await.expect("it does not panic").is_ok());
    }
}
