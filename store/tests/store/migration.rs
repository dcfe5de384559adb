//! A store of an earlier format opens with everything in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use buildswarm_core::artifact::Artifact;
use buildswarm_store::{AttemptFilter, Committed, Error, RunState, Store};
use rusqlite::Connection;
use rusqlite::types::Value;
use tempfile::TempDir;

use crate::support::{artifact, bytes, file_of, files_in, key, large, reuse, ruthless, store, with_blobs};

/// Holds the artifacts 1 (signed, and built twice), 2, 3 (its package file was lost) and, in generation 1 only, 4.
const FORMAT_1: &str = include_str!("format-1.sql");
const LARGE: [u64; 4] = [1, 2, 4, 11];

fn store_of_format_1() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    Connection::open(path.join("index.db")).unwrap().execute_batch(FORMAT_1).unwrap();
    for seed in LARGE {
        let file = file_of(&path, buildswarm_core::BlobId::of(&large(seed)));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, large(seed)).unwrap();
    }
    (dir, path)
}

type Rows = Vec<Vec<Value>>;

fn rows(index: &Connection, query: &str) -> Rows {
    let mut query = index.prepare(query).unwrap();
    let columns = query.column_count();
    let row = |row: &rusqlite::Row<'_>| (0..columns).map(|column| row.get(column)).collect();
    query.query_map([], row).unwrap().collect::<Result<_, _>>().unwrap()
}

