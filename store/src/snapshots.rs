//! Directory trees as blobs: each directory is an object that names what it holds by address (a Merkle tree), so a
//! tree has one address, and two trees share what they have in common.

mod cache;
mod contents;
mod directory;
mod materialise;
mod present;
mod put;
pub(crate) mod reach;
mod read;
mod scan;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::HashSet;
use std::path::Path;

use buildswarm_core::BlobId;

use crate::clock;
use crate::error::Result;
use crate::store::Store;

#[cfg(any(test, feature = "faults"))]
pub(crate) use cache::read_all as read_cache;
pub use directory::{
    DIRECTORY_BYTES_MAX, Directory, DirectoryError, Entry, Mode, NAME_BYTES_MAX, Name, Node,
    TARGET_BYTES_MAX, Target,
};
pub use materialise::Materialised;
pub use scan::{TREE_ENTRIES_MAX, TREE_PATH_BYTES_MAX};
pub use walk::TreeWalk;

/// More threads than this are no use: they meet in the same directories and the same index.
const THREADS_MAX: usize = 16;

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(THREADS_MAX)
}

/// How a tree is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeOptions {
    /// Leave out named pipes, sockets and devices, which a tree cannot hold, instead of refusing them.
    pub skip_special: bool,
}

/// A tree that was put, and what it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The address of its top directory's object: that of the whole tree.
    pub root: BlobId,
    /// Files in it, each name counted.
    pub files: u64,
    /// Directories in it, without the top.
    pub directories: u64,
    /// Symbolic links in it.
    pub symlinks: u64,
    /// Bytes of its files, each name counted.
    pub bytes: u64,
    /// Files that had to be read: the others are those that an earlier snapshot read.
    pub files_read: u64,
    /// Blobs that were not in the store before.
    pub new_blobs: u64,
    /// Their bytes.
    pub new_bytes: u64,
}

impl Store {
    /// Stores a directory tree: names, permissions, contents of files, and symbolic links as they are. Times, owners and
    /// extended attributes are left out, and so are the name and permissions of `dir` itself.
    ///
    /// All of it becomes visible at once, durably, or nothing. Files are read on all cores; one that an earlier
    /// snapshot of the same directory read is not read again if its size, times, inode and permissions are the same and
    /// it was not written just before.
    ///
    /// The root is kept from collection for the grace time, as any blob: make it a root of the store to keep it for good.
    ///
    /// ```
    /// use buildswarm_store::{Store, TreeOptions};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = Store::open(dir.path().join("store"))?;
    /// # let tree = dir.path().join("tree");
    /// # std::fs::create_dir(&tree)?;
    /// std::fs::write(tree.join("file"), "content")?;
    /// let snapshot = store.put_tree(&tree, &TreeOptions { skip_special: false })?;
    /// assert_eq!((snapshot.files, snapshot.bytes), (1, 7));
    /// # let copy = dir.path().join("copy");
    /// store.materialise(snapshot.root, &copy)?;
    /// assert_eq!(std::fs::read(copy.join("file"))?, b"content");
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::SpecialFile`](crate::Error::SpecialFile) for what a tree cannot hold,
    /// [`Error::TreeChanged`](crate::Error::TreeChanged) for what was changed while it was read,
    /// [`Error::TreeTooLarge`](crate::Error::TreeTooLarge) beyond [`TREE_ENTRIES_MAX`], [`TREE_PATH_BYTES_MAX`] or
    /// [`DIRECTORY_BYTES_MAX`], [`Error::Io`](crate::Error::Io) for what cannot be read, each with its path;
    /// [`Error::NoSpace`](crate::Error::NoSpace). Nothing is stored then.
    pub fn put_tree(&self, dir: impl AsRef<Path>, options: &TreeOptions) -> Result<Snapshot> {
        put::put_tree(self, dir.as_ref(), options, clock::now())
    }

    /// Makes the files of a tree: `dest`, which must not exist or be an empty directory, becomes its top.
    ///
    /// Every content is verified. The files are made in a hidden directory beside `dest` that takes its name in the end,
    /// so `dest` is whole or not there. Nothing is synced: what was made can be made again. Owners are those of this
    /// process, times those of now.
    ///
    /// # Errors
    /// [`Error::NotMade`](crate::Error::NotMade) with the path of the file that could not be made and the reason, for
    /// instance that its blob is damaged; [`Error::DestinationTaken`](crate::Error::DestinationTaken); as
    /// [`read_directory`](Self::read_directory). What was made until then is removed.
    pub fn materialise(&self, root: BlobId, dest: impl AsRef<Path>) -> Result<Materialised> {
        materialise::materialise(&self.shared, root, dest.as_ref())
    }

    /// The directory whose object has this address, verified.
    ///
    /// # Errors
    /// [`Error::BlobMissing`](crate::Error::BlobMissing), [`Error::BlobDamaged`](crate::Error::BlobDamaged), or
    /// [`Error::NotADirectory`](crate::Error::NotADirectory) if the blob is something else.
    pub fn read_directory(&self, id: BlobId) -> Result<Directory> {
        read::Objects::new(&self.shared).directory(id)
    }

    /// All entries of a tree with their paths from its top, each directory before what is in it, in the order of names.
    ///
    /// # Errors
    /// The items are errors as of [`read_directory`](Self::read_directory); nothing comes after one.
    #[must_use]
    pub fn walk_tree(&self, root: BlobId) -> TreeWalk<'_> {
        TreeWalk::new(&self.shared, root)
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
