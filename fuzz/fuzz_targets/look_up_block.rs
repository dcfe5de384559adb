//! See `buildswarm_store::parsers::look_up_block`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| buildswarm_store::parsers::look_up_block(bytes));
