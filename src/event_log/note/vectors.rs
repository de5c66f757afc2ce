//! Keys and notes that others published.

use ed25519_dalek::{Signer as _, SigningKey};

use super::checkpoint::read;
use super::line::unbase64;
use super::signed::seal;
use super::*;

/// The keys and notes of `note_test.go` in golang.org/x/mod/sumdb/note.
const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const PETERS_SECRET: &str = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
const PETERS_SIGNATURE: &str = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
const ENOCH: &str = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop";
const ENOCHS_SIGNATURE: &str = "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n";
const TEXT: &str = "If you think cryptography is the answer to your problem,\n\
                    then you don't know what your problem is.\n";

/// What Go's checksum database signed on some day.
const GO: &str = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
const GO_NOTE: &str = "go.sum database tree\n49189689\nftjbAOzaupaIvaPo/G+Dk63nxOZ2s1OPOKIaPtXs7S4=\n\n— sum.golang.org Az3grlKZssqRoMNPpZfKt0TphbbcF+pzXqElURJKRNFKfaUAgqeI5k2AORH0QAhg/ebRwyIqD/OqP4oLtLnNumvOBAM=\n";

fn key(text: &str) -> VerifierKey {
    text.parse().unwrap()
}

#[test]
fn the_published_notes_are_opened() {
    let peters = format!("{TEXT}\n{PETERS_SIGNATURE}");
    assert_eq!(open(peters.as_bytes(), &key(PETER)), Ok(TEXT));
    let both = format!("{TEXT}\n{PETERS_SIGNATURE}{ENOCHS_SIGNATURE}");
    assert_eq!(open(both.as_bytes(), &key(PETER)), Ok(TEXT));
    assert_eq!(open(both.as_bytes(), &key(ENOCH)), Ok(TEXT));
    assert_eq!(open(peters.as_bytes(), &key(ENOCH)), Err(NoteError::NotSigned { key: "EnochRoot".into() }));
}

#[test]
fn what_we_sign_is_the_published_note() {
    let seed = <[u8; 32]>::try_from(&unbase64(PETERS_SECRET).unwrap()[1..]).unwrap();
    let secret = SigningKey::from_bytes(&seed);
    let peter = VerifierKey::new("PeterNeumann", &secret.verifying_key().to_bytes()).unwrap();
    assert_eq!(peter.to_string(), PETER);
    let note = seal(TEXT, &peter, |message| secret.sign(message).to_bytes());
    assert_eq!(note, format!("{TEXT}\n{PETERS_SIGNATURE}"));
}

#[test]
fn the_checkpoint_of_the_go_checksum_database_is_read() {
    let text = open(GO_NOTE.as_bytes(), &key(GO)).unwrap();
    let Checkpoint { origin, size, root } = read(text).unwrap();
    assert_eq!((origin.as_str(), size), ("go.sum database tree", 49_189_689));
    assert_eq!(root.to_string(), "7ed8db00ecdaba9688bda3e8fc6f8393ade7c4e676b3538f38a21a3ed5eced2e");
    // Its key is not named as its log is. With us it always is, and nothing else is believed.
    let refused = verify(GO_NOTE.as_bytes(), &key(GO));
    assert_eq!(refused, Err(NoteError::OtherLog { found: origin, key: "sum.golang.org".into() }));
}

#[test]
fn a_key_is_read_as_it_is_written() {
    for text in [PETER, ENOCH, GO] {
        assert_eq!(key(text).to_string(), text);
    }
    let peter = key(PETER);
    assert_eq!((peter.name(), peter.id()), ("PeterNeumann", [0xc7, 0x4f, 0x20, 0xa3]));
    assert_eq!(VerifierKey::new("PeterNeumann", &peter.public()), Ok(peter));
}

#[test]
fn a_key_that_was_changed_or_cut_is_refused() {
    let parse = |text: &str| text.parse::<VerifierKey>();
    for from in 0..PETER.len() {
        for to in from + 1..=PETER.len() {
            assert!(to - from == PETER.len() || parse(&PETER[from..to]).is_err(), "{}", &PETER[from..to]);
        }
    }
    for n in 0..PETER.len() {
        let mut bytes = PETER.as_bytes().to_vec();
        bytes[n] += 1;
        assert!(parse(std::str::from_utf8(&bytes).unwrap()).is_err());
    }
    // Both from `note_test.go`, with ids that fit.
    let too_long = "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==";
    let unknown = "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    assert!(matches!(parse(too_long), Err(NotAKey::Text | NotAKey::Bytes)));
    assert_eq!(parse(unknown), Err(NotAKey::Algorithm { algorithm: 0x65 }));
    assert_eq!(parse(&PETER.replace("c74f", "C74F")), Err(NotAKey::Id));
    for name in ["", "a b", "a+b", "a\nb", "a\u{2003}b", "a\u{1}b", "a\u{9b}b"] {
        let refused = VerifierKey::new(name, &key(PETER).public());
        assert_eq!(refused, Err(NotAKey::Name { name: name.into() }));
    }
    // A point of small order: everybody can sign for it.
    let mut weak = [0; 32];
    weak[0] = 1;
    assert_eq!(VerifierKey::new("weak", &weak), Err(NotAKey::Bytes));
    assert_eq!(VerifierKey::new("none", &[2; 32]), Err(NotAKey::Bytes));
}
