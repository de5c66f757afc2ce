//! What can still be read of a damaged database, and which of it is proven to stand where it stood.
//!
//! What sled gives has its position beside it. In the bytes of its file a record stands in one piece too, but sled
//! leaves out what the positions of a page have in common, so that only the end of a position is known there. Such a
//! record is tried where it may have stood, and counts only where a root that was signed behind it says so.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use bytes::Bytes;

use crate::domain::event::Event;
use crate::domain::id::{Hash, Position, RecordId};
use crate::event_log::codec::{decode_record, leaf_hash};
use crate::event_log::head::Last;
use crate::event_log::tree::Frontier;

/// sled writes nothing across the end of one of these.
const SEGMENT: usize = 8 << 20;
/// Format, schema and the upper half of the length: how every frame begins.
const BEGINNING: [u8; 5] = [1, 0, 1, 0, 0];
const HEADER: usize = 7;

/// What was found behind a copy.
#[derive(Default)]
pub(super) struct Remains {
    /// What sled gave.
    given: BTreeMap<Position, Bytes>,
    /// What stands in the bytes, by as many of the last bytes of its position as are known.
    found: HashMap<Ending, Vec<Found>>,
}

struct Found {
    id: RecordId,
    frame: Bytes,
}

/// The last bytes of a position: how many, and what they are.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Ending {
    bytes: usize,
    value: u64,
}

impl Ending {
    fn of(position: Position, bytes: usize) -> Ending {
        let known = u32::try_from(bytes).ok().and_then(|bytes| 256_u64.checked_pow(bytes));
        Ending { bytes, value: known.map_or(position.0, |known| position.0 % known) }
    }

    /// Reads the key of so many bytes that ends there, behind its length.
    fn before(segment: &[u8], end: usize, bytes: usize) -> Option<Ending> {
        let (length, key) = segment.get(end.checked_sub(bytes + 1)?..end)?.split_first()?;
        let value = key.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
        (usize::from(*length) == bytes).then_some(Ending { bytes, value })
    }
}

impl Remains {
    /// Takes what sled gave.
    pub(super) fn take(&mut self, position: Position, frame: Bytes) {
        self.given.insert(position, frame);
    }

    /// Returns what sled gave at a position.
    pub(super) fn given(&self, position: Position) -> Option<&Bytes> {
        self.given.get(&position)
    }

    /// Takes whatever stands in the bytes of sled's file and is not known yet.
    pub(super) fn scan(&mut self, db: &Path, known: &HashSet<Hash>) -> io::Result<()> {
        let file = File::open(db)?;
        let mut segment = vec![0; SEGMENT];
        let (mut at, mut seen) = (0, HashSet::new());
        loop {
            let read = read_up_to(&file, &mut segment, at)?;
            if read == 0 {
                return Ok(());
            }
            for (ending, frame) in frames_in(&segment[..read]) {
                let leaf = leaf_hash(frame);
                if !known.contains(&leaf)
                    && seen.insert((ending, leaf))
                    && let Ok(record) = decode_record(frame)
                {
                    let found = Found { id: record.id, frame: Bytes::copy_from_slice(frame) };
                    self.found.entry(ending).or_default().push(found);
                }
            }
            at += u64::try_from(read).map_err(io::Error::other)?;
        }
    }

