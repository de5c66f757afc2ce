//! Whether we may call at all: a global limit or a ban stops every call until it ends.
//!
//! Calling on during a ban is what makes Discord lengthen it, so nobody is asked and nothing is tried.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::error::CallError;
use super::{Outage, retry_after};
use crate::clock::Clock;
use crate::domain::event::OutageCause;
use crate::domain::time::Timestamp;

/// How many calls in a row must come to nothing before we say that Discord is away.
const FAILURES: u32 = 5;

/// The gate before all calls.
pub(super) struct Pause {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    outage: watch::Sender<Option<Outage>>,
}

#[derive(Default)]
struct State {
    stop: Option<Stop>,
    failures: u32,
}

/// A pause; it ends by the monotonic clock, so that a step of the wall clock neither cuts nor stretches it.
#[derive(Clone, Copy)]
struct Stop {
    cause: OutageCause,
    until: Timestamp,
    ends: Duration,
}

impl Pause {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Pause {
        Pause { clock, state: Mutex::default(), outage: watch::Sender::new(None) }
    }

    pub(super) fn watch(&self) -> watch::Receiver<Option<Outage>> {
        self.outage.subscribe()
    }

    /// Refuses a call while all calls are paused.
    pub(super) fn check(&self) -> Result<(), CallError> {
        match self.state().stop {
            Some(stop) if self.clock.monotonic() < stop.ends => {
                Err(CallError::Paused { cause: stop.cause, until: stop.until })
            }
            _ => Ok(()),
        }
    }

    /// Stops all calls for a while; a stop that ends later stays as it is.
    pub(super) fn stop(&self, cause: OutageCause, wait: Duration) {
        let mut state = self.state();
        let ends = self.clock.monotonic() + wait;
        state.failures = 0;
        let known = state.stop.filter(|stop| stop.ends > self.clock.monotonic());
        if known.is_some_and(|stop| stop.ends >= ends) {
            return;
        }
        // Rounded up: whoever starts again from the log must not start a millisecond early.
        let until = self.clock.now().plus(wait + Duration::from_micros(999));
        state.stop = Some(Stop { cause, until, ends });
        self.tell(Some(Outage { cause, until: Some(until) }));
        // Those who were under way find the same limit; one line is enough.
        if known.is_none() {
            tracing::warn!(%cause, %until, "all calls to Discord are paused");
        }
    }

    /// Takes up what the log says was going on when the last process ended.
    pub(super) fn resume(&self, outage: Outage) {
        let mut state = self.state();
        match outage.until {
            Some(until) => {
                // The wall clock may have been wrong when this was written, or be wrong now.
                let left = until.since(self.clock.now()).min(retry_after::LONGEST);
                let ends = self.clock.monotonic() + left;
                state.stop = Some(Stop { cause: outage.cause, until, ends });
            }
            None => state.failures = FAILURES,
        }
        self.tell(Some(outage));
    }

    /// Notes an answer that shows that Discord works, which ends an outage that is over.
    ///
    /// An answer to a call from before a pause does not end the pause.
    pub(super) fn answered(&self) {
        let mut state = self.state();
        state.failures = 0;
        if state.stop.is_some_and(|stop| self.clock.monotonic() < stop.ends) {
            return;
        }
        state.stop = None;
        if self.tell(None) {
            tracing::info!("Discord answers again");
        }
    }

    /// Notes a call that came to nothing: no answer, or one of trouble.
    pub(super) fn failed(&self) {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        let known = self.outage.borrow().is_some();
        if state.failures >= FAILURES && !known {
            self.tell(Some(Outage { cause: OutageCause::Unreachable, until: None }));
            tracing::warn!(failures = state.failures, "Discord is unreachable; trying on");
        }
    }

