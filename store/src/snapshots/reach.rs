//! Everything that trees hold: what keeps a tree's blobs from being collected.

use std::collections::HashSet;
use std::sync::Arc;

use buildswarm_core::BlobId;

use super::directory::Node;
use super::read::Objects;
use crate::error::Result;
use crate::store::Shared;

/// Adds every blob of the trees whose top directories are `roots` to `seen`: their directory objects and the
/// contents of their files.
///
/// Fails if a directory object is missing or damaged: what lies below it is unknown then, so nothing may be
/// removed. Contents are not looked at. Several trees in one call cost what they do not have in common.
///
/// Not to be called within a transaction that writes: a damaged object is taken out of service in one.
///
/// # Errors
/// [`Error::BlobMissing`](crate::Error::BlobMissing), [`Error::BlobDamaged`](crate::Error::BlobDamaged) or
/// [`Error::NotADirectory`](crate::Error::NotADirectory), each with the address of the object.
pub(crate) fn reachable(shared: &Arc<Shared>, roots: &[BlobId], seen: &mut HashSet<BlobId>) -> Result<()> {
    // Not the same as having been seen: the bytes of a directory object may also be the content of a file.
    let mut walked = HashSet::new();
    let mut ahead = roots.to_vec();
    let mut objects = Objects::new(shared);
    while let Some(id) = ahead.pop() {
        if !walked.insert(id) {
            continue;
        }
        let directory = objects.directory(id)?;
        seen.insert(id);
        for entry in directory.into_entries() {
            match entry.node {
                Node::File { content, .. } => {
                    seen.insert(content.id);
                }
                Node::Directory { object, .. } => ahead.push(object),
                Node::Symlink { .. } => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use buildswarm_core::artifact::BlobRef;

    use super::super::directory::{Directory, Entry, Mode, Name};
    use super::*;
    use crate::{Error, Store};

    fn put(store: &Store, entries: &[(&str, Node)]) -> BlobId {
        let entries = entries
            .iter()
            .map(|(name, node)| Entry { name: Name::new(name.as_bytes()).unwrap(), node: node.clone() })
            .collect();
        store.put_bytes(&Directory::new(entries).unwrap().encode()).unwrap().id
    }

    fn file(content: BlobRef) -> Node {
        Node::File { mode: Mode::of(0o644), content }
    }

    fn below(object: BlobId) -> Node {
        Node::Directory { mode: Mode::of(0o755), object }
    }

    #[test]
    fn everything_in_a_tree_is_reached_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (a, b) = (store.put_bytes(b"a").unwrap(), store.put_bytes(b"b").unwrap());
        store.put_bytes(b"elsewhere").unwrap();
        let inner = put(&store, &[("a", file(a))]);
        let root = put(&store, &[("1", below(inner)), ("2", below(inner)), ("b", file(b))]);
        let mut seen = HashSet::new();
        reachable(&store.shared, &[root], &mut seen).unwrap();
        assert_eq!(seen, HashSet::from([a.id, b.id, inner, root]));
    }

    #[test]
    fn what_was_a_file_elsewhere_is_still_walked_as_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let a = store.put_bytes(b"a").unwrap();
        let inner = put(&store, &[("a", file(a))]);
        let size = store.read_blob(inner, 1 << 20).unwrap().len() as u64;
        // The same bytes as the content of a file, met before they are met as a directory.
        let content = put(&store, &[("object", file(BlobRef { id: inner, size }))]);
        let root = put(&store, &[("inner", below(inner))]);
        let mut seen = HashSet::new();
        reachable(&store.shared, &[root, content], &mut seen).unwrap();
        assert!(seen.contains(&a.id));
    }

    #[test]
    fn a_directory_that_cannot_be_read_is_an_error_and_not_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let text = store.put_bytes(b"text").unwrap().id;
        let missing = BlobId::of(b"never put");
        for (object, missing) in [(missing, true), (text, false)] {
            let root = put(&store, &[("x", below(object))]);
            let error = reachable(&store.shared, &[root], &mut HashSet::new()).unwrap_err();
            let named = match error {
                Error::BlobMissing { id } if missing => id,
                Error::NotADirectory { id, .. } if !missing => id,
                other => panic!("{other:?}"),
            };
            assert_eq!(named, object);
        }
    }
}
