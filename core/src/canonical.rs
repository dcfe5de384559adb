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
//! assert_eq!(decoder.set(2).unwrap().into_iter().collect::<Vec<_>>(), ["minizip", "static"]);
//! decoder.finish().unwrap();
//! ```

use std::collections::{BTreeMap, BTreeSet};

use crate::Digest;

/// Writes one record.
#[derive(Debug, Default)]
pub struct Encoder {
    bytes: Vec<u8>,
    last_tag: Option<u8>,
}

/// Lengths and counts are 32 bits wide. No input of a build comes near; one that did must not wrap.
fn length(len: usize) -> [u8; 4] {
    u32::try_from(len).expect("a canonical item is shorter than 4 GiB").to_le_bytes()
}

impl Encoder {
    /// An empty record.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn field(&mut self, tag: u8, write: impl FnOnce(&mut Vec<u8>)) {
        assert!(self.last_tag < Some(tag), "tags ascend: {tag} after {:?}", self.last_tag);
        self.last_tag = Some(tag);
        self.bytes.push(tag);
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        write(&mut self.bytes);
        let len = length(self.bytes.len() - at - 4);
        self.bytes[at..at + 4].copy_from_slice(&len);
    }

    fn item(out: &mut Vec<u8>, bytes: &[u8]) {
        out.extend_from_slice(&length(bytes.len()));
        out.extend_from_slice(bytes);
    }

    /// A field of raw bytes; also how a record is nested.
    pub fn bytes(&mut self, tag: u8, value: &[u8]) {
        self.field(tag, |out| out.extend_from_slice(value));
    }

    /// A field of text.
    pub fn text(&mut self, tag: u8, value: &str) {
        self.bytes(tag, value.as_bytes());
    }

    /// A field of text in pieces that are written one after the other.
    pub fn pieces(&mut self, tag: u8, pieces: &[&str]) {
        self.field(tag, |out| pieces.iter().for_each(|piece| out.extend_from_slice(piece.as_bytes())));
    }

    /// A field of one unsigned number, 8 bytes little-endian.
    pub fn number(&mut self, tag: u8, value: u64) {
        self.bytes(tag, &value.to_le_bytes());
    }

    /// A field of one digest.
    pub fn digest(&mut self, tag: u8, value: &Digest) {
        self.bytes(tag, value.as_bytes());
    }

    /// A list, whose order means something.
    pub fn list<T: AsRef<[u8]>>(&mut self, tag: u8, items: impl ExactSizeIterator<Item = T>) {
        self.field(tag, |out| {
            out.extend_from_slice(&length(items.len()));
            items.for_each(|item| Self::item(out, item.as_ref()));
        });
    }

    /// A set of texts, whose order means nothing: sorted by bytes, each once.
    pub fn set<T: AsRef<str>>(&mut self, tag: u8, items: impl IntoIterator<Item = T>) {
        let mut items: Vec<T> = items.into_iter().collect();
        items.sort_unstable_by(|a, b| a.as_ref().cmp(b.as_ref()));
        items.dedup_by(|a, b| a.as_ref() == b.as_ref());
        self.list(tag, items.iter().map(|item| item.as_ref().as_bytes()));
    }

    /// A map from text to bytes, sorted by key.
    pub fn map<V: AsRef<[u8]>>(&mut self, tag: u8, map: &BTreeMap<String, V>) {
        self.field(tag, |out| {
            out.extend_from_slice(&length(map.len()));
            for (key, value) in map {
                Self::item(out, key.as_bytes());
                Self::item(out, value.as_ref());
            }
        });
    }

    /// An empty record with memory for this many bytes.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), last_tag: None }
    }

    /// The record's bytes.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

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
    pub fn set(&mut self, tag: u8) -> Result<BTreeSet<String>, DecodeError> {
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
    pub fn map<V>(
        &mut self,
        tag: u8,
        value: impl Fn(u8, &'a [u8]) -> Result<V, DecodeError>,
    ) -> Result<BTreeMap<String, V>, DecodeError> {
        let mut items = Items { rest: self.bytes(tag)?, tag };
        let mut map = BTreeMap::new();
        let mut last: Option<&[u8]> = None;
        for _ in 0..items.count()? {
            let key = items.item()?;
            if last.is_some_and(|last| last >= key) {
                return Err(DecodeError::Unsorted { tag });
            }
            last = Some(key);
            map.insert(as_text(tag, key)?, value(tag, items.item()?)?);
        }
        items.end()?;
        Ok(map)
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
