//! When each session was last used, in memory; and which uses are worth a record.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use dashmap::DashMap;

use crate::domain::drawn::BuildDrawn;
use crate::domain::event::Origin;
use crate::domain::id::SessionId;
use crate::domain::state::Session;
use crate::domain::time::Timestamp;

/// How long a change of address or agent waits after the last record of it.
const DEBOUNCE: Duration = Duration::from_secs(60);

/// What this process has seen of each session.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    seen: DashMap<SessionId, Sighting, BuildDrawn>,
}

#[derive(Debug, Clone, Copy)]
struct Sighting {
    at: Timestamp,
    /// The address and agent as last recorded or queued, and those before.
    origin: u64,
    before: u64,
    /// When a record was last queued, and whether it is still under way.
    queued_at: Option<Timestamp>,
    in_flight: bool,
}

/// A use that is worth a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Due {
    /// Of which session.
    pub session: SessionId,
    /// From where, if that changed.
    pub origin: Option<Origin>,
}

impl Sightings {
    /// Notes a use. Returns what is to be recorded; it counts as under way until [`Self::settle`].
    ///
    /// Where the origin is unknown, it counts as the one that is known.
    /// `recorded_origin` opens the origin as recorded; it is asked once for each session and process.
    pub(super) fn note(
        &self,
        session: &Session,
        origin: Option<&Origin>,
        quantum: Duration,
        now: Timestamp,
        recorded_origin: impl FnOnce() -> Option<Origin>,
    ) -> Option<Due> {
        let mut entry = self.seen.entry(session.id).or_insert_with(|| {
            let known = recorded_origin().map_or(0, |known| fingerprint(&known));
            Sighting { at: now, origin: known, before: known, queued_at: None, in_flight: false }
        });
        entry.at = entry.at.max(now);
        if entry.in_flight {
            return None;
        }
        let here = origin.map_or(entry.origin, fingerprint);
        let moved = here != entry.origin && entry.queued_at.unwrap_or(session.seen_at).plus(DEBOUNCE) <= now;
        let rested = entry.queued_at.is_none_or(|queued| queued.plus(DEBOUNCE) <= now);
        if !moved && (now < session.seen_at.plus(quantum) || !rested) {
            return None;
        }
        entry.in_flight = true;
        entry.queued_at = Some(now);
        let changed = here != entry.origin;
        entry.before = entry.origin;
        entry.origin = here;
        Some(Due { session: session.id, origin: origin.filter(|_| changed).cloned() })
    }

    /// Notes that a record is no longer under way; one that failed is made again, a minute later.
    pub(super) fn settle(&self, session: SessionId, recorded: bool) {
        if let Some(mut entry) = self.seen.get_mut(&session) {
            entry.in_flight = false;
            if !recorded {
                entry.origin = entry.before;
            }
        }
    }

    /// Returns when this process last saw the session used.
    pub(super) fn last(&self, session: SessionId) -> Option<Timestamp> {
        self.seen.get(&session).map(|entry| entry.at)
    }

    /// Forgets sessions that are no more.
    pub(super) fn retain(&self, mut is_session: impl FnMut(SessionId) -> bool) {
        self.seen.retain(|id, _| is_session(*id));
    }
}

fn fingerprint(origin: &Origin) -> u64 {
    let mut hasher = DefaultHasher::new();
    (origin.ip, &origin.user_agent).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{Learned, Method, SessionScope};
    use crate::domain::id::{SessionKey, Sub};

    const QUANTUM: Duration = Duration::from_secs(21 * 3_600);

    fn session() -> Session {
        Session {
            id: SessionId([1; 16]),
            user: Sub([2; 16]),
            key: SessionKey([3; 32]),
            method: Method::Discord,
            scope: SessionScope::All,
            admin: false,
            opened_at: Timestamp(0),
            seen_at: Timestamp(0),
            expires_at: Timestamp(i64::MAX),
            idle_deadline: Timestamp(i64::MAX),
            origin: None,
        }
    }

    fn from(agent: &str) -> Origin {
        Origin { ip: None, learned: Learned::Socket, user_agent: Some(agent.into()) }
    }

    #[test]
    fn a_session_in_use_is_recorded_once_a_quantum() {
        let (sightings, session) = (Sightings::default(), session());
        let note =
            |ms| sightings.note(&session, Some(&from("a")), QUANTUM, Timestamp(ms), || Some(from("a")));
        assert_eq!(note(1_000), None);
        let quantum = 21 * 3_600_000;
        assert_eq!(note(quantum), Some(Due { session: session.id, origin: None }));
        assert_eq!(note(quantum + 1), None, "one is under way");
        assert_eq!(sightings.last(session.id), Some(Timestamp(quantum + 1)));
    }

    #[test]
    fn a_new_agent_is_recorded_at_once_and_then_at_most_once_a_minute() {
        let (sightings, session) = (Sightings::default(), session());
        let note = |agent, ms| {
            sightings.note(&session, Some(&from(agent)), QUANTUM, Timestamp(ms), || Some(from("a")))
        };
        assert_eq!(note("b", 59_999), None, "the session was recorded less than a minute ago");
        assert_eq!(note("b", 60_000), Some(Due { session: session.id, origin: Some(from("b")) }));
        sightings.settle(session.id, true);
        assert_eq!(note("a", 61_000), None);
        assert!(note("a", 120_000).is_some());
    }

    #[test]
    fn an_unknown_origin_is_no_other_one() {
        let (sightings, session) = (Sightings::default(), session());
        let note = |ms| sightings.note(&session, None, QUANTUM, Timestamp(ms), || Some(from("a")));
        assert_eq!(note(120_000), None);
        assert_eq!(note(21 * 3_600_000), Some(Due { session: session.id, origin: None }));
    }

    #[test]
    fn a_record_that_failed_is_made_again_a_minute_later() {
        let (sightings, session) = (Sightings::default(), session());
        let note =
            |ms| sightings.note(&session, Some(&from("b")), QUANTUM, Timestamp(ms), || Some(from("a")));
        let due = Some(Due { session: session.id, origin: Some(from("b")) });
        assert_eq!(note(60_000), due);
        sightings.settle(session.id, false);
        assert_eq!(note(61_000), None);
        assert_eq!(note(120_000), due);
    }
}
