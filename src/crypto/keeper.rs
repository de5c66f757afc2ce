//! New users and new months: on stable storage before anybody is told, and one sync for all who wait.
//!
//! One thread owns the two files that grow. It takes whatever waits, writes it behind what is there, syncs once,
//! makes it known, and answers. So two callers with one Discord id get one pseudonym without a lock.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

use crate::disk::Disk;
use crate::domain::id::{DiscordId, Sub};
use crate::domain::time::Month;
use crate::entropy::Entropy;

use super::error::KeyError;
use super::key_file::{Contents, Entry, KeyFile};
use super::known::{Known, month_entry, subject_entry};
use super::secret_key::SecretKey;

/// At most so many are written together.
const GROUP: usize = 1_024;

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
            let _ = answer.send(sub.map_err(|stopped| result.clone().err().unwrap_or(stopped)));
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::{Pin, pin};
    use std::task::Poll;

    use super::*;
    use crate::crypto::trial::Trial;
    use crate::disk::Synced;

    /// Polls once, so that the question is in the queue, and says whether it was answered already.
    async fn asked<F: Future>(mut future: Pin<&mut F>) -> bool {
        poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready())).await
    }

    #[tokio::test]
    async fn a_key_is_on_stable_storage_before_anybody_is_told() {
        let trial = Trial::new();
        let ring = trial.create().unwrap();
        let before = trial.disk.calls().len();
        trial.disk.close_gate();
        let mut nelly = pin!(ring.ensure_subject(DiscordId(1)));
        assert!(!asked(nelly.as_mut()).await);
        trial.disk.wait_for_calls(before + 1);
        let sync = trial.disk.calls().pop().unwrap();
        assert_eq!((sync.what, sync.len), (Synced::Keys, 256), "the entry is written when the sync begins");
        assert!(!asked(nelly.as_mut()).await, "not answered before the sync has ended");
        assert_eq!(ring.sub_of(DiscordId(1)), None, "not known before the sync has ended");
        trial.disk.open_gate();
        let sub = nelly.await.unwrap();
        assert_eq!(ring.sub_of(DiscordId(1)), Some(sub));

        trial.disk.close_gate();
        let mut month = pin!(ring.ensure_month(Month(202_601)));
        assert!(!asked(month.as_mut()).await);
        trial.disk.wait_for_calls(before + 2);
        assert!(!asked(month.as_mut()).await && !ring.has_month(Month(202_601)));
        trial.disk.open_gate();
        month.await.unwrap();
        ring.ensure_month(Month(202_601)).await.unwrap();
        assert_eq!(trial.disk.calls().len(), before + 2, "what is there needs no sync");
    }

    #[tokio::test]
    async fn all_who_wait_share_one_sync_and_one_user_gets_one_pseudonym() {
        let trial = Trial::new();
        let ring = trial.create().unwrap();
        let before = trial.disk.calls().len();
        trial.disk.close_gate();
        let mut first = Box::pin(ring.ensure_subject(DiscordId(1)));
        asked(first.as_mut()).await;
        trial.disk.wait_for_calls(before + 1);
        // These come while the first sync is going on, the first user once more among them.
        let mut others: Vec<_> =
            [2, 2, 3, 1, 2].map(|id| Box::pin(ring.ensure_subject(DiscordId(id)))).into_iter().collect();
        for other in &mut others {
            assert!(!asked(other.as_mut()).await);
        }
        trial.disk.open_gate();
        let one = first.await.unwrap();
        let mut subs = Vec::new();
        for other in others {
            subs.push(other.await.unwrap());
        }
        assert_eq!(trial.disk.calls().len(), before + 2);
        assert_eq!((subs[0], subs[3]), (subs[1], one));
        assert_eq!(subs[0], subs[4]);
        assert!(subs[0] != subs[2] && subs[2] != one && subs[0] != one);
        drop(ring);
        let ring = trial.open().unwrap();
        assert_eq!(ring.subject_count(), 3);
        assert_eq!(ring.sub_of(DiscordId(2)), Some(subs[0]));
    }

    #[tokio::test]
    async fn whoever_stops_waiting_loses_nothing() {
        let trial = Trial::new();
        let ring = trial.create().unwrap();
        let before = trial.disk.calls().len();
        trial.disk.close_gate();
        {
            let mut gone = pin!(ring.ensure_subject(DiscordId(1)));
            asked(gone.as_mut()).await;
            trial.disk.wait_for_calls(before + 1);
        }
        trial.disk.open_gate();
        let sub = ring.ensure_subject(DiscordId(1)).await.unwrap();
        drop(ring);
        assert_eq!(trial.open().unwrap().sub_of(DiscordId(1)), Some(sub));
        assert_eq!(trial.open().unwrap().subject_count(), 1);
    }

    #[tokio::test]
    async fn after_a_failed_sync_nobody_is_known_and_the_next_user_brings_the_file_in_order() {
        let trial = Trial::new();
        let ring = trial.create().unwrap();
        let kept = ring.ensure_subject(DiscordId(1)).await.unwrap();
        trial.disk.fail_after(0);
        for _ in 0..2 {
            let error = ring.ensure_subject(DiscordId(2)).await.unwrap_err();
            assert!(matches!(error, KeyError::Io { action: "sync", .. }), "{error}");
            assert_eq!(ring.sub_of(DiscordId(2)), None);
        }
        assert_eq!(ring.ensure_subject(DiscordId(1)).await.unwrap(), kept, "what is kept stays known");
        trial.disk.repair();
        let before = trial.disk.calls().len();
        let next = ring.ensure_subject(DiscordId(3)).await.unwrap();
        let syncs: Vec<Synced> = trial.disk.calls()[before..].iter().map(|call| call.what).collect();
        assert_eq!(syncs, [Synced::Keys, Synced::Directory], "written anew, not added to");
        let last = ring.ensure_subject(DiscordId(4)).await.unwrap();
        drop(ring);
        let ring = trial.open().unwrap();
        let ids = [1, 2, 3, 4].map(|id| ring.sub_of(DiscordId(id)));
        assert_eq!(ids, [Some(kept), None, Some(next), Some(last)]);
    }
}
