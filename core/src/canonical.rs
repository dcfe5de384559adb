//! The canonical byte form of which addresses are digests; specified in `docs/address.md`.
//!
//! Not a serde format, on purpose: renaming a Rust field must never move a key, and two encoders must agree
//! to the byte. A record is a run of fields with strictly ascending tags, each `tag: u8, length: u32 LE,
//! payload`. Inside a payload an item is `length: u32 LE, bytes`; a list is a `u32 LE` count and its items;
//! a set is a list with strictly ascending items; a map is a count and `key item, value item` pairs with
//! strictly ascending keys. Every length stands before what it measures, so the form is injective: no
//! field's bytes can be taken for another's. The [`Decoder`] accepts exactly what the [`Encoder`] writes.
//!
//! ```
//! use buildswarm_core::canonical::{Decoder, Encoder};
//! let mut encoder = Encoder::new();
//! encoder.text(1, "zlib");
//! encoder.set(2, ["static", "minizip"]);
//! let bytes = encoder.finish();
//! let mut decoder = Decoder::new(&bytes);
//! assert_eq!(decoder.text(1).unwrap(), "zlib");
//! assert_eq!(decoder.set::<Vec<_>>(2).unwrap(), ["minizip", "static"]);
//! decoder.finish().unwrap();
//! ```

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::Digest;
use crate::sorted::{SortedMap, SortedSet};

/// Writes one record.
#[derive(Debug, Default)]
pub struct Encoder {
    bytes: Vec<u8>,
    /// 0 before the first field.
    last_tag: u8,
}

/// Lengths and counts are 32 bits wide. No input of a build comes near; one that did must not wrap.
#[inline]
fn length(len: usize) -> [u8; 4] {
    u32::try_from(len).expect("a canonical item is shorter than 4 GiB").to_le_bytes()
}

impl Encoder {
    /// An empty record.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What stands before every payload.
    #[inline]
    fn header(&mut self, tag: u8, len: usize) {
        assert!(self.last_tag < tag, "tags ascend: {tag} after {}", self.last_tag);
        self.last_tag = tag;
        let [a, b, c, d] = length(len);
        self.bytes.extend_from_slice(&[tag, a, b, c, d]);
    }

    #[inline]
    fn item(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(&length(bytes.len()));
        self.bytes.extend_from_slice(bytes);
    }

    /// What `write` writes, its length being put before it into the four bytes that are there.
    #[inline]
    fn measured(&mut self, write: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        write(self);
        let len = length(self.bytes.len() - start);
        self.bytes[start - len.len()..start].copy_from_slice(&len);
    }

    /// A field that is a count and so many items.
    #[inline]
    fn counted(&mut self, tag: u8, count: usize, write: impl FnOnce(&mut Self)) {
        self.header(tag, 0);
        self.measured(|record| {
            record.bytes.extend_from_slice(&length(count));
            write(record);
        });
    }

    /// A record that is measured.
    #[inline]
    fn nested(&mut self, write: impl FnOnce(&mut Self)) {
        // In place: a copy for each level would be most of the time that encoding takes.
        let outer = std::mem::take(&mut self.last_tag);
        self.measured(write);
        self.last_tag = outer;
    }

    /// An item that is a record.
    #[inline]
    fn nested_item(&mut self, write: impl FnOnce(&mut Self)) {
        self.bytes.extend_from_slice(&length(0));
        self.nested(write);
    }

    /// A field that is a record itself.
    #[inline]
    pub fn record(&mut self, tag: u8, write: impl FnOnce(&mut Self)) {
        self.header(tag, 0);
        self.nested(write);
    }

    /// A field of raw bytes.
    #[inline]
    pub fn bytes(&mut self, tag: u8, value: &[u8]) {
        self.header(tag, value.len());
        self.bytes.extend_from_slice(value);
    }

    /// A field of text.
    #[inline]
    pub fn text(&mut self, tag: u8, value: &str) {
        self.bytes(tag, value.as_bytes());
    }

    /// A list of records, in this order.
    pub fn records<T>(&mut self, tag: u8, items: &[T], write: impl Fn(&mut Self, &T)) {
        self.counted(tag, items.len(), |record| {
            items.iter().for_each(|item| record.nested_item(|record| write(record, item)));
        });
    }

    /// A map from text to records, sorted by key.
    pub fn map_of_records<V>(&mut self, tag: u8, map: &SortedMap<V>, write: impl Fn(&mut Self, &V)) {
        self.counted(tag, map.len(), |record| {
            for (key, value) in map.iter() {
                record.item(key.as_bytes());
                record.nested_item(|record| write(record, value));
            }
        });
    }

    /// A field of one unsigned number, 8 bytes little-endian.
    #[inline]
    pub fn number(&mut self, tag: u8, value: u64) {
        self.bytes(tag, &value.to_le_bytes());
    }

    /// A field of one digest.
    #[inline]
    pub fn digest(&mut self, tag: u8, value: &Digest) {
        self.bytes(tag, value.as_bytes());
    }

