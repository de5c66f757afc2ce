//! Which calls must wait: the limit of one route binds every further call of it until it ends.
//!
//! A call that is answered with 429 counts against us, and many of them end in a ban. So what one call has
//! met is not tried by the next.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::retry_after;
use crate::clock::Clock;
use crate::domain::id::Hash;

/// Limits that are remembered at the same time.
const REMEMBERED: usize = 4_096;

/// What a limit binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Route {
    /// The path below the base of the API.
    pub(super) path: &'static str,
    /// The fingerprint of the access token; `None` where we show our own id and secret.
    pub(super) access: Option<Hash>,
}

/// The routes that are limited, each until a moment of the monotonic clock.
pub(super) struct Limits {
    clock: Arc<dyn Clock>,
    ends: Mutex<HashMap<Route, Duration>>,
}

impl Limits {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Limits {
        Limits { clock, ends: Mutex::default() }
    }

    /// Returns how long a route must still be left alone; zero where it may be called.
    pub(super) fn left(&self, route: Route) -> Duration {
        let end = self.ends().get(&route).copied().unwrap_or_default();
        end.saturating_sub(self.clock.monotonic())
    }

    /// Remembers what a 429 said; a limit that ends later stays as it is.
    pub(super) fn met(&self, route: Route, wait: Duration) {
        let now = self.clock.monotonic();
        let end = now + wait.min(retry_after::LONGEST);
        let mut ends = self.ends();
        if ends.len() >= REMEMBERED && !ends.contains_key(&route) {
            ends.retain(|_, end| *end > now);
            // With all of them in force, the one that ends first is the least to lose.
            if ends.len() >= REMEMBERED
                && let Some(first) = ends.iter().min_by_key(|(_, end)| **end).map(|(route, _)| *route)
            {
                ends.remove(&first);
            }
        }
        let known = ends.entry(route).or_default();
        *known = end.max(*known);
    }

    fn ends(&self) -> MutexGuard<'_, HashMap<Route, Duration>> {
        // Every entry is whole, whoever panicked meanwhile.
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::domain::time::Timestamp;

    const SECOND: Duration = Duration::from_secs(1);

    fn limits() -> (ManualClock, Limits) {
        let clock = ManualClock::new(Timestamp(1_767_323_045_000));
        (clock.clone(), Limits::new(Arc::new(clock)))
    }

    fn of(token: usize) -> Route {
        Route { path: "users/@me", access: Some(Hash::of(&token.to_be_bytes())) }
    }

    #[test]
    fn a_limit_ends_with_the_monotonic_clock() {
        let (clock, limits) = limits();
        limits.met(of(1), 3 * SECOND);
        clock.step_to(Timestamp(1_967_323_045_000));
        clock.advance(SECOND);
        assert_eq!(limits.left(of(1)), 2 * SECOND);
        clock.advance(2 * SECOND);
        assert_eq!(limits.left(of(1)), Duration::ZERO);
    }

    #[test]
    fn a_limit_binds_one_path_and_one_token() {
        let (_, limits) = limits();
        let own = Route { path: "oauth2/token", access: None };
        limits.met(of(1), SECOND);
        limits.met(own, SECOND);
        assert_eq!((limits.left(of(1)), limits.left(own)), (SECOND, SECOND));
        let elsewhere = "users/@me/guilds";
        for other in [of(2), Route { path: elsewhere, ..of(1) }, Route { path: elsewhere, ..own }] {
            assert_eq!(limits.left(other), Duration::ZERO, "{other:?}");
        }
    }

    #[test]
    fn a_limit_is_lengthened_and_never_shortened() {
        let (_, limits) = limits();
        limits.met(of(1), 3 * SECOND);
        limits.met(of(1), SECOND);
        assert_eq!(limits.left(of(1)), 3 * SECOND);
        limits.met(of(1), 4 * SECOND);
        assert_eq!(limits.left(of(1)), 4 * SECOND);
        limits.met(of(1), Duration::MAX);
        assert_eq!(limits.left(of(1)), retry_after::LONGEST, "a day is the most that is believed");
    }

    #[test]
    fn what_is_over_is_forgotten_before_what_is_in_force() {
        let (clock, limits) = limits();
        limits.met(of(0), 3600 * SECOND);
        (1..REMEMBERED).for_each(|token| limits.met(of(token), SECOND));
        clock.advance(SECOND);
        limits.met(of(REMEMBERED), SECOND);
        assert_eq!(limits.ends().len(), 2);

        (1..REMEMBERED).for_each(|token| limits.met(of(token), 2 * SECOND));
        assert_eq!(limits.ends().len(), REMEMBERED);
        assert_eq!(limits.left(of(REMEMBERED)), Duration::ZERO, "it ended first");
        assert_eq!((limits.left(of(0)), limits.left(of(1))), (3599 * SECOND, 2 * SECOND));
    }
}
