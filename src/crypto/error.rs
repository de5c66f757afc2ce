//! What can be wrong with keys: each variant is another thing for the operator to do.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::domain::id::LogId;

/// The keys cannot be used as they are.
///
/// It can be copied because everybody who waited for one write gets the same answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeyError {
    /// `ENCRYPT_SECRET` is given now and was not when the keys were sealed.
    #[error("ENCRYPT_SECRET is set, but the keys in {} were sealed without it", dir.display())]
    SecretSet {
        /// The directory of the key files.
        dir: PathBuf,
    },
    /// `ENCRYPT_SECRET` was given when the keys were sealed and is not now.
    #[error("ENCRYPT_SECRET is not set, but the keys in {} were sealed with it", dir.display())]
    SecretRemoved {
        /// The directory of the key files.
        dir: PathBuf,
    },
    /// `ENCRYPT_SECRET` is another one than the keys were sealed with.
    #[error("ENCRYPT_SECRET is not the one that the keys in {} were sealed with", dir.display())]
    SecretChanged {
        /// The directory of the key files.
        dir: PathBuf,
    },
    /// A key file is not there.
    #[error("the key file {} is missing", file.display())]
    Missing {
        /// The file.
        file: PathBuf,
    },
    /// A key file is not as doorbook wrote it.
    #[error("the key file {} is damaged at byte {at}: {what}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where the damaged part of it begins.
        at: u64,
        /// What is wrong with that part.
        what: &'static str,
    },
    /// A key file belongs to another log.
    #[error("the key file {} belongs to the log {found}, not to {expected}", file.display())]
    OtherLog {
        /// The file.
        file: PathBuf,
        /// The log whose keys it holds.
        found: LogId,
        /// The log whose keys are needed.
        expected: LogId,
    },
    /// A later version of doorbook wrote the key file.
    #[error("the key file {} was written by a newer doorbook (format {format})", file.display())]
    Newer {
        /// The file.
        file: PathBuf,
        /// The format that it names.
        format: u16,
    },
    /// The file system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// What it said.
        source: Arc<io::Error>,
    },
    /// The keys were opened to be read, and this would change them.
    #[error("the keys were opened only to be read")]
    ReadOnly,
    /// The log names a key that signs, and it is not here.
    #[error("the log is signed by {}, and that key is not in {}", hex::encode(public), dir.display())]
    OtherSigner {
        /// The directory of the key files.
        dir: PathBuf,
        /// The Ed25519 key that the log names.
        public: [u8; 32],
    },
    /// The thread that writes key files has ended, so nothing new can be kept.
    #[error("the key files are not written any more")]
    Stopped,
}

impl KeyError {
    /// Says whether only the settings are wrong: the keys are whole and nothing was written.
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::SecretSet { .. } | Self::SecretRemoved { .. } | Self::SecretChanged { .. })
    }

    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> KeyError {
        let path = path.into();
        move |source| KeyError::Io { action, path, source: Arc::new(source) }
    }
}

/// An escrow was not made, not opened or not restored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EscrowError {
    /// It is another kind of file.
    #[error("this is no escrow of doorbook's keys")]
    NotAnEscrow,
    /// It is not as doorbook wrote it: changed, or cut off.
    #[error("the escrow is damaged")]
    Damaged,
    /// A later version of doorbook wrote it.
    #[error("the escrow was written by a newer doorbook (format {format})")]
    Newer {
        /// The format that it names.
        format: u16,
    },
    /// The passphrase is another one; or somebody changed the escrow on purpose, which looks the same.
    #[error("the passphrase does not open the escrow")]
    WrongPassphrase,
    /// An empty passphrase protects nothing.
    #[error("an escrow needs a passphrase")]
    NoPassphrase,
    /// It asks for more work to try a passphrase than doorbook ever writes, or for less than Argon2 takes.
    #[error("the escrow asks for {memory_kib} KiB, {passes} passes and {lanes} lanes of Argon2id")]
    Cost {
        /// Memory, in KiB.
        memory_kib: u32,
        /// Passes over it.
        passes: u32,
        /// Lanes in it.
        lanes: u32,
    },
    /// The memory that it takes to try a passphrase is not there.
    #[error("there are no {memory_kib} KiB of memory to try the passphrase with")]
    NoMemory {
        /// Memory, in KiB.
        memory_kib: u32,
    },
    /// A rekey was begun and not ended, and nobody ends it.
    #[error("a rekey in {} was begun and not ended: the next start ends it", dir.display())]
    RekeyOpen {
        /// The directory of the key files.
        dir: PathBuf,
    },
    /// A key file that is not the escrow's is where it would be restored.
    #[error("{} is there, and is not the key file of the escrow", file.display())]
    Occupied {
        /// The file.
        file: PathBuf,
    },
    /// The key files.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Nothing was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The owner has no key (yet, or any more).
    #[error("there is no key of this owner to seal with")]
    NoKey,
    /// The text is longer than the cipher takes.
    #[error("the text is too long to seal")]
    TooLong,
}

/// A box stays closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// A key of the owner is gone: what was in the box is unknown for good, and that is no failure.
    #[error("there is no key of this owner to open with")]
    NoKey,
    /// The box names a scheme that this version does not know.
    #[error("the box is sealed by the unknown scheme {0}")]
    UnknownScheme(u8),
    /// The box was changed, or belongs to another record or owner.
    #[error("the box is damaged or not of this record")]
    Damaged,
}
