//! From bytes to a state, entry by entry; believes no length.

use std::io::{self, BufReader, Read};

use sha2::{Digest as _, Sha256};

use super::gather::{Gathered, decode};
use super::{FORMAT, StateError, StoredState, same_size, wire};
use crate::domain::id::Hash;
use crate::domain::state::FOLD;
use crate::event_log::codec::MAX_FRAME;
use crate::event_log::tree::Frontier;

/// Reads what [`write_state`](super::write_state) wrote, to its end.
///
/// It takes as much memory as the state does, and one entry more, whatever the bytes say.
pub fn read_state(from: impl Read) -> Result<StoredState, StateError> {
    let mut entries = Entries::new(from);
    let frontier = read_header(entries.next()?)?;
    let mut gathered = Gathered::default();
    loop {
        let (kind, body) = entries.next()?;
        if kind != wire::END {
            gathered.take(kind, body)?;
            continue;
        }
        let end: wire::EndV1 = decode(body)?;
        // The end itself is the last one counted.
        if (end.entries, end.users, end.sessions)
            != (entries.count - 1, gathered.users(), gathered.sessions())
        {
            return Err(StateError::Counts);
        }
        let hash = entries.finish()?;
        let state = gathered.finish()?;
        same_size(&state, &frontier)?;
        return Ok(StoredState { state, size: frontier.size(), frontier, hash });
    }
}

struct Entries<R: Read> {
    from: BufReader<R>,
    hash: Sha256,
    count: u64,
    entry: Vec<u8>,
}

impl<R: Read> Entries<R> {
    fn new(from: R) -> Entries<R> {
        Entries {
            from: BufReader::with_capacity(1 << 16, from),
            hash: Sha256::new(),
            count: 0,
            entry: vec![],
        }
    }

    /// Reads the kind of an entry and its body. There always is one, because nothing is read behind the end.
    fn next(&mut self) -> Result<(u8, &[u8]), StateError> {
        let mut length = [0; 4];
        self.from.read_exact(&mut length).map_err(cut)?;
        let bytes = u32::from_be_bytes(length);
        let size = usize::try_from(bytes).ok().filter(|size| *size <= MAX_FRAME);
        self.entry.resize(size.ok_or(StateError::TooLong { bytes })?, 0);
        self.from.read_exact(&mut self.entry).map_err(cut)?;
        self.hash.update(length);
        self.hash.update(&self.entry);
        self.count += 1;
        match self.entry.split_first() {
            Some((kind, body)) => Ok((*kind, body)),
            None => Err(StateError::Misplaced { kind: 0 }),
        }
    }

    /// Makes sure that nothing follows, and returns the hash.
    fn finish(mut self) -> Result<Hash, StateError> {
        match self.from.read_exact(&mut [0]).map_err(cut) {
            Err(StateError::Cut) => Ok(Hash(self.hash.finalize().into())),
            Ok(()) => Err(StateError::LeftOver),
            Err(error) => Err(error),
        }
    }
}

fn cut(error: io::Error) -> StateError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => StateError::Cut,
        _ => StateError::Io(error),
    }
}

fn read_header((kind, body): (u8, &[u8])) -> Result<Frontier, StateError> {
    let Some((&[f0, f1, v0, v1, v2, v3], body)) = body.split_first_chunk().filter(|_| kind == wire::HEADER)
    else {
        return Err(StateError::NoHeader);
    };
    let (format, fold) = (u16::from_be_bytes([f0, f1]), u32::from_be_bytes([v0, v1, v2, v3]));
    if format != FORMAT {
        return Err(StateError::OtherFormat { format });
    }
    if fold != FOLD {
        return Err(StateError::OtherFold { fold });
    }
    let header: wire::HeaderV1 = decode(body)?;
    Ok(Frontier::from_parts(header.size, header.frontier.into_iter().map(Hash).collect())?)
}
