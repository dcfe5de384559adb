//! See `buildswarm_store::parsers::journal_record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| buildswarm_store::parsers::journal_record(bytes));
