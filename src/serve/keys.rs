//! The keys into escrow and out of it, from their files: a server is not asked, and need not run.

use std::io;
use std::path::PathBuf;

use super::World;
use crate::app::Escrowed;
use crate::config::Local;
use crate::crypto::{self, EscrowError, EscrowHeader, KeyError, KeyRing, KeySettings};
use crate::domain::id::{LogId, Secret};
use crate::event_log::Pace;
use crate::event_log::start::{self, StartError, StartSettings};

/// Why the keys were not put in escrow, or not given back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// The escrow, or the key files.
    #[error(transparent)]
    Escrow(#[from] EscrowError),
    /// The data directory, or whoever has its log open.
    #[error(transparent)]
    Start(#[from] StartError),
    /// They are the keys of another log than the one that is there.
    #[error("the escrow is of the keys of log {found}, and log {log} is in {}; nothing was changed", data_dir.display())]
    OtherLog {
        /// Where.
        data_dir: PathBuf,
        /// The log that is there.
        log: LogId,
        /// The log whose keys are in the escrow.
        found: LogId,
    },
}

impl KeysError {
    /// Returns whether the escrow is to blame: the answer is no.
    pub fn is_a_no(&self) -> bool {
        let KeysError::Escrow(error) = self else { return false };
        matches!(
            error,
            EscrowError::NotAnEscrow
                | EscrowError::Damaged
                | EscrowError::Newer { .. }
                | EscrowError::WrongPassphrase
                | EscrowError::Cost { .. }
        )
    }

    /// Returns whether something else was asked for than can be: keys are there, or a secret is wrong.
    pub fn is_wrong_use(&self) -> bool {
        match self {
            KeysError::OtherLog { .. } => true,
            KeysError::Escrow(EscrowError::Occupied { .. } | EscrowError::NoPassphrase) => true,
            KeysError::Escrow(EscrowError::Key(error)) => error.is_configuration(),
            _ => false,
        }
    }
}

/// An escrow that was made.
pub struct NewEscrow {
    /// The file, whole.
    pub bytes: Vec<u8>,
    /// What it says in the clear.
    pub header: EscrowHeader,
}

/// Keys that were given back.
#[derive(Debug)]
pub struct RestoredKeys {
    /// What the escrow says in the clear.
    pub header: EscrowHeader,
    /// Why they open nothing as things are: most likely `ENCRYPT_SECRET`, which is in no escrow.
    pub trouble: Option<KeyError>,
}

/// Puts the keys into an escrow, also while a server runs; it blocks for about a second.
pub fn escrow(local: &Local, passphrase: &Secret, world: &World) -> Result<NewEscrow, KeysError> {
    let dir = local.data_dir.join("keys");
    let settings = settings(local).map_err(EscrowError::Key)?;
    let settings = settings.ok_or_else(|| EscrowError::Key(KeyError::Missing { file: dir.join("kek") }))?;
    let bytes = crypto::write_escrow(&settings, passphrase, world.clock.now(), &*world.entropy)?;
    let header = EscrowHeader::read(&bytes)?;
    Ok(NewEscrow { bytes, header })
}

/// Remembers which keys are in an escrow, so that `serve` can say when there are others.
pub fn remember_escrow(local: &Local, header: &EscrowHeader, world: &World) -> io::Result<()> {
    let EscrowHeader { fingerprint, created, .. } = *header;
    Escrowed { fingerprint, created }.write(&local.data_dir, &*world.disk)
}

/// Gives the keys of an escrow back to a data directory that has none; it blocks for about a second.
///
/// Where there is a log, it must be theirs, and nobody may have it open. A key file that is another one is never
/// replaced, and what was cut off can be repeated.
pub fn restore_keys(
    local: &Local,
    escrow: &[u8],
    passphrase: &Secret,
    world: &World,
) -> Result<RestoredKeys, KeysError> {
    let World { clock, entropy, disk, probe } = world.clone();
    let data_dir = local.data_dir.clone();
    let start = StartSettings {
        data_dir: data_dir.clone(),
        accept_loss: false,
        probe,
        disk: disk.clone(),
        clock,
        entropy,
        pace: Pace::default(),
    };
    let held = start::hold(&start)?;
    let header = EscrowHeader::read(escrow)?;
    if let Some(log) = held.as_ref().map(start::Held::log_id).filter(|log| *log != header.log) {
        return Err(KeysError::OtherLog { data_dir, log, found: header.log });
    }
    let keys = crypto::read_escrow(escrow, passphrase)?;
    keys.restore_into(&data_dir.join("keys"), &*disk)?;
    let trouble = KeyRing::check(&settings_of(local, header.log)).err();
    Ok(RestoredKeys { header, trouble })
}

/// Returns what it takes to open the keys that are there; `None` where there are none.
pub(super) fn settings(local: &Local) -> Result<Option<KeySettings>, KeyError> {
    let log_id = KeyRing::log_of(&local.data_dir.join("keys"))?;
    Ok(log_id.map(|log_id| settings_of(local, log_id)))
}

fn settings_of(local: &Local, log_id: LogId) -> KeySettings {
    KeySettings {
        dir: local.data_dir.join("keys"),
        log_id,
        encrypt_secret: local.encrypt_secret.clone(),
        cookie_secret: local.cookie_secret.clone(),
    }
}
