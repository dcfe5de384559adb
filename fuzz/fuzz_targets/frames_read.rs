//! See `buildswarm_fuzz::archives::frames_read`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| buildswarm_fuzz::archives::frames_read(bytes));
