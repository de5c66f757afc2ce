//! A certificate of erasure: one record, the proof that it stands in the log, and all it takes to check both offline.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::view::decode;
use super::{EventRow, Filter, ReadError, Reader};
use crate::domain::event::{Event, Requester};
use crate::domain::id::{Position, Sub};
use crate::domain::record::Record;
use crate::event_log::note::VerifierKey;
use crate::event_log::proof::{self, ProofError};

/// The form that this version writes.
const FORM: u32 = 1;

/// No certificate is longer.
pub const MAX_CERTIFICATE: u64 = 256 * 1024;

/// What somebody gets who was erased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    doorbook_certificate: u32,
    /// In words; what counts is the record.
    says: String,
    /// What else must happen, and what remains.
    remarks: Vec<String>,
    /// The key of the log, as others' tools read it. Compare it with one from elsewhere.
    key: String,
    /// The record as it stands in the log, in base64.
    record: String,
    /// The `.tlog-proof` of it, as C2SP has it.
    proof: String,
}

/// What a certificate proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// The name of the log.
    pub origin: String,
    /// Where the record stands.
    pub position: Position,
    /// For how many records the log signed then.
    pub size: u64,
    /// What was proven, in words.
    pub says: String,
    /// By whose signature. Where no other one was expected, it is only the one that the certificate names.
    pub key: VerifierKey,
}

/// A certificate proves nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// It is not one.
    #[error("this is not a certificate of this doorbook")]
    NotOne,
    /// It was made by a newer doorbook.
    #[error("this certificate was written by a newer doorbook (form {form})")]
    Newer {
        /// Which form it has.
        form: u32,
    },
    /// Its key is none, or another than was expected.
    #[error("its key is not the one that was expected")]
    Key,
    /// The record is not in the log that the key signs for.
    #[error("the proof does not hold")]
    Proof(#[source] ProofError),
    /// The record says something else.
    #[error("its record is not that of an erasure")]
    NotAnErasure,
}

impl Reader {
    /// Finds the record of a person's erasure.
    pub async fn erasure_of(&self, sub: Sub) -> Result<Option<Position>, ReadError> {
        let Some(head) = self.head().await? else { return Ok(None) };
        let kind = Some("user.erased".to_owned());
        let filter = Filter { users: Some([sub].into()), kind, ..Filter::default() };
        let mut found = None;
        let is_theirs = |row: &EventRow| {
            row.without_effect.is_none()
                && row.user.as_ref().is_some_and(|user| user.sub == Some(sub.to_string()))
        };
        self.rows(filter, head, |row| {
            if is_theirs(&row) {
                found = row.position.map(Position);
            }
        })
        .await?;
        Ok(found)
    }

    /// Makes the certificate of an erasure; `None` while nobody has signed for the record.
    pub async fn certificate(&self, position: Position) -> Result<Option<Certificate>, ReadError> {
        let (record, frame) = self.record(position).await?;
        let not_one = || ReadError::Broken { position, why: "it is not the record of an erasure".into() };
        let says = says(&record).ok_or_else(not_one)?;
        let Some(proof) = self.prove(position).await? else { return Ok(None) };
        let (keys, text) = (self.verifier_keys().await?, proof.to_string());
        // Another key may have taken over since the newest signature.
        let has_signed = |key: &VerifierKey| proof::verify(text.as_bytes(), &frame, key).is_ok();
        let Some(key) = keys.into_iter().rev().find(has_signed) else { return Ok(None) };
        Ok(Some(Certificate {
            doorbook_certificate: FORM,
            says,
            remarks: vec![
                format!(
                    "Copies of the key files from before {} can still open what was sealed then: escrow files and backups of keys/ that are older must be destroyed.",
                    record.at
                ),
                "What remains in the log: kinds of events, times, pseudonyms and durations; rules that name the person; and, until their month ends, denials from before they were first let in.".into(),
            ],
            key: key.to_string(),
            record: STANDARD.encode(&frame),
            proof: text,
        }))
    }
}

impl Certificate {
    /// Checks the certificate with nothing but itself and, where it is given, a key from elsewhere.
    ///
    /// Anybody can make a log of their own and sign for it: without a key from elsewhere, it is only proven that
    /// whoever has the key in the certificate says so.
    pub fn verify(&self, expected: Option<&VerifierKey>) -> Result<Proven, CertificateError> {
        if self.doorbook_certificate != FORM {
            return Err(CertificateError::Newer { form: self.doorbook_certificate });
        }
        let key: VerifierKey = self.key.parse().map_err(|_| CertificateError::Key)?;
        if expected.is_some_and(|expected| *expected != key) {
            return Err(CertificateError::Key);
        }
        let frame = STANDARD.decode(&self.record).map_err(|_| CertificateError::NotOne)?;
        let verified = proof::verify(self.proof.as_bytes(), &frame, &key).map_err(CertificateError::Proof)?;
        let position = Position(verified.index);
        let record = decode(position, &frame).map_err(|_| CertificateError::NotAnErasure)?;
        let says = says(&record).ok_or(CertificateError::NotAnErasure)?;
        let (origin, size) = (verified.checkpoint.origin, verified.checkpoint.size);
        Ok(Proven { origin, position, size, says, key })
    }

    /// Reads a certificate.
    pub fn read(text: &str) -> Result<Certificate, CertificateError> {
        serde_json::from_str(text).map_err(|_| CertificateError::NotOne)
    }
}

/// Says what the record of an erasure proves; `None` where it is another one.
fn says(record: &Record) -> Option<String> {
    let sub = record.subject?.sub;
    let [Event::UserErased { requested_by, sessions, confirmed }] = record.events.as_slice() else {
        return None;
    };
    let wish = match requested_by {
        Requester::User => "as they asked",
        _ => "by the operator",
    };
    let ended = match sessions.len() {
        0 => String::new(),
        1 => ", and 1 session ended".to_owned(),
        many => format!(", and {many} sessions ended"),
    };
    let discord = match confirmed {
        Some(true) => "; Discord has confirmed the end of the authorization",
        Some(false) => "; Discord had not confirmed the end of the authorization",
        None => "",
    };
    Some(format!("the person with the pseudonym {sub} was erased on {}, {wish}{ended}{discord}", record.at))
}
