//! Reuse keys and what they lead to.

use std::collections::{BTreeMap, BTreeSet};

use buildswarm_core::ReuseKey;
use buildswarm_core::artifact::{Artifact, BlobRef};
use buildswarm_store::{Committed, Error, SignedPackage, Store};

use crate::support::{artifact, file_of, key, large, reuse, ruthless, store, with_blobs};

fn commit(store: &Store, seed: u64, keys: &[ReuseKey]) -> Artifact {
    let artifact = artifact(store, "dev-libs/foo-1", seed);
    assert_eq!(store.commit_artifact(&artifact, keys).unwrap(), Committed::First);
    artifact
}

/// The number of the artifact that a reuse key leads to.
fn led_to(store: &Store, number: u64) -> Option<Artifact> {
    store.reused(&[reuse(number)]).unwrap().remove(&reuse(number))
}

fn keys_of(store: &Store, seed: u64) -> BTreeSet<ReuseKey> {
    store.reuse_keys_of(key(seed)).unwrap().into_iter().collect()
}

#[test]
fn an_artifact_is_found_by_each_of_its_keys() {
    let (dir, store) = store();
    assert_eq!(led_to(&store, 1), None);
    let wanted = commit(&store, 1, &[reuse(1), reuse(2), reuse(1)]);
    assert_eq!((led_to(&store, 1), led_to(&store, 2)), (Some(wanted.clone()), Some(wanted.clone())));
    assert_eq!(led_to(&store, 3), None);
    assert_eq!(keys_of(&store, 1), [reuse(1), reuse(2)].into());
    assert_eq!(keys_of(&store, 2), [].into());
    let reader = Store::open_read_only(dir.path().join("store")).unwrap();
    assert_eq!(led_to(&reader, 2), Some(wanted));
}

#[test]
fn the_two_kinds_of_keys_never_meet() {
    let (_dir, store) = store();
    let wanted = commit(&store, 1, &[reuse(2)]);
    // The same bytes as a key of the other kind.
    assert_eq!(reuse(1).digest(), wanted.key.digest());
    assert_eq!(led_to(&store, 1), None);
    assert_eq!(store.artifact(key(2)).unwrap(), None);
}

#[test]
fn the_first_stays_and_the_others_are_alternatives() {
    let (dir, store) = store();
    let path = dir.path().join("store");
    let built = [1, 2, 3].map(|seed| commit(&store, seed, &[reuse(1)]));
    assert_eq!(led_to(&store, 1), Some(built[0].clone()));
    std::fs::remove_file(file_of(&path, built[0].file.id)).unwrap();
    assert_eq!(led_to(&store, 1), Some(built[1].clone()), "the row alone is not enough");
    store.remove_artifact(built[1].key).unwrap();
    assert_eq!(led_to(&store, 1), Some(built[2].clone()));
    store.put_bytes(&large(1)).unwrap();
    assert_eq!(led_to(&store, 1), Some(built[0].clone()), "healed, it is the first again");
    store.remove_artifact(built[0].key).unwrap();
    std::fs::remove_file(file_of(&path, built[2].file.id)).unwrap();
    assert_eq!(led_to(&store, 1), None);
}

#[test]
fn a_later_commit_adds_its_keys_to_the_artifact_that_stays() {
    let (_dir, store) = store();
    let first = commit(&store, 1, &[reuse(1)]);
    let other = commit(&store, 2, &[reuse(2)]);
    assert_eq!(store.commit_artifact(&first, &[reuse(2), reuse(3)]).unwrap(), Committed::AlreadyThere);
    let mut differing = artifact(&store, "dev-libs/foo-1", 4);
    differing.key = first.key;
    assert_eq!(store.commit_artifact(&differing, &[reuse(1), reuse(4)]).unwrap(), Committed::AlreadyThere);
    assert_eq!(keys_of(&store, 1), [1, 2, 3, 4].map(reuse).into());
    for number in [1, 3, 4] {
        assert_eq!(led_to(&store, number), Some(first.clone()), "{number}");
    }
    assert_eq!(led_to(&store, 2), Some(other), "it was there first");
    assert_eq!(store.commit_artifact(&first, &[]).unwrap(), Committed::AlreadyThere);
    assert_eq!(keys_of(&store, 1).len(), 4, "a commit takes none away");
}

#[test]
fn what_is_refused_records_no_reuse_key() {
    let (_dir, store) = store();
    let whole = commit(&store, 1, &[reuse(1)]);
    let absent = BlobRef { id: buildswarm_core::BlobId::of(b"absent"), size: 6 };
    let lacking = with_blobs("dev-libs/foo-1", 1, [absent, whole.log, whole.preimage]);
    let error = store.commit_artifact(&lacking, &[reuse(2)]).unwrap_err();
    assert!(matches!(error, Error::BlobMissing { .. }), "{error}");
    assert_eq!(keys_of(&store, 1), [reuse(1)].into());
}

