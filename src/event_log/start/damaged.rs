//! A log that is to be replaced by a copy, and by what can still be read of it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::sync::Arc;

use super::copy::{copy, size};
use super::import::place;
use super::place::PROBE_MARGIN;
use super::remains::Remains;
use super::{HEAD, Place, StartError, StartSettings};
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
        let place = place(settings);
        place.check_owner()?;
        let path = place.data_dir.join(HEAD);
        let lock = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(place.failed("HEAD cannot be used", source)),
        };
        if let Some(Err(TryLockError::WouldBlock)) = lock.as_ref().map(File::try_lock) {
            return Err(StartError::Locked { dir: place.data_dir });
        }
        let head = lock.as_ref().and_then(|file| head::newest(file));
        Ok(Damaged { place, head, lock })
    }

    /// Reads what can still be read behind a record, which must be the same there if it can be read at all.
    pub(super) fn remains(&self, last: Last) -> Result<Remains, StartError> {
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
        match remains.scan(&place.log().join("db"), last.position) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(place.failed("the database cannot be read", error));
            }
            _ => {}
        }
        match remains.at(last.position) {
            Some(frame) if leaf_hash(frame) != last.leaf => {
                Err(StartError::Changed { position: last.position })
            }
            _ => Ok(remains),
        }
    }
}

impl Place {
    pub(super) fn again(&self) -> Place {
        Place {
            data_dir: self.data_dir.clone(),
            probe: self.probe.clone(),
            disk: Arc::clone(&self.disk),
            clock: Arc::clone(&self.clock),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use bytes::Bytes;

    use crate::domain::event::RestoredFrom;
    use crate::domain::id::Position;
    use crate::event_log::rig::{Rig, read_to};
    use crate::event_log::start::{Damaged, Import, StartError};

    const RECORDS: u64 = 300;
    const IN_BACKUP: usize = 100;

    /// A log, its records, and the same log with something done to its files.
    async fn damaged(clean: bool, damage: impl FnOnce(&Rig)) -> (Rig, Vec<Bytes>) {
        let rig = Rig::filled(RECORDS, clean).await;
        let started = rig.start().expect("it is whole");
        let read = read_to(&mut started.engine.follow(Position(0)), RECORDS - 1).await;
        drop(started);
        damage(&rig);
        (rig, read.into_iter().map(|(_, frame)| Bytes::from(frame)).collect())
    }

    /// Puts a backup in the place of the log, and says how many records were read behind it, and whether that is all.
    fn restored(rig: &Rig, backup: &[Bytes]) -> Result<(u64, bool), StartError> {
        let damaged = Damaged::begin(&rig.settings(false))?;
        let log = damaged.head.map_or(crate::domain::id::LogId([0; 16]), |head| head.log);
        let mut import = Import::begin_over(damaged, log)?;
        for frame in backup {
            import.push(frame.clone())?;
        }
        let read = import.push_remains()?;
        Ok((read, import.finish(RestoredFrom::Backup)?))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_sled_does_not_open_any_more_is_read_from_its_bytes_and_nothing_is_lost() {
        for clean in [true, false] {
            let zeroed = |rig: &Rig| {
                let mut bytes = fs::read(rig.db()).expect("the database");
                bytes[..64].fill(0);
                fs::write(rig.db(), bytes).expect("written");
            };
            let (rig, frames) = damaged(clean, zeroed).await;
            rig.refused();
            let (read, is_whole) = restored(&rig, &frames[..IN_BACKUP]).expect("put back");
            assert_eq!((read, is_whole), (RECORDS - IN_BACKUP as u64, true), "{clean}");
            let started = rig.start().expect("a start");
            assert_eq!((started.head, started.restored), (Some(Position(RECORDS - 1)), None));
            let again = read_to(&mut started.engine.follow(Position(0)), RECORDS - 1).await;
            assert!(again.iter().zip(&frames).all(|((_, frame), before)| frame[..] == before[..]));
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn behind_a_hole_nothing_is_taken_and_the_log_is_one_that_was_put_back() {
        let (rig, frames) = damaged(false, |rig| {
            let mut bytes = fs::read(rig.db()).expect("the database");
            let lost = crate::event_log::rig::frame(200);
            let mut at = 0;
            while let Some(found) = bytes[at..].windows(lost.len()).position(|window| window == lost) {
                at += found;
                bytes[at + 20] ^= 1;
            }
            fs::write(rig.db(), bytes).expect("written");
        })
        .await;
        let (read, is_whole) = restored(&rig, &frames[..IN_BACKUP]).expect("put back");
        assert_eq!((read, is_whole), (200 - IN_BACKUP as u64, false));
        let started = rig.start().expect("a start");
        assert_eq!((started.head, started.restored), (Some(Position(199)), Some(RestoredFrom::Backup)));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_backup_of_another_past_is_refused_and_the_log_stays() {
        let (rig, frames) = damaged(false, |_| {}).await;
        let mut other = frames[..IN_BACKUP].to_vec();
        other[IN_BACKUP - 1] = Bytes::from(crate::event_log::rig::frame(7));
        let before = crate::event_log::rig::bytes_of(&rig.path());
        assert!(matches!(restored(&rig, &other), Err(StartError::Changed { position: Position(99) })));
        assert_eq!(crate::event_log::rig::bytes_of(&rig.path()), before);
        rig.start().expect("a start");
    }
}
