//! A log as text: what is taken from it is written as the same text and taken again.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| doorbook::fuzzing::import(bytes));
