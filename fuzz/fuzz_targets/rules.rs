//! Rules and requests: nothing is granted that an app reads otherwise, and rules survive being written down.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| doorbook::fuzzing::rules(bytes));
