//! The state at some moment, folded from the records by whoever asks.

use std::sync::Arc;

use super::{Opener, People, ReadError, Records, Source};
use crate::domain::id::Position;
use crate::domain::record::Record;
use crate::domain::state::{State, Timeline};
use crate::domain::time::Timestamp;
use crate::event_log::codec;

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
}

impl Reader {
    /// Reads from `source` and opens with `opener`.
    pub fn new(source: Arc<dyn Source>, opener: Opener) -> Reader {
        Reader { source, opener }
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

    /// Returns the state at that moment; `None` where the log had not begun.
    pub async fn view(&self, when: When, now: Timestamp) -> Result<Option<View>, ReadError> {
        let Some(position) = self.position(when).await? else { return Ok(None) };
        let mut view = View { state: State::default(), people: People::default(), now };
        self.fold(&mut view, Position(0), position).await?;
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
            view.people.hear(record, &self.opener);
        })
        .await
    }

    /// Returns the last record of a moment; `None` where the log had not begun.
    pub async fn position(&self, when: When) -> Result<Option<Position>, ReadError> {
        let Some(head) = self.head().await? else { return Ok(None) };
        match when {
            When::Now => Ok(Some(head)),
            When::After(position) if position > head => {
                let why = format!("the log ends at {head}");
                Err(ReadError::Broken { position, why })
            }
            When::After(position) => Ok(Some(position)),
            When::At(at) => {
                let mut time = Timeline::default();
                let mut found = None;
                self.each(Position(0), head, |position, record| {
                    time.advance(record);
                    if time.eff() <= at {
                        found = Some(position);
                    }
                })
                .await?;
                Ok(found)
            }
        }
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
        let mut records = self.source.records(from, Some(to)).await?;
        each_of(&mut *records, &mut take).await
    }
}

async fn each_of(
    records: &mut dyn Records,
    take: &mut impl FnMut(Position, &Record),
) -> Result<(), ReadError> {
    while let Some(chunk) = records.next().await? {
        for (position, frame) in chunk {
            take(position, &decode(position, &frame)?);
        }
    }
    Ok(())
}

/// Reads a frame, and says where it stands if it cannot be read.
pub(super) fn decode(position: Position, frame: &[u8]) -> Result<Record, ReadError> {
    codec::decode_record(frame).map_err(|source| ReadError::Decode { position, source })
}
