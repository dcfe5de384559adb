//! See `buildswarm_store::parsers::tree_cache`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| buildswarm_store::parsers::tree_cache(bytes));