#[test]
fn a_replacement_takes_over_the_keys_and_their_places() {
    let (dir, store) = store();
    let broken = commit(&store, 1, &[reuse(1), reuse(2)]);
    let second = commit(&store, 2, &[reuse(1)]);
    let file = store.put_bytes(&large(9)).unwrap();
    let signed = SignedPackage { file, index_entry: "{}".to_owned() };
    store.put_signed(broken.key, "FPR", &signed).unwrap();
    std::fs::remove_file(file_of(&dir.path().join("store"), broken.file.id)).unwrap();
    let mut rebuilt = artifact(&store, "dev-libs/foo-1", 3);
    rebuilt.key = broken.key;
    assert_eq!(store.commit_artifact(&rebuilt, &[reuse(3)]).unwrap(), Committed::First);
    for number in [1, 2, 3] {
        assert_eq!(led_to(&store, number), Some(rebuilt.clone()), "{number}");
    }
    assert_eq!(store.signed_package(broken.key, "FPR").unwrap(), None, "that was of other bytes");
    store.remove_artifact(rebuilt.key).unwrap();
    assert_eq!((led_to(&store, 1), led_to(&store, 2)), (Some(second), None));
}

#[test]
fn a_reuse_key_goes_with_its_artifact_and_keeps_nothing() {
    let (_dir, store) = store();
    let gone = commit(&store, 1, &[reuse(1)]);
    store.remove_artifact(gone.key).unwrap();
    assert_eq!((keys_of(&store, 1), led_to(&store, 1)), ([].into(), None));
    assert_eq!(store.gc(ruthless()).unwrap().blobs.count, 3);
    let kept = commit(&store, 2, &[reuse(1)]);
    assert_eq!(store.gc(ruthless()).unwrap().blobs.count, 0);
    assert_eq!(led_to(&store, 1), Some(kept));
    // Committed once more, the removed one comes after it.
    commit(&store, 1, &[reuse(1)]);
    assert_eq!(led_to(&store, 1).unwrap().key, key(2));
    assert!(store.verify().unwrap().is_clean());
}

#[test]
fn what_cannot_be_told_is_not_taken_for_missing() {
    let (dir, store) = store();
    let first = commit(&store, 1, &[reuse(1)]);
    commit(&store, 2, &[reuse(1), reuse(2)]);
    let file = file_of(&dir.path().join("store"), first.file.id);
    let shard = file.parent().unwrap();
    std::fs::remove_dir_all(shard).unwrap();
    std::fs::write(shard, b"no directory").unwrap();
    let error = store.reused(&[reuse(1)]).unwrap_err();
    assert!(matches!(&error, Error::Io { path, .. } if *path == file), "{error}");
    assert!(led_to(&store, 2).is_some());
}

#[test]
fn many_reuse_keys_are_asked_for_at_once() {
    let (_dir, store) = store();
    let shared = artifact(&store, "dev-libs/foo-1", 0);
    let blobs = [shared.file, shared.log, shared.preimage];
    // Two artifacts for each reuse key.
    for seed in 0..600 {
        let artifact = with_blobs("dev-libs/foo-1", seed, blobs);
        let _ = store.commit_artifact(&artifact, &[reuse(seed / 2)]).unwrap();
    }
    let keys: Vec<_> = (0..600).rev().chain(0..10).map(reuse).collect();
    let found = store.reused(&keys).unwrap();
    let expected: BTreeMap<_, _> = (0..300).map(|number| (reuse(number), key(2 * number))).collect();
    let found: BTreeMap<_, _> = found.into_iter().map(|(reuse, artifact)| (reuse, artifact.key)).collect();
    assert_eq!(found, expected);
    assert!(store.reused(&[]).unwrap().is_empty());
}

#[test]
fn artifacts_race_for_a_reuse_key_and_all_have_a_place() {
    let (_dir, store) = store();
    let winners = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..8)
            .map(|seed| {
                let store = &store;
                scope.spawn(move || {
                    commit(store, seed, &[reuse(1), reuse(seed + 10)]);
                    led_to(store, 1).unwrap().key
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect::<BTreeSet<_>>()
    });
    assert_eq!(winners.len(), 1, "whoever asks after a commit is told the same");
    let mut led = BTreeSet::new();
    while let Some(artifact) = led_to(&store, 1) {
        assert!(led.insert(artifact.key));
        store.remove_artifact(artifact.key).unwrap();
    }
    assert_eq!(led.len(), 8);
}
