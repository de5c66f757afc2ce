//! What changes the key files of a running ring: one thing at a time, and stored before anybody is told.
//!
//! One thread owns all files. It takes whatever waits: a rekey for all who want one, then new months and new
//! users, written behind what is there with one sync for all of them. Only then is it made known and
//! answered. So two callers with one Discord id get one pseudonym without a lock, and appends wait while a
//! rekey rewrites.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

use crate::disk::Disk;
use crate::domain::id::{DiscordId, Sub};
use crate::domain::time::Month;
use crate::entropy::Entropy;

use super::error::KeyError;
use super::files::{Files, NEXT_SIGNER, SIGNER};
use super::forget::Forget;
use super::handover::{self, Handover};
use super::key_file::Entry;
use super::known::{Known, month_entry, subject_entry};
use super::secret_key::SecretKey;
use super::signer::{NewSigner, Signing, public_of, sign_with, signer_succession};

/// At most so many are written together.
const GROUP: usize = 1_024;

/// The door to the thread that writes the key files.
#[derive(Debug)]
pub(super) struct Keeper {
    queue: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// Where somebody waits.
type Answer<T> = oneshot::Sender<Result<T, KeyError>>;

/// Somebody who waits, and for what.
#[derive(Debug)]
enum Job {
    Subject(DiscordId, Answer<Sub>),
    Month(Month, Answer<()>),
    Forget(Forget, Answer<()>),
    RotateRoot(Answer<u32>),
    PrepareSigner(Answer<NewSigner>),
    SignerIs([u8; 32], Answer<()>),
}

impl Keeper {
    /// Starts the thread, with the files as they were read.
    pub(super) fn start(
        known: Arc<Known>,
        signing: Arc<Signing>,
        files: Files,
        entropy: Arc<dyn Entropy>,
        disk: Arc<dyn Disk>,
    ) -> Result<Keeper, KeyError> {
        let (queue, jobs) = mpsc::channel();
        let dir = files.settings.dir.clone();
        let writer = Writer { known, signing, files, leaving: Forget::default(), entropy, disk };
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

    /// Waits until no file that ever was gives these keys back.
    pub(super) async fn forget(&self, gone: Forget) -> Result<(), KeyError> {
        self.ask(|answer| Job::Forget(gone, answer)).await
    }

    /// Waits until the files are sealed under a new root key and the old one is gone.
    pub(super) async fn rotate_root(&self) -> Result<u32, KeyError> {
        self.ask(Job::RotateRoot).await
    }

    /// Waits until a key that can sign next is on stable storage.
    pub(super) async fn prepare_signer(&self) -> Result<NewSigner, KeyError> {
        self.ask(Job::PrepareSigner).await
    }

    /// Waits until this key signs, and is in the file.
    pub(super) async fn signer_is(&self, public: [u8; 32]) -> Result<(), KeyError> {
        self.ask(|answer| Job::SignerIs(public, answer)).await
    }

    async fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Result<T, KeyError> {
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
    signing: Arc<Signing>,
    files: Files,
    /// What the rekey that is open leaves out.
    leaving: Forget,
    entropy: Arc<dyn Entropy>,
    disk: Arc<dyn Disk>,
}

impl Writer {
    fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let (mut ids, mut months, mut rekeys) = (Vec::new(), Vec::new(), Vec::new());
            let (mut gone, mut rotations) = (Forget::default(), Vec::new());
            for job in std::iter::once(first).chain(jobs.try_iter().take(GROUP - 1)) {
                match job {
                    Job::Subject(id, answer) => ids.push((id, answer)),
                    Job::Month(month, answer) => months.push((month, answer)),
                    Job::Forget(more, answer) => {
                        gone.join(more);
                        rekeys.push(answer);
                    }
                    Job::RotateRoot(answer) => rotations.push(answer),
                    Job::PrepareSigner(answer) => {
                        let _ = answer.send(self.prepare_signer());
                    }
                    Job::SignerIs(public, answer) => {
                        let _ = answer.send(self.signer_is(public));
                    }
                }
            }
            if !rekeys.is_empty() || !rotations.is_empty() {
                let result = self.rekey(gone, !rotations.is_empty());
                for answer in rekeys {
                    let _ = answer.send(result.clone());
                }
                let generation = self.files.kek.newest().generation;
                for answer in rotations {
                    let _ = answer.send(result.clone().map(|()| generation));
                }
            }
            if !months.is_empty() {
                self.keep_months(months);
            }
            if !ids.is_empty() {
                self.keep_subjects(ids);
            }
        }
    }

    /// Destroys keys, or only gives the files a new root key.
    fn rekey(&mut self, gone: Forget, rotate: bool) -> Result<(), KeyError> {
        self.settle()?;
        let gone = gone.among(&self.known);
        if gone.is_empty() && !rotate {
            return Ok(());
        }
        self.files.begin_rekey(&*self.entropy, &*self.disk)?;
        self.leaving = gone;
        self.settle()
    }

