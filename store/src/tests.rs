//! The order of steps, a failure at each of them, and a death at each of them.

mod packs;

use std::io::Write;
use std::path::Path;
use std::process::Command;

use buildswarm_core::artifact::{Artifact, BlobRef};
use buildswarm_core::time::UnixSeconds;
use buildswarm_core::{BlobId, BuildKey, Digest, ReuseKey};

use crate::faults::Step;
use crate::faults::scripted::{Then, script, trace};
use crate::{Error, GcOptions, INLINE_BYTES_MAX, Store};

fn large(seed: u8) -> Vec<u8> {
    vec![seed; INLINE_BYTES_MAX + 1]
}

fn ruthless() -> GcOptions {
    GcOptions { now: UnixSeconds(4_000_000_000), dry_run: false, keep_days: 0, grace_seconds: 0 }
}

fn artifact(key: u8, [file, log, preimage]: [BlobRef; 3]) -> Artifact {
    Artifact {
        key: BuildKey::from_digest(Digest::of(&[key])),
        package: "dev-libs/foo-1".parse().unwrap(),
        slot: "0".parse().unwrap(),
        repository: "gentoo".to_owned(),
        file,
        log,
        preimage,
        payload: Digest::of(b"payload"),
        interface: Digest::of(b"interface"),
        installed_size: 1,
        build_millis: 1,
        built_at: UnixSeconds(1),
        builder: "drone".to_owned(),
        metadata: std::collections::BTreeMap::new(),
    }
}

fn reuse() -> ReuseKey {
    ReuseKey::from_digest(Digest::of(b"reuse"))
}

fn files_in(dir: &Path) -> usize {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| if path.is_dir() { files_in(&path) } else { 1 })
        .sum()
}

#[test]
fn bytes_then_name_then_row() {
    use Step::{Commit, Committed, CreateTemp, Publish, SyncDirectory, SyncTemp, WriteTemp};
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    script(None);
    store.put_bytes(&large(1)).unwrap();
    // One write for what decided that it is large, none for the rest, which is empty.
    assert_eq!(trace(), [CreateTemp, WriteTemp, SyncTemp, Publish, SyncDirectory, Commit, Committed]);
    script(None);
    store.put_bytes(&large(1)).unwrap();
    assert_eq!(trace(), [CreateTemp, WriteTemp], "a known blob is only checked");
    script(None);
    store.put_bytes(b"small").unwrap();
    assert_eq!(trace(), [Commit, Committed]);
}

#[test]
fn row_then_file_then_row() {
    use Step::{Commit, Committed, SyncDirectory, Unlink};
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.put_bytes(&large(1)).unwrap();
    script(None);
    store.gc(ruthless()).unwrap();
    assert_eq!(trace(), [Commit, Committed, Unlink, SyncDirectory, Commit, Committed]);
}

#[test]
fn a_put_that_fails_anywhere_leaves_nothing_half_done() {
    for damaged in [false, true] {
        for at in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::open(dir.path()).unwrap();
            let id = BlobId::of(&large(1));
            if damaged {
                std::fs::write(store.shared.layout.blob(&id), b"rot").unwrap();
            }
            script(Some((at, Then::Fail)));
            let outcome = store.put_bytes(&large(1));
            let steps = trace();
            script(None);
            assert_eq!(files_in(&dir.path().join("tmp")), 0, "step {at} of {steps:?}");
            assert!(store.verify().unwrap().is_clean(), "step {at} of {steps:?}");
            match outcome {
                Ok(_) => {
                    assert!(at >= steps.len() && at > 6);
                    break;
                }
                Err(error) => assert!(matches!(error, Error::Io { .. }), "{error}"),
            }
            let visible = store.contains(id).unwrap();
            assert_eq!(visible, steps.contains(&Step::Committed), "step {at} of {steps:?}");
            store.put_bytes(&large(1)).unwrap();
            assert_eq!(store.read_blob(id, 1 << 20).unwrap(), large(1));
        }
    }
}

