//! Question: how long does the next snapshot of a tree of 150,000 files take when 100 of them changed?
//!
//! Peer:  `git add` and `git write-tree` of the same tree, if git is installed: the index of git recognises files in the
//!        same way.
//! Limit: `find -printf` of times and sizes: a walk and one lstat a file, on one thread, and nothing else.
//! Goal:  at most 1.5 s, with the tree and the index in memory.
//! Run:   cargo bench -p buildswarm-benches --bench resnapshot
//!
//! The tree is as deep and as bushy as a repository of ebuilds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use buildswarm_benches::{Random, Row, measure, timed, verdict};
use buildswarm_store::{Store, TreeOptions};

const FILES: usize = 150_000;
const FILES_OF_A_PACKAGE: usize = 8;
const PACKAGES_OF_A_CATEGORY: usize = 120;
const CHANGED: usize = 100;
const ROUNDS: usize = 7;

/// One of the files, by its number.
fn path_of(tree: &Path, number: usize) -> PathBuf {
    let package = number / FILES_OF_A_PACKAGE;
    let category = tree.join(format!("category-{}", package / PACKAGES_OF_A_CATEGORY));
    let directory = category.join(format!("package-{package}"));
    match number % FILES_OF_A_PACKAGE {
        0 => directory.join("Manifest"),
        1 => directory.join("metadata.xml"),
        2 if package.is_multiple_of(2) => directory.join("files/fix-build.patch"),
        version => directory.join(format!("package-{package}-1.{version}.ebuild")),
    }
}

fn make(tree: &Path) {
    let mut random = Random(1);
    for number in 0..FILES {
        let path = path_of(tree, number);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        let size = 500 + random.below(3_000);
        fs::write(path, random.bytes(size)).expect("a file");
    }
}

fn change(tree: &Path, random: &mut Random) {
    for _ in 0..CHANGED {
        let path = path_of(tree, random.below(FILES));
        fs::write(path, random.bytes(2_000)).expect("a file");
    }
}

fn git(tree: &Path, directory: &Path, arguments: &[&str]) {
    let status = Command::new("git")
        .arg(format!("--git-dir={}", directory.display()))
        .arg(format!("--work-tree={}", tree.display()))
        .args(arguments)
        .stdout(Stdio::null())
        .status()
        .expect("git");
    assert!(status.success(), "git {arguments:?}: {status}");
}

fn find(tree: &Path) {
    let mut command = Command::new("find");
    let status = command.arg(tree).args(["-printf", "%T@ %C@ %s %i\n"]).stdout(Stdio::null()).status();
    assert!(status.expect("find").success());
}

fn main() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
    let tree = directory.path().join("tree");
    make(&tree);
    let store = Store::open(directory.path().join("store")).expect("a store");
    let put = || store.put_tree(&tree, &TreeOptions { skip_special: false }).expect("a put");
    // Files that were just written are read again by the next snapshot.
    std::thread::sleep(std::time::Duration::from_secs(5));
    let (first, time) = timed(put);
    println!(
        "{} files in {} directories; the first snapshot took {time:.2?}",
        first.files, first.directories
    );
    put();
    let repository = directory.path().join("git");
    let has_git = Command::new("git").arg("--version").stdout(Stdio::null()).status().is_ok();
    if has_git {
        git(&tree, &repository, &["init", "-q"]);
        git(&tree, &repository, &["add", "-A"]);
    } else {
        println!("git is not installed: its row is left out");
    }
    let mut random = Random(2);
    let mut changed = Random(3);
    let mut rows = vec![
        Row::new("ours: 100 changes, durable", || {
            change(&tree, &mut random);
            timed(put).1
        }),
        Row::timed("limit: find -printf", || find(&tree)),
        Row::timed("ours: no change", put),
    ];
    if has_git {
        rows.push(Row::new("git add and write-tree, 100 changes", || {
            change(&tree, &mut changed);
            timed(|| {
                git(&tree, &repository, &["add", "-A"]);
                git(&tree, &repository, &["write-tree"]);
            })
            .1
        }));
    }
    let medians = measure(ROUNDS, rows);
    verdict(medians[0], medians[1], "no figure of its own; the snapshot at most 1.5 s");
}
