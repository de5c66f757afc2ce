//! Copies of the database directory, byte by byte: never shared with the original.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use super::{DATABASE, StartError};
use crate::disk::{Disk, Synced};
use crate::event_log::head::{self, sync_directory};

/// Returns how many bytes the files in a directory have.
pub(super) fn size(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let found = entry.metadata()?;
        bytes += if found.is_dir() { size(&entry.path())? } else { found.len() };
    }
    Ok(bytes)
}

/// Copies all files that count, and brings them to stable storage.
///
/// It reads and writes rather than asking the file system for a copy: after a failed sync the cache may
/// hold what the disk does not, and a reflink would share that with the copy.
pub(super) fn copy(from: &Path, to: &Path, disk: &dyn Disk) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        // sled was interrupted while it wrote that, and takes it for its newest snapshot all the same.
        if entry.path().extension().is_some_and(|extension| extension == "generating") {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target, disk)?;
        } else {
            copy_file(&entry.path(), &target, disk)?;
        }
    }
    sync_directory(to, disk)
}

/// Copies a log that nobody can write to, so that it can be read: sled cannot open it where it stands.
///
/// It is locked meanwhile, so that no doorbook who may write to it does.
pub fn copy_aside(data_dir: &Path, to: &Path, disk: &dyn Disk) -> Result<(), StartError> {
    let failed = |what| move |source| StartError::Io { what, path: data_dir.into(), source };
    let head = File::open(data_dir.join(head::NAME)).map_err(failed("HEAD cannot be read"))?;
    head.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => StartError::Locked { dir: data_dir.into() },
        TryLockError::Error(source) => failed("HEAD cannot be locked")(source),
    })?;
    let copied = fs::DirBuilder::new()
        .mode(0o700)
        .create(to)
        .and_then(|()| copy_file(&data_dir.join(head::NAME), &to.join(head::NAME), disk))
        .and_then(|()| copy(&data_dir.join("log"), &to.join("log"), disk));
    copied.map_err(|source| StartError::Io { what: "the log cannot be copied", path: to.into(), source })
}

/// Brings every file of a database, and their names, to stable storage.
///
/// sled does not sync all that it makes: after a power cut its `conf` would be cut short or gone, and it opens nothing
/// then.
pub(in super::super) fn sync_files(dir: &Path, disk: &dyn Disk) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let what = if entry.file_name() == "db" { DATABASE } else { Synced::Other };
            match File::open(entry.path()) {
                Ok(file) => disk.sync_all(what, &file)?,
                // sled removes an old snapshot of its own while it runs.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    sync_directory(dir, disk)
}

fn copy_file(from: &Path, to: &Path, disk: &dyn Disk) -> io::Result<()> {
    let (mut from, mut to) = (File::open(from)?, File::create_new(to)?);
    let mut buffer = vec![0; 1 << 20];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => to.write_all(&buffer[..read])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    disk.sync_all(Synced::Other, &to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use crate::domain::id::Position;
    use crate::event_log::rig::{Rig, bytes_of};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_log_that_is_read_aside_is_the_same_one_and_stays_as_it_was() {
        for clean in [true, false] {
            let rig = Rig::filled(9, clean).await;
            let before = bytes_of(&rig.path());
            let aside = Rig::new();
            copy_aside(&rig.path(), &aside.path(), &RealDisk).expect("copied");
            let started = aside.start().expect("a start");
            assert_eq!(started.head, Some(Position(8)));
            started.engine.close().await.expect("closed");
            assert_eq!(bytes_of(&rig.path()), before);
        }
        let rig = Rig::filled(9, true).await;
        let started = rig.start().expect("a start");
        let refused = copy_aside(&rig.path(), &Rig::new().path(), &RealDisk);
        assert!(matches!(refused, Err(StartError::Locked { .. })));
        drop(started);
    }
}
