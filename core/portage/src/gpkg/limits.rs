//! How much work a stranger's package may cause.

/// Bounds on one package. All sizes in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The container file as a whole.
    pub container: u64,
    /// All metadata values together.
    pub metadata: u64,
    /// Entries of the image.
    pub image_entries: u64,
    /// All names of the image together; bounds the memory of the listing.
    pub image_names: u64,
    /// The image tar, decompressed.
    pub image: u64,
}

impl Limits {
    /// The limits in use: far above any package in the Gentoo tree, low enough for a shared machine.
    ///
    /// The largest package seen (`sys-kernel/gentoo-kernel` with debug information) has 1.4 GiB and 90,000
    /// entries.
    pub const STANDARD: Self = Self {
        container: 32 << 30,
        metadata: 64 << 20,
        image_entries: 1_000_000,
        image_names: 128 << 20,
        image: 128 << 30,
    };
}

/// Decompressed data up to this size is never called a bomb.
pub(crate) const RATIO_FREE_BYTES: u64 = 16 << 20;
/// Beyond [`RATIO_FREE_BYTES`] this many bytes may come of one.
pub(crate) const RATIO: u64 = 1000;
/// The largest zstd window: `zstd --ultra -22` and `--long` use 27, and 128 MiB is what zstd itself allows
/// without an explicit wish. Our own writer stays at 8 MiB.
pub(crate) const WINDOW_LOG: u32 = 27;
/// Zeros after the end blocks: one record of the largest usual blocking factor (GNU tar `-b 128`).
pub(crate) const END_PADDING: u64 = 64 << 10;
/// A path, as Linux limits it (`PATH_MAX`, with its final NUL).
pub(crate) const PATH_BYTES: usize = 4096;
/// One component of a path, as Linux limits it (`NAME_MAX`).
pub(crate) const COMPONENT_BYTES: usize = 255;
/// An extended header holds at most two paths and some numbers.
pub(crate) const EXTENDED_BYTES: u64 = 16 << 10;
/// A Manifest has at most five lines of about 330 bytes, and a signature.
pub(crate) const MANIFEST_BYTES: u64 = 64 << 10;
/// A detached signature by one key; RSA 4096 takes 900 bytes.
pub(crate) const SIGNATURE_BYTES: u64 = 64 << 10;

const _: () = assert!(1 << WINDOW_LOG <= Limits::STANDARD.image_names);
const _: () = assert!(EXTENDED_BYTES >= 3 * PATH_BYTES as u64);
const _: () = assert!(Limits::STANDARD.metadata < Limits::STANDARD.container);
