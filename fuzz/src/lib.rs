//! What the libFuzzer targets run: plain functions over bytes, which must not panic whatever the bytes are.
//!
//! Each file of `fuzz_targets/` hands libFuzzer's bytes to one of them. The stable tests
//! `tests/fuzz_corpora.rs` of `core`, `core/portage` and `store` take in the same files and replay
//! `corpus/TARGET/*`; what once failed is put there and stays. What the store keeps to itself is reached through
//! `buildswarm_store::parsers`, and replayed by its tests.
//!
//! ```text
//! cargo install cargo-fuzz --locked
//! export CARGO_PROFILE_RELEASE_LTO=off # which would take minutes for each target
//! export ASAN_OPTIONS=detect_odr_violation=0 # SQLite's tables, which the store links in, are no violation
//! cargo +nightly fuzz run --fuzz-dir fuzz cpv -- -max_total_time=60
//! ```

pub mod archives;
pub mod gentoo;
pub mod pure;
pub mod replay;
pub mod scheduling;
pub mod trees;