    /// Returns the records that follow on a copy without a gap, as far as nobody can doubt it.
    ///
    /// A record is beyond doubt where sled gave it, where `HEAD` knows it, or before a size whose root was signed.
    pub(super) fn behind(&self, mut tree: Frontier, head: Option<Last>) -> Vec<Bytes> {
        let begin = tree.size();
        let (mut taken, mut sure, mut proven) = (Vec::new(), Vec::new(), 0);
        let (mut roots, mut used) = (HashMap::new(), HashSet::new());
        loop {
            let position = Position(tree.size());
            let given = self.given(position);
            let Some(frame) = given.or_else(|| self.may_stand_at(position, &used)) else { break };
            let Ok(record) = decode_record(frame) else { break };
            let leaf = leaf_hash(frame);
            tree.push(leaf);
            roots.insert(tree.size(), tree.root());
            used.insert(leaf);
            taken.push(frame.clone());
            sure.push(given.is_some() || head == Some(Last { position, leaf }));
            let mut contradicted = false;
            for event in &record.events {
                if let Event::CheckpointSigned { size, root, .. } = event
                    && let Some(found) = roots.get(size)
                {
                    match found == root {
                        true => proven = proven.max(index(size - begin)),
                        false => contradicted = true,
                    }
                }
            }
            if contradicted {
                // One of them is another record than stood there.
                sure.truncate(proven);
                break;
            }
        }
        let end = proven + sure.iter().skip(proven).take_while(|sure| **sure).count();
        taken.truncate(end);
        taken
    }

    /// Returns the record that is tried at a position: of all that end like that, the oldest that stands nowhere yet.
    fn may_stand_at(&self, position: Position, used: &HashSet<Hash>) -> Option<&Bytes> {
        (1..=8).rev().find_map(|bytes| {
            let found = self.found.get(&Ending::of(position, bytes))?;
            let free = found.iter().filter(|found| !used.contains(&leaf_hash(&found.frame)));
            free.min_by_key(|found| found.id).map(|found| &found.frame)
        })
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn read_up_to(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], at + u64::try_from(read).map_err(io::Error::other)?) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // What the disk does not give any more holds nothing that can still be read.
            Err(_) => {
                let rest = buffer.len().min(read + 4_096);
                buffer[read..rest].fill(0);
                read = rest;
            }
        }
    }
    Ok(read)
}

/// Finds the frames whose keys stand before them: one with its key, or a page of them behind all its keys.
fn frames_in(segment: &[u8]) -> Vec<(Ending, &[u8])> {
    let mut all = Vec::new();
    let (mut at, mut next) = (0, None);
    while at + HEADER <= segment.len() {
        let Some(frame) = frame_at(&segment[at..]) else {
            at += 1;
            continue;
        };
        let begin = at.saturating_sub(width(frame.len()));
        let ending = match next {
            // Directly behind another one of the page.
            Some((end, ending)) if end == begin => Some(ending),
            _ => first_of_the_keys(segment, begin),
        };
        at += frame.len();
        next = ending.map(|ending| (at, Ending { value: ending.value.saturating_add(1), ..ending }));
        all.extend(ending.map(|ending| (ending, frame)));
    }
    all
}

/// Reads the keys that end there backwards, and returns the first of those that follow on each other.
///
/// Bytes may look like the length of a key that are none: what most keys follow on is right.
fn first_of_the_keys(segment: &[u8], end: usize) -> Option<Ending> {
    let first = |bytes: usize| {
        let (mut first, mut keys, mut end) = (Ending::before(segment, end, bytes)?, 1, end - bytes - 1);
        while let Some(key) = Ending::before(segment, end, bytes)
            && key.value.checked_add(1) == Some(first.value)
        {
            (first, keys, end) = (key, keys + 1, end - bytes - 1);
        }
        Some((keys, first))
    };
    // Of two that are as good, the shorter one says less.
    (1..=8).rev().filter_map(first).max_by_key(|(keys, _)| *keys).map(|(_, first)| first)
}

/// Returns the frame with which the bytes begin; none unless it is whole.
fn frame_at(bytes: &[u8]) -> Option<&[u8]> {
    if !bytes.starts_with(&BEGINNING) {
        return None;
    }
    let length = HEADER + usize::from(u16::from_be_bytes([bytes[5], bytes[6]]));
    let frame = bytes.get(..length)?;
    decode_record(frame).is_ok().then_some(frame)
}

/// Returns how many bytes sled writes a length in.
fn width(length: usize) -> usize {
    match length {
        0..=240 => 1,
        241..=2_287 => 2,
        _ => 3,
    }
}
