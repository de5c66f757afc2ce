//! What sled may write over while it opens a database that was closed in order: kept, until that has gone well.
//!
//! After a clean stop the database is opened where it stands. If its bytes were changed without a trace in its length
//! and its time, as a disk does that forgets, sled cuts off what it takes for a torn end before it gives up. So the
//! segments in which it looks for the end are read before, and put back where the start is refused.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::disk::{Disk, Synced};
use crate::event_log::head::sync_directory;

/// As sled is told to cut its file.
const SEGMENT: u64 = 8 << 20;
/// Where the number of a segment stands in it: behind the checksum, and written as its complement.
const NUMBER: std::ops::Range<usize> = 4..12;

/// The end of a database as it was before it was opened.
pub(super) struct Tail {
    dir: PathBuf,
    length: u64,
    modified: SystemTime,
    segments: Vec<(u64, Vec<u8>)>,
    snapshots: Vec<(PathBuf, Vec<u8>)>,
}

impl Tail {
    /// Reads what sled may change.
    pub(super) fn of(dir: &Path) -> io::Result<Tail> {
        let db = File::open(dir.join("db"))?;
        let found = db.metadata()?;
        let mut snapshots = Vec::new();
        for path in snapshots_in(dir)? {
            let bytes = fs::read(&path)?;
            snapshots.push((path, bytes));
        }
        let stable = snapshots.iter().filter_map(|(path, _)| stable_of(path)).max().unwrap_or_default();
        let mut segments = Vec::new();
        for at in (0..found.len()).step_by(usize::try_from(SEGMENT).map_err(io::Error::other)?) {
            let mut header = [0; NUMBER.end];
            if db.read_at(&mut header, at)? == header.len() && number(&header) >= stable / SEGMENT * SEGMENT {
                let length = SEGMENT.min(found.len() - at);
                let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
                db.read_exact_at(&mut bytes, at)?;
                segments.push((at, bytes));
            }
        }
        Ok(Tail { dir: dir.into(), length: found.len(), modified: found.modified()?, segments, snapshots })
    }

    /// Puts it back; the database must be closed.
    pub(super) fn put_back(self, disk: &dyn Disk) -> io::Result<()> {
        let db = File::options().write(true).open(self.dir.join("db"))?;
        for (at, bytes) in &self.segments {
            db.write_all_at(bytes, *at)?;
        }
        db.set_len(self.length)?;
        db.set_modified(self.modified)?;
        disk.sync_all(Synced::Database, &db)?;
        for path in snapshots_in(&self.dir)? {
            if !self.snapshots.iter().any(|(kept, _)| *kept == path) {
                fs::remove_file(path)?;
            }
        }
        for (path, bytes) in &self.snapshots {
            if fs::read(path).ok().as_ref() != Some(bytes) {
                fs::write(path, bytes)?;
                disk.sync_all(Synced::Other, &File::open(path)?)?;
            }
        }
        sync_directory(&self.dir, disk)
    }
}

fn snapshots_in(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let named =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("snap."));
    Ok(fs::read_dir(dir)?.flatten().map(|entry| entry.path()).filter(named).collect())
}

/// Up to where a snapshot knows the log: its name says so.
fn stable_of(path: &Path) -> Option<u64> {
    u64::from_str_radix(path.extension()?.to_str()?, 16).ok()
}

/// Returns the place of a segment in sled's log, which is not the one in its file.
fn number(header: &[u8; NUMBER.end]) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&header[NUMBER]);
    u64::from_le_bytes(number) ^ (u64::MAX >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_log::rig::Rig;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn damage_without_a_trace_is_refused_and_nothing_is_cut_off() {
        let mut refused = 0;
        for part in 0..12 {
            let rig = Rig::filled(200, true).await;
            let before = fs::metadata(rig.db()).expect("the database").modified().expect("a time");
            let mut bytes = fs::read(rig.db()).expect("the database");
            let written = bytes.iter().rposition(|byte| *byte != 0).expect("something is written");
            let page = written * part / 12 / 512 * 512;
            bytes[page..page + 512].fill(0);
            fs::write(rig.db(), bytes).expect("written");
            let db = File::options().write(true).open(rig.db()).expect("the database");
            db.set_modified(before).expect("as it was");
            drop(db);
            let kept = crate::event_log::rig::bytes_of(&rig.path());
            if let Err(error) = rig.start() {
                refused += 1;
                assert_eq!(crate::event_log::rig::bytes_of(&rig.path()), kept, "part {part}: {error}");
            }
        }
        assert!(refused > 0, "some of it matters");
    }
}
