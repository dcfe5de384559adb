//! A process that is killed while it writes.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use buildswarm_core::{BlobId, BuildKey};
use buildswarm_store::Store;

use crate::support::{artifact, bytes, files_in, large, ruthless};

const STORE: &str = "PUT_IN_A_LOOP_IN";
const SEED: &str = "PUT_IN_A_LOOP_FROM";

/// How many processes are killed.
const KILLS: u64 = 12;

/// Not a test by itself: puts, commits and collects for ever, and says what it was promised.
#[test]
fn child_that_puts_in_a_loop() {
    let Some(path) = std::env::var_os(STORE) else { return };
    let first: u64 = std::env::var(SEED).unwrap().parse().unwrap();
    let store = Store::open(path).unwrap();
    let mut out = std::io::stdout().lock();
    for seed in first.. {
        let built = artifact(&store, "dev-libs/foo-1", seed);
        let _ = store.commit_artifact(&built, &[]).unwrap();
        // In one write, so that a kill cannot leave half a promise; the line begins after the test's own text.
        out.write_all(format!("\nacked {} {seed}\n", built.key).as_bytes()).unwrap();
        out.flush().unwrap();
        store.put_bytes(&bytes(seed + 1_000_000, 40_000)).unwrap();
        if seed % 5 == 0 {
            store.gc(ruthless()).unwrap();
        }
    }
}

/// Kills a child after `acks` promises and returns all that it made.
fn kill_after(path: &Path, first: u64, acks: usize) -> Vec<(BuildKey, u64)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child_that_puts_in_a_loop", "--nocapture"])
        .env(STORE, path)
        .env(SEED, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut acked = Vec::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in lines.by_ref() {
        let line = line.unwrap();
        if let Some(promise) = line.strip_prefix("acked ") {
            let (key, seed) = promise.split_once(' ').unwrap();
            acked.push((key.parse().unwrap(), seed.parse().unwrap()));
        }
        if acked.len() == acks {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    acked
}

#[test]
fn kill_nine_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let mut acked = Vec::new();
    for round in 0..KILLS {
        acked.extend(kill_after(&path, round * 1000, 1 + round as usize % 7));
        let store = Store::open(&path).unwrap();
        assert_eq!(files_in(&path.join("tmp")), 0);
        let keys: Vec<BuildKey> = acked.iter().map(|(key, _)| *key).collect();
        let found = store.artifacts(&keys).unwrap();
        for (key, seed) in &acked {
            let artifact = found.get(key).unwrap_or_else(|| panic!("round {round} lost {key}"));
            assert_eq!(artifact.file.id, BlobId::of(&large(*seed)));
            assert_eq!(store.read_blob(artifact.file.id, 1 << 20).unwrap(), large(*seed));
        }
        let report = store.verify().unwrap();
        assert!(report.is_clean(), "round {round}: {report:?}");
        store.gc(ruthless()).unwrap();
        assert_eq!(files_in(&path.join("blobs")) as u64, store.stats().unwrap().file_blobs);
    }
    assert!(acked.len() as u64 >= KILLS);
}
