//! See `buildswarm_fuzz::gentoo::gpkg_members`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| buildswarm_fuzz::gentoo::gpkg_members(bytes));
