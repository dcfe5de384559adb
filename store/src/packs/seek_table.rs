//! Where the frames of a pack begin: the table at its end, as zstd's seekable format has it
//! (`contrib/seekable_format/zstd_seekable_compression_format.md` of zstd).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::FRAME_BYTES;

/// Begins a skippable frame, which every decoder passes over.
const SKIPPABLE: u32 = 0x184D_2A5E;

/// Ends a seek table.
const SEEKABLE: u32 = 0x8F92_EAB1;

/// Magic number and length of the skippable frame.
const HEAD_BYTES: u64 = 8;
/// Compressed and uncompressed length of a frame. There are no checksums: members have addresses.
const ENTRY_BYTES: u64 = 8;
/// Number of frames, descriptor, magic number.
const FOOT_BYTES: u64 = 9;

/// The most frames one table can name: what the format allows.
const FRAMES_MAX: u64 = 0x800_0000;

/// The frames of a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SeekTable {
    /// Where each frame begins in the file, and last where the table begins.
    starts: Vec<u64>,
    unpacked: u64,
}

impl SeekTable {
    pub(super) const fn new() -> Self {
        Self { starts: Vec::new(), unpacked: 0 }
    }

    /// Adds a frame of so many bytes that unpacks to so many.
    pub(super) fn push(&mut self, packed: u64, unpacked: u64) {
        let start = self.end();
        if self.starts.is_empty() {
            self.starts.push(0);
        }
        self.starts.push(start + packed);
        self.unpacked += unpacked;
    }

    pub(super) const fn frames(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// Where the last frame ends.
    pub(super) fn end(&self) -> u64 {
        self.starts.last().copied().unwrap_or_default()
    }

    /// Where a frame lies in the file.
    pub(super) fn frame(&self, number: usize) -> Option<std::ops::Range<u64>> {
        Some(*self.starts.get(number)?..*self.starts.get(number + 1)?)
    }

    /// How much a frame unpacks to.
    pub(super) fn unpacked(&self, number: usize) -> u64 {
        (self.unpacked - (number as u64 * FRAME_BYTES).min(self.unpacked)).min(FRAME_BYTES)
    }

    /// The bytes that end the file. `None` if there are more frames, or longer ones, than the format has room for.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        let count = u32::try_from(self.frames()).ok().filter(|count| u64::from(*count) <= FRAMES_MAX)?;
        let length = u32::try_from(u64::from(count) * ENTRY_BYTES + FOOT_BYTES).ok()?;
        let mut bytes = Vec::with_capacity(HEAD_BYTES as usize + length as usize);
        bytes.extend(SKIPPABLE.to_le_bytes());
        bytes.extend(length.to_le_bytes());
        for number in 0..self.frames() {
            let frame = self.frame(number)?;
            bytes.extend(u32::try_from(frame.end - frame.start).ok()?.to_le_bytes());
            bytes.extend(u32::try_from(self.unpacked(number)).ok()?.to_le_bytes());
        }
        bytes.extend(count.to_le_bytes());
        bytes.push(0);
        bytes.extend(SEEKABLE.to_le_bytes());
        Some(bytes)
    }

    /// Reads the table of a file of `size` bytes that unpacks to `unpacked`. `None` if it has none that fits: every
    /// frame but the last unpacks to [`FRAME_BYTES`], and together they fill the file.
    pub(super) fn read(file: &File, size: u64, unpacked: u64) -> io::Result<Option<Self>> {
        let Some(foot_at) = size.checked_sub(FOOT_BYTES) else { return Ok(None) };
        let mut foot = [0; FOOT_BYTES as usize];
        file.read_exact_at(&mut foot, foot_at)?;
        let [a, b, c, d, ..] = foot;
        let count = u64::from(u32::from_le_bytes([a, b, c, d]));
        let length = HEAD_BYTES + count * ENTRY_BYTES + FOOT_BYTES;
        // The count is held against what the index says before anything is allocated for it.
        if count != unpacked.div_ceil(FRAME_BYTES) || count > FRAMES_MAX || length > size {
            return Ok(None);
        }
        let mut bytes = vec![0; length as usize];
        file.read_exact_at(&mut bytes, size - length)?;
        let entries = &bytes[HEAD_BYTES as usize..][..(count * ENTRY_BYTES) as usize];
        let mut table = Self::new();
        for entry in entries.as_chunks::<{ ENTRY_BYTES as usize }>().0 {
            let [p0, p1, p2, p3, u0, u1, u2, u3] = *entry;
            table.push(
                u32::from_le_bytes([p0, p1, p2, p3]).into(),
                u32::from_le_bytes([u0, u1, u2, u3]).into(),
            );
        }
        let fits = table.unpacked == unpacked
            && table.end() == size - length
            && table.encode().as_deref() == Some(&bytes);
        Ok(fits.then_some(table))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file_with(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn a_table_is_read_back_and_nothing_like_it_is() {
        let mut table = SeekTable::new();
        for packed in [10, 20, 5] {
            table.push(packed, if packed == 5 { 77 } else { FRAME_BYTES });
        }
        let unpacked = 2 * FRAME_BYTES + 77;
        assert_eq!((table.frame(1), table.unpacked(1), table.unpacked(2)), (Some(10..30), FRAME_BYTES, 77));
        assert_eq!((table.frame(3), table.unpacked(3)), (None, 0));
        let mut bytes = vec![0; 35];
        bytes.extend(table.encode().unwrap());
        let read = |bytes: &[u8], unpacked| {
            SeekTable::read(&file_with(bytes), bytes.len() as u64, unpacked).unwrap()
        };
        assert_eq!(read(&bytes, unpacked), Some(table));
        assert_eq!(read(&bytes, unpacked + 1), None);
        for at in 35..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert_eq!(read(&other, unpacked), None, "byte {at}");
        }
        for cut in 0..bytes.len() {
            assert_eq!(read(&bytes[..cut], unpacked), None, "{cut} bytes");
        }
    }
}
