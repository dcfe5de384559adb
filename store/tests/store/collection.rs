//! What collection removes and what it must not.

use std::fs;

use buildswarm_core::time::UnixSeconds;
use buildswarm_store::{
    Attempt, Error, GRACE_SECONDS, GcOptions, GenerationRow, KeptBecause, Purpose, Run, SignedPackage, Store,
    Tally,
};

use crate::support::{artifact, bytes, file_of, files_in, key, large, ruthless, store, tamper};

#[test]
fn only_what_nothing_refers_to_goes() {
    let (dir, store) = store();
    let path = dir.path().join("store");
    let kept = artifact(&store, "dev-libs/foo-1", 1);
    let _ = store.commit_artifact(&kept, &[]).unwrap();
    let loose = [store.put_bytes(&large(50)).unwrap(), store.put_bytes(&bytes(50, 100)).unwrap()];
    let would = store.gc(GcOptions { dry_run: true, ..ruthless() }).unwrap();
    assert!(store.contains(loose[0].id).unwrap() && store.contains(loose[1].id).unwrap());
    let did = store.gc(ruthless()).unwrap();
    assert_eq!(would, did);
    assert_eq!(did.blobs, Tally { count: 2, bytes: loose[0].size + loose[1].size });
    assert_eq!(did.freed_bytes, did.blobs.bytes);
    assert_eq!(did.kept_by_reason[&KeptBecause::Artifact].count, 3);
    assert!(loose.iter().all(|blob| !store.contains(blob.id).unwrap()));
    assert_eq!(store.artifact(kept.key).unwrap(), Some(kept.clone()));

    store.remove_artifact(kept.key).unwrap();
    assert_eq!(store.gc(ruthless()).unwrap().blobs.count, 3);
    assert_eq!(files_in(&path.join("blobs")), 0);
    assert_eq!(store.stats().unwrap().inline_blobs, 0);
}

#[test]
fn what_was_put_lately_stays() {
    let (_dir, store) = store();
    let blob = store.put_bytes(&large(1)).unwrap();
    let options = GcOptions { now: UnixSeconds(0), grace_seconds: GRACE_SECONDS, ..ruthless() };
    let report = store.gc(options).unwrap();
    assert_eq!(report.kept_by_reason[&KeptBecause::Grace].count, 1, "also on a clock that went backwards");
    assert!(store.contains(blob.id).unwrap());
}

#[test]
fn signed_packages_and_generations_protect_their_files() {
    let (_dir, store) = store();
    let built = artifact(&store, "dev-libs/foo-1", 1);
    let _ = store.commit_artifact(&built, &[]).unwrap();
    let signed = SignedPackage { file: store.put_bytes(&large(2)).unwrap(), index_entry: "{}".to_owned() };
    store.put_signed(built.key, "FPR", &signed).unwrap();
    assert_eq!(store.gc(ruthless()).unwrap().kept_by_reason[&KeptBecause::Signed].count, 1);

    let manifest = store.put_bytes(&large(3)).unwrap();
    let row = |number| GenerationRow { number, created: UnixSeconds(1), entries: vec![built.key], manifest };
    store.record_generation("stable", &row(1)).unwrap();
    store.remove_artifact(built.key).unwrap();
    let report = store.gc(ruthless()).unwrap();
    // The manifest, the package file and its signed form; the log and the preimage went with the artifact.
    assert_eq!(report.kept_by_reason[&KeptBecause::Generation].count, 3);
    assert_eq!(report.blobs.count, 2);
    for blob in [manifest, built.file, signed.file] {
        assert!(store.contains(blob.id).unwrap());
    }
    store.remove_generation("stable", 1).unwrap();
    assert_eq!(store.gc(ruthless()).unwrap().blobs.count, 3);
}

