//! Verifying in steps, at a rate, and with somebody's help.

use std::cell::Cell;
use std::fs;
use std::io::Read;
use std::num::NonZeroU64;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

use buildswarm_core::BlobId;
use buildswarm_store::{Compression, Error, Store, VerifyOptions};

use crate::support::{artifact, bytes, file_of, large, store, tamper};

#[test]
fn what_is_damaged_here_comes_from_a_peer() {
    let (dir, store) = store();
    let path = dir.path().join("store");
    let built: Vec<_> = (0..4).map(|seed| artifact(&store, "dev-libs/foo-1", seed)).collect();
    for built in &built {
        let _ = store.commit_artifact(built, &[]).unwrap();
    }
    let batch = store.batch(Compression::Zstd).unwrap();
    let packed = batch.put_bytes(&bytes(9, 30_000)).unwrap();
    let _ = batch.commit().unwrap();
    let other = dir.path().join("other");
    Store::restore(&path, &other).unwrap();
    let other = Store::open_read_only(other).unwrap();
    // One damaged, one gone, one known to be gone already, one small, one in a pack.
    tamper(&file_of(&path, built[0].file.id), |bytes| bytes[7] ^= 1);
    fs::remove_file(file_of(&path, built[1].file.id)).unwrap();
    fs::remove_file(file_of(&path, built[2].file.id)).unwrap();
    assert!(store.open_blob(built[2].file.id).unwrap().is_none());
    let pack = fs::read_dir(path.join("packs")).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(pack).unwrap();
    let index = rusqlite::Connection::open(path.join("index.db")).unwrap();
    let small = built[3].log;
    index
        .execute(
            "UPDATE inline_bytes SET bytes = x'00' WHERE id = (SELECT inline FROM blobs WHERE id = ?1)",
            [small.id.digest().as_bytes()],
        )
        .unwrap();
    let peer = other.peer();
    let options = VerifyOptions { repair: Some(&peer), ..VerifyOptions::default() };
    let report = store.verify_with(&options).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.repaired.len(), 5, "{report:?}");
    for blob in [built[0].file, built[1].file, built[2].file, small, packed] {
        assert!(store.read_blob(blob.id, 1 << 20).is_ok());
    }
    assert!(built.iter().all(|built| store.artifact(built.key).unwrap().is_some()));
}

#[test]
fn a_peer_is_not_believed() {
    let (dir, store) = store();
    let path = dir.path().join("store");
    let kept = store.put_bytes(&large(1)).unwrap();
    let log = store.put_bytes(b"log").unwrap();
    let built = crate::support::with_blobs("dev-libs/foo-1", 1, [kept, log, log]);
    let _ = store.commit_artifact(&built, &[]).unwrap();
    fs::remove_file(file_of(&path, kept.id)).unwrap();
    let with = |repair: &buildswarm_store::Repair<'_>| {
        store.verify_with(&VerifyOptions { repair: Some(repair), ..VerifyOptions::default() }).unwrap()
    };
    let asked = Cell::new(0);
    let report = with(&|id| {
        assert_eq!(id, kept.id);
        asked.set(asked.get() + 1);
        Ok(None)
    });
    assert_eq!((asked.get(), report.missing.len(), report.unrepaired.len()), (1, 1, 0));
    let report = with(&|_| Err(std::io::Error::other("unplugged")));
    assert_eq!(report.unrepaired, [(kept, "unplugged".to_owned())]);
    for lie in [large(2), vec![], bytes(1, 1 << 20)] {
        let id = BlobId::of(&lie);
        let report = with(&|_| Ok(Some(Box::new(std::io::Cursor::new(lie.clone())) as Box<dyn Read>)));
        assert_eq!((report.repaired.len(), report.unrepaired.len()), (0, 1), "{report:?}");
        assert!(!report.is_clean() && !store.contains(id).unwrap() && !store.contains(kept.id).unwrap());
        assert_eq!(crate::support::files_in(&path.join("tmp")), 0);
    }
    let report = with(&|_| Ok(Some(Box::new(std::io::Cursor::new(large(1))) as Box<dyn Read>)));
    assert_eq!(report.repaired, [kept]);
    assert_eq!(store.artifact(built.key).unwrap(), Some(built));
}

#[test]
fn a_verification_in_steps_reads_everything_once() {
    let (dir, mut store) = store();
    let path = dir.path().join("store");
    for seed in 0..200 {
        store.put_bytes(&bytes(seed, 100)).unwrap();
    }
    for seed in 0..3 {
        let batch = store.batch(Compression::Zstd).unwrap();
        batch.put_bytes(&bytes(1000 + seed, 20_000)).unwrap();
        let _ = batch.commit().unwrap();
    }
    let (mut checked, mut steps) = (0, 0);
    loop {
        let told = AtomicU64::new(0);
        let progress = |progress: buildswarm_store::Progress| {
            told.fetch_add(1, Ordering::SeqCst);
            assert!(progress.done.bytes <= progress.total.bytes);
            ControlFlow::Break(())
        };
        let options = VerifyOptions { resume: true, progress: Some(&progress), ..VerifyOptions::default() };
        let report = store.verify_with(&options).unwrap();
        checked += report.checked;
        if told.into_inner() == 0 {
            assert!(!report.stopped);
            break;
        }
        assert!(report.stopped && report.is_clean());
        steps += 1;
        // As after a restart.
        drop(store);
        store = Store::open(&path).unwrap();
    }
    assert_eq!(checked, 203);
    assert!(steps >= 6, "{steps}");
    // The next one begins anew.
    let again = VerifyOptions { resume: true, ..VerifyOptions::default() };
    assert_eq!(store.verify_with(&again).unwrap().checked, 203);
}

#[test]
fn a_bounded_rate_reads_as_much_and_a_reader_cannot_repair() {
    let (dir, store) = store();
    store.put_bytes(&large(1)).unwrap();
    store.put_bytes(b"small").unwrap();
    let options = VerifyOptions { bytes_per_second: NonZeroU64::new(1 << 30), ..VerifyOptions::default() };
    assert_eq!(store.verify_with(&options).unwrap().checked, 2);
    let reader = Store::open_read_only(dir.path().join("store")).unwrap();
    assert_eq!(reader.verify_with(&options).unwrap().checked, 2);
    let peer = store.peer();
    for options in [
        VerifyOptions { repair: Some(&peer), ..VerifyOptions::default() },
        VerifyOptions { resume: true, ..VerifyOptions::default() },
    ] {
        assert!(matches!(reader.verify_with(&options), Err(Error::ReadOnly { .. })));
    }
}

#[test]
fn damage_in_the_journal_is_said_and_written_anew() {
    let (dir, store) = store();
    let path = dir.path().join("store");
    store.put_bytes(&bytes(1, 1000)).unwrap();
    store.put_bytes(&bytes(2, 1000)).unwrap();
    let segment = fs::read_dir(path.join("journal")).unwrap().next().unwrap().unwrap().path();
    let mut rotten = fs::read(&segment).unwrap();
    let middle = rotten.len() / 2 - 200;
    rotten[middle] ^= 1;
    fs::write(&segment, rotten).unwrap();
    let report = store.verify().unwrap();
    assert_eq!((report.journal.len(), report.is_clean()), (1, false), "{report:?}");
    assert!(store.verify().unwrap().is_clean());
    drop(store);
    fs::remove_file(path.join("index.db")).unwrap();
    assert!(Store::rebuild(&path).unwrap().is_whole());
    assert_eq!(Store::open(&path).unwrap().stats().unwrap().inline_blobs, 2);
}
