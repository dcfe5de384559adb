//! Replays the corpora of the fuzz targets that need nothing but this crate; a new finding is committed there.

use std::fs;
use std::path::PathBuf;

use buildswarm_store::{Directory, Node};

#[expect(unreachable_pub, reason = "a module of the fuzz package, where it is public")]
#[path = "../../fuzz/src/trees.rs"]
mod trees;

fn files(target: &str) -> Vec<PathBuf> {
    let directory = format!("{}/../fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let entries = fs::read_dir(directory).expect("the target has a corpus");
    entries.map(|entry| entry.expect("it can be listed").path()).collect()
}

fn replay(target: &str, run: fn(&[u8])) {
    let files = files(target);
    assert!(!files.is_empty(), "the corpus of {target} is empty");
    for path in files {
        println!("{}", path.display());
        run(&fs::read(path).expect("it can be read"));
    }
    // What no corpus needs to hold.
    run(b"");
    run(&[0; 64]);
    run(&[0xff; 64]);
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
