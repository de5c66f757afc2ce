//! A state is used once: who comes first acts, who comes at the same time gets the same answer, who
//! comes later is known to be late.
//!
//! Kept in memory and bounded. After a restart, the single use of Discord's code is the guard.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::domain::id::Hash;
use crate::domain::login::ATTEMPT_MAX_AGE;
use crate::domain::target::Target;

/// The most states that are remembered.
const CAPACITY: usize = 65_536;

/// The states that have been used in the last ten minutes.
pub struct UsedStates<T> {
    clock: Arc<dyn Clock>,
    capacity: usize,
    seen: Mutex<Seen<T>>,
}

struct Seen<T> {
    states: HashMap<Hash, Entry<T>>,
    /// When each was used, oldest first.
    order: VecDeque<(Duration, Hash)>,
}

enum Entry<T> {
    Pending(watch::Receiver<Option<Arc<T>>>),
    Done(Option<Target>),
}

/// What using a state means for the one who does.
pub enum Use<T> {
    /// Nobody has used it: act, and conclude.
    First(Claim<T>),
    /// Somebody is about to use it.
    Meanwhile(Outcome<T>),
    /// It has been used; a sign-in that it led to returned there.
    Late(Option<Target>),
}

/// The right to act on a state. Dropped without a conclusion, it counts as used all the same.
pub struct Claim<T> {
    used: Arc<UsedStates<T>>,
    state: Hash,
    tell: watch::Sender<Option<Arc<T>>>,
    back: Option<Target>,
}

/// What will come of a state that somebody is using.
pub struct Outcome<T>(watch::Receiver<Option<Arc<T>>>);

impl<T> UsedStates<T> {
    /// Returns an empty memory.
    pub fn new(clock: Arc<dyn Clock>) -> UsedStates<T> {
        UsedStates::with_capacity(clock, CAPACITY)
    }

    fn with_capacity(clock: Arc<dyn Clock>, capacity: usize) -> UsedStates<T> {
        UsedStates {
            clock,
            capacity,
            seen: Mutex::new(Seen { states: HashMap::new(), order: VecDeque::new() }),
        }
    }

    /// Uses a state, by one who holds its attempt.
    pub fn claim(self: &Arc<Self>, state: &str) -> Use<T> {
        let state = Hash::of(state.as_bytes());
        let now = self.clock.monotonic();
        let mut seen = self.lock();
        seen.forget(now);
        match seen.states.get(&state) {
            Some(Entry::Pending(outcome)) => Use::Meanwhile(Outcome(outcome.clone())),
            Some(Entry::Done(back)) => Use::Late(back.clone()),
            None => {
                seen.make_room(self.capacity);
                let (tell, outcome) = watch::channel(None);
                seen.states.insert(state, Entry::Pending(outcome));
                seen.order.push_back((now, state));
                Use::First(Claim { used: self.clone(), state, tell, back: None })
            }
        }
    }

