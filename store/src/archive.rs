//! Archives: tar streams and zstd frames, read under limits and written alike every time.
//!
//! # Reading what a stranger made
//!
//! [`ArchiveReader`] reads plain tar, tar.gz and tar.zst entry by entry. It extracts nothing; it hands each entry
//! to the caller, judged: names as [`ArchivePath`], links by where they lead, duplicates and whatever would be
//! written through a link refused, all under [`Limits`]. What was read counts when
//! [`finish`](ArchiveReader::finish) has given [`Whole`], and not before: decoders hand over all of a damaged
//! stream before they say so.
//!
//! [`TarReader`] and [`Decompressor`] are its parts, for formats with rules of their own.
//!
//! # Writing
//!
//! [`pack_tree`] writes a directory as one archive, the same bytes for the same tree.
//! [`FrameWriter`] compresses a stream as independent frames on all cores; [`FrameReader`] reads it from any
//! position on.
//!
//! The rules, the limits and their reasons are a table in `docs/archives.md`.

mod compress;
mod error;
mod header;
mod limits;
mod names;
mod pack;
mod path;
mod reader;
mod tar;
#[cfg(test)]
mod tests;
mod writer;

pub use crate::frames::{FRAME_BYTES, FRAMES_MAX, FrameError, FrameReader, FrameWriter, SeekTable};
pub use compress::{Compression, Decompressor};
pub use error::{ArchiveError, CompressionError, Refusal, TarError, shown};
pub use header::{BLOCK, regular};
pub(crate) use header::{Fields, encode};
pub use limits::{
    COMPONENT_BYTES, END_PADDING, EXTENDED_BYTES, Frames, Limits, PATH_BYTES, RATIO, RATIO_FREE_BYTES,
    SKIPPED_BYTES,
};
pub use pack::{PackError, PackOptions, PackReport, pack_tree};
pub use path::{ArchivePath, Target};
pub use reader::{ArchiveReader, Entry, Links, Node, ReadOptions, Whole};
pub use tar::{Attributes, Kind, TarEntry, TarReader};
