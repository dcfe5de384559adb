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
    bytes: Vec<u8>,
    /// Where each message ends.
    ends: Vec<usize>,
    // Memory that is used again: the places of the messages of one length, and their digests.
    places: Vec<usize>,
    digests: Vec<u8>,
}

impl Batch {
    /// Adds the record that `write` writes, as it is hashed.
    pub(crate) fn add(&mut self, write: impl FnOnce(&mut Encoder)) {
        let start = self.bytes.len();
        let mut encoder = Encoder::after(std::mem::take(&mut self.bytes));
        write(&mut encoder);
        self.bytes = encoder.finish_message(start);
        self.ends.push(self.bytes.len());
    }

    /// Forgets all messages, and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Writes the digest of each message to its place.
    pub(crate) fn digests(&mut self, kind: &Kind, out: &mut [Digest]) {
        assert_eq!(self.ends.len(), out.len(), "a place for each message");
        let words = kind.words();
        // How many messages there are of each number of blocks.
        let mut counts = [0_usize; MOST + 1];
        let mut start = 0;
        for (end, place) in self.ends.iter().zip(out.iter_mut()) {
            match (end - start) / BLOCK {
                blocks @ 1..=MOST => counts[blocks] += 1,
                _ => *place = kind.digest(&self.bytes[start..*end]),
            }
            start = *end;
        }
        macro_rules! of_each_length {
            ($($blocks:literal)*) => {
                $(if counts[$blocks] > 0 { self.lanes::<{ $blocks * BLOCK }>(&words, out) })*
            };
        }
        of_each_length!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16);
    }

    /// Hashes all messages that are `BYTES` long.
    fn lanes<const BYTES: usize>(&mut self, words: &[u32; 8], out: &mut [Digest]) {
        let mut messages: Vec<&[u8; BYTES]> = Vec::with_capacity(self.ends.len());
        self.places.clear();
        let mut start = 0;
        for (place, end) in self.ends.iter().enumerate() {
            if let Ok(message) = self.bytes[start..*end].try_into() {
                messages.push(message);
                self.places.push(place);
            }
            start = *end;
        }
        self.digests.resize(messages.len() * Digest::LEN, 0);
        Platform::detect().hash_many(
            &messages,
            words,
            0,
            IncrementCounter::No,
            DERIVE_KEY_MATERIAL,
            CHUNK_START,
            CHUNK_END | ROOT,
            &mut self.digests,
        );
        for (place, digest) in self.places.iter().zip(self.digests.chunks_exact(Digest::LEN)) {
            out[*place].0.copy_from_slice(digest);
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
            expected.push(Digest(blake3::derive_key(CONTEXT, &record.finish_message(0))));
        }
        let kind = Kind::new(CONTEXT);
        let mut digests = vec![Digest([0; 32]); expected.len()];
        batch.digests(&kind, &mut digests);
        assert_eq!(digests, expected);
        assert_eq!(Kind::new(CONTEXT).digest(&batch.bytes[..batch.ends[0]]), expected[0]);
    }
}