    /// Returns where a used state led, to one who does not hold its attempt; `None` if it is not used.
    pub fn find(&self, state: &str) -> Option<Option<Target>> {
        let now = self.clock.monotonic();
        let mut seen = self.lock();
        seen.forget(now);
        match seen.states.get(&Hash::of(state.as_bytes())) {
            Some(Entry::Done(back)) => Some(back.clone()),
            Some(Entry::Pending(_)) | None => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen<T>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Seen<T> {
    /// Drops what is older than any attempt.
    fn forget(&mut self, now: Duration) {
        while self.order.front().is_some_and(|(used, _)| now.saturating_sub(*used) >= ATTEMPT_MAX_AGE) {
            self.drop_oldest();
        }
    }

    /// Drops the oldest until there is room for one more.
    fn make_room(&mut self, capacity: usize) {
        while self.order.len() >= capacity {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, state)) = self.order.pop_front() {
            self.states.remove(&state);
        }
    }
}

impl<T> Claim<T> {
    /// Returns what the others wait for.
    pub fn outcome(&self) -> Outcome<T> {
        Outcome(self.tell.subscribe())
    }

    /// Tells everybody who waits; `back` is where a sign-in returned to.
    pub fn conclude(mut self, outcome: T, back: Option<Target>) {
        self.back = back;
        self.tell.send_replace(Some(Arc::new(outcome)));
    }
}

impl<T> Drop for Claim<T> {
    fn drop(&mut self) {
        let back = self.back.take();
        if let Some(entry) = self.used.lock().states.get_mut(&self.state) {
            *entry = Entry::Done(back);
        }
    }
}

impl<T> Outcome<T> {
    /// Waits for the outcome; `None` if whoever acted died.
    pub async fn wait(mut self) -> Option<Arc<T>> {
        self.0.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::domain::time::Timestamp;

    fn memory(capacity: usize) -> (ManualClock, Arc<UsedStates<u32>>) {
        let clock = ManualClock::new(Timestamp(0));
        (clock.clone(), Arc::new(UsedStates::with_capacity(Arc::new(clock), capacity)))
    }

    fn first(used: &Arc<UsedStates<u32>>, state: &str) -> Claim<u32> {
        match used.claim(state) {
            Use::First(claim) => claim,
            _ => panic!("{state} was used before"),
        }
    }

    #[tokio::test]
    async fn whoever_comes_meanwhile_gets_the_same_outcome() {
        let (_, used) = memory(8);
        let claim = first(&used, "a");
        let waiting: Vec<_> = (0..50)
            .map(|_| match used.claim("a") {
                Use::Meanwhile(outcome) => tokio::spawn(outcome.wait()),
                _ => panic!("the first has not concluded"),
            })
            .collect();
        assert_eq!(used.find("a"), None, "a stranger learns nothing of it");
        claim.conclude(7, Some(Target::root()));
        for one in waiting {
            assert_eq!(one.await.expect("no panic").as_deref(), Some(&7));
        }
        assert!(matches!(used.claim("a"), Use::Late(Some(_))));
        assert_eq!(used.find("a"), Some(Some(Target::root())));
    }

    #[tokio::test]
    async fn of_many_at_once_exactly_one_is_first() {
        let (_, used) = memory(8);
        let hits: Vec<_> = (0..64)
            .map(|_| {
                tokio::spawn({
                    let used = used.clone();
                    async move { used.claim("a") }
                })
            })
            .collect();
        let (mut claims, mut waiting) = (vec![], vec![]);
        for hit in hits {
            match hit.await.expect("no panic") {
                Use::First(claim) => claims.push(claim),
                Use::Meanwhile(outcome) => waiting.push(outcome),
                Use::Late(_) => panic!("nobody has concluded"),
            }
        }
        assert_eq!((claims.len(), waiting.len()), (1, 63));
    }

    #[tokio::test]
    async fn a_state_whose_user_died_is_used_and_nobody_waits_for_ever() {
        let (_, used) = memory(8);
        let claim = first(&used, "a");
        let outcome = claim.outcome();
        drop(claim);
        assert!(outcome.wait().await.is_none());
        assert!(matches!(used.claim("a"), Use::Late(None)));
    }

    #[test]
    fn states_are_forgotten_with_their_attempts_and_the_oldest_first() {
        let (clock, used) = memory(3);
        for state in ["a", "b", "c"] {
            first(&used, state).conclude(0, None);
            clock.advance(Duration::from_secs(1));
        }
        first(&used, "d").conclude(0, None);
        assert_eq!(used.find("a"), None);
        assert_eq!(used.find("b"), Some(None), "looking makes no room");
        assert_eq!(used.sizes(), (3, 3));
        clock.advance(ATTEMPT_MAX_AGE);
        assert_eq!(used.find("d"), None);
        assert_eq!(used.sizes(), (0, 0));
    }

    impl UsedStates<u32> {
        fn sizes(&self) -> (usize, usize) {
            let seen = self.lock();
            (seen.states.len(), seen.order.len())
        }
    }
}
