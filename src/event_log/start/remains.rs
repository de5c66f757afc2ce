//! What can still be read of a database that is damaged: through sled as far as that goes, and from its bytes.
//!
//! sled opens nothing of a file that was killed in use and then damaged anywhere. But a record stands in it as one
//! piece, behind its key where it was written and beside its neighbours where a page was written anew, and it says
//! itself whether it is whole.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use bytes::Bytes;

use crate::domain::id::{Hash, Position};
use crate::event_log::codec::{decode_record, leaf_hash};

/// sled writes nothing across the end of one of these.
const SEGMENT: usize = 8 << 20;
/// Format, schema and the upper half of the length: how every frame begins.
const BEGINNING: [u8; 5] = [1, 0, 1, 0, 0];
const HEADER: usize = 7;
/// A key in sled: its length, and a position.
const KEY: usize = 9;

/// Records by their positions; none where two stand at one.
#[derive(Default)]
pub(super) struct Remains {
    found: BTreeMap<Position, Option<Bytes>>,
}

/// Frames that stand next to each other, in the order of their positions, and where the first stands if that is known.
struct Run {
    first: Option<u64>,
    frames: Vec<Bytes>,
}

impl Remains {
    /// Takes what was read; what sled gave counts, whatever else is found.
    pub(super) fn take(&mut self, position: Position, frame: Bytes) {
        self.found.entry(position).or_insert(Some(frame));
    }

    /// Takes whatever stands in the bytes of sled's file, from a position on.
    pub(super) fn scan(&mut self, db: &Path, from: Position) -> io::Result<()> {
        let mut runs = Vec::new();
        let file = File::open(db)?;
        let mut segment = vec![0; SEGMENT];
        let mut at = 0;
        loop {
            let read = read_up_to(&file, &mut segment, at)?;
            if read == 0 {
                break;
            }
            runs.extend(runs_in(&segment[..read]));
            at += u64::try_from(read).map_err(io::Error::other)?;
        }
        // A page that was written anew has no keys beside its records; most of them stand behind one elsewhere.
        let mut known: HashMap<Hash, u64> = HashMap::new();
        for run in runs.iter().filter(|run| run.first.is_some()) {
            known.extend(run.numbered().map(|(position, frame)| (leaf_hash(frame), position)));
        }
        let mut scanned: BTreeMap<Position, Option<Bytes>> = BTreeMap::new();
        for mut run in runs {
            let beside = |(at, frame): (u64, &Bytes)| known.get(&leaf_hash(frame))?.checked_sub(at);
            run.first = run.first.or_else(|| (0..).zip(&run.frames).find_map(beside));
            for (position, frame) in run.numbered().filter(|(position, _)| *position >= from.0) {
                let there = scanned.entry(Position(position)).or_insert_with(|| Some(frame.clone()));
                if there.as_ref() != Some(frame) {
                    *there = None;
                }
            }
        }
        for (position, frame) in scanned {
            self.found.entry(position).or_insert(frame);
        }
        Ok(())
    }

    /// Returns the record at a position.
    pub(super) fn at(&self, position: Position) -> Option<&Bytes> {
        self.found.get(&position)?.as_ref()
    }
}

impl Run {
    /// Its frames with their positions; nothing where those are not known.
    fn numbered(&self) -> impl Iterator<Item = (u64, &Bytes)> {
        let first = self.first;
        self.frames.iter().zip(0..).filter_map(move |(frame, at)| Some((first?.checked_add(at)?, frame)))
    }
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

fn runs_in(segment: &[u8]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let (mut at, mut last_end) = (0, None);
    while at + HEADER <= segment.len() {
        let Some(length) = frame_at(&segment[at..]) else {
            at += 1;
            continue;
        };
        let frame = Bytes::copy_from_slice(&segment[at..at + length]);
        let key_end = at.saturating_sub(width(length));
        match position_before(segment, key_end) {
            Some(position) => runs.push(Run { first: Some(position), frames: vec![frame] }),
            None if last_end == Some(key_end) => {
                if let Some(run) = runs.last_mut() {
                    run.frames.push(frame);
                }
            }
            None => runs.push(Run { first: None, frames: vec![frame] }),
        }
        at += length;
        last_end = Some(at);
    }
    runs
}

/// Returns the length of the frame with which the bytes begin; none unless it is whole.
fn frame_at(bytes: &[u8]) -> Option<usize> {
    if !bytes.starts_with(&BEGINNING) {
        return None;
    }
    let length = HEADER + usize::from(u16::from_be_bytes([bytes[5], bytes[6]]));
    decode_record(bytes.get(..length)?).is_ok().then_some(length)
}

/// Returns the position that ends there as a key.
fn position_before(segment: &[u8], end: usize) -> Option<u64> {
    let (length, key) = segment.get(end.checked_sub(KEY)?..end)?.split_first()?;
    let position = u64::from_be_bytes(key.try_into().ok()?);
    // Nothing has as many records; what looks so is something else.
    (*length == 8 && position < 1 << 48).then_some(position)
}

/// Returns how many bytes sled writes a length in.
fn width(length: usize) -> usize {
    match length {
        0..=240 => 1,
        241..=2_287 => 2,
        _ => 3,
    }
}
