//! Decompression of one member under our rules: one frame, no dictionary, a bounded window, a bounded size.

use std::io::{self, BufRead, BufReader, Read};

use super::error::{CompressionError, TarError};
use super::limits::{RATIO, RATIO_FREE_BYTES, WINDOW_LOG};

/// How a member is compressed, by the suffix of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// `.tar`
    None,
    /// `.tar.gz`
    Gzip,
    /// `.tar.zst`
    Zstd,
}

impl Compression {
    /// The compression that the part of a member's name after `metadata` or `image` stands for.
    pub fn from_suffix(suffix: &str) -> Result<Self, CompressionError> {
        match suffix {
            ".tar" => Ok(Self::None),
            ".tar.gz" => Ok(Self::Gzip),
            ".tar.zst" => Ok(Self::Zstd),
            other => {
                let format = other.strip_prefix(".tar.").unwrap_or(other).chars().take(40).collect();
                Err(CompressionError::Unsupported { format })
            }
        }
    }
}

enum Inner<R: Read> {
    Plain(BufReader<R>),
    Gzip(Box<flate2::bufread::GzDecoder<BufReader<R>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, BufReader<R>>>),
}

/// A bounded decompressing reader. Its errors are [`CompressionError`]s inside an [`io::Error`]. Data that
/// has come out means nothing until the end has been reached without an error.
pub struct Decompressor<R: Read> {
    inner: Inner<R>,
    produced: u64,
    limit: u64,
    ended: bool,
}

/// Wraps `error` so that it survives the way through [`Read`].
pub fn wrap(error: CompressionError) -> io::Error {
    io::Error::other(error)
}

/// Takes a [`CompressionError`] back out of what [`wrap`] made, possibly nested in a [`TarError`].
pub fn unwrap(error: TarError) -> Result<CompressionError, TarError> {
    match error {
        TarError::Io(error) => error.downcast().map_err(TarError::Io),
        other => Err(other),
    }
}

impl<R: Read> Decompressor<R> {
    /// A reader of `compressed` bytes of `source`, giving at most `most` bytes.
    pub fn new(source: R, how: Compression, compressed: u64, most: u64) -> Result<Self, io::Error> {
        let mut source = BufReader::with_capacity(128 << 10, source);
        let head = source.fill_buf()?;
        let inner = match how {
            Compression::None => Inner::Plain(source),
            Compression::Gzip => {
                if !head.starts_with(&[0x1f, 0x8b]) {
                    return Err(wrap(CompressionError::Magic { format: "gzip" }));
                }
                Inner::Gzip(Box::new(flate2::bufread::GzDecoder::new(source)))
            }
            Compression::Zstd => {
                check_frame(head).map_err(wrap)?;
                let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?.single_frame();
                decoder.window_log_max(WINDOW_LOG)?;
                Inner::Zstd(Box::new(decoder))
            }
        };
        let limit = if how == Compression::None {
            most
        } else {
            most.min(compressed.saturating_mul(RATIO).max(RATIO_FREE_BYTES))
        };
        Ok(Self { inner, produced: 0, limit, ended: false })
    }

    /// Nothing may follow the only frame.
    fn check_end(&mut self) -> io::Result<()> {
        let rest = match &mut self.inner {
            Inner::Plain(source) => source.fill_buf()?,
            Inner::Gzip(decoder) => decoder.get_mut().fill_buf()?,
            Inner::Zstd(decoder) => decoder.get_mut().fill_buf()?,
        };
        if rest.is_empty() { Ok(()) } else { Err(wrap(CompressionError::Trailing)) }
    }
}

impl<R: Read> Read for Decompressor<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || self.ended {
            return Ok(0);
        }
        let read = match &mut self.inner {
            Inner::Plain(source) => source.read(buffer),
            Inner::Gzip(decoder) => decoder.read(buffer),
            Inner::Zstd(decoder) => decoder.read(buffer),
        };
        let read = read.map_err(classify)?;
        self.produced += read as u64;
        if self.produced > self.limit {
            return Err(wrap(CompressionError::Bomb { limit: self.limit }));
        }
        if read == 0 {
            self.ended = true;
            self.check_end()?;
        }
        Ok(read)
    }
}

/// Decoders report damage as plain errors; errors of the source below them carry their own types.
fn classify(error: io::Error) -> io::Error {
    if error.get_ref().is_some_and(|inner| inner.is::<TarError>() || inner.is::<CompressionError>())
        || error.raw_os_error().is_some()
    {
        return error;
    }
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return wrap(CompressionError::Truncated);
    }
    wrap(CompressionError::Damaged { reason: error.to_string() })
}

/// The head of a zstd frame (RFC 8878, 3.1.1): magic, no dictionary, a window we can afford.
fn check_frame(head: &[u8]) -> Result<(), CompressionError> {
    if !head.starts_with(&0xFD2F_B528_u32.to_le_bytes()) {
        return Err(CompressionError::Magic { format: "zstd" });
    }
    let descriptor = *head.get(4).ok_or(CompressionError::Truncated)?;
    if descriptor & 0b11 != 0 {
        return Err(CompressionError::Dictionary);
    }
    let window = if descriptor & 0b10_0000 == 0 {
        let byte = u64::from(*head.get(5).ok_or(CompressionError::Truncated)?);
        let base = 1u64 << (10 + (byte >> 3));
        base + base / 8 * (byte & 7)
    } else {
        // A single segment: the window is as large as the content.
        let width = [1, 2, 4, 8][usize::from(descriptor >> 6)];
        let field = head.get(5..5 + width).ok_or(CompressionError::Truncated)?;
        let size = field.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        if width == 2 { size + 256 } else { size }
    };
    if window > 1 << WINDOW_LOG { Err(CompressionError::Window { window }) } else { Ok(()) }
}
