//! The log's bytes: what can be read at all is written as the same bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| doorbook::fuzzing::frame(bytes));
