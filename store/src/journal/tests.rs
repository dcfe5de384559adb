//! Whether journal and index agree, whatever happens between the two.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::faults::scripted::{Then, script, trace};
use crate::{GcOptions, Store};
use buildswarm_core::BlobId;
use buildswarm_core::time::UnixSeconds;

fn open() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

fn segment(dir: &Path) -> PathBuf {
    let mut segments = segments(&Layout::new(dir)).unwrap();
    assert_eq!(segments.len(), 1, "{segments:?}");
    segments.remove(0).1
}

/// What the journal holds: a record of each number, without those of the state.
fn records(dir: &Path) -> Vec<Record> {
    let mut records = Vec::new();
    let replay = Replay::of(&Layout::new(dir), |record| {
        records.push(record);
        Ok(())
    });
    assert!(replay.unwrap().damage.is_empty());
    records
}

fn inline(dir: &Path) -> Vec<Vec<u8>> {
    let bytes = |record| match record {
        Record::Inline { bytes } => Some(bytes),
        _ => None,
    };
    records(dir).into_iter().filter_map(bytes).collect()
}

fn has(store: &Store, bytes: &[u8]) -> bool {
    store.contains(BlobId::of(bytes)).unwrap()
}

const STORE: &str = "DIE_NOTING_IN";
const AT: &str = "DIE_NOTING_AT";

/// Not a test by itself: dies at the step it was told.
#[test]
fn child_that_dies_noting() {
    let Some(path) = std::env::var_os(STORE) else { return };
    let store = Store::open(path).unwrap();
    store.put_bytes(b"before").unwrap();
    script(Some((std::env::var(AT).unwrap().parse().unwrap(), Then::Die)));
    store.put_bytes(b"after").unwrap();
}

#[test]
fn what_was_noted_and_not_committed_is_there_after_a_death() {
    // Nothing was noted before step 0, and everything was after it: what a process wrote outlives it, synced or not.
    for (at, is_there) in [(0, false), (1, true), (2, true), (3, true)] {
        let dir = tempfile::tempdir().unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "journal::tests::child_that_dies_noting"])
            .env(STORE, dir.path())
            .env(AT, at.to_string())
            .output()
            .unwrap();
        assert!(!child.status.success(), "died at {at}");
        let store = Store::open(dir.path()).unwrap();
        assert!(has(&store, b"before"));
        assert_eq!(has(&store, b"after"), is_there, "died at {at}");
        assert_eq!(inline(dir.path()).len(), 1 + usize::from(is_there), "died at {at}");
        store.put_bytes(b"later").unwrap();
        drop(store);
        assert!(has(&Store::open(dir.path()).unwrap(), b"later"));
    }
}

#[test]
fn a_change_that_fails_at_any_step_is_in_neither() {
    for at in 0..3 {
        let (dir, store) = open();
        store.put_bytes(b"before").unwrap();
        script(Some((at, Then::Fail)));
        store.put_bytes(b"lost").unwrap_err();
        script(None);
        store.put_bytes(b"after").unwrap();
        assert!(!has(&store, b"lost") && has(&store, b"after"));
        drop(store);
        let mut found = inline(dir.path());
        found.sort();
        assert_eq!(found, [b"after".to_vec(), b"before".to_vec()], "failed at {at}");
        let store = Store::open(dir.path()).unwrap();
        assert!(!has(&store, b"lost") && has(&store, b"before") && has(&store, b"after"));
    }
}

#[test]
fn a_torn_tail_is_cut_off() {
    let (dir, store) = open();
    store.put_bytes(b"one").unwrap();
    drop(store);
    let path = segment(dir.path());
    let whole = fs::read(&path).unwrap();
    let mut next = Vec::new();
    frame::frame(2, &Record::Inline { bytes: b"two".to_vec() }.encode(), &mut next).unwrap();
    for torn in [&next[..1], &next[..20], &next[..next.len() - 1], &[0; 5000]] {
        fs::write(&path, [&whole, torn].concat()).unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), whole);
        assert!(!has(&store, b"two"));
    }
    fs::write(&path, [whole, next].concat()).unwrap();
    assert!(has(&Store::open(dir.path()).unwrap(), b"two"), "a whole one is not torn");
}

