//! The operator's questions and commands, the same whether a running server answers them or nobody does.
//!
//! sled's lock is exclusive, so a running server is asked over a Unix socket in the data directory; without
//! one the command opens the log itself. Both are [`Answers`].

mod answers;
mod client;
#[cfg(test)]
pub(crate) mod fake;
mod select;
mod server;
mod socket;
mod wire;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;

pub use self::answers::{AppAnswers, Starting, in_one_line};
pub use self::client::Client;
pub use self::select::{Listed, Named, select};
pub use self::server::Server;
pub use self::socket::SOCKET_NAME;
use crate::audit::{ReadError, Source};
use crate::domain::event::{Audit, Requester};
use crate::domain::id::{DiscordId, Position, SessionId, SessionKey, Sub};
use crate::domain::time::{Month, Timestamp};

/// Whoever can answer the operator.
pub trait Answers: Send + Sync {
    /// Says whether sessions can be checked and the log can be written.
    fn health(&self) -> BoxFuture<'_, Result<Health, Trouble>>;

    /// Returns the live sessions that fit, newest first; [`select()`] does the choosing.
    fn sessions(&self, filter: SessionFilter) -> BoxFuture<'_, Result<Vec<SessionRow>, Trouble>>;

    /// Ends those sessions and returns how many were still live.
    fn revoke(&self, sessions: Vec<SessionId>, reason: Option<String>)
    -> BoxFuture<'_, Result<u32, Trouble>>;

    /// Erases a person, at Discord, in the log and from the keys; with `now` whether Discord confirms or not.
    fn erase(&self, whom: Sub, requested_by: Requester, now: bool) -> BoxFuture<'_, Result<Erased, Trouble>>;

    /// Changes a key for another one.
    fn rotate_key(&self, which: RotatedKey) -> BoxFuture<'_, Result<Rotated, Trouble>>;

    /// Makes the addresses and agents of months unreadable that are past what is kept; with `only_look` nothing
    /// happens. Returns which months.
    fn apply_retention(&self, only_look: bool) -> BoxFuture<'_, Result<Vec<Month>, Trouble>>;

    /// Writes down what the log is asked, before it is answered.
    fn note_audit(&self, asked: Asked) -> BoxFuture<'_, Result<(), Trouble>>;

    /// Gives the records of the log.
    fn source(&self) -> Result<Arc<dyn Source>, Trouble>;

    /// Closes what was opened to answer; a running server stays as it is.
    fn close(&self) -> BoxFuture<'_, Result<(), Trouble>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// How a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// The log has been replayed.
    pub ready: bool,
    /// The log can be written.
    pub log_available: bool,
}

/// A question about the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What is asked, about whom, over which positions.
    pub audit: Audit,
    /// The networks that are asked for.
    pub networks: Vec<String>,
    /// Whether a copy is taken.
    pub exported: bool,
}

/// A key that can be changed for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotatedKey {
    /// The root key, which all other key files are sealed under.
    Root,
    /// The key that signs for the log.
    Signer,
}

/// A key that took over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// Where the log says so.
    pub position: Position,
    /// The generation of the root key, or what others check signatures with.
    pub name: String,
}

/// What an erasure did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Erased {
    /// Where the log says so.
    pub position: Position,
    /// Live sessions that ended.
    pub sessions_ended: u32,
    /// Whether Discord has confirmed the end of the authorization; `None` where there was none.
    pub confirmed: Option<bool>,
}

/// Which sessions are meant; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// A Discord id, a username, a display name or a pseudonym.
    pub user: Option<String>,
    /// One session.
    pub session: Option<SessionId>,
    /// Opened then or later.
    pub since: Option<Timestamp>,
    /// Opened by the cookie whose secret has this SHA-256.
    pub key: Option<SessionKey>,
}

impl SessionFilter {
    /// Returns whether every session is meant.
    pub fn is_everything(&self) -> bool {
        *self == SessionFilter::default()
    }
}

/// A live session, as the operator sees it.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// The public id.
    pub id: SessionId,
    /// Whose; `None` where the profile cannot be opened.
    pub user: Option<SessionUser>,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it was last used.
    pub last_seen_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// From where it was last used, where known.
    pub ip: Option<IpAddr>,
    /// With what, where known.
    pub user_agent: Option<String>,
}

impl fmt::Debug for SessionRow {
    /// Writes nothing that tells whose it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionRow({})", self.id)
    }
}

/// A person, as the operator sees them.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionUser {
    /// The only name that stays.
    pub id: DiscordId,
    /// The handle.
    pub username: String,
    /// The name that is shown.
    pub display_name: String,
}

impl fmt::Debug for SessionUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionUser(..)")
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Trouble {
    /// More than one person goes by that name.
    #[error("more than one person goes by that name")]
    Ambiguous(Vec<SessionUser>),
    /// The log cannot be written; what was asked may or may not be found in it later.
    #[error("the log cannot be written")]
    LogUnavailable,
    /// The server speaks another version of this protocol.
    #[error("the running server is another version of doorbook (it speaks {theirs}, this program {ours})")]
    Version {
        /// What this program speaks.
        ours: u32,
        /// What the server speaks.
        theirs: u32,
    },
    /// The server did not understand the question.
    #[error("the running server did not understand the question")]
    NotUnderstood,
    /// This program did not understand the answer.
    #[error("the running server gave an answer that cannot be read")]
    BadAnswer,
    /// A question or an answer that is larger than allowed.
    #[error("a message was larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// No answer in time.
    #[error("the running server did not answer in time")]
    Timeout,
    /// The socket failed.
    #[error("the connection to the running server failed")]
    Connection(#[source] io::Error),
    /// The answer is no, and why.
    #[error("{0}")]
    No(String),
    /// The log cannot be read.
    #[error(transparent)]
    Read(ReadError),
    /// Something else, in words.
    #[error("{0}")]
    Failed(String),
}

impl From<ReadError> for Trouble {
    fn from(error: ReadError) -> Trouble {
        Trouble::Read(error)
    }
}

/// Why the socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Another server answers there.
    #[error("another doorbook already answers at {}", .0.display())]
    Taken(PathBuf),
    /// Something that is no socket stands there.
    #[error("{} is in the way: it is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// The file system or the socket failed.
    #[error("cannot use the control socket {}", .path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

#[cfg(test)]
mod tests;
