//! A stream as independent zstd frames of equal unpacked size, and a table by which any part of it is found.
//!
//! ```text
//! frame 0 (1 MiB unpacked) │ frame 1 (1 MiB) │ … │ last frame (1 byte to 1 MiB) │ seek table
//! ```
//!
//! The table is a skippable frame in zstd's seekable format (zstd, `contrib/seekable_format`), so `zstd -d` and
//! every other decoder yield the stream and pass it over. Frames know nothing of each other: they are compressed
//! on all cores, unpacked on all cores, and a byte range costs the frames it touches. Which frame holds a
//! position is arithmetic ([`FRAME_BYTES`]).
//!
//! * [`FrameWriter`] takes a stream. What it writes depends on the bytes and the level alone.
//! * [`FrameReader`] gives it back, from any position on. It believes nothing in the file: a table that does not
//!   account for every byte of it, or a frame that is not what the table says, is an error.
//!
//! ```
//! use std::io::{Cursor, Read, Seek, SeekFrom, Write};
//! use buildswarm_store::archive::{FrameReader, FrameWriter};
//!
//! let mut writer = FrameWriter::new(Vec::new(), 3, 2);
//! writer.write_all(&vec![7; 3 << 20])?;
//! writer.write_all(b"the end")?;
//! let file = writer.finish()?;
//!
//! let mut reader = FrameReader::new(Cursor::new(file))?;
//! assert_eq!(reader.size(), (3 << 20) + 7);
//! reader.seek(SeekFrom::End(-3))?;
//! let mut text = String::new();
//! reader.read_to_string(&mut text)?;
//! assert_eq!(text, "end");
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

pub(crate) mod pipeline;
mod reader;
mod table;
#[cfg(test)]
mod tests;
mod writer;

pub use reader::FrameReader;
pub(crate) use reader::unpack;
pub use table::{FrameError, SeekTable};
pub use writer::FrameWriter;

/// Unpacked bytes of each frame but the last, which has what is left: much larger than zstd's reach at level 3 gains
/// from, and still little to unpack for a short read (a millisecond).
pub const FRAME_BYTES: usize = 1 << 20;

/// The most frames of one file: 1 TiB of data, and 8 MiB of memory for its table.
pub const FRAMES_MAX: usize = 1 << 20;
