//! See `buildswarm_fuzz::scheduling::scheduler_ops`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| buildswarm_fuzz::scheduling::scheduler_ops(bytes));
