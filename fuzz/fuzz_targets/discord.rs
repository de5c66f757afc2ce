//! Discord's answers and notices: read within bounds, and none of its words where they may be seen.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| doorbook::fuzzing::discord(bytes));
