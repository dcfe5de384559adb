//! Size and digests of a package file, in one pass.

use std::io::{self, Read};

use buildswarm_core::BlobId;
use md5::{Digest as _, Md5};
use sha1::Sha1;

use crate::gpkg::hex;

/// What an index says of a file, and its address.
#[derive(serde::Serialize, serde::Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct FileFacts {
    /// Address: plain BLAKE3.
    pub id: BlobId,
    /// Length in bytes.
    pub size: u64,
    /// MD5, 32 lower-case hexadecimal digits.
    pub md5: String,
    /// SHA-1, 40 lower-case hexadecimal digits. Portage reads no stronger digest from an index; what protects
    /// a package is its signature.
    pub sha1: String,
}

/// From here on three threads are faster than one.
const PARALLEL_FROM_BYTES: usize = 64 << 10;

impl FileFacts {
    /// Reads `source` to its end.
    ///
    /// # Errors
    /// What reading fails with.
    pub fn of(mut source: impl Read) -> io::Result<Self> {
        let (mut md5, mut sha1, mut blake3) = (Md5::new(), Sha1::new(), blake3::Hasher::new());
        let mut size = 0;
        let mut buffer = vec![0; 512 << 10];
        loop {
            let read = fill(&mut source, &mut buffer)?;
            let bytes = &buffer[..read];
            size += read as u64;
            if read < PARALLEL_FROM_BYTES {
                md5.update(bytes);
                sha1.update(bytes);
                blake3.update(bytes);
            } else {
                let rest = || {
                    rayon::join(|| sha1.update(bytes), || blake3.update(bytes));
                };
                rayon::join(|| md5.update(bytes), rest);
            }
            if read < buffer.len() {
                break;
            }
        }
        let id = BlobId::from_digest(buildswarm_core::Digest::from_bytes(*blake3.finalize().as_bytes()));
        Ok(Self { id, size, md5: hex(&md5.finalize()), sha1: hex(&sha1.finalize()) })
    }
}

/// Reads until `buffer` is full or the source ends.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_the_published_ones() {
        let facts = FileFacts::of(&b"abc"[..]).unwrap();
        assert_eq!(facts.md5, "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(facts.sha1, "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!((facts.id, facts.size), (BlobId::of(b"abc"), 3));
        let large = vec![7; 3 << 20 | 5];
        assert_eq!(FileFacts::of(&large[..]).unwrap().id, BlobId::of(&large));
    }
}
