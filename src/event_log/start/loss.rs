//! Going on although acknowledged records are gone, because the operator says so.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::place::Ready;
use super::{Place, StartError, make_directory, sync_files};
use crate::disk::Synced;
use crate::domain::event::Event;
use crate::domain::id::{Hash, Position};
use crate::event_log::head::{Head, HeadFile, sync_directory};
use crate::event_log::probe::Found;
use crate::event_log::sled_guard::{self, Db, SledFault, guarded};

/// What the operator accepted to lose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The sequence number of `HEAD`.
    pub head_sequence: u64,
    /// The last position that was acknowledged.
    pub head_position: Option<Position>,
    /// The leaf hash of the record there.
    pub head_leaf: Hash,
    /// The last position that was found in one piece; where there is none, `log.created` must be written
    /// again before the loss is.
    pub last_found: Option<Position>,
    /// The file of the records that stood behind a hole, and its SHA-256.
    pub salvaged: Option<(PathBuf, Hash)>,
    /// Where the database was moved to, where it could not be used.
    pub set_aside: Option<PathBuf>,
}

impl Loss {
    pub(super) fn new(head: &Head, last_found: Option<Position>) -> Loss {
        Loss {
            head_sequence: head.sequence,
            head_position: head.last.map(|last| last.position),
            head_leaf: head.last.map_or(Hash([0; 32]), |last| last.leaf),
            last_found,
            salvaged: None,
            set_aside: None,
        }
    }

    /// Returns whether `log.created` is gone as well and must be written again first.
    pub fn is_total(&self) -> bool {
        self.last_found.is_none()
    }

    /// Returns the event that says so.
    pub fn event(&self) -> Event {
        Event::LogLossAccepted {
            head_sequence: self.head_sequence,
            head_position: self.head_position,
            head_leaf: self.head_leaf,
            last_found: self.last_found,
            salvaged: self.salvaged.as_ref().map(|(_, hash)| *hash),
            checkpoint: None,
        }
    }
}

impl Place {
    /// Goes on at a hole: with a new database of what stands before it. The old one is kept.
    pub(super) fn cut(
        &self,
        head: &mut HeadFile,
        found: &Found,
        mut loss: Loss,
    ) -> Result<Ready, StartError> {
        let damaged = |fault| self.damaged(fault);
        let old = sled_guard::open(&self.copy()).map_err(damaged)?;
        let next = found.end.map_or(0, |end| end + 1);
        loss.salvaged = self.salvage(&old, Position(next))?;
        let made = self.data_dir.join("log.cut");
        self.remove(&made)?;
        make_directory(&made)?;
        let new = sled_guard::open(&made).map_err(damaged)?;
        let mut at = Position(0);
        while at.0 < next {
            let mut frames = Vec::new();
            while at.0 + u64::try_from(frames.len()).unwrap_or(u64::MAX) < next && frames.len() < 512 {
                let position = Position(at.0 + u64::try_from(frames.len()).unwrap_or(u64::MAX));
                frames.push(sled_guard::get(&old, position).map_err(damaged)?.unwrap_or_default());
            }
            sled_guard::write(&new, at, &frames).map_err(damaged)?;
            at = Position(at.0 + u64::try_from(frames.len()).unwrap_or(u64::MAX));
        }
        sled_guard::close(new).map_err(damaged)?;
        sled_guard::close(old).map_err(damaged)?;
        self.remove_copy()?;
        let synced = sync_files(&made, &*self.disk);
        synced.map_err(|source| self.failed("the new log cannot be brought to stable storage", source))?;
        loss.set_aside = Some(self.set_aside(&made)?);
        self.use_database(head, found.end.map(Position), Some(loss))
    }

    /// Goes on with an empty database. The old one, if there is one, is kept.
    pub(super) fn start_over(
        &self,
        head: &mut HeadFile,
        mut loss: Option<Loss>,
    ) -> Result<Ready, StartError> {
        self.remove_copy()?;
        if self.log().exists() {
            make_directory(&self.copy())?;
            let kept = self.set_aside(&self.copy())?;
            if let Some(loss) = &mut loss {
                loss.set_aside = Some(kept);
            }
        } else {
            make_directory(&self.log())?;
        }
        self.use_database(head, None, loss)
    }

    /// Puts a directory in the place of the log, in one step, and keeps the log by a name of its own.
    pub(super) fn set_aside(&self, new: &Path) -> Result<PathBuf, StartError> {
        let kept = self.data_dir.join(format!("log.lost-{}", self.file_time()));
        // Under that name before the exchange: a kill after it must not leave the log where copies are removed.
        fs::rename(new, &kept).map_err(|source| self.failed("the log cannot be set aside", source))?;
        self.exchange_with(&kept)?;
        Ok(kept)
    }

    /// Writes the records behind `from` to a file, one line of JSON each: position and frame.
    ///
    /// It takes what can be read from both ends and gives up in the middle.
    fn salvage(&self, db: &Db, from: Position) -> Result<Option<(PathBuf, Hash)>, StartError> {
        let mut lines: Vec<(Position, String)> = Vec::new();
        let forwards = guarded(|| take(&mut lines, db.range(from.0.to_be_bytes()..)));
        if forwards.is_err() {
            let met = lines.last().map_or(from, |(position, _)| position.next());
            let mut rest = Vec::new();
            // What stops it here is what stopped it there.
            drop(guarded(|| take(&mut rest, db.range(met.0.to_be_bytes()..).rev())));
            lines.extend(rest.into_iter().rev());
        }
        if lines.is_empty() {
            return Ok(None);
        }
        let path = self.data_dir.join(format!("lost-{}.jsonl", self.file_time()));
        let text: String = lines.into_iter().map(|(_, line)| line + "\n").collect();
        let written = self.write_salvaged(&path, &text);
        written.map_err(|source| StartError::Io {
            what: "the salvaged records cannot be written",
            path: path.clone(),
            source,
        })?;
        Ok(Some((path, Hash(Sha256::digest(&text).into()))))
    }

    fn write_salvaged(&self, path: &Path, text: &str) -> io::Result<()> {
        let mut file = File::create_new(path)?;
        file.write_all(text.as_bytes())?;
        self.disk.sync_all(Synced::Other, &file)?;
        sync_directory(&self.data_dir, &*self.disk)
    }

    /// Returns the time as part of a file name.
    fn file_time(&self) -> String {
        self.clock.now().to_string().replace(':', "")
    }
}

type Entry = sled::Result<(sled::IVec, sled::IVec)>;

fn take(lines: &mut Vec<(Position, String)>, entries: impl Iterator<Item = Entry>) -> Result<(), SledFault> {
    for entry in entries {
        let (key, frame) = entry?;
        let position = sled_guard::position(&key)?;
        let line = serde_json::json!({ "position": position.0, "raw": STANDARD.encode(&frame) });
        lines.push((position, line.to_string()));
    }
    Ok(())
}