#[test]
fn a_put_wins_against_a_collection_that_stopped_anywhere() {
    for at in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let blobs = [large(1), b"small".to_vec()].map(|bytes| (store.put_bytes(&bytes).unwrap(), bytes));
        script(Some((at, Then::Fail)));
        let outcome = store.gc(ruthless());
        script(None);
        if outcome.is_ok() {
            assert!(at > 5);
            break;
        }
        assert!(store.verify().unwrap().is_clean());
        if at.is_multiple_of(2) {
            for (blob, bytes) in &blobs {
                assert_eq!(store.put_bytes(bytes).unwrap(), *blob);
                assert_eq!(store.read_blob(blob.id, 1 << 20).unwrap(), *bytes);
            }
        }
        store.gc(ruthless()).unwrap();
        let stats = store.stats().unwrap();
        assert_eq!((stats.file_blobs, stats.inline_blobs, files_in(&dir.path().join("blobs"))), (0, 0, 0));
    }
}

const STORE: &str = "DIE_IN_STORE";
const AT: &str = "DIE_AT_STEP";

/// What the child of [`a_death_at_any_step_breaks_no_promise`] does, saying what it was promised.
fn life(store: &Store, mut out: impl Write) {
    let mut say = |line: String| {
        out.write_all(format!("\n{line}\n").as_bytes()).unwrap();
        out.flush().unwrap();
    };
    let put = |bytes: &[u8]| store.put_bytes(bytes).unwrap();
    let whole = artifact(1, [put(&large(1)), put(b"log"), put(b"preimage")]);
    say(format!("put {}", whole.file.id));
    let _ = store.commit_artifact(&whole, &[reuse()]).unwrap();
    say(format!("committed {}", whole.key));
    let doomed = artifact(2, [put(&large(2)), put(b"log"), put(b"preimage")]);
    let _ = store.commit_artifact(&doomed, &[reuse()]).unwrap();
    let file = store.shared.layout.blob(&doomed.file.id);
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, b"rot").unwrap();
    assert!(store.open_blob(doomed.file.id).unwrap().is_none());
    put(&large(2));
    store.remove_artifact(doomed.key).unwrap();
    put(&large(3));
    store.gc(ruthless()).unwrap();
    put(&large(3));
    say("lived".to_owned());
}

/// Not a test by itself: dies at the step it was told.
#[test]
fn child_that_dies() {
    let Some(path) = std::env::var_os(STORE) else { return };
    let store = Store::open(path).unwrap();
    script(Some((std::env::var(AT).unwrap().parse().unwrap(), Then::Die)));
    life(&store, std::io::stdout());
}

#[test]
fn a_death_at_any_step_breaks_no_promise() {
    for at in 0_usize.. {
        let dir = tempfile::tempdir().unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::child_that_dies", "--nocapture"])
            .env(STORE, dir.path())
            .env(AT, at.to_string())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(files_in(&dir.path().join("tmp")), 0, "died at {at}");
        for line in said.lines() {
            if let Some(id) = line.strip_prefix("put ") {
                // Until it is committed a collection may take it, but here the commit comes first.
                assert!(store.contains(id.parse().unwrap()).unwrap(), "died at {at}");
            }
            if let Some(key) = line.strip_prefix("committed ") {
                let found = store.artifact(key.parse().unwrap()).unwrap().unwrap();
                assert_eq!(store.read_blob(found.file.id, 1 << 20).unwrap(), large(1), "died at {at}");
                assert_eq!(store.reused(&[reuse()]).unwrap()[&reuse()], found, "died at {at}");
            }
        }
        let report = store.verify().unwrap();
        // The only damage is what the child itself did before it could be noticed.
        let own = BlobId::of(&large(2));
        assert!(report.damaged.iter().all(|blob| blob.id == own), "died at {at}: {report:?}");
        assert!(report.missing.is_empty() && report.index.is_empty(), "died at {at}: {report:?}");
        life(&store, std::io::sink());
        assert!(store.verify().unwrap().is_clean(), "died at {at}");
        assert_eq!(store.shared.index.damage().unwrap(), Vec::<String>::new());
        store.gc(ruthless()).unwrap();
        assert_eq!(files_in(&dir.path().join("blobs")), 1, "died at {at}");
        if said.contains("\nlived\n") {
            assert!(child.status.success() && at > 30, "{at}");
            return;
        }
        assert!(!child.status.success(), "died at {at}: {child:?}");
    }
}

/// The index of a store of format 1, and how many artifacts it has.
const FORMAT_1: (&str, usize) = (include_str!("../tests/store/format-1.sql"), 3);

fn index_of_format_1(dir: &Path) {
    rusqlite::Connection::open(dir.join("index.db")).unwrap().execute_batch(FORMAT_1.0).unwrap();
}

