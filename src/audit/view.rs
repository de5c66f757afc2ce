//! The state at some moment, folded from the records by whoever asks.

use std::sync::Arc;

use super::{Opener, People, ReadError, Source};
use crate::domain::event::Event;
use crate::domain::id::{LogId, Position};
use crate::domain::record::Record;
use crate::domain::state::{State, Timeline};
use crate::domain::time::Timestamp;
use crate::event_log::Lookup;
use crate::event_log::codec::{self, StoredState};
use crate::event_log::index::TIMES;
use crate::event_log::states::{REACH, StatesDir, Voucher};

/// Which moment is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// After everything that is there.
    Now,
    /// After the last record of that time; where the clock was stepped back, in the newest stretch that has it.
    At(Timestamp),
    /// After that record.
    After(Position),
}

/// The state at some moment, and who is who in it.
#[derive(Clone)]
pub struct View {
    /// What the records up to there give.
    pub state: State,
    /// Everybody who had a name by then.
    pub people: People,
    /// The moment itself, to ask what had ended by then.
    pub now: Timestamp,
}

/// Reads the log of one source with the keys that are there.
#[derive(Clone)]
pub struct Reader {
    source: Arc<dyn Source>,
    opener: Opener,
    stored: Option<(Arc<StatesDir>, LogId)>,
}

impl Reader {
    /// Reads from `source` and opens with `opener`.
    pub fn new(source: Arc<dyn Source>, opener: Opener) -> Reader {
        Reader { source, opener, stored: None }
    }

    /// Lets the states beside the log of that id save the reading of most of it, where the log vouches for them.
    pub fn with_states(self, states: StatesDir, log: LogId) -> Reader {
        Reader { stored: Some((Arc::new(states), log)), ..self }
    }

    /// Returns what opens boxes.
    pub fn opener(&self) -> &Opener {
        &self.opener
    }

    /// Returns where the records come from.
    pub fn source(&self) -> &dyn Source {
        &*self.source
    }

    /// Returns the position of the last record.
    pub async fn head(&self) -> Result<Option<Position>, ReadError> {
        self.source.head().await
    }

    /// Returns the log that the first record begins, where it can be read.
    pub async fn log_id(&self) -> Option<LogId> {
        let (first, _) = self.record(Position(0)).await.ok()?;
        match first.events.first()? {
            Event::LogCreated { log, .. } => Some(*log),
            _ => None,
        }
    }

    /// Returns the time of the first record; `None` where there is none.
    pub async fn begins(&self) -> Result<Option<Timestamp>, ReadError> {
        match self.head().await? {
            Some(_) => Ok(Some(self.record(Position(0)).await?.0.at)),
            None => Ok(None),
        }
    }

    /// Returns the state at that moment; `None` where the log had not begun.
    pub async fn view(&self, when: When, now: Timestamp) -> Result<Option<View>, ReadError> {
        let Some(position) = self.position(when).await? else { return Ok(None) };
        let mut view = View { state: State::default(), people: People::default(), now };
        let mut from = Position(0);
        if let Some(stored) = self.stored_before(position).await? {
            view.people = People::of(&stored.state);
            (view.state, from) = (stored.state, Position(stored.size));
        }
        if from <= position {
            self.fold(&mut view, from, position).await?;
        }
        view.now = match when {
            When::Now => now,
            When::At(at) => at,
            When::After(_) => view.state.eff(),
        };
        Ok(Some(view))
    }

    /// Folds the records from `from` to `to` into a view.
    pub async fn fold(&self, view: &mut View, from: Position, to: Position) -> Result<(), ReadError> {
        self.each(from, to, |position, record| {
            view.state.apply(position, record);
            view.people.hear(record);
        })
        .await
    }

    /// Returns the last record of a moment; `None` where the log had not begun.
    pub async fn position(&self, when: When) -> Result<Option<Position>, ReadError> {
        let Some(head) = self.head().await? else { return Ok(None) };
        match when {
            When::Now => Ok(Some(head)),
            When::After(position) if position > head => Err(ReadError::BehindTheEnd { position, head }),
            When::After(position) => Ok(Some(position)),
            When::At(at) => self.last_at(at, head).await,
        }
    }

