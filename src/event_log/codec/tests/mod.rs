//! The promises of the codec: bytes written once are read for ever, and no wrong byte is read as right.

mod fixtures;
mod properties;
mod samples;

use super::*;
use crate::domain::event::{Event, Private};
use crate::domain::scopes::Scopes;
use crate::event_log::rig;

#[test]
fn every_kind_has_an_id_a_name_and_a_sentence() {
    let written: Vec<u16> = samples::samples()
        .iter()
        .map(|sample| serialize_event(&sample.event, None).expect("bytes").kind)
        .collect();
    for found in kinds() {
        assert!(written.contains(&found.id), "{} has no sample", found.name);
        assert_eq!(kind(found.id), Some(found));
        let (noun, verb) = found.name.split_once('.').expect("noun.verb");
        assert!(!noun.is_empty() && !verb.is_empty() && !verb.contains('.'));
        assert!(found.name.bytes().all(|byte| byte.is_ascii_lowercase() || b"._".contains(&byte)));
        assert!(found.sentence.len() > 10 && !found.sentence.ends_with('.'), "{}", found.sentence);
    }
    for id in written {
        assert!(kind(id).is_some(), "kind {id} is written but has no row in the table");
    }
    assert!(kinds().is_sorted_by(|a, b| a.id < b.id), "an id is given twice or out of order");
    let mut names: Vec<_> = kinds().iter().map(|kind| kind.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), kinds().len());
    assert_eq!(kind(61), None);
}

#[test]
fn the_name_in_the_table_is_the_one_that_errors_use() {
    for sample in samples::samples() {
        let stored = serialize_event(&sample.event, None).expect("bytes");
        let mut longer = stored.clear;
        longer.push(0);
        let error = deserialize_event(stored.kind, stored.version, &longer).expect_err("a byte too many");
        let what = kind(stored.kind).expect("a row").name;
        assert_eq!(kind_of(&sample.event), stored.kind, "{what}");
        assert_eq!(error, DecodeError::LeftOver { what, bytes: 1 });
    }
}

#[test]
fn a_kind_or_version_of_a_newer_doorbook_is_named_and_never_guessed() {
    let newer = |kind, version| DecodeError::Unknown { kind, version };
    assert_eq!(deserialize_event(61, 1, &[]), Err(newer(61, 1)));
    assert_eq!(deserialize_event(2, 2, &[1]), Err(newer(2, 2)));
    assert_eq!(deserialize_event(2, 0, &[1]), Err(newer(2, 0)));
    assert_eq!(deserialize_private(2, 1, &[1]), Err(newer(2, 1)));
    assert_eq!(deserialize_private(30, 2, &[0, 0]), Err(newer(30, 2)));
    assert_eq!(deserialize_origin(2, &[]), Err(DecodeError::UnknownContext { version: 2 }));
    assert_eq!(newer(61, 1).to_string(), "this log was written by a newer doorbook (kind 61 v1)");
}

#[test]
fn a_record_with_an_unknown_kind_is_still_read_raw() {
    let mut frame = rig::frame(5);
    let at = frame.windows(3).position(|bytes| bytes == [21, 1, 17]).expect("kind, version, length");
    frame[at] = 61;
    assert_eq!(decode_record(&frame), Err(DecodeError::Unknown { kind: 61, version: 1 }));
    let raw = decode_raw(&frame).expect("a record");
    assert_eq!((raw.events[0].kind, raw.events[0].version, raw.events[0].clear.len()), (61, 1, 17));
}

#[test]
fn a_frame_of_a_newer_doorbook_is_named() {
    let mut frame = rig::frame(5);
    frame[0] = 2;
    assert_eq!(decode_record(&frame), Err(DecodeError::UnknownFormat { format: 2, schema: 1 }));
    frame[0] = 1;
    frame[2] = 9;
    assert_eq!(decode_raw(&frame), Err(DecodeError::UnknownFormat { format: 1, schema: 9 }));
}

#[test]
fn a_personal_fact_belongs_to_its_kind_of_event_and_to_no_other() {
    for (event_of, sample) in samples::samples().iter().enumerate() {
        for (private_of, other) in samples::samples().iter().enumerate() {
            let Some(private) = &other.private else { continue };
            let outcome = serialize_event(&sample.event, Some(private));
            let both_have_it = matches!(
                (&sample.event, private),
                (Event::GrantIssued { .. } | Event::GrantRefreshed { .. }, Private::Tokens(_))
                    | (Event::AuditRead(_) | Event::AuditExported(_), Private::Networks(_))
            );
            let kind = serialize_event(&sample.event, None).expect("bytes").kind;
            if event_of == private_of || both_have_it {
                assert!(outcome.is_ok());
            } else {
                assert_eq!(outcome, Err(EncodeError::NotOfThisKind { kind }));
            }
        }
    }
}

