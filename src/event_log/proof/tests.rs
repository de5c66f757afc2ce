//! Proofs as we write them, as others do, and with every line wrong.

use ed25519_dalek::{Signer as _, SigningKey};

use super::*;
use crate::event_log::codec::leaf_hash;
use crate::event_log::tree::Tree;

const ORIGIN: &str = "login.example.org/doorbook/07070707070707070707070707070707";

fn signer() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn key() -> VerifierKey {
    VerifierKey::new(ORIGIN, &signer().verifying_key().to_bytes()).unwrap()
}

fn frame(index: u64) -> Vec<u8> {
    format!("record {index}").into_bytes()
}

fn checkpoint(tree: &Tree) -> Checkpoint {
    Checkpoint { origin: ORIGIN.into(), size: tree.size(), root: tree.root() }
}

fn tree(size: u64) -> Tree {
    (0..size).map(|index| leaf_hash(&frame(index))).collect()
}

fn proof(index: u64, size: u64) -> Proof {
    let tree = tree(size);
    let note = note::sign(&checkpoint(&tree), &key(), |message| signer().sign(message).to_bytes());
    let hashes = tree.inclusion(index, size).unwrap();
    Proof { extra: Vec::new(), index, hashes, note: note.unwrap() }
}

fn parse(text: &str) -> Result<Proof, ProofError> {
    text.parse()
}

#[test]
fn a_proof_is_read_as_it_is_written_and_verifies() {
    for (index, size) in [(0, 1), (0, 2), (6, 7), (20, 33), (256, 300)] {
        let proof = proof(index, size);
        let text = proof.to_string();
        assert_eq!(parse(&text), Ok(proof.clone()));
        let verified = verify(text.as_bytes(), &frame(index), &key());
        assert_eq!(verified, Ok(Verified { index, checkpoint: checkpoint(&tree(size)) }));
        let with_extra = Proof { extra: b"anything".to_vec(), ..proof };
        assert_eq!(parse(&with_extra.to_string()), Ok(with_extra.clone()));
        assert_eq!(verify(with_extra.to_string().as_bytes(), &frame(index), &key()), verified);
    }
}

#[test]
fn the_proof_that_proofbundle_wrote_verifies_and_is_written_alike() {
    let file = |name: &str| {
        std::fs::read_to_string([env!("CARGO_MANIFEST_DIR"), "fixtures/tree", name].join("/")).unwrap()
    };
    let (text, key) = (file("record.tlog-proof"), file("record.vkey"));
    let key: VerifierKey = key.trim_end().parse().unwrap();
    assert_eq!(key, VerifierKey::new("log.example/doorbook/tree", &self::key().public()).unwrap());
    let verified = verify(text.as_bytes(), b"20", &key).unwrap();
    assert_eq!((verified.index, verified.checkpoint.size), (20, 33));
    let tree: Tree = (0..33).map(|n: u64| leaf_hash(n.to_string().as_bytes())).collect();
    let note = note::sign(&verified.checkpoint, &key, |message| signer().sign(message).to_bytes()).unwrap();
    let ours = Proof { extra: Vec::new(), index: 20, hashes: tree.inclusion(20, 33).unwrap(), note };
    assert_eq!(ours.to_string(), text);
}

/// From `proof_test.go` in github.com/transparency-dev/formats, where the checkpoints are none.
#[test]
fn the_published_texts_are_written() {
    let hashes = |texts: &[&[u8]]| texts.iter().map(|text| Hash::of(text)).collect::<Vec<_>>();
    let (one, two) = (base64(&Hash::of(b"hash1").0), base64(&Hash::of(b"hash2").0));
    for (extra, index, hashes, note, text) in [
        ("", 5, hashes(&[b"hash1", b"hash2"]), "test checkpoint\n", format!("index 5\n{one}\n{two}\n\n")),
        (
            "extra information",
            10,
            hashes(&[b"hash1"]),
            "checkpoint data\n",
            format!("extra ZXh0cmEgaW5mb3JtYXRpb24=\nindex 10\n{one}\n\n"),
        ),
        ("", 0, Vec::new(), "checkpoint\n", "index 0\n\n".to_owned()),
    ] {
        let proof = Proof { extra: extra.into(), index, hashes, note: note.into() };
        assert_eq!(proof.to_string(), format!("c2sp.org/tlog-proof@v1\n{text}{note}"));
        assert_eq!(parse(&proof.to_string()), Ok(proof));
    }
}

