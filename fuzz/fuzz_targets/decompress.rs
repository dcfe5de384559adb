//! See `buildswarm_fuzz::archives::decompress`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| buildswarm_fuzz::archives::decompress(bytes));