    /// A list, whose order means something.
    pub fn list<T: AsRef<[u8]>>(&mut self, tag: u8, items: impl ExactSizeIterator<Item = T>) {
        self.counted(tag, items.len(), |record| items.for_each(|item| record.item(item.as_ref())));
    }

    /// A list of digests, each followed by one byte.
    pub fn pairs<'a>(&mut self, tag: u8, items: impl ExactSizeIterator<Item = (&'a Digest, u8)>) {
        const LEN: usize = Digest::LEN + 1;
        self.counted(tag, items.len(), |record| {
            // Room for all at once, each written where it stays: most of what is hashed is this.
            let start = record.bytes.len();
            record.bytes.resize(start + items.len() * (4 + LEN), 0);
            for (place, (digest, byte)) in
                record.bytes[start..].as_chunks_mut::<{ 4 + LEN }>().0.iter_mut().zip(items)
            {
                place[..4].copy_from_slice(&length(LEN));
                place[4..4 + Digest::LEN].copy_from_slice(digest.as_bytes());
                place[4 + Digest::LEN] = byte;
            }
        });
    }

    /// A set of texts, whose order means nothing: sorted by bytes, each once.
    pub fn set<T: AsRef<str>>(&mut self, tag: u8, items: impl IntoIterator<Item = T>) {
        let mut items: Vec<T> = items.into_iter().collect();
        items.sort_unstable_by(|a, b| a.as_ref().cmp(b.as_ref()));
        items.dedup_by(|a, b| a.as_ref() == b.as_ref());
        self.list(tag, items.iter().map(|item| item.as_ref().as_bytes()));
    }

    /// A set that is sorted already.
    pub fn sorted_set(&mut self, tag: u8, items: &SortedSet) {
        self.list(tag, items.iter());
    }

    /// A map from text to bytes, sorted by key.
    pub fn map<V: AsRef<[u8]>>(&mut self, tag: u8, map: &BTreeMap<String, V>) {
        self.entries(tag, map.iter());
    }

    /// As [`map`](Self::map).
    pub fn sorted_map<V: AsRef<[u8]>>(&mut self, tag: u8, map: &SortedMap<V>) {
        self.entries(tag, map.iter());
    }

    #[inline]
    fn entries<K, V>(&mut self, tag: u8, entries: impl ExactSizeIterator<Item = (K, V)>)
    where
        K: AsRef<str>,
        V: AsRef<[u8]>,
    {
        self.counted(tag, entries.len(), |record| {
            for (key, value) in entries {
                record.item(key.as_ref().as_bytes());
                record.item(value.as_ref());
            }
        });
    }

    /// The record's bytes.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// The record as it is hashed: filled up with zero bytes to a multiple of [`BLOCK`]. No field has tag 0, so
    /// what is filled in cannot be taken for one.
    #[must_use]
    pub fn finish_message(mut self) -> Vec<u8> {
        self.end_message(0);
        self.bytes
    }

    /// Ends a record that begins at `start`, as [`finish_message`](Self::finish_message) does; what is written
    /// next is another one.
    pub(crate) fn end_message(&mut self, start: usize) {
        self.last_tag = 0;
        let len = self.bytes.len() - start;
        // A whole block, and cut: faster than to fill in as many as it takes.
        self.bytes.extend_from_slice(&[0; BLOCK]);
        self.bytes.truncate(start + len.next_multiple_of(BLOCK));
    }

    /// What is written so far.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets what is written, and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.last_tag = 0;
    }
}

/// Bytes of a BLAKE3 block. Messages of whole blocks can be hashed several at a time.
pub const BLOCK: usize = 64;

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

/// Why bytes are not the canonical form of anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end inside an item.
    #[error("the bytes end inside field {tag}")]
    Truncated {
        /// Field being read.
        tag: u8,
    },
    /// Another field stands where this one should.
    #[error("field {tag} is missing")]
    Missing {
        /// Field that was asked for.
        tag: u8,
    },
    /// Bytes follow the last field or item.
    #[error("bytes follow the end of field {tag}")]
    Trailing {
        /// Field being read, or the last one of the record.
        tag: u8,
    },
    /// Items of a set or keys of a map that do not strictly ascend.
    #[error("field {tag} is not sorted")]
    Unsorted {
        /// Field being read.
        tag: u8,
    },
    /// A payload of the wrong length or not UTF-8, or a number out of range.
    #[error("field {tag} has a malformed value")]
    Malformed {
        /// Field being read.
        tag: u8,
    },
}

/// Reads one record, field by field in the order of the tags.
#[derive(Debug)]
pub struct Decoder<'a> {
    rest: &'a [u8],
    tag: u8,
}

