//! One 512-byte tar header (POSIX.1-1988 ustar, with GNU's base-256 numbers), read strictly and written.

use super::error::{TarError, shown};

/// Everything in a tar stream is a multiple of this, in bytes.
pub const BLOCK: usize = 512;

/// A header, taken apart. Names are as they stand; nothing has been judged yet.
#[derive(Debug)]
pub struct Header {
    pub path: Vec<u8>,
    pub link: Vec<u8>,
    pub typeflag: u8,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub user: Vec<u8>,
    pub group: Vec<u8>,
    pub size: u64,
    pub mtime: u64,
}

/// Ids are signed 32-bit numbers in too many programs to take larger ones.
const LARGEST_ID: u64 = i32::MAX as u64;
/// The last second of the year 9999.
const LARGEST_TIME: u64 = 253_402_300_799;
/// `mode` holds permission bits only.
const MODE_BITS: u64 = 0o7777;
/// What eleven octal digits hold.
const OCTAL_SIZE: u64 = 0o777_7777_7777;

const USTAR: &[u8; 8] = b"ustar\x0000";
const GNU: &[u8; 8] = b"ustar  \x00";

fn checksum(block: &[u8; BLOCK]) -> u64 {
    let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
    let field: u64 = block[148..156].iter().map(|b| u64::from(*b)).sum();
    sum - field + 8 * u64::from(b' ')
}

/// Octal digits, then NUL or blanks; or GNU's base-256 form, whose first bit is set.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        // 0xff would be a negative number; 0x80 and zeros up to the last eight bytes a positive one.
        let (head, tail) = field.split_at(field.len().saturating_sub(8));
        let clean = head.first().is_none_or(|b| *b == 0x80) && head.iter().skip(1).all(|b| *b == 0);
        let tail: [u8; 8] = tail.try_into().ok()?;
        let tail =
            if head.is_empty() { u64::from_be_bytes(tail) & !(1 << 63) } else { u64::from_be_bytes(tail) };
        return clean.then_some(tail);
    }
    let text = field.trim_ascii_start();
    let end = text.iter().position(|b| matches!(b, 0 | b' ')).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if !rest.iter().all(|b| matches!(b, 0 | b' ')) || digits.is_empty() {
        return (digits.is_empty() && field.iter().all(|b| *b == 0)).then_some(0);
    }
    digits.iter().try_fold(0u64, |value, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 8)?;
        value.checked_mul(8)?.checked_add(u64::from(digit))
    })
}

/// The bytes up to the first NUL; nothing but NULs may follow it.
fn text(field: &[u8]) -> Result<&[u8], TarError> {
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    if field[end..].iter().any(|b| *b != 0) {
        return Err(TarError::Name { name: shown(&field[..end]), reason: "it contains a NUL" });
    }
    Ok(&field[..end])
}

impl Header {
    /// Takes `block`, found at byte `at`, apart.
    pub fn parse(block: &[u8; BLOCK], at: u64) -> Result<Self, TarError> {
        let bounded = |range: std::ops::Range<usize>, field, most: u64| {
            number(&block[range]).filter(|n| *n <= most).ok_or(TarError::Number { at, field })
        };
        if bounded(148..156, "checksum", u64::MAX).ok() != Some(checksum(block)) {
            return Err(TarError::Checksum { at });
        }
        let magic = &block[257..265];
        if magic != USTAR && magic != GNU {
            return Err(TarError::Magic { at });
        }
        let mut path = Vec::new();
        if magic == USTAR {
            let prefix = text(&block[345..500])?;
            if !prefix.is_empty() {
                path.extend_from_slice(prefix);
                path.push(b'/');
            }
        }
        path.extend_from_slice(text(&block[0..100])?);
        let small = |range, field, most| {
            bounded(range, field, most)
                .and_then(|n| u32::try_from(n).map_err(|_| TarError::Number { at, field }))
        };
        Ok(Self {
            path,
            link: text(&block[157..257])?.to_vec(),
            typeflag: block[156],
            mode: small(100..108, "mode", 0o177_777)? & MODE_BITS as u32,
            uid: small(108..116, "uid", LARGEST_ID)?,
            gid: small(116..124, "gid", LARGEST_ID)?,
            user: text(&block[265..297])?.to_vec(),
            group: text(&block[297..329])?.to_vec(),
            size: bounded(124..136, "size", i64::MAX as u64)?,
            mtime: bounded(136..148, "mtime", LARGEST_TIME)?,
        })
    }
}

/// A header of a regular file owned by root with mode 0644 and time 0: everything we write is such a file.
///
/// # Errors
/// [`TarError::Name`] if `directory` or `name` is longer than ustar's prefix (155) and name (100) fields.
pub fn regular(directory: &str, name: &str, size: u64) -> Result<[u8; BLOCK], TarError> {
    if directory.len() > 155 || name.len() > 100 || name.is_empty() {
        return Err(TarError::Name {
            name: shown(name.as_bytes()),
            reason: "it does not fit a ustar header",
        });
    }
    let joined = format!("{directory}/{name}");
    let mut block = [0; BLOCK];
    if joined.len() <= 100 {
        block[..joined.len()].copy_from_slice(joined.as_bytes());
    } else {
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[345..345 + directory.len()].copy_from_slice(directory.as_bytes());
    }
    block[100..108].copy_from_slice(b"0000644\0");
    block[108..116].copy_from_slice(b"0000000\0");
    block[116..124].copy_from_slice(b"0000000\0");
    if size <= OCTAL_SIZE {
        block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    } else {
        block[124] = 0x80;
        block[128..136].copy_from_slice(&size.to_be_bytes());
    }
    block[136..148].copy_from_slice(b"00000000000\0");
    block[156] = b'0';
    block[257..265].copy_from_slice(USTAR);
    let sum = checksum(&block);
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for (directory, size) in [("a-1", 0), (&*"x".repeat(150), 5), ("a-1", OCTAL_SIZE + 1)] {
            let block = regular(directory, "metadata.tar.zst", size).unwrap();
            let header = Header::parse(&block, 0).unwrap();
            assert_eq!(header.path, format!("{directory}/metadata.tar.zst").into_bytes());
            assert_eq!((header.size, header.mode, header.typeflag), (size, 0o644, b'0'));
        }
        assert!(regular(&"x".repeat(156), "a", 0).is_err());
    }

    #[test]
    fn numbers_are_octal_or_base_256() {
        assert_eq!(number(b"0000017\0"), Some(15));
        assert_eq!(number(b"    17 \0"), Some(15));
        assert_eq!(number(&[0; 8]), Some(0));
        assert_eq!(number(b"\x80\0\0\0\0\0\0\0\0\0\x01\0"), Some(256));
        for junk in
            [&b"00000x7\0"[..], b"0000018\0", b"1 2\0\0\0\0\0", b"-000001\0", &[0xff; 12], &[0x81; 12]]
        {
            assert_eq!(number(junk), None, "{junk:?}");
        }
    }
}
