//! The first block of every key file: what it is, under which generation, of which log.
//!
//! A key file is a row of blocks of 128 bytes, so that no block lies across the border of two sectors: after a
//! power cut a new block is there, or is zeros, or lies beyond the end of the file.

use std::path::Path;

use crate::domain::id::{Hash, LogId};

use super::error::KeyError;

/// The length of every block.
pub(super) const BLOCK: usize = 128;

const MAGIC: &[u8; 8] = b"doorkeys";
const FORMAT: u16 = 1;
/// What a checksum covers; it fills the rest of the block.
const CHECKED: usize = 96;

/// The first block of a key file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Under which entry of `kek` the file is sealed; in `kek` itself, its newest.
    pub(super) generation: u32,
    /// The log whose keys these are.
    pub(super) log: LogId,
}

impl Header {
    /// Returns the block: `magic | format u16be | generation u32be | log id | zeros | checksum`.
    pub(super) fn to_block(self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        block[..8].copy_from_slice(MAGIC);
        block[8..10].copy_from_slice(&FORMAT.to_be_bytes());
        block[10..14].copy_from_slice(&self.generation.to_be_bytes());
        block[14..30].copy_from_slice(&self.log.0);
        with_checksum(block)
    }

    /// Reads the first block of `bytes`, the contents of `file`.
    pub(super) fn read(file: &Path, bytes: &[u8]) -> Result<Header, KeyError> {
        let damaged = |what| KeyError::Damaged { file: file.to_owned(), at: 0, what };
        let block: &[u8; BLOCK] = bytes.first_chunk().ok_or_else(|| damaged("it is too short"))?;
        if !block.starts_with(MAGIC) || !checksum_holds(block) {
            return Err(damaged("its first block is not as written"));
        }
        let [.., high, low] = part::<10>(block, 0);
        let format = u16::from_be_bytes([high, low]);
        if format != FORMAT {
            return Err(KeyError::Newer { file: file.to_owned(), format });
        }
        Ok(Header { generation: u32::from_be_bytes(part(block, 10)), log: LogId(part(block, 14)) })
    }

    /// Reads the first block and holds it against the log whose keys are needed.
    pub(super) fn read_of(log: LogId, file: &Path, bytes: &[u8]) -> Result<Header, KeyError> {
        let header = Header::read(file, bytes)?;
        if header.log != log {
            return Err(KeyError::OtherLog { file: file.to_owned(), found: header.log, expected: log });
        }
        Ok(header)
    }
}

/// Fills in the checksum at the end of a block that is not sealed.
pub(super) fn with_checksum(mut block: [u8; BLOCK]) -> [u8; BLOCK] {
    let checksum = Hash::of(&block[..CHECKED]);
    block[CHECKED..].copy_from_slice(&checksum.0);
    block
}

/// Says whether a block that is not sealed is as it was written.
pub(super) fn checksum_holds(block: &[u8; BLOCK]) -> bool {
    Hash::of(&block[..CHECKED]).0 == block[CHECKED..]
}

/// Copies `N` bytes out of a block, or whatever has them.
///
/// # Panics
///
/// Where `bytes` end earlier: the places are constants of the formats.
pub(super) fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&bytes[at..at + N]);
    part
}