#[test]
fn every_line_is_read_strictly() {
    let good = proof(2, 5).to_string();
    let refused = |text: &str| verify(text.as_bytes(), &frame(2), &key()).unwrap_err();
    let with = |from: &str, to: &str| {
        assert!(good.contains(from));
        refused(&good.replacen(from, to, 1))
    };
    for header in ["", "c2sp.org/tlog-proof@v2\n", "c2sp.org/tlog-proof@v1 \n", "c2sp.org/tlog-proof@v1\r\n"]
    {
        assert_eq!(with("c2sp.org/tlog-proof@v1\n", header), ProofError::NoHeader);
    }
    for extra in ["extra \n", "extra !\n", "extra YQ\n", "extra YR==\n", "extra YQ== \n"] {
        assert_eq!(with("index", &format!("{extra}index")), ProofError::Extra, "{extra:?}");
    }
    for index in
        ["", "index\n", "index \n", "index 02\n", "index +2\n", "index -2\n", "index  2\n", "Index 2\n"]
    {
        assert_eq!(with("index 2\n", index), ProofError::NoIndex, "{index:?}");
    }
    assert_eq!(with("index 2\n", "extra YQ==\nextra YQ==\nindex 2\n"), ProofError::NoIndex);
    assert_eq!(with("index 2\n", "index 2\nextra YQ==\n"), ProofError::NotAHash { number: 1 });
    let second = good.lines().nth(3).unwrap();
    for line in ["!", second.trim_end_matches('='), &format!("{second}\r"), &base64(&[1; 31])] {
        assert_eq!(with(second, line), ProofError::NotAHash { number: 2 }, "{line:?}");
    }
    let (head, note) = good.split_once("\n\n").unwrap();
    for text in [head.to_owned(), format!("{head}\n"), format!("{head}\n\n")] {
        assert_eq!(refused(&text), ProofError::NoCheckpoint);
    }
    let twice_empty = refused(&format!("{head}\n\n\n{note}"));
    assert_eq!(twice_empty, ProofError::Checkpoint(NoteError::WrongSignature { key: ORIGIN.into() }));
    let not_utf8 = verify(b"c2sp.org/tlog-proof@v1\n\xff", b"", &key());
    assert_eq!(not_utf8, Err(ProofError::NotUtf8 { at: 23 }));
    let long = format!("{head}\n{}\n{note}", format!("{second}\n").repeat(400));
    assert_eq!(refused(&long), ProofError::TooLong { bytes: long.len() });
    assert_eq!(parse(&long), Err(ProofError::TooLong { bytes: long.len() }));
}

#[test]
fn a_changed_line_proves_nothing() {
    let good = proof(2, 5);
    let refused = |proof: Proof| verify(proof.to_string().as_bytes(), &frame(2), &key()).unwrap_err();
    for index in [0, 1, 3, 4] {
        let refused = refused(Proof { index, ..good.clone() });
        assert!(matches!(refused, ProofError::NotProven(NotProven::Root | NotProven::Length { .. })));
    }
    let beyond = refused(Proof { index: 5, ..good.clone() });
    assert_eq!(beyond, ProofError::NotProven(NotProven::Index { index: 5, size: 5 }));
    let far = refused(Proof { index: u64::MAX, ..good.clone() });
    assert_eq!(far, ProofError::NotProven(NotProven::Index { index: u64::MAX, size: 5 }));
    for n in 0..good.hashes.len() {
        let mut changed = good.clone();
        changed.hashes[n].0[0] ^= 1;
        assert_eq!(refused(changed), ProofError::NotProven(NotProven::Root));
        let mut shorter = good.clone();
        shorter.hashes.remove(n);
        assert_eq!(refused(shorter), ProofError::NotProven(NotProven::Length { hashes: 2 }));
    }
    // The checkpoint of another size is right, and the hashes do not lead to it.
    let of_another = refused(Proof { note: proof(2, 6).note, ..good.clone() });
    assert_eq!(of_another, ProofError::NotProven(NotProven::Root));
    let resized = Proof { note: good.note.replacen("\n5\n", "\n6\n", 1), ..good.clone() };
    let unsigned = NoteError::WrongSignature { key: ORIGIN.into() };
    assert_eq!(refused(resized), ProofError::Checkpoint(unsigned));
    let text = good.to_string();
    let other = verify(text.as_bytes(), &frame(3), &key());
    assert_eq!(other, Err(ProofError::NotProven(NotProven::Root)));
}

#[test]
fn a_changed_byte_proves_nothing() {
    let good = proof(2, 5).to_string().into_bytes();
    for n in 0..good.len() {
        let mut other = good.clone();
        other[n] ^= 1;
        assert!(verify(&other, &frame(2), &key()).is_err(), "byte {n}");
        assert!(verify(&good[..n], &frame(2), &key()).is_err(), "cut at {n}");
    }
}
