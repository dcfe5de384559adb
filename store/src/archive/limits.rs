//! How much work a stranger's archive may cause.

/// Decompressed data up to this size is never called a bomb.
pub const RATIO_FREE_BYTES: u64 = 16 << 20;
/// Beyond [`RATIO_FREE_BYTES`] this many bytes may come of one.
pub const RATIO: u64 = 1000;
/// The largest zstd window: `zstd --ultra -22` and `--long` use 27, and 128 MiB is what zstd itself allows
/// without an explicit wish. Our own writer stays at 8 MiB.
pub const WINDOW_LOG: u32 = 27;
/// Zeros after the end blocks: one record of the largest usual blocking factor (GNU tar `-b 128`).
pub const END_PADDING: u64 = 64 << 10;
/// A path, as Linux limits it (`PATH_MAX`, with its final NUL).
pub const PATH_BYTES: usize = 4096;
/// One component of a path, as Linux limits it (`NAME_MAX`).
pub const COMPONENT_BYTES: usize = 255;
/// An extended header holds at most two paths and some numbers.
pub const EXTENDED_BYTES: u64 = 16 << 10;

const _: () = assert!(EXTENDED_BYTES >= 3 * PATH_BYTES as u64);
