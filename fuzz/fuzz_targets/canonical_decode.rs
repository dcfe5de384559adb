//! See `buildswarm_fuzz::pure::canonical_decode`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| buildswarm_fuzz::pure::canonical_decode(bytes));
