//! See `buildswarm_fuzz::gentoo::interface`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| buildswarm_fuzz::gentoo::interface(bytes));
