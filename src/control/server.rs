//! The side of the socket that answers.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::socket::{Lines, SOCKET_NAME, ShortPath};
use super::wire::{Ask, Line, POSITIONS_PER_QUESTION, Question, Say, Session, VERSION, Version};
use super::{Answers, Asked, ControlError, Erased, Rotated, SessionFilter, Trouble};
use crate::audit::ReadError;
use crate::clock::Clock;
use crate::domain::event::Requester;
use crate::domain::id::Position;
use crate::event_log::{Chunk, Found};

/// Who asks at all, asks within this time, and takes the answer within it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who takes records may stand still for so long: a person may be reading them page by page.
const STANDSTILL: Duration = Duration::from_secs(120);

/// So many may ask at once; the others wait.
const AT_ONCE: usize = 16;

/// So many of them may follow the log.
const FOLLOWERS: usize = 8;

/// The socket, bound.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl Server {
    /// Binds the socket in the data directory, for this user alone.
    ///
    /// What a dead server left is replaced; a live one, or a file that is no socket, is refused.
    pub fn bind(data_dir: &Path) -> Result<Server, ControlError> {
        let path = data_dir.join(SOCKET_NAME);
        let failed = |source| ControlError::Io { path: path.clone(), source };
        match std::fs::symlink_metadata(&path) {
            Ok(found) if !found.file_type().is_socket() => return Err(ControlError::NotASocket(path)),
            Ok(_) if is_live(data_dir).map_err(failed)? => return Err(ControlError::Taken(path)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        // Under another name first, so that nobody meets the socket before its mode is right.
        let bind = || {
            let fresh = format!("{SOCKET_NAME}.new");
            let fresh_path = data_dir.join(&fresh);
            match std::fs::remove_file(&fresh_path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let listener = UnixListener::bind(ShortPath::new(data_dir, &fresh)?.path())?;
            std::fs::set_permissions(&fresh_path, Permissions::from_mode(0o600))?;
            std::fs::rename(&fresh_path, &path)?;
            let inode = std::fs::symlink_metadata(&path)?.ino();
            Ok((listener, inode))
        };
        let (listener, inode) = bind().map_err(failed)?;
        Ok(Server { listener, path, inode })
    }

    /// Answers until `shutdown` is done; the socket is gone afterwards.
    pub async fn serve(
        self,
        answers: Arc<dyn Answers>,
        clock: Arc<dyn Clock>,
        shutdown: impl Future<Output = ()> + Send,
    ) {
        let seats = Arc::new(Semaphore::new(AT_ONCE));
        let followers = Arc::new(Semaphore::new(FOLLOWERS));
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let next = async {
                let seat = Arc::clone(&seats).acquire_owned().await;
                (seat, self.listener.accept().await)
            };
            let (seat, accepted) = match select(std::pin::pin!(next), shutdown.as_mut()).await {
                Either::Left((next, _)) => next,
                Either::Right(_) => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (answers, clock) = (Arc::clone(&answers), Arc::clone(&clock));
                    let followers = Arc::clone(&followers);
                    tokio::spawn(async move {
                        let _seat = seat;
                        if let Err(error) = converse(stream, &*answers, &followers, clock).await {
                            tracing::debug!(error = %error, "a conversation over the control socket ended");
                        }
                    });
                }
                Err(error) => {
                    // No file descriptor is left, most likely: asking again at once would spin.
                    tracing::warn!(error = %error, "the control socket could not accept");
                    clock.sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode);
        if ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(error = %error, "the control socket could not be removed");
        }
    }
}

fn is_live(data_dir: &Path) -> io::Result<bool> {
    let short = ShortPath::new(data_dir, SOCKET_NAME)?;
    match std::os::unix::net::UnixStream::connect(short.path()) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

async fn converse(
    stream: UnixStream,
    answers: &dyn Answers,
    followers: &Semaphore,
    clock: Arc<dyn Clock>,
) -> Result<(), Trouble> {
    let peer = stream.peer_cred().map_err(Trouble::Connection)?.uid();
    let own = rustix::process::geteuid().as_raw();
    if peer != own && peer != 0 {
        tracing::warn!("another user of this machine reached the control socket and was turned away");
        return Ok(());
    }
    let mut lines = Lines::new(stream, clock);
    loop {
        let line = match lines.read(PATIENCE).await {
            Ok(Some(line)) => line,
            Ok(None) => return Ok(()),
            Err(trouble @ Trouble::TooLarge { .. }) => {
                let say = Say::trouble(&trouble);
                lines.write(&Line { doorbook: VERSION, say }, PATIENCE).await?;
                return Err(trouble);
            }
            Err(trouble) => return Err(trouble),
        };
        match understand(&line) {
            Ok(Ask::LogRecords { from, to }) => {
                stream_records(&mut lines, answers, Position(from), to.map(Position), followers).await?;
            }
            Ok(Ask::LogPick { positions }) => pick(&mut lines, answers, positions).await?,
            Ok(ask) => {
                let says = carry_out(ask, answers).await;
                for say in says.unwrap_or_else(|trouble| vec![Say::trouble(&trouble)]) {
                    lines.write(&Line { doorbook: VERSION, say }, PATIENCE).await?;
                }
            }
            Err(say) => lines.write(&Line { doorbook: VERSION, say: *say }, PATIENCE).await?,
        }
    }
}

fn understand(line: &[u8]) -> Result<Ask, Box<Say>> {
    match serde_json::from_slice::<Version>(line) {
        Ok(version) if version.doorbook == VERSION => {}
        Ok(_) => return Err(Box::new(Say::Version)),
        Err(_) => return Err(Box::new(Say::NotUnderstood)),
    }
    let question = serde_json::from_slice::<Question>(line);
    question.map(|question| question.ask).map_err(|_| Box::new(Say::NotUnderstood))
}

/// Sends the records at these places.
async fn pick(lines: &mut Lines, answers: &dyn Answers, positions: Vec<u64>) -> Result<(), Trouble> {
    let picked = async {
        if positions.len() > POSITIONS_PER_QUESTION {
            return Err(Trouble::NotUnderstood);
        }
        Ok(answers.source()?.pick(positions.into_iter().map(Position).collect()).await?)
    };
    let say = match picked.await {
        Ok(chunk) => {
            send(lines, &chunk).await?;
            Say::RecordsEnd
        }
        Err(Trouble::Read(ReadError::Broken { position, why })) => Say::Broken { position: position.0, why },
        Err(trouble) => Say::trouble(&trouble),
    };
    lines.write(&Line { doorbook: VERSION, say }, PATIENCE).await
}

/// Sends frames one behind the other, after a line that says how many bytes they are.
async fn send(lines: &mut Lines, chunk: &Chunk) -> Result<(), Trouble> {
    let Some((first, _)) = chunk.first() else { return Ok(()) };
    let bytes: usize = chunk.iter().map(|(_, frame)| frame.len()).sum();
    let mut all = Vec::with_capacity(bytes);
    chunk.iter().for_each(|(_, frame)| all.extend_from_slice(frame));
    let say = Say::Records { from: first.0, bytes };
    lines.write(&Line { doorbook: VERSION, say }, STANDSTILL).await?;
    lines.write_bytes(&all, STANDSTILL).await
}

/// Sends records as they are; whoever takes them checks them.
async fn stream_records(
    lines: &mut Lines,
    answers: &dyn Answers,
    from: Position,
    to: Option<Position>,
    followers: &Semaphore,
) -> Result<(), Trouble> {
    let say = |say| Line { doorbook: VERSION, say };
    let refused = |why: &str| Say::trouble(&Trouble::Failed(why.to_owned()));
    // Who follows stays, and must not keep those out who only want to know something.
    let _seat = match (to, followers.try_acquire()) {
        (None, Err(_)) => {
            return lines.write(&say(refused("too many follow the log already")), PATIENCE).await;
        }
        (_, seat) => seat.ok().filter(|_| to.is_none()),
    };
    let records = async {
        let source = answers.source()?;
        let end = match to {
            // What is not there yet would be waited for, without a seat and without an end.
            Some(to) => match source.head().await? {
                Some(head) => Some(to.min(head)),
                None => return Ok(None),
            },
            None => None,
        };
        if end.is_some_and(|end| end < from) {
            return Ok(None);
        }
        source.records(from, end).await.map(Some).map_err(Trouble::from)
    };
    let mut records = match records.await {
        Ok(Some(records)) => records,
        Ok(None) => return lines.write(&say(Say::RecordsEnd), PATIENCE).await,
        Err(trouble) => return lines.write(&say(Say::trouble(&trouble)), PATIENCE).await,
    };
    loop {
        let next = {
            let next = std::pin::pin!(records.next());
            match select(next, std::pin::pin!(lines.hung_up())).await {
                Either::Left((next, _)) => next,
                Either::Right(_) => return Ok(()),
            }
        };
        match next {
            Ok(Some(chunk)) => send(lines, &chunk).await?,
            Ok(None) => return lines.write(&say(Say::RecordsEnd), STANDSTILL).await,
            Err(ReadError::Broken { position, why }) => {
                return lines.write(&say(Say::Broken { position: position.0, why }), PATIENCE).await;
            }
            Err(error) => return lines.write(&say(Say::trouble(&error.into())), PATIENCE).await,
        }
    }
}

async fn carry_out(ask: Ask, answers: &dyn Answers) -> Result<Vec<Say>, Trouble> {
    match ask {
        Ask::Ping => Ok(vec![Say::Pong]),
        Ask::Health => Ok(vec![answers.health().await?.into()]),
        Ask::SessionsList(filter) => {
            let filter = SessionFilter::try_from(filter).map_err(|_| Trouble::NotUnderstood)?;
            let rows = answers.sessions(filter).await?;
            let rows = rows.iter().map(|row| Say::Session(Session::from(row)));
            Ok(rows.chain([Say::Listed]).collect())
        }
        Ask::UserErase { sub, requested_by, now } => {
            let sub = sub.parse().map_err(|_| Trouble::NotUnderstood)?;
            let erased = answers.erase(sub, Requester::from_code(requested_by), now).await?;
            let Erased { position, sessions_ended, confirmed } = erased;
            Ok(vec![Say::Erased { position: position.0, sessions_ended, confirmed }])
        }
        Ask::NoteAudit(noted) => {
            let asked = Asked::try_from(noted).map_err(|_| Trouble::NotUnderstood)?;
            answers.note_audit(asked).await?;
            Ok(vec![Say::Noted])
        }
        Ask::KeysRotate(key) => {
            let Rotated { position, name } = answers.rotate_key(key.into()).await?;
            Ok(vec![Say::Rotated { position: position.0, name }])
        }
        Ask::RetentionApply { only_look } => {
            let months = answers.apply_retention(only_look).await?;
            Ok(vec![Say::Months { months: months.iter().map(|month| month.0).collect() }])
        }
        Ask::LogHead => {
            let position = answers.source()?.head().await?;
            Ok(vec![Say::Head { position: position.map(|position| position.0) }])
        }
        Ask::LogFind(find) => {
            let lookup = find.try_into().map_err(|_| Trouble::NotUnderstood)?;
            let Some(Found { records, up_to }) = answers.source()?.find(lookup).await? else {
                return Ok(vec![Say::FoundEnd { up_to: None }]);
            };
            let parts = records.chunks(POSITIONS_PER_QUESTION).map(|part| Say::Found {
                records: part.iter().map(|(position, at)| (position.0, at.0)).collect(),
            });
            let end = Say::FoundEnd { up_to: up_to.map(|(position, at)| (position.0, at.0)) };
            Ok(parts.chain([end]).collect())
        }
        // They have answers of their own kind.
        Ask::LogRecords { .. } | Ask::LogPick { .. } => Err(Trouble::NotUnderstood),
        Ask::SessionsRevoke { sessions, reason } => {
            let ids = sessions.iter().map(|id| id.parse()).collect::<Result<Vec<_>, _>>();
            let ids = ids.map_err(|_| Trouble::NotUnderstood)?;
            Ok(vec![Say::Revoked { ended: answers.revoke(ids, reason).await? }])
        }
    }
}
