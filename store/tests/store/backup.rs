//! Backups of a store that is in use, and stores that come back from one.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use buildswarm_core::BuildKey;
use buildswarm_core::time::UnixSeconds;
use buildswarm_store::{Error, GenerationRow, Store};

use crate::rebuild::said;
use crate::support::{artifact, bytes, file_of, files_in, large, reuse, ruthless, store, tamper};

/// What a store says, but for what only coming back from a backup adds.
fn content(path: &Path) -> Vec<String> {
    said(path).into_iter().filter(|row| !row.contains("\"restored\"")).collect()
}

#[test]
fn a_backup_is_a_store_that_has_everything() {
    let (dir, store) = store();
    let path = dir.path().join("store");
    let built = artifact(&store, "dev-libs/foo-1", 1);
    let _ = store.commit_artifact(&built, &[reuse(1)]).unwrap();
    let manifest = store.put_bytes(b"manifest").unwrap();
    let row = GenerationRow { number: 1, created: UnixSeconds(1), entries: vec![built.key], manifest };
    store.record_generation("stable", &row).unwrap();
    store.set_current("stable", 1).unwrap();
    let to = dir.path().join("backup");
    let report = store.backup(&to).unwrap();
    assert_eq!((report.linked.count, report.copied.count, report.unchanged.count), (1, 0, 0));
    assert_eq!(said(&to), said(&path));
    let backup = Store::open_read_only(&to).unwrap();
    assert_eq!(backup.reused(&[reuse(1)]).unwrap()[&reuse(1)], built);
    assert!(backup.verify().unwrap().is_clean());
    drop(backup);
    // Its index can be lost, too.
    fs::remove_file(to.join("index.db")).unwrap();
    assert!(Store::rebuild(&to).unwrap().is_whole());
    assert_eq!(said(&to), said(&path));
}

#[test]
fn the_next_backup_copies_what_is_new_and_removes_what_is_gone() {
    let (dir, store) = store();
    let path = dir.path().join("store");
    let to = dir.path().join("backup");
    for seed in 1..4 {
        let _ = store.commit_artifact(&artifact(&store, "dev-libs/foo-1", seed), &[]).unwrap();
    }
    store.backup(&to).unwrap();
    let gone = artifact(&store, "dev-libs/foo-1", 1);
    store.remove_artifact(gone.key).unwrap();
    store.gc(ruthless()).unwrap();
    let _ = store.commit_artifact(&artifact(&store, "dev-libs/foo-1", 4), &[]).unwrap();
    // Opened for writing meanwhile, so that it has a log beside its index.
    Store::open(&to).unwrap().put_bytes(b"only here").unwrap();
    let report = store.backup(&to).unwrap();
    assert_eq!((report.unchanged.count, report.linked.count, report.removed.count), (2, 1, 1));
    assert_eq!(said(&to), said(&path));
    assert!(!file_of(&to, gone.file.id).exists());
    assert!(Store::open(&to).unwrap().verify().unwrap().is_clean());
}

#[test]
fn a_backup_goes_only_where_nothing_else_is() {
    let (dir, store) = store();
    store.put_bytes(&large(1)).unwrap();
    let other = dir.path().join("other");
    drop(Store::open(&other).unwrap());
    let before = said(&other);
    assert!(matches!(store.backup(&other), Err(Error::NotABackup { .. })));
    assert!(matches!(store.backup(store.path()), Err(Error::NotABackup { .. })));
    assert_eq!(said(&other), before);
    let to = dir.path().join("backup");
    store.backup(&to).unwrap();
    let another = Store::open(&other).unwrap();
    assert!(matches!(another.backup(&to), Err(Error::NotABackup { .. })));
    let _open = Store::open(&to).unwrap();
    assert!(matches!(store.backup(&to), Err(Error::InUse { .. })));
}

#[test]
fn what_is_damaged_is_not_carried_and_counts_as_missing() {
    let (dir, store) = store();
    let path = dir.path().join("store");
    let built = [1, 2].map(|seed| artifact(&store, "dev-libs/foo-1", seed));
    for built in &built {
        let _ = store.commit_artifact(built, &[]).unwrap();
    }
    let (backup, back) = (dir.path().join("backup"), dir.path().join("back"));
    store.backup(&backup).unwrap();
    // A second name: the same bytes go bad under both.
    tamper(&file_of(&backup, built[0].file.id), |bytes| bytes[3] ^= 1);
    fs::remove_file(file_of(&path, built[1].file.id)).unwrap();
    let report = store.backup(dir.path().join("another")).unwrap();
    assert_eq!(report.missing, [built[1].file]);
    let report = Store::restore(&backup, &back).unwrap();
    assert_eq!((report.copied.count, report.linked.count), (1, 0));
    assert_eq!(report.missing, [built[0].file]);
    let back = Store::open(&back).unwrap();
    assert_eq!(back.artifact(built[0].key).unwrap(), None);
    assert_eq!(back.artifact(built[1].key).unwrap().as_ref(), Some(&built[1]));
    back.put_bytes(&large(1)).unwrap();
    assert!(back.artifact(built[0].key).unwrap().is_some() && back.verify().unwrap().is_clean());
}

