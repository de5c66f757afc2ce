//! Going on although acknowledged records are gone, because the operator says so.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::{Place, StartError};
use crate::disk::Synced;
use crate::domain::event::Event;
use crate::domain::id::{Hash, Position};
use crate::event_log::head::{Head, sync_directory};
use crate::event_log::sled_guard::{self, SledFault, guarded};

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
    /// Writes the records behind `from` to a file, one line of JSON each: position and frame.
    ///
    /// It takes what can be read from both ends and gives up in the middle.
    pub(super) fn salvage(
        &self,
        db: &sled::Db,
        from: Position,
    ) -> Result<Option<(PathBuf, Hash)>, StartError> {
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

    fn write_salvaged(&self, path: &std::path::Path, text: &str) -> io::Result<()> {
        let mut file = File::create_new(path)?;
        file.write_all(text.as_bytes())?;
        self.disk.sync_all(Synced::Other, &file)?;
        sync_directory(&self.data_dir, &*self.disk)
    }

    /// Returns the time as part of a file name.
    pub(super) fn file_time(&self) -> String {
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