/// The format of an index, with its number of artifacts.
fn format_of(index: &Path) -> (u32, usize) {
    let index = rusqlite::Connection::open(index).unwrap();
    let format = index.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    let count: u32 = index.query_row("SELECT count(*) FROM artifacts", [], |row| row.get(0)).unwrap();
    (format, count as usize)
}

#[test]
fn a_conversion_keeps_a_copy_first() {
    let dir = tempfile::tempdir().unwrap();
    index_of_format_1(dir.path());
    script(None);
    let store = Store::open(dir.path()).unwrap();
    let steps = trace();
    script(None);
    let at = |step| steps.iter().position(|taken| *taken == step).unwrap();
    // The copy gets its name and its directory is synced, then the index changes.
    assert_eq!(steps[at(Step::Publish) + 1], Step::SyncDirectory);
    assert_eq!(steps[at(Step::Publish) + 2], Step::Migrate);
    assert_eq!(at(Step::Committed), at(Step::Commit) + 1);
    assert_eq!(steps.iter().filter(|step| **step == Step::Commit).count(), 1, "one transaction");
    assert_eq!(store.all_artifacts().count(), FORMAT_1.1);
}

#[test]
fn a_conversion_that_fails_anywhere_leaves_one_format_or_the_other() {
    for at in 0.. {
        let dir = tempfile::tempdir().unwrap();
        index_of_format_1(dir.path());
        script(Some((at, Then::Fail)));
        let outcome = Store::open(dir.path());
        let steps = trace();
        script(None);
        if outcome.is_ok() {
            assert!(at >= steps.len() && at > 10);
            return;
        }
        left_by_a_conversion(
            dir.path(),
            steps.contains(&Step::Committed),
            &format!("step {at} of {steps:?}"),
        );
    }
}

/// What holds after a conversion that did not come to its end.
fn left_by_a_conversion(dir: &Path, committed: bool, when: &str) {
    let expected = if committed { 2 } else { 1 };
    assert_eq!(format_of(&dir.join("index.db")), (expected, FORMAT_1.1), "{when}");
    let kept = dir.join("index-format-1.db");
    assert!(!committed || kept.exists(), "{when}");
    if kept.exists() {
        assert_eq!(format_of(&kept), (1, FORMAT_1.1), "{when}");
    }
    let store = Store::open(dir).unwrap();
    assert_eq!(store.all_artifacts().count(), FORMAT_1.1, "{when}");
    assert_eq!(store.shared.index.damage().unwrap(), Vec::<String>::new(), "{when}");
    assert_eq!(files_in(&dir.join("tmp")), 0, "{when}");
    drop(store);
    assert_eq!(format_of(&dir.join("index.db")).0, 2, "{when}");
    assert_eq!(format_of(&kept), (1, FORMAT_1.1), "{when}");
}

/// Not a test by itself: dies while it opens a store, at the step it was told.
#[test]
fn child_that_dies_converting() {
    let Some(path) = std::env::var_os(STORE) else { return };
    script(Some((std::env::var(AT).unwrap().parse().unwrap(), Then::Die)));
    drop(Store::open(path).unwrap());
}

#[test]
fn a_death_while_converting_leaves_one_format_or_the_other() {
    // Which step has which number, from a conversion that nothing disturbs.
    let dir = tempfile::tempdir().unwrap();
    index_of_format_1(dir.path());
    script(None);
    drop(Store::open(dir.path()).unwrap());
    let steps = trace();
    let committed = steps.iter().position(|step| *step == Step::Committed).unwrap();
    for at in 0..=committed + 1 {
        let dir = tempfile::tempdir().unwrap();
        index_of_format_1(dir.path());
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::child_that_dies_converting"])
            .env(STORE, dir.path())
            .env(AT, at.to_string())
            .output()
            .unwrap();
        assert!(!child.status.success(), "died at {at}: {child:?}");
        left_by_a_conversion(dir.path(), at >= committed, &format!("died at {at} of {steps:?}"));
    }
}

#[test]
fn what_was_healed_meanwhile_is_not_taken_out_of_service() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for bytes in [large(1), b"small".to_vec()] {
        let blob = store.put_bytes(&bytes).unwrap();
        assert!(!store.shared.condemn(blob.id).unwrap());
        assert_eq!(store.read_blob(blob.id, 1 << 20).unwrap(), bytes);
    }
}
