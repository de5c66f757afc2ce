//! What holds for any record and any bytes.

use proptest::collection::vec;
use proptest::prelude::*;
use zeroize::Zeroizing;

use crate::event_log::codec::arbitrary::{origin, private, record};
use crate::event_log::codec::private::serialize_private;
use crate::event_log::codec::{
    SealedFact, decode_raw, decode_record, decode_sealed, deserialize_event, deserialize_origin,
    deserialize_private, encode_record, encode_sealed, leaf_hash, serialize_origin,
};

proptest! {
    #[test]
    fn a_record_is_read_as_it_was_written(record in record()) {
        let frame = encode_record(&record).expect("a frame");
        prop_assert_eq!(decode_record(&frame), Ok(record.clone()));
        let raw = decode_raw(&frame).expect("a record");
        prop_assert_eq!(raw.events.len(), record.events.len());
        for (raw, event) in raw.events.iter().zip(&record.events) {
            prop_assert_eq!(deserialize_event(raw.kind, raw.version, &raw.clear), Ok(event.clone()));
        }
        prop_assert_eq!((raw.id, raw.subject, raw.context), (record.id, record.subject, record.context));
        prop_assert_eq!(raw.sealed, record.sealed);
    }

    #[test]
    fn a_flipped_bit_is_an_error_or_another_leaf_and_another_record(
        record in record(), at in any::<prop::sample::Index>(), bit in 0..8_u8,
    ) {
        let frame = encode_record(&record).expect("a frame");
        let mut flipped = frame.clone();
        flipped[at.index(frame.len())] ^= 1 << bit;
        prop_assert_ne!(leaf_hash(&flipped), leaf_hash(&frame));
        // One encoding for each record: what is read from other bytes is another record.
        if let Ok(other) = decode_record(&flipped) {
            prop_assert_eq!(encode_record(&other), Ok(flipped));
            prop_assert_ne!(other, record);
        }
    }

    #[test]
    fn a_prefix_or_an_extension_is_an_error(
        record in record(), cut in any::<prop::sample::Index>(), more in vec(any::<u8>(), 1..9),
    ) {
        let frame = encode_record(&record).expect("a frame");
        prop_assert!(decode_record(&frame[..cut.index(frame.len())]).is_err());
        prop_assert!(decode_raw(&frame[..cut.index(frame.len())]).is_err());
        let mut longer = frame.clone();
        longer.extend(&more);
        prop_assert!(decode_record(&longer).is_err());
        // Neither when the length says so.
        let body = u32::try_from(longer.len() - 7).expect("small");
        longer[3..7].copy_from_slice(&body.to_be_bytes());
        prop_assert!(decode_record(&longer).is_err());
        let body = u32::try_from(cut.index(frame.len() - 7)).expect("small");
        let mut shorter = frame[..7 + cut.index(frame.len() - 7)].to_vec();
        shorter[3..7].copy_from_slice(&body.to_be_bytes());
        prop_assert!(decode_record(&shorter).is_err());
    }

    #[test]
    fn personal_facts_are_read_as_they_were_written((kind, private) in private(), origin in origin()) {
        let sealed = serialize_private(kind, &private).expect("bytes");
        prop_assert!(deserialize_private(kind, 1, &sealed).as_ref() == Ok(&private));
        let (version, bytes) = serialize_origin(&origin).expect("bytes");
        prop_assert!(deserialize_origin(version, &bytes).as_ref() == Ok(&origin));
    }

    #[test]
    fn a_box_is_read_as_it_was_written(facts in vec((any::<u16>(), any::<u8>(), vec(any::<u8>(), 0..99)), 0..9)) {
        let facts: Vec<SealedFact> = facts
            .into_iter()
            .map(|(index, version, payload)| SealedFact { index, version, payload: Zeroizing::new(payload) })
            .collect();
        let bytes = encode_sealed(&facts).expect("bytes");
        prop_assert!(decode_sealed(&bytes).as_ref() == Ok(&facts));
    }

    #[test]
    fn no_bytes_make_decoding_panic(bytes in vec(any::<u8>(), 0..300), kind in 0..70_u16, version in 0..3_u8) {
        let read = decode_record(&bytes).is_ok() || decode_raw(&bytes).is_ok();
        prop_assert!(!read, "random bytes are no record");
        drop(deserialize_event(kind, version, &bytes));
        drop(deserialize_private(kind, version, &bytes));
        drop(deserialize_origin(version, &bytes));
        drop(decode_sealed(&bytes));
        // Behind a good header.
        let mut frame = vec![1, 0, 1];
        frame.extend(u32::try_from(bytes.len()).expect("small").to_be_bytes());
        frame.extend(&bytes);
        drop(decode_record(&frame));
        drop(decode_raw(&frame));
    }

    #[test]
    fn what_is_read_at_all_is_written_as_the_same_bytes(
        mut bytes in vec(prop_oneof![0..4_u8, any::<u8>()], 0..40), kind in 0..50_u16,
    ) {
        // Long enough for the kinds with ids and hashes.
        bytes.resize(bytes.len() * 4, 1);
        if let Ok(event) = deserialize_event(kind, 1, &bytes) {
            let stored = crate::event_log::codec::serialize_event(&event, None).expect("bytes");
            prop_assert_eq!((stored.kind, stored.version, stored.clear), (kind, 1, bytes));
        }
    }
}
