//! Reading frames back, from any position on.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use zstd::bulk::Decompressor;
use zstd::zstd_safe;

use super::FRAME_BYTES;
use super::table::{FrameError, SeekTable};

/// Reads the stream that a [`FrameWriter`](super::FrameWriter) wrote, from any position on: [`Seek`] costs nothing,
/// and a [`Read`] unpacks the frame it falls into, unless that is the one unpacked last.
///
/// Errors of [`Read`] hold a [`FrameError`]. A frame is handed out only after the whole of it was unpacked and its
/// checksum, if it has one, found right. That finds rot, but proves nothing against an author: whoever must know compares digests.
///
/// Memory: two frames, packed and unpacked, and the table. Several readers, each with a file of its own, unpack
/// different parts at the same time; see [`with_table`](Self::with_table).
pub struct FrameReader<R> {
    file: R,
    table: Arc<SeekTable>,
    decompressor: Decompressor<'static>,
    /// The number of the frame in `unpacked`.
    current: Option<usize>,
    packed: Vec<u8>,
    unpacked: Vec<u8>,
    position: u64,
}

impl<R: Read + Seek> FrameReader<R> {
    /// Reads the seek table of `file`.
    ///
    /// # Errors
    /// As [`SeekTable::read`].
    pub fn new(mut file: R) -> Result<Self, FrameError> {
        let table = SeekTable::read(&mut file)?;
        Ok(Self::with_table(file, Arc::new(table))?)
    }

    /// Goes without reading the table, which was read from the same file before.
    ///
    /// # Errors
    /// If there is no memory for a decompressor.
    pub fn with_table(file: R, table: Arc<SeekTable>) -> io::Result<Self> {
        let decompressor = Decompressor::new()?;
        let (packed, unpacked) = (Vec::new(), Vec::new());
        Ok(Self { file, table, decompressor, current: None, packed, unpacked, position: 0 })
    }

    /// Unpacked bytes of the whole.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.table.size()
    }

    /// The seek table, for further readers of the same file.
    #[must_use]
    pub const fn table(&self) -> &Arc<SeekTable> {
        &self.table
    }

    /// The unpacked bytes of frame number `frame`, counted from 0.
    ///
    /// # Errors
    /// [`FrameError::Frame`] if it does not unpack to exactly what the table says, or there is no such frame.
    pub fn frame(&mut self, frame: usize) -> Result<&[u8], FrameError> {
        if self.current != Some(frame) {
            self.current = None;
            self.unpack(frame)?;
            self.current = Some(frame);
        }
        Ok(&self.unpacked)
    }

    fn unpack(&mut self, frame: usize) -> Result<(), FrameError> {
        let damaged = |reason| FrameError::Frame { frame, reason };
        let range = self.table.packed_range(frame).ok_or_else(|| damaged("the table does not list it"))?;
        // At most the bound that the table was held to.
        self.packed.resize(usize::try_from(range.end - range.start).unwrap_or(0), 0);
        self.file.seek(SeekFrom::Start(range.start))?;
        self.file.read_exact(&mut self.packed)?;
        self.unpacked.resize(self.table.unpacked_len(frame), 0);
        unpack(&mut self.decompressor, &self.packed, &mut self.unpacked).map_err(damaged)
    }
}

/// Unpacks one frame, which must be exactly one and yield exactly as many bytes as there are in `unpacked`; or says
/// what is wrong with it.
pub(crate) fn unpack(
    decompressor: &mut Decompressor<'_>,
    packed: &[u8],
    unpacked: &mut [u8],
) -> Result<(), &'static str> {
    if zstd_safe::find_frame_compressed_size(packed) != Ok(packed.len()) {
        return Err("it is not one whole zstd frame");
    }
    let length = unpacked.len();
    if zstd_safe::get_frame_content_size(packed).ok().flatten() != Some(length as u64) {
        return Err("it does not have the length that the table says");
    }
    match decompressor.decompress_to_buffer(packed, unpacked) {
        Ok(got) if got == length => Ok(()),
        Ok(_) => Err("it does not have the length that it says"),
        Err(_) => Err("it does not unpack"),
    }
}

impl<R: Read + Seek> Read for FrameReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.table.size() || buffer.is_empty() {
            return Ok(0);
        }
        let frame = usize::try_from(self.position / FRAME_BYTES as u64).map_err(io::Error::other)?;
        let at = usize::try_from(self.position % FRAME_BYTES as u64).map_err(io::Error::other)?;
        let unpacked = self.frame(frame).map_err(|error| match error {
            FrameError::Io(error) => error,
            error => io::Error::new(io::ErrorKind::InvalidData, error),
        })?;
        let count = buffer.len().min(unpacked.len() - at);
        buffer[..count].copy_from_slice(&unpacked[at..at + count]);
        self.position += count as u64;
        Ok(count)
    }
}

impl<R: Read + Seek> Seek for FrameReader<R> {
    /// A position beyond the end is fine; reading there finds nothing.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
            SeekFrom::End(offset) => self.table.size().checked_add_signed(offset),
        };
        let before = || io::Error::new(io::ErrorKind::InvalidInput, "a position before the beginning");
        self.position = position.ok_or_else(before)?;
        Ok(self.position)
    }
}
