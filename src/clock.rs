//! What time it is: passed in, so that tests can move it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::domain::time::Timestamp;

/// A wall clock, a monotonic clock, and a way to wait.
pub trait Clock: Send + Sync + 'static {
    /// Returns the wall-clock time.
    fn now(&self) -> Timestamp;

    /// Returns the time since some fixed moment; it never goes back.
    fn monotonic(&self) -> Duration;

    /// Waits.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// The clock of the machine.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// Returns the clock of the machine.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
    pub fn new() -> SystemClock {
        SystemClock { started: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A clock that stands still until it is told to move; for tests and for the stand-in.
#[derive(Debug, Clone)]
pub struct ManualClock {
    state: Arc<watch::Sender<Reading>>,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    wall: Timestamp,
    monotonic: Duration,
}

impl ManualClock {
    /// Returns a clock that stands at `wall`.
    pub fn new(wall: Timestamp) -> ManualClock {
        ManualClock { state: Arc::new(watch::Sender::new(Reading { wall, monotonic: Duration::ZERO })) }
    }

    /// Moves both clocks on, and wakes whoever has waited long enough.
    pub fn advance(&self, by: Duration) {
        self.state.send_modify(|reading| {
            reading.wall = reading.wall.plus(by);
            reading.monotonic += by;
        });
    }

    /// Sets the wall clock alone, as an administrator or a time server would.
    pub fn step_to(&self, wall: Timestamp) {
        self.state.send_modify(|reading| reading.wall = wall);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.state.borrow().wall
    }

    fn monotonic(&self) -> Duration {
        self.state.borrow().monotonic
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let mut readings = self.state.subscribe();
        let until = self.monotonic() + duration;
        Box::pin(async move {
            // The sender lives in the clock; once it is gone nobody can move time any more.
            if readings.wait_for(|reading| reading.monotonic >= until).await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}

/// The monotonic clock, as rate limiters read it.
#[derive(Clone)]
pub struct Ticks(pub Arc<dyn Clock>);

impl governor::clock::Clock for Ticks {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.monotonic()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manual_clock_wakes_sleepers_when_it_is_moved() {
        let clock = ManualClock::new(Timestamp(1_000));
        let sleeper = tokio::spawn(clock.sleep(Duration::from_secs(5)));
        clock.advance(Duration::from_secs(4));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.advance(Duration::from_secs(1));
        sleeper.await.expect("the sleeper wakes");
        assert_eq!(clock.now(), Timestamp(6_000));
    }

    #[test]
    fn a_step_moves_the_wall_clock_alone() {
        let clock = ManualClock::new(Timestamp(1_000));
        clock.step_to(Timestamp(9_000));
        assert_eq!((clock.now(), clock.monotonic()), (Timestamp(9_000), Duration::ZERO));
    }
}
