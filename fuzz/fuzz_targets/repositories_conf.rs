//! See `buildswarm_fuzz::gentoo::repositories_conf`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| buildswarm_fuzz::gentoo::repositories_conf(bytes));
