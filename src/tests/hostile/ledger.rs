//! What the log says of refreshes: one at a time for each grant, none before its time, and no token used up twice.

use std::collections::{HashMap, HashSet};

use doorbook::domain::event::Event;
use doorbook::domain::id::{GrantId, Hash, Sub};
use doorbook::domain::record::Record;
use doorbook::domain::time::Timestamp;

/// What there was.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Refreshes that were claimed, each before Discord was asked.
    pub claims: u64,
    /// Those that gave new tokens.
    pub renewed: u64,
    /// Those that gave none.
    pub failed: u64,
}

/// Reads the whole log, and asserts what is true of refreshes whatever Discord does.
#[track_caller]
pub fn of(records: &[Record]) -> Ledger {
    let mut ledger = Ledger::default();
    let mut under_way: HashSet<GrantId> = HashSet::new();
    let mut not_before: HashMap<GrantId, Timestamp> = HashMap::new();
    let mut used_up: HashSet<Hash> = HashSet::new();
    let (mut newest, mut ended): (HashMap<Sub, GrantId>, HashSet<GrantId>) = Default::default();
    for record in records {
        for event in &record.events {
            match event {
                Event::GrantRefreshClaimed { grant, attempt, .. } => {
                    ledger.claims += 1;
                    assert_eq!(*attempt, 1, "nothing died, so no claim was left open: {event:?}");
                    assert!(under_way.insert(*grant), "one is under way: {event:?}");
                    let due = not_before.get(grant).copied().unwrap_or(record.at);
                    assert!(due <= record.at, "it was not to be tried before {due}: {record:?}");
                }
                Event::GrantRefreshed { grant, old, .. } => {
                    ledger.renewed += 1;
                    assert!(under_way.remove(grant), "nobody claimed it: {event:?}");
                    assert!(used_up.insert(old.refresh), "that token was used up before: {event:?}");
                    not_before.remove(grant);
                }
                Event::GrantRefreshFailed { grant, not_before: wait, .. } => {
                    ledger.failed += 1;
                    assert!(under_way.remove(grant), "nobody claimed it: {event:?}");
                    not_before.extend(wait.map(|wait| (*grant, wait)));
                }
                Event::GrantRevoked { grant, .. } => {
                    ended.insert(*grant);
                }
                Event::GrantIssued { grant, .. } => {
                    let subject = record.subject.as_ref();
                    ended.extend(subject.and_then(|subject| newest.insert(subject.sub, *grant)));
                }
                _ => {}
            }
        }
    }
    // What came of a refresh whose grant ended meanwhile is of no use to anybody.
    let open: Vec<_> = under_way.difference(&ended).collect();
    assert!(open.is_empty(), "a refresh has no outcome: {open:?}");
    ledger
}
