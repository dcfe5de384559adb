//! The entries of a tree in the store.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use buildswarm_core::BlobId;

use super::directory::{Entry, Node};
use super::read::Objects;
use super::scan::{TREE_ENTRIES_MAX, TREE_PATH_BYTES_MAX, join};
use crate::error::{Error, Result};
use crate::store::Shared;

/// The entries of a tree: see [`Store::walk_tree`](crate::Store::walk_tree).
///
/// A tree that names one directory many times is walked many times there, up to [`TREE_ENTRIES_MAX`] entries in all.
#[derive(Debug)]
pub struct TreeWalk<'a> {
    objects: Objects<'a>,
    /// The directories that the walk is in, with what is left of each.
    within: Vec<(Box<[u8]>, std::vec::IntoIter<Entry>)>,
    root: Option<BlobId>,
    /// How many entries there may still be.
    left: u64,
}

impl<'a> TreeWalk<'a> {
    pub(super) const fn new(shared: &'a Arc<Shared>, root: BlobId) -> Self {
        Self::bounded(shared, root, TREE_ENTRIES_MAX)
    }

    pub(super) const fn bounded(shared: &'a Arc<Shared>, root: BlobId, entries: u64) -> Self {
        Self { objects: Objects::new(shared), within: Vec::new(), root: Some(root), left: entries }
    }

    fn enter(&mut self, path: Box<[u8]>, object: BlobId) -> Result<()> {
        let too_large = |limit| {
            let path = PathBuf::from(OsStr::from_bytes(&path));
            Err(Error::TreeTooLarge { path, limit })
        };
        if path.len() > TREE_PATH_BYTES_MAX {
            return too_large(format!("a path may have {TREE_PATH_BYTES_MAX} bytes from the top"));
        }
        let entries = self.objects.directory(object)?.into_entries();
        match self.left.checked_sub(entries.len() as u64) {
            Some(left) => self.left = left,
            None => return too_large(format!("it may have {TREE_ENTRIES_MAX} entries")),
        }
        self.within.push((path, entries.into_iter()));
        Ok(())
    }

    fn advance(&mut self) -> Result<Option<(Box<[u8]>, Entry)>> {
        if let Some(root) = self.root.take() {
            self.enter(Box::default(), root)?;
        }
        while let Some((path, entries)) = self.within.last_mut() {
            let Some(entry) = entries.next() else {
                self.within.pop();
                continue;
            };
            let path = join(path, entry.name.as_bytes());
            if let Node::Directory { object, .. } = entry.node {
                self.enter(path.clone(), object)?;
            }
            return Ok(Some((path, entry)));
        }
        Ok(None)
    }

    /// The next entry with its path as bytes.
    pub(super) fn next_entry(&mut self) -> Option<Result<(Box<[u8]>, Entry)>> {
        let next = self.advance();
        if next.is_err() {
            self.within.clear();
        }
        next.transpose()
    }
}

impl Iterator for TreeWalk<'_> {
    type Item = Result<(PathBuf, Entry)>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_entry()?;
        Some(next.map(|(path, entry)| (PathBuf::from(OsStr::from_bytes(&path)), entry)))
    }
}