    /// Returns the last record whose effective time is not later; `None` where there is none.
    async fn last_at(&self, at: Timestamp, head: Position) -> Result<Option<Position>, ReadError> {
        let (mut time, mut found, mut from) = (Timeline::default(), None, Position(0));
        let ordered = self.is_time_ordered().await?;
        if ordered && let Some(times) = self.source.find(Lookup::Times).await? {
            let known =
                times.records.into_iter().take_while(|(position, eff)| *eff <= at && *position <= head);
            if let Some((position, eff)) = known.last() {
                (time, found, from) = (Timeline::starting_at(eff), Some(position), position.next());
            }
        }
        if from > head {
            return Ok(found);
        }
        self.each_while(from, head, |position, record| {
            time.advance(record);
            if time.eff() <= at {
                found = Some(position);
            }
            // Where the clock was set back later, that stretch is the newest that has this time.
            time.eff() <= at || !ordered
        })
        .await?;
        Ok(found)
    }

    /// Returns whether it is known that the clock was never set.
    async fn is_time_ordered(&self) -> Result<bool, ReadError> {
        let Some(steps) = self.source.find(Lookup::Kind(codec::CLOCK_STEPPED)).await? else {
            return Ok(false);
        };
        let Some((known_to, _)) = steps.up_to else { return Ok(false) };
        let head = self.head().await?.unwrap_or(known_to);
        if !steps.records.is_empty() || head.0 > known_to.0 + 4 * TIMES {
            return Ok(false);
        }
        let mut ordered = true;
        if known_to < head {
            self.each(known_to.next(), head, |_, record| {
                ordered &= !record.events.iter().any(|event| matches!(event, Event::ClockStepped { .. }));
            })
            .await?;
        }
        Ok(ordered)
    }

    /// Returns the newest stored state that the log vouches for and that ends at this record or before it.
    async fn stored_before(&self, position: Position) -> Result<Option<StoredState>, ReadError> {
        let Some((states, log)) = self.stored.clone() else { return Ok(None) };
        let Some(head) = self.head().await? else { return Ok(None) };
        let sizes = states.list().unwrap_or_default();
        for size in sizes.into_iter().rev().filter(|size| *size <= position.0 + 1 && *size <= head.0) {
            let last = Position(head.0.min(size + REACH - 1));
            let mut records = self.source.records(Position(size), Some(last)).await?;
            let mut vouchers = Vec::new();
            while vouchers.is_empty()
                && let Some(chunk) = records.next().await?
            {
                let named = chunk.iter().flat_map(|(_, frame)| Voucher::in_frame(frame));
                vouchers.extend(named.filter(|voucher| voucher.size == size));
            }
            let states = states.clone();
            let reading = tokio::task::spawn_blocking(move || states.trusted(size, log, &vouchers));
            if let Ok(Ok(stored)) = reading.await {
                return Ok(Some(stored));
            }
        }
        Ok(None)
    }

    /// Reads one record.
    pub async fn record(&self, position: Position) -> Result<(Record, bytes::Bytes), ReadError> {
        let mut records = self.source.records(position, Some(position)).await?;
        let chunk = records.next().await?.unwrap_or_default();
        let Some((_, frame)) = chunk.into_iter().next() else {
            return Err(ReadError::Broken { position, why: "it is missing".into() });
        };
        Ok((decode(position, &frame)?, frame))
    }

    /// Hands each record over, in order.
    pub async fn each(
        &self,
        from: Position,
        to: Position,
        mut take: impl FnMut(Position, &Record),
    ) -> Result<(), ReadError> {
        let go_on = |position, record: &Record| {
            take(position, record);
            true
        };
        self.each_while(from, to, go_on).await
    }

    /// Hands each record over, in order, until that is enough.
    pub(super) async fn each_while(
        &self,
        from: Position,
        to: Position,
        mut take: impl FnMut(Position, &Record) -> bool,
    ) -> Result<(), ReadError> {
        let mut records = self.source.records(from, Some(to)).await?;
        while let Some(chunk) = records.next().await? {
            for (position, frame) in chunk {
                if !take(position, &decode(position, &frame)?) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Reads a frame, and says where it stands if it cannot be read.
pub(super) fn decode(position: Position, frame: &[u8]) -> Result<Record, ReadError> {
    codec::decode_record(frame).map_err(|source| ReadError::Decode { position, source })
}

#[cfg(test)]
mod tests;
