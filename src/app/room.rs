//! Room for records: never more are handed to the log than may stand there without a signature.
//!
//! What has been applied is always behind what is on its way, so that is not what is counted here. A bound for the
//! end of the log rises with each record that is handed over, before it is, and every answer of the log makes it
//! exact again. Whoever finds no room signs first; see [`super::checkpoints`].

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::domain::id::Position;
use crate::event_log::AppendError;

/// Where so many may be unsigned, nothing more is handed over.
pub(super) const LIMIT: u64 = 1_024;

/// Counts what is handed over.
pub(super) struct Room {
    counted: Mutex<Counted>,
    under_way: watch::Sender<usize>,
}

#[derive(Default)]
struct Counted {
    /// Where the log ends at most, with all that was handed over.
    end: u64,
    /// For how many of its records somebody has signed.
    signed: u64,
    /// Records handed over by this process so far.
    handed: u64,
    /// How many of these were handed over up to the last for which the log gave a position.
    known: u64,
}

/// Records that were handed over together; until it is dropped they are under way.
pub(super) struct Ticket<'a> {
    room: &'a Room,
    records: u64,
    /// How many had been handed over with these.
    handed: u64,
}

impl Room {
    pub(super) fn new() -> Room {
        Room { counted: Mutex::default(), under_way: watch::Sender::new(0) }
    }

    /// Says where the log ends, before anything is handed over.
    pub(super) fn begin_at(&self, records: u64) {
        self.counted().end = records;
    }

    /// Returns whether there is room, where somebody has signed for so many.
    pub(super) fn is_there(&self, signed: u64) -> bool {
        self.counted().has_room(signed)
    }

    /// Hands records over by `append`, in the order of these calls; `None` where there is no room.
    pub(super) fn hand_over<T>(
        &self,
        records: usize,
        signed: u64,
        needs_room: bool,
        append: impl FnOnce() -> T,
    ) -> Option<(Ticket<'_>, T)> {
        let records = u64::try_from(records).unwrap_or(u64::MAX);
        let mut counted = self.counted();
        if needs_room && !counted.has_room(signed) {
            return None;
        }
        counted.handed = counted.handed.saturating_add(records);
        counted.end = counted.end.saturating_add(records);
        let ticket = Ticket { room: self, records, handed: counted.handed };
        self.under_way.send_modify(|under_way| *under_way += 1);
        // Still under the lock: the log takes them in the order in which they are counted.
        Some((ticket, append()))
    }

    /// Waits until nothing is under way.
    pub(super) async fn is_settled(&self) {
        // The sender lives as long as this.
        let _ = self.under_way.subscribe().wait_for(|under_way| *under_way == 0).await;
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    fn has_room(&mut self, signed: u64) -> bool {
        self.signed = self.signed.max(signed);
        self.end.saturating_sub(self.signed) < LIMIT
    }
}

impl Ticket<'_> {
    /// Takes in what the log answered.
    pub(super) fn answered(&self, answer: &Result<Position, AppendError>) {
        let mut counted = self.room.counted();
        // The log takes records in order, so an answer for later ones has told about these as well.
        let is_news = self.handed > counted.known;
        match answer {
            Ok(first) if is_news => {
                let behind = counted.handed - self.handed;
                counted.end = first.0.saturating_add(self.records).saturating_add(behind);
                counted.known = self.handed;
            }
            Err(AppendError::NotWritten(_)) if is_news => {
                counted.end = counted.end.saturating_sub(self.records);
            }
            // They may stand there: until the next answer that knows, they count.
            Ok(_) | Err(_) => {}
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.room.under_way.send_modify(|under_way| *under_way -= 1);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::poll_immediate;

    use super::*;
    use crate::event_log::NotWritten;

    const FULL: Result<Position, AppendError> = Err(AppendError::NotWritten(NotWritten::QueueFull));

    fn end(room: &Room) -> u64 {
        room.counted().end
    }

    #[track_caller]
    fn hand(room: &Room, records: usize) -> Ticket<'_> {
        room.hand_over(records, 0, true, || ()).expect("room").0
    }

    #[test]
    fn there_is_room_for_so_many_and_for_as_many_again_once_they_are_signed_for() {
        let room = Room::new();
        room.begin_at(10);
        let tickets: Vec<_> = (10..LIMIT).map(|_| hand(&room, 1)).collect();
        assert!(!room.is_there(0) && room.hand_over(1, 0, true, || ()).is_none());
        assert!(room.hand_over(1, 0, false, || ()).is_some(), "a signature needs none");
        assert!(
            room.is_there(2) && room.is_there(1),
            "a smaller signature after a larger takes nothing back"
        );
        assert_eq!(end(&room), LIMIT + 1);
        drop(tickets);
        assert_eq!(end(&room), LIMIT + 1, "whoever goes away takes nothing back");
    }

    #[test]
    fn every_answer_makes_the_bound_exact_in_whatever_order_they_come() {
        let room = Room::new();
        room.begin_at(10);
        let [first, second, third, fourth] = [1, 2, 3, 4].map(|records| hand(&room, records));
        assert_eq!(end(&room), 20);
        fourth.answered(&FULL);
        assert_eq!(end(&room), 16);
        second.answered(&FULL);
        assert_eq!(end(&room), 14);
        third.answered(&Ok(Position(11)));
        assert_eq!(end(&room), 18, "what was handed over later may stand there, for all that is known now");
        first.answered(&FULL);
        second.answered(&FULL);
        first.answered(&Ok(Position(10)));
        assert_eq!(end(&room), 18, "that is known");
        let fifth = hand(&room, 1);
        fifth.answered(&Err(AppendError::Unknown));
        assert_eq!(end(&room), 19, "they may stand there");
        hand(&room, 1).answered(&Ok(Position(14)));
        assert_eq!(end(&room), 15);
    }

    #[tokio::test]
    async fn it_is_settled_once_nothing_is_under_way() {
        let room = Room::new();
        room.is_settled().await;
        let (first, second) = (hand(&room, 1), hand(&room, 1));
        let mut settled = Box::pin(room.is_settled());
        assert!(poll_immediate(&mut settled).await.is_none());
        drop(first);
        assert!(poll_immediate(&mut settled).await.is_none());
        drop(second);
        settled.await;
    }
}
