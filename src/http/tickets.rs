//! Tickets: the way of a session to the host of an app that our cookies do not reach.
//!
//! A ticket is good once, for a minute, for one session, one host and one browser. Where it leads is kept here and not
//! in the address, so that an address that somebody sees is worth nothing and says nothing.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lru::LruCache;

use crate::clock::Clock;
use crate::crypto::{CookieKey, TagKey};
use crate::domain::host::Host;
use crate::domain::id::{Hash, SessionId};
use crate::domain::target::Target;

/// How long a browser may take from our host to the app's.
const GOOD_FOR: Duration = Duration::from_secs(60);

/// The most tickets that are out at once; beyond it the oldest is worth nothing.
const CAPACITY: NonZeroUsize = match NonZeroUsize::new(16_384) {
    Some(capacity) => capacity,
    None => NonZeroUsize::MIN,
};

const PURPOSE: &str = "ticket";

/// What a ticket is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    /// Whose session.
    pub(super) session: SessionId,
    /// On which host.
    pub(super) host: Host,
    /// The SHA-256 of the cookie of the browser that asked for it.
    pub(super) binding: Hash,
    /// Where it leads.
    pub(super) target: Target,
}

/// The tickets that are out.
pub(super) struct Tickets {
    clock: Arc<dyn Clock>,
    key: TagKey,
    /// By what our key makes of what stands in the address, which is kept nowhere.
    out: Mutex<LruCache<[u8; 32], (Duration, Ticket)>>,
}

impl Tickets {
    /// Returns an empty drawer.
    pub(super) fn new(clock: Arc<dyn Clock>, key: &CookieKey) -> Tickets {
        Tickets { clock, key: key.tag_key(PURPOSE), out: Mutex::new(LruCache::sparse(CAPACITY)) }
    }

    /// Gives one out; `random` is drawn for it.
    pub(super) fn give(&self, random: [u8; 32], ticket: Ticket) -> String {
        let entry = (self.clock.monotonic(), ticket);
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        out.put(self.key.tag(&random), entry);
        URL_SAFE_NO_PAD.encode(random)
    }

    /// Takes one back, for good, whoever brings it and whatever becomes of it.
    pub(super) fn take(&self, text: &str) -> Option<Ticket> {
        let random: [u8; 32] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let (given, ticket) = out.pop(&self.key.tag(&random))?;
        (self.clock.monotonic().saturating_sub(given) < GOOD_FOR).then_some(ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::domain::id::{LogId, Secret};
    use crate::domain::time::Timestamp;
    use crate::entropy::SeededEntropy;

    fn tickets() -> (ManualClock, Tickets) {
        let clock = ManualClock::new(Timestamp(0));
        let entropy = Arc::new(SeededEntropy::new("tickets"));
        let key = CookieKey::from_secret(LogId([1; 16]), &Secret::new("secret"), entropy);
        (clock.clone(), Tickets::new(Arc::new(clock), &key))
    }

    fn ticket(n: u8) -> Ticket {
        Ticket {
            session: SessionId([n; 16]),
            host: Host::parse("wiki.example.net").expect("a host"),
            binding: Hash([n; 32]),
            target: Target::root(),
        }
    }

    #[test]
    fn a_ticket_is_taken_once_and_within_a_minute() {
        let (clock, tickets) = tickets();
        let text = tickets.give([1; 32], ticket(1));
        assert_eq!(tickets.take(&text), Some(ticket(1)));
        assert_eq!(tickets.take(&text), None);
        let (in_time, late) = (tickets.give([2; 32], ticket(2)), tickets.give([3; 32], ticket(3)));
        clock.advance(GOOD_FOR - Duration::from_millis(1));
        assert_eq!(tickets.take(&in_time), Some(ticket(2)));
        clock.advance(Duration::from_millis(1));
        assert_eq!(tickets.take(&late), None);
    }

    #[test]
    fn anything_else_is_none() {
        let (_, tickets) = tickets();
        let text = tickets.give([1; 32], ticket(1));
        for wrong in
            ["", "x", &text[1..], &format!("{text}A"), &format!("{text}="), &URL_SAFE_NO_PAD.encode([2; 32])]
        {
            assert_eq!(tickets.take(wrong), None, "{wrong:?}");
        }
        assert_eq!(tickets.take(&text), Some(ticket(1)));
    }

    #[test]
    fn there_is_room_for_so_many_and_the_oldest_goes_first() {
        let (_, tickets) = tickets();
        let random = |n: usize| {
            let mut random = [0; 32];
            random[..8].copy_from_slice(&n.to_be_bytes());
            random
        };
        let texts: Vec<String> = (0..=CAPACITY.get()).map(|n| tickets.give(random(n), ticket(1))).collect();
        assert_eq!(tickets.take(&texts[0]), None);
        assert!(tickets.take(&texts[1]).is_some() && tickets.take(&texts[CAPACITY.get()]).is_some());
    }
}
