//! One stream as frames, compressed in parallel.

use std::io::{self, Write};

use super::pipeline::{Coding, Frame, Pipeline};
use super::table::SeekTable;
use super::{FRAME_BYTES, FRAMES_MAX};

/// Writes a stream as frames to `W`, compressed on several threads.
///
/// What it writes depends on the stream and the level alone, never on the number of threads, on how the stream was
/// cut into calls of [`write`](Write::write), or on [`flush`](Write::flush), which only flushes what is complete.
/// After an error nothing of what was written is of any use; neither is a file that [`finish`](Self::finish) did not
/// end.
pub struct FrameWriter<W: Write> {
    out: W,
    pipeline: Pipeline,
    /// The frame being filled.
    frame: Option<Frame>,
    position: u64,
    table: SeekTable,
}

impl<W: Write> FrameWriter<W> {
    /// Writes to `out`, compressing at zstd's `level` on up to `threads` threads (1 to 16) beside the caller's.
    ///
    /// Memory: `threads + 4` times about 2 MiB, and what zstd needs for each thread at that level. Threads are
    /// started as they are needed.
    pub fn new(out: W, level: i32, threads: usize) -> Self {
        Self {
            out,
            pipeline: Pipeline::new(Coding { level, checksum: true }, threads),
            frame: None,
            position: 0,
            table: SeekTable::new(),
        }
    }

    /// Unpacked bytes taken so far: the position at which the next byte will be found.
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// Compresses what is left and writes the seek table. Gives `out` back, which it does not sync.
    ///
    /// # Errors
    /// Those of `out`, and of starting threads.
    pub fn finish(mut self) -> io::Result<W> {
        if let Some(last) = self.frame.take() {
            self.send(last)?;
        }
        while self.pipeline.is_busy() {
            self.write_next(true)?;
        }
        self.out.write_all(&self.table.encode())?;
        self.out.flush()?;
        Ok(self.out)
    }

    /// Has a frame compressed, and writes what is compressed by now.
    fn send(&mut self, frame: Frame) -> io::Result<()> {
        self.pipeline.send(frame)?;
        while self.write_next(false)? {}
        Ok(())
    }

    /// Writes the next frame; `false` if it is not compressed yet.
    fn write_next(&mut self, wait: bool) -> io::Result<bool> {
        let Some(frame) = self.pipeline.receive(wait)? else { return Ok(false) };
        if self.table.frames() == FRAMES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "more than 1 TiB for one file of frames",
            ));
        }
        self.out.write_all(&frame.packed)?;
        self.table.push(frame.packed.len(), frame.stream.len());
        self.pipeline.recycle(frame);
        Ok(true)
    }

    /// An empty frame, which may have to be waited for.
    fn empty(&mut self) -> io::Result<Frame> {
        loop {
            match self.pipeline.empty() {
                Some(frame) => return Ok(frame),
                None => self.write_next(true)?,
            };
        }
    }
}

impl<W: Write> Write for FrameWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let mut frame = match self.frame.take() {
            Some(frame) => frame,
            None => self.empty()?,
        };
        // A full frame goes when more comes, so that none is ever empty and the last may be full.
        if frame.stream.len() == FRAME_BYTES {
            self.send(frame)?;
            frame = self.empty()?;
        }
        let taken = bytes.len().min(FRAME_BYTES - frame.stream.len());
        frame.stream.extend_from_slice(&bytes[..taken]);
        self.frame = Some(frame);
        self.position += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
