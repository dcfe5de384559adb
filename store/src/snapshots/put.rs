//! From a directory on the disk to a tree in the store.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use buildswarm_core::artifact::BlobRef;
use buildswarm_core::{BlobId, Digest};

use super::cache::{self, Cache};
use super::contents::{self, Content, Lot, Place};
use super::directory::{DIRECTORY_BYTES_MAX, Directory, Entry, Node};
use super::present::{self, Standing};
use super::scan::{self, Found, Scanned, Top};
use super::{Snapshot, TreeOptions};
use crate::batch::{Batch, require_stored};
use crate::disk;
use crate::error::{Error, READ, Result};
use crate::index::rows::RENEW_SECONDS;
use crate::packs::Compression;
use crate::store::Store;

/// How often a snapshot begins again because the store lost something it relied on.
const TRIES: usize = 3;

/// `began` is the time it is, in seconds since 1970.
pub(super) fn put_tree(store: &Store, path: &Path, options: &TreeOptions, began: u64) -> Result<Snapshot> {
    store.shared.require_writable()?;
    let top = Top::open(path)?;
    // The whole path names the cache: a tree is the same tree wherever one stands.
    let whole = std::fs::canonicalize(path).map_err(Error::io(READ, path))?;
    let memory = store.shared.layout.tree_cache(&Digest::of(whole.as_os_str().as_bytes()));
    let mut tries = 1;
    loop {
        match (Put { store, top: &top, options, memory: &memory, began }).run() {
            Err(Error::BlobMissing { .. }) if tries < TRIES => tries += 1,
            outcome => return outcome,
        }
    }
}

struct Put<'a> {
    store: &'a Store,
    top: &'a Top,
    options: &'a TreeOptions,
    /// Where the cache is.
    memory: &'a Path,
    /// When it began, or earlier.
    began: u64,
}

