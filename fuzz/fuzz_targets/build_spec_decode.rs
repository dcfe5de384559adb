//! See `buildswarm_fuzz::pure::build_spec_decode`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| buildswarm_fuzz::pure::build_spec_decode(bytes));
