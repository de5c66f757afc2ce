//! Finds the records of one user, one session or one rare kind without reading all the others.
//!
//! The index is a projection beside the log: pseudonyms, session ids and numbers of kinds, never a name or an
//! address. It follows the log on a thread of its own and may be behind; it says how far it is, and whoever asks
//! reads the rest. It also says what the last record is that it knows: where another one stands there, it is the
//! index of another log or of what was lost, so nobody is answered from it and it is made again. After a stop that
//! was not clean it is made again as well, because nobody has looked whether all of it is left.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;

use super::codec::{self, kind_of, leaf_hash};
use super::engine::{Follow, FollowError};
use super::sled_guard::SledFault;
use crate::domain::event::{Audit, Event};
use crate::domain::id::{Hash, Position, SessionId, Sub};
use crate::domain::record::Record;
use crate::domain::state::Timeline;
use crate::domain::time::Timestamp;

/// Kinds that most records have: to look them up is to read everything, so they are not indexed.
const COMMON: [u16; 9] = [
    codec::SESSION_OPENED,
    codec::SESSION_SEEN,
    codec::SESSION_REVOKED,
    codec::GRANT_ISSUED,
    codec::GRANT_REFRESH_CLAIMED,
    codec::GRANT_REFRESHED,
    codec::PROFILE_OBSERVED,
    codec::MEMBERSHIP_OBSERVED,
    codec::GRANT_REVOKED,
];

/// What can be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lookup {
    /// Records about a user, or caused by them.
    User(Sub),
    /// Records about a session, or caused through it.
    Session(SessionId),
    /// Records with an event of that kind; see [`Lookup::of_kind`].
    Kind(u16),
    /// Every 256th record, whatever it is: what the time was there.
    Times,
}

/// How far apart the records are whose times are noted.
pub const TIMES: u64 = 256;

/// How many records are added together, where so many are there already.
const TOGETHER: usize = 4_096;

impl Lookup {
    /// Returns the way to look a kind up, unless it is so common that nobody is helped by it.
    pub fn of_kind(kind: u16) -> Option<Lookup> {
        (!COMMON.contains(&kind)).then_some(Lookup::Kind(kind))
    }

    /// Returns what the key of each of its entries begins with.
    pub(super) fn prefix(self) -> Vec<u8> {
        match self {
            Lookup::User(sub) => [&b"u"[..], &sub.0].concat(),
            Lookup::Session(session) => [&b"s"[..], &session.0].concat(),
            Lookup::Kind(kind) => [&b"k"[..], &kind.to_be_bytes()].concat(),
            Lookup::Times => b"t".to_vec(),
        }
    }
}

/// What an index knows about a question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The records, in order, each with its effective time.
    pub records: Vec<(Position, Timestamp)>,
    /// Up to which record the index knows everything, and the effective time there; behind it nothing.
    pub up_to: Option<(Position, Timestamp)>,
}

/// Where the index is kept; called on threads that may block.
pub(super) trait IndexStore: Send + Sync + 'static {
    /// Adds entries, and notes how far they reach, both or neither; and neither where they do not begin at `from`.
    fn add(&self, entries: &[(Vec<u8>, Timestamp)], from: Option<Mark>, to: Mark)
    -> Result<Added, SledFault>;
    /// Returns the entries of a prefix, in order.
    fn find(&self, prefix: &[u8]) -> Result<Vec<(Position, Timestamp)>, SledFault>;
    /// Returns how far the entries reach.
    fn mark(&self) -> Result<Option<Mark>, SledFault>;
    /// Throws everything away, how far it reached first.
    fn clear(&self) -> Result<(), SledFault>;
    /// Reads one record.
    fn record(&self, position: Position) -> Result<Bytes, FollowError>;
}

/// How far the index is, the effective time there, and which record stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) position: Position,
    pub(super) eff: Timestamp,
    pub(super) leaf: Hash,
}

/// What became of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// They are in the index.
    Yes,
    /// The index does not end where they begin any more: the log was opened again meanwhile.
    Elsewhere,
}

/// The index of a log; cheap to clone.
#[derive(Clone)]
pub struct Index {
    store: Arc<dyn IndexStore>,
}

impl Index {
    pub(super) fn new(store: Arc<dyn IndexStore>) -> Index {
        Index { store }
    }

