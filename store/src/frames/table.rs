//! The seek table: where each frame lies. Written and read strictly.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use super::{FRAME_BYTES, FRAMES_MAX};

/// First four bytes of the skippable frame that holds the table.
const TABLE_MAGIC: u32 = 0x184D_2A5E;
/// Last four bytes of the file.
const SEEKABLE_MAGIC: u32 = 0x8F92_EAB1;
/// Before the entries: magic and length of what follows.
const HEAD_BYTES: usize = 8;
/// After the entries: number of frames, a byte of flags, magic.
const FOOT_BYTES: usize = 9;
/// Two numbers a frame: compressed and unpacked bytes. We write no checksums into the table, since frames have
/// their own.
const ENTRY_BYTES: usize = 8;

const _: () = assert!(FRAMES_MAX * ENTRY_BYTES + FOOT_BYTES <= u32::MAX as usize);
const _: () = assert!(FRAME_BYTES < u32::MAX as usize / 2, "a frame's sizes have 32 bits");

/// Why a file is not read as frames with a seek table.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Reading the file failed.
    #[error("reading the frames failed")]
    Io(#[from] io::Error),
    /// There is no seek table, or not one that accounts for the whole file.
    #[error("the seek table is refused: {reason}")]
    Table {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A frame does not unpack to what the table says.
    #[error("frame {frame} is damaged: {reason}")]
    Frame {
        /// Its number, counted from 0.
        frame: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
}

fn refused<T>(reason: &'static str) -> Result<T, FrameError> {
    Err(FrameError::Table { reason })
}

/// Where each frame of a file lies. A value: it may be kept and shared while the file stays what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeekTable {
    /// Where each frame ends in the file; it begins where the one before ends, the first at 0.
    ends: Vec<u64>,
    /// Unpacked bytes of all frames together.
    size: u64,
}

impl SeekTable {
    pub(crate) const fn new() -> Self {
        Self { ends: Vec::new(), size: 0 }
    }

    /// Takes note of one more frame. Only the last may be shorter than [`FRAME_BYTES`].
    pub(crate) fn push(&mut self, packed: usize, unpacked: usize) {
        self.ends.push(self.packed() + packed as u64);
        self.size += unpacked as u64;
    }

    /// Bytes of all frames in the file, which is where the table begins.
    pub(crate) fn packed(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Unpacked bytes of all frames together.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Number of frames.
    #[must_use]
    pub const fn frames(&self) -> usize {
        self.ends.len()
    }

    /// Where frame number `frame` (from 0) lies in the file; `None` if there is none of that number.
    #[must_use]
    pub fn packed_range(&self, frame: usize) -> Option<Range<u64>> {
        let end = *self.ends.get(frame)?;
        let start = frame.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        Some(start..end)
    }

    /// Unpacked bytes of frame number `frame`, which must be there.
    pub(crate) fn unpacked_len(&self, frame: usize) -> usize {
        let before = (frame * FRAME_BYTES) as u64;
        usize::try_from(self.size - before).map_or(FRAME_BYTES, |left| left.min(FRAME_BYTES))
    }

    /// The skippable frame that ends the file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let frames = self.frames();
        let length = frames * ENTRY_BYTES + FOOT_BYTES;
        let mut out = Vec::with_capacity(HEAD_BYTES + length);
        // All of these fit: the assertions above, and FRAMES_MAX frames at most, see to that.
        let mut put = |number: u64| out.extend_from_slice(&(number as u32).to_le_bytes());
        put(TABLE_MAGIC.into());
        put(length as u64);
        for frame in 0..frames {
            put(self.packed_range(frame).map_or(0, |range| range.end - range.start));
            put(self.unpacked_len(frame) as u64);
        }
        put(frames as u64);
        out.push(0);
        out.extend_from_slice(&SEEKABLE_MAGIC.to_le_bytes());
        out
    }

    /// Reads the table at the end of `file`, which may be anything. Memory is bounded by the length of the file.
    ///
    /// # Errors
    /// [`FrameError::Table`] unless the table accounts for every byte of the file, and every frame but the last
    /// has [`FRAME_BYTES`] unpacked.
    ///
    /// ```
    /// use std::io::Cursor;
    /// use buildswarm_store::archive::SeekTable;
    /// let error = SeekTable::read(&mut Cursor::new(b"not such a file")).unwrap_err();
    /// assert_eq!(error.to_string(), "the seek table is refused: the file is too short for one");
    /// ```
    pub fn read(file: &mut (impl Read + Seek)) -> Result<Self, FrameError> {
        let length = file.seek(SeekFrom::End(0))?;
        let Some(foot_at) = length.checked_sub(FOOT_BYTES as u64).filter(|at| *at >= HEAD_BYTES as u64)
        else {
            return refused("the file is too short for one");
        };
        let mut foot = [0; FOOT_BYTES];
        file.seek(SeekFrom::Start(foot_at))?;
        file.read_exact(&mut foot)?;
        if word(&foot[5..]) != SEEKABLE_MAGIC {
            return refused("the file does not end in one");
        }
        if foot[4] != 0 {
            return refused("it has flags that are not known here");
        }
        let frames = word(&foot) as usize;
        let entries = (frames * ENTRY_BYTES) as u64;
        let Some(starts) = foot_at.checked_sub(entries + HEAD_BYTES as u64) else {
            return refused("it has more entries than there is room for in the file");
        };
        if frames > FRAMES_MAX {
            return refused("it has more entries than are read here");
        }
        file.seek(SeekFrom::Start(starts))?;
        let mut head = [0; HEAD_BYTES];
        file.read_exact(&mut head)?;
        if word(&head) != TABLE_MAGIC || u64::from(word(&head[4..])) != entries + FOOT_BYTES as u64 {
            return refused("it is not where its number of entries puts it");
        }
        let mut rows = vec![0; frames * ENTRY_BYTES];
        file.read_exact(&mut rows)?;
        Self::check(&rows, starts)
    }

    /// The entries of a table that begins at byte `starts` of the file.
    fn check(rows: &[u8], starts: u64) -> Result<Self, FrameError> {
        let mut table = Self { ends: Vec::with_capacity(rows.len() / ENTRY_BYTES), size: 0 };
        let bound = zstd::zstd_safe::compress_bound(FRAME_BYTES);
        let mut rows = rows.chunks_exact(ENTRY_BYTES).peekable();
        while let Some(row) = rows.next() {
            let (packed, unpacked) = (word(row) as usize, word(&row[4..]) as usize);
            if packed == 0 || packed > bound {
                return refused("a frame has a length that no frame has");
            }
            let whole = unpacked == FRAME_BYTES;
            if !whole && (rows.peek().is_some() || unpacked == 0 || unpacked > FRAME_BYTES) {
                return refused("a frame does not unpack to 1 MiB");
            }
            table.push(packed, unpacked);
        }
        if table.packed() == starts {
            Ok(table)
        } else {
            refused("it does not account for every byte of the file")
        }
    }
}

/// The little-endian number in the first four bytes.
fn word(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |chunk| u32::from_le_bytes(*chunk))
}
