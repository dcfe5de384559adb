//! Replaying corpora, for the stable tests that take this file in.

use std::fs;
use std::path::{Path, PathBuf};

/// The inputs committed for a target.
///
/// # Panics
/// If there are none.
pub fn files(target: &str) -> Vec<PathBuf> {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let corpora = above.map(|directory| directory.join("fuzz/corpus")).find(|corpora| corpora.is_dir());
    let directory = corpora.expect("the corpora are in the source tree").join(target);
    let entries = fs::read_dir(directory).expect("the target has a corpus");
    let files: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
    assert!(!files.is_empty(), "the corpus of {target} is empty");
    files
}

/// Runs a target on each of its inputs.
///
/// # Panics
/// If the target does.
pub fn replay(target: &str, run: fn(&[u8])) {
    for path in files(target) {
        println!("{}", path.display());
        run(&fs::read(path).expect("it can be read"));
    }
    // What no corpus needs to hold.
    run(b"");
    run(&[0; 64]);
    run(&[0xff; 64]);
}