    /// Looks something up; nothing where the index cannot be read. It blocks.
    pub fn find(&self, lookup: Lookup) -> Option<Found> {
        let up_to = self.mark()?;
        let mut records = self.store.find(&lookup.prefix()).ok()?;
        // What was added since belongs to a mark that was not read.
        records.retain(|(position, _)| *position <= up_to.position);
        Some(Found { records, up_to: Some((up_to.position, up_to.eff)) })
    }

    /// Reads records at these places. It blocks.
    pub fn records(&self, positions: &[Position]) -> Result<Vec<(Position, Bytes)>, FollowError> {
        positions.iter().map(|position| Ok((*position, self.store.record(*position)?))).collect()
    }

    /// Returns how far the index is, if it is that of these very records.
    fn mark(&self) -> Option<Mark> {
        let mark = self.store.mark().ok()??;
        let there = self.store.record(mark.position).ok()?;
        (leaf_hash(&there) == mark.leaf).then_some(mark)
    }

    /// Follows the log until it is closed; `follow` gives the log from a position on. It blocks.
    pub(super) fn run(&self, follow: impl Fn(Position) -> Follow) {
        while self.go_on(&follow) == Added::Elsewhere {}
    }

    /// Goes on where the index ends, or begins anew, until the log is closed or opened again.
    fn go_on(&self, follow: &impl Fn(Position) -> Follow) -> Added {
        let mut mark = self.mark();
        if mark.is_none() && self.store.clear().is_err() {
            tracing::warn!("the index of the log cannot be written; questions about the log take longer");
            return Added::Yes;
        }
        let mut from = follow(mark.map_or(Position(0), |mark| mark.position.next()));
        let mut time = Timeline::starting_at(mark.map(|mark| mark.eff).unwrap_or_default());
        loop {
            let Ok(mut chunk) = from.blocking_next() else { return Added::Yes };
            // What is added together shares pages: a page that is written once for each entry fills the disk.
            while chunk.len() < TOGETHER
                && let Some(Ok(more)) = from.next().now_or_never()
            {
                chunk.extend(more);
            }
            let mut entries = Vec::new();
            let mut last = mark;
            for (position, frame) in chunk {
                // What this version does not understand ends the fold as well.
                let Ok(record) = codec::decode_record(&frame) else { return Added::Yes };
                time.advance(&record);
                let time_too = position.0.is_multiple_of(TIMES).then_some(Lookup::Times);
                let keys = lookups(&record).into_iter().chain(time_too).map(|lookup| key(lookup, position));
                entries.extend(keys.map(|key| (key, time.eff())));
                last = Some(Mark { position, eff: time.eff(), leaf: leaf_hash(&frame) });
            }
            let Some(to) = last else { continue };
            match self.store.add(&entries, mark, to) {
                Ok(Added::Yes) => mark = Some(to),
                Ok(Added::Elsewhere) => return Added::Elsewhere,
                Err(fault) => {
                    tracing::debug!(why = fault.why, "the index of the log fell behind");
                    return Added::Yes;
                }
            }
        }
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Index(..)")
    }
}

fn key(lookup: Lookup, position: Position) -> Vec<u8> {
    let mut key = lookup.prefix();
    key.extend_from_slice(&position.0.to_be_bytes());
    key
}

/// Returns everything under which a record is found, each once.
pub fn lookups(record: &Record) -> Vec<Lookup> {
    let mut all = Vec::new();
    let mut add = |lookup: Lookup| {
        if !all.contains(&lookup) {
            all.push(lookup);
        }
    };
    let subject = record.subject.map(|subject| subject.sub);
    subject.into_iter().chain(record.context.actor.sub).for_each(|sub| add(Lookup::User(sub)));
    record.context.actor.via.into_iter().for_each(|session| add(Lookup::Session(session)));
    for event in &record.events {
        Lookup::of_kind(kind_of(event)).into_iter().for_each(&mut add);
        match event {
            Event::SessionOpened { session, .. } | Event::SessionSeen { session, .. } => {
                add(Lookup::Session(*session));
            }
            Event::SessionRevoked { sessions, .. } | Event::UserErased { sessions, .. } => {
                sessions.iter().for_each(|session| add(Lookup::Session(*session)));
            }
            Event::AuditRead(Audit { user: Some(sub), .. })
            | Event::AuditExported(Audit { user: Some(sub), .. }) => add(Lookup::User(*sub)),
            _ => {}
        }
    }
    all
}

#[cfg(test)]
mod tests;