#[test]
fn a_membership_that_does_not_say_whether_it_is_pending_is_none() {
    let of = |sample: &samples::Sample| match &sample.private {
        Some(Private::Membership(_)) => serialize_event(&sample.event, sample.private.as_ref()).ok(),
        _ => None,
    };
    let stored = samples::samples().iter().find_map(of).expect("a sample");
    let sealed = stored.sealed.expect("a membership");
    assert!(deserialize_private(stored.kind, 1, &sealed).is_ok());
    let (rest, pending) = sealed.split_at(sealed.len() - 2);
    assert_eq!(pending, [1, 0], "it is said that it is not");
    let silent = [rest, &[0]].concat();
    let malformed = DecodeError::Malformed { what: "a membership" };
    assert_eq!(deserialize_private(stored.kind, 1, &silent), Err(malformed));
}

/// Found by fuzzing: such a record was said to be a newer doorbook's, which nobody would look into.
#[test]
fn a_record_that_nobody_can_read_is_not_called_newer_because_of_its_event() {
    let frame = include_bytes!("../../../../fuzz/corpus/frame/newer-event-and-an-actor-that-is-none");
    let malformed = DecodeError::Malformed { what: "an actor" };
    assert_eq!(decode_raw(frame).err(), Some(malformed.clone()));
    assert_eq!(decode_record(frame), Err(malformed));
}

#[test]
fn a_record_without_events_is_neither_written_nor_read() {
    let mut record = samples::record(samples::samples().remove(0).event);
    record.events.clear();
    assert_eq!(encode_record(&record), Err(EncodeError::NoEvents));
}

#[test]
fn a_record_that_is_too_large_is_not_written() {
    let mut record = samples::record(samples::samples().remove(0).event);
    record.events = vec![Event::ServerStarted {
        version: "x".repeat(40_000),
        writer: crate::domain::id::WriterId([0; 8]),
        config: crate::domain::id::Hash([0; 32]),
        log_size: 0,
    }];
    assert!(encode_record(&record).is_ok());
    record.events.push(record.events[0].clone());
    assert!(matches!(encode_record(&record), Err(EncodeError::TooLarge { bytes: 80_000.., .. })));
}

#[test]
fn a_frame_full_of_the_smallest_things_is_read_as_well() {
    let mut record = samples::record(Event::ProfileObserved);
    record.events = vec![Event::ProfileObserved; 21_000];
    let frame = encode_record(&record).expect("a frame");
    assert!(frame.len() > 60_000);
    assert_eq!(decode_record(&frame), Ok(record.clone()));
    record.events = vec![Event::GrantIssued {
        grant: crate::domain::id::GrantId([0; 16]),
        application: crate::domain::id::DiscordId(0),
        scopes: Scopes::new(std::iter::repeat_n("x", 32_000)).expect("scopes"),
        expires_at: record.at,
        tokens: crate::domain::event::Fingerprints {
            access: crate::domain::id::Hash([0; 32]),
            refresh: crate::domain::id::Hash([0; 32]),
        },
    }];
    let frame = encode_record(&record).expect("a frame");
    assert_eq!(decode_record(&frame), Ok(record));
}

#[test]
fn what_is_no_scope_is_refused_however_many_there_are() {
    let clear = |scopes| {
        let tokens = wire::FingerprintsV1 { access: [0; 32], refresh: [0; 32] };
        let stored = wire::GrantIssuedV1 { grant: [0; 16], application: 0, scopes, expires_at: 0, tokens };
        canonical::encode("it", &stored).expect("bytes")
    };
    let read = |scopes| deserialize_event(kinds::GRANT_ISSUED, 1, &clear(scopes)).map(drop);
    assert_eq!(read(vec!["identify", "email"]), Ok(()));
    for wrong in [vec![""; 65_000], vec!["identify email"], vec!["identify", "\n"], vec!["é"]] {
        assert_eq!(read(wrong), Err(DecodeError::Malformed { what: "a scope" }));
    }
}

#[test]
fn a_leaf_is_the_hash_of_a_zero_and_the_frame() {
    let hex = leaf_hash(b"").to_string();
    assert_eq!(hex, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d", "RFC 6962's");
}

#[test]
fn the_debug_output_of_what_is_to_be_sealed_tells_nothing() {
    let private = samples::samples().into_iter().find_map(|sample| match &sample.private {
        Some(Private::Tokens(_)) => Some(serialize_event(&sample.event, sample.private.as_ref())),
        _ => None,
    });
    let stored = private.expect("a sample with tokens").expect("bytes");
    let sealed = stored.sealed.clone().expect("sealed facts");
    let fact = SealedFact { index: 0, version: 1, payload: sealed };
    for shown in [format!("{stored:?}"), format!("{fact:?}")] {
        assert!(!shown.contains("access") && !shown.contains("97, 99, 99"), "{shown}");
    }
}

#[test]
fn records_stay_small() {
    let size = |event, sub| {
        let mut record = samples::record(event);
        record.subject = sub;
        encode_record(&record).expect("a frame").len()
    };
    let seen =
        samples::samples().into_iter().find(|sample| matches!(sample.event, Event::SessionSeen { .. }));
    let sub = samples::record(Event::ProfileObserved).subject;
    assert!(size(seen.expect("a sample").event, sub) <= 200);
}
