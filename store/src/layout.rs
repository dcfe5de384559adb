//! Where things lie in a store's directory. No other module makes up a path.

use std::path::{Path, PathBuf};

use buildswarm_core::{BlobId, Digest};

/// The paths of one store.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

/// Number of directories that blobs are spread over, by their first byte.
pub(crate) const SHARDS: usize = 256;

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.root.join("index.db")
    }

    /// What is kept of the index when it is converted from a format.
    pub(crate) fn index_of_format(&self, format: u32) -> PathBuf {
        self.root.join(format!("index-format-{format}.db"))
    }

    /// Which keys resolve, for whoever asks for many: see `artifacts/table.rs`.
    pub(crate) fn look_up_table(&self) -> PathBuf {
        self.root.join("lookup.table")
    }

    /// Where the index goes when another one is made in its place.
    pub(crate) fn damaged_index(&self, seconds: u64) -> PathBuf {
        self.root.join(format!("index-damaged-{seconds}.db"))
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// Files that hold many blobs.
    pub(crate) fn packs(&self) -> PathBuf {
        self.root.join("packs")
    }

    /// How far a verification in steps has come.
    pub(crate) fn verified(&self) -> PathBuf {
        self.root.join("verified")
    }

    /// The pack whose bytes have this address.
    pub(crate) fn pack(&self, id: &BlobId) -> PathBuf {
        self.packs().join(id.to_string())
    }

    /// Says that this directory is a backup, and of which store.
    pub(crate) fn backup_mark(&self) -> PathBuf {
        self.root.join("backup")
    }

    /// Locked by those who remove files, and by a backup, which keeps them from it.
    pub(crate) fn removals(&self) -> PathBuf {
        self.root.join("removals")
    }

    /// What the index knows and files do not tell, once more.
    pub(crate) fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// The segment of the journal that begins with the state as of a record.
    pub(crate) fn segment(&self, base: u64) -> PathBuf {
        // As many digits as the largest number has, so that names sort as numbers do.
        self.journal().join(format!("{base:020}"))
    }

    /// Bytes on their way in. Another directory than the blobs', so that a half-written file can never be
    /// taken for a blob; the same file system, so that it becomes one by a rename.
    pub(crate) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub(crate) fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    /// What can be lost without a loss: it only spares work.
    pub(crate) fn caches(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// What the latest snapshot of a tree found, by the digest of the tree's path.
    pub(crate) fn tree_cache(&self, tree: &Digest) -> PathBuf {
        self.caches().join(format!("tree-{tree}"))
    }

    /// Where the damaged file of a blob or pack goes: a name that no other has.
    pub(crate) fn quarantined(&self, id: &BlobId) -> PathBuf {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let nanos = since.map_or(0, |since| since.as_nanos());
        self.quarantine().join(format!("{id}.{nanos}"))
    }

    pub(crate) fn shard(&self, shard: u8) -> PathBuf {
        self.blobs().join(format!("{shard:02x}"))
    }

    pub(crate) fn blob(&self, id: &BlobId) -> PathBuf {
        let text = id.to_string();
        self.shard(shard_of(id)).join(&text[2..])
    }
}

/// The directory a blob belongs to.
pub(crate) fn shard_of(id: &BlobId) -> u8 {
    id.digest().as_bytes()[0]
}

/// The blob a file in a shard's directory holds by its name; `None` for a file that is not ours.
pub(crate) fn blob_named(shard: u8, name: &str) -> Option<BlobId> {
    format!("{shard:02x}{name}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_its_blob() {
        let id = BlobId::of(b"x");
        let path = Layout::new(Path::new("/s")).blob(&id);
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(path, Path::new("/s/blobs").join(&id.to_string()[..2]).join(name));
        assert_eq!(blob_named(shard_of(&id), name), Some(id));
        assert_eq!(blob_named(0, "../etc"), None);
        assert_eq!(blob_named(shard_of(&id), &name.to_uppercase()), None);
    }
}
