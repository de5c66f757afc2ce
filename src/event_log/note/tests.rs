//! Every way in which a note can be wrong.

use ed25519_dalek::{Signer as _, SigningKey};

use super::line::base64;
use super::signed::seal;
use super::*;
use crate::domain::id::Hash;

const ORIGIN: &str = "login.example.org/doorbook/07070707070707070707070707070707";

fn secret() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn ours() -> VerifierKey {
    VerifierKey::new(ORIGIN, &secret().verifying_key().to_bytes()).unwrap()
}

fn checkpoint() -> Checkpoint {
    Checkpoint { origin: ORIGIN.into(), size: 1_000, root: Hash([0xab; 32]) }
}

fn signed(checkpoint: &Checkpoint) -> Result<String, NoteError> {
    sign(checkpoint, &ours(), |message| secret().sign(message).to_bytes())
}

/// Signs a text that may be anything.
fn signed_text(text: &str) -> String {
    seal(text, &ours(), |message| secret().sign(message).to_bytes())
}

/// Returns the line of somebody we do not know.
fn of_others(name: &str, bytes: usize) -> String {
    format!("— {name} {}\n", base64(&vec![5; bytes]))
}

#[test]
fn a_checkpoint_has_three_lines_and_one_signature() {
    let note = signed(&checkpoint()).unwrap();
    let (body, signature) = note.split_once("\n\n").unwrap();
    assert_eq!(body, format!("{ORIGIN}\n1000\n{}", base64(&[0xab; 32])));
    assert!(signature.starts_with(&format!("— {ORIGIN} ")) && signature.ends_with("=\n"));
    assert_eq!(verify(note.as_bytes(), &ours()), Ok(checkpoint()));
    for size in [0, 1, i64::MAX.unsigned_abs()] {
        let checkpoint = Checkpoint { size, ..checkpoint() };
        assert_eq!(verify(signed(&checkpoint).unwrap().as_bytes(), &ours()), Ok(checkpoint));
    }
}

#[test]
fn nothing_is_signed_that_would_be_refused() {
    let too_large = Checkpoint { size: 1 << 63, ..checkpoint() };
    assert_eq!(signed(&too_large), Err(NoteError::NotASize));
    for origin in ["", "other.example/doorbook/1", "login.example.org\n5"] {
        let other = Checkpoint { origin: origin.into(), ..checkpoint() };
        let refused = NoteError::OtherLog { found: origin.into(), key: ORIGIN.into() };
        assert_eq!(signed(&other), Err(refused));
    }
    let another = SigningKey::from_bytes(&[8; 32]);
    let by_another = sign(&checkpoint(), &ours(), |message| another.sign(message).to_bytes());
    assert_eq!(by_another, Err(NoteError::WrongSignature { key: ORIGIN.into() }));
}

#[test]
fn a_changed_byte_is_another_text_or_no_note() {
    let note = signed(&checkpoint()).unwrap().into_bytes();
    for n in 0..note.len() {
        for change in [1, 0x20, 0x80] {
            let mut other = note.clone();
            other[n] ^= change;
            assert!(verify(&other, &ours()).is_err(), "byte {n} with {change:#x}");
        }
        assert!(verify(&note[..n], &ours()).is_err(), "cut at {n}");
        assert!(verify(&note[n + 1..], &ours()).is_err(), "begun at {n}");
    }
}

#[test]
fn the_lines_of_a_checkpoint_are_read_strictly() {
    let root = base64(&[0xab; 32]);
    let refused = |text: String| verify(signed_text(&text).as_bytes(), &ours()).unwrap_err();
    assert_eq!(refused(format!("{ORIGIN}\n7\n")), NoteError::NotThreeLines { lines: 2 });
    // C2SP allows further lines, and ours never have any.
    assert_eq!(refused(format!("{ORIGIN}\n7\n{root}\nmore\n")), NoteError::NotThreeLines { lines: 4 });
    assert_eq!(refused(format!("{ORIGIN}\n7\n{root}\n\nmore\n")), NoteError::NotThreeLines { lines: 5 });
    assert_eq!(refused("\n".into()), NoteError::NotThreeLines { lines: 1 });
    for size in ["", "07", "00", "+7", "-7", "7 ", " 7", "0x7", "9223372036854775808", "1e3"] {
        assert_eq!(refused(format!("{ORIGIN}\n{size}\n{root}\n")), NoteError::NotASize, "{size:?}");
    }
    let unpadded = root.trim_end_matches('=');
    let (shorter, longer) = (base64(&[0xab; 31]), base64(&[0xab; 33]));
    for hash in ["", unpadded, &shorter, &longer, &format!("{root} "), &format!(" {root}")] {
        assert_eq!(refused(format!("{ORIGIN}\n7\n{hash}\n")), NoteError::NotAHash, "{hash:?}");
    }
    let found = |origin: &str| NoteError::OtherLog { found: origin.into(), key: ORIGIN.into() };
    assert_eq!(refused(format!("\n7\n{root}\n")), found(""));
    assert_eq!(refused(format!("{ORIGIN} \n7\n{root}\n")), found(&format!("{ORIGIN} ")));
}

