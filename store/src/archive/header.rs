//! One 512-byte tar header (POSIX.1-1988 ustar, with GNU's base-256 numbers), read strictly and written.

use super::error::{Refusal, TarError};

/// Everything in a tar stream is a multiple of this, in bytes.
pub const BLOCK: usize = 512;

/// A header, taken apart. Names are as they stand; nothing has been judged yet.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) typeflag: u8,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) user: Vec<u8>,
    pub(super) group: Vec<u8>,
    pub(super) size: u64,
    pub(super) mtime: u64,
}

/// Ids are signed 32-bit numbers in too many programs to take larger ones.
pub(super) const LARGEST_ID: u64 = i32::MAX as u64;
/// The last second of the year 9999.
pub(super) const LARGEST_TIME: u64 = 253_402_300_799;
/// `mode` holds permission bits only.
const MODE_BITS: u64 = 0o7777;

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
        return Err(TarError::name(&field[..end], Refusal::Nul));
    }
    Ok(&field[..end])
}

impl Header {
    /// Takes `block`, found at byte `at`, apart.
    pub(super) fn parse(block: &[u8; BLOCK], at: u64) -> Result<Self, TarError> {
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

/// What a header is written from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a> {
    pub(crate) path: &'a [u8],
    pub(crate) link: &'a [u8],
    pub(crate) typeflag: u8,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    pub(crate) mtime: u64,
}

/// The parts of a path for the fields prefix (155 bytes) and name (100); `None` if it does not fit them.
pub(super) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= 100 {
        return Some((b"", path));
    }
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    let mut parts = slashes.map(|at| (&path[..at], &path[at + 1..]));
    parts.find(|(prefix, name)| prefix.len() <= 155 && !name.is_empty() && name.len() <= 100)
}

/// What a field of `width` bytes holds in octal, which leaves one for a NUL.
pub(super) const fn octal_max(width: usize) -> u64 {
    (1 << (3 * (width - 1))) - 1
}

/// A number in octal, or in GNU's base-256 form if there is no room for that.
fn put_number(field: &mut [u8], number: u64) {
    let digits = field.len() - 1;
    if number <= octal_max(field.len()) {
        field[..digits].copy_from_slice(format!("{number:0digits$o}").as_bytes());
    } else {
        let bytes = number.to_be_bytes();
        let at = field.len().saturating_sub(bytes.len());
        let fitting = bytes.len().min(field.len());
        field[at..].copy_from_slice(&bytes[bytes.len() - fitting..]);
        field[0] |= 0x80;
    }
}

/// A header without names of owners. What does not fit of the path or the link is cut off: an extended header has
/// it whole.
pub(crate) fn encode(fields: &Fields<'_>) -> [u8; BLOCK] {
    let cut = |bytes: &[u8]| bytes.len().min(100);
    let (prefix, name) = split(fields.path).unwrap_or((b"", &fields.path[..cut(fields.path)]));
    let mut block = [0; BLOCK];
    block[..name.len()].copy_from_slice(name);
    put_number(&mut block[100..108], u64::from(fields.mode) & MODE_BITS);
    put_number(&mut block[108..116], fields.uid.into());
    put_number(&mut block[116..124], fields.gid.into());
    put_number(&mut block[124..136], fields.size);
    put_number(&mut block[136..148], fields.mtime);
    block[156] = fields.typeflag;
    block[157..157 + cut(fields.link)].copy_from_slice(&fields.link[..cut(fields.link)]);
    block[257..265].copy_from_slice(USTAR);
    block[345..345 + prefix.len()].copy_from_slice(prefix);
    let sum = checksum(&block);
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// A header of a regular file owned by root with mode 0644 and time 0, for formats that are such files.
///
/// # Errors
/// [`TarError::Name`] if `directory` or `name` is longer than ustar's prefix (155) and name (100) fields.
///
/// ```
/// use buildswarm_store::archive::{BLOCK, TarReader, regular};
/// let mut tar = regular("hello-1.0", "gpkg-1", 0)?.to_vec();
/// tar.resize(3 * BLOCK, 0);
/// let entry = TarReader::new(&tar[..]).next_entry()?;
/// assert_eq!(entry.map(|entry| entry.path), Some(b"hello-1.0/gpkg-1".to_vec()));
/// # Ok::<_, buildswarm_store::archive::TarError>(())
/// ```
pub fn regular(directory: &str, name: &str, size: u64) -> Result<[u8; BLOCK], TarError> {
    if directory.len() > 155 || name.len() > 100 || name.is_empty() {
        return Err(TarError::name(name.as_bytes(), Refusal::Unfit));
    }
    let path = format!("{directory}/{name}");
    let path = path.as_bytes();
    Ok(encode(&Fields { path, link: b"", typeflag: b'0', mode: 0o644, uid: 0, gid: 0, size, mtime: 0 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for (directory, size) in [("a-1", 0), (&*"x".repeat(150), 5), ("a-1", octal_max(12) + 1)] {
            let block = regular(directory, "metadata.tar.zst", size).unwrap();
            let header = Header::parse(&block, 0).unwrap();
            assert_eq!(header.path, format!("{directory}/metadata.tar.zst").into_bytes());
            assert_eq!((header.size, header.mode, header.typeflag), (size, 0o644, b'0'));
        }
        assert!(regular(&"x".repeat(156), "a", 0).is_err());
    }

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for (width, numbers) in [
            (8, [0, 0o7_777_777, 0o10_000_000, i32::MAX as u64]),
            (12, [1, 1 << 32, 1 << 33, i64::MAX as u64]),
        ] {
            for number_in in numbers {
                let mut field = vec![0; width];
                put_number(&mut field, number_in);
                assert_eq!(number(&field), Some(number_in), "{field:?}");
            }
        }
    }

    #[test]
    fn a_path_is_split_at_a_slash_or_not_at_all() {
        let (long, name) = ([b'd'; 155], [b'n'; 100]);
        let path = [&long[..], b"/", &name].concat();
        assert_eq!(split(&path), Some((&long[..], &name[..])));
        assert_eq!(split(&path[1..]), Some((&long[1..], &name[..])));
        for unfit in [[b"d".as_slice(), &path].concat(), [&path[..], b"n"].concat(), vec![b'n'; 101]] {
            assert_eq!(split(&unfit), None);
        }
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
