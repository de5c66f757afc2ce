//! A log that is to be replaced by a copy, and by what can still be read of it.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io;

use super::copy::{copy, size};
use super::place::PROBE_MARGIN;
use super::remains::Remains;
use super::{HEAD, Place, StartError, StartSettings};
use crate::domain::id::Hash;
use crate::event_log::codec::leaf_hash;
use crate::event_log::head::{self, Head, Last};

/// A damaged log, locked; nothing of it is changed.
pub struct Damaged {
    pub(super) place: Place,
    /// What `HEAD` says, where that can be read.
    pub(super) head: Option<Head>,
    #[expect(dead_code, reason = "it is locked for as long as it is open")]
    lock: Option<File>,
}

impl Damaged {
    /// Locks the log of a data directory, in whatever state it is.
    pub fn begin(settings: &StartSettings) -> Result<Damaged, StartError> {
        let place = Place::of(settings);
        place.check_owner()?;
        let path = place.data_dir.join(HEAD);
        let lock = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(place.failed("HEAD cannot be used", source)),
        };
        if let Some(file) = &lock {
            head::lock(file).map_err(|error| place.unusable(error))?;
        }
        let head = lock.as_ref().and_then(head::newest);
        Ok(Damaged { place, head, lock })
    }

    /// Reads what can still be read behind a record, which must be the same there if it can be read at all.
    pub(super) fn remains(&self, last: Last, known: &HashSet<Hash>) -> Result<Remains, StartError> {
        let place = &self.place;
        let mut remains = Remains::default();
        let failed = |what| move |source| place.failed(what, source);
        if !place.log().exists() {
            return Ok(remains);
        }
        place.remove_copy()?;
        let needed = size(&place.log()).map_err(failed("the log cannot be read"))? + PROBE_MARGIN;
        let free = place.disk.free_space(&place.data_dir);
        let free = free.map_err(failed("the disk does not say how much is free"))?;
        if free < needed {
            return Err(StartError::NoRoom { dir: place.data_dir.clone(), needed, free });
        }
        // sled writes to what it opens; and what it cannot open is still there as bytes.
        if copy(&place.log(), &place.copy(), &*place.disk).is_ok() {
            for (position, frame) in place.probe.rest(&place.copy(), last.position) {
                remains.take(position, frame);
            }
        }
        place.remove_copy()?;
        match remains.scan(&place.log().join("db"), known) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(place.failed("the database cannot be read", error));
            }
            _ => {}
        }
        match remains.given(last.position) {
            Some(frame) if leaf_hash(frame) != last.leaf => {
                Err(StartError::Changed { position: last.position })
            }
            _ => Ok(remains),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use bytes::Bytes;

    use crate::domain::event::{Event, RestoredFrom};
    use crate::domain::id::{LogId, Position};
    use crate::event_log::codec::{encode_record, leaf_hash};
    use crate::event_log::rig::{Rig, bytes_of, frame, read_to, record};
    use crate::event_log::start::{Damaged, Import, StartError};
    use crate::event_log::tree::Frontier;

    const IN_BACKUP: usize = 1_000;
    /// So that some keys have one byte less in common than others.
    const SIGNED: u64 = 1_800;

    fn checkpoint(number: u64, tree: &Frontier) -> Vec<u8> {
        let (size, root) = (tree.size(), tree.root());
        let signed = Event::CheckpointSigned { size, root, note: String::new(), state: None };
        encode_record(&record(number, signed)).expect("a frame")
    }

    /// A log with a signature for every hundred records, its records, and then something done to its files.
    async fn damaged(records: u64, clean: bool, damage: impl FnOnce(&mut [u8])) -> (Rig, Vec<Bytes>) {
        let rig = Rig::new();
        let engine = rig.start().expect("a new log").engine;
        let mut frames = vec![read_to(&mut engine.follow(Position(0)), 0).await.remove(0).1];
        let mut tree = Frontier::new();
        tree.push(leaf_hash(&frames[0]));
        for number in 1..records {
            let frame = if number % 100 == 0 { checkpoint(number, &tree) } else { frame(number) };
            tree.push(leaf_hash(&frame));
            frames.push(frame);
        }
        for group in frames[1..].chunks(7) {
            engine.append(group.to_vec(), None).await.expect("written");
        }
        if clean {
            engine.close().await.expect("closed");
        }
        drop(engine);
        let mut bytes = fs::read(rig.db()).expect("the database");
        damage(&mut bytes);
        fs::write(rig.db(), bytes).expect("written");
        (rig, frames.into_iter().map(Bytes::from).collect())
    }

    /// Puts a backup in the place of the log, and says how many records were read behind it, and whether that is all.
    fn restored(rig: &Rig, backup: &[Bytes]) -> Result<(u64, bool), StartError> {
        let damaged = Damaged::begin(&rig.settings(false))?;
        let log = damaged.head.map_or(LogId([0; 16]), |head| head.log);
        let mut import = Import::begin_over(damaged, log)?;
        for frame in backup {
            import.push(frame.clone())?;
        }
        let read = import.push_remains()?;
        Ok((read, import.finish(RestoredFrom::Backup)?))
    }

    async fn is_there(rig: &Rig, frames: &[Bytes], restored: Option<RestoredFrom>) {
        let last = frames.len() as u64 - 1;
        let started = rig.start().expect("a start");
        assert_eq!((started.head, started.restored), (Some(Position(last)), restored));
        let again = read_to(&mut started.engine.follow(Position(0)), last).await;
        assert!(again.iter().zip(frames).all(|((_, frame), before)| frame[..] == before[..]));
    }

    /// Nothing that sled can begin with.
    fn no_beginning(bytes: &mut [u8]) {
        bytes[..64].fill(0);
    }

    /// Changes a record wherever it stands.
    fn without(number: u64) -> impl FnOnce(&mut [u8]) {
        move |bytes| {
            let lost = frame(number);
            let places: Vec<_> = (0..bytes.len() - lost.len())
                .filter(|at| bytes[*at] == lost[0] && bytes[*at..*at + lost.len()] == lost[..])
                .collect();
            assert!(!places.is_empty());
            places.into_iter().for_each(|at| bytes[at + 20] ^= 1);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_sled_does_not_open_any_more_is_read_from_its_bytes_as_far_as_it_was_signed() {
        for clean in [true, false] {
            let (rig, frames) = damaged(SIGNED + 50, clean, no_beginning).await;
            rig.refused();
            let signed = &frames[..usize::try_from(SIGNED).expect("small")];
            let (read, is_whole) = restored(&rig, &frames[..IN_BACKUP]).expect("put back");
            assert_eq!((read, is_whole), (SIGNED - IN_BACKUP as u64, false), "{clean}");
            is_there(&rig, signed, Some(RestoredFrom::Backup)).await;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn where_the_signature_is_the_last_record_nothing_is_lost() {
        let (rig, frames) = damaged(SIGNED + 1, true, no_beginning).await;
        let (read, is_whole) = restored(&rig, &frames[..IN_BACKUP]).expect("put back");
        assert_eq!((read, is_whole), (SIGNED + 1 - IN_BACKUP as u64, true));
        is_there(&rig, &frames, None).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_sled_still_gives_is_taken_signed_or_not() {
        let (rig, frames) = damaged(SIGNED + 50, true, |_| {}).await;
        let (read, is_whole) = restored(&rig, &frames[..IN_BACKUP]).expect("put back");
        assert_eq!((read, is_whole), (SIGNED + 50 - IN_BACKUP as u64, true));
        is_there(&rig, &frames, None).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn behind_a_hole_nothing_is_taken_and_before_it_what_was_signed() {
        let (rig, frames) = damaged(SIGNED + 50, false, without(1_250)).await;
        let before = bytes_of(&rig.path().join("log"));
        let (read, is_whole) = restored(&rig, &frames[..IN_BACKUP]).expect("put back");
        assert_eq!((read, is_whole), (1_200 - IN_BACKUP as u64, false));
        let kept = fs::read_dir(rig.path()).expect("a directory").flatten();
        let kept = kept.map(|entry| entry.path()).find(|path| path.to_string_lossy().contains("log.lost-"));
        let kept = bytes_of(&kept.expect("the damaged log is kept"));
        assert!(kept.values().eq(before.values()));
        is_there(&rig, &frames[..1_200], Some(RestoredFrom::Backup)).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_record_that_stands_in_the_bytes_and_never_stood_in_the_log_is_not_taken() {
        // It was written where another one stood in the end, of which nothing is left.
        let (rig, frames) = damaged(SIGNED + 50, false, |bytes| {
            let (was, other) = (frame(1_250), {
                let deadline = Event::SessionSeen {
                    session: crate::domain::id::SessionId([3; 16]),
                    idle_deadline: crate::domain::time::Timestamp(5),
                };
                encode_record(&record(1_250, deadline)).expect("a frame")
            });
            assert_eq!(was.len(), other.len());
            for at in 0..bytes.len() - was.len() {
                if bytes[at] == was[0] && bytes[at..at + was.len()] == was[..] {
                    bytes[at..at + was.len()].copy_from_slice(&other);
                }
            }
            bytes[..64].fill(0);
        })
        .await;
        let (read, is_whole) = restored(&rig, &frames[..IN_BACKUP]).expect("put back");
        assert_eq!((read, is_whole), (1_200 - IN_BACKUP as u64, false));
        is_there(&rig, &frames[..1_200], Some(RestoredFrom::Backup)).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_backup_of_another_past_or_log_is_refused_and_the_log_stays() {
        let (rig, frames) = damaged(SIGNED, true, |_| {}).await;
        let mut other = frames[..IN_BACKUP].to_vec();
        other[IN_BACKUP - 1] = Bytes::from(frame(7));
        let before = bytes_of(&rig.path());
        let refused = restored(&rig, &other);
        assert!(matches!(refused, Err(StartError::Changed { position: Position(999) })), "{refused:?}");
        assert_eq!(bytes_of(&rig.path()), before);
        let begun = Import::begin_over(Damaged::begin(&rig.settings(false)).expect("locked"), LogId([9; 16]));
        assert!(matches!(begun, Err(StartError::Replaced { .. })));
        assert_eq!(bytes_of(&rig.path()), before);
        let running = rig.start().expect("a start");
        assert!(matches!(Damaged::begin(&rig.settings(false)), Err(StartError::Locked { .. })));
        drop(running);
    }
}
