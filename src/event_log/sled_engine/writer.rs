//! The append thread: what waits becomes one batch, one sync of the database and one of `HEAD`.

use std::fs::File;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::shared::{End, Late, Shared, Waiting, answer_unknown, take_group};
use crate::disk::Synced;
use crate::domain::id::Position;
use crate::event_log::codec::leaf_hash;
use crate::event_log::engine::{CloseError, Health, NotWritten};
use crate::event_log::head::{DataFile, Head, HeadFile, Last, StopState, WriteError, sync_directory};
use crate::event_log::memory_engine::check;
use crate::event_log::sled_guard;
use crate::event_log::start::Place;

/// An append is refused where less is free: sled and `HEAD` must never meet a full disk.
pub(in super::super) const MIN_FREE: u64 = 64 << 20;

/// What the append thread owns.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) place: Place,
    pub(super) head: HeadFile,
    /// The position that the next record gets.
    pub(super) next: Position,
    /// sled's data file, by a handle of our own.
    pub(super) db: File,
    pub(super) db_length: u64,
    /// Whether the last look at the disk found it full.
    pub(super) full: bool,
}

enum Work {
    Group(Vec<Waiting>),
    Look,
    End(End),
}

/// A group failed after sled was touched.
enum Fault {
    /// The log can be opened again.
    Interrupted(String),
    /// A sync failed: what the disk holds can no longer be known in this process.
    Final(String),
}

impl From<WriteError> for Fault {
    fn from(error: WriteError) -> Fault {
        match error {
            WriteError::Write(_) => Fault::Interrupted(error.to_string()),
            WriteError::Sync(_) => Fault::Final(error.to_string()),
        }
    }
}

impl Writer {
    pub(super) fn run(mut self) {
        let end = loop {
            match self.wait() {
                Work::Group(group) => self.group(group),
                Work::Look => self.look_for_space(),
                Work::End(end) => break end,
            }
        };
        self.shared.depart(Vec::new());
        let closed = self.close(&end);
        self.shared.arrive();
        self.shared.feed.close();
        self.shared.end_flights();
        let shared = Arc::clone(&self.shared);
        // The lock goes before anybody is told, so that whoever is told may start again.
        drop(self);
        if let End::Close(reply) = end {
            drop(reply.send(closed));
        }
        drop(shared);
    }

