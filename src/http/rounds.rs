//! Going round in circles: somebody signs in for an app, the app does not see it, and sends them to sign in.
//!
//! Counted in memory, by the session that the browser has with us; without a session there is nothing to count.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;

use crate::clock::Clock;
use crate::domain::host::Host;
use crate::domain::id::SessionId;

/// How soon a new login has to follow for it to be the next round.
const SOON: Duration = Duration::from_secs(60);

/// How many rounds there are before somebody is told.
const ROUNDS: u8 = 3;

/// Sessions that are watched; those go first that did nothing for longest.
const WATCHED: NonZeroUsize = match NonZeroUsize::new(16_384) {
    Some(watched) => watched,
    None => NonZeroUsize::MIN,
};

/// Hosts of one session.
const HOSTS: usize = 8;

/// Who has gone round how often.
pub(super) struct Rounds {
    clock: Arc<dyn Clock>,
    of: Mutex<LruCache<SessionId, Vec<Round>>>,
}

#[derive(Clone, Debug)]
struct Round {
    host: Host,
    completed_at: Duration,
    /// Whether no login has followed yet.
    is_open: bool,
    count: u8,
}

impl Rounds {
    /// Returns a count of nothing.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Rounds {
        Rounds { clock, of: Mutex::new(LruCache::sparse(WATCHED)) }
    }

    /// Notes that a session has just signed in for a host, or got there by a ticket. What was counted of the session
    /// that it replaced goes on.
    pub(super) fn completed(&self, replaced: Option<SessionId>, session: SessionId, host: Host) {
        let completed_at = self.clock.monotonic();
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rounds =
            replaced.filter(|old| *old != session).and_then(|old| of.pop(&old)).unwrap_or_default();
        rounds.extend(of.pop(&session).unwrap_or_default());
        match rounds.iter_mut().find(|round| round.host == host) {
            Some(round) => (round.completed_at, round.is_open) = (completed_at, true),
            None => rounds.push(Round { host, completed_at, is_open: true, count: 0 }),
        }
        rounds.sort_by_key(|round| std::cmp::Reverse(round.completed_at));
        rounds.truncate(HOSTS);
        of.put(session, rounds);
    }

    /// Notes a new login for a host; returns whether it leads nowhere, as those before did.
    pub(super) fn is_loop(&self, session: SessionId, host: &Host) -> bool {
        let now = self.clock.monotonic();
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(rounds) = of.get_mut(&session) else { return false };
        rounds.retain(|round| now.saturating_sub(round.completed_at) < SOON);
        let Some(round) = rounds.iter_mut().find(|round| round.host == *host) else { return false };
        round.count += u8::from(round.is_open && round.count < ROUNDS);
        round.is_open = false;
        round.count >= ROUNDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::domain::time::Timestamp;

    const FIRST: SessionId = SessionId([1; 16]);

    fn rounds() -> (ManualClock, Rounds) {
        let clock = ManualClock::new(Timestamp(0));
        (clock.clone(), Rounds::new(Arc::new(clock)))
    }

    fn wiki() -> Host {
        Host::parse("wiki.example.org").expect("a host")
    }

    #[test]
    fn the_third_login_right_after_a_sign_in_is_a_loop() {
        let (clock, rounds) = rounds();
        assert!(!rounds.is_loop(FIRST, &wiki()), "nothing was completed");
        let mut session = FIRST;
        rounds.completed(None, session, wiki());
        for n in 2..=3 {
            clock.advance(SOON - Duration::from_secs(1));
            assert!(!rounds.is_loop(session, &wiki()), "{n}");
            // It takes as long as it takes at Discord, and gives another session.
            clock.advance(Duration::from_secs(300));
            let next = SessionId([n; 16]);
            rounds.completed(Some(session), next, wiki());
            session = next;
        }
        assert!(!rounds.is_loop(session, &Host::parse("other.example.org").expect("a host")));
        assert!(rounds.is_loop(session, &wiki()));
        assert!(rounds.is_loop(session, &wiki()), "until somebody has waited");
        clock.advance(SOON);
        assert!(!rounds.is_loop(session, &wiki()));
    }

    #[test]
    fn tabs_that_begin_together_are_one_round() {
        let (_, rounds) = rounds();
        rounds.completed(None, FIRST, wiki());
        for _ in 0..9 {
            assert!(!rounds.is_loop(FIRST, &wiki()));
        }
    }

    #[test]
    fn whoever_comes_back_later_begins_anew() {
        let (clock, rounds) = rounds();
        for _ in 0..9 {
            rounds.completed(None, FIRST, wiki());
            clock.advance(SOON);
            assert!(!rounds.is_loop(FIRST, &wiki()));
        }
    }

    #[test]
    fn memory_is_bounded() {
        let (_, rounds) = rounds();
        for n in 0..40_u8 {
            rounds.completed(None, FIRST, Host::parse(&format!("h{n}.example.org")).expect("a host"));
        }
        let of = rounds.of.lock().expect("not poisoned");
        assert_eq!((of.len(), of.peek(&FIRST).map(Vec::len)), (1, Some(HOSTS)));
    }
}
