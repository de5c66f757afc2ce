//! New users and new months: on stable storage before anybody is told, and one sync for all who wait.
//!
//! One thread owns the two files that grow. It takes whatever waits, writes it behind what is there, syncs once,
//! makes it known, and answers. So two callers with one Discord id get one pseudonym without a lock.

use std::collections::HashMap;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

use crate::disk::Disk;
use crate::domain::id::{DiscordId, Sub};
use crate::domain::time::Month;
use crate::entropy::Entropy;

use super::block::part;
use super::error::KeyError;
use super::key_file::{Contents, Entry, KeyFile};
use super::secret_key::SecretKey;

/// At most so many are written together.
const GROUP: usize = 1_024;

/// The users and months that have a key.
#[derive(Debug, Default)]
pub(super) struct Known {
    subjects: RwLock<Subjects>,
    months: RwLock<HashMap<Month, SecretKey>>,
}

#[derive(Debug, Default)]
struct Subjects {
    by_id: HashMap<DiscordId, Sub>,
    by_sub: HashMap<Sub, (DiscordId, SecretKey)>,
}

impl Known {
    /// Takes in what the files hold; where an entry repeats another one, its index.
    pub(super) fn read(subjects: &[Entry], months: &[Entry]) -> Result<Known, (Which, u64)> {
        let known = Known::default();
        for (index, entry) in (0..).zip(subjects) {
            let (id, sub) = subject_of(entry);
            if known.sub_of(id).is_some() || known.discord_id_of(sub).is_some() {
                return Err((Which::Subjects, index));
            }
            known.add_subject(entry);
        }
        for (index, entry) in (0..).zip(months) {
            if known.month_key(month_of(entry)).is_some() {
                return Err((Which::Months, index));
            }
            known.add_month(entry);
        }
        Ok(known)
    }

    pub(super) fn sub_of(&self, id: DiscordId) -> Option<Sub> {
        self.subjects.read().unwrap_or_else(PoisonError::into_inner).by_id.get(&id).copied()
    }

    pub(super) fn discord_id_of(&self, sub: Sub) -> Option<DiscordId> {
        let subjects = self.subjects.read().unwrap_or_else(PoisonError::into_inner);
        subjects.by_sub.get(&sub).map(|(id, _)| *id)
    }

    pub(super) fn subject_key(&self, sub: Sub) -> Option<SecretKey> {
        let subjects = self.subjects.read().unwrap_or_else(PoisonError::into_inner);
        subjects.by_sub.get(&sub).map(|(_, key)| key.clone())
    }

    pub(super) fn month_key(&self, month: Month) -> Option<SecretKey> {
        self.months.read().unwrap_or_else(PoisonError::into_inner).get(&month).cloned()
    }

    pub(super) fn subject_count(&self) -> usize {
        self.subjects.read().unwrap_or_else(PoisonError::into_inner).by_sub.len()
    }

    fn add_subject(&self, entry: &Entry) {
        let (id, sub) = subject_of(entry);
        let mut subjects = self.subjects.write().unwrap_or_else(PoisonError::into_inner);
        subjects.by_id.insert(id, sub);
        subjects.by_sub.insert(sub, (id, entry.key.clone()));
    }

    fn add_month(&self, entry: &Entry) {
        let mut months = self.months.write().unwrap_or_else(PoisonError::into_inner);
        months.insert(month_of(entry), entry.key.clone());
    }

    fn subject_entries(&self) -> Vec<Entry> {
        let subjects = self.subjects.read().unwrap_or_else(PoisonError::into_inner);
        subjects.by_sub.iter().map(|(sub, (id, key))| subject_entry(*id, *sub, key.clone())).collect()
    }

    fn month_entries(&self) -> Vec<Entry> {
        let months = self.months.read().unwrap_or_else(PoisonError::into_inner);
        months.iter().map(|(month, key)| month_entry(*month, key.clone())).collect()
    }
}

/// One of the two files that grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Subjects,
    Months,
}

fn subject_entry(id: DiscordId, sub: Sub, key: SecretKey) -> Entry {
    let mut name = [0; 24];
    name[..8].copy_from_slice(&id.0.to_be_bytes());
    name[8..].copy_from_slice(&sub.0);
    Entry { name, key }
}

fn subject_of(entry: &Entry) -> (DiscordId, Sub) {
    (DiscordId(u64::from_be_bytes(part(&entry.name, 0))), Sub(part(&entry.name, 8)))
}

fn month_entry(month: Month, key: SecretKey) -> Entry {
    let mut name = [0; 24];
    name[..4].copy_from_slice(&month.0.to_be_bytes());
    Entry { name, key }
}

fn month_of(entry: &Entry) -> Month {
    Month(u32::from_be_bytes(part(&entry.name, 0)))
}

/// The door to the thread that writes `subjects` and `months`.
#[derive(Debug)]
pub(super) struct Keeper {
    queue: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// Somebody who waits for a key.
#[derive(Debug)]
enum Job {
    Subject(DiscordId, oneshot::Sender<Result<Sub, KeyError>>),
    Month(Month, oneshot::Sender<Result<(), KeyError>>),
}

impl Keeper {
    /// Starts the thread, with the two files as they were read.
    pub(super) fn start(
        known: Arc<Known>,
        subjects: (KeyFile, &Contents),
        months: (KeyFile, &Contents),
        entropy: Arc<dyn Entropy>,
        disk: Arc<dyn Disk>,
    ) -> Result<Keeper, KeyError> {
        let (queue, jobs) = mpsc::channel();
        let dir = subjects.0.path().to_owned();
        let writer =
            Writer { known, subjects: Growing::new(subjects), months: Growing::new(months), entropy, disk };
        let thread = thread::Builder::new()
            .name("keys".to_owned())
            .spawn(move || writer.run(&jobs))
            .map_err(KeyError::io("start the thread that writes", dir))?;
        Ok(Keeper { queue: Some(queue), thread: Some(thread) })
    }

