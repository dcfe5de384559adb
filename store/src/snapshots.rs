//! Directory trees as blobs: each directory is an object that names what it holds by address (a Merkle tree), so a
//! tree has one address, and two trees share what they have in common.

mod directory;
pub(crate) mod reach;
mod read;

use std::collections::HashSet;

use buildswarm_core::BlobId;

use crate::error::Result;
use crate::store::Store;

pub use directory::{
    DIRECTORY_BYTES_MAX, Directory, DirectoryError, Entry, Mode, NAME_BYTES_MAX, Name, Node,
    TARGET_BYTES_MAX, Target,
};

impl Store {
    /// The directory whose object has this address, verified.
    ///
    /// # Errors
    /// [`Error::BlobMissing`](crate::Error::BlobMissing), [`Error::BlobDamaged`](crate::Error::BlobDamaged), or
    /// [`Error::NotADirectory`](crate::Error::NotADirectory) if the blob is something else.
    pub fn read_directory(&self, id: BlobId) -> Result<Directory> {
        read::directory(&self.shared, id)
    }

    /// The addresses of all blobs of a tree, sorted: its directory objects and the contents of its files. Of the
    /// contents only the addresses are known then, not that they are there.
    ///
    /// # Errors
    /// As [`read_directory`](Self::read_directory), for any directory of the tree.
    pub fn tree_blobs(&self, root: BlobId) -> Result<Vec<BlobId>> {
        let mut seen = HashSet::new();
        reach::reachable(&self.shared, &[root], &mut seen)?;
        let mut sorted: Vec<_> = seen.into_iter().collect();
        sorted.sort_unstable();
        Ok(sorted)
    }
}
