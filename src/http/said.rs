//! Traces that would repeat with every request: each is said once a minute.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;

use crate::clock::Clock;

const A_MINUTE: Duration = Duration::from_secs(60);

/// Of how many it is remembered when they were last said; who makes more of them up has them repeated.
const REMEMBERED: NonZeroUsize = match NonZeroUsize::new(4_096) {
    Some(remembered) => remembered,
    None => NonZeroUsize::MIN,
};

/// The most that is said in a minute, so that nobody fills a disk with traces by asking for many hosts.
const MOST: usize = 120;

/// What has been said lately.
pub(super) struct Said {
    clock: Arc<dyn Clock>,
    last: Mutex<Last>,
}

struct Last {
    of: LruCache<u64, Duration>,
    minute: u64,
    in_minute: usize,
}

impl Said {
    /// Returns a memory of nothing.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Said {
        let last = Last { of: LruCache::sparse(REMEMBERED), minute: 0, in_minute: 0 };
        Said { clock, last: Mutex::new(last) }
    }

    /// Returns whether this may be said now, and notes that it is.
    pub(super) fn is_due(&self, what: impl Hash) -> bool {
        let mut hasher = DefaultHasher::new();
        what.hash(&mut hasher);
        let what = hasher.finish();
        let now = self.clock.monotonic();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.of.get(&what).is_some_and(|said| now.saturating_sub(*said) < A_MINUTE) {
            return false;
        }
        let minute = now.as_secs() / 60;
        if last.minute != minute {
            (last.minute, last.in_minute) = (minute, 0);
        }
        last.in_minute += 1;
        if last.in_minute > MOST {
            return false;
        }
        last.of.put(what, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::domain::time::Timestamp;

    #[test]
    fn each_is_said_once_a_minute_and_not_too_many_in_all() {
        let clock = ManualClock::new(Timestamp(0));
        let said = Said::new(Arc::new(clock.clone()));
        assert!(said.is_due(("a", 1)) && said.is_due(("a", 2)) && !said.is_due(("a", 1)));
        clock.advance(Duration::from_secs(59));
        assert!(!said.is_due(("a", 1)));
        clock.advance(Duration::from_secs(1));
        assert!(said.is_due(("a", 1)));
        let more = (0..1_000).filter(|n| said.is_due(n)).count();
        assert_eq!(more, MOST - 1);
        clock.advance(A_MINUTE);
        assert!(said.is_due("b"));
    }
}