impl Put<'_> {
    fn run(&self) -> Result<Snapshot> {
        let shared = &self.store.shared;
        let standing = shared.index.read(|reader| Ok(present::standing(reader)?))?;
        let cache = self.remembered(&standing)?;
        let mut tree = scan::scan(self.top, self.options, cache.as_ref())?;
        let reused = reused(&tree);
        let batch = self.store.batch(Compression::Zstd)?;
        let files_read = self.read(&batch, &mut tree)?;
        let (objects, kept) = self.objects(&batch, &tree, cache.as_ref())?;
        let mut reused: Vec<BlobId> = reused.into_iter().chain(kept).collect();
        reused.sort_unstable();
        let renewed = cache.as_ref().map_or(self.began, Cache::renewed);
        let due = self.began.saturating_sub(renewed) > RENEW_SECONDS;
        let (_, (new, losses)) = batch.commit_with(|transaction, new| {
            let now = present::standing(transaction)?;
            if due || now != standing {
                require_stored(transaction, &reused, self.began)?;
            }
            Ok((new, now.losses))
        })?;
        let standing = Standing { losses, ..standing };
        let renewed = if due { self.began } else { renewed };
        self.remember(cache.as_ref(), &cache::encode(standing, renewed, self.began, &tree, &objects));
        // The top comes first, and is always there.
        let mut snapshot = Snapshot {
            root: objects[0],
            files: 0,
            directories: 0,
            symlinks: 0,
            bytes: 0,
            files_read,
            new_blobs: new.count,
            new_bytes: new.bytes,
        };
        tree.iter().flat_map(|directory| &directory.entries).for_each(|(_, found)| snapshot.count(found));
        Ok(snapshot)
    }

    /// What an earlier snapshot of this tree left, as far as it still holds.
    fn remembered(&self, standing: &Standing) -> Result<Option<Cache>> {
        // One that cannot be read is as good as none.
        let Some(mut cache) = std::fs::read(self.memory).ok().and_then(Cache::parse) else { return Ok(None) };
        if cache.standing().store != standing.store {
            return Ok(None);
        }
        if cache.standing().losses != standing.losses {
            let missing = self.store.shared.missing(cache.addresses())?;
            cache.forget(missing);
        }
        Ok(Some(cache))
    }

    /// Leaves the next snapshot what this one found. It can do without, so nothing is made of a failure.
    fn remember(&self, before: Option<&Cache>, bytes: &[u8]) {
        if before.is_none_or(|before| before.bytes() != bytes) {
            let _ = disk::write_cache(&self.store.shared.layout.tmp(), self.memory, bytes);
        }
    }

    /// Reads the files that are not known and adds them. How many they were.
    fn read(&self, batch: &Batch, tree: &mut [Scanned]) -> Result<u64> {
        let mut read: Vec<(Place, BlobId)> = Vec::new();
        contents::read_all(self.top, tree, |lot| {
            self.add(batch, tree, lot)?;
            read.extend(lot.places.iter().copied().zip(lot.blobs.iter().map(|blob| blob.id)));
            Ok(())
        })?;
        let count = read.len() as u64;
        for ((directory, entry), id) in read {
            if let Found::File { known, .. } = &mut tree[directory].entries[entry].1 {
                *known = Some(id);
            }
        }
        Ok(count)
    }

    fn add(&self, batch: &Batch, tree: &[Scanned], lot: &Lot) -> Result<()> {
        for (number, (blob, content)) in lot.blobs.iter().zip(lot.contents()).enumerate() {
            match content {
                Content::Bytes(bytes) => batch.add(*blob, bytes)?,
                Content::File(file) => {
                    if !batch.known(vec![blob.id])?.is_empty() {
                        continue;
                    }
                    let (directory, entry) = lot.places[number];
                    let directory = &tree[directory];
                    let path = self.top.path_of(&directory.path, directory.entries[entry].0.as_bytes());
                    let same = batch.add_from(*blob, file)?;
                    if !same || !lot.is_unchanged().map_err(Error::io(READ, &path))? {
                        return Err(Error::TreeChanged { path });
                    }
                }
            }
        }
        Ok(())
    }

    /// Makes the directory objects, those below first, and adds the new ones: their addresses in the order of the tree,
    /// and those that the cache has.
    fn objects(
        &self,
        batch: &Batch,
        tree: &[Scanned],
        cache: Option<&Cache>,
    ) -> Result<(Vec<BlobId>, Vec<BlobId>)> {
        let mut objects: Vec<Option<BlobId>> = vec![None; tree.len()];
        let mut kept = Vec::new();
        for (place, directory) in tree.iter().enumerate().rev() {
            let bytes = object(directory, &objects)
                .ok_or_else(|| Error::TreeChanged { path: self.top.path_of(&directory.path, b"") })?;
            let blob = BlobRef { id: BlobId::of(&bytes), size: bytes.len() as u64 };
            if blob.size > DIRECTORY_BYTES_MAX {
                let limit = format!("a directory's object may have {DIRECTORY_BYTES_MAX} bytes");
                return Err(Error::TreeTooLarge { path: self.top.path_of(&directory.path, b""), limit });
            }
            let before = cache.zip(directory.cached).and_then(|(cache, number)| cache.object(number));
            if before == Some(blob.id) {
                kept.push(blob.id);
            } else {
                batch.add(blob, &bytes)?;
            }
            objects[place] = Some(blob.id);
        }
        Ok((objects.into_iter().flatten().collect(), kept))
    }
}

/// The bytes of a directory's object; `None` if something in it is not known yet.
fn object(directory: &Scanned, objects: &[Option<BlobId>]) -> Option<Vec<u8>> {
    let entries = directory.entries.iter().map(|(name, found)| {
        let node = match found {
            Found::File { stamp, known } => Node::File {
                mode: super::Mode::of(stamp.mode),
                content: BlobRef { id: (*known)?, size: stamp.size },
            },
            Found::Directory { mode, number } => {
                Node::Directory { mode: *mode, object: (*objects.get(*number as usize)?)? }
            }
            Found::Symlink { target } => Node::Symlink { target: target.clone() },
        };
        Some(Entry { name: name.clone(), node })
    });
    Directory::new(entries.collect::<Option<_>>()?).ok().map(|directory| directory.encode())
}

/// Contents that are taken over unread.
fn reused(tree: &[Scanned]) -> HashSet<BlobId> {
    let found = tree.iter().flat_map(|directory| &directory.entries);
    found
        .filter_map(|(_, found)| match found {
            Found::File { known, .. } => *known,
            Found::Directory { .. } | Found::Symlink { .. } => None,
        })
        .collect()
}

impl Snapshot {
    const fn count(&mut self, found: &Found) {
        match found {
            Found::File { stamp, .. } => {
                self.files += 1;
                self.bytes += stamp.size;
            }
            Found::Directory { .. } => self.directories += 1,
            Found::Symlink { .. } => self.symlinks += 1,
        }
    }
}
