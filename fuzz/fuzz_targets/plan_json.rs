//! See `buildswarm_fuzz::gentoo::plan_json`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| buildswarm_fuzz::gentoo::plan_json(bytes));
