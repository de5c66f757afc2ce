//! The keys of the log, changed for others: the root of the key files, and the key that signs.

use super::{App, By, ExecuteError};
use crate::crypto::{KeyError, NewSigner as Prepared};
use crate::domain::command::Command;
use crate::domain::event::{KeyPurpose, NewSigner};
use crate::domain::id::Position;
use crate::event_log::note::{NotAKey, VerifierKey, origin_of};

/// Why a key was not changed for another, or not wholly.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RotateError {
    /// The key files could not be written; the log says nothing of it.
    #[error("the key files could not be written; what they hold is as before")]
    Keys(#[source] KeyError),
    /// The root key is another one, and the log does not say so.
    #[error("the key files have root key {generation} now, but that could not be recorded")]
    RootNotRecorded {
        /// Which one.
        generation: u32,
        /// Why not.
        #[source]
        source: ExecuteError,
    },
    /// The log does not name the key that was to sign, as far as is known.
    #[error(
        "the new key could not be recorded; the one before it goes on signing until the log says otherwise"
    )]
    SignerNotRecorded(#[source] ExecuteError),
    /// The log names the new key, which is prepared, and signs; its file is not in order.
    #[error("the log names the new key, but the key files could not be written; the next start does it")]
    SignerNotKept(#[source] KeyError),
    /// There is no log that a key could sign for.
    #[error("the log has not begun")]
    NoLog,
    /// The key is none that others could check.
    #[error("the new key cannot be used")]
    Key(#[source] NotAKey),
}

/// A root key that took over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewRoot {
    /// Which one it is; they only rise.
    pub generation: u32,
    /// Where the log says so.
    pub position: Position,
}

/// A signing key that took over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSigningKey {
    /// What others check its signatures with.
    pub key: VerifierKey,
    /// Where the log says so.
    pub position: Position,
}

impl App {
    /// Gives the key files a new root key: no older copy of `kek` opens what is written from now on.
    ///
    /// The files come first, because the record would otherwise say what a kill may have prevented. A kill in
    /// between leaves a new root key that the log does not name; nothing depends on it.
    pub async fn rotate_root(&self, by: &By) -> Result<NewRoot, RotateError> {
        let generation = self.keys.rotate_root().await.map_err(RotateError::Keys)?;
        let rotated = Command::RotateKey { purpose: KeyPurpose::Kek, key_id: generation, signer: None };
        let done = self.execute(rotated, by).await;
        let done = done.map_err(|source| RotateError::RootNotRecorded { generation, source })?;
        let position = done.position().ok_or(RotateError::NoLog)?;
        Ok(NewRoot { generation, position })
    }

    /// Lets another key sign for the log from now on; the one before it vouches for it, and is gone.
    ///
    /// Nobody signs meanwhile: a signature of the old key behind the record that names the new one would be none.
    /// A kill after the record is put right by the next start, and one before it has changed nothing.
    pub async fn rotate_signer(&self, by: &By) -> Result<NewSigningKey, RotateError> {
        let _nobody_signs = self.signing.lock().await;
        self.sign_as_the_log_says().await.map_err(RotateError::Keys)?;
        let log = self.state().log().cloned().ok_or(RotateError::NoLog)?;
        let Prepared { public, signature } = self.keys.prepare_signer().await.map_err(RotateError::Keys)?;
        let key = VerifierKey::new(&origin_of(&log.origin, log.id), &public).map_err(RotateError::Key)?;
        let rotated = Command::RotateKey {
            purpose: KeyPurpose::Signer,
            key_id: u32::from_be_bytes(key.id()),
            signer: Some(NewSigner { public_key: public, signature }),
        };
        // Whoever executes may have to sign first, but never for this.
        let done = Box::pin(self.execute(rotated, by)).await.map_err(RotateError::SignerNotRecorded)?;
        let position = done.position().ok_or(RotateError::NoLog)?;
        self.keys.signer_is(public).await.map_err(RotateError::SignerNotKept)?;
        Ok(NewSigningKey { key, position })
    }

    /// Makes the key sign that the log names, which may be another one after a record of which nobody knew
    /// whether it was written.
    pub(super) async fn sign_as_the_log_says(&self) -> Result<(), KeyError> {
        let named = self.state().log().map(|log| log.public_key);
        match named.filter(|named| *named != self.keys.signer_public_key()) {
            Some(named) => self.keys.signer_is(named).await,
            None => Ok(()),
        }
    }
}
