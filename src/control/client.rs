//! The side of the socket that asks.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::net::UnixStream;

use super::socket::{Lines, SOCKET_NAME, ShortPath};
use super::wire::{
    Ask, Filter, IDS_PER_QUESTION, Line, Noted, POSITIONS_PER_QUESTION, Question, RECORDS_LIMIT, Say,
    VERSION, Version,
};
use super::{
    Answers, Asked, ControlError, Erased, Health, Rotated, RotatedKey, SessionFilter, SessionRow,
    SessionUser, Trouble,
};
use crate::audit::{ReadError, Records, Source};
use crate::clock::Clock;
use crate::domain::event::Requester;
use crate::domain::id::{Position, SessionId, Sub};
use crate::domain::time::{Month, Timestamp};
use crate::event_log::{Chunk, Found, Lookup, codec};

/// A server that ends thousands of sessions on a slow disk still answers within this time.
const PATIENCE: Duration = Duration::from_secs(60);

/// An erasure waits for Discord, for whoever is signing in meanwhile, and for all key files to be written anew.
const ERASURE: Duration = Duration::from_secs(600);

/// A day without a word is no reason to stop following.
const A_LONG_TIME: Duration = Duration::from_secs(10 * 365 * 86_400);

/// A running server, asked over its socket.
#[derive(Clone)]
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
        self.ask_within(PATIENCE, ask).await
    }

    async fn ask_within(&self, patience: Duration, ask: Ask) -> Result<(Vec<SessionRow>, Say), Trouble> {
        let mut lines = self.begin(ask).await?;
        let mut rows = Vec::new();
        loop {
            let line = lines.read(patience).await?;
            match understand(line)? {
                Say::Session(session) => {
                    rows.push(SessionRow::try_from(session).map_err(|_| Trouble::BadAnswer)?);
                }
                end => return Ok((rows, end)),
            }
        }
    }

    async fn ask_for(&self, lookup: Lookup) -> Result<Option<Found>, Trouble> {
        let mut lines = self.begin(Ask::LogFind(lookup.into())).await?;
        let mut records = Vec::new();
        loop {
            match understand(lines.read(PATIENCE).await?)? {
                Say::Found { records: some } => {
                    records
                        .extend(some.into_iter().map(|(position, at)| (Position(position), Timestamp(at))));
                }
                Say::FoundEnd { up_to } => {
                    let up_to = up_to.map(|(position, at)| (Position(position), Timestamp(at)));
                    return Ok(up_to.map(|up_to| Found { records, up_to: Some(up_to) }));
                }
                _ => return Err(Trouble::BadAnswer),
            }
        }
    }

    async fn ask_for_these(&self, positions: &[Position]) -> Result<Chunk, Trouble> {
        let ask = Ask::LogPick { positions: positions.iter().map(|position| position.0).collect() };
        let mut lines = self.begin(ask).await?;
        let mut frames = Vec::new();
        loop {
            match understand(lines.read(PATIENCE).await?)? {
                Say::Records { bytes, .. } if bytes <= RECORDS_LIMIT => {
                    let bytes = Bytes::from(lines.read_bytes(bytes, PATIENCE).await?);
                    frames.extend(split(Position(0), bytes).ok_or(Trouble::BadAnswer)?);
                }
                Say::RecordsEnd if frames.len() == positions.len() => {
                    let frames = frames.into_iter().map(|(_, frame)| frame);
                    return Ok(positions.iter().copied().zip(frames).collect());
                }
                Say::Broken { position, why } => {
                    return Err(ReadError::Broken { position: Position(position), why }.into());
                }
                _ => return Err(Trouble::BadAnswer),
            }
        }
    }

    /// Asks, and returns what comes back.
    async fn begin(&self, ask: Ask) -> Result<Lines, Trouble> {
        let stream = self.open().await.map_err(Trouble::Connection)?;
        let mut lines = Lines::new(stream, self.clock.clone());
        lines.write(&Question { doorbook: VERSION, ask }, PATIENCE).await?;
        Ok(lines)
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

/// Reads a line of an answer; what says that there is none is the trouble.
fn understand(line: Option<Vec<u8>>) -> Result<Say, Trouble> {
    let line = line.ok_or_else(|| Trouble::Connection(io::ErrorKind::UnexpectedEof.into()))?;
    let version: Version = serde_json::from_slice(&line).map_err(|_| Trouble::BadAnswer)?;
    if version.doorbook != VERSION {
        return Err(Trouble::Version { ours: VERSION, theirs: version.doorbook });
    }
    let line: Line = serde_json::from_slice(&line).map_err(|_| Trouble::BadAnswer)?;
    match line.say {
        Say::Ambiguous(users) => {
            let users: Result<Vec<_>, _> = users.into_iter().map(SessionUser::try_from).collect();
            Err(users.map_or(Trouble::BadAnswer, Trouble::Ambiguous))
        }
        Say::LogUnavailable => Err(Trouble::LogUnavailable),
        Say::No { why } => Err(Trouble::No(why)),
        Say::Version => Err(Trouble::Version { ours: VERSION, theirs: line.doorbook }),
        Say::NotUnderstood => Err(Trouble::NotUnderstood),
        Say::TooLarge { limit } => Err(Trouble::TooLarge { limit }),
        Say::Failed { why } => Err(Trouble::Failed(why)),
        say => Ok(say),
    }
}

/// Records as they come over the socket.
struct Coming {
    lines: Lines,
    next: Position,
}

impl Coming {
    async fn read(&mut self) -> Result<Option<Chunk>, Trouble> {
        // Whoever follows may wait for days until something happens.
        let line = self.lines.read(A_LONG_TIME).await?;
        match understand(line)? {
            Say::Records { from, bytes } if from == self.next.0 && bytes <= RECORDS_LIMIT => {
                let bytes = Bytes::from(self.lines.read_bytes(bytes, PATIENCE).await?);
                let chunk = split(self.next, bytes).ok_or(Trouble::BadAnswer)?;
                self.next = chunk.last().map_or(self.next, |(last, _)| last.next());
                Ok(Some(chunk))
            }
            Say::RecordsEnd => Ok(None),
            Say::Broken { position, why } => {
                Err(ReadError::Broken { position: Position(position), why }.into())
            }
            _ => Err(Trouble::BadAnswer),
        }
    }
}

impl Records for Coming {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Chunk>, ReadError>> {
        Box::pin(async { self.read().await.map_err(unavailable) })
    }
}

/// Takes frames apart that stand one behind the other; a torn one is no frame.
fn split(first: Position, mut bytes: Bytes) -> Option<Chunk> {
    let mut chunk = Chunk::new();
    let mut position = first;
    while !bytes.is_empty() {
        let length = codec::frame_length(&bytes).filter(|length| *length <= bytes.len())?;
        chunk.push((position, bytes.split_to(length)));
        position = position.next();
    }
    Some(chunk)
}

fn unavailable(trouble: Trouble) -> ReadError {
    match trouble {
        Trouble::Read(error) => error,
        Trouble::Connection(error) if error.kind() == io::ErrorKind::UnexpectedEof => ReadError::Closed,
        other => {
            let cause = std::error::Error::source(&other).map(|cause| format!(": {cause}"));
            ReadError::Unavailable { why: format!("{other}{}", cause.unwrap_or_default()) }
        }
    }
}

impl Source for Client {
    fn head(&self) -> BoxFuture<'_, Result<Option<Position>, ReadError>> {
        Box::pin(async {
            match self.ask(Ask::LogHead).await.map_err(unavailable)? {
                (_, Say::Head { position }) => Ok(position.map(Position)),
                _ => Err(unavailable(Trouble::BadAnswer)),
            }
        })
    }

    fn find(&self, lookup: Lookup) -> BoxFuture<'_, Result<Option<Found>, ReadError>> {
        Box::pin(async move { self.ask_for(lookup).await.map_err(unavailable) })
    }

    fn pick(&self, positions: Vec<Position>) -> BoxFuture<'_, Result<Chunk, ReadError>> {
        Box::pin(async move {
            let mut all = Chunk::with_capacity(positions.len());
            for part in positions.chunks(POSITIONS_PER_QUESTION) {
                all.extend(self.ask_for_these(part).await.map_err(unavailable)?);
            }
            Ok(all)
        })
    }

    fn records(
        &self,
        from: Position,
        to: Option<Position>,
    ) -> BoxFuture<'_, Result<Box<dyn Records>, ReadError>> {
        Box::pin(async move {
            let ask = Ask::LogRecords { from: from.0, to: to.map(|to| to.0) };
            let lines = self.begin(ask).await.map_err(unavailable)?;
            Ok(Box::new(Coming { lines, next: from }) as Box<dyn Records>)
        })
    }
}

