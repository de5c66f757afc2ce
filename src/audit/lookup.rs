//! The rows of a narrow question, by the index instead of by reading everything.
//!
//! What is found is folded like the whole log would be, with everything else about the people in it, so that names
//! and effects are the same as if everything had been read.

use std::collections::{BTreeMap, BTreeSet};

use super::view::decode;
use super::{EventRow, Filter, ReadError, Reader, Rows};
use crate::domain::id::{Position, Sub};
use crate::domain::record::Record;
use crate::domain::state::Timeline;
use crate::domain::time::Timestamp;
use crate::event_log::{Lookup, codec};

/// So many people at most are looked up for one question; for more the whole log is read.
const PEOPLE: usize = 64;

/// So many records at most are in memory at once.
const PIECE: usize = 256;

impl Reader {
    /// Hands over the rows of a filter up to a record, and returns what goes on from there.
    pub async fn rows(
        &self,
        filter: Filter,
        up_to: Position,
        mut row: impl FnMut(EventRow),
    ) -> Result<Rows, ReadError> {
        let go_on = |found| {
            row(found);
            true
        };
        self.rows_while(filter, up_to, go_on).await
    }

    /// Hands over the rows of a filter up to a record, until that is enough.
    pub async fn rows_while(
        &self,
        filter: Filter,
        up_to: Position,
        mut row: impl FnMut(EventRow) -> bool,
    ) -> Result<Rows, ReadError> {
        let mut rows = Rows::new(self.opener().clone(), filter.clone());
        let each =
            |position, record: &Record, eff| rows.take_at(position, record, eff).into_iter().all(&mut row);
        self.what_matters(&filter, up_to, each).await?;
        Ok(rows)
    }

    /// Hands over each record on which the rows of a filter depend, with its effective time, until that is enough.
    ///
    /// Where the filter is not narrow, that is every record.
    pub(super) async fn what_matters(
        &self,
        filter: &Filter,
        up_to: Position,
        mut take: impl FnMut(Position, &Record, Timestamp) -> bool,
    ) -> Result<(), ReadError> {
        let mut time = Timeline::default();
        let mut from = Position(0);
        if let Some(Narrow { places, known_to: Some((known_to, eff)) }) = self.narrow(filter, up_to).await? {
            let positions: Vec<Position> = places.keys().copied().collect();
            for part in positions.chunks(PIECE) {
                for (position, frame) in self.source().pick(part.to_vec()).await? {
                    let record = decode(position, &frame)?;
                    let at = places.get(&position).copied().unwrap_or(record.at);
                    if !take(position, &record, at) {
                        return Ok(());
                    }
                }
            }
            (time, from) = (Timeline::starting_at(eff), known_to.next());
        }
        if from > up_to {
            return Ok(());
        }
        self.each_while(from, up_to, |position, record| {
            time.advance(record);
            take(position, record, time.eff())
        })
        .await
    }

    /// Finds everything that the rows of a filter depend on; `None` where reading the whole log is no worse.
    async fn narrow(&self, filter: &Filter, up_to: Position) -> Result<Option<Narrow>, ReadError> {
        let Some(wanted) = seed(filter) else { return Ok(None) };
        let mut narrow = Narrow { places: BTreeMap::new(), known_to: None };
        let mut people: BTreeSet<Sub> = filter.users.iter().flatten().copied().collect();
        for lookup in wanted {
            if !self.add(lookup, &mut narrow).await? {
                return Ok(None);
            }
        }
        if narrow.places.len() as u64 > up_to.0 / 4 {
            return Ok(None);
        }
        let seeds: Vec<Position> = narrow.places.keys().copied().collect();
        for part in seeds.chunks(PIECE) {
            for (position, frame) in self.source().pick(part.to_vec()).await? {
                let record = decode(position, &frame)?;
                people.extend(record.subject.map(|subject| subject.sub));
                people.extend(record.context.actor.sub);
            }
            if people.len() > PEOPLE {
                return Ok(None);
            }
        }
        // What ends everybody's sessions is about everybody.
        let all = [codec::LOG_LOSS_ACCEPTED, codec::LOG_RESTORED].map(Lookup::Kind);
        for lookup in people.into_iter().map(Lookup::User).chain(all) {
            if !self.add(lookup, &mut narrow).await? {
                return Ok(None);
            }
        }
        let end = narrow.known_to.map_or(up_to, |(known_to, _)| known_to.min(up_to));
        narrow.places.retain(|position, _| *position <= end);
        Ok(Some(narrow))
    }

    async fn add(&self, lookup: Lookup, narrow: &mut Narrow) -> Result<bool, ReadError> {
        let Some(found) = self.source().find(lookup).await? else { return Ok(false) };
        let Some(reaches) = found.up_to else { return Ok(false) };
        // The index goes on while it is asked; the first answer may reach less far than the others.
        narrow.known_to =
            Some(narrow.known_to.map_or(reaches, |known: (Position, Timestamp)| known.min(reaches)));
        narrow.places.extend(found.records);
        Ok(true)
    }
}

/// What was found.
struct Narrow {
    /// The records, each with its effective time.
    places: BTreeMap<Position, Timestamp>,
    /// Up to where that is everything, and the effective time there.
    known_to: Option<(Position, Timestamp)>,
}

/// Returns what to look up for a filter, where it is narrow enough.
fn seed(filter: &Filter) -> Option<Vec<Lookup>> {
    if let Some(session) = filter.session {
        return Some(vec![Lookup::Session(session)]);
    }
    if let Some(users) = &filter.users {
        let denials = filter.stranger.map(|_| Lookup::Kind(codec::SIGN_IN_DENIED));
        return Some(users.iter().copied().map(Lookup::User).chain(denials).collect());
    }
    let wanted = filter.kind.as_deref()?;
    let kinds = codec::kinds().iter().filter(|kind| {
        kind.name == wanted || kind.name.split_once('.').is_some_and(|(noun, _)| noun == wanted)
    });
    kinds.map(|kind| Lookup::of_kind(kind.id)).collect::<Option<Vec<_>>>().filter(|found| !found.is_empty())
}

#[cfg(test)]
mod tests;
