//! Archives: tar streams and zstd frames, read under limits and written alike every time.

pub use crate::frames::{FRAME_BYTES, FRAMES_MAX, FrameError, FrameReader, FrameWriter, SeekTable};

mod compress;
mod error;
mod header;
mod limits;
mod tar;

pub use compress::{Compression, Decompressor, unwrap, wrap};
pub use error::{CompressionError, TarError, shown};
pub use header::{BLOCK, Header, regular};
pub use limits::{
    COMPONENT_BYTES, END_PADDING, EXTENDED_BYTES, PATH_BYTES, RATIO, RATIO_FREE_BYTES, WINDOW_LOG,
};
pub use tar::{Kind, RawEntry, TarReader};
