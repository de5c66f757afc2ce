//! A disk with a cache: what was written is there at once, and stays only once it was synced.
//!
//! It is a model, and no kinder than POSIX. `fsync` of a file keeps its bytes and its length and not its name; that
//! needs an `fsync` of the directory. `fdatasync` keeps no time. Whatever else asks for bytes to be written
//! (`sync_file_range`, as sled does) keeps nothing. When the power goes, everything since is gone, or some of it:
//! any sectors of 512 bytes, as disks reorder, and any number of the first changes of each directory, as journals
//! do not. A rename within a directory happens or does not. Owners and modes are kept at once.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::time::SystemTime;

use super::dice::Dice;

/// The root directory.
pub const ROOT: u64 = 1;
/// A disk writes one of these whole.
const SECTOR: usize = 512;

/// One file, directory or socket.
pub struct Node {
    pub kind: Kind,
    pub mode: u16,
    pub modified: SystemTime,
    /// When it was modified, as far as that was synced.
    kept_modified: SystemTime,
    /// How often it is open; an open file outlives its name.
    pub opened: u32,
}

pub enum Kind {
    File(Bytes),
    Directory(Names),
    Socket,
}

/// What a file holds.
#[derive(Default)]
pub struct Bytes {
    pub now: Vec<u8>,
    kept: Vec<u8>,
    since: Vec<Write>,
}

#[derive(Clone)]
enum Write {
    Bytes(usize, Vec<u8>),
    Length(usize),
}

/// What a directory holds.
#[derive(Default)]
pub struct Names {
    pub now: BTreeMap<OsString, u64>,
    kept: BTreeMap<OsString, u64>,
    since: Vec<Renaming>,
}

/// The names that change at once, and what they stand for afterwards.
type Renaming = Vec<(OsString, Option<u64>)>;

/// What a power cut leaves of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    Nothing,
    /// So many of a hundred sectors.
    Some(u64),
}

/// The whole disk.
pub struct Platter {
    nodes: BTreeMap<u64, Node>,
    next: u64,
}

impl Node {
    fn new(kind: Kind, mode: u16) -> Node {
        let now = now();
        Node { kind, mode, modified: now, kept_modified: now, opened: 0 }
    }
}

#[expect(clippy::disallowed_methods, reason = "a disk stamps its files with the time of the machine")]
fn now() -> SystemTime {
    SystemTime::now()
}

impl Platter {
    pub fn new() -> Platter {
        let root = Node::new(Kind::Directory(Names::default()), 0o700);
        Platter { nodes: BTreeMap::from([(ROOT, root)]), next: ROOT + 1 }
    }

    pub fn node(&self, id: u64) -> Option<&Node> {
        self.nodes.get(&id)
    }

    pub fn node_mut(&mut self, id: u64) -> Option<&mut Node> {
        self.nodes.get_mut(&id)
    }

    pub fn names(&self, dir: u64) -> Option<&BTreeMap<OsString, u64>> {
        match &self.nodes.get(&dir)?.kind {
            Kind::Directory(names) => Some(&names.now),
            _ => None,
        }
    }

    pub fn find(&self, dir: u64, name: &OsStr) -> Option<u64> {
        self.names(dir)?.get(name).copied()
    }

    /// Returns the path below the root, for example `log/db`.
    pub fn path(&self, id: u64) -> String {
        let above = self.nodes.iter().find_map(|(dir, node)| match &node.kind {
            Kind::Directory(names) => {
                let (name, _) = names.now.iter().find(|(_, found)| **found == id)?;
                Some((*dir, name.to_string_lossy().into_owned()))
            }
            _ => None,
        });
        match above {
            Some((ROOT, name)) => name,
            Some((dir, name)) => format!("{}/{name}", self.path(dir)),
            None => String::new(),
        }
    }

    pub fn make(&mut self, dir: u64, name: &OsStr, kind: Kind, mode: u16) -> u64 {
        let id = self.next;
        self.next += 1;
        self.nodes.insert(id, Node::new(kind, mode));
        self.rename(dir, vec![(name.to_owned(), Some(id))]);
        id
    }

    /// Changes names in a directory, all at once.
    pub fn rename(&mut self, dir: u64, renaming: Renaming) {
        let Some(node) = self.nodes.get_mut(&dir) else { return };
        if let Kind::Directory(names) = &mut node.kind {
            node.modified = now();
            apply(&mut names.now, &renaming);
            names.since.push(renaming);
        }
    }

    pub fn write(&mut self, id: u64, at: usize, bytes: &[u8]) {
        self.change(id, Write::Bytes(at, bytes.to_vec()));
    }

    pub fn set_length(&mut self, id: u64, length: usize) {
        self.change(id, Write::Length(length));
    }

