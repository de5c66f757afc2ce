//! A log that is carried as text arrives as it was, and what was changed on the way does not arrive.

use std::io::Cursor;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::audit::tests::{LOG, Written};
use crate::audit::{LogSource, Opener, Reader};
use crate::domain::event::{Event, KeyPurpose, NewSigner};
use crate::event_log::codec::arbitrary;
use crate::event_log::codec::encode_record;
use crate::event_log::{EventLog, MemoryEngine};
use crate::snapshot;

async fn export(frames: &[Vec<u8>]) -> (String, Copied) {
    let log = EventLog::new(MemoryEngine::with(frames.to_vec()));
    let reader = Reader::new(Arc::new(LogSource(log)), Opener::default());
    let head = Position(frames.len() as u64 - 1);
    let survey = reader.survey(head, |_| ()).await.unwrap();
    let mut text = Vec::new();
    let copied = reader.export(&survey, head, &mut text, |_| ()).await.unwrap();
    (String::from_utf8(text).unwrap(), copied)
}

fn copy(text: &str) -> Result<(Vec<Vec<u8>>, Copied), CopyError> {
    let mut input = Cursor::new(text);
    let mut reader = CopyReader::begin(&mut input)?;
    let mut frames = Vec::new();
    loop {
        match reader.next()? {
            Next::Record(frame) => frames.push(frame.to_vec()),
            Next::End(copied) => return Ok((frames, *copied)),
        }
    }
}

/// Changes one line.
fn with_line(text: &str, number: usize, change: impl FnOnce(&str) -> String) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines[number - 1] = change(&lines[number - 1]);
    lines.join("\n") + "\n"
}

fn with_member(text: &str, number: usize, change: impl FnOnce(&mut Value)) -> String {
    with_line(text, number, |line| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        change(&mut value);
        value.to_string()
    })
}

fn why(text: &str) -> String {
    let error = copy(text).map(drop).unwrap_err();
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}

fn small() -> Written {
    let mut log = Written::of(5, 3);
    log.sign();
    log
}

#[tokio::test]
async fn an_export_is_the_same_text_each_time() {
    let (text, copied) = export(&small().frames).await;
    assert_eq!(export(&small().frames).await.0, text);
    assert_eq!(copy(&text).unwrap(), (small().frames, copied));
    snapshot!("export", text);
}

