//! Keys and what they resolve to.

use buildswarm_core::Digest;
use buildswarm_core::artifact::BlobRef;
use buildswarm_store::{Committed, Error};

use crate::support::{artifact, bytes, file_of, key, large, store, tamper, with_blobs};

#[test]
fn a_key_resolves_to_what_was_committed() {
    let (_dir, store) = store();
    let wanted = artifact(&store, "dev-libs/foo-1", 1);
    assert_eq!(store.artifact(wanted.key).unwrap(), None);
    assert_eq!(store.commit_artifact(&wanted, &[]).unwrap(), Committed::First);
    assert_eq!(store.artifact(wanted.key).unwrap(), Some(wanted.clone()));
    assert_eq!(store.commit_artifact(&wanted, &[]).unwrap(), Committed::AlreadyThere);
    assert_eq!(store.reproductions(wanted.key).unwrap(), [], "a repeated commit is no evidence");
    assert!(store.remove_artifact(wanted.key).unwrap());
    assert!(!store.remove_artifact(wanted.key).unwrap());
    assert_eq!(store.artifact(wanted.key).unwrap(), None);
}

#[test]
fn an_artifact_needs_its_blobs() {
    let (_dir, store) = store();
    let whole = artifact(&store, "dev-libs/foo-1", 1);
    let absent = BlobRef { id: buildswarm_core::BlobId::of(b"absent"), size: 6 };
    let wrong = BlobRef { size: 1, ..whole.log };
    for blobs in [
        [absent, whole.log, whole.preimage],
        [whole.file, absent, whole.preimage],
        [whole.file, whole.log, absent],
    ] {
        let error = store.commit_artifact(&with_blobs("dev-libs/foo-1", 1, blobs), &[]).unwrap_err();
        assert!(matches!(error, Error::BlobMissing { id } if id == absent.id), "{error}");
    }
    let lying = with_blobs("dev-libs/foo-1", 1, [whole.file, wrong, whole.preimage]);
    assert!(matches!(
        store.commit_artifact(&lying, &[]),
        Err(Error::WrongSize { stored: 300, declared: 1, .. })
    ));
    assert_eq!(store.artifact(whole.key).unwrap(), None);
}

#[test]
fn the_first_writer_wins_and_the_second_is_evidence() {
    let (_dir, store) = store();
    let first = artifact(&store, "dev-libs/foo-1", 1);
    let mut second = artifact(&store, "dev-libs/foo-1", 2);
    second.key = first.key;
    second.builder = "drone-2".to_owned();
    assert_eq!(store.commit_artifact(&first, &[]).unwrap(), Committed::First);
    assert_eq!(store.commit_artifact(&second, &[]).unwrap(), Committed::AlreadyThere);
    assert_eq!(store.artifact(first.key).unwrap(), Some(first.clone()));
    let evidence = store.reproductions(first.key).unwrap();
    assert_eq!(evidence.len(), 1);
    assert_eq!((evidence[0].payload, evidence[0].builder.as_str()), (second.payload, "drone-2"));
    assert_eq!((evidence[0].key, evidence[0].seen_at), (first.key, second.built_at));
}

#[test]
fn an_artifact_that_lost_a_blob_does_not_resolve_until_healed() {
    let (dir, store) = store();
    let path = dir.path().join("store");
    let wanted = artifact(&store, "dev-libs/foo-1", 1);
    let _ = store.commit_artifact(&wanted, &[]).unwrap();
    let file = file_of(&path, wanted.file.id);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(store.artifact(wanted.key).unwrap(), None, "the row alone is not enough");
    assert!(store.present(&[wanted.key]).unwrap().is_empty());
    store.put_bytes(&large(1)).unwrap();
    assert_eq!(store.artifact(wanted.key).unwrap(), Some(wanted.clone()));

    tamper(&file, |bytes| bytes[5] ^= 1);
    let report = store.verify().unwrap();
    assert_eq!((report.damaged, report.unresolvable), (vec![wanted.file], vec![wanted.key]));
    assert_eq!(store.artifact(wanted.key).unwrap(), None);
    assert_eq!(store.artifacts_of("dev-libs/foo").unwrap().len(), 1, "still on record");
    store.put_bytes(&large(1)).unwrap();
    assert_eq!(store.artifact(wanted.key).unwrap(), Some(wanted));
}

#[test]
fn a_broken_artifact_makes_room_for_a_new_build() {
    let (dir, store) = store();
    let broken = artifact(&store, "dev-libs/foo-1", 1);
    let _ = store.commit_artifact(&broken, &[]).unwrap();
    std::fs::remove_file(file_of(&dir.path().join("store"), broken.file.id)).unwrap();
    let mut rebuilt = artifact(&store, "dev-libs/foo-1", 2);
    rebuilt.key = broken.key;
    assert_eq!(store.commit_artifact(&rebuilt, &[]).unwrap(), Committed::First);
    assert_eq!(store.artifact(broken.key).unwrap(), Some(rebuilt));
    assert_eq!(store.reproductions(broken.key).unwrap()[0].payload, broken.payload);
}

#[test]
fn many_keys_are_asked_for_at_once() {
    let (_dir, store) = store();
    let shared = artifact(&store, "dev-libs/foo-1", 0);
    let blobs = [shared.file, shared.log, shared.preimage];
    for seed in 0..600 {
        let _ = store.commit_artifact(&with_blobs("dev-libs/foo-1", seed, blobs), &[]).unwrap();
    }
    let keys: Vec<_> = (300..900).rev().chain(300..310).map(key).collect();
    let found = store.artifacts(&keys).unwrap();
    assert_eq!(found.len(), 300);
    assert!(found.iter().all(|(key, artifact)| artifact.key == *key));
    assert_eq!(store.present(&keys).unwrap().len(), 300);
    assert!(store.artifacts(&[]).unwrap().is_empty());
    let all: Vec<_> = store.all_artifacts().map(|artifact| artifact.unwrap().key).collect();
    assert_eq!(all.len(), 600);
    assert!(all.is_sorted());
}

#[test]
fn artifacts_of_a_package_newest_first() {
    let (_dir, store) = store();
    for (package, seed) in [("dev-libs/foo-1", 1), ("dev-libs/foo-2", 2), ("dev-libs/foo-bar-1", 3)] {
        let _ = store.commit_artifact(&artifact(&store, package, seed), &[]).unwrap();
    }
    let found = store.artifacts_of("dev-libs/foo").unwrap();
    let found: Vec<_> = found.iter().map(|artifact| artifact.package.as_str()).collect();
    assert_eq!(found, ["dev-libs/foo-2", "dev-libs/foo-1"]);
}

#[test]
fn two_artifacts_race_for_a_key_and_one_wins() {
    let (_dir, store) = store();
    let firsts = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..8)
            .map(|seed| {
                let store = &store;
                scope.spawn(move || {
                    let mut racer = artifact(store, "dev-libs/foo-1", seed);
                    racer.key = key(99);
                    racer.payload = Digest::of(&bytes(seed, 8));
                    store.commit_artifact(&racer, &[]).unwrap()
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(firsts.iter().filter(|committed| **committed == Committed::First).count(), 1);
    assert_eq!(store.reproductions(key(99)).unwrap().len(), 7);
}