#[test]
fn the_form_of_a_note_is_read_strictly() {
    let note = signed(&checkpoint()).unwrap();
    let refused = |note: &str| verify(note.as_bytes(), &ours()).unwrap_err();
    assert_eq!(refused(""), NoteError::Unfinished);
    assert_eq!(refused(note.trim_end()), NoteError::Unfinished);
    assert_eq!(refused(&format!("{note}\n")), NoteError::NoSignature);
    assert_eq!(refused(note.split_once('—').unwrap().0), NoteError::NoSignature);
    assert_eq!(refused(&note.replacen("\n\n", "\n", 1)), NoteError::NoSignature);
    assert_eq!(refused(&note.replacen("1000\n", "1000\r\n", 1)), NoteError::Control { at: ORIGIN.len() + 5 });
    assert_eq!(refused(&format!("\t{note}")), NoteError::Control { at: 0 });
    let not_utf8 = [note.as_bytes(), b"\xff\n"].concat();
    assert_eq!(verify(&not_utf8, &ours()), Err(NoteError::NotUtf8 { at: note.len() }));
    let second = [
        "another line\n".to_owned(),
        "\u{2013} a.example AAAAAAA=\n".to_owned(),
        "—a.example AAAAAAA=\n".to_owned(),
        "— AAAAAAA=\n".to_owned(),
        "— a.example\n".to_owned(),
        "—  AAAAAAA=\n".to_owned(),
        "— a b AAAAAAA=\n".to_owned(),
        "— a+b AAAAAAA=\n".to_owned(),
        "— a\u{2003}b AAAAAAA=\n".to_owned(),
        "— a.example AAAAAAA\n".to_owned(),
        "— a.example AAAAAAA= \n".to_owned(),
        "— a.example AAAAAAB=\n".to_owned(),
        of_others("a.example", 4),
    ];
    for line in second {
        let refused = refused(&format!("{note}{line}"));
        assert_eq!(refused, NoteError::NotASignature { number: 2 }, "{line:?}");
    }
}

#[test]
fn signatures_of_others_are_left_alone() {
    let note = signed(&checkpoint()).unwrap();
    let (body, signature) = note.split_once("\n\n").unwrap();
    // Our name with another id, our id with another name, something short, and a witness twice.
    let named = format!("— {ORIGIN} {}\n", base64(&[5; 68]));
    let same_id = format!("— other.example {}\n", base64(&[&ours().id()[..], &[5; 64]].concat()));
    let others =
        [named, same_id, of_others("a.example", 5), of_others("b.example", 76), of_others("b.example", 76)];
    let note = format!("{body}\n\n{}{signature}{}", others[..2].concat(), others[2..].concat());
    assert_eq!(verify(note.as_bytes(), &ours()), Ok(checkpoint()));
}

#[test]
fn our_own_signature_is_there_once_and_right() {
    let note = signed(&checkpoint()).unwrap();
    let (body, signature) = note.split_once("\n\n").unwrap();
    let refused = |signatures: &[&str]| {
        verify(format!("{body}\n\n{}", signatures.concat()).as_bytes(), &ours()).unwrap_err()
    };
    let wrong =
        |bytes: usize| format!("— {ORIGIN} {}\n", base64(&[&ours().id()[..], &vec![5; bytes]].concat()));
    let key = || ORIGIN.to_owned();
    assert_eq!(refused(&[&of_others("a.example", 68)]), NoteError::NotSigned { key: key() });
    for bytes in [1, 63, 64, 65] {
        assert_eq!(refused(&[&wrong(bytes)]), NoteError::WrongSignature { key: key() });
        assert_eq!(refused(&[signature, &wrong(bytes)]), NoteError::SignedTwice { key: key() });
    }
    assert_eq!(refused(&[signature, signature]), NoteError::SignedTwice { key: key() });
}

#[test]
fn a_note_has_room_for_sixteen_signatures_and_an_end() {
    let mut note = signed(&checkpoint()).unwrap();
    for n in 0..15 {
        note += &of_others(&format!("witness-{n}.transparency.example.org/with/a/long/name"), 76);
    }
    assert_eq!(verify(note.as_bytes(), &ours()), Ok(checkpoint()));
    while note.len() <= MAX_NOTE {
        note += &of_others("a.example", 68);
    }
    assert_eq!(verify(note.as_bytes(), &ours()), Err(NoteError::TooLong { bytes: note.len() }));
}