    fn change(&mut self, id: u64, write: Write) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if let Kind::File(bytes) = &mut node.kind {
            node.modified = now();
            write.apply(&mut bytes.now);
            bytes.since.push(write);
        }
    }

    /// Brings a file, or the names of a directory, to stable storage.
    pub fn sync(&mut self, id: u64, data_only: bool) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if !data_only {
            node.kept_modified = node.modified;
        }
        match &mut node.kind {
            Kind::File(bytes) => {
                let kept = &mut bytes.kept;
                bytes.since.drain(..).for_each(|write| write.apply(kept));
            }
            Kind::Directory(names) => {
                names.kept.clone_from(&names.now);
                names.since.clear();
                self.forget_unnamed();
            }
            Kind::Socket => {}
        }
    }

    /// The power goes, and comes back.
    pub fn lose_power(&mut self, left: Left, dice: &Dice) {
        for node in self.nodes.values_mut() {
            node.opened = 0;
            match &mut node.kind {
                Kind::File(bytes) => {
                    for write in std::mem::take(&mut bytes.since) {
                        write.left(left, dice).into_iter().for_each(|write| write.apply(&mut bytes.kept));
                    }
                    bytes.now.clone_from(&bytes.kept);
                }
                Kind::Directory(names) => {
                    let since = std::mem::take(&mut names.since);
                    let happened = if left == Left::Nothing { 0 } else { dice.index(since.len() + 1) };
                    since[..happened].iter().for_each(|renaming| apply(&mut names.kept, renaming));
                    names.now.clone_from(&names.kept);
                }
                Kind::Socket => {}
            }
            node.modified = node.kept_modified;
        }
        self.forget_unnamed();
    }

    /// Forgets what has no name any more, wherever one looks.
    pub fn forget_unnamed(&mut self) {
        let mut named = BTreeSet::from([ROOT]);
        for node in self.nodes.values() {
            if let Kind::Directory(names) = &node.kind {
                named.extend(names.now.values().chain(names.kept.values()));
                named.extend(names.since.iter().flatten().filter_map(|(_, id)| *id));
            }
        }
        self.nodes.retain(|id, node| node.opened > 0 || named.contains(id));
    }
}

fn apply(names: &mut BTreeMap<OsString, u64>, renaming: &Renaming) {
    for (name, id) in renaming {
        match id {
            Some(id) => names.insert(name.clone(), *id),
            None => names.remove(name),
        };
    }
}

impl Write {
    fn apply(self: &Write, bytes: &mut Vec<u8>) {
        match self {
            Write::Length(length) => bytes.resize(*length, 0),
            Write::Bytes(at, written) => {
                let end = at + written.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*at..end].copy_from_slice(written);
            }
        }
    }

    /// Returns what the power cut leaves of it.
    fn left(self, left: Left, dice: &Dice) -> Vec<Write> {
        let Left::Some(percent) = left else { return vec![] };
        match self {
            Write::Length(_) if dice.percent(percent) => vec![self],
            Write::Length(_) => vec![],
            Write::Bytes(at, written) => {
                let mut sectors = Vec::new();
                let mut from = 0;
                while from < written.len() {
                    // Sectors begin where the disk says, not where a write does.
                    let to = (((at + from) / SECTOR + 1) * SECTOR - at).min(written.len());
                    if dice.percent(percent) {
                        sectors.push(Write::Bytes(at + from, written[from..to].to_vec()));
                    }
                    from = to;
                }
                sectors
            }
        }
    }
}

#[test]
fn what_was_not_synced_is_gone_and_what_was_is_there() {
    let dice = Dice::thrown();
    let mut disk = Platter::new();
    let make = |disk: &mut Platter, name: &str| {
        disk.make(ROOT, OsStr::new(name), Kind::File(Bytes::default()), 0o600)
    };
    let [both, data, name] = ["both", "data", "name"].map(|name| make(&mut disk, name));
    for file in [both, data, name] {
        disk.write(file, 0, b"synced");
    }
    disk.sync(both, true);
    disk.sync(data, true);
    // A name that comes after the sync of the directory is not kept, whatever is known of the file.
    disk.rename(ROOT, vec![(OsString::from("data"), None)]);
    disk.sync(ROOT, false);
    disk.rename(ROOT, vec![(OsString::from("data"), Some(data)), (OsString::from("both"), None)]);
    disk.write(both, 4, b"lost");
    disk.lose_power(Left::Nothing, &dice);
    let bytes = |disk: &Platter, name: &str| {
        let node = disk.node(disk.find(ROOT, OsStr::new(name))?)?;
        let Kind::File(bytes) = &node.kind else { panic!("a file") };
        Some(bytes.now.clone())
    };
    assert_eq!(bytes(&disk, "both").as_deref(), Some(&b"synced"[..]));
    assert_eq!(bytes(&disk, "name").as_deref(), Some(&b""[..]), "a name alone is an empty file");
    assert_eq!(bytes(&disk, "data"), None);

    let torn = disk.find(ROOT, OsStr::new("both")).expect("it is there");
    let mut found = BTreeSet::new();
    for _ in 0..200 {
        disk.write(torn, 0, &[0; 2 * SECTOR]);
        disk.sync(torn, true);
        disk.write(torn, 0, &[1; 2 * SECTOR]);
        disk.lose_power(Left::Some(50), &dice);
        let bytes = bytes(&disk, "both").expect("it is there");
        assert!(bytes.chunks(SECTOR).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
        found.insert((bytes[0], bytes[SECTOR]));
    }
    assert_eq!(found.len(), 4, "each sector by itself");
}
