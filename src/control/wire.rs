//! What goes over the socket: one JSON object per line, each with the version it is written in.
//!
//! A question is one line. An answer is any number of rows and then one line that ends it, so that a long
//! list needs no large message. Records come as they stand in the log: a line says how many bytes follow, and
//! every frame knows its own length.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Asked, Health, RotatedKey, SessionFilter, SessionRow, SessionUser, Trouble};
use crate::domain::event::{self, Audit};
use crate::domain::id::{DiscordId, NotAnId, Position, SessionId};
use crate::domain::time::Timestamp;
use crate::event_log::Lookup;

/// The version that this program speaks.
pub(super) const VERSION: u32 = 1;

/// No line is longer.
pub(super) const LINE_LIMIT: usize = 64 * 1024;

/// No more bytes of records follow one line: as many as a chunk of the log can have.
pub(super) const RECORDS_LIMIT: usize = 256 * 65_535;

/// That many positions fit into one question, and that many of what was found into one line.
pub(super) const POSITIONS_PER_QUESTION: usize = 256;

/// That many ids fit into one question.
pub(super) const IDS_PER_QUESTION: usize = 1_000;

/// The part of every line that never changes.
#[derive(Serialize, Deserialize)]
pub(super) struct Version {
    pub(super) doorbook: u32,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Question {
    pub(super) doorbook: u32,
    pub(super) ask: Ask,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Ask {
    Ping,
    Health,
    SessionsList(Filter),
    SessionsRevoke {
        sessions: Vec<String>,
        reason: Option<String>,
    },
    UserErase {
        sub: String,
        requested_by: u16,
        now: bool,
    },
    NoteAudit(Noted),
    KeysRotate(Key),
    RetentionApply {
        only_look: bool,
    },
    LogHead,
    LogFind(Find),
    /// The frames at these positions, which are as many as [`POSITIONS_PER_QUESTION`] at most.
    LogPick {
        positions: Vec<u64>,
    },
    /// Frames from one position to another, or to the last one that is there; without the second, what comes as
    /// well, until one side hangs up.
    LogRecords {
        from: u64,
        to: Option<u64>,
    },
}

/// Which key is changed for another one.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Key {
    Root,
    Signer,
}

/// What is looked up, by its id in hexadecimal or by its number.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Find {
    User(String),
    Session(String),
    Kind(u16),
    Times,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) doorbook: u32,
    pub(super) say: Say,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Say {
    Session(Session),
    Pong,
    Health {
        ready: bool,
        log_available: bool,
    },
    Listed,
    Revoked {
        ended: u32,
    },
    Erased {
        position: u64,
        sessions_ended: u32,
        confirmed: Option<bool>,
    },
    Rotated {
        position: u64,
        name: String,
    },
    /// Months that were made unreadable, or would be.
    Months {
        months: Vec<u32>,
    },
    No {
        why: String,
    },
    /// What was to be written down is on stable storage.
    Noted,
    Head {
        position: Option<u64>,
    },
    /// Some of the records that were found, each with its effective time.
    Found {
        records: Vec<(u64, i64)>,
    },
    /// No more were found; up to where that is so, or nothing where there is no index.
    FoundEnd {
        up_to: Option<(u64, i64)>,
    },
    /// That many frames follow the line, one behind the other, in so many bytes.
    Records {
        from: u64,
        bytes: usize,
    },
    RecordsEnd,
    Broken {
        position: u64,
        why: String,
    },
    Ambiguous(Vec<User>),
    LogUnavailable,
    Version,
    NotUnderstood,
    TooLarge {
        limit: usize,
    },
    Failed {
        why: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    user: Option<String>,
    session: Option<String>,
    since: Option<i64>,
    key: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Noted {
    question: u16,
    user: Option<String>,
    from: Option<u64>,
    to: Option<u64>,
    rows: Option<u64>,
    networks: Vec<String>,
    exported: bool,
}

#[derive(Serialize, Deserialize)]
pub(super) struct User {
    id: String,
    username: String,
    display_name: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Session {
    id: String,
    user: Option<User>,
    opened_at: i64,
    last_seen_at: i64,
    expires_at: i64,
    ip: Option<IpAddr>,
    user_agent: Option<String>,
}

impl Say {
    /// Returns how a trouble is said; what only the asking side can have becomes words.
    pub(super) fn trouble(trouble: &Trouble) -> Say {
        match trouble {
            Trouble::Ambiguous(users) => Say::Ambiguous(users.iter().map(User::from).collect()),
            Trouble::LogUnavailable => Say::LogUnavailable,
            Trouble::No(why) => Say::No { why: why.clone() },
            Trouble::NotUnderstood => Say::NotUnderstood,
            Trouble::TooLarge { limit } => Say::TooLarge { limit: *limit },
            other => Say::Failed { why: other.to_string() },
        }
    }
}

impl From<RotatedKey> for Key {
    fn from(key: RotatedKey) -> Key {
        match key {
            RotatedKey::Root => Key::Root,
            RotatedKey::Signer => Key::Signer,
        }
    }
}

impl From<Key> for RotatedKey {
    fn from(key: Key) -> RotatedKey {
        match key {
            Key::Root => RotatedKey::Root,
            Key::Signer => RotatedKey::Signer,
        }
    }
}

impl From<Lookup> for Find {
    fn from(lookup: Lookup) -> Find {
        match lookup {
            Lookup::User(sub) => Find::User(sub.to_string()),
            Lookup::Session(session) => Find::Session(session.to_string()),
            Lookup::Kind(kind) => Find::Kind(kind),
            Lookup::Times => Find::Times,
        }
    }
}

impl TryFrom<Find> for Lookup {
    type Error = NotAnId;

    fn try_from(find: Find) -> Result<Lookup, NotAnId> {
        Ok(match find {
            Find::User(sub) => Lookup::User(sub.parse()?),
            Find::Session(session) => Lookup::Session(session.parse()?),
            Find::Kind(kind) => Lookup::Kind(kind),
            Find::Times => Lookup::Times,
        })
    }
}

impl From<&SessionFilter> for Filter {
    fn from(filter: &SessionFilter) -> Filter {
        Filter {
            user: filter.user.clone(),
            session: filter.session.map(|id| id.to_string()),
            since: filter.since.map(|at| at.0),
            key: filter.key.map(|key| key.to_string()),
        }
    }
}

impl TryFrom<Filter> for SessionFilter {
    type Error = NotAnId;

    fn try_from(filter: Filter) -> Result<SessionFilter, NotAnId> {
        Ok(SessionFilter {
            user: filter.user,
            session: filter.session.map(|id| id.parse()).transpose()?,
            since: filter.since.map(Timestamp),
            key: filter.key.map(|key| key.parse()).transpose()?,
        })
    }
}

impl From<&Asked> for Noted {
    fn from(asked: &Asked) -> Noted {
        let Audit { question, user, from, to, rows } = &asked.audit;
        Noted {
            question: question.code(),
            user: user.map(|sub| sub.to_string()),
            from: from.map(|position| position.0),
            to: to.map(|position| position.0),
            rows: *rows,
            networks: asked.networks.clone(),
            exported: asked.exported,
        }
    }
}

impl TryFrom<Noted> for Asked {
    type Error = NotAnId;

    fn try_from(noted: Noted) -> Result<Asked, NotAnId> {
        let audit = Audit {
            question: event::Question::from_code(noted.question),
            user: noted.user.map(|sub| sub.parse()).transpose()?,
            from: noted.from.map(Position),
            to: noted.to.map(Position),
            rows: noted.rows,
        };
        Ok(Asked { audit, networks: noted.networks, exported: noted.exported })
    }
}

impl From<&SessionUser> for User {
    fn from(user: &SessionUser) -> User {
        User {
            id: user.id.to_string(),
            username: user.username.clone(),
            display_name: user.display_name.clone(),
        }
    }
}

impl TryFrom<User> for SessionUser {
    type Error = NotAnId;

    fn try_from(user: User) -> Result<SessionUser, NotAnId> {
        let id: DiscordId = user.id.parse()?;
        Ok(SessionUser { id, username: user.username, display_name: user.display_name })
    }
}

impl From<&SessionRow> for Session {
    fn from(row: &SessionRow) -> Session {
        Session {
            id: row.id.to_string(),
            user: row.user.as_ref().map(User::from),
            opened_at: row.opened_at.0,
            last_seen_at: row.last_seen_at.0,
            expires_at: row.expires_at.0,
            ip: row.ip,
            user_agent: row.user_agent.clone(),
        }
    }
}

impl TryFrom<Session> for SessionRow {
    type Error = NotAnId;

    fn try_from(session: Session) -> Result<SessionRow, NotAnId> {
        let id: SessionId = session.id.parse()?;
        Ok(SessionRow {
            id,
            user: session.user.map(SessionUser::try_from).transpose()?,
            opened_at: Timestamp(session.opened_at),
            last_seen_at: Timestamp(session.last_seen_at),
            expires_at: Timestamp(session.expires_at),
            ip: session.ip,
            user_agent: session.user_agent,
        })
    }
}

impl From<Health> for Say {
    fn from(health: Health) -> Say {
        Say::Health { ready: health.ready, log_available: health.log_available }
    }
}
