//! See `buildswarm_fuzz::pure::cpv`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| buildswarm_fuzz::pure::cpv(bytes));
