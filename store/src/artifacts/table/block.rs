//! Entries of the look-up table in blocks of one size, each of which can be checked and searched by itself.
//!
//! A block is: the number of entries (2 bytes); their keys, ascending (32 bytes each); for each the number of needs up to
//! and with its own (2 bytes each); the needs (41 bytes each: kind, address, length); zeros. Numbers are little-endian.

use buildswarm_core::artifact::BlobRef;
use buildswarm_core::{BlobId, BuildKey, Digest};

/// Bytes of a block: enough for BLAKE3's widest vectors, and for so many entries that a table of a million has a
/// directory of a few tens of kilobytes; little enough to be read for one key.
pub(super) const BLOCK_BYTES: usize = 64 * 1024;

const COUNT_BYTES: usize = 2;
const KEY_BYTES: usize = Digest::LEN;
const END_BYTES: usize = 2;
const NEED_BYTES: usize = 1 + Digest::LEN + 8;

/// The blobs of an artifact.
const NEEDS_MAX: usize = 3;

// Every number in a block fits into its two bytes, and every entry into a block.
const _: () = assert!(KEY_BYTES < NEED_BYTES && BLOCK_BYTES / KEY_BYTES <= u16::MAX as usize);
const _: () = assert!(COUNT_BYTES + KEY_BYTES + END_BYTES + NEEDS_MAX * NEED_BYTES <= BLOCK_BYTES);

/// What must be the case for a key to resolve, beyond what the table vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// The file of a blob is there.
    File(BlobRef),
    /// A pack is there.
    Pack(BlobRef),
    /// The index says so: the artifact did not resolve when the table was written, which may have changed.
    Index,
}

impl Need {
    fn encode(self) -> [u8; NEED_BYTES] {
        let (kind, file) = match self {
            Self::Index => (0, None),
            Self::File(file) => (1, Some(file)),
            Self::Pack(pack) => (2, Some(pack)),
        };
        let mut bytes = [0; NEED_BYTES];
        bytes[0] = kind;
        if let Some(file) = file {
            bytes[1..=KEY_BYTES].copy_from_slice(file.id.digest().as_bytes());
            bytes[1 + KEY_BYTES..].copy_from_slice(&file.size.to_le_bytes());
        }
        bytes
    }

    /// `None` for what this version does not write.
    fn decode(bytes: &[u8; NEED_BYTES]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (id, size) = rest.split_first_chunk()?;
        let file = BlobRef {
            id: BlobId::from_digest(Digest::from_bytes(*id)),
            size: u64::from_le_bytes(size.try_into().ok()?),
        };
        match kind {
            0 => Some(Self::Index),
            1 => Some(Self::File(file)),
            2 => Some(Self::Pack(file)),
            _ => None,
        }
    }
}

/// A key that has an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: BuildKey,
    pub(super) needs: Vec<Need>,
}

/// A block that is being filled.
#[derive(Debug, Default)]
pub(super) struct Filling {
    keys: Vec<u8>,
    ends: Vec<u8>,
    needs: Vec<u8>,
}

impl Filling {
    /// Adds an entry whose key is greater than those before; `false` if it has no room for it.
    pub(super) fn add(&mut self, entry: &Entry) -> bool {
        let own = KEY_BYTES + END_BYTES + entry.needs.len() * NEED_BYTES;
        let used = COUNT_BYTES + self.keys.len() + self.ends.len() + self.needs.len();
        if used + own > BLOCK_BYTES {
            return false;
        }
        self.keys.extend(entry.key.digest().as_bytes());
        self.needs.extend(entry.needs.iter().flat_map(|need| need.encode()));
        let end = self.needs.len() / NEED_BYTES;
        self.ends.extend(u16::try_from(end).unwrap_or(u16::MAX).to_le_bytes());
        true
    }

    /// The block, and its first key; `None` if nothing was added. Begins the next.
    pub(super) fn take(&mut self) -> Option<(Vec<u8>, [u8; KEY_BYTES])> {
        let first = *self.keys.first_chunk()?;
        let count = u16::try_from(self.keys.len() / KEY_BYTES).unwrap_or(u16::MAX);
        let mut block = Vec::with_capacity(BLOCK_BYTES);
        block.extend(count.to_le_bytes());
        for part in [&mut self.keys, &mut self.ends, &mut self.needs] {
            block.append(part);
        }
        block.resize(BLOCK_BYTES, 0);
        Some((block, first))
    }
}

/// A block that was read and found to be what was written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block<'a> {
    keys: &'a [[u8; KEY_BYTES]],
    ends: &'a [[u8; END_BYTES]],
    needs: &'a [[u8; NEED_BYTES]],
}