impl Answers for Client {
    fn note_audit(&self, asked: Asked) -> BoxFuture<'_, Result<(), Trouble>> {
        Box::pin(async move {
            match self.ask(Ask::NoteAudit(Noted::from(&asked))).await? {
                (_, Say::Noted) => Ok(()),
                _ => Err(Trouble::BadAnswer),
            }
        })
    }

    fn erase(&self, whom: Sub, requested_by: Requester, now: bool) -> BoxFuture<'_, Result<Erased, Trouble>> {
        let ask = Ask::UserErase { sub: whom.to_string(), requested_by: requested_by.code(), now };
        Box::pin(async move {
            match self.ask_within(ERASURE, ask).await? {
                (_, Say::Erased { position, sessions_ended, confirmed }) => {
                    Ok(Erased { position: Position(position), sessions_ended, confirmed })
                }
                _ => Err(Trouble::BadAnswer),
            }
        })
    }

    fn rotate_key(&self, which: RotatedKey) -> BoxFuture<'_, Result<Rotated, Trouble>> {
        Box::pin(async move {
            match self.ask(Ask::KeysRotate(which.into())).await? {
                (_, Say::Rotated { position, name }) => Ok(Rotated { position: Position(position), name }),
                _ => Err(Trouble::BadAnswer),
            }
        })
    }

    fn apply_retention(&self, only_look: bool) -> BoxFuture<'_, Result<Vec<Month>, Trouble>> {
        Box::pin(async move {
            match self.ask(Ask::RetentionApply { only_look }).await? {
                (_, Say::Months { months }) => Ok(months.into_iter().map(Month).collect()),
                _ => Err(Trouble::BadAnswer),
            }
        })
    }

    fn source(&self) -> Result<Arc<dyn Source>, Trouble> {
        Ok(Arc::new(self.clone()))
    }

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
