//! zstd frames one after the other, each judged by its header before the decoder sees it.

use std::io::{self, BufRead, BufReader, Read};

use ::zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use crate::archive::error::CompressionError;
use crate::archive::limits::{Frames, Limits, SKIPPED_BYTES};

/// What a frame begins with.
const MAGIC: u32 = 0xFD2F_B528;
/// What skippable frames begin with; the last four bits are free (RFC 8878, 3.1.2).
const SKIPPABLE: u32 = 0x184D_2A50;
/// A header with all its fields but the dictionary: magic, descriptor, window or not, size of the content.
const HEADER_BYTES_MAX: usize = 4 + 1 + 1 + 8;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a frame or the end.
    Between,
    Inside,
    Ended,
}

/// Reads the frames that [`Limits::frames`] allows, and nothing after them.
pub(super) struct ZstdReader<R: Read> {
    source: BufReader<R>,
    decoder: Decoder<'static>,
    limits: Limits,
    state: State,
    /// What of the current frame's header is not with the decoder yet.
    header: Vec<u8>,
    frames: u64,
    skipped: u64,
}

impl<R: Read> ZstdReader<R> {
    /// Begins with the first header, so that what is no zstd stream is known at once.
    pub(super) fn new(source: BufReader<R>, limits: &Limits) -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(limits.window_log))?;
        let header = Vec::with_capacity(HEADER_BYTES_MAX);
        let (limits, state) = (*limits, State::Between);
        let mut this = Self { source, decoder, limits, state, header, frames: 0, skipped: 0 };
        this.begin()?;
        Ok(this)
    }

    /// Reads the next header, passing over skippable frames, or finds the end.
    fn begin(&mut self) -> io::Result<()> {
        loop {
            let mut magic = [0; 4];
            let got = self.fill(&mut magic)?;
            if got == 0 && (self.frames > 0 || self.skipped > 0) {
                self.state = State::Ended;
                return Ok(());
            }
            let more = self.frames == 0 || self.limits.frames == Frames::Several;
            match u32::from_le_bytes(magic) {
                MAGIC if more => return self.begin_frame(),
                other if other & !0xf == SKIPPABLE && self.limits.frames == Frames::Several => self.skip()?,
                _ if self.frames == 0 => return Err(CompressionError::Magic { format: "zstd" }.into_io()),
                _ => return Err(CompressionError::Trailing.into_io()),
            }
        }
    }

    /// Judges the rest of a frame's header (RFC 8878, 3.1.1.1): no dictionary, a window we can afford.
    fn begin_frame(&mut self) -> io::Result<()> {
        let mut descriptor = [0];
        self.fill_all(&mut descriptor)?;
        let [descriptor] = descriptor;
        if descriptor & 0b11 != 0 {
            return Err(CompressionError::Dictionary.into_io());
        }
        let single_segment = descriptor & 0b10_0000 != 0;
        let size_bytes = match descriptor >> 6 {
            0 => usize::from(single_segment),
            log => 1 << log,
        };
        let mut fields = [0; 1 + 8];
        let fields = &mut fields[..size_bytes + usize::from(!single_segment)];
        self.fill_all(fields)?;
        let window = if single_segment { content_size(fields) } else { window_size(fields[0]) };
        let limit = 1 << self.limits.window_log;
        if window > limit {
            return Err(CompressionError::Window { window, limit }.into_io());
        }
        self.header.clear();
        self.header.extend_from_slice(&MAGIC.to_le_bytes());
        self.header.push(descriptor);
        self.header.extend_from_slice(fields);
        self.decoder.reinit()?;
        self.state = State::Inside;
        Ok(())
    }

    /// Passes over a skippable frame whose magic number was read.
    fn skip(&mut self) -> io::Result<()> {
        let mut length = [0; 4];
        self.fill_all(&mut length)?;
        let length = u64::from(u32::from_le_bytes(length));
        self.skipped += 8 + length;
        if self.skipped > SKIPPED_BYTES {
            return Err(CompressionError::Skipped { limit: SKIPPED_BYTES }.into_io());
        }
        if io::copy(&mut self.source.by_ref().take(length), &mut io::sink())? < length {
            return Err(CompressionError::Truncated.into_io());
        }
        Ok(())
    }

    /// Lets the decoder go on with the current frame.
    fn step(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let from_header = !self.header.is_empty();
        let input = if from_header { self.header.as_slice() } else { self.source.fill_buf()? };
        let exhausted = input.is_empty();
        let (mut from, mut to) = (InBuffer::around(input), OutBuffer::around(buffer));
        let damaged = |error: io::Error| CompressionError::Damaged { reason: error.to_string() }.into_io();
        let wanted = self.decoder.run(&mut from, &mut to).map_err(damaged)?;
        let (used, written) = (from.pos(), to.pos());
        if from_header {
            self.header.drain(..used);
        } else {
            self.source.consume(used);
        }
        if wanted == 0 {
            self.frames += 1;
            self.state = State::Between;
        } else if exhausted && written == 0 {
            return Err(CompressionError::Truncated.into_io());
        }
        Ok(written)
    }

    /// Reads until `buffer` is full or the source ends.
    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.source.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn fill_all(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        if self.fill(buffer)? < buffer.len() {
            return Err(CompressionError::Truncated.into_io());
        }
        Ok(())
    }
}

impl<R: Read> Read for ZstdReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.state {
                State::Ended => return Ok(0),
                State::Between => self.begin()?,
                State::Inside => match self.step(buffer)? {
                    0 => {}
                    written => return Ok(written),
                },
            }
        }
    }
}

/// A window of its own: eight steps between one power of two and the next.
fn window_size(field: u8) -> u64 {
    let base = 1u64 << (10 + (field >> 3));
    base + base / 8 * u64::from(field & 7)
}

/// The size of the content, which is the window of a frame of a single segment.
fn content_size(field: &[u8]) -> u64 {
    let size = field.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
    // Two bytes begin where one ends.
    if field.len() == 2 { size + 256 } else { size }
}
