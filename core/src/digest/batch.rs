//! BLAKE3 of many short messages at once.
//!
//! A message of up to one chunk (1,024 bytes) has no parallelism of its own, but independent messages of equally
//! many blocks fill the lanes of the vector unit: about six times faster than one after the other. The
//! interface of the `blake3` crate for that is hidden and may change with any version, so the workspace pins one,
//! and a test holds every length to the documented interface.

use blake3::IncrementCounter;
use blake3::hazmat::{HasherExt, hash_derive_key_context};
use blake3::platform::Platform;

use super::Digest;
use crate::canonical::{BLOCK, Encoder};

/// Bytes of a BLAKE3 chunk.
const CHUNK: usize = 1024;
/// As many messages as the widest vector unit hashes at once.
pub(crate) const LANES: usize = 16;
/// Blocks of one.
const MOST: usize = CHUNK / BLOCK;
// Flags of the compression function (BLAKE3 paper, table 3).
const CHUNK_START: u8 = 1;
const CHUNK_END: u8 = 1 << 1;
const ROOT: u8 = 1 << 3;
const DERIVE_KEY_MATERIAL: u8 = 1 << 6;

/// A kind of message: BLAKE3 in key-derivation mode with a context of its own.
#[derive(Debug, Clone)]
pub(crate) struct Kind {
    key: [u8; 32],
}

impl Kind {
    pub(crate) fn new(context: &str) -> Self {
        Self { key: hash_derive_key_context(context) }
    }

    /// The digest of one message of any length.
    pub(crate) fn digest(&self, message: &[u8]) -> Digest {
        let mut hasher = blake3::Hasher::new_from_context_key(&self.key);
        hasher.update(message);
        Digest(*hasher.finalize().as_bytes())
    }

    fn words(&self) -> [u32; 8] {
        let mut words = [0; 8];
        for (word, bytes) in words.iter_mut().zip(self.key.chunks_exact(4)) {
            *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        words
    }
}

/// Messages, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    messages: Encoder,
    /// Where each message ends.
    ends: Vec<usize>,
    /// By number of blocks, the places of the messages that have so many; those of more than a chunk are at 0.
    places: [Vec<usize>; MOST + 1],
    // Memory that is used again.
    digests: Vec<u8>,
}

impl Batch {
    /// Adds the record that `write` writes, as it is hashed.
    #[inline]
    pub(crate) fn add(&mut self, write: impl FnOnce(&mut Encoder)) {
        let start = self.messages.as_bytes().len();
        write(&mut self.messages);
        self.messages.end_message(start);
        let end = self.messages.as_bytes().len();
        let blocks = (end - start) / BLOCK;
        self.places[if blocks > MOST { 0 } else { blocks }].push(self.ends.len());
        self.ends.push(end);
    }

    /// Forgets all messages, and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.messages.clear();
        self.ends.clear();
        self.places.iter_mut().for_each(Vec::clear);
    }

    /// Writes the digest of each message to its place.
    pub(crate) fn digests(&mut self, kind: &Kind, out: &mut [Digest]) {
        assert_eq!(self.ends.len(), out.len(), "a place for each message");
        let words = kind.words();
        for place in &self.places[0] {
            let start = place.checked_sub(1).map_or(0, |before| self.ends[before]);
            out[*place] = kind.digest(&self.messages.as_bytes()[start..self.ends[*place]]);
        }
        macro_rules! of_each_length {
            ($($blocks:literal)*) => {
                $(self.lanes::<{ $blocks * BLOCK }>(&words, out);)*
            };
        }
        of_each_length!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16);
    }

    /// Hashes all messages that are `BYTES` long.
    fn lanes<const BYTES: usize>(&mut self, words: &[u32; 8], out: &mut [Digest]) {
        let places = &self.places[BYTES / BLOCK];
        if places.is_empty() {
            return;
        }
        let message = |place: &usize| {
            let up_to_end = &self.messages.as_bytes()[..self.ends[*place]];
            up_to_end.last_chunk().expect("as many bytes as it has blocks")
        };
        let platform = Platform::detect();
        let lanes = platform.simd_degree();
        let mut messages: Vec<&[u8; BYTES]> = Vec::with_capacity(places.len() + lanes);
        messages.extend(places.iter().map(message));
        // Lanes that are left over hash the last message once more: several that are hashed one at a time would
        // take longer.
        if messages.len() % lanes > 1 {
            messages.resize(messages.len().next_multiple_of(lanes), messages[messages.len() - 1]);
        }
        self.digests.resize(messages.len() * Digest::LEN, 0);
        platform.hash_many(
            &messages,
            words,
            0,
            IncrementCounter::No,
            DERIVE_KEY_MATERIAL,
            CHUNK_START,
            CHUNK_END | ROOT,
            &mut self.digests,
        );
        for (place, digest) in places.iter().zip(self.digests.as_chunks().0) {
            out[*place].0 = *digest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_agrees_with_hashing_one_at_a_time() {
        const CONTEXT: &str = "buildswarm test of a batch";
        // Every number of blocks up to more than a chunk, many of some and few of others, mixed.
        let lengths = (0..200).map(|number: usize| (number * 37) % 1300);
        let mut batch = Batch::default();
        let mut expected = Vec::new();
        for (number, len) in lengths.enumerate() {
            let value: Vec<u8> = (0..len).map(|at| (at * 31 + number) as u8).collect();
            batch.add(|record| record.bytes(1, &value));
            let mut record = Encoder::new();
            record.bytes(1, &value);
            expected.push(Digest(blake3::derive_key(CONTEXT, &record.finish_message())));
        }
        let kind = Kind::new(CONTEXT);
        let mut digests = vec![Digest([0; 32]); expected.len()];
        batch.digests(&kind, &mut digests);
        assert_eq!(digests, expected);
        assert_eq!(Kind::new(CONTEXT).digest(&batch.messages.as_bytes()[..batch.ends[0]]), expected[0]);
    }
}
