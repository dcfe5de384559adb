//! SQLite under use: many threads, and others who hold its log back.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use buildswarm_store::Store;
use rusqlite::{Connection, OpenFlags};

use crate::content::long;
use crate::load::Load;
use crate::plan::{Plan, Report};
use crate::promises::{Promises, whole};
use crate::scratch;

/// The version that lacks a bug by which committed transactions are lost.
const SQLITE_MIN: i32 = 3_051_003;

/// What the log may have once it could be written back, in bytes.
const LOG_BYTES_MAX: u64 = 64 << 20;

/// Blobs of 16 KiB put while somebody else reads: more than the log may have.
const PUTS: u64 = 5000;

/// Threads that read.
const READERS: u64 = 4;

pub(crate) fn run(plan: &Plan) -> Report {
    let mut report = Report::default();
    if rusqlite::version_number() < SQLITE_MIN {
        report.violations.push(format!("SQLite is {}", rusqlite::version()));
    }
    let dir = scratch();
    let path = dir.path().join("store");
    let store = Store::open(&path).unwrap();
    let promises = Mutex::new(Promises::default());
    let say = |line: &str| promises.lock().unwrap().hear(line);
    let rounds = plan.of(2, 200);
    let reads = beside_readers(&store, || {
        let mut load = Load::new(&store, 0, 0, &say);
        for _ in 0..rounds {
            if let Err(error) = load.everything() {
                return vec![format!("writing beside readers: {}", whole(&error))];
            }
        }
        Vec::new()
    });
    report.violate("many threads", reads.1);
    report.count("SQLite: reads beside a writer", reads.0);
    held_back(&store, &path, &mut report);
    report.violate("in the end", promises.lock().unwrap().broken(&store));
    let whole: String = other(&path).query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    report.violate("integrity_check", (whole != "ok").then_some(whole));
    report
}

/// Writes while others read and check, and says how often they did and what they met.
fn beside_readers(store: &Store, write: impl FnOnce() -> Vec<String>) -> (u64, Vec<String>) {
    let (is_over, reads, wrong) = (AtomicBool::new(false), AtomicU64::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| {
                while !is_over.load(Ordering::Acquire) {
                    let found = store.all_artifacts().collect::<Result<Vec<_>, _>>();
                    if let Err(error) = found {
                        wrong.lock().unwrap().push(format!("reading beside a writer: {}", whole(&error)));
                    }
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| {
            let other = other(store.path());
            while !is_over.load(Ordering::Acquire) {
                let _ = other.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
            }
        });
        wrong.lock().unwrap().extend(write());
        is_over.store(true, Ordering::Release);
    });
    (reads.into_inner(), wrong.into_inner().unwrap())
}

/// Somebody else reads for long: the log grows, nothing fails, and afterwards it is cut back.
fn held_back(store: &Store, path: &Path, report: &mut Report) {
    let other = other(path);
    other.execute_batch("BEGIN; SELECT count(*) FROM blobs").unwrap();
    for number in 0..PUTS {
        if let Err(error) = store.put_bytes(&long((1 << 60) + number)) {
            report.violations.push(format!("a put beside a long reader: {}", whole(&error)));
            return;
        }
    }
    let length = || fs::metadata(path.join("index.db-wal")).unwrap().len();
    let grown = length();
    if grown < LOG_BYTES_MAX {
        report.violations.push(format!("the log has {grown} bytes: the test does not hold it back"));
    }
    other.execute_batch("COMMIT").unwrap();
    // The first commit writes the log back, the next begins it again.
    for number in 0..3 {
        store.put_bytes(&long((1 << 61) + number)).unwrap();
    }
    let cut = length();
    report.count("SQLite: bytes of the log while it is held back", grown);
    report.count("SQLite: bytes of the log afterwards", cut);
    if cut > LOG_BYTES_MAX {
        report.violations.push(format!("the log keeps {cut} bytes"));
    }
}

fn other(path: &Path) -> Connection {
    Connection::open_with_flags(path.join("index.db"), OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap()
}
