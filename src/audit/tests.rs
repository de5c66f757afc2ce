//! What a look at every record finds, on logs that were made and then changed.

mod memberships;

use std::sync::Arc;

use ed25519_dalek::{Signer as _, SigningKey};

use super::*;
use crate::domain::event::{Event, KeyPurpose, MadeBy, NewSigner, RestoredFrom};
use crate::domain::id::{Hash, LogId, RecordId, WriterId};
use crate::domain::record::{Actor, Context, Record};
use crate::domain::time::Timestamp;
use crate::event_log::codec::{encode_record, leaf_hash};
use crate::event_log::note::{self, Checkpoint, VerifierKey, origin_of};
use crate::event_log::tree::Frontier;
use crate::event_log::{EventLog, MemoryEngine};

pub(super) const LOG: LogId = LogId([7; 16]);
const ORIGIN: &str = "https://login.example.org";
const NOW: Timestamp = Timestamp(1_767_323_045_000);

/// A log that is being written, and the key that signs for it.
#[derive(Clone)]
pub(super) struct Written {
    pub(super) frames: Vec<Vec<u8>>,
    pub(super) key: SigningKey,
    pub(super) next_id: u64,
}

impl Written {
    pub(super) fn new() -> Written {
        let mut log = Written { frames: Vec::new(), key: SigningKey::from_bytes(&[1; 32]), next_id: 1 };
        log.add(Written::created(&log.key));
        log
    }

    fn created(key: &SigningKey) -> Event {
        Event::LogCreated {
            log: LOG,
            origin: ORIGIN.into(),
            made_by: MadeBy::Serve,
            public_key: key.verifying_key().to_bytes(),
            version: "0".into(),
        }
    }

    /// A log with a checkpoint behind each so many records.
    pub(super) fn of(records: usize, every: usize) -> Written {
        let mut log = Written::new();
        while log.frames.len() < records {
            log.add(Event::ServerStopped { clean: true });
            if log.frames.len().is_multiple_of(every) {
                log.sign();
            }
        }
        log
    }

    pub(super) fn add(&mut self, event: Event) {
        let mut id = [0; 16];
        id[8..].copy_from_slice(&self.next_id.to_be_bytes());
        self.next_id += 1;
        let record = Record {
            id: RecordId(id),
            at: NOW,
            subject: None,
            context: Context {
                writer: WriterId([9; 8]),
                actor: Actor::SYSTEM,
                request: None,
                cause: None,
                route: None,
            },
            events: vec![event],
            sealed: Vec::new(),
        };
        self.frames.push(encode_record(&record).unwrap());
    }

    fn root(&self, size: usize) -> Hash {
        let mut frontier = Frontier::new();
        self.frames[..size].iter().for_each(|frame| frontier.push(leaf_hash(frame)));
        frontier.root()
    }

    fn note(&self, size: usize) -> String {
        self.note_over(size, self.root(size))
    }

    pub(super) fn note_over(&self, size: usize, root: Hash) -> String {
        let name = origin_of(ORIGIN, LOG);
        let key = VerifierKey::new(&name, &self.key.verifying_key().to_bytes()).unwrap();
        let checkpoint = Checkpoint { origin: name, size: size as u64, root };
        note::sign(&checkpoint, &key, |message| self.key.sign(message).to_bytes()).unwrap()
    }

    pub(super) fn sign(&mut self) {
        let size = self.frames.len();
        let (root, note) = (self.root(size), self.note(size));
        self.add(Event::CheckpointSigned { size: size as u64, root, note, state: None });
    }

    pub(super) fn reader(&self) -> Reader {
        let log = EventLog::new(MemoryEngine::with(self.frames.clone()));
        Reader::new(Arc::new(LogSource(log)), Opener::default())
    }

