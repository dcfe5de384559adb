//! Members as a stock tar knows them: a ustar header named by the address, the bytes, zeros up to a whole block.

use buildswarm_core::artifact::BlobRef;

use crate::archive::{Fields, encode};

/// The unit of a tar stream, in bytes.
pub(super) const BLOCK_BYTES: u64 = 512;

/// Two blocks of zeros end a tar stream.
pub(super) const END_BYTES: u64 = 2 * BLOCK_BYTES;

const NAME: std::ops::Range<usize> = 0..64;
const SIZE: std::ops::Range<usize> = 124..136;

/// Bytes of zeros between the end of a member and the next block.
pub(super) const fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK_BYTES) - size
}

/// Bytes that a member takes in the stream, with its header.
pub(crate) const fn member_bytes(size: u64) -> u64 {
    BLOCK_BYTES + size + padding(size)
}

/// The header of a blob: nothing in it but its name and size can differ between two members.
pub(super) fn header(blob: BlobRef) -> [u8; BLOCK_BYTES as usize] {
    let id = blob.id.to_string();
    let (path, link, size) = (id.as_bytes(), b"".as_slice(), blob.size);
    encode(&Fields { path, link, typeflag: b'0', mode: 0o444, uid: 0, gid: 0, size, mtime: 0 })
}

/// The blob that a header is of; `None` if [`header`] did not make it.
pub(crate) fn blob_of(found: &[u8]) -> Option<BlobRef> {
    let text = |range: std::ops::Range<usize>| std::str::from_utf8(found.get(range)?).ok();
    let id = text(NAME)?.parse().ok()?;
    let size = if *found.get(SIZE.start)? == 0x80 {
        u64::from_be_bytes(found.get(SIZE.end - 8..SIZE.end)?.try_into().ok()?)
    } else {
        u64::from_str_radix(text(SIZE.start..SIZE.end - 1)?, 8).ok()?
    };
    let blob = BlobRef { id, size };
    (header(blob) == found).then_some(blob)
}

#[cfg(test)]
mod tests {
    use buildswarm_core::BlobId;

    use super::*;

    #[test]
    fn a_header_names_its_blob_and_nothing_else_does() {
        for size in [0, 1, 511, (1 << 33) - 1, 1 << 33, u64::MAX] {
            let blob = BlobRef { id: BlobId::of(b"x"), size };
            let made = header(blob);
            assert_eq!(blob_of(&made), Some(blob));
            for at in 0..made.len() {
                let mut other = made;
                other[at] ^= 1;
                assert_ne!(blob_of(&other), Some(blob), "byte {at}");
            }
        }
        assert_eq!(blob_of(&[0; 512]), None);
        assert_eq!(blob_of(b"short"), None);
    }

    #[test]
    fn members_are_whole_blocks() {
        assert_eq!([0, 1, 512, 513].map(member_bytes), [512, 1024, 1024, 1536]);
    }
}