#[test]
fn an_index_that_was_put_back_catches_up() {
    let (dir, store) = open();
    let large = vec![1; crate::INLINE_BYTES_MAX + 1];
    drop(store);
    let old = fs::read(dir.path().join("index.db")).unwrap();
    let wal = fs::read(dir.path().join("index.db-wal")).unwrap();
    let store = Store::open(dir.path()).unwrap();
    let [file, log] = [&large[..], b"log"].map(|bytes| store.put_bytes(bytes).unwrap());
    let built = crate::tests::artifact(1, [file, log, log]);
    let _ = store.commit_artifact(&built, &[]).unwrap();
    let batch = store.batch(crate::Compression::Zstd).unwrap();
    let packed = batch.put_bytes(b"packed").unwrap();
    let in_batch = crate::tests::artifact(2, [packed; 3]);
    batch.commit_artifact(in_batch.clone(), &[]);
    let _ = batch.commit().unwrap();
    drop(store);
    fs::write(dir.path().join("index.db"), old).unwrap();
    fs::write(dir.path().join("index.db-wal"), wal).unwrap();
    fs::remove_file(dir.path().join("index.db-shm")).unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.artifact(built.key).unwrap(), Some(built.clone()), "the file was adopted");
    assert_eq!(store.artifact(in_batch.key).unwrap(), Some(in_batch), "and the pack");
    assert!(store.verify().unwrap().is_clean());
    drop(store);
}

#[test]
fn the_index_of_another_store_is_refused() {
    let (dir, store) = open();
    store.put_bytes(b"x").unwrap();
    drop(store);
    for name in ["index.db", "index.db-wal"] {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    let empty = tempfile::tempdir().unwrap();
    drop(Store::open(empty.path()).unwrap());
    fs::copy(empty.path().join("index.db"), dir.path().join("index.db")).unwrap();
    let refused = Store::open(dir.path()).unwrap_err().to_string();
    assert!(refused.contains("of another store"), "{refused}");
}

#[test]
fn what_could_not_be_taken_over_is_in_neither() {
    let (dir, store) = open();
    let blob = store.put_bytes(b"x").unwrap();
    drop(store);
    let missing = buildswarm_core::artifact::BlobRef { id: BlobId::of(b"never put"), size: 9 };
    let built = crate::tests::artifact(1, [missing, blob, blob]);
    let mut next = fs::read(segment(dir.path())).unwrap();
    let record = Record::Artifact { artifact: Box::new(built.clone()), places: Vec::new() };
    frame::frame(2, &record.encode(), &mut next).unwrap();
    fs::write(segment(dir.path()), next).unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.all_artifacts().count(), 0);
    assert!(!records(dir.path()).contains(&record));
    assert!(store.verify().unwrap().is_clean());
}

#[test]
fn an_index_older_than_the_journal_can_tell_is_refused() {
    let (dir, store) = open();
    drop(store);
    let old = fs::read(dir.path().join("index.db")).unwrap();
    let wal = fs::read(dir.path().join("index.db-wal")).unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.put_bytes(b"x").unwrap();
    store.shared.index.renew_journal().unwrap();
    drop(store);
    fs::write(dir.path().join("index.db"), old).unwrap();
    fs::write(dir.path().join("index.db-wal"), wal).unwrap();
    fs::remove_file(dir.path().join("index.db-shm")).unwrap();
    let refused = Store::open(dir.path()).unwrap_err();
    assert!(refused.to_string().contains("older than the journal"), "{refused}");
    Store::rebuild(dir.path()).unwrap();
    assert!(has(&Store::open(dir.path()).unwrap(), b"x"));
}

