//! BLAKE3 of many short messages at once, by a hidden interface of the `blake3` crate.
//!
//! A message of up to one chunk has no parallelism of its own; independent messages of the same number of
//! blocks fill the lanes of the vector unit instead. `blake3::platform` promises nothing between versions, so a
//! test holds it to [`blake3::hash`]; only benchmarks use it, as the limit that hashing a plan could reach.

use blake3::IncrementCounter;
use blake3::platform::Platform;

/// The initial key of the plain mode: SHA-256's initial hash value (BLAKE3 paper, table 1).
const KEY: [u32; 8] =
    [0x6A09_E667, 0xBB67_AE85, 0x3C6E_F372, 0xA54F_F53A, 0x510E_527F, 0x9B05_688C, 0x1F83_D9AB, 0x5BE0_CD19];
const CHUNK_START: u8 = 1;
const CHUNK_END: u8 = 1 << 1;
const ROOT: u8 = 1 << 3;
/// Bytes of a message, a whole number of blocks: what 735 bytes take once padded.
pub const MESSAGE_BYTES: usize = 768;
const _: () = assert!(MESSAGE_BYTES.is_multiple_of(64) && MESSAGE_BYTES <= 1024);

/// The plain BLAKE3 of every message, in order, one thread.
#[must_use]
pub fn hash_all(messages: &[&[u8; MESSAGE_BYTES]]) -> Vec<u8> {
    let mut out = vec![0; messages.len() * 32];
    Platform::detect().hash_many(
        messages,
        &KEY,
        0,
        IncrementCounter::No,
        0,
        CHUNK_START,
        CHUNK_END | ROOT,
        &mut out,
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_agree_with_hash() {
        // More than the widest vector unit has lanes, and not a multiple of them.
        let messages: Vec<[u8; MESSAGE_BYTES]> = (0..37).map(|number| [number; MESSAGE_BYTES]).collect();
        let digests = hash_all(&messages.iter().collect::<Vec<_>>());
        for (message, digest) in messages.iter().zip(digests.chunks_exact(32)) {
            assert_eq!(blake3::hash(message).as_bytes(), digest);
        }
    }
}
