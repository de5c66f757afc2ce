//! Places for connections: so many at once, so many for one address, and whose goes when there is none left.
//!
//! A connection either works, which is our doing, or waits for its client: for a request, for the rest of one, or for
//! the client to take an answer. When every place is taken, the one that has waited longest for its client goes, so
//! nobody keeps others out by doing nothing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The places there are.
pub(super) struct Places {
    most: usize,
    of_one: usize,
    taken: Mutex<Taken>,
    turns: AtomicU64,
    /// Somebody is at the door, and every place is taken.
    wanted: AtomicBool,
    /// A place is free, or its connection waits for its client.
    changed: Notify,
}

#[derive(Default)]
struct Taken {
    given: u64,
    seats: HashMap<u64, Arc<Seat>>,
    strangers: HashMap<IpAddr, usize>,
}

/// A connection's place, until this is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    stranger: Option<IpAddr>,
    seat: Arc<Seat>,
}

/// What a connection does at the moment.
pub struct Seat {
    places: Arc<Places>,
    /// One of the phases, or the turn at which it began to wait for its client.
    doing: AtomicU64,
    leave: Notify,
}

/// A request is being answered.
const WORKS: u64 = 0;
/// There is an answer, and it is about to be sent.
const ANSWERED: u64 = 1;
/// The turns begin behind the phases.
const FIRST_TURN: u64 = 2;
/// It has been told to leave.
const LEAVES: u64 = u64::MAX;

/// The address has as many connections as one may have.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl Places {
    /// Returns so many places, of which one stranger gets no more than `of_one`.
    pub(super) fn new(most: usize, of_one: usize) -> Arc<Places> {
        Arc::new(Places {
            most: most.max(1),
            of_one,
            taken: Mutex::default(),
            turns: AtomicU64::new(FIRST_TURN),
            wanted: AtomicBool::new(false),
            changed: Notify::new(),
        })
    }

    /// Takes a place for a connection, and waits for one while every connection works.
    ///
    /// `stranger` is the address of whoever is no proxy of ours.
    pub(super) async fn take(self: &Arc<Self>, stranger: Option<IpAddr>) -> Result<Place, TooMany> {
        loop {
            if let Some(taken) = self.try_take(stranger) {
                return taken;
            }
            self.changed.notified().await;
        }
    }

    fn try_take(self: &Arc<Self>, stranger: Option<IpAddr>) -> Option<Result<Place, TooMany>> {
        let mut taken = self.lock();
        if let Some(address) = stranger
            && taken.strangers.get(&address).is_some_and(|count| *count >= self.of_one)
        {
            return Some(Err(TooMany));
        }
        if taken.seats.len() >= self.most {
            // Before the look: whoever begins to wait behind it says so.
            self.wanted.store(true, Ordering::SeqCst);
            taken.send_one_away();
            return None;
        }
        self.wanted.store(false, Ordering::SeqCst);
        let number = taken.given;
        taken.given += 1;
        let seat = Arc::new(Seat {
            places: self.clone(),
            doing: AtomicU64::new(self.next_turn()),
            leave: Notify::new(),
        });
        taken.seats.insert(number, seat.clone());
        if let Some(address) = stranger {
            *taken.strangers.entry(address).or_default() += 1;
        }
        Some(Ok(Place { places: self.clone(), number, stranger, seat }))
    }

    fn next_turn(&self) -> u64 {
        self.turns.fetch_add(1, Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        // Every entry is whole, whoever panicked meanwhile.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Tells the connection to leave that has waited longest for its client, unless one is leaving already.
    fn send_one_away(&self) {
        let mut longest: Option<(u64, &Seat)> = None;
        for seat in self.seats.values() {
            match seat.doing.load(Ordering::SeqCst) {
                WORKS | ANSWERED => {}
                LEAVES => return,
                since if longest.is_some_and(|(known, _)| known <= since) => {}
                since => longest = Some((since, seat)),
            }
        }
        if let Some((_, seat)) = longest {
            seat.doing.store(LEAVES, Ordering::SeqCst);
            seat.leave.notify_one();
        }
    }
}

impl Place {
    /// Returns what says what the connection does.
    pub(super) fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.seats.remove(&self.number);
        if let Some(address) = self.stranger
            && let Some(count) = taken.strangers.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                taken.strangers.remove(&address);
            }
        }
        drop(taken);
        self.places.changed.notify_one();
    }
}

