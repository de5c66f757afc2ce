//! A proxy's headers: each endpoint reads its own, and what it reads is what a browser follows.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| doorbook::fuzzing::forwarded(bytes));
