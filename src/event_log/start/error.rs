//! Why a start is refused: one sentence each, saying what is missing or damaged and what can be done.

use std::io;
use std::path::PathBuf;

use crate::domain::id::Position;

/// The log cannot be opened; its bytes are as they were.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Another process has it.
    #[error("the data directory {} is in use by another doorbook; stop that one first", dir.display())]
    Locked {
        /// Which.
        dir: PathBuf,
    },
    /// It belongs to somebody else.
    #[error(
        "the data directory {} belongs to user {owner}, and doorbook runs as user {uid}; \
         run it as that user, or hand the directory over: chown -R {uid}:{gid} {}",
        dir.display(),
        dir.display()
    )]
    NotOurs {
        /// Which.
        dir: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        uid: u32,
        /// Our group.
        gid: u32,
    },
    /// Nothing can be written there.
    #[error(
        "the data directory {} cannot be written to by user {uid}; hand it over: chown -R {uid}:{gid} {}",
        dir.display(),
        dir.display()
    )]
    NotWritable {
        /// Which.
        dir: PathBuf,
        /// Who we are.
        uid: u32,
        /// Our group.
        gid: u32,
    },
    /// Something else is where it should be, or where it should lie in.
    #[error(
        "the data directory {} cannot be used: {} is not a directory; name another place",
        dir.display(),
        blocker.display()
    )]
    NotADirectory {
        /// Which.
        dir: PathBuf,
        /// What is there: that path, or one above it.
        blocker: PathBuf,
    },
    /// Nobody can write there.
    #[error(
        "the data directory {} is on a file system that is mounted read-only; mount it read-write, \
         or name another place",
        dir.display()
    )]
    ReadOnly {
        /// Which.
        dir: PathBuf,
    },
    /// It is not there, and we may not make it.
    #[error(
        "the data directory {} cannot be made by user {uid}; \
         make it and hand it over: mkdir -p {} && chown {uid}:{gid} {}",
        dir.display(),
        dir.display(),
        dir.display()
    )]
    NotMade {
        /// Which.
        dir: PathBuf,
        /// Who we are.
        uid: u32,
        /// Our group.
        gid: u32,
    },
    /// There is a log or what belongs to one, but not the file that says where it ends.
    #[error(
        "HEAD is missing in {} although {beside} is there: nobody can say which records were acknowledged; \
         put HEAD back, or restore a backup into an empty directory",
        dir.display()
    )]
    HeadMissing {
        /// The data directory.
        dir: PathBuf,
        /// What was found.
        beside: &'static str,
    },
    /// There is a log already, or what belongs to one.
    #[error(
        "there is a log in {} already ({what} is there), and nothing was changed; \
         name another directory, or move that log away",
        dir.display()
    )]
    LogThere {
        /// The data directory.
        dir: PathBuf,
        /// What was found.
        what: &'static str,
    },
    /// A log was to be put back here, and that did not come to its end.
    #[error("a log was to be put back in {}, and that did not come to its end; do it again", dir.display())]
    Unfinished {
        /// The data directory.
        dir: PathBuf,
    },
    /// The disk is as good as full.
    #[error("only {free} bytes are free in {}, and {needed} must be", dir.display())]
    Full {
        /// The data directory.
        dir: PathBuf,
        /// What there is.
        free: u64,
        /// What there must be.
        needed: u64,
    },
    /// Both slots of `HEAD` are damaged.
    #[error(
        "HEAD in {} is damaged: nobody can say which records were acknowledged; \
         put a good one back, or restore a backup into an empty directory",
        dir.display()
    )]
    HeadDamaged {
        /// The data directory.
        dir: PathBuf,
    },
    /// `HEAD` is of a format that does not exist yet.
    #[error("HEAD in {} was written by a newer doorbook (format {format}); start that one", dir.display())]
    HeadNewer {
        /// The data directory.
        dir: PathBuf,
        /// Its format.
        format: u16,
    },
    /// `HEAD` says that the log was never finished, but there is one.
    #[error(
        "HEAD in {} says that the log was never finished, but {why}; \
         put the HEAD back that belongs to this log, or restore a backup into an empty directory",
        dir.display()
    )]
    NeverFinished {
        /// The data directory.
        dir: PathBuf,
        /// What was found.
        why: String,
    },
    /// sled's data file is gone.
    #[error(
        "the database {} is missing, but the record at position {acknowledged} was acknowledged; \
         put it back, bring the log back with `doorbook restore --salvage`, or go on without those records with --accept-loss",
        path.display()
    )]
    DatabaseMissing {
        /// Where it was expected.
        path: PathBuf,
        /// The last acknowledged position.
        acknowledged: Position,
    },
    /// sled cannot open it, or stopped while it was read.
    #[error(
        "the database {} cannot be opened: {why}; \
         bring the log back with `doorbook restore --salvage`, or go on without its records with --accept-loss",
        path.display()
    )]
    Damaged {
        /// Where it is.
        path: PathBuf,
        /// What is known.
        why: String,
    },
    /// The machine keeps sled from opening it.
    #[error("the database {} cannot be opened: {why}", path.display())]
    Unopened {
        /// Where it is.
        path: PathBuf,
        /// What is known.
        why: String,
    },
    /// A record in the middle is missing or unreadable.
    #[error(
        "the log is broken at position {position}: {why} ({behind} records stand behind it); \
         bring the log back with `doorbook restore --salvage`, or go on from there with --accept-loss"
    )]
    Broken {
        /// Where.
        position: Position,
        /// What is known.
        why: String,
        /// How many records were found behind it.
        behind: u64,
    },
    /// A whole record means nothing to this version.
    #[error("the record at position {position} cannot be read: {why}")]
    Unreadable {
        /// Where.
        position: Position,
        /// What is known.
        why: String,
    },
    /// Acknowledged records are gone from the end.
    #[error(
        "the log {}, but the record at position {acknowledged} was acknowledged; \
         bring the log back with `doorbook restore --salvage`, or go on without the missing records with --accept-loss",
        ends(*found)
    )]
    Loss {
        /// Where the log ends.
        found: Option<Position>,
        /// Where it ended when it was last acknowledged.
        acknowledged: Position,
    },
    /// The database is of another log.
    #[error("the database in {} belongs to another log than HEAD; put the one back that belongs there", dir.display())]
    Replaced {
        /// The data directory.
        dir: PathBuf,
    },
    /// Another record stands where one was acknowledged.
    #[error(
        "the record at position {position} is not the one that was acknowledged: the database was \
         replaced or changed; put the right one back, or restore a backup"
    )]
    Changed {
        /// Where.
        position: Position,
    },
    /// sled keeps records in files that it never syncs.
    #[error("{} holds files: doorbook never writes any there; move them away", path.display())]
    Blobs {
        /// Where.
        path: PathBuf,
    },
    /// The copy that is looked at after an unclean stop has no room.
    #[error(
        "the log was not closed in order, and {} has no room for the copy that must be looked at first: \
         {needed} bytes are needed, {free} are free",
        dir.display()
    )]
    NoRoom {
        /// The data directory.
        dir: PathBuf,
        /// How many must be free.
        needed: u64,
        /// How many are.
        free: u64,
    },
    /// The file system refused.
    #[error("{what}: {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl StartError {
    /// Returns whether it makes no sense to try again without the operator.
    pub(in super::super) fn is_final(&self) -> bool {
        !matches!(self, StartError::NoRoom { .. } | StartError::Unopened { .. } | StartError::Io { .. })
    }

    /// Returns whether the log may be read all the same, elsewhere.
    pub fn is_not_writable(&self) -> bool {
        matches!(self, StartError::NotWritable { .. } | StartError::ReadOnly { .. })
    }

    /// Returns whether `--accept-loss` is a way on.
    pub fn can_be_accepted(&self) -> bool {
        matches!(
            self,
            StartError::DatabaseMissing { .. }
                | StartError::Damaged { .. }
                | StartError::Broken { .. }
                | StartError::Loss { .. }
        )
    }
}

fn ends(found: Option<Position>) -> String {
    match found {
        Some(position) => format!("ends at position {position}"),
        None => "is empty".into(),
    }
}
