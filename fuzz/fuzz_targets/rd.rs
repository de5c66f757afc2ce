//! Where a login returns: to an origin that was allowed, whatever a browser makes of the text.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| doorbook::fuzzing::rd(bytes));