    fn wait(&self) -> Work {
        let shared = &self.shared;
        let mut queue = shared.queue();
        loop {
            let abandoned = matches!(queue.end, Some(End::Abandon));
            if !queue.waiting.is_empty() && !abandoned {
                return Work::Group(take_group(&mut queue));
            }
            if let Some(end) = queue.end.take() {
                return Work::End(end);
            }
            if self.full {
                let waited = shared.work.wait_timeout(queue, shared.pace.look_for_space);
                let (after, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                queue = after;
                if timeout.timed_out() {
                    return Work::Look;
                }
            } else {
                queue = shared.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn group(&mut self, group: Vec<Waiting>) {
        let first = self.next;
        let mut at = first;
        let mut frames: Vec<Bytes> = Vec::new();
        let mut replies = Vec::new();
        for Waiting { records, expected, reply } in group {
            if let Err(why) = check(&records, expected, at) {
                drop(reply.send(Err(why.into())));
                continue;
            }
            replies.push((reply, at));
            at = Position(at.0 + u64::try_from(records.len()).unwrap_or(u64::MAX));
            frames.extend(records.into_iter().map(Bytes::from));
        }
        let Some(last) = frames.last() else { return };
        let last = Last { position: Position(at.0 - 1), leaf: leaf_hash(last) };
        if let Err(why) = self.space() {
            for (reply, _) in replies {
                drop(reply.send(Err(why.clone().into())));
            }
            return;
        }
        self.shared.depart(replies);
        let written = self.write(first, &frames, last);
        let (replies, late) = self.shared.arrive();
        if late == Late::Lost {
            return;
        }
        match written {
            Ok(()) => {
                self.next = at;
                self.shared.feed.publish(frames);
                for (reply, position) in replies {
                    drop(reply.send(Ok(position)));
                }
                if late == Late::Stuck {
                    self.shared.accept();
                }
            }
            // Whoever is told that the outcome is unknown finds the log unavailable from then on.
            Err(Fault::Interrupted(why)) => {
                self.interrupt(why);
                answer_unknown(replies);
                self.reopen();
            }
            Err(Fault::Final(why)) => {
                self.shared.fail(why);
                answer_unknown(replies);
            }
        }
    }

    /// The order of these lines is what an acknowledgement is worth.
    fn write(&mut self, first: Position, frames: &[Bytes], last: Last) -> Result<(), Fault> {
        match self.shared.store.with(|db| sled_guard::write(db, first, frames)) {
            Some(Ok(())) => {}
            Some(Err(fault)) => return Err(Fault::Interrupted(fault.why)),
            None => return Err(Fault::Interrupted("the database is not open".into())),
        }
        self.sync_database()?;
        // A log that was restored is one until its first append stands.
        self.head.write(StopState::Open, Some(last), DataFile::of_length(self.db_length))?;
        Ok(())
    }

    fn sync_database(&mut self) -> Result<(), Fault> {
        let failed = |error| Fault::Final(format!("the database could not be synced: {error}"));
        let length = self.db.metadata().map_err(failed)?.len();
        if length == self.db_length {
            self.place.disk.sync_data(Synced::Database, &self.db).map_err(failed)
        } else {
            self.db_length = length;
            self.place.disk.sync_all(Synced::Database, &self.db).map_err(failed)
        }
    }

    /// Refuses where the disk is as good as full, before sled is touched.
    fn space(&mut self) -> Result<(), NotWritten> {
        // A disk that does not say is tried.
        let free = self.place.disk.free_space(&self.place.data_dir).unwrap_or(u64::MAX);
        let full = free < MIN_FREE;
        if full != std::mem::replace(&mut self.full, full) {
            if full {
                self.shared.unavailable(format!("only {free} bytes are free, and {MIN_FREE} must be"));
            } else {
                tracing::info!("there is room on the disk again");
                self.shared.accept();
            }
        }
        if full { Err(NotWritten::NoSpace { free, needed: MIN_FREE }) } else { Ok(()) }
    }

    fn look_for_space(&mut self) {
        // The answer is in the health.
        drop(self.space());
    }

    fn interrupt(&self, why: String) {
        self.shared.refuse();
        self.shared.feed.interrupt();
        self.shared.unavailable(why);
    }

    /// Opens the log again the way of an unclean stop, until that works or the log is to be closed.
    fn reopen(&mut self) {
        self.shared.depart(Vec::new());
        if let Some(db) = self.shared.store.take()
            && let Err(fault) = sled_guard::close(db)
        {
            tracing::warn!(why = fault.why, "the database did not close");
        }
        if self.shared.arrive().1 == Late::Lost {
            return;
        }
        let mut pause = self.shared.pace.reopen_after;
        while self.pause(pause) {
            match self.place.reopen(&mut self.head) {
                Ok(ready) => {
                    (self.db, self.db_length) = (ready.db_file, ready.db_length);
                    self.next = ready.end.map_or(Position(0), Position::next);
                    self.shared.store.open(ready.db);
                    self.shared.feed.reopened(ready.end);
                    self.full = false;
                    tracing::info!("the log is available again");
                    self.shared.accept();
                    return;
                }
                Err(error) if error.is_final() => return self.shared.fail(error.to_string()),
                Err(error) => self.shared.unavailable(error.to_string()),
            }
            pause = (pause * 2).min(self.shared.pace.reopen_after * 64);
        }
    }

    /// Waits; false as soon as the log is to be closed.
    fn pause(&self, pause: Duration) -> bool {
        let queue = self.shared.queue();
        let waited = self.shared.work.wait_timeout_while(queue, pause, |queue| queue.end.is_none());
        let (queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        queue.end.is_none()
    }

    fn close(&mut self, end: &End) -> Result<(), CloseError> {
        let failed = |why: String| CloseError { why };
        let open = self.shared.store.take();
        let health = self.shared.health.borrow().clone();
        if let Health::Failed { why } = health {
            if let Some(db) = open {
                drop(sled_guard::close(db));
            }
            return Err(failed(why));
        }
        let Some(db) = open else { return Err(failed("the database was not open".into())) };
        sled_guard::close(db).map_err(|fault| failed(fault.why))?;
        let untouched = self.head.is_untouched();
        if matches!(end, End::Abandon) && !untouched {
            return Ok(());
        }
        if !untouched {
            let end = self.next.0.checked_sub(1).map(Position);
            sled_guard::settle(&self.place.log(), end).map_err(|fault| failed(fault.why))?;
        }
        self.sync_database().map_err(|fault| match fault {
            Fault::Interrupted(why) | Fault::Final(why) => failed(why),
        })?;
        sync_directory(&self.place.log(), &*self.place.disk)
            .map_err(|error| failed(format!("the directory could not be synced: {error}")))?;
        let found = self.db.metadata().map_err(|error| failed(error.to_string()))?;
        let found = DataFile::of(&found);
        let written = if untouched && (matches!(end, End::Abandon) || found == self.head.current().db) {
            self.head.put_back()
        } else {
            let Head { last, state, .. } = *self.head.current();
            // Whoever only read a log that was put back has not said so in it.
            let state = if state.restored().is_some() { state } else { StopState::Clean };
            self.head.write(state, last, found)
        };
        written.map_err(|error| failed(error.to_string()))
    }
}
