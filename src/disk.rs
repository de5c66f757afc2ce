//! The few calls to the file system that decide whether something is on stable storage: passed in, so
//! that tests can count them and let them fail.

use std::fs::File;
use std::io;
use std::path::Path;

/// What a sync is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Synced {
    /// sled's data file, its contents.
    Database,
    /// `HEAD`.
    Head,
    /// A key file.
    Keys,
    /// A directory, after a file in it appeared, went or changed its name.
    Directory,
    /// Anything else.
    Other,
}

/// The file system, as far as durability goes.
pub trait Disk: Send + Sync + 'static {
    /// Brings a file's contents to stable storage (`fdatasync`).
    fn sync_data(&self, what: Synced, file: &File) -> io::Result<()>;

    /// Brings a file's contents and its length, or a directory, to stable storage (`fsync`).
    fn sync_all(&self, what: Synced, file: &File) -> io::Result<()>;

    /// Returns how many bytes a process like this one may still write below `path`.
    fn free_space(&self, path: &Path) -> io::Result<u64>;
}

/// The real file system.
#[derive(Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn sync_data(&self, _: Synced, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_all(&self, _: Synced, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        let found = rustix::fs::statvfs(path)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
}
