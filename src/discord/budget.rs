//! How many refusals we have caused lately: Discord bans an address for a day that causes too many.
//!
//! Ten thousand answers of 401, 403 or 429 within ten minutes are too many. We stop long before: what nobody waits
//! for at a twentieth of that, everything at a fifth.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Clock;

/// For how long a refusal counts.
const WINDOW: Duration = Duration::from_secs(600);

/// From so many on, what can wait is not called.
pub(super) const STRAINED: usize = 500;

/// From so many on, nothing is called.
pub(super) const SPENT: usize = 2_000;

/// The refusals of the last ten minutes.
pub(super) struct Budget {
    clock: Arc<dyn Clock>,
    refusals: Mutex<VecDeque<Duration>>,
}

impl Budget {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Budget {
        Budget { clock, refusals: Mutex::default() }
    }

    /// Notes an answer, if it is one that Discord counts.
    ///
    /// Discord does not count a limit that many share. We do: which one it was is for Discord to know.
    pub(super) fn note(&self, status: Option<u16>) {
        if matches!(status, Some(401 | 403 | 429)) {
            let mut refusals = self.recent();
            refusals.push_back(self.clock.monotonic());
            if refusals.len() == STRAINED {
                tracing::warn!(
                    refusals = STRAINED,
                    "Discord has refused many calls within ten minutes; what can wait is not asked for until they are fewer"
                );
            }
        }
    }

    /// Returns how long it takes until there are fewer than so many; zero where there are.
    pub(super) fn left(&self, limit: usize) -> Duration {
        let refusals = self.recent();
        let last = refusals.len().checked_sub(limit).and_then(|over| refusals.get(over));
        last.map_or(Duration::ZERO, |at| (*at + WINDOW).saturating_sub(self.clock.monotonic()))
    }

    fn recent(&self) -> MutexGuard<'_, VecDeque<Duration>> {
        // Every entry is whole, whoever panicked meanwhile.
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.monotonic();
        while refusals.front().is_some_and(|at| *at + WINDOW <= now) {
            refusals.pop_front();
        }
        refusals
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::domain::time::Timestamp;

    #[test]
    fn a_refusal_counts_for_ten_minutes_and_the_wait_is_until_enough_are_over() {
        let clock = ManualClock::new(Timestamp(0));
        let budget = Budget::new(Arc::new(clock.clone()));
        for status in [None, Some(200), Some(400), Some(404), Some(500)] {
            budget.note(status);
        }
        assert_eq!(budget.left(1), Duration::ZERO, "those do not count");
        for status in [401, 403, 429] {
            budget.note(Some(status));
            clock.advance(Duration::from_secs(60));
        }
        assert_eq!(budget.left(4), Duration::ZERO);
        assert_eq!(budget.left(3), Duration::from_secs(600 - 180), "the first has to be over");
        assert_eq!(budget.left(2), Duration::from_secs(600 - 120), "the first two");
        clock.advance(Duration::from_secs(600 - 180));
        assert_eq!((budget.left(3), budget.left(2)), (Duration::ZERO, Duration::from_secs(60)));
        clock.advance(Duration::from_secs(120));
        assert_eq!(budget.left(1), Duration::ZERO);
    }
}
