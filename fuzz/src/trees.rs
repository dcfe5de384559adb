//! Reading the directory objects of `buildswarm-store`: whatever is accepted is written back as the same bytes.

use buildswarm_store::{Directory, Node};

/// A directory that is accepted has the bytes it was read from as its only form, and holds nothing that leads out of it.
pub fn directory_decode(bytes: &[u8]) {
    let Ok(directory) = Directory::decode(bytes) else { return };
    assert_eq!(directory.encode(), bytes);
    for entry in directory.entries() {
        let name = entry.name.as_bytes();
        assert!(!name.is_empty() && name != b"." && name != b"..", "{name:?}");
        assert!(!name.contains(&b'/') && !name.contains(&0), "{name:?}");
        assert_eq!(directory.get(name), Some(entry));
        match &entry.node {
            Node::File { mode, .. } | Node::Directory { mode, .. } => assert!(mode.bits() <= 0o7777),
            Node::Symlink { target } => assert!(!target.as_os_str().is_empty()),
        }
    }
    assert!(directory.entries().is_sorted_by(|a, b| a.name < b.name));
}
