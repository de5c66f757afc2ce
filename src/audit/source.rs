//! The log itself as a source, in the process that has it open.

use futures_util::future::BoxFuture;

use super::{ReadError, Records, Source};
use crate::domain::id::Position;
use crate::event_log::{Chunk, EventLog, Follow, FollowError, Found, HeadError, Lookup};

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

    fn find(&self, lookup: Lookup) -> BoxFuture<'_, Result<Option<Found>, ReadError>> {
        let index = self.0.index();
        Box::pin(async move {
            match index {
                Some(index) => blocking(move || Ok(index.find(lookup))).await,
                None => Ok(None),
            }
        })
    }

    fn pick(&self, positions: Vec<Position>) -> BoxFuture<'_, Result<Chunk, ReadError>> {
        let index = self.0.index();
        Box::pin(async move {
            let why = || ReadError::Unavailable { why: "this log has no index".into() };
            let index = index.ok_or_else(why)?;
            blocking(move || index.records(&positions).map_err(read_error)).await
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
            let mut chunk = self.follow.next().await.map_err(read_error)?;
            if let Some(to) = self.to {
                chunk.retain(|(position, _)| *position <= to);
            }
            Ok(Some(chunk))
        })
    }
}

fn read_error(error: FollowError) -> ReadError {
    match error {
        FollowError::Broken { position, why } => ReadError::Broken { position, why },
        FollowError::Closed => ReadError::Closed,
    }
}

/// Reads where waiting for the disk is fine.
async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
) -> Result<T, ReadError> {
    let reading = tokio::task::spawn_blocking(read).await;
    reading.unwrap_or_else(|panicked| Err(ReadError::Unavailable { why: panicked.to_string() }))
}