#[test]
fn logs_of_attempts_stay_for_their_days() {
    let (_dir, store) = store();
    let run = store
        .begin_run(&Run { label: "build".to_owned(), purpose: Purpose::Build, started: UnixSeconds(1) })
        .unwrap();
    let now = 2_000_000_000;
    for (seed, days_ago) in [(1, 1), (2, 40)] {
        let finished = UnixSeconds(now - days_ago * 86_400);
        let attempt = Attempt {
            run,
            key: key(seed),
            package: "dev-libs/foo-1".parse().unwrap(),
            slot: 0,
            started: finished,
            finished,
            duration_millis: 1,
            outcome: "failed".to_owned(),
            failure_class: None,
            phase: None,
            message: String::new(),
            log: Some(store.put_bytes(&large(seed)).unwrap()),
        };
        store.record_attempt(&attempt).unwrap();
    }
    let report = store.gc(GcOptions { now: UnixSeconds(now), ..ruthless() });
    // The blobs were put "now" by the real clock, which is before the collection's.
    let report = report.unwrap();
    assert_eq!((report.blobs.count, report.kept_by_reason[&KeptBecause::AttemptLog].count), (1, 1));
    let logs: Vec<bool> = store
        .attempts(9, buildswarm_store::AttemptFilter::All)
        .unwrap()
        .iter()
        .map(|attempt| attempt.log.is_some())
        .collect();
    assert_eq!(logs, [false, true], "the attempt stays, its old log is gone");
}

#[test]
fn leftovers_go_and_strangers_stay() {
    let (dir, store) = store();
    let path = dir.path().join("store");
    let blob = store.put_bytes(&large(1)).unwrap();
    tamper(&file_of(&path, blob.id), |bytes| bytes[0] ^= 1);
    assert_eq!(store.verify().unwrap().damaged, [blob]);
    let orphan = file_of(&path, buildswarm_core::BlobId::of(b"orphan"));
    fs::write(&orphan, b"orphan").unwrap();
    let stranger = path.join("blobs/00/README");
    fs::write(&stranger, b"not ours").unwrap();
    let report = store.gc(ruthless()).unwrap();
    assert_eq!((report.orphans, report.quarantined.count), (Tally { count: 1, bytes: 6 }, 1));
    assert_eq!(files_in(&path.join("quarantine")), 0);
    assert!(!orphan.exists() && stranger.exists());
}

#[test]
fn an_index_that_does_not_know_the_files_collects_nothing() {
    let (dir, store) = store();
    let path = dir.path().join("store");
    for seed in 0..65 {
        let id = buildswarm_core::BlobId::of(&bytes(seed, 9));
        fs::write(file_of(&path, id), bytes(seed, 9)).unwrap();
    }
    let loose = store.put_bytes(b"loose").unwrap();
    let error = store.gc(ruthless()).unwrap_err();
    assert!(matches!(&error, Error::GcRefused { reason } if reason.contains("65 files")), "{error}");
    assert!(store.contains(loose.id).unwrap());
    assert_eq!(files_in(&path.join("blobs")), 65);
}

#[test]
fn a_put_of_an_orphan_adopts_it() {
    let (dir, store) = store();
    let path = dir.path().join("store");
    for (seed, damaged) in [(1, false), (2, true)] {
        let mut content = large(seed);
        let id = buildswarm_core::BlobId::of(&content);
        if damaged {
            content[0] ^= 1;
        }
        fs::write(file_of(&path, id), content).unwrap();
        assert!(!store.contains(id).unwrap(), "a file without a row is not a blob");
        store.put_bytes(&large(seed)).unwrap();
        assert_eq!(store.read_blob(id, 1 << 20).unwrap(), large(seed));
    }
    assert_eq!(files_in(&path.join("quarantine")), 1);
}

#[test]
fn puts_win_against_collection() {
    let (_dir, store) = store();
    std::thread::scope(|scope| {
        let collector = scope.spawn(|| {
            for _ in 0..30 {
                store.gc(ruthless()).unwrap();
            }
        });
        while !collector.is_finished() {
            for seed in 0..4 {
                let wanted = artifact(&store, "dev-libs/foo-1", seed);
                match store.commit_artifact(&wanted, &[]) {
                    Ok(_) => {
                        assert_eq!(store.read_blob(wanted.file.id, 1 << 20).unwrap(), large(seed));
                        store.remove_artifact(wanted.key).unwrap();
                    }
                    // Collected between put and commit, as without a grace time it may be.
                    Err(Error::BlobMissing { .. }) => {}
                    Err(other) => panic!("{other}"),
                }
            }
        }
    });
    let report = store.verify().unwrap();
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn collection_needs_the_right_to_write() {
    let (dir, store) = store();
    store.put_bytes(b"loose").unwrap();
    let reader = Store::open_read_only(dir.path().join("store")).unwrap();
    assert!(matches!(reader.gc(ruthless()), Err(Error::ReadOnly { .. })));
    assert_eq!(reader.gc(GcOptions { dry_run: true, ..ruthless() }).unwrap().blobs.count, 1);
}
