//! The disk as a file system that a process sees: FUSE, with faults on request and a moment at which the power goes.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};
use tokio::sync::watch;

use super::dice::Dice;
use super::platter::{Bytes, Kind, Left, Names, Node, Platter, ROOT};

/// Nothing is remembered by the kernel.
const AT_ONCE: Duration = Duration::ZERO;
const BLOCK: u32 = 4_096;
/// So many blocks are always free: 1 GiB.
const FREE: u64 = 1 << 18;

/// What a process may ask of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    Reading,
    Writing,
    Syncing,
    /// Making, naming and removing.
    Naming,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub on: &'static [Doing],
    pub error: Errno,
    /// How often it is well before.
    pub after: u64,
    /// How often it goes wrong.
    pub times: u64,
}

/// A lie: whether a sync of that path counts for nothing.
pub type Lie = fn(&str) -> bool;

/// Whether the disk has power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    On,
    Cut,
}

struct Inner {
    platter: Platter,
    /// After how many changes and syncs the power goes.
    cut_after: Option<u64>,
    power: watch::Sender<Power>,
    fault: Option<Fault>,
    lie: Lie,
    changes: u64,
    failed: u64,
}

/// A disk that is mounted; it goes when this is dropped.
pub struct Mounted {
    inner: Arc<Mutex<Inner>>,
    _session: BackgroundSession,
}

/// Why such a disk cannot be had here; none where it can.
pub fn cannot_be_mounted() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("only root may mount a file system");
    }
    let device = std::fs::File::options().read(true).write(true).open("/dev/fuse");
    device.is_err().then_some("there is no /dev/fuse")
}

impl Mounted {
    /// Mounts an empty disk at a directory, which is made.
    pub fn at(dir: &Path) -> Mounted {
        std::fs::create_dir(dir).expect("a directory");
        let inner = Arc::new(Mutex::new(Inner {
            platter: Platter::new(),
            cut_after: None,
            power: watch::Sender::new(Power::On),
            fault: None,
            lie: |_| false,
            changes: 0,
            failed: 0,
        }));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("doorbook-fire".into()), MountOption::NoAtime];
        let session = fuser::spawn_mount(Layer(inner.clone()), dir, &config).expect("it is mounted");
        Mounted { inner, _session: session }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// Lets the power go after so many changes and syncs from now on.
    pub fn cut_after(&self, changes: u64) {
        let mut inner = self.inner();
        inner.cut_after = Some(inner.changes + changes);
    }

    /// Takes the power now, if it is not gone yet.
    pub fn cut(&self) {
        let mut inner = self.inner();
        inner.cut_after = None;
        inner.power.send_replace(Power::Cut);
    }

    /// Returns whether the power is gone.
    pub fn is_cut(&self) -> bool {
        *self.inner().power.borrow() == Power::Cut
    }

    /// Waits until the power is gone.
    pub async fn until_cut(&self) {
        let mut power = self.inner().power.subscribe();
        power.wait_for(|power| *power == Power::Cut).await.expect("the disk is mounted");
    }

    /// Brings the power back; what was not synced is gone, or some of it.
    pub fn power_returns(&self, left: Left, dice: &Dice) {
        let mut inner = self.inner();
        inner.platter.lose_power(left, dice);
        inner.cut_after = None;
        inner.power.send_replace(Power::On);
    }

    /// Lets something go wrong.
    pub fn fails(&self, fault: Fault) {
        self.inner().fault = Some(fault);
    }

    /// Lets nothing go wrong any more, and returns how often it did.
    pub fn is_well(&self) -> u64 {
        let mut inner = self.inner();
        inner.fault = None;
        std::mem::take(&mut inner.failed)
    }

