//! See `buildswarm_fuzz::archives::pack_round_trip`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| buildswarm_fuzz::archives::pack_round_trip(bytes));