#[test]
fn a_log_arrives_as_it_was_whatever_is_in_it() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let config = ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let logs = vec((arbitrary::record(), any::<bool>()), 0..12);
    runner
        .run(&logs, |records| {
            let mut frames = Written::new().frames;
            for (record, newer) in records {
                // What signs and what begins is for the other tests.
                let of_its_own = |event: &Event| {
                    matches!(
                        event,
                        Event::CheckpointSigned { .. } | Event::KeyRotated { .. } | Event::LogCreated { .. }
                    )
                };
                if record.events.iter().any(of_its_own) {
                    continue;
                }
                let mut frame = encode_record(&record).unwrap();
                if newer {
                    frame = encode_record(&crate::domain::record::Record {
                        events: vec![Event::ServerStopped { clean: true }],
                        sealed: Vec::new(),
                        ..record
                    })
                    .unwrap();
                    let at = frame.windows(4).rposition(|bytes| bytes == [1, 2, 1, 1]).unwrap();
                    frame[at + 1] = 61;
                }
                frames.push(frame);
            }
            let (first, copied) = runtime.block_on(export(&frames));
            let (arrived, checked) = copy(&first).unwrap();
            prop_assert_eq!(&arrived, &frames);
            prop_assert_eq!(checked, copied);
            let (second, _) = runtime.block_on(export(&arrived));
            prop_assert_eq!(second, first);
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn what_was_edited_is_named_by_line_and_position() {
    let (text, _) = export(&small().frames).await;
    let last = text.lines().count();
    // Every member of every event, one after the other.
    for number in 2..last {
        let line: Value = serde_json::from_str(text.lines().nth(number - 1).unwrap()).unwrap();
        for path in leaves(&line["event"], "/event") {
            let edited = with_member(&text, number, |line| {
                let value = line.pointer_mut(&path).unwrap();
                *value = if value.is_string() { Value::from(1) } else { "another".into() };
            });
            let at = number - 2;
            let expected =
                format!("line {number}, position {at}: `event` is not what `raw` says; it was edited");
            assert!(why(&edited).starts_with(&expected), "{path}: {}", why(&edited));
        }
    }
    let raw = |frame: &[u8]| Value::from(STANDARD.encode(frame));
    let mut other = small();
    other.add(Event::ServerStopped { clean: false });
    let other = other.frames.pop().unwrap();
    let swapped = with_member(&text, 4, |line| line["raw"] = raw(&other));
    assert!(why(&swapped).starts_with("line 4, position 2: `event` is not what `raw` says"));
    let (of_other, _) = export(&[small().frames[0].clone(), other.clone()]).await;
    let both = with_member(&text, 4, |line| {
        let words: Value = serde_json::from_str(of_other.lines().nth(2).unwrap()).unwrap();
        (line["raw"], line["event"]) = (raw(&other), words["event"].clone());
    });
    assert!(why(&both).starts_with(&format!("line {last}: the records have another root")), "{}", why(&both));
}

fn leaves(value: &Value, path: &str) -> Vec<String> {
    match value {
        Value::Object(members) => {
            members.iter().flat_map(|(name, value)| leaves(value, &format!("{path}/{name}"))).collect()
        }
        Value::Array(items) => {
            items.iter().enumerate().flat_map(|(at, value)| leaves(value, &format!("{path}/{at}"))).collect()
        }
        _ => vec![path.to_owned()],
    }
}

#[tokio::test]
async fn what_is_no_copy_is_refused_in_a_sentence() {
    let (text, _) = export(&small().frames).await;
    let lines: Vec<&str> = text.lines().collect();
    let end = lines.len();
    let without = |at: usize| {
        let mut kept = lines.clone();
        kept.remove(at - 1);
        kept.join("\n") + "\n"
    };
    let stranger = SigningKey::from_bytes(&[2; 32]);
    let forged = Written { key: stranger, ..small() }.note_over(3, Hash([1; 32]));
    let of_newer = |text: &str| text.replacen("\"doorbook_export\":1", "\"doorbook_export\":2,\"more\":3", 1);
    let rows = [
        ("empty", String::new()),
        ("not an export", "{\"name\":\"something else\"}\n".to_owned()),
        ("not text", "\u{0}\u{1}\n".to_owned()),
        ("newer form", of_newer(&text)),
        ("newer frames", text.replacen("\"format\":1", "\"format\":2", 1)),
        ("more in the header", text.replacen("{\"doorbook", "{\"more\":3,\"doorbook", 1)),
        ("no json", with_line(&text, 3, |_| "not json".into())),
        ("an empty line", with_line(&text, 3, |_| String::new())),
        ("more in a line", with_member(&text, 3, |line| line["more"] = 1.into())),
        ("a line is missing", without(3)),
        ("cut at a line", without(end)),
        ("cut in a line", text[..text.len() - 200].to_owned()),
        ("only the header", lines[0].to_owned() + "\n"),
        ("no records", format!("{}\n{}\n", lines[0], lines[end - 1])),
        ("not base64", with_member(&text, 3, |line| line["raw"] = "#".into())),
        ("not a record", with_member(&text, 3, |line| line["raw"] = "aGVsbG8gdGhlcmU=".into())),
        ("begins with another", with_line(&without(2), 2, |line| line.replacen(":1,", ":0,", 1))),
        ("another log", with_member(&text, 1, |header| header["log"] = "01".repeat(16).into())),
        ("no log", with_member(&text, 1, |header| header["log"] = "nelly".into())),
        ("another origin", with_member(&text, 1, |header| header["origin"] = "elsewhere".into())),
        ("another key", with_member(&text, 1, |header| header["public_keys"] = Value::Array(vec![]))),
        ("another count", with_member(&text, end, |trailer| trailer["records"] = 7.into())),
        ("another root", with_member(&text, end, |trailer| trailer["root"] = "00".repeat(32).into())),
        ("no note", with_member(&text, end, |trailer| trailer["checkpoint"] = Value::Null)),
        ("another note", with_member(&text, end, |trailer| trailer["checkpoint"] = forged.into())),
        ("something behind", format!("{text}{}\n", lines[2])),
        ("another copy behind", format!("{text}{text}")),
        ("a line without end", text[..100].to_owned() + &"x".repeat(3 << 20)),
    ];
    let told: String = rows.iter().map(|(name, text)| format!("{name:<22}{}\n", why(text))).collect();
    snapshot!("import_refusals", told);
    copy(text.trim_end()).expect("a last line without its newline is whole");
}

#[tokio::test]
async fn a_note_that_is_not_of_this_log_or_not_of_these_records_is_refused() {
    let mut log = small();
    let size = log.frames.len();
    let root = Hash([3; 32]);
    let note = log.note_over(size, root);
    log.add(Event::CheckpointSigned { size: size as u64, root, note, state: None });
    let refused = why(&export(&log.frames).await.0);
    assert!(refused.ends_with("are not those that the checkpoint signs for"), "{refused}");

    let mut stranger = small();
    stranger.key = SigningKey::from_bytes(&[2; 32]);
    stranger.sign();
    let refused = why(&export(&stranger.frames).await.0);
    assert!(refused.contains("the checkpoint is not signed by this log"), "{refused}");
}

#[tokio::test]
async fn the_key_that_took_over_signs_and_stands_in_the_header() {
    let mut log = small();
    let next = SigningKey::from_bytes(&[3; 32]);
    let public_key = next.verifying_key().to_bytes();
    let signature = log.key.sign(&crate::crypto::signer_succession(LOG, &public_key)).to_bytes();
    log.add(Event::KeyRotated {
        purpose: KeyPurpose::Signer,
        key_id: 1,
        signer: Some(NewSigner { public_key, signature }),
    });
    log.key = next;
    log.sign();
    let (text, copied) = export(&log.frames).await;
    let header: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(header["public_keys"].as_array().unwrap().len(), 2);
    assert_eq!(copy(&text).unwrap().1, copied);
}

#[tokio::test]
async fn words_of_an_older_or_a_newer_doorbook_are_taken_as_far_as_they_can_be_judged() {
    let mut frames = small().frames;
    let at = frames[1].windows(3).position(|bytes| bytes == [2, 1, 1]).unwrap();
    frames[1][at] = 61;
    frames.truncate(3);
    let (text, copied) = export(&frames).await;
    assert_eq!(copied.not_understood, Some(Position(1)));
    assert!(text.contains("\"events\":[{\"kind\":61,\"version\":1,\"payload\":\"01\"}]"), "{text}");
    assert_eq!(copy(&text).unwrap().0, frames);

    let newer = with_member(&text, 3, |line| {
        line["event"]["events"][0] = serde_json::json!({"kind": "server.moved", "data": {"to": "the moon"}});
    });
    assert_eq!(copy(&newer).unwrap().0, frames);
    let older = with_member(&text, 4, |line| {
        line["event"]["events"][0] = serde_json::json!({"kind": 2, "version": 1, "payload": "01"});
    });
    assert_eq!(copy(&older).unwrap().0, frames);
    let lies = with_member(&text, 4, |line| {
        line["event"]["events"][0] = serde_json::json!({"kind": 2, "version": 1, "payload": "00"});
    });
    assert!(why(&lies).starts_with("line 4, position 2: `event` is not what `raw` says"));
}
