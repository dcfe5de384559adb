//! See `buildswarm_store::parsers::journal_segment`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| buildswarm_store::parsers::journal_segment(bytes));
