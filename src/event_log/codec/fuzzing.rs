//! Fuzzed: what can be read at all is written as the same bytes, whatever the bytes are.

use super::{
    DecodeError, MAX_FRAME, decode_raw, decode_record, decode_sealed, deserialize_event, deserialize_origin,
    deserialize_private, encode_record, encode_sealed, frame_length, kinds, private, read_state, record,
    serialize_event, serialize_origin, write_state,
};

/// How long the header of a frame is.
const HEADER: usize = 7;

/// Reads the bytes as everything that the log keeps: a record, an event, a sealed fact, a box, a stored state.
pub fn frame(bytes: &[u8]) {
    one_record(bytes);
    one_record(&with_its_length(bytes));
    if let Some((&[first, second, version], payload)) = bytes.split_first_chunk() {
        one_event(u16::from_be_bytes([first, second]), version, payload);
    }
    one_box(bytes);
    one_origin(bytes);
    one_state(bytes);
}

fn one_record(frame: &[u8]) {
    match (decode_raw(frame), decode_record(frame)) {
        (Ok(raw), Ok(record)) => {
            assert_eq!(encode_record(&record).as_deref(), Ok(frame));
            assert_eq!(frame_length(frame), Some(frame.len()));
            assert!(frame.len() <= MAX_FRAME);
            assert_eq!(raw.events.len(), record.events.len());
            for (raw, event) in raw.events.iter().zip(&record.events) {
                assert_eq!(deserialize_event(raw.kind, raw.version, &raw.clear).as_ref(), Ok(event));
            }
            assert_eq!((raw.id, raw.at, raw.subject), (record.id, record.at, record.subject));
            assert_eq!((raw.context, raw.sealed), (record.context, record.sealed));
        }
        // The record can be read but for an event, and that one says so itself.
        (Ok(raw), Err(error)) => {
            let mut errors =
                raw.events.iter().map(|raw| deserialize_event(raw.kind, raw.version, &raw.clear).err());
            assert!(errors.any(|found| found.as_ref() == Some(&error)), "{error}");
        }
        (Err(raw), whole) => assert_eq!(whole, Err(raw)),
    }
}

/// Returns the bytes with the length in their header put right, so that what was changed behind it is looked at.
fn with_its_length(bytes: &[u8]) -> Vec<u8> {
    let body = bytes.get(HEADER..).unwrap_or_default();
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    [&[record::FORMAT, 0, 1], &length.to_be_bytes()[..], body].concat()
}

fn one_event(kind: u16, version: u8, payload: &[u8]) {
    if let Ok(event) = deserialize_event(kind, version, payload) {
        assert_eq!(kinds::kind_of(&event), kind);
        let Ok(stored) = serialize_event(&event, None) else { panic!("{event:?} cannot be written") };
        assert_eq!((stored.kind, stored.version, &stored.clear[..]), (kind, version, payload));
    }
    match deserialize_private(kind, version, payload) {
        Ok(private) => {
            let written = private::serialize_private(kind, &private);
            assert!(written.is_ok_and(|written| **written == *payload), "a fact of kind {kind}");
        }
        Err(DecodeError::Unknown { kind: unknown, version: of }) => {
            assert_eq!((unknown, of), (kind, version))
        }
        Err(_) => {}
    }
}

fn one_box(bytes: &[u8]) {
    if let Ok(facts) = decode_sealed(bytes) {
        assert!(encode_sealed(&facts).is_ok_and(|written| **written == *bytes), "a box");
    }
}

fn one_origin(bytes: &[u8]) {
    if let Ok(origin) = deserialize_origin(1, bytes) {
        let written = serialize_origin(&origin);
        assert!(written.is_ok_and(|(version, written)| version == 1 && **written == *bytes), "an origin");
    }
}

fn one_state(bytes: &[u8]) {
    // A box that no fact names is not written again, so the bytes may be others; the state may not.
    if let Ok(stored) = read_state(bytes) {
        let mut written = Vec::new();
        let hash = write_state(&stored.state, &stored.frontier, &mut written);
        let Ok(again) = read_state(&written[..]) else { panic!("a stored state is not read again") };
        assert!(hash.is_ok_and(|hash| hash == again.hash) && again.size == stored.size);
        assert!(again.state == stored.state && again.frontier == stored.frontier, "another state");
    }
}