impl<'a> Block<'a> {
    /// `None` for what this version does not write.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (count, rest) = bytes.split_first_chunk()?;
        let count = usize::from(u16::from_le_bytes(*count));
        let (keys, rest) = rest.split_at_checked(count * KEY_BYTES)?;
        let (ends, rest) = rest.split_at_checked(count * END_BYTES)?;
        Some(Self { keys: keys.as_chunks().0, ends: ends.as_chunks().0, needs: rest.as_chunks().0 })
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The place of a key, or the place it would have, not before `from`.
    pub(super) fn search(&self, key: &BuildKey, from: usize) -> Result<usize, usize> {
        let keys = self.keys.get(from..).unwrap_or_default();
        match keys.binary_search(key.digest().as_bytes()) {
            Ok(place) => Ok(from + place),
            Err(place) => Err(from + place),
        }
    }

    /// What the entry at a place needs; `None` if there is none, or for what this version does not write.
    pub(super) fn needs(&self, place: usize) -> Option<Needs<'a>> {
        let end = |place: usize| Some(usize::from(u16::from_le_bytes(*self.ends.get(place)?)));
        let from = if place == 0 { 0 } else { end(place - 1)? };
        Some(Needs(self.needs.get(from..end(place)?)?))
    }

    /// The entry at a place, as [`needs`](Self::needs).
    pub(super) fn entry(&self, place: usize) -> Option<Entry> {
        let key = BuildKey::from_digest(Digest::from_bytes(*self.keys.get(place)?));
        Some(Entry { key, needs: self.needs(place)?.iter().collect::<Option<_>>()? })
    }
}

/// What one entry needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Needs<'a>(&'a [[u8; NEED_BYTES]]);

impl Needs<'_> {
    /// `None` for each that this version does not write.
    pub(super) fn iter(&self) -> impl Iterator<Item = Option<Need>> {
        self.0.iter().map(Need::decode)
    }
}

/// For fuzzing: reads a block of any content.
#[cfg(any(test, feature = "faults"))]
pub(crate) fn read_all(bytes: &[u8]) {
    let Some(block) = Block::parse(bytes) else { return };
    for place in 0..=block.len() {
        if let Some(entry) = block.entry(place) {
            assert_eq!(block.needs(place).map(|needs| needs.iter().count()), Some(entry.needs.len()));
        }
    }
    for key in [[0; KEY_BYTES], [0x80; KEY_BYTES], [0xff; KEY_BYTES]] {
        let key = BuildKey::from_digest(Digest::from_bytes(key));
        let (Ok(place) | Err(place)) = block.search(&key, 0);
        assert!(place <= block.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u16, needs: usize) -> Entry {
        let mut key = [0; KEY_BYTES];
        key[..2].copy_from_slice(&number.to_be_bytes());
        let file = BlobRef { id: BlobId::of(&key), size: u64::from(number) };
        let needs = [Need::File(file), Need::Pack(file), Need::Index].into_iter().cycle().take(needs);
        Entry { key: BuildKey::from_digest(Digest::from_bytes(key)), needs: needs.collect() }
    }

    #[test]
    fn what_is_put_into_a_block_is_found_in_it() {
        for needs in 0..=NEEDS_MAX {
            let mut filling = Filling::default();
            let entries: Vec<_> =
                (0..u16::MAX).map(|number| entry(2 * number, needs)).take_while(|e| filling.add(e)).collect();
            assert!(entries.len() > 300);
            let (bytes, first) = filling.take().unwrap();
            assert_eq!((bytes.len(), &first), (BLOCK_BYTES, entries[0].key.digest().as_bytes()));
            let block = Block::parse(&bytes).unwrap();
            assert_eq!(block.len(), entries.len());
            for (place, expected) in entries.iter().enumerate() {
                assert_eq!(block.entry(place).as_ref(), Some(expected));
                assert_eq!(block.search(&expected.key, place / 2), Ok(place));
                let absent = entry(2 * u16::try_from(place).unwrap() + 1, 0);
                assert_eq!(block.search(&absent.key, 0), Err(place + 1));
            }
            assert_eq!(block.entry(entries.len()), None);
            assert!(filling.take().is_none(), "the next block is empty");
        }
    }

    #[test]
    fn no_bytes_make_a_block_panic() {
        for fill in 0..=u8::MAX {
            let bytes = [fill; 300];
            for length in [0, 1, 2, 3, 35, 36, 300] {
                let Some(block) = Block::parse(&bytes[..length]) else { continue };
                for place in 0..=block.len() {
                    let _ = block.entry(place);
                }
            }
        }
    }
}