impl Seat {
    /// A request is whole, and is being answered.
    pub(super) fn works(&self) {
        self.doing.store(WORKS, Ordering::SeqCst);
    }

    /// There is an answer.
    pub(super) fn answered(&self) {
        let _ = self.doing.compare_exchange(WORKS, ANSWERED, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// The client has taken all that there was.
    pub(super) fn sent(&self) {
        if self.doing.load(Ordering::SeqCst) == ANSWERED {
            self.waits();
        }
    }

    /// The client does not take what there is.
    pub(super) fn is_blocked(&self) {
        if self.doing.load(Ordering::SeqCst) < FIRST_TURN {
            self.waits();
        }
    }

    fn waits(&self) {
        self.doing.store(self.places.next_turn(), Ordering::SeqCst);
        if self.places.wanted.load(Ordering::SeqCst) {
            self.places.changed.notify_one();
        }
    }

    /// Waits until the connection has to leave.
    pub(super) async fn has_to_leave(&self) {
        self.leave.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::poll_immediate;

    use super::*;

    async fn take(places: &Arc<Places>) -> Place {
        places.take(None).await.expect("nobody counts")
    }

    async fn leaves(place: &Place) -> bool {
        poll_immediate(place.seat().has_to_leave()).await.is_some()
    }

    #[tokio::test]
    async fn whoever_has_waited_longest_for_their_client_goes_first() {
        let places = Places::new(3, 3);
        let [first, second, third] = [take(&places).await, take(&places).await, take(&places).await];
        first.seat().works();
        first.seat().answered();
        first.seat().sent();
        let mut next = Box::pin(take(&places));
        assert!(poll_immediate(&mut next).await.is_none());
        assert!(leaves(&second).await && !leaves(&first).await && !leaves(&third).await);
        assert!(poll_immediate(&mut next).await.is_none(), "it has not left yet");
        assert!(!leaves(&third).await, "one is enough");
        drop(second);
        assert!(poll_immediate(&mut next).await.is_some());
    }

    #[tokio::test]
    async fn nobody_goes_whose_request_is_being_answered_and_the_next_waits() {
        let places = Places::new(2, 2);
        let [first, second] = [take(&places).await, take(&places).await];
        first.seat().works();
        second.seat().works();
        let mut next = Box::pin(take(&places));
        assert!(poll_immediate(&mut next).await.is_none());
        first.seat().answered();
        first.seat().answered();
        assert!(poll_immediate(&mut next).await.is_none());
        assert!(!leaves(&first).await && !leaves(&second).await, "an answer is on its way");
        // Its client does not take it.
        first.seat().is_blocked();
        assert!(poll_immediate(&mut next).await.is_none());
        assert!(leaves(&first).await && !leaves(&second).await);
        drop(first);
        assert!(poll_immediate(&mut next).await.is_some());
    }

    #[tokio::test]
    async fn one_stranger_gets_so_many_and_no_address_is_remembered_that_has_none() {
        let places = Places::new(9, 2);
        let stranger: IpAddr = "203.0.113.9".parse().expect("an address");
        let first = places.take(Some(stranger)).await.expect("the first");
        let second = places.take(Some(stranger)).await.expect("the second");
        assert_eq!(places.take(Some(stranger)).await.err(), Some(TooMany));
        assert!(places.take(Some("203.0.113.10".parse().expect("an address"))).await.is_ok());
        let _ours = [take(&places).await, take(&places).await, take(&places).await];
        drop(first);
        assert!(places.take(Some(stranger)).await.is_ok());
        drop(second);
        assert!(places.lock().strangers.is_empty());
        assert_eq!(places.lock().seats.len(), 3);
    }
}
