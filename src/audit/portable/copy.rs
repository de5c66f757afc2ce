//! From text back to records, believing nothing: every line is checked before anybody gets its record.

use std::io::{BufRead, Read as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::clear::Clear;
use super::refusal::LINE_LIMIT;
use super::signers::Signers;
use super::{Copied, CopyError, Header, Line, Trailer, VERSION};
use crate::audit::succession::Succession;
use crate::domain::id::{LogId, Position};
use crate::event_log::codec::{FRAME_FORMAT, leaf_hash};
use crate::event_log::tree::Tree;

/// Reads the copy of a log, line by line.
pub struct CopyReader<'a> {
    input: &'a mut dyn BufRead,
    line: u64,
    header: Header,
    log: LogId,
    signers: Option<Signers>,
    tree: Tree,
    not_understood: Option<Position>,
}

/// What a copy has next.
pub enum Next {
    /// A record, as the log had it.
    Record(Bytes),
    /// Nothing more, and all of it was checked.
    End(Box<Copied>),
}

/// The part of the first line that never changes.
#[derive(Deserialize)]
struct Version {
    doorbook_export: u32,
    #[serde(default)]
    format: u8,
}

impl<'a> CopyReader<'a> {
    /// Reads the first line.
    pub fn begin(input: &'a mut dyn BufRead) -> Result<CopyReader<'a>, CopyError> {
        let first = read_line(input, 1)?.ok_or(CopyError::NotAnExport)?;
        let Version { doorbook_export: export, format } =
            serde_json::from_slice(&first.bytes).map_err(|_| CopyError::NotAnExport)?;
        if export != VERSION || format != FRAME_FORMAT {
            return Err(CopyError::Newer { export, format });
        }
        let header: Header = serde_json::from_slice(&first.bytes).map_err(|error| not_a_line(1, &error))?;
        let log = header.log.parse().map_err(|_| CopyError::Header { member: "log" })?;
        Ok(CopyReader { input, line: 1, header, log, signers: None, tree: Tree::new(), not_understood: None })
    }

    /// Returns which log it says it is; that it is, the first record shows.
    pub fn log(&self) -> LogId {
        self.log
    }

    /// Reads and checks the next line.
    #[expect(clippy::should_implement_trait, reason = "an iterator has no last word")]
    pub fn next(&mut self) -> Result<Next, CopyError> {
        self.line += 1;
        let records = self.tree.size();
        let line = read_line(self.input, self.line)?.ok_or(CopyError::Cut { records })?;
        let error = match serde_json::from_slice::<Line<Value>>(&line.bytes) {
            Ok(record) => return self.record(&record).map(Next::Record),
            Err(error) => error,
        };
        match serde_json::from_slice::<Trailer>(&line.bytes) {
            Ok(trailer) => self.end(&trailer).map(|copied| Next::End(Box::new(copied))),
            Err(_) if !line.is_whole => Err(CopyError::Cut { records }),
            Err(_) => Err(not_a_line(self.line, &error)),
        }
    }

    fn record(&mut self, given: &Line<Value>) -> Result<Bytes, CopyError> {
        let (line, position) = (self.line, Position(self.tree.size()));
        if given.position != position.0 {
            return Err(CopyError::Position { line, found: given.position, expected: position.0 });
        }
        let frame = STANDARD.decode(&given.raw).map_err(|_| CopyError::NotBase64 { line, position })?;
        let clear = Clear::of(&frame).map_err(|source| CopyError::NotARecord { line, position, source })?;
        if !clear.agrees(&given.event) {
            return Err(CopyError::Edited { line, position });
        }
        if !clear.is_understood {
            self.not_understood.get_or_insert(position);
        }
        if position == Position(0) {
            let first = clear.events.first().and_then(Signers::begin);
            self.signers = first.filter(|signers| signers.succession.log == self.log);
        }
        let Some(signers) = &mut self.signers else { return Err(CopyError::OtherLog { line }) };
        for event in &clear.events {
            signers.hear(position, event);
        }
        self.tree.push(leaf_hash(&frame));
        Ok(frame.into())
    }

    fn end(&mut self, trailer: &Trailer) -> Result<Copied, CopyError> {
        let (line, records, root) = (self.line, self.tree.size(), self.tree.root());
        let Some(signers) = self.signers.clone() else { return Err(CopyError::OtherLog { line }) };
        if trailer.records != records {
            return Err(CopyError::Count { line, said: trailer.records, found: records });
        }
        if trailer.root != root.to_string() {
            return Err(CopyError::Root { line, found: root });
        }
        if self.header.origin != signers.succession.name {
            return Err(CopyError::Header { member: "origin" });
        }
        // A newer doorbook may know of keys that stand in records nobody understands here.
        if self.not_understood.is_none() && self.header.public_keys != signers.keys(Position(records)) {
            return Err(CopyError::Header { member: "public_keys" });
        }
        self.check_note(&signers, trailer)?;
        if let Some(behind) = read_line(self.input, line + 1)?
            && !behind.bytes.is_empty()
        {
            return Err(CopyError::Behind { line: line + 1 });
        }
        let Signers { succession: Succession { log, name: origin, .. }, newest } = signers;
        Ok(Copied { log, origin, records, root, newest, not_understood: self.not_understood })
    }

    fn check_note(&self, signers: &Signers, trailer: &Trailer) -> Result<(), CopyError> {
        let line = self.line;
        let newest = signers.newest.as_ref();
        let is_newest = newest.map(|newest| &newest.note) == trailer.checkpoint.as_ref();
        if !is_newest && self.not_understood.is_none() {
            return Err(CopyError::OtherNote { line });
        }
        let Some(note) = &trailer.checkpoint else { return Ok(()) };
        let signed = signers.open(note).map_err(|source| CopyError::Signature { line, source })?;
        let says_the_same = !is_newest
            || newest.is_some_and(|newest| (newest.size, newest.root) == (signed.size, signed.root));
        if self.tree.root_at(signed.size) != Ok(signed.root) || !says_the_same {
            return Err(CopyError::Signed { line, size: signed.size });
        }
        Ok(())
    }
}

/// A line, without its end.
struct Read {
    bytes: Vec<u8>,
    /// Whether it has an end.
    is_whole: bool,
}

fn read_line(input: &mut dyn BufRead, line: u64) -> Result<Option<Read>, CopyError> {
    let mut bytes = Vec::new();
    let read = input.take(LINE_LIMIT).read_until(b'\n', &mut bytes).map_err(CopyError::Input)?;
    let is_whole = bytes.last() == Some(&b'\n');
    if !is_whole && u64::try_from(read).is_ok_and(|read| read >= LINE_LIMIT) {
        return Err(CopyError::TooLong { line });
    }
    if is_whole {
        bytes.pop();
    }
    Ok((read > 0).then_some(Read { bytes, is_whole }))
}

fn not_a_line(line: u64, error: &serde_json::Error) -> CopyError {
    // Each line is read alone, so the line that serde names is always the first.
    let text = error.to_string();
    let why = text.split(" at line ").next().unwrap_or(&text);
    CopyError::NotALine { line, why: format!("{why} at column {}", error.column()) }
}
