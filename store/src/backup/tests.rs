//! Failures at every step of a backup and of a restoration.

use std::path::Path;

use crate::faults::scripted::{Then, script, trace};
use crate::{INLINE_BYTES_MAX, Store};
use buildswarm_core::BlobId;

fn large(seed: u8) -> Vec<u8> {
    vec![seed; INLINE_BYTES_MAX + 1]
}

/// Whether there is a store with these blobs, and nothing wrong in it.
fn has(store: &Path, seeds: &[u8]) -> bool {
    let store = Store::open(store).unwrap();
    assert!(store.verify().unwrap().is_clean());
    seeds.iter().all(|seed| store.contains(BlobId::of(&large(*seed))).unwrap())
}

#[test]
fn a_backup_that_fails_anywhere_leaves_the_one_before() {
    for at in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let (path, to) = (dir.path().join("store"), dir.path().join("backup"));
        let store = Store::open(&path).unwrap();
        store.put_bytes(&large(1)).unwrap();
        store.backup(&to).unwrap();
        store.put_bytes(&large(2)).unwrap();
        script(Some((at, Then::Fail)));
        let outcome = store.backup(&to);
        let steps = trace();
        script(None);
        assert!(has(&to, &[1]), "step {at} of {steps:?}");
        store.backup(&to).unwrap();
        assert!(has(&to, &[1, 2]), "step {at} of {steps:?}");
        if outcome.is_ok() {
            assert!(at >= steps.len() && at > 10, "{steps:?}");
            return;
        }
    }
}

#[test]
fn the_index_of_a_backup_comes_after_what_it_refers_to() {
    use crate::faults::Step::{Link, Publish, SyncDirectory};
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    store.put_bytes(&large(1)).unwrap();
    store.backup(dir.path().join("backup")).unwrap();
    store.put_bytes(&large(2)).unwrap();
    script(None);
    store.backup(dir.path().join("backup")).unwrap();
    let steps = trace();
    script(None);
    let names: Vec<_> =
        steps.iter().copied().filter(|step| [Link, Publish, SyncDirectory].contains(step)).collect();
    let tail = [Link, SyncDirectory, SyncDirectory, Publish, SyncDirectory, Publish, SyncDirectory];
    // A blob; the old journal is gone; the index; the new journal.
    assert!(names.ends_with(&tail), "{steps:?}");
}

#[test]
fn a_restoration_that_fails_anywhere_makes_no_store_that_lacks_something() {
    for at in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let [path, back] = ["store", "back"].map(|name| dir.path().join(name));
        let store = Store::open(&path).unwrap();
        store.put_bytes(&large(1)).unwrap();
        script(Some((at, Then::Fail)));
        let outcome = Store::restore(&path, &back);
        let steps = trace();
        script(None);
        let is_open = Store::open(&back).is_ok_and(|store| store.stats().unwrap().file_blobs > 0);
        assert!(!is_open || has(&back, &[1]), "step {at} of {steps:?}");
        if outcome.is_ok() {
            assert!(is_open && at >= steps.len() && at > 10, "{steps:?}");
            return;
        }
    }
}
