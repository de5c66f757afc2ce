//! Cookies of strangers: only what we made opens anything, and no foreign name is repeated.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| doorbook::fuzzing::cookie(bytes));