#[test]
fn a_store_that_came_back_knows_it_and_is_another_to_whoever_remembers() {
    let (dir, store) = store();
    let (path, backup, back) = (dir.path().join("store"), dir.path().join("backup"), dir.path().join("back"));
    let built = artifact(&store, "dev-libs/foo-1", 1);
    let _ = store.commit_artifact(&built, &[]).unwrap();
    store.backup(&backup).unwrap();
    store.put_bytes(b"after the backup").unwrap();
    drop(store);
    Store::restore(&backup, &back).unwrap();
    assert_eq!(content(&back), content(&backup));
    let inode = |store: &Path| fs::metadata(file_of(store, built.file.id)).unwrap().ino();
    assert_ne!(inode(&back), inode(&backup), "bytes of its own");
    let number = |store: &Path, column: &str| {
        let index = rusqlite::Connection::open(store.join("index.db")).unwrap();
        index.query_row(&format!("SELECT {column} FROM store"), [], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert!(number(&back, "losses") > number(&path, "losses"));
    let restored = Store::open(&back).unwrap().restored().unwrap();
    assert_eq!(restored.len(), 1);
    assert!(restored[0].noted < number(&path, "noted") as u64);
    // That it came back outlives its index.
    fs::remove_file(back.join("index.db")).unwrap();
    Store::rebuild(&back).unwrap();
    assert_eq!(Store::open(&back).unwrap().restored().unwrap(), restored);
    assert!(matches!(Store::restore(&backup, &back), Err(Error::NotEmpty { .. })));
    assert!(matches!(
        Store::restore(dir.path().join("none"), dir.path().join("new")),
        Err(Error::NoStore { .. })
    ));
}

/// Commits an artifact whose blobs a collection without grace may take before that.
fn commit_at_last(store: &Store, seed: u64) -> BuildKey {
    loop {
        let built = artifact(store, "dev-libs/foo-1", seed);
        match store.commit_artifact(&built, &[]) {
            Ok(_) => return built.key,
            Err(Error::BlobMissing { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn everything_acknowledged_before_is_in_a_backup_made_under_load() {
    let (dir, store) = store();
    let to = dir.path().join("backup");
    let (done, acked) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for writer in 0..2_u64 {
            let (store, done, acked) = (&store, &done, &acked);
            scope.spawn(move || {
                for number in 0.. {
                    if done.load(Ordering::SeqCst) {
                        return;
                    }
                    let built = commit_at_last(store, writer * 1_000_000 + number);
                    if writer == 0 {
                        acked.store(number + 1, Ordering::SeqCst);
                    } else if number % 3 == 0 {
                        store.remove_artifact(built).unwrap();
                        store.put_bytes(&bytes(number + 2_000_000, 40_000)).unwrap();
                    }
                }
            });
        }
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                match store.gc(ruthless()) {
                    Ok(_) => {}
                    Err(Error::GcRefused { reason }) => assert!(reason.contains("backup"), "{reason}"),
                    Err(error) => panic!("{error}"),
                }
                thread::yield_now();
            }
        });
        for _ in 0..6 {
            while acked.load(Ordering::SeqCst) < 3 {
                thread::yield_now();
            }
            let before = acked.load(Ordering::SeqCst);
            let report = store.backup(&to).unwrap();
            assert_eq!(report.missing, []);
            let backup = Store::open_read_only(&to).unwrap();
            assert!(backup.verify().unwrap().is_clean());
            let keys: Vec<BuildKey> = (0..before).map(crate::support::key).collect();
            assert_eq!(backup.present(&keys).unwrap().len() as u64, before);
        }
        done.store(true, Ordering::SeqCst);
    });
}

const FROM: &str = "BACK_UP_FROM";
const TO: &str = "BACK_UP_TO";

/// Not a test by itself: reads a store that another process writes to, and backs it up for ever.
#[test]
fn child_that_backs_up() {
    let Some(from) = std::env::var_os(FROM) else { return };
    let to = std::env::var_os(TO).unwrap();
    let store = Store::open_read_only(from).unwrap();
    println!("\nbegun");
    loop {
        store.backup(&to).unwrap();
    }
}

#[test]
fn a_backup_by_another_process_that_is_killed_leaves_the_one_before() {
    let (dir, store) = store();
    let to = dir.path().join("backup");
    let mut first = Vec::new();
    for seed in 0..20 {
        let built = artifact(&store, "dev-libs/foo-1", seed);
        let _ = store.commit_artifact(&built, &[]).unwrap();
        first.push(built.key);
    }
    store.backup(&to).unwrap();
    for round in 0..10_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "backup::child_that_backs_up", "--nocapture"])
            .env(FROM, store.path())
            .env(TO, &to)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        for seed in 0..5 + round {
            let built = artifact(&store, "dev-libs/foo-1", 1000 * (round + 1) + seed);
            let _ = store.commit_artifact(&built, &[]).unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let backup = Store::open(&to).unwrap();
        assert_eq!(backup.present(&first).unwrap().len(), first.len(), "round {round}");
        assert!(backup.verify().unwrap().is_clean(), "round {round}");
    }
    store.gc(ruthless()).unwrap();
    store.backup(&to).unwrap();
    assert_eq!(said(&to), said(store.path()));
    assert_eq!(files_in(&to.join("blobs")), files_in(&store.path().join("blobs")));
}
