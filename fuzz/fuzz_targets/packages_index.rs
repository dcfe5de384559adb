//! See `buildswarm_fuzz::gentoo::packages_index`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| buildswarm_fuzz::gentoo::packages_index(bytes));