    /// Ends a rekey that is open, if one is.
    ///
    /// Nothing else is written before: what is added now could be left behind under the old root key. Those
    /// who leave are forgotten when no file gives their keys back any more, and not a step earlier.
    fn settle(&mut self) -> Result<(), KeyError> {
        if self.files.rekey_is_open() {
            self.files.finish_rekey(&self.known, &self.leaving, &*self.entropy, &*self.disk)?;
            self.known.forget(&std::mem::take(&mut self.leaving));
        }
        Ok(())
    }

    fn prepare_signer(&mut self) -> Result<NewSigner, KeyError> {
        self.settle()?;
        let current = self.signing.public();
        if public_of(self.files.key(SIGNER)?) != current {
            // The last one signs already, and is not in its file yet.
            self.signer_is(current)?;
        }
        let prepared = self.files.key(NEXT_SIGNER).ok().map(public_of);
        if !self.files.has_key(NEXT_SIGNER) || prepared == Some(current) {
            // One that is in doubt was shown to nobody; the one that signs already could only not be removed.
            let key = SecretKey::draw(&*self.entropy);
            self.files.put_key(NEXT_SIGNER, key, &*self.entropy, &*self.disk)?;
        }
        let public = public_of(self.files.key(NEXT_SIGNER)?);
        let signature = self.signing.sign(&signer_succession(self.files.settings.log_id, &public));
        Ok(NewSigner { public, signature })
    }

    fn signer_is(&mut self, public: [u8; 32]) -> Result<(), KeyError> {
        let kept = self.files.key(SIGNER)?.clone();
        let next = self.files.key(NEXT_SIGNER).ok().cloned();
        let is_kept = public_of(&kept) == public;
        let named =
            if is_kept { Some(&kept) } else { next.as_ref().filter(|next| public_of(next) == public) };
        let dir = &self.files.settings.dir;
        let named = named.ok_or_else(|| KeyError::OtherSigner { dir: dir.clone(), public })?;
        self.signing.set(named);
        if !is_kept || !self.files.has_key(SIGNER) {
            self.settle()?;
            if !is_kept {
                // While the old key can still give its word.
                let (log, old) = (self.files.settings.log_id, public_of(&kept));
                let signature = sign_with(&kept, &signer_succession(log, &public));
                let handover = Handover { old, next: NewSigner { public, signature } };
                handover::keep(&self.files.settings.dir, log, handover, &*self.disk)?;
            }
            self.files.put_key(SIGNER, named.clone(), &*self.entropy, &*self.disk)?;
        }
        if next.is_some() {
            self.settle()?;
            self.files.remove_key(NEXT_SIGNER, &*self.disk)?;
        }
        Ok(())
    }

    fn keep_subjects(&mut self, waiting: Vec<(DiscordId, Answer<Sub>)>) {
        let settled = self.settle();
        let mut ids: Vec<DiscordId> = waiting.iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.retain(|id| self.known.sub_of(*id).is_none());
        let fresh: Vec<Entry> = ids
            .into_iter()
            .map(|id| subject_entry(id, Sub(self.entropy.draw()), SecretKey::draw(&*self.entropy)))
            .collect();
        let known = || self.known.subject_entries(&Forget::default().subs);
        let result =
            settled.and_then(|()| self.files.subjects.add(&fresh, known, &*self.entropy, &*self.disk));
        if result.is_ok() {
            fresh.iter().for_each(|entry| self.known.add_subject(entry));
        }
        for (id, answer) in waiting {
            let sub = self.known.sub_of(id).ok_or(KeyError::Stopped);
            // Whoever has stopped waiting finds the key the next time.
            let _ = answer.send(sub.map_err(|stopped| result.clone().err().unwrap_or(stopped)));
        }
    }

    fn keep_months(&mut self, waiting: Vec<(Month, Answer<()>)>) {
        let settled = self.settle();
        let mut months: Vec<Month> = waiting.iter().map(|(month, _)| *month).collect();
        months.sort_unstable();
        months.dedup();
        months.retain(|month| self.known.month_key(*month).is_none());
        let fresh: Vec<Entry> =
            months.into_iter().map(|month| month_entry(month, SecretKey::draw(&*self.entropy))).collect();
        let known = || self.known.month_entries(&Forget::default().months);
        let result = settled.and_then(|()| self.files.months.add(&fresh, known, &*self.entropy, &*self.disk));
        if result.is_ok() {
            fresh.iter().for_each(|entry| self.known.add_month(entry));
        }
        for (month, answer) in waiting {
            let known = self.known.month_key(month).is_some();
            let _ = answer.send(if known { Ok(()) } else { result.clone() });
        }
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
