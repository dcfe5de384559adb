//! How much work a stranger's archive may cause.

/// Bounds on one archive. What is above them is refused, so reading costs no more memory and time than they say.
///
/// [`STANDARD`](Self::STANDARD) suits archives nobody vouches for; change single fields where more is known:
///
/// ```
/// use buildswarm_store::archive::Limits;
/// let small = Limits { bytes: 1 << 20, ..Limits::STANDARD };
/// assert_eq!(small.window_log, 23);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Entries of a tar archive.
    pub entries: u64,
    /// Bytes of all names together, owners' included: what is remembered of entries.
    pub name_bytes: u64,
    /// Bytes of the unpacked stream.
    pub bytes: u64,
    /// Components of a path.
    pub depth: usize,
    /// The largest window of a zstd frame, as a power of two: so much memory is set aside to unpack it.
    pub window_log: u32,
    /// What a zstd stream may consist of.
    pub frames: Frames,
}

/// What a zstd stream may consist of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frames {
    /// One frame, and nothing after it.
    One,
    /// One or more frames, and among them skippable ones of up to [`SKIPPED_BYTES`] together: what
    /// [`FrameWriter`](super::FrameWriter) and parallel compressors write.
    Several,
}

impl Limits {
    /// Far above any source archive or package of a distribution, low enough for a shared machine.
    ///
    /// The largest package seen (`sys-kernel/gentoo-kernel` with debug information) has 1.4 GiB and 90,000
    /// entries. The window is what RFC 8878 (3.1.1.1.2) recommends decoders to support, and what `zstd` needs
    /// up to level 19.
    pub const STANDARD: Self = Self {
        entries: 1_000_000,
        name_bytes: 128 << 20,
        bytes: 128 << 30,
        depth: 256,
        window_log: 23,
        frames: Frames::One,
    };
}

/// Decompressed data up to this size is never called a bomb.
pub const RATIO_FREE_BYTES: u64 = 16 << 20;
/// Beyond [`RATIO_FREE_BYTES`] this many bytes may come of one.
pub const RATIO: u64 = 1000;
/// Bytes in skippable frames of one stream: twice the largest seek table of a
/// [`FrameWriter`](super::FrameWriter).
pub const SKIPPED_BYTES: u64 = 16 << 20;
/// Zeros after the end blocks: one record of the largest usual blocking factor (GNU tar `-b 128`).
pub const END_PADDING: u64 = 64 << 10;
/// A path, as Linux limits it (`PATH_MAX`, with its final NUL).
pub const PATH_BYTES: usize = 4096;
/// One component of a path, as Linux limits it (`NAME_MAX`).
pub const COMPONENT_BYTES: usize = 255;
/// An extended header holds at most two paths and some numbers.
pub const EXTENDED_BYTES: u64 = 16 << 10;

const _: () = assert!(EXTENDED_BYTES >= 3 * PATH_BYTES as u64);
const _: () = assert!(Limits::STANDARD.depth <= PATH_BYTES / 2, "a path cannot be deeper");
const _: () = assert!(1 << Limits::STANDARD.window_log <= RATIO_FREE_BYTES);
const _: () = assert!(SKIPPED_BYTES >= 2 * 8 * super::FRAMES_MAX as u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_states_the_limits_in_use() {
        let document = include_str!("../../../docs/archives.md");
        let Limits { entries, name_bytes, bytes, depth, window_log, .. } = Limits::STANDARD;
        for row in [
            format!("| entries | {},000,000 |", entries / 1_000_000),
            format!("| bytes of names | {} MiB |", name_bytes >> 20),
            format!("| unpacked bytes | {} GiB |", bytes >> 30),
            format!("| ratio | {},000 : 1 beyond {} MiB |", RATIO / 1000, RATIO_FREE_BYTES >> 20),
            format!("| window of a zstd frame | {} MiB |", (1 << window_log) >> 20),
            format!("| skippable frames | {} MiB together |", SKIPPED_BYTES >> 20),
            format!("| path | {},{:03} bytes |", (PATH_BYTES - 1) / 1000, (PATH_BYTES - 1) % 1000),
            format!("| component | {COMPONENT_BYTES} bytes |"),
            format!("| depth | {depth} |"),
            format!("| extended header | {} KiB,", EXTENDED_BYTES >> 10),
            format!("| zeros after the end | {} KiB |", END_PADDING >> 10),
        ] {
            assert!(document.contains(&row), "{row}");
        }
    }
}
