//! What others check signatures with: a name and an Ed25519 public key, as one line of text.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};

use super::line::{base64, unbase64};

/// The number of Ed25519 among the signatures of C2SP.
const ED25519: u8 = 1;

/// The public key of one who signs notes, under a name.
///
/// As text it is `name+id+key`: the id in eight hexadecimal digits, the key in base64 behind its algorithm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    key: VerifyingKey,
}

/// It is no key of a verifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAKey {
    /// The name is empty, or has a space, a plus or a control character.
    #[error("{name:?} is not the name of a key")]
    Name {
        /// What was given.
        name: String,
    },
    /// The bytes are not a public key, or one for which signatures prove nothing.
    #[error("the bytes are not a public key of Ed25519")]
    Bytes,
    /// The text has another form.
    #[error("a key is written as name+id+key")]
    Text,
    /// The key is for something that is not Ed25519.
    #[error("keys of algorithm {algorithm} are not known here")]
    Algorithm {
        /// Its number in C2SP's list.
        algorithm: u8,
    },
    /// The text was changed or cut.
    #[error("the key is not the one that its id says")]
    Id,
}

impl VerifierKey {
    /// Gives a public key its name.
    pub fn new(name: &str, public: &[u8; 32]) -> Result<VerifierKey, NotAKey> {
        if !is_name(name) {
            return Err(NotAKey::Name { name: name.to_owned() });
        }
        let key = VerifyingKey::from_bytes(public).map_err(|_| NotAKey::Bytes)?;
        if key.is_weak() {
            return Err(NotAKey::Bytes);
        }
        Ok(VerifierKey { name: name.to_owned(), key })
    }

    /// Returns the name; for a log it is its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the public key.
    pub fn public(&self) -> [u8; 32] {
        self.key.to_bytes()
    }

    /// Returns the four bytes that name this key in a signature. They find a key and prove nothing.
    pub fn id(&self) -> [u8; 4] {
        let hash = Sha256::new().chain_update(&self.name).chain_update([b'\n', ED25519]);
        let [a, b, c, d, ..] = <[u8; 32]>::from(hash.chain_update(self.public()).finalize());
        [a, b, c, d]
    }

    /// Says whether this key signed the message.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let signature = Signature::from_slice(signature);
        signature.is_ok_and(|signature| self.key.verify_strict(message, &signature).is_ok())
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[ED25519][..], &self.public()].concat();
        write!(f, "{}+{}+{}", self.name, hex::encode(self.id()), base64(&key))
    }
}

impl FromStr for VerifierKey {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<VerifierKey, NotAKey> {
        let (name, rest) = text.split_once('+').ok_or(NotAKey::Text)?;
        let (id, key) = rest.split_once('+').ok_or(NotAKey::Text)?;
        let key = unbase64(key).ok_or(NotAKey::Text)?;
        let public = match key.split_first() {
            Some((&ED25519, public)) => public.try_into().map_err(|_| NotAKey::Bytes)?,
            Some((&algorithm, _)) => return Err(NotAKey::Algorithm { algorithm }),
            None => return Err(NotAKey::Text),
        };
        let key = VerifierKey::new(name, public)?;
        if hex::encode(key.id()) == id { Ok(key) } else { Err(NotAKey::Id) }
    }
}

/// Says whether a key may have this name.
pub(super) fn is_name(name: &str) -> bool {
    let allowed = |c: char| !c.is_whitespace() && !c.is_control() && c != '+';
    !name.is_empty() && name.chars().all(allowed)
}
