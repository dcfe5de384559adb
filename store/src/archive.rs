//! Archives: tar streams and zstd frames, read under limits and written alike every time.

pub use crate::frames::{FRAME_BYTES, FRAMES_MAX, FrameError, FrameReader, FrameWriter, SeekTable};