    /// Waits until the user has a key on stable storage.
    pub(super) async fn subject(&self, id: DiscordId) -> Result<Sub, KeyError> {
        self.ask(|answer| Job::Subject(id, answer)).await
    }

    /// Waits until the month has a key on stable storage.
    pub(super) async fn month(&self, month: Month) -> Result<(), KeyError> {
        self.ask(|answer| Job::Month(month, answer)).await
    }

    async fn ask<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, KeyError>>) -> Job,
    ) -> Result<T, KeyError> {
        let (answer, answered) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or(KeyError::Stopped)?;
        queue.send(job(answer)).map_err(|_| KeyError::Stopped)?;
        answered.await.map_err(|_| KeyError::Stopped)?
    }
}

impl Drop for Keeper {
    /// Waits until the thread has written what it was asked to.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // It can only have panicked, and then has said so.
            let _ = thread.join();
        }
    }
}

/// What the thread owns.
struct Writer {
    known: Arc<Known>,
    subjects: Growing,
    months: Growing,
    entropy: Arc<dyn Entropy>,
    disk: Arc<dyn Disk>,
}

impl Writer {
    fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let (mut ids, mut months) = (Vec::new(), Vec::new());
            for job in std::iter::once(first).chain(jobs.try_iter().take(GROUP - 1)) {
                match job {
                    Job::Subject(id, answer) => ids.push((id, answer)),
                    Job::Month(month, answer) => months.push((month, answer)),
                }
            }
            self.keep_months(months);
            self.keep_subjects(ids);
        }
    }

    fn keep_subjects(&mut self, waiting: Vec<(DiscordId, oneshot::Sender<Result<Sub, KeyError>>)>) {
        let mut ids: Vec<DiscordId> = waiting.iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.retain(|id| self.known.sub_of(*id).is_none());
        let fresh: Vec<Entry> = ids
            .into_iter()
            .map(|id| subject_entry(id, Sub(self.entropy.draw()), SecretKey::draw(&*self.entropy)))
            .collect();
        let result = self.subjects.add(&fresh, || self.known.subject_entries(), &*self.entropy, &*self.disk);
        if result.is_ok() {
            fresh.iter().for_each(|entry| self.known.add_subject(entry));
        }
        for (id, answer) in waiting {
            let sub = self.known.sub_of(id).ok_or(KeyError::Stopped);
            // Whoever has stopped waiting finds the key the next time.
            let _ = answer.send(sub.or_else(|stopped| Err(result.clone().err().unwrap_or(stopped))));
        }
    }

    fn keep_months(&mut self, waiting: Vec<(Month, oneshot::Sender<Result<(), KeyError>>)>) {
        let mut months: Vec<Month> = waiting.iter().map(|(month, _)| *month).collect();
        months.sort_unstable();
        months.dedup();
        months.retain(|month| self.known.month_key(*month).is_none());
        let fresh: Vec<Entry> =
            months.into_iter().map(|month| month_entry(month, SecretKey::draw(&*self.entropy))).collect();
        let result = self.months.add(&fresh, || self.known.month_entries(), &*self.entropy, &*self.disk);
        if result.is_ok() {
            fresh.iter().for_each(|entry| self.known.add_month(entry));
        }
        for (month, answer) in waiting {
            let known = self.known.month_key(month).is_some();
            let _ = answer.send(if known { Ok(()) } else { result.clone() });
        }
    }
}

/// A file that grows.
struct Growing {
    file: KeyFile,
    /// How many entries it has, as long as nobody has to doubt it.
    len: Option<u64>,
}

impl Growing {
    fn new((file, contents): (KeyFile, &Contents)) -> Growing {
        let len = u64::try_from(contents.entries.len()).ok();
        Growing { file, len: len.filter(|_| !contents.torn) }
    }

    /// Adds entries, with one sync for all of them.
    ///
    /// After a failed write or sync the file is in doubt, and no later sync of it proves anything: the next
    /// call writes it anew, from memory, which is also how a disk that was full for a while is got over.
    fn add(
        &mut self,
        fresh: &[Entry],
        known: impl FnOnce() -> Vec<Entry>,
        entropy: &dyn Entropy,
        disk: &dyn Disk,
    ) -> Result<(), KeyError> {
        if fresh.is_empty() {
            return Ok(());
        }
        let (written, before) = match self.len.take() {
            Some(len) => (self.file.append(len, fresh, entropy, disk), len),
            None => {
                let mut all = known();
                let before = u64::try_from(all.len()).unwrap_or(u64::MAX);
                all.extend_from_slice(fresh);
                (self.file.write_anew(&all, entropy, disk), before)
            }
        };
        written?;
        self.len = u64::try_from(fresh.len()).ok().and_then(|added| before.checked_add(added));
        Ok(())
    }
}