    /// Lets syncs of some paths count for nothing.
    pub fn lies(&self, lie: Lie) {
        self.inner().lie = lie;
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Layer(Arc<Mutex<Inner>>);

impl Layer {
    /// Takes the disk, unless there is no power, or what is asked for goes wrong.
    fn on(&self, doing: Doing) -> Result<MutexGuard<'_, Inner>, Errno> {
        let mut inner = lock(&self.0);
        if doing != Doing::Reading {
            if inner.cut_after.is_some_and(|cut| inner.changes >= cut) {
                inner.power.send_replace(Power::Cut);
            }
            inner.changes += 1;
        }
        if *inner.power.borrow() == Power::Cut {
            return Err(Errno::EIO);
        }
        let Some(fault) = inner.fault.as_mut().filter(|fault| fault.on.contains(&doing)) else {
            return Ok(inner);
        };
        if fault.after > 0 || fault.times == 0 {
            fault.after = fault.after.saturating_sub(1);
            return Ok(inner);
        }
        fault.times -= 1;
        let error = fault.error;
        inner.failed += 1;
        Err(error)
    }

    fn named(&self, parent: INodeNo, name: &OsStr) -> Result<(MutexGuard<'_, Inner>, u64), Errno> {
        let inner = self.on(Doing::Naming)?;
        let found = inner.platter.find(parent.0, name).ok_or(Errno::ENOENT)?;
        Ok((inner, found))
    }

    fn make(&self, parent: INodeNo, name: &OsStr, kind: Kind, mode: u32) -> Result<FileAttr, Errno> {
        let mut inner = self.on(Doing::Naming)?;
        if inner.platter.find(parent.0, name).is_some() {
            return Err(Errno::EEXIST);
        }
        let id = inner.platter.make(parent.0, name, kind, mode_of(mode));
        attributes(&inner.platter, id)
    }

    fn remove(&self, parent: INodeNo, name: &OsStr) -> Result<(), Errno> {
        let (mut inner, found) = self.named(parent, name)?;
        if inner.platter.names(found).is_some_and(|names| !names.is_empty()) {
            return Err(Errno::ENOTEMPTY);
        }
        inner.platter.rename(parent.0, vec![(name.to_owned(), None)]);
        Ok(())
    }

    fn rename(&self, dir: u64, from: &OsStr, to: &OsStr, flags: RenameFlags) -> Result<(), Errno> {
        let (mut inner, moved) = self.named(INodeNo(dir), from)?;
        let there = inner.platter.find(dir, to);
        let takes_its_place = flags.contains(RenameFlags::RENAME_EXCHANGE).then_some(there).flatten();
        if flags.contains(RenameFlags::RENAME_EXCHANGE) && there.is_none() {
            return Err(Errno::ENOENT);
        }
        if flags.contains(RenameFlags::RENAME_NOREPLACE) && there.is_some() {
            return Err(Errno::EEXIST);
        }
        inner.platter.rename(dir, vec![(from.to_owned(), takes_its_place), (to.to_owned(), Some(moved))]);
        Ok(())
    }

    fn read(&self, id: u64, at: u64, size: u32) -> Result<Vec<u8>, Errno> {
        let inner = self.on(Doing::Reading)?;
        let Some(Node { kind: Kind::File(bytes), .. }) = inner.platter.node(id) else {
            return Err(Errno::EIO);
        };
        let at = index(at).min(bytes.now.len());
        let end = (at + size as usize).min(bytes.now.len());
        Ok(bytes.now[at..end].to_vec())
    }

    fn sync(&self, id: u64, data_only: bool) -> Result<(), Errno> {
        let mut inner = self.on(Doing::Syncing)?;
        if !(inner.lie)(&inner.platter.path(id)) {
            inner.platter.sync(id, data_only);
        }
        Ok(())
    }
}

fn index(at: u64) -> usize {
    usize::try_from(at).expect("a machine of 64 bits")
}

fn mode_of(mode: u32) -> u16 {
    u16::try_from(mode & 0o7777).expect("twelve bits")
}

fn attributes(platter: &Platter, id: u64) -> Result<FileAttr, Errno> {
    let node = platter.node(id).ok_or(Errno::ENOENT)?;
    let (kind, size) = match &node.kind {
        Kind::File(bytes) => (FileType::RegularFile, bytes.now.len() as u64),
        Kind::Directory(_) => (FileType::Directory, 0),
        Kind::Socket => (FileType::Socket, 0),
    };
    let time = node.modified;
    Ok(FileAttr {
        ino: INodeNo(id),
        size,
        blocks: size.div_ceil(512),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind,
        perm: node.mode,
        nlink: 1,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    })
}

fn empty(reply: ReplyEmpty, outcome: Result<(), Errno>) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn entry(reply: ReplyEntry, outcome: Result<FileAttr, Errno>) {
    match outcome {
        Ok(attr) => reply.entry(&AT_ONCE, &attr, Generation(0)),
        Err(error) => reply.error(error),
    }
}

fn attr(reply: ReplyAttr, outcome: Result<FileAttr, Errno>) {
    match outcome {
        Ok(attr) => reply.attr(&AT_ONCE, &attr),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Layer {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.on(Doing::Reading).and_then(|inner| {
            let id = inner.platter.find(parent.0, name).ok_or(Errno::ENOENT)?;
            attributes(&inner.platter, id)
        });
        entry(reply, found);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        attr(reply, self.on(Doing::Reading).and_then(|inner| attributes(&inner.platter, ino.0)));
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let changed = self.on(Doing::Writing).and_then(|mut inner| {
            if let Some(size) = size {
                inner.platter.set_length(ino.0, index(size));
            }
            if let (Some(mode), Some(node)) = (mode, inner.platter.node_mut(ino.0)) {
                node.mode = mode_of(mode);
            }
            attributes(&inner.platter, ino.0)
        });
        attr(reply, changed);
    }

    fn mknod(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        entry(reply, self.make(parent, name, Kind::Socket, mode));
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, reply: ReplyEntry) {
        entry(reply, self.make(parent, name, Kind::Directory(Names::default()), mode));
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let made = self.make(parent, name, Kind::File(Bytes::default()), mode);
        match made {
            Ok(attr) => {
                if let Some(node) = lock(&self.0).platter.node_mut(attr.ino.0) {
                    node.opened += 1;
                }
                reply.created(&AT_ONCE, &attr, Generation(0), FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
            }
            Err(error) => reply.error(error),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(reply, self.remove(parent, name));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(reply, self.remove(parent, name));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        // doorbook never moves anything from one directory to another.
        let outcome = match parent == new_parent {
            true => Layer::rename(self, parent.0, name, new_name, flags),
            false => Err(Errno::EXDEV),
        };
        empty(reply, outcome);
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.on(Doing::Reading) {
            Ok(mut inner) => {
                if let Some(node) = inner.platter.node_mut(ino.0) {
                    node.opened += 1;
                }
                reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
            }
            Err(error) => reply.error(error),
        }
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        let mut inner = lock(&self.0);
        if let Some(node) = inner.platter.node_mut(ino.0) {
            node.opened = node.opened.saturating_sub(1);
        }
        reply.ok();
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match Layer::read(self, ino.0, offset, size) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.on(Doing::Writing) {
            Ok(mut inner) => {
                inner.platter.write(ino.0, index(offset), data);
                reply.written(u32::try_from(data.len()).expect("one request"));
            }
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, data_only: bool, reply: ReplyEmpty) {
        empty(reply, self.sync(ino.0, data_only));
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, data_only: bool, reply: ReplyEmpty) {
        empty(reply, self.sync(ino.0, data_only));
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let listed = self.on(Doing::Reading).and_then(|inner| {
            let names = inner.platter.names(ino.0).ok_or(Errno::ENOTDIR)?;
            let dots =
                [OsString::from("."), OsString::from("..")].map(|name| (name, ROOT, FileType::Directory));
            let kind =
                |id: &u64| attributes(&inner.platter, *id).map_or(FileType::RegularFile, |attr| attr.kind);
            let named = names.iter().map(|(name, id)| (name.clone(), *id, kind(id)));
            Ok(dots.into_iter().chain(named).collect::<Vec<_>>())
        });
        match listed {
            Ok(listed) => {
                for (at, (name, id, kind)) in listed.into_iter().enumerate().skip(index(offset)) {
                    if reply.add(INodeNo(id), at as u64 + 1, kind, name) {
                        break;
                    }
                }
                reply.ok();
            }
            Err(error) => reply.error(error),
        }
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(2 * FREE, FREE, FREE, 1 << 20, 1 << 20, BLOCK, 255, BLOCK);
    }
}
