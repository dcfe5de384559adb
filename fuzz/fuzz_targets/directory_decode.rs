//! See `buildswarm_fuzz::trees::directory_decode`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| buildswarm_fuzz::trees::directory_decode(bytes));