    /// Wakes those who watch, if this is news to them.
    fn tell(&self, outage: Option<Outage>) -> bool {
        self.outage.send_if_modified(|known| std::mem::replace(known, outage) != outage)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What is inside is replaced whole, so a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const START: Timestamp = Timestamp(1_767_323_045_000);
    const HOUR: Duration = Duration::from_secs(3600);

    fn pause() -> (ManualClock, Pause) {
        let clock = ManualClock::new(START);
        (clock.clone(), Pause::new(Arc::new(clock)))
    }

    fn outage(cause: OutageCause, until: Timestamp) -> Option<Outage> {
        Some(Outage { cause, until: Some(until) })
    }

    #[test]
    fn a_stop_ends_with_the_clock_and_the_outage_with_the_next_answer() {
        let (clock, pause) = pause();
        let told = pause.watch();
        pause.stop(OutageCause::CloudflareBan, HOUR);
        let until = START.plus(HOUR);
        let refused = Err(CallError::Paused { cause: OutageCause::CloudflareBan, until });
        assert_eq!(pause.check(), refused);

        pause.answered();
        assert_eq!(pause.check(), refused, "an answer to an older call ends nothing");
        clock.advance(HOUR - Duration::from_millis(1));
        assert_eq!(pause.check(), refused);
        clock.advance(Duration::from_millis(1));
        assert_eq!(pause.check(), Ok(()));
        assert_eq!(*told.borrow(), outage(OutageCause::CloudflareBan, until));
        pause.answered();
        assert_eq!(*told.borrow(), None);
    }

    #[test]
    fn a_stop_is_lengthened_and_never_shortened() {
        let (clock, pause) = pause();
        pause.stop(OutageCause::CloudflareBan, HOUR);
        pause.stop(OutageCause::GlobalRateLimit, Duration::from_secs(1));
        clock.advance(Duration::from_secs(2));
        assert!(pause.check().is_err());
        pause.stop(OutageCause::GlobalRateLimit, 2 * HOUR);
        clock.advance(HOUR);
        assert!(pause.check().is_err());
    }

    #[test]
    fn a_step_of_the_wall_clock_does_not_end_a_stop() {
        let (clock, pause) = pause();
        pause.stop(OutageCause::CloudflareBan, HOUR);
        clock.step_to(START.plus(2 * HOUR));
        assert!(pause.check().is_err());
    }

    #[test]
    fn a_restart_takes_up_the_stop_where_it_was() {
        let (clock, pause) = pause();
        pause.resume(Outage { cause: OutageCause::CloudflareBan, until: Some(START.plus(HOUR)) });
        assert!(pause.check().is_err());
        clock.advance(HOUR);
        assert_eq!(pause.check(), Ok(()));

        pause.resume(Outage { cause: OutageCause::CloudflareBan, until: Some(START) });
        assert_eq!(pause.check(), Ok(()), "it ended while we were away");
        assert!(pause.watch().borrow().is_some(), "but nobody has seen an answer yet");
        pause.answered();
        assert!(pause.watch().borrow().is_none());
    }

    #[test]
    fn a_stop_that_ends_in_a_hundred_years_is_not_believed() {
        let (clock, pause) = pause();
        let until = START.plus(HOUR * 24 * 36_500);
        pause.resume(Outage { cause: OutageCause::GlobalRateLimit, until: Some(until) });
        clock.advance(HOUR * 24);
        assert_eq!(pause.check(), Ok(()));
    }

    #[test]
    fn five_failures_in_a_row_are_an_outage_that_stops_nothing() {
        let (_, pause) = pause();
        let mut told = pause.watch();
        (0..4).for_each(|_| pause.failed());
        pause.answered();
        (0..4).for_each(|_| pause.failed());
        assert!(!told.has_changed().expect("the sender lives"));
        pause.failed();
        assert_eq!(*told.borrow_and_update(), Some(Outage { cause: OutageCause::Unreachable, until: None }));
        pause.failed();
        assert!(!told.has_changed().expect("the sender lives"), "the sixth is no news");
        assert_eq!(pause.check(), Ok(()));
        pause.answered();
        assert_eq!(*told.borrow_and_update(), None);
    }

    #[test]
    fn an_end_is_rounded_up_to_the_millisecond() {
        let (_, pause) = pause();
        pause.stop(OutageCause::GlobalRateLimit, Duration::from_micros(1_001));
        let until = pause.watch().borrow().and_then(|outage| outage.until);
        assert_eq!(until, Some(START.plus(Duration::from_millis(2))));
    }
}
