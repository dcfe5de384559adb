//! How much work a stranger's package may cause.

use buildswarm_store::archive::{self, Compression, Frames, Links, PATH_BYTES, ReadOptions};

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

    const fn member(&self, bytes: u64) -> archive::Limits {
        archive::Limits {
            entries: self.image_entries,
            name_bytes: self.image_names,
            bytes,
            // No path that Linux takes is deeper.
            depth: PATH_BYTES / 2,
            window_log: WINDOW_LOG,
            frames: Frames::One,
        }
    }

    /// How an image is read: what its links lead to is a matter of the root it is installed into.
    pub(crate) const fn image(&self, compression: Compression) -> ReadOptions {
        ReadOptions { compression, links: Links::Any, leading_dot: false, limits: self.member(self.image) }
    }

    /// How metadata is read: the headers of its small files take no more room than their content may.
    pub(crate) const fn metadata(&self, compression: Compression) -> ReadOptions {
        let limits =
            archive::Limits { entries: METADATA_KEYS, ..self.member(self.metadata.saturating_mul(2)) };
        ReadOptions { compression, links: Links::Any, leading_dot: false, limits }
    }
}

/// Portage writes some 40 variables; each ebuild may add a few.
const METADATA_KEYS: u64 = 1000;
/// The largest zstd window: `zstd --ultra -22` and `--long` use 27, and 128 MiB is what zstd itself allows
/// without an explicit wish. Our own writer stays at 8 MiB.
pub(crate) const WINDOW_LOG: u32 = 27;
/// A Manifest has at most five lines of about 330 bytes, and a signature.
pub(crate) const MANIFEST_BYTES: u64 = 64 << 10;
/// A detached signature by one key; RSA 4096 takes 900 bytes.
pub(crate) const SIGNATURE_BYTES: u64 = 64 << 10;

const _: () = assert!(1 << WINDOW_LOG <= Limits::STANDARD.image_names);
const _: () = assert!(Limits::STANDARD.metadata < Limits::STANDARD.container);
