//! Why a copy is not taken: one sentence each, with the line and, where there is one, the position.

use std::io;

use crate::domain::id::{Hash, Position};
use crate::event_log::codec::DecodeError;
use crate::event_log::note::NoteError;

/// No line is longer: a record has 64 KiB, and its words at most some times as much.
pub(super) const LINE_LIMIT: u64 = 2 << 20;

/// It is no copy of a log, or not as it was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The file cannot be read.
    #[error("the copy cannot be read")]
    Input(#[source] io::Error),
    /// A line is longer than any that is written.
    #[error("line {line} is longer than {LINE_LIMIT} bytes")]
    TooLong {
        /// Which; the first is 1.
        line: u64,
    },
    /// It does not begin as an export does.
    #[error("this is not an export of doorbook: its first line does not say so")]
    NotAnExport,
    /// It is of a form that does not exist yet.
    #[error("this export was written by a newer doorbook (export {export}, format {format})")]
    Newer {
        /// The number of the export's form.
        export: u32,
        /// The format of its frames.
        format: u8,
    },
    /// A line is something else.
    #[error("line {line} is not a line of an export: {why}")]
    NotALine {
        /// Which.
        line: u64,
        /// What is wrong.
        why: String,
    },
    /// A record is missing, or stands in another place.
    #[error("line {line} has position {found}, and {expected} was to come")]
    Position {
        /// Which line.
        line: u64,
        /// What it says.
        found: u64,
        /// What it should.
        expected: u64,
    },
    /// `raw` is no base64.
    #[error("line {line}, position {position}: `raw` is not base64")]
    NotBase64 {
        /// Which line.
        line: u64,
        /// Which position.
        position: Position,
    },
    /// `raw` is no record.
    #[error("line {line}, position {position}: `raw` is not a record")]
    NotARecord {
        /// Which line.
        line: u64,
        /// Which position.
        position: Position,
        /// Why not.
        #[source]
        source: DecodeError,
    },
    /// `event` is not what `raw` says.
    #[error(
        "line {line}, position {position}: `event` is not what `raw` says; it was edited, or a newer doorbook wrote it"
    )]
    Edited {
        /// Which line.
        line: u64,
        /// Which position.
        position: Position,
    },
    /// The first record begins no log, or another one than the header names.
    #[error("line {line}: the first record does not begin the log that line 1 names")]
    OtherLog {
        /// Which line.
        line: u64,
    },
    /// The header names another signer than the records do.
    #[error("line 1: `{member}` is not what the records say")]
    Header {
        /// Which member.
        member: &'static str,
    },
    /// The last line is missing.
    #[error("the copy was cut off behind {records} records: its last line is missing")]
    Cut {
        /// How many there are.
        records: u64,
    },
    /// Something stands behind the last line.
    #[error("line {line} stands behind the end of the copy")]
    Behind {
        /// Which.
        line: u64,
    },
    /// The last line counts other records.
    #[error("line {line} says that there are {said} records, and there are {found}")]
    Count {
        /// The last one.
        line: u64,
        /// What it says.
        said: u64,
        /// How many there are.
        found: u64,
    },
    /// The records are not those that were written.
    #[error("line {line}: the records have another root than the one that was written, {found}")]
    Root {
        /// The last one.
        line: u64,
        /// What they have.
        found: Hash,
    },
    /// The last line has another note than the records.
    #[error("line {line}: `checkpoint` is not the newest one among the records")]
    OtherNote {
        /// The last one.
        line: u64,
    },
    /// The note is not signed by this log.
    #[error("line {line}: the checkpoint is not signed by this log")]
    Signature {
        /// The last one.
        line: u64,
        /// Why not.
        #[source]
        source: NoteError,
    },
    /// The note signs for other records.
    #[error("line {line}: the first {size} records are not those that the checkpoint signs for")]
    Signed {
        /// The last one.
        line: u64,
        /// For how many it signs.
        size: u64,
    },
}