impl<'a> Decoder<'a> {
    /// A reader of one whole record.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, tag: 0 }
    }

    /// Whether the next field is `tag`, for fields that may be absent.
    #[must_use]
    pub fn has(&self, tag: u8) -> bool {
        self.rest.first() == Some(&tag)
    }

    /// The payload of field `tag`.
    ///
    /// # Errors
    /// [`DecodeError::Missing`] if another field is next, [`DecodeError::Truncated`] if it is cut short.
    pub fn bytes(&mut self, tag: u8) -> Result<&'a [u8], DecodeError> {
        if !self.has(tag) {
            return Err(DecodeError::Missing { tag });
        }
        self.tag = tag;
        let mut items = Items { rest: &self.rest[1..], tag };
        let payload = items.item()?;
        self.rest = items.rest;
        Ok(payload)
    }

    /// A field of text.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes); [`DecodeError::Malformed`] if it is not UTF-8.
    pub fn text(&mut self, tag: u8) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes(tag)?).map_err(|_| DecodeError::Malformed { tag })
    }

    /// A field of one number.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes); [`DecodeError::Malformed`] if it is not 8 bytes long.
    pub fn number(&mut self, tag: u8) -> Result<u64, DecodeError> {
        let bytes = self.bytes(tag)?.try_into().map_err(|_| DecodeError::Malformed { tag })?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// A field of one digest.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes); [`DecodeError::Malformed`] if it is not 32 bytes long.
    pub fn digest(&mut self, tag: u8) -> Result<Digest, DecodeError> {
        as_digest(tag, self.bytes(tag)?)
    }

    /// A list of items.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes); [`DecodeError::Trailing`] if the count is lower than what follows.
    pub fn list(&mut self, tag: u8) -> Result<Vec<&'a [u8]>, DecodeError> {
        let mut items = Items { rest: self.bytes(tag)?, tag };
        let count = items.count()?;
        let list = (0..count).map(|_| items.item()).collect::<Result<_, _>>()?;
        items.end()?;
        Ok(list)
    }

    /// A set of texts.
    ///
    /// # Errors
    /// As [`list`](Self::list); [`DecodeError::Unsorted`] if the items do not ascend.
    pub fn set<C: FromIterator<String>>(&mut self, tag: u8) -> Result<C, DecodeError> {
        let list = self.list(tag)?;
        if !list.is_sorted_by(|a, b| a < b) {
            return Err(DecodeError::Unsorted { tag });
        }
        list.into_iter().map(|item| as_text(tag, item)).collect()
    }

    /// A map, its values read by `value`.
    ///
    /// # Errors
    /// As [`list`](Self::list); [`DecodeError::Unsorted`] if the keys do not ascend; what `value` returns.
    pub fn map<V, C: FromIterator<(String, V)>>(
        &mut self,
        tag: u8,
        value: impl Fn(u8, &'a [u8]) -> Result<V, DecodeError>,
    ) -> Result<C, DecodeError> {
        let mut items = Items { rest: self.bytes(tag)?, tag };
        let mut entries = Vec::new();
        let mut last: Option<&[u8]> = None;
        for _ in 0..items.count()? {
            let key = items.item()?;
            if last.is_some_and(|last| last >= key) {
                return Err(DecodeError::Unsorted { tag });
            }
            last = Some(key);
            entries.push((as_text(tag, key)?, value(tag, items.item()?)?));
        }
        items.end()?;
        Ok(entries.into_iter().collect())
    }

    /// Asserts that the record ends here.
    ///
    /// # Errors
    /// [`DecodeError::Trailing`] if it does not.
    pub const fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing { tag: self.tag }) }
    }
}

/// An item as text, for [`Decoder::map`].
///
/// # Errors
/// [`DecodeError::Malformed`] if it is not UTF-8.
pub fn as_text(tag: u8, item: &[u8]) -> Result<String, DecodeError> {
    std::str::from_utf8(item).map(str::to_owned).map_err(|_| DecodeError::Malformed { tag })
}

/// Text as the value that it is the one spelling of.
///
/// # Errors
/// [`DecodeError::Malformed`] if it is none, or if the value is written otherwise (`0` for the slot `0/0`).
pub fn as_parsed<T: FromStr + ToString>(tag: u8, text: &str) -> Result<T, DecodeError> {
    let malformed = DecodeError::Malformed { tag };
    let value: T = text.parse().map_err(|_| malformed)?;
    if value.to_string() == text { Ok(value) } else { Err(malformed) }
}

/// An item as a digest, for [`Decoder::map`].
///
/// # Errors
/// [`DecodeError::Malformed`] if it is not 32 bytes long.
pub fn as_digest(tag: u8, item: &[u8]) -> Result<Digest, DecodeError> {
    item.try_into().map(Digest::from_bytes).map_err(|_| DecodeError::Malformed { tag })
}

struct Items<'a> {
    rest: &'a [u8],
    tag: u8,
}

impl<'a> Items<'a> {
    fn count(&mut self) -> Result<u32, DecodeError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated { tag: self.tag })?;
        self.rest = rest;
        Ok(u32::from_le_bytes(*head))
    }

    fn item(&mut self) -> Result<&'a [u8], DecodeError> {
        let truncated = DecodeError::Truncated { tag: self.tag };
        let len = usize::try_from(self.count()?).map_err(|_| truncated)?;
        let (item, rest) = self.rest.split_at_checked(len).ok_or(truncated)?;
        self.rest = rest;
        Ok(item)
    }

    const fn end(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing { tag: self.tag }) }
    }
}

#[cfg(test)]
mod tests;
