//! From the log to text: a look through all of it first, and then one line after the other.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::clear::Clear;
use super::signers::Signers;
use super::{Copied, Header, Line, Noted, Trailer, VERSION};
use crate::audit::{ReadError, Reader};
use crate::domain::id::Position;
use crate::event_log::codec::{FRAME_FORMAT, leaf_hash};
use crate::event_log::tree::Frontier;

/// What must be known of a log before its first line can be written.
#[derive(Clone, Debug)]
pub struct Survey {
    signers: Signers,
    not_understood: Option<Position>,
    head: Position,
}

/// Why there is no copy, or no whole one.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The log could not be read on.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What was read could not be written.
    #[error("the copy cannot be written")]
    Write(#[from] io::Error),
}

impl Survey {
    /// Returns the last position that was looked at.
    pub fn head(&self) -> Position {
        self.head
    }

    /// Returns the newest signed note.
    pub fn newest(&self) -> Option<&Noted> {
        self.signers.newest.as_ref()
    }
}

impl Reader {
    /// Looks through the log up to a position: which keys signed, and the newest note.
    pub async fn survey(&self, head: Position, mut progress: impl FnMut(u64)) -> Result<Survey, ReadError> {
        let mut signers = None;
        let mut not_understood = None;
        let mut records = self.source().records(Position(0), Some(head)).await?;
        while let Some(chunk) = records.next().await? {
            for (position, frame) in &chunk {
                let clear = clear(*position, frame)?;
                if !clear.is_understood {
                    not_understood.get_or_insert(*position);
                }
                let signers: &mut Signers = match &mut signers {
                    Some(signers) => signers,
                    none => none.insert(begin(*position, &clear)?),
                };
                clear.events.iter().for_each(|event| signers.hear(*position, event));
            }
            progress(chunk.last().map_or(0, |(last, _)| last.next().0));
        }
        let signers = signers.ok_or(ReadError::Closed)?;
        Ok(Survey { signers, not_understood, head })
    }

    /// Writes the log as text, from its first record to the one at `to`; the same bytes each time.
    pub async fn export(
        &self,
        survey: &Survey,
        to: Position,
        out: &mut dyn Write,
        mut progress: impl FnMut(u64),
    ) -> Result<Copied, ExportError> {
        let mut signers = survey.signers.clone();
        signers.newest = None;
        let header = Header {
            doorbook_export: VERSION,
            log: signers.succession.log.to_string(),
            origin: signers.succession.name.clone(),
            format: FRAME_FORMAT,
            public_keys: signers.keys(to),
        };
        write_line(out, &header)?;
        let mut tree = Frontier::new();
        let mut records = self.source().records(Position(0), Some(to)).await?;
        while let Some(chunk) = records.next().await? {
            for (position, frame) in &chunk {
                let clear = clear(*position, frame)?;
                let raw = STANDARD.encode(frame);
                write_line(out, &Line { position: position.0, raw, event: &clear.said })?;
                clear.events.iter().for_each(|event| signers.hear_note(*position, event));
                tree.push(leaf_hash(frame));
            }
            progress(tree.size());
        }
        if tree.size() != to.next().0 {
            return Err(ReadError::Closed.into());
        }
        let (records, root) = (tree.size(), tree.root());
        let checkpoint = signers.newest.as_ref().map(|newest| newest.note.clone());
        write_line(out, &Trailer { records, root: root.to_string(), checkpoint })?;
        out.flush()?;
        Ok(Copied {
            log: signers.succession.log,
            origin: signers.succession.name,
            records,
            root,
            newest: signers.newest,
            not_understood: survey.not_understood.filter(|position| *position <= to),
        })
    }
}

fn clear(position: Position, frame: &[u8]) -> Result<Clear, ReadError> {
    Clear::of(frame).map_err(|source| ReadError::Decode { position, source })
}

fn begin(position: Position, clear: &Clear) -> Result<Signers, ReadError> {
    let signers = clear.events.first().and_then(Signers::begin);
    signers.ok_or_else(|| ReadError::Broken { position, why: "it does not begin a log".into() })
}

fn write_line(out: &mut dyn Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}