fn texts(index: &Connection, query: &str) -> Vec<String> {
    let mut query = index.prepare(query).unwrap();
    query.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

/// What the columns of format 1 hold, by table.
fn content_of_format_1(index: &Path) -> BTreeMap<String, Rows> {
    let reference = Connection::open_in_memory().unwrap();
    reference.execute_batch(FORMAT_1).unwrap();
    let index = Connection::open(index).unwrap();
    let tables = texts(&reference, "SELECT name FROM sqlite_schema WHERE type = 'table'");
    tables
        .into_iter()
        .map(|table| {
            let names =
                texts(&reference, &format!("SELECT name FROM pragma_table_info('{table}')")).join(", ");
            let found = rows(&index, &format!("SELECT {names} FROM {table} ORDER BY {names}"));
            (table, found)
        })
        .collect()
}

/// The tables and indexes as SQLite understood them.
fn schema(index: &Path) -> BTreeMap<String, [Rows; 4]> {
    let index = Connection::open(index).unwrap();
    let names = texts(&index, "SELECT name FROM sqlite_schema WHERE type = 'table'");
    names
        .into_iter()
        .map(|name| {
            let of = |pragma: &str, columns: &str, order: &str| {
                rows(&index, &format!("SELECT {columns} FROM pragma_{pragma}('{name}') ORDER BY {order}"))
            };
            let kind = format!("SELECT type, ncol, wr, strict FROM pragma_table_list('{name}')");
            let found = [
                of("table_xinfo", "*", "cid"),
                of("index_list", "name, [unique], origin, partial", "name"),
                of("foreign_key_list", "[table], [from], [to], on_delete", "[table], [from]"),
                rows(&index, &kind),
            ];
            (name, found)
        })
        .collect()
}

/// The statements that made the tables, without what makes no difference. Checks are nowhere else.
fn statements(index: &Path) -> Vec<String> {
    let index = Connection::open(index).unwrap();
    let found = texts(&index, "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name");
    let bare = |text: &str| text.replace(|c: char| c.is_whitespace() || c == '"', "");
    found.iter().map(|text| bare(text)).collect()
}

fn format_of(index: &Path) -> i64 {
    let index = Connection::open(index).unwrap();
    index.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
}

/// An artifact of the fixture as this version has it.
fn migrated(store: &Store, package: &str, seed: u64) -> Artifact {
    let artifact = artifact(store, package, seed);
    Artifact { interface: artifact.payload, ..artifact }
}

#[test]
fn everything_of_format_1_is_there_afterwards() {
    let (_dir, path) = store_of_format_1();
    let before = content_of_format_1(&path.join("index.db"));
    assert!(before.values().all(|rows| !rows.is_empty()), "the fixture has something in every table");
    drop(Store::open(&path).unwrap());
    assert_eq!(content_of_format_1(&path.join("index.db")), before);

    let store = Store::open(&path).unwrap();
    let report = store.verify().unwrap();
    assert_eq!((report.checked, &report.unresolvable), (13, &vec![key(3)]), "{report:?}");
    assert!(report.damaged.is_empty() && report.missing.is_empty() && report.index.is_empty());
    let signed = store.signed_package(key(1), "FPR").unwrap().unwrap();
    assert_eq!(store.read_blob(signed.file.id, 1 << 20).unwrap(), large(11));
    let found = store.artifact(key(1)).unwrap().unwrap();
    assert_eq!(store.artifact(key(3)).unwrap(), None);
    assert_eq!(store.artifacts_of("dev-libs/lost").unwrap().len(), 1);
    assert_eq!(store.reproductions(key(1)).unwrap().len(), 1);
    assert_eq!(store.attempts(9, AttemptFilter::Key(key(1))).unwrap()[0].log, Some(found.log));
    assert!(matches!(store.runs(1).unwrap()[0].state, RunState::Finished { .. }));
    let jobs = store.jobs(store.runs(1).unwrap()[0].id).unwrap();
    assert!(jobs.len() == 3 && jobs.iter().all(|job| job.artifact_key() == job.key));
    assert_eq!(store.generations("stable").unwrap()[0].entries, [key(1), key(4)]);
    assert_eq!(store.current("stable").unwrap(), Some(2));
    store.gc(ruthless()).unwrap();
    assert_eq!(store.read_blob(signed.file.id, 1 << 20).unwrap(), large(11), "kept by its generation");
    assert_eq!(files_in(&path.join("blobs")), LARGE.len());
    assert_eq!(found, migrated(&store, "dev-libs/foo-1", 1));
    assert_eq!(store.artifact(key(2)).unwrap(), Some(migrated(&store, "dev-libs/bar-2", 2)));
}

#[test]
fn a_converted_index_is_like_a_new_one() {
    let (_old, converted) = store_of_format_1();
    drop(Store::open(&converted).unwrap());
    let (new, store) = store();
    drop(store);
    let [converted, new] = [converted, new.path().join("store")].map(|path| path.join("index.db"));
    assert_eq!(schema(&converted), schema(&new));
    assert_eq!(statements(&converted), statements(&new));
    assert_eq!((format_of(&converted), format_of(&new)), (2, 2));
}

#[test]
fn the_index_as_it_was_is_kept() {
    let (_dir, path) = store_of_format_1();
    let before = content_of_format_1(&path.join("index.db"));
    drop(Store::open(&path).unwrap());
    let kept = path.join("index-format-1.db");
    assert_eq!((content_of_format_1(&kept), format_of(&kept)), (before.clone(), 1));
    assert_eq!(files_in(&path.join("tmp")), 0);
    // Opened again it is not converted again; put back it is, and all is as if it had not been.
    fs::write(&kept, b"theirs now").unwrap();
    drop(Store::open(&path).unwrap());
    assert_eq!(fs::read(&kept).unwrap(), b"theirs now");
    for name in ["index.db", "index.db-wal", "index.db-shm"] {
        fs::remove_file(path.join(name)).unwrap();
    }
    Connection::open(path.join("index.db")).unwrap().execute_batch(FORMAT_1).unwrap();
    drop(Store::open(&path).unwrap());
    assert_eq!((content_of_format_1(&kept), format_of(&kept)), (before, 1));
}

#[test]
fn a_reader_does_not_convert() {
    let (_dir, path) = store_of_format_1();
    let before = fs::read(path.join("index.db")).unwrap();
    let error = Store::open_read_only(&path).unwrap_err();
    assert!(matches!(error, Error::OlderFormat { found: 1, known: 2, .. }), "{error}");
    assert_eq!(fs::read(path.join("index.db")).unwrap(), before);
    drop(Store::open(&path).unwrap());
    assert!(Store::open_read_only(&path).unwrap().artifact(key(1)).unwrap().is_some());
}

#[test]
fn a_damaged_index_is_not_converted() {
    let (_dir, path) = store_of_format_1();
    let index = Connection::open(path.join("index.db")).unwrap();
    index
        .execute_batch("PRAGMA foreign_keys = OFF; DELETE FROM artifacts WHERE cp = 'dev-libs/foo'")
        .unwrap();
    drop(index);
    let error = Store::open(&path).unwrap_err();
    assert!(matches!(&error, Error::IndexDamaged { finding, .. } if finding.contains("signed")), "{error}");
    assert_eq!(format_of(&path.join("index.db")), 1);
    assert!(!path.join("index-format-1.db").exists());
}

#[test]
fn what_was_converted_is_found_by_no_reuse_key_until_it_is_committed_with_one() {
    let (_dir, path) = store_of_format_1();
    let store = Store::open(&path).unwrap();
    assert_eq!(store.reuse_keys_of(key(1)).unwrap(), []);
    let old = store.artifact(key(1)).unwrap().unwrap();
    let blobs = [old.file, old.log, old.preimage];
    let again = with_blobs("dev-libs/foo-1", 1, blobs);
    assert_ne!(again.interface, old.interface);
    assert_eq!(store.commit_artifact(&again, &[reuse(1)]).unwrap(), Committed::AlreadyThere);
    assert_eq!(store.reused(&[reuse(1)]).unwrap(), BTreeMap::from([(reuse(1), old)]));
    assert_eq!(store.read_blob(again.log.id, 1 << 20).unwrap(), bytes(1, 300));
}