    async fn verify(&self, kept: &[String]) -> Result<Verdict, Tampered> {
        match self.reader().verify(kept, |_| ()).await {
            Ok(verdict) => Ok(verdict),
            Err(VerifyError::Tampered(tampered)) => Err(tampered),
            Err(VerifyError::Read(error)) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_log_that_nobody_changed_is_intact_and_says_what_it_cannot_prove() {
    let log = Written::of(1_000, 256);
    let verdict = log.verify(&[]).await.unwrap();
    assert_eq!((verdict.records, verdict.checkpoints), (log.frames.len() as u64, 3));
    assert_eq!(verdict.newest.map(|newest| newest.size), Some(768));
    assert_eq!(verdict.unsigned, log.frames.len() as u64 - 768);
    assert_eq!(verdict.root, Some(log.root(log.frames.len())));
    let kept = [log.note(1), log.note(500), log.note(log.frames.len())];
    let sizes: Vec<u64> = log.verify(&kept).await.unwrap().kept.iter().map(|kept| kept.size).collect();
    assert_eq!(sizes, [1, 500, log.frames.len() as u64]);
}

#[tokio::test]
async fn a_changed_record_is_found_by_the_next_checkpoint() {
    let log = Written::of(600, 100);
    for at in [1, 50, 99, 150, 555] {
        let mut changed = log.clone();
        let mut other = log.clone();
        other.add(Event::ServerStopped { clean: false });
        changed.frames[at] = other.frames.pop().unwrap();
        let tampered = changed.verify(&[]).await.unwrap_err();
        let Tampered::Root { fits, .. } = tampered else { panic!("{at}: {tampered}") };
        assert!(fits <= at as u64 && at as u64 <= fits + 101, "{at}: {tampered}");
    }
}

#[tokio::test]
async fn a_record_that_is_gone_or_in_another_place_is_found() {
    let log = Written::of(600, 100);
    let mut removed = log.clone();
    removed.frames.remove(150);
    assert!(
        matches!(removed.verify(&[]).await, Err(Tampered::Gone { position: Position(p), size, fits: 100 }) if p < size)
    );
    let mut swapped = log.clone();
    swapped.frames.swap(150, 151);
    assert!(matches!(swapped.verify(&[]).await, Err(Tampered::Root { .. })));
    let mut doubled = log.clone();
    let again = doubled.frames[300].clone();
    doubled.frames.push(again);
    doubled.frames[301] = doubled.frames[150].clone();
    assert!(doubled.verify(&[]).await.is_err());
}

#[tokio::test]
async fn what_storage_kept_twice_is_no_forgery_and_another_record_of_the_same_id_is() {
    let mut log = Written::of(50, 1_000);
    log.frames.push(log.frames[48].clone());
    log.sign();
    log.verify(&[]).await.unwrap();

    let mut forged = log.clone();
    forged.next_id = 5;
    forged.add(Event::ServerStopped { clean: false });
    let tampered = forged.verify(&[]).await.unwrap_err();
    assert!(matches!(tampered, Tampered::SameId { other: Position(4), .. }), "{tampered}");
}

#[tokio::test]
async fn an_end_that_was_cut_off_and_signed_again_shows_only_against_a_kept_checkpoint() {
    let log = Written::of(600, 100);
    let kept = log.note(550);
    let mut cut = log.clone();
    cut.frames.truncate(500);
    cut.add(Event::ServerStopped { clean: false });
    cut.sign();
    cut.verify(&[]).await.expect("nobody can see it from the log alone");
    let tampered = cut.verify(std::slice::from_ref(&kept)).await.unwrap_err();
    assert!(matches!(tampered, Tampered::Cut { size: 550, has: 502, owned_up: OwnedUp(None) }), "{tampered}");
    while cut.frames.len() < 600 {
        cut.add(Event::ServerStopped { clean: true });
    }
    let tampered = cut.verify(&[kept]).await.unwrap_err();
    assert!(matches!(tampered, Tampered::KeptRoot { size: 550, .. }), "{tampered}");
}

#[tokio::test]
async fn a_loss_that_the_operator_owned_up_to_is_named_and_still_no_proof() {
    let log = Written::of(300, 100);
    let kept = log.note(250);
    let mut lost = log.clone();
    lost.frames.truncate(200);
    lost.add(Event::LogRestored { size: 200, root: Hash([0; 32]), source: RestoredFrom::Backup });
    let verdict = lost.verify(&[]).await.unwrap();
    assert_eq!(verdict.breaks, [Break { position: Position(200), restored: true }]);
    let tampered = lost.verify(&[kept]).await.unwrap_err();
    assert!(matches!(tampered, Tampered::Cut { owned_up: OwnedUp(Some(Position(200))), .. }), "{tampered}");
    assert!(
        tampered.to_string().ends_with("; the operator owned up to a loss at position 200"),
        "{tampered}"
    );
}

#[tokio::test]
async fn a_checkpoint_of_another_log_or_key_is_refused() {
    let log = Written::of(300, 100);
    let mut stranger = log.clone();
    stranger.key = SigningKey::from_bytes(&[2; 32]);
    let kept = stranger.note(100);
    assert!(matches!(log.verify(&[kept]).await, Err(Tampered::KeptSignature { .. })));
    assert!(matches!(log.verify(&["no note".into()]).await, Err(Tampered::KeptSignature { .. })));
    stranger.sign();
    let tampered = stranger.verify(&[]).await.unwrap_err();
    assert_eq!(tampered.position(), Some(Position(log.frames.len() as u64)));
    assert!(matches!(tampered, Tampered::Signature { .. }), "{tampered}");
}

#[tokio::test]
async fn a_checkpoint_that_says_another_thing_than_its_note_is_found() {
    let mut log = Written::of(150, 100);
    let note = log.note(120);
    log.add(Event::CheckpointSigned { size: 121, root: log.root(121), note, state: None });
    assert!(matches!(log.verify(&[]).await, Err(Tampered::Note { .. })));

    let mut early = Written::of(50, 1_000);
    let root = Hash([5; 32]);
    let note = early.note_over(60, root);
    early.add(Event::CheckpointSigned { size: 60, root, note, state: None });
    assert!(
        matches!(early.verify(&[]).await, Err(Tampered::Gone { size: 60, fits: 0, .. })),
        "it signs for what is not there yet"
    );
}

#[tokio::test]
async fn another_key_takes_over_only_with_the_word_of_the_one_before_it() {
    let mut log = Written::of(50, 1_000);
    log.sign();
    let kept = log.note(40);
    let next = SigningKey::from_bytes(&[3; 32]);
    let public_key = next.verifying_key().to_bytes();
    let said = crate::crypto::signer_succession(LOG, &public_key);
    let rotated = |signature| Event::KeyRotated {
        purpose: KeyPurpose::Signer,
        key_id: 1,
        signer: Some(NewSigner { public_key, signature }),
    };
    let mut forged = log.clone();
    forged.add(rotated(next.sign(&said).to_bytes()));
    let tampered = forged.verify(&[]).await.unwrap_err();
    assert!(matches!(tampered, Tampered::Succession { position: Position(51) }), "{tampered}");
    let refused = forged.reader().verifier_keys().await.unwrap_err();
    assert!(matches!(refused, ReadError::Broken { position: Position(51), .. }), "{refused}");

    log.add(rotated(log.key.sign(&said).to_bytes()));
    let old = log.key.clone();
    log.key = next;
    log.sign();
    let verdict = log.verify(&[kept]).await.unwrap();
    assert_eq!((verdict.keys, verdict.kept.len()), (vec![Position(51)], 1));
    assert_eq!(log.reader().verifier_keys().await.unwrap().len(), 2);
    let mut twice = log.clone();
    twice.frames.insert(52, twice.frames[51].clone());
    twice.frames.truncate(53);
    twice.sign();
    assert_eq!(twice.verify(&[]).await.unwrap().keys, [Position(51)], "storage kept it twice");
    assert_eq!(twice.reader().verifier_keys().await.unwrap().len(), 2);
    log.key = old;
    log.sign();
    assert!(matches!(log.verify(&[]).await, Err(Tampered::Signature { .. })), "the old key signs no more");
}

#[tokio::test]
async fn a_log_begins_once_and_a_second_beginning_names_no_signer() {
    let log = Written::of(50, 20);
    let (keys, newest) = (log.reader().verifier_keys().await.unwrap(), log.frames.len() as u64);
    let mut forged = log.clone();
    forged.key = SigningKey::from_bytes(&[4; 32]);
    forged.add(Written::created(&forged.key));
    forged.sign();
    let tampered = forged.verify(&[]).await.unwrap_err();
    assert!(matches!(tampered, Tampered::SecondBeginning { position } if position.0 == newest), "{tampered}");
    let refused = forged.reader().verifier_keys().await.unwrap_err();
    assert!(matches!(refused, ReadError::Broken { position, .. } if position.0 == newest), "{refused}");

    // The same once more changes no key; still a log begins once, unless storage kept the record twice.
    let mut again = log.clone();
    again.add(Written::created(&log.key));
    assert!(matches!(again.verify(&[]).await, Err(Tampered::SecondBeginning { .. })));
    let mut twice = log.clone();
    twice.frames.push(twice.frames[0].clone());
    twice.sign();
    twice.verify(&[]).await.unwrap();
    assert_eq!(twice.reader().verifier_keys().await.unwrap(), keys);
}

#[tokio::test]
async fn a_log_of_which_nothing_was_left_begins_again_with_the_loss_that_was_owned_up_to() {
    let mut log = Written::new();
    log.add(Event::LogLossAccepted {
        head_sequence: 9,
        head_position: Some(Position(400)),
        head_leaf: Hash([4; 32]),
        last_found: None,
        salvaged: None,
        checkpoint: None,
    });
    log.sign();
    let verdict = log.verify(&[]).await.unwrap();
    assert_eq!(verdict.breaks, [Break { position: Position(1), restored: false }]);
}

#[tokio::test]
async fn the_newest_checkpoint_is_the_one_that_signs_for_the_most() {
    let mut log = Written::of(300, 150);
    log.sign();
    // What vouches for a stored state of before stands behind it.
    let (root, note) = (log.root(120), log.note(120));
    log.add(Event::CheckpointSigned { size: 120, root, note, state: None });
    let verdict = log.verify(&[]).await.unwrap();
    let newest = verdict.newest.unwrap();
    assert_eq!((newest.size, verdict.unsigned), (301, 2));
    let standing = log.reader().newest_checkpoint().await.unwrap().unwrap();
    assert_eq!((Some(standing.position), standing.size), (newest.position, 301));
    // However far behind it others stand.
    while log.frames.len() < 9_000 {
        log.add(Event::ServerStopped { clean: true });
    }
    let (root, note) = (log.root(120), log.note(120));
    log.add(Event::CheckpointSigned { size: 120, root, note, state: None });
    assert_eq!(log.reader().newest_checkpoint().await.unwrap().unwrap(), standing);
}

#[tokio::test]
async fn too_many_records_without_a_signature_are_no_proof_of_anything() {
    let never = Written::of(3_000, 10_000);
    assert_eq!(never.verify(&[]).await.unwrap().unsigned, 3_000, "unsigned, and said so");
    let mut once = Written::of(100, 50);
    let signed = once.frames.len() as u64 - 2;
    while (once.frames.len() as u64) < signed + UNSIGNED_LIMIT {
        once.add(Event::ServerStopped { clean: true });
    }
    once.verify(&[]).await.unwrap();
    (0..100).for_each(|_| once.add(Event::ServerStopped { clean: true }));
    assert!(matches!(once.verify(&[]).await, Err(Tampered::Unsigned { .. })));
}

#[tokio::test]
async fn bytes_that_are_no_record_are_named_by_their_position() {
    let log = Written::of(100, 50);
    for at in 0..log.frames[20].len() {
        let mut changed = log.clone();
        changed.frames[20][at] ^= 1;
        let tampered = changed.verify(&[]).await.unwrap_err();
        match tampered {
            Tampered::NotARecord { position, .. } => assert_eq!(position, Position(20), "byte {at}"),
            Tampered::Root { fits, .. } => assert_eq!(fits, 0, "byte {at}"),
            Tampered::SameId { .. } => {}
            other => panic!("byte {at}: {other}"),
        }
    }
}

#[tokio::test]
async fn kinds_of_a_newer_doorbook_are_hashed_like_all_others() {
    let mut log = Written::of(20, 1_000);
    // `server.stopped` is kind 2; kind 61 does not exist yet.
    let at = log.frames[10].windows(3).position(|bytes| bytes == [2, 1, 1]).unwrap();
    log.frames[10][at] = 61;
    log.sign();
    let verdict = log.verify(&[]).await.unwrap();
    let (position, why) = verdict.not_understood.unwrap();
    assert_eq!(position, Position(10));
    assert_eq!(why, "this log was written by a newer doorbook (kind 61 v1)");
    assert_eq!(verdict.checkpoints, 1);
}

#[tokio::test]
async fn a_log_that_begins_with_something_else_is_none() {
    let mut log = Written::new();
    log.frames.clear();
    log.add(Event::ServerStopped { clean: true });
    assert!(matches!(log.verify(&[]).await, Err(Tampered::NoBeginning)));
}

#[tokio::test]
async fn a_record_is_proven_to_somebody_who_has_the_key_alone() {
    let mut log = Written::of(300, 100);
    log.sign();
    let reader = log.reader();
    let keys = reader.verifier_keys().await.unwrap();
    for at in [0, 1, 99, 100, 255, 256, 299_usize] {
        let proof = reader.prove(Position(at as u64)).await.unwrap().expect("signed for").to_string();
        let frame = &log.frames[at];
        let verified = crate::event_log::proof::verify(proof.as_bytes(), frame, &keys[0]).unwrap();
        assert_eq!((verified.index, verified.checkpoint.size), (at as u64, log.frames.len() as u64 - 1));
        let other = &log.frames[(at + 1) % 300];
        assert!(crate::event_log::proof::verify(proof.as_bytes(), other, &keys[0]).is_err());
    }
    let newest = reader.newest_checkpoint().await.unwrap().expect("signed");
    assert_eq!(newest.note, log.note(usize::try_from(newest.size).unwrap()));
    assert!(reader.prove(Position(newest.size)).await.unwrap().is_none(), "nobody has signed for that yet");
}
