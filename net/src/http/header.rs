//! The header block of Portage's `Packages` index. Pure, and the only part of the index the door reads.
//!
//! `Key: value` lines up to the first empty line (Portage: `getbinpkg.py`, `PackageIndex.readHeader`).

use super::conditional::LAST_SECOND;

/// Longest header read, in bytes. The `USE_EXPAND_VALUES_*` lines of a full Gentoo profile make about 20 KiB;
/// fifty times that is a broken file.
pub const HEADER_MAX: usize = 1 << 20;

/// What the door needs to know of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexHeader {
    /// Seconds since 1970 at which the index was made; at most [`LAST_SECOND`].
    pub timestamp_secs: u64,
    /// How many packages it says it lists.
    pub packages: Option<u64>,
}

/// Why a text is not the header of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Portage refuses such an index.
    #[error("no TIMESTAMP in the header")]
    NoTimestamp,
    /// Not a number of seconds HTTP can write down.
    #[error("TIMESTAMP is not a number of seconds up to the year 9999")]
    BadTimestamp,
    /// No empty line within [`HEADER_MAX`].
    #[error("the header does not end within {HEADER_MAX} bytes")]
    TooLong,
}

impl IndexHeader {
    /// Reads the header from the first bytes of an index: all of it, or at least [`HEADER_MAX`].
    ///
    /// # Errors
    /// See [`HeaderError`].
    ///
    /// ```
    /// use buildswarm_net::http::header::IndexHeader;
    /// let header = IndexHeader::parse(b"PACKAGES: 2\nTIMESTAMP: 1700000000\nVERSION: 0\n\nCPV: a/b-1\n").unwrap();
    /// assert_eq!((header.timestamp_secs, header.packages), (1_700_000_000, Some(2)));
    /// ```
    pub fn parse(start: &[u8]) -> Result<Self, HeaderError> {
        let (mut timestamp, mut packages, mut ended) = (None, None, start.len() < HEADER_MAX);
        for line in start.split(|&b| b == b'\n') {
            if line.is_empty() {
                ended = true;
                break;
            }
            if let Some(value) = line.strip_prefix(b"TIMESTAMP:") {
                let secs = number(value).filter(|&secs| secs <= LAST_SECOND);
                timestamp = Some(secs.ok_or(HeaderError::BadTimestamp)?);
            } else if let Some(value) = line.strip_prefix(b"PACKAGES:") {
                packages = number(value);
            }
        }
        if !ended {
            return Err(HeaderError::TooLong);
        }
        Ok(Self { timestamp_secs: timestamp.ok_or(HeaderError::NoTimestamp)?, packages })
    }

    /// Whether `start` already holds a whole header.
    #[must_use]
    pub fn is_whole(start: &[u8]) -> bool {
        start.starts_with(b"\n") || start.windows(2).any(|pair| pair == b"\n\n")
    }
}

fn number(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?.trim();
    // `parse` alone would take a sign.
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_are_none() {
        use HeaderError::{BadTimestamp, NoTimestamp, TooLong};
        let endless = vec![b'x'; HEADER_MAX];
        let table: [(&[u8], HeaderError); 9] = [
            (b"", NoTimestamp),
            (b"\nTIMESTAMP: 1\n", NoTimestamp),
            (b"PACKAGES: 1\n\nTIMESTAMP: 1\n", NoTimestamp),
            (b"TIMESTAMP:\n", BadTimestamp),
            (b"TIMESTAMP: -1\n", BadTimestamp),
            (b"TIMESTAMP: +1\n", BadTimestamp),
            (b"TIMESTAMP: 99999999999999999999\n", BadTimestamp),
            (b"TIMESTAMP: 253402300800\n", BadTimestamp),
            (&endless, TooLong),
        ];
        for (text, expected) in table {
            assert_eq!(IndexHeader::parse(text), Err(expected));
        }
    }

    #[test]
    fn a_header_ends_with_the_file_or_an_empty_line() {
        for text in [&b"TIMESTAMP: 7"[..], b"TIMESTAMP:7\n", b"ARCH: \xff\nTIMESTAMP: 7\n\nTIMESTAMP: 8\n"] {
            assert_eq!(IndexHeader::parse(text).map(|h| h.timestamp_secs), Ok(7));
        }
        assert!(IndexHeader::is_whole(b"A: 1\n\nB") && !IndexHeader::is_whole(b"A: 1\nB"));
    }
}
