//! Question: how long does it take until a large package file, and a thousand small blobs, are durably stored?
//!
//! Peer:  `cat` into a new file and fsync; BLAKE3 of the same bytes in memory.
//! Limit: `cat` and fsync (writing and hashing overlap, so hashing is no excuse).
//! Goal:  a large put at most 1.10 × limit.
//! Run:   cargo bench -p buildswarm-benches --bench store_put
//!
//! Every measurement writes into a fresh directory: making files on ext4 soon after deleting some is slower.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use buildswarm_benches::{Random, Row, measure, timed, verdict};
use buildswarm_store::Store;

const LARGE_BYTES: usize = 500 << 20;
const SMALL: usize = 1_000;
const SMALL_BYTES: usize = 4 << 10;
const ROUNDS: usize = 5;

/// Directories that were not there before.
struct Fresh<'a> {
    below: &'a Path,
    made: std::cell::Cell<u32>,
}

impl Fresh<'_> {
    fn directory(&self) -> PathBuf {
        self.made.set(self.made.get() + 1);
        let path = self.below.join(self.made.get().to_string());
        std::fs::create_dir(&path).expect("a directory");
        path
    }

    fn store(&self) -> (PathBuf, Store) {
        let path = self.directory();
        let store = Store::open(&path).expect("a store");
        (path, store)
    }
}

/// Frees the disk; outside of what is measured.
fn remove(path: &Path) {
    std::fs::remove_dir_all(path).expect("a directory to remove");
}

fn cat(source: &Path, target: &Path) {
    let out = File::create_new(target).expect("a new file");
    let stdout = Stdio::from(out.try_clone().expect("a descriptor"));
    let status = Command::new("cat").arg(source).stdout(stdout).status().expect("cat");
    assert!(status.success(), "cat: {status}");
    out.sync_all().expect("fsync");
}

fn main() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
    let source = directory.path().join("package.gpkg.tar");
    let bytes = Random(1).bytes(LARGE_BYTES);
    std::fs::write(&source, &bytes).expect("a file");
    File::open(&source).and_then(|file| file.sync_all()).expect("fsync");
    let small: Vec<Vec<u8>> = (0..SMALL).map(|number| Random(number as u64).bytes(SMALL_BYTES)).collect();
    let fresh = Fresh { below: directory.path(), made: 0.into() };

    println!("one file of {} MiB; {SMALL} blobs of {} KiB", LARGE_BYTES >> 20, SMALL_BYTES >> 10);
    let medians = measure(
        ROUNDS,
        vec![
            Row::new("ours: put_file, durable", || {
                let (path, store) = fresh.store();
                let time = timed(|| store.put_file(&source).expect("a put")).1;
                drop(store);
                remove(&path);
                time
            }),
            Row::new("limit: cat and fsync", || {
                let path = fresh.directory();
                let time = timed(|| cat(&source, &path.join("copy"))).1;
                remove(&path);
                time
            }),
            Row::timed("BLAKE3 in memory, one thread", || blake3::hash(&bytes)),
            Row::new("ours: small blobs, one put each", || {
                let (path, store) = fresh.store();
                let put = |blob: &Vec<u8>| {
                    store.put_bytes(blob).expect("a put");
                };
                let time = timed(|| small.iter().for_each(put)).1;
                drop(store);
                remove(&path);
                time
            }),
            Row::new("small files, written and fsynced one by one", || {
                let path = fresh.directory();
                let write = |(number, blob): (usize, &Vec<u8>)| {
                    let file = path.join(number.to_string());
                    std::fs::write(&file, blob).and_then(|()| File::open(&file)?.sync_all()).expect("a file");
                };
                let time = timed(|| small.iter().enumerate().for_each(write)).1;
                remove(&path);
                time
            }),
        ],
    );
    println!("small blobs a second: {:.0}", SMALL as f64 / medians[3].as_secs_f64());
    verdict(medians[0], medians[1], "at most 1.10");
}
