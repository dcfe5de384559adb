//! How much work a stranger's package may cause.

use buildswarm_store::archive::WINDOW_LOG;

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

/// A Manifest has at most five lines of about 330 bytes, and a signature.
pub(crate) const MANIFEST_BYTES: u64 = 64 << 10;
/// A detached signature by one key; RSA 4096 takes 900 bytes.
pub(crate) const SIGNATURE_BYTES: u64 = 64 << 10;

const _: () = assert!(1 << WINDOW_LOG <= Limits::STANDARD.image_names);
const _: () = assert!(Limits::STANDARD.metadata < Limits::STANDARD.container);
