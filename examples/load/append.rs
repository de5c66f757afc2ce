//! Durable appends, beside what the machine could do without any of it: bare sled, and a plain file.
//!
//! All three make groups in the same way: one thread takes everything that waits, writes it, syncs, and answers.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;

use doorbook::clock::SystemClock;
use doorbook::disk::RealDisk;
use doorbook::entropy::SystemEntropy;
use doorbook::event_log::start::{Begun, StartSettings, begin};
use doorbook::event_log::{Engine, Pace as Patience, Probe};
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::run::{Measured, Pace, Worker, drive, median};
use crate::table::Row;
use crate::{Failure, Options};

/// How long each record is: about as long as that of a returning sign-in.
const RECORD: usize = 500;
/// The most that one group takes, as in the log itself.
const GROUP: usize = 2_048;
/// How many wait at once.
pub(crate) const WAITING: [usize; 3] = [1, 64, 512];

/// Appends to all three in turns; of the rounds of each the middle one counts.
pub(crate) async fn appends(options: &Options, rows: &mut Vec<Row>) -> Result<(), Failure> {
    for waiting in WAITING {
        let dir = TempDir::new()?;
        let engine = open(&dir.path().join("log"))?;
        let doorbook = Log::Doorbook(engine.clone());
        let sled = Log::Bare(Bare::start(Sled::open(&dir.path().join("sled"))?));
        let file = Log::Bare(Bare::start(Plain::open(&dir.path().join("file"))?));
        let logs = [("doorbook", doorbook), ("sled", sled), ("file", file)];
        let mut rounds: [Vec<Measured>; 3] = Default::default();
        for _ in 0..options.rounds.max(1) {
            for ((_, log), rounds) in logs.iter().zip(&mut rounds) {
                let workers = (0..waiting).map(|_| Appends { log: log.clone() }).collect();
                let pace = Pace { lasts: options.round(), rate: None };
                rounds.push(drive(std::process::id(), pace, workers).await?);
            }
        }
        for ((server, _), rounds) in logs.iter().zip(rounds) {
            let Some(measured) = median(rounds) else { continue };
            // All three are in this process.
            rows.push(Row { what: "append", server, connections: waiting, measured, memory: None });
        }
        drop(logs);
        engine.close().await?;
    }
    Ok(())
}

/// Opens a new log, the way `serve` does.
fn open(data_dir: &Path) -> Result<Arc<dyn Engine>, Failure> {
    let settings = StartSettings {
        data_dir: data_dir.to_owned(),
        accept_loss: false,
        probe: Probe::InProcess,
        disk: Arc::new(RealDisk),
        clock: Arc::new(SystemClock::new()),
        entropy: Arc::new(SystemEntropy),
        pace: Patience::default(),
    };
    match begin(settings)? {
        Begun::New(new) => Ok(new.finish(vec![0; RECORD])?.engine),
        Begun::Existing(_) => Err("there is a log already".into()),
    }
}

#[derive(Clone)]
enum Log {
    Doorbook(Arc<dyn Engine>),
    Bare(Bare),
}

struct Appends {
    log: Log,
}

impl Worker for Appends {
    async fn step(&mut self) -> Result<bool, Failure> {
        let record = vec![0x5A; RECORD];
        match &self.log {
            Log::Doorbook(engine) => drop(engine.append(vec![record], None).await?),
            Log::Bare(bare) => bare.append(record).await?,
        }
        Ok(true)
    }
}

/// Where a group goes; `Ok` means on stable storage.
trait Group: Send + 'static {
    fn write(&mut self, records: &[Vec<u8>]) -> Result<(), Failure>;
}

/// One thread that writes everything that waits together.
#[derive(Clone)]
struct Bare {
    waiting: mpsc::Sender<(Vec<u8>, oneshot::Sender<()>)>,
}

impl Bare {
    fn start(mut group: impl Group) -> Bare {
        let (waiting, queue) = mpsc::channel::<(Vec<u8>, oneshot::Sender<()>)>();
        std::thread::spawn(move || {
            while let Ok(first) = queue.recv() {
                let (records, replies): (Vec<_>, Vec<_>) =
                    std::iter::once(first).chain(queue.try_iter().take(GROUP - 1)).unzip();
                if group.write(&records).is_err() {
                    // Whoever waits finds that nobody answers.
                    return;
                }
                for reply in replies {
                    let _ = reply.send(());
                }
            }
        });
        Bare { waiting }
    }

    async fn append(&self, record: Vec<u8>) -> Result<(), Failure> {
        let (reply, answer) = oneshot::channel();
        self.waiting.send((record, reply)).map_err(|_| "the append thread is gone")?;
        Ok(answer.await?)
    }
}

/// sled alone: the same settings, flush and sync, and one slot of 4 KiB overwritten and synced for each group.
struct Sled {
    db: sled::Db,
    file: File,
    head: File,
    next: u64,
    groups: u64,
}

impl Sled {
    fn open(dir: &Path) -> Result<Sled, Failure> {
        let db = bare_sled(dir)?;
        let file = File::open(dir.join("db"))?;
        let head = OpenOptions::new().create(true).truncate(true).write(true).open(dir.join("head"))?;
        head.write_all_at(&[0; 8_192], 0)?;
        head.sync_all()?;
        Ok(Sled { db, file, head, next: 0, groups: 0 })
    }
}

/// Opens sled with the settings of the log.
pub(crate) fn bare_sled(dir: &Path) -> Result<sled::Db, Failure> {
    let config = sled::Config::new().path(dir).segment_size(8 << 20).cache_capacity(24 << 20);
    Ok(config.flush_every_ms(Some(5_000)).open()?)
}

impl Group for Sled {
    fn write(&mut self, records: &[Vec<u8>]) -> Result<(), Failure> {
        let mut batch = sled::Batch::default();
        for record in records {
            batch.insert(&self.next.to_be_bytes(), &record[..]);
            self.next += 1;
        }
        self.db.apply_batch(batch)?;
        self.db.flush()?;
        self.file.sync_data()?;
        self.head.write_all_at(&[0x5A; 4_096], (self.groups % 2) * 4_096)?;
        self.head.sync_data()?;
        self.groups += 1;
        Ok(())
    }
}

/// A file that grows.
struct Plain(File);

impl Plain {
    fn open(path: &Path) -> Result<Plain, Failure> {
        Ok(Plain(File::create(path)?))
    }
}

impl Group for Plain {
    fn write(&mut self, records: &[Vec<u8>]) -> Result<(), Failure> {
        self.0.write_all(&records.concat())?;
        Ok(self.0.sync_data()?)
    }
}