#[test]
fn a_journal_that_is_gone_or_damaged_is_written_from_the_index() {
    let harm: [fn(&Path); 4] = [
        |dir| fs::remove_dir_all(dir.join("journal")).unwrap(),
        |dir| fs::write(segment(dir), b"").unwrap(),
        |dir| {
            let mut bytes = fs::read(segment(dir)).unwrap();
            bytes[0] ^= 1;
            fs::write(segment(dir), bytes).unwrap();
        },
        |dir| {
            let bytes = fs::read(segment(dir)).unwrap();
            fs::write(segment(dir), &bytes[..bytes.len() - 1]).unwrap();
        },
    ];
    for (number, harm) in harm.iter().enumerate() {
        let (dir, store) = open();
        store.put_bytes(b"x").unwrap();
        drop(store);
        harm(dir.path());
        drop(Store::open(dir.path()).unwrap());
        assert_eq!(inline(dir.path()), [b"x"], "harm {number}");
    }
}

/// A journal that says much more than there is.
fn overgrown() -> (tempfile::TempDir, Store) {
    let (dir, store) = open();
    store.put_bytes(b"kept").unwrap();
    let writer = store.shared.index.write(|transaction| {
        for number in 0..400_u32 {
            let bytes = number.to_le_bytes().repeat(crate::INLINE_BYTES_MAX / 4);
            transaction.note(&Record::Inline { bytes: bytes.clone() });
            transaction.note(&Record::Forgotten { blobs: vec![BlobId::of(&bytes)] });
        }
        Ok(())
    });
    writer.unwrap();
    (dir, store)
}

fn sparing() -> GcOptions {
    GcOptions {
        now: UnixSeconds(0),
        dry_run: false,
        keep_days: 0,
        grace_seconds: 1,
        quota: None,
        evict_artifacts: false,
    }
}

#[test]
fn collection_writes_an_overgrown_journal_anew() {
    let (dir, store) = overgrown();
    let bytes = || fs::metadata(segment(dir.path())).unwrap().len();
    assert!(bytes() > SLACK_BYTES);
    store.gc(sparing()).unwrap();
    assert!(bytes() < 1000, "{}", bytes());
    assert_eq!(inline(dir.path()), [b"kept"]);
    store.put_bytes(b"later").unwrap();
    drop(store);
    assert_eq!(inline(dir.path()), [b"kept".to_vec(), b"later".to_vec()]);
    let before = bytes();
    drop(Store::open(dir.path()).unwrap());
    assert_eq!(bytes(), before, "a small one is left alone");
}

#[test]
fn closing_does_so_too() {
    let (dir, store) = overgrown();
    drop(store);
    assert!(fs::metadata(segment(dir.path())).unwrap().len() < 1000);
}

#[test]
fn what_is_noted_meanwhile_goes_over_to_the_new_segment() {
    let (dir, store) = overgrown();
    let shared = &store.shared;
    let place = shared.index.journal(|journal| journal.place());
    store.put_bytes(b"before the state is read").unwrap();
    let written = shared.index.read(|reader| Ok(write(&shared.layout, reader)?)).unwrap();
    store.put_bytes(b"after").unwrap();
    shared.index.journal(|journal| journal.replace(&shared.layout, written, place)).unwrap();
    store.put_bytes(b"later").unwrap();
    drop(store);
    let mut found = inline(dir.path());
    found.sort();
    let expected: [&[u8]; 4] = [b"after", b"before the state is read", b"kept", b"later"];
    assert_eq!(found, expected);
}

#[test]
fn a_new_segment_that_fails_anywhere_leaves_a_whole_journal() {
    for at in 0.. {
        let (dir, store) = overgrown();
        script(Some((at, Then::Fail)));
        let outcome = store.shared.index.compact_journal(true);
        let steps = trace();
        script(None);
        store.put_bytes(b"later").unwrap();
        // As if the process died here.
        std::mem::forget(store);
        fs::write(dir.path().join("lock"), b"").unwrap();
        let copy = tempfile::tempdir().unwrap();
        copy_dir(dir.path(), copy.path());
        let store = Store::open(copy.path()).unwrap();
        assert!(has(&store, b"kept") && has(&store, b"later"), "step {at} of {steps:?}");
        drop(store);
        let mut found = inline(copy.path());
        found.sort();
        assert_eq!(found, [b"kept".to_vec(), b"later".to_vec()], "step {at} of {steps:?}");
        segment(copy.path());
        if outcome.is_ok() {
            assert!(at >= steps.len() && at > 4);
            return;
        }
    }
}

fn copy_dir(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(&to).unwrap();
            copy_dir(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
