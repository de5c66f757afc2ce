//! The side of the socket that asks.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::net::UnixStream;

use super::socket::{Lines, SOCKET_NAME, ShortPath};
use super::wire::{Ask, Filter, IDS_PER_QUESTION, Line, Question, Say, VERSION, Version};
use super::{Answers, ControlError, Health, SessionFilter, SessionRow, SessionUser, Trouble};
use crate::clock::Clock;
use crate::domain::id::SessionId;

/// A server that ends thousands of sessions on a slow disk still answers within this time.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server, asked over its socket.
pub struct Client {
    data_dir: PathBuf,
    clock: Arc<dyn Clock>,
}

impl Client {
    /// Finds the server that runs on this data directory; `None` where there is none.
    pub async fn connect(data_dir: &Path, clock: Arc<dyn Clock>) -> Result<Option<Client>, ControlError> {
        let client = Client { data_dir: data_dir.to_owned(), clock };
        match client.open().await {
            Ok(_) => Ok(Some(client)),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(None)
            }
            Err(source) => Err(ControlError::Io { path: data_dir.join(SOCKET_NAME), source }),
        }
    }

    async fn open(&self) -> io::Result<UnixStream> {
        let short = ShortPath::new(&self.data_dir, SOCKET_NAME)?;
        UnixStream::connect(short.path()).await
    }

    /// Asks whether anybody is there.
    pub async fn ping(&self) -> Result<(), Trouble> {
        match self.ask(Ask::Ping).await? {
            (_, Say::Pong) => Ok(()),
            _ => Err(Trouble::BadAnswer),
        }
    }

    /// Asks, and returns the rows and the line that ended them.
    async fn ask(&self, ask: Ask) -> Result<(Vec<SessionRow>, Say), Trouble> {
        let stream = self.open().await.map_err(Trouble::Connection)?;
        let mut lines = Lines::new(stream, &*self.clock);
        lines.write(&Question { doorbook: VERSION, ask }, PATIENCE).await?;
        let mut rows = Vec::new();
        loop {
            let line = lines.read(PATIENCE).await?;
            let line = line.ok_or_else(|| Trouble::Connection(io::ErrorKind::UnexpectedEof.into()))?;
            let version: Version = serde_json::from_slice(&line).map_err(|_| Trouble::BadAnswer)?;
            if version.doorbook != VERSION {
                return Err(Trouble::Version { ours: VERSION, theirs: version.doorbook });
            }
            let line: Line = serde_json::from_slice(&line).map_err(|_| Trouble::BadAnswer)?;
            match line.say {
                Say::Session(session) => {
                    rows.push(SessionRow::try_from(session).map_err(|_| Trouble::BadAnswer)?);
                }
                Say::Ambiguous(users) => {
                    let users: Result<Vec<_>, _> = users.into_iter().map(SessionUser::try_from).collect();
                    return Err(users.map_or(Trouble::BadAnswer, Trouble::Ambiguous));
                }
                Say::LogUnavailable => return Err(Trouble::LogUnavailable),
                Say::Version => return Err(Trouble::Version { ours: VERSION, theirs: line.doorbook }),
                Say::NotUnderstood => return Err(Trouble::NotUnderstood),
                Say::TooLarge { limit } => return Err(Trouble::TooLarge { limit }),
                Say::Failed { why } => return Err(Trouble::Failed(why)),
                end => return Ok((rows, end)),
            }
        }
    }

    async fn revoke_in_parts(
        &self,
        sessions: Vec<SessionId>,
        reason: Option<String>,
    ) -> Result<u32, Trouble> {
        let mut total: u32 = 0;
        for part in sessions.chunks(IDS_PER_QUESTION) {
            let sessions = part.iter().map(ToString::to_string).collect();
            match self.ask(Ask::SessionsRevoke { sessions, reason: reason.clone() }).await? {
                (_, Say::Revoked { ended }) => total = total.saturating_add(ended),
                _ => return Err(Trouble::BadAnswer),
            }
        }
        Ok(total)
    }
}

impl Answers for Client {
    fn health(&self) -> BoxFuture<'_, Result<Health, Trouble>> {
        Box::pin(async {
            match self.ask(Ask::Health).await? {
                (_, Say::Health { ready, log_available }) => Ok(Health { ready, log_available }),
                _ => Err(Trouble::BadAnswer),
            }
        })
    }

    fn sessions(&self, filter: SessionFilter) -> BoxFuture<'_, Result<Vec<SessionRow>, Trouble>> {
        Box::pin(async move {
            match self.ask(Ask::SessionsList(Filter::from(&filter))).await? {
                (rows, Say::Listed) => Ok(rows),
                _ => Err(Trouble::BadAnswer),
            }
        })
    }

    fn revoke(
        &self,
        sessions: Vec<SessionId>,
        reason: Option<String>,
    ) -> BoxFuture<'_, Result<u32, Trouble>> {
        Box::pin(self.revoke_in_parts(sessions, reason))
    }
}
