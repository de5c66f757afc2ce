//! The frozen bytes of every kind, and today's.
//!
//! `fixtures/log/v1/<kind>.bin` is a record with one event of that kind, `<kind>.sealed.bin` its personal
//! fact, `<kind>.json` both in words. A file is added once, with its kind, and never edited. To add the
//! missing ones: `WRITE_FIXTURES=1 cargo test --lib -- --ignored write_missing_fixtures`.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::samples::{Sample, boxed, member_who_was_denied, origin, record, samples};
use crate::domain::event::Event;
use crate::domain::id::Hash;
use crate::event_log::codec::kinds::SIGN_IN_DENIED;
use crate::event_log::codec::{
    CONTEXT, SealedFact, Stored, decode_raw, decode_record, decode_sealed, deserialize_origin,
    deserialize_private, encode_record, encode_sealed, kind, leaf_hash, serialize_event, serialize_origin,
};

fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fixtures", "log", "v1", name].iter().collect()
}

fn read(name: &str) -> Vec<u8> {
    fs::read(file(name)).unwrap_or_else(|error| panic!("fixtures/log/v1/{name}: {error}"))
}

fn stored(sample: &Sample) -> Stored {
    serialize_event(&sample.event, sample.private.as_ref()).expect("bytes")
}

fn in_words(sample: &Sample, frame: &[u8]) -> Value {
    let stored = stored(sample);
    json!({
        "kind": kind(stored.kind).expect("a row").name,
        "id": stored.kind,
        "version": stored.version,
        "leaf": leaf_hash(frame).to_string(),
        "clear": sample.clear,
        "sealed": sample.sealed,
    })
}

/// Everything that stands in a file, by its name.
fn all() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for sample in samples() {
        let stored = stored(&sample);
        let name = kind(stored.kind).expect("a row").name;
        let frame = encode_record(&record(sample.event.clone())).expect("a frame");
        let words = serde_json::to_string_pretty(&in_words(&sample, &frame)).expect("JSON") + "\n";
        all.push((format!("{name}.json"), words.into_bytes()));
        all.push((format!("{name}.bin"), frame));
        if let Some(sealed) = stored.sealed {
            all.push((format!("{name}.sealed.bin"), sealed.to_vec()));
        }
    }
    let (denied, denied_in_words) = member_who_was_denied();
    let event = Event::SignInDenied { term: None, rules: Hash([0; 32]) };
    let stored = serialize_event(&event, Some(&denied)).expect("bytes");
    let words = serde_json::to_string_pretty(&denied_in_words).expect("JSON") + "\n";
    all.push(("sign_in.denied.member.json".into(), words.into_bytes()));
    all.push(("sign_in.denied.member.sealed.bin".into(), stored.sealed.expect("sealed").to_vec()));
    let (version, payload) = serialize_origin(&origin().0).expect("bytes");
    assert_eq!(version, 1);
    let facts = [
        SealedFact { index: CONTEXT, version, payload: payload.clone() },
        SealedFact { index: 300, version: 1, payload: b"a fact".to_vec().into() },
    ];
    let words = serde_json::to_string_pretty(&origin().1).expect("JSON") + "\n";
    all.push(("origin.json".into(), words.into_bytes()));
    all.push(("origin.bin".into(), payload.to_vec()));
    all.push(("box.bin".into(), encode_sealed(&facts).expect("bytes").to_vec()));
    all.push(("boxes.bin".into(), encode_record(&boxed()).expect("a frame")));
    all
}

#[test]
#[ignore = "writes the fixtures that are missing; run it once after adding a kind"]
fn write_missing_fixtures() {
    // A run of all ignored tests must not make up for what is missing.
    if std::env::var_os("WRITE_FIXTURES").is_none() {
        return;
    }
    for (name, bytes) in all() {
        if !file(&name).exists() {
            fs::create_dir_all(file("")).expect("a directory");
            fs::write(file(&name), bytes).expect("written");
        }
    }
}

#[test]
fn what_is_written_today_is_what_was_written_then() {
    let mut names = Vec::new();
    for (name, bytes) in all() {
        assert_eq!(hex::encode(read(&name)), hex::encode(bytes), "fixtures/log/v1/{name}");
        names.push(name);
    }
    for entry in fs::read_dir(file("")).expect("fixtures/log/v1") {
        let name = entry.expect("an entry").file_name().into_string().expect("a name");
        assert!(names.contains(&name), "nothing tests fixtures/log/v1/{name}");
    }
}

#[test]
fn what_was_written_then_is_read_as_the_same_events() {
    for sample in samples() {
        let Stored { kind: id, version, sealed, .. } = stored(&sample);
        let name = kind(id).expect("a row").name;
        let frame = read(&format!("{name}.bin"));
        assert_eq!(decode_record(&frame), Ok(record(sample.event.clone())), "{name}");
        let raw = decode_raw(&frame).expect("a record");
        assert_eq!((raw.events[0].kind, raw.events[0].version), (id, version));
        let words: Value = serde_json::from_slice(&read(&format!("{name}.json"))).expect("JSON");
        assert_eq!(words, in_words(&sample, &frame), "{name}");
        if sealed.is_some() {
            let private = deserialize_private(id, version, &read(&format!("{name}.sealed.bin")));
            assert!(private.ok() == sample.private, "{name}");
        }
    }
    let denied = deserialize_private(SIGN_IN_DENIED, 1, &read("sign_in.denied.member.sealed.bin"));
    assert!(denied.expect("a stranger") == member_who_was_denied().0);
    assert!(deserialize_origin(1, &read("origin.bin")).expect("an origin") == origin().0);
    let facts = decode_sealed(&read("box.bin")).expect("facts");
    assert_eq!(facts.iter().map(|fact| fact.index).collect::<Vec<_>>(), [CONTEXT, 300]);
    assert_eq!(*facts[0].payload, read("origin.bin"));
    assert_eq!(decode_record(&read("boxes.bin")), Ok(boxed()));
}

#[test]
fn todays_bytes() {
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for sample in samples() {
            let Stored { kind: id, version, clear, sealed } = stored(&sample);
            let name = kind(id).expect("a row").name;
            let mut shown = format!("{name}, kind {id}, version {version}\nclear   {}\n", hex::encode(clear));
            if let Some(sealed) = sealed {
                shown += &format!("sealed  {}\n", hex::encode(&*sealed));
            }
            insta::assert_snapshot!(format!("bytes-{name}"), shown);
        }
        let frame = encode_record(&boxed()).expect("a frame");
        insta::assert_snapshot!("bytes-record", hex::encode(frame));
    });
}
