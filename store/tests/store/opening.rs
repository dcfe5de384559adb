//! Who may open a store, and what is refused.

use std::fs;

use buildswarm_core::time::UnixSeconds;
use buildswarm_store::{Error, Purpose, Run, Store};

use crate::support::{artifact, files_in, large, store};

fn assert_send_sync<T: Send + Sync + 'static>() {}

#[test]
fn a_store_is_shared_between_threads() {
    assert_send_sync::<Store>();
    assert_send_sync::<buildswarm_store::BlobReader>();
    assert_send_sync::<Error>();
}

#[test]
fn one_writer_at_a_time() {
    let (dir, store) = store();
    let path = dir.path().join("store");
    let error = Store::open(&path).unwrap_err();
    let own = std::process::id().to_string();
    assert!(matches!(&error, Error::InUse { holder: Some(pid), .. } if *pid == own), "{error}");
    let said = format!("the store {} is in use by process {own}", path.display());
    assert_eq!(error.to_string(), said + "; it can be read meanwhile, but not written to");
    drop(store);
    Store::open(&path).unwrap();
}

#[test]
fn a_reader_sees_what_the_writer_commits() {
    let (dir, store) = store();
    let path = dir.path().join("store");
    let reader = Store::open_read_only(&path).unwrap();
    let wanted = artifact(&store, "dev-libs/foo-1", 1);
    let _ = store.commit_artifact(&wanted, &[]).unwrap();
    assert_eq!(reader.artifact(wanted.key).unwrap(), Some(wanted.clone()));
    drop(store);
    assert_eq!(reader.read_blob(wanted.file.id, 1 << 20).unwrap(), large(1));
    let late = Store::open_read_only(&path).unwrap();
    assert_eq!(late.artifact(wanted.key).unwrap(), Some(wanted));
}

#[test]
fn a_reader_changes_nothing() {
    let (dir, store) = store();
    let reader = Store::open_read_only(dir.path().join("store")).unwrap();
    let wanted = artifact(&store, "dev-libs/foo-1", 1);
    let refused = |outcome: Result<(), Error>| assert!(matches!(outcome, Err(Error::ReadOnly { .. })));
    refused(reader.put_bytes(b"x").map(drop));
    refused(reader.put_bytes(&large(1)).map(drop));
    refused(reader.commit_artifact(&wanted, &[]).map(|_| ()));
    refused(reader.remove_artifact(wanted.key).map(drop));
    refused(
        reader
            .begin_run(&Run { label: String::new(), purpose: Purpose::Build, started: UnixSeconds(1) })
            .map(drop),
    );
    refused(reader.set_current("stable", 1));
}

#[test]
fn nothing_there_is_not_an_empty_store() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Store::open_read_only(dir.path()), Err(Error::NoStore { .. })));
    assert!(matches!(Store::open_read_only(dir.path().join("none")), Err(Error::NoStore { .. })));
    assert_eq!(files_in(dir.path()), 0);
    fs::write(dir.path().join("index.db"), b"").unwrap();
    assert!(matches!(Store::open_read_only(dir.path()), Err(Error::NoStore { .. })));
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let (dir, store) = store();
    let path = dir.path().join("store");
    drop(store);
    sql(&path, "PRAGMA user_version = 3");
    let before = fs::read(path.join("index.db")).unwrap();
    for outcome in [Store::open(&path), Store::open_read_only(&path)] {
        let error = outcome.unwrap_err();
        assert!(matches!(error, Error::NewerFormat { found: 3, known: 2, .. }), "{error}");
    }
    assert_eq!(fs::read(path.join("index.db")).unwrap(), before);
}

fn sql(store: &std::path::Path, statement: &str) {
    let index = rusqlite::Connection::open(store.join("index.db")).unwrap();
    index.execute_batch(statement).unwrap();
}

