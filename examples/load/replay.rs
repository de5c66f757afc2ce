//! Reading the log back: replay, the fold alone, and `audit verify`, beside sled's iteration and SHA-256.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use doorbook::app::{App, Role, Settings};
use doorbook::clock::SystemClock;
use doorbook::disk::RealDisk;
use doorbook::domain::event::Event;
use doorbook::domain::id::Position;
use doorbook::domain::rules::Rules;
use doorbook::domain::state::State;
use doorbook::entropy::SystemEntropy;
use doorbook::event_log::tree::Frontier;
use doorbook::event_log::{Probe, codec};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::append::bare_sled;
use crate::growth::bytes_in;
use crate::run::now;
use crate::{Failure, cpu};

/// How many records are held in memory for what is measured without a disk.
const HELD: usize = 200_000;

/// What reading a log took; what is no size is in records a second.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Reading {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// What sled alone needs on disk for the first of them, as a multiple of their bytes.
    pub(crate) sled_disk: f64,
    /// Open, read, check, decode, apply: all there is to a start without a stored state.
    pub(crate) replay: f64,
    /// Open and iterate, by sled alone.
    pub(crate) sled: f64,
    /// Check, decode and apply, from memory and on one thread; a second of processor time.
    pub(crate) fold: f64,
    /// SHA-256 of the same bytes; a second of processor time.
    pub(crate) sha256: f64,
    /// The largest record of somebody who signs in again where they had no session, and of a session that is seen
    /// from where it was seen before.
    pub(crate) returning: usize,
    pub(crate) seen: usize,
}

/// Reads the log of a data directory that nobody has open, in turns with the ceilings; of each the best counts,
/// because whatever else the machine does can only slow it down.
pub(crate) async fn read(data_dir: &Path, rounds: usize) -> Result<Reading, Failure> {
    let mut reading = Reading::default();
    // sled alone gets a copy: a log that somebody else has opened is looked through before it is replayed.
    let copy = copied(&data_dir.join("log"))?;
    let log = copy.path();
    let frames = held(log, &mut reading)?;
    reading.sled_disk = disk(&frames)?;
    for _ in 0..rounds.max(1) {
        reading.sled = reading.sled.max(reading.records as f64 / seconds(|| iterate(log))?);
        reading.replay = reading.replay.max(replay(data_dir).await?);
        let held = frames.len() as f64;
        reading.fold = reading.fold.max(held / busy(|| fold(&frames))?);
        reading.sha256 = reading.sha256.max(held / busy(|| hash(&frames))?);
    }
    Ok(reading)
}

fn copied(log: &Path) -> Result<TempDir, Failure> {
    let copy = TempDir::new()?;
    for entry in std::fs::read_dir(log)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), copy.path().join(entry.file_name()))?;
        }
    }
    Ok(copy)
}

fn seconds<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<f64, Failure> {
    let began: Instant = now();
    std::hint::black_box(work()?);
    Ok(began.elapsed().max(Duration::from_nanos(1)).as_secs_f64())
}

/// Returns the processor time of this thread: what works from memory does not wait, whatever else the machine does.
fn busy<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<f64, Failure> {
    let before = cpu::of_this_thread();
    std::hint::black_box(work()?);
    Ok(cpu::of_this_thread().saturating_sub(before).max(Duration::from_nanos(1)).as_secs_f64())
}

/// Reads the first records into memory, and counts all of them.
fn held(log: &Path, reading: &mut Reading) -> Result<Vec<Bytes>, Failure> {
    let db = bare_sled(log)?;
    let mut frames = Vec::new();
    for entry in db.iter() {
        let (_, frame) = entry?;
        reading.records += 1;
        reading.bytes += frame.len() as u64;
        if frames.len() < HELD {
            frames.push(Bytes::copy_from_slice(&frame));
        }
    }
    for frame in &frames {
        let record = codec::decode_record(frame)?;
        let has = |wanted: fn(&Event) -> bool| record.events.iter().any(wanted);
        if has(|event| matches!(event, Event::SessionSeen { .. })) && record.sealed.is_empty() {
            reading.seen = reading.seen.max(frame.len());
        } else if has(|event| matches!(event, Event::SessionOpened { first: false, replaces: None, .. }))
            && !has(|event| matches!(event, Event::ProfileObserved))
        {
            reading.returning = reading.returning.max(frame.len());
        }
    }
    Ok(frames)
}

/// Writes the records to sled alone, in groups, and returns what they take as a multiple of their bytes.
fn disk(frames: &[Bytes]) -> Result<f64, Failure> {
    const GROUP: usize = 512;
    let dir = TempDir::new()?;
    let db = bare_sled(dir.path())?;
    for (group, frames) in frames.chunks(GROUP).enumerate() {
        let mut batch = sled::Batch::default();
        for (position, frame) in ((group * GROUP) as u64..).zip(frames) {
            batch.insert(&position.to_be_bytes(), &frame[..]);
        }
        db.apply_batch(batch)?;
        db.flush()?;
    }
    drop(db);
    let bytes: usize = frames.iter().map(Bytes::len).sum();
    Ok(bytes_in(dir.path())? as f64 / bytes.max(1) as f64)
}

fn iterate(log: &Path) -> Result<u64, Failure> {
    let db = bare_sled(log)?;
    let mut bytes = 0;
    for entry in db.iter() {
        bytes += entry?.1.len() as u64;
    }
    Ok(bytes)
}

/// Replays all records as a command does that is run while no server is, and returns how many a second.
async fn replay(data_dir: &Path) -> Result<f64, Failure> {
    let states = data_dir.join("states");
    let aside = data_dir.with_extension("states-aside");
    if states.exists() {
        std::fs::rename(&states, &aside)?;
    }
    let settings = Settings {
        data_dir: data_dir.to_owned(),
        encrypt_secret: None,
        cookie_secret: None,
        role: Role::Command,
        version: doorbook::serve::VERSION.to_owned(),
        rules: Rules::default(),
        probe: Probe::InProcess,
    };
    let began = now();
    let (clock, entropy) = (Arc::new(SystemClock::new()), Arc::new(SystemEntropy));
    let opening = tokio::task::spawn_blocking(|| App::open(settings, clock, entropy, Arc::new(RealDisk)));
    let (app, replayed) = opening.await??.replay().await?;
    let took = began.elapsed();
    app.close().await?;
    if aside.exists() {
        std::fs::rename(&aside, &states)?;
    }
    Ok(replayed.records as f64 / took.as_secs_f64())
}

fn fold(frames: &[Bytes]) -> Result<(State, Frontier), Failure> {
    let (mut state, mut frontier) = (State::default(), Frontier::new());
    for (position, frame) in (0..).map(Position).zip(frames) {
        let record = codec::decode_record(frame)?;
        frontier.push(codec::leaf_hash(frame));
        state.apply(position, &record);
    }
    Ok((state, frontier))
}

fn hash(frames: &[Bytes]) -> Result<u8, Failure> {
    Ok(frames.iter().fold(0, |sum, frame| sum ^ Sha256::digest(frame)[0]))
}
