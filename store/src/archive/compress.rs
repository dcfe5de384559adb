//! Decompression under our rules: no dictionary, a bounded window, a bounded size, and nothing after the end.

mod zstd;

use std::io::{self, BufRead, BufReader, Read};

use self::zstd::ZstdReader;
use super::error::{CompressionError, TarError};
use super::limits::{Limits, RATIO, RATIO_FREE_BYTES};

/// How a stream is compressed. What its name says counts; its content must agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, one member (RFC 1952).
    Gzip,
    /// zstd (RFC 8878), frames as [`Limits::frames`] says.
    Zstd,
}

enum Inner<R: Read> {
    Plain(BufReader<R>),
    Gzip(Box<flate2::bufread::GzDecoder<BufReader<R>>>),
    Zstd(Box<ZstdReader<R>>),
}

/// A bounded decompressing reader. Errors of its [`Read`] hold a [`CompressionError`].
///
/// Data that has come out means nothing until the end has been reached without an error: a decoder hands over all of
/// a damaged stream before it says so. [`finish`](Self::finish) is that end.
///
/// ```
/// use buildswarm_store::archive::{Compression, Decompressor, Limits};
/// # let packed = [0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x02, 0x11, 0, 0, b'h', b'i'];
/// let mut reader = Decompressor::new(&packed[..], Compression::Zstd, packed.len() as u64, &Limits::STANDARD)?;
/// let mut bytes = Vec::new();
/// std::io::copy(&mut reader, &mut bytes)?;
/// assert_eq!(reader.finish()?, 2);
/// assert_eq!(bytes, b"hi");
/// # Ok::<_, std::io::Error>(())
/// ```
pub struct Decompressor<R: Read> {
    inner: Inner<R>,
    produced: u64,
    limit: u64,
    ended: bool,
}

impl<R: Read> Decompressor<R> {
    /// A reader of `source`, which has `packed` bytes; if that is not known, what it may have at most. They bound
    /// what may come of them.
    ///
    /// # Errors
    /// Errors of `source`. A [`CompressionError`] inside if it does not begin as `how` demands.
    pub fn new(source: R, how: Compression, packed: u64, limits: &Limits) -> io::Result<Self> {
        let mut source = BufReader::with_capacity(128 << 10, source);
        let inner = match how {
            Compression::None => Inner::Plain(source),
            Compression::Gzip => {
                if !source.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
                    return Err(CompressionError::Magic { format: "gzip" }.into_io());
                }
                Inner::Gzip(Box::new(flate2::bufread::GzDecoder::new(source)))
            }
            Compression::Zstd => Inner::Zstd(Box::new(ZstdReader::new(source, limits)?)),
        };
        let most = packed.saturating_mul(RATIO).max(RATIO_FREE_BYTES);
        let limit = if how == Compression::None { limits.bytes } else { limits.bytes.min(most) };
        Ok(Self { inner, produced: 0, limit, ended: false })
    }

    /// Reads what is left, to the end; the number of bytes that came out in all.
    ///
    /// # Errors
    /// As those of [`Read`].
    pub fn finish(mut self) -> io::Result<u64> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(self.produced)
    }

    /// Nothing may follow the end.
    fn check_end(&mut self) -> io::Result<()> {
        let rest = match &mut self.inner {
            Inner::Plain(source) => source.fill_buf()?,
            Inner::Gzip(decoder) => decoder.get_mut().fill_buf()?,
            Inner::Zstd(_) => return Ok(()),
        };
        if rest.is_empty() { Ok(()) } else { Err(CompressionError::Trailing.into_io()) }
    }
}

impl<R: Read> Read for Decompressor<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || self.ended {
            return Ok(0);
        }
        let read = match &mut self.inner {
            Inner::Plain(source) => source.read(buffer)?,
            Inner::Gzip(decoder) => decoder.read(buffer).map_err(classify)?,
            Inner::Zstd(reader) => reader.read(buffer)?,
        };
        self.produced += read as u64;
        if self.produced > self.limit {
            return Err(CompressionError::Bomb { limit: self.limit }.into_io());
        }
        if read == 0 {
            self.check_end()?;
            self.ended = true;
        }
        Ok(read)
    }
}

/// The gzip decoder reports damage as plain errors; errors of the source below it carry their own types.
fn classify(error: io::Error) -> io::Error {
    if error.get_ref().is_some_and(|inner| inner.is::<TarError>() || inner.is::<CompressionError>())
        || error.raw_os_error().is_some()
    {
        return error;
    }
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return CompressionError::Truncated.into_io();
    }
    CompressionError::Damaged { reason: error.to_string() }.into_io()
}