#[test]
fn other_databases_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("index.db"), [b'x'; 4096]).unwrap();
    assert!(matches!(Store::open(dir.path()), Err(Error::NotAStore { .. })));
    fs::remove_file(dir.path().join("index.db")).unwrap();
    sql(dir.path(), "CREATE TABLE theirs (x)");
    let before = fs::read(dir.path().join("index.db")).unwrap();
    assert!(matches!(Store::open(dir.path()), Err(Error::NotAStore { .. })));
    assert!(matches!(Store::open_read_only(dir.path()), Err(Error::NotAStore { .. })));
    assert_eq!(fs::read(dir.path().join("index.db")).unwrap(), before);
}

#[test]
fn a_lost_index_is_not_replaced_by_an_empty_one() {
    let (dir, store) = store();
    let path = dir.path().join("store");
    store.put_bytes(&large(1)).unwrap();
    drop(store);
    for name in ["index.db", "index.db-wal", "index.db-shm"] {
        fs::remove_file(path.join(name)).unwrap();
    }
    assert!(matches!(Store::open_read_only(&path), Err(Error::IndexMissing { .. })));
    assert!(matches!(Store::open(&path), Err(Error::IndexMissing { .. })));
    assert_eq!(files_in(&path.join("blobs")), 1);
}

#[test]
fn a_damaged_index_is_refused_after_a_crash() {
    let (dir, store) = store();
    let path = dir.path().join("store");
    let wanted = artifact(&store, "dev-libs/foo-1", 1);
    let _ = store.commit_artifact(&wanted, &[]).unwrap();
    drop(store);
    sql(&path, "PRAGMA foreign_keys = OFF; DELETE FROM blobs");
    fs::write(path.join("lock"), "12345\n").unwrap();
    let error = Store::open(&path).unwrap_err();
    assert!(
        matches!(&error, Error::IndexDamaged { finding, .. } if finding.contains("artifacts")),
        "{error}"
    );
}

#[test]
fn what_a_crash_left_in_tmp_is_removed() {
    let (dir, store) = store();
    let path = dir.path().join("store");
    drop(store);
    fs::write(path.join("tmp/put-abc"), b"half").unwrap();
    let reader = Store::open_read_only(&path).unwrap();
    assert_eq!(files_in(&path.join("tmp")), 1, "a reader leaves it");
    drop(reader);
    Store::open(&path).unwrap();
    assert_eq!(files_in(&path.join("tmp")), 0);
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = Store::open(file.join("store")).unwrap_err();
    assert!(error.to_string().contains("file/store"), "{error}");
}

const HOLD: &str = "HOLD_THE_STORE_IN";

/// Not a test by itself: holds a store open for writing until it is killed.
#[test]
fn child_that_holds_a_store() {
    let Some(path) = std::env::var_os(HOLD) else { return };
    let store = Store::open(path).unwrap();
    let kept = artifact(&store, "dev-libs/foo-1", 1);
    let _ = store.commit_artifact(&kept, &[]).unwrap();
    println!("\nheld");
    std::thread::park();
}

#[test]
fn a_second_process_may_read_and_may_write_once_the_first_is_killed() {
    use std::io::BufRead;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let mut first = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "opening::child_that_holds_a_store", "--nocapture"])
        .env(HOLD, &path)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let said = std::io::BufReader::new(first.stdout.take().unwrap()).lines();
    assert!(said.map(Result::unwrap).any(|line| line == "held"));
    let error = Store::open(&path).unwrap_err();
    let named = format!("in use by process {}; it can be read meanwhile", first.id());
    assert!(error.to_string().contains(&named), "{error}");
    let key = crate::support::key(1);
    assert!(Store::open_read_only(&path).unwrap().artifact(key).unwrap().is_some());
    first.kill().unwrap();
    first.wait().unwrap();
    let second = Store::open(&path).unwrap();
    assert!(second.artifact(key).unwrap().is_some());
    assert!(second.verify().unwrap().is_clean());
}
