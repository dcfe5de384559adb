//! Replays the corpora of the fuzz targets that need nothing but this crate; a new finding is committed there.

use std::fs;

use buildswarm_store::{Directory, Node};

#[expect(unreachable_pub, reason = "a module of the fuzz package, where it is public")]
#[path = "../../fuzz/src/archives.rs"]
mod archives;
#[expect(unreachable_pub, reason = "a module of the fuzz package, where it is public")]
#[path = "../../fuzz/src/replay.rs"]
mod replay;
#[expect(unreachable_pub, reason = "a module of the fuzz package, where it is public")]
#[path = "../../fuzz/src/trees.rs"]
mod trees;

use replay::{files, replay};

#[test]
fn archive_read() {
    replay("archive_read", archives::archive_read);
}

#[test]
fn decompress() {
    replay("decompress", archives::decompress);
}

#[test]
fn frames_read() {
    replay("frames_read", archives::frames_read);
}

#[test]
fn pack_round_trip() {
    replay("pack_round_trip", archives::pack_round_trip);
}

#[test]
fn directory_decode() {
    replay("directory_decode", trees::directory_decode);
}

/// Seeds that are refused at their first field find nothing behind it: a new format takes new ones.
#[test]
fn an_entry_of_every_kind_is_among_the_seeds() {
    let seeds = files("directory_decode");
    let directories =
        seeds.iter().filter_map(|path| Directory::decode(&fs::read(path).expect("it can be read")).ok());
    let nodes: Vec<Node> = directories
        .flat_map(|directory| directory.entries().iter().map(|entry| entry.node.clone()).collect::<Vec<_>>())
        .collect();
    assert!(nodes.iter().any(|node| matches!(node, Node::File { .. })));
    assert!(nodes.iter().any(|node| matches!(node, Node::Directory { .. })));
    assert!(nodes.iter().any(|node| matches!(node, Node::Symlink { .. })));
}
