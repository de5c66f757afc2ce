//! The log itself as a source, in the process that has it open.

use futures_util::future::BoxFuture;

use super::{ReadError, Records, Source};
use crate::domain::id::Position;
use crate::event_log::{Chunk, EventLog, Follow, FollowError, HeadError};

/// Reads a log that this process has open.
#[derive(Clone, Debug)]
pub struct LogSource(pub EventLog);

impl Source for LogSource {
    fn head(&self) -> BoxFuture<'_, Result<Option<Position>, ReadError>> {
        Box::pin(async {
            self.0.head().await.map_err(|error| match error {
                HeadError::Closed => ReadError::Closed,
                HeadError::Unavailable => ReadError::Unavailable { why: error.to_string() },
            })
        })
    }

    fn records(
        &self,
        from: Position,
        to: Option<Position>,
    ) -> BoxFuture<'_, Result<Box<dyn Records>, ReadError>> {
        let records = Following { follow: self.0.follow(from), to };
        Box::pin(async { Ok(Box::new(records) as Box<dyn Records>) })
    }
}

struct Following {
    follow: Follow,
    to: Option<Position>,
}

impl Records for Following {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Chunk>, ReadError>> {
        Box::pin(async {
            if self.to.is_some_and(|to| self.follow.position() > to) {
                return Ok(None);
            }
            let mut chunk = self.follow.next().await.map_err(|error| match error {
                FollowError::Broken { position, why } => ReadError::Broken { position, why },
                FollowError::Closed => ReadError::Closed,
            })?;
            if let Some(to) = self.to {
                chunk.retain(|(position, _)| *position <= to);
            }
            Ok(Some(chunk))
        })
    }
}
