//! Members as a stock tar knows them: a ustar header named by the address, the bytes, zeros up to a whole block.

use buildswarm_core::artifact::BlobRef;

/// The unit of a tar stream, in bytes.
pub(super) const BLOCK_BYTES: u64 = 512;

/// Two blocks of zeros end a tar stream.
pub(super) const END_BYTES: u64 = 2 * BLOCK_BYTES;

/// The largest size that eleven octal digits can name. Beyond it the size is binary, as GNU tar and libarchive have it
/// ("base-256").
const OCTAL_MAX: u64 = (1 << 33) - 1;

const NAME: std::ops::Range<usize> = 0..64;
const SIZE: std::ops::Range<usize> = 124..136;
const CHECKSUM: std::ops::Range<usize> = 148..156;

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
    let mut header = [0; BLOCK_BYTES as usize];
    header[NAME].copy_from_slice(blob.id.to_string().as_bytes());
    header[100..108].copy_from_slice(b"0000444\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    if blob.size <= OCTAL_MAX {
        header[SIZE].copy_from_slice(format!("{:011o}\0", blob.size).as_bytes());
    } else {
        header[SIZE.start] = 0x80;
        header[SIZE.end - 8..SIZE.end].copy_from_slice(&blob.size.to_be_bytes());
    }
    header[136..148].copy_from_slice(b"00000000000\0");
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[CHECKSUM].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
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
        for size in [0, 1, 511, OCTAL_MAX, OCTAL_MAX + 1, u64::MAX] {
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
