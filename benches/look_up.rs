//! Question: how long does a fresh process take to learn which of 20,000 keys a store of 200,000 artifacts has?
//!
//! Peer and limit: bare SQLite, one `WITHOUT ROWID` table of keys, opened afresh, the same look-ups in the same
//!       order; what it leaves out is that an artifact resolves only if its blobs are on the disk.
//! Goal: at most 0.5 × limit; with a million artifacts at most twice the time it takes with 200,000; opening the store
//!       of a million for writing, after it was closed, at most 100 ms.
//! Run:  cargo bench -p buildswarm-benches --bench look_up
//!
//! Every measurement is one process: this program starts itself with the task as its argument and takes the time
//! from before it opens the store. Half of the keys are hits. All blobs are small ones, kept in the index, but for
//! the package files of a tenth of the artifacts.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use buildswarm_benches::{Row, measure, shown, timed, verdict};
use buildswarm_core::artifact::BlobRef;
use buildswarm_core::time::UnixSeconds;
use buildswarm_core::{BuildKey, Digest};
use buildswarm_store::{GcOptions, Store};
use rusqlite::{Connection, OpenFlags};

/// How many artifacts the stores have.
const SIZES: [usize; 2] = [200_000, 1_000_000];
const ASKED: usize = 20_000;
const ROUNDS: usize = 9;
const TASK: &str = "BUILDSWARM_BENCH_TASK";

/// Large blobs of a store: more would only make filling it take longer.
const FILES: usize = 2_000;

/// Keys with even numbers are in the store.
fn key(number: usize) -> BuildKey {
    BuildKey::from_digest(Digest::of(&number.to_le_bytes()))
}

fn asked(artifacts: usize) -> Vec<BuildKey> {
    (0..ASKED).map(|number| key(number * (2 * artifacts / ASKED) + number % 2)).collect()
}

fn open(database: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    Connection::open_with_flags(database, flags).expect("a database")
}

/// Fills a store and the bare table; returns how long that took.
fn fill(directory: &Path, artifacts: usize) -> Duration {
    timed(|| {
        std::fs::create_dir(directory).expect("a directory");
        let store = Store::open(directory.join("store")).expect("a store");
        let log = store.put_bytes(b"a log").expect("a blob");
        let small = store.put_bytes(&[7; 8_000]).expect("a blob");
        let files: Vec<BlobRef> = (0..FILES)
            .map(|number| store.put_bytes(&number.to_le_bytes().repeat(2_500)).expect("a blob"))
            .collect();
        drop(store);
        insert(directory, artifacts, log, small, &files);
        // Collection leaves a look-up table, which that many commits would have made bit by bit.
        let store = Store::open(directory.join("store")).expect("a store");
        let options = GcOptions {
            now: UnixSeconds(0),
            dry_run: false,
            keep_days: 0,
            grace_seconds: 0,
            quota: None,
            evict_artifacts: false,
        };
        store.gc(options).expect("a collection");
    })
    .1
}

/// Rows as `commit_artifact` writes them, but in one transaction: one durable commit each would take an hour. In the
/// order of their keys, since SQLite takes minutes to insert a million in any other.
fn insert(directory: &Path, artifacts: usize, log: BlobRef, small: BlobRef, files: &[BlobRef]) {
    let index = open(&directory.join("store/index.db"));
    let bare = open(&directory.join("bare.db"));
    bare.execute_batch(
        "PRAGMA journal_mode = WAL;
         CREATE TABLE present (key BLOB NOT NULL PRIMARY KEY) STRICT, WITHOUT ROWID;
         BEGIN",
    )
    .expect("a table");
    index.execute_batch("BEGIN").expect("a transaction");
    let metadata = serde_json::to_string(&metadata()).expect("JSON");
    let mut row = index
        .prepare(
            "INSERT INTO artifacts (key, cp, package, slot, repository, file, log, preimage, payload, \
             interface, installed_size, build_millis, built_at, builder, metadata, number) \
             VALUES (?1, ?2, ?2 || '-1', '0/0', 'gentoo', ?3, ?4, ?4, ?5, ?5, 1000, 1000, 1700000000, 'bench', \
             ?6, ?7)",
        )
        .expect("the schema of a store");
    let mut bare_row = bare.prepare("INSERT INTO present VALUES (?1)").expect("the table");
    let mut keys: Vec<BuildKey> = (0..artifacts).map(|number| key(2 * number)).collect();
    keys.sort_unstable();
    let bytes = |digest: &Digest| digest.as_bytes().to_vec();
    for (number, key) in keys.iter().enumerate() {
        let file = if number % 10 == 0 { files[number / 10 % files.len()] } else { small };
        let cp = format!("cat/p{number:07}");
        let (file, log, payload) = (bytes(file.id.digest()), bytes(log.id.digest()), bytes(key.digest()));
        let key = bytes(key.digest());
        row.execute((&key, cp, file, log, payload, &metadata, number as i64 + 1)).expect("a row");
        bare_row.execute([&key]).expect("a row");
    }
    for database in [&index, &bare] {
        database.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)").expect("a commit");
    }
}

/// About as much metadata as a real artifact has.
fn metadata() -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([
        ("RDEPEND", "sys-libs/zlib:0/1= dev-libs/openssl:0/3= virtual/libc"),
        ("USE", "amd64 nls ssl"),
        ("REQUIRES", "x86_64: libc.so.6 libz.so.1"),
        ("KEYWORDS", "amd64"),
        ("DESC", "A package like others"),
    ])
}

/// What a child does; prints nanoseconds and the number of hits.
fn task(name: &str, directory: &Path, artifacts: usize) {
    let asked = asked(artifacts);
    let path = directory.join("store");
    if name == "unclean" {
        std::fs::write(path.join("lock"), "1\n").expect("the lock of a store");
    }
    let ready = (name == "again").then(|| {
        let store = Store::open_read_only(&path).expect("a store");
        store.present(&asked).expect("an answer");
        store
    });
    let read = || Store::open_read_only(&path).expect("a store");
    // Closing is not measured: a process that has its answer goes on.
    let ((hits, _open), time) = timed(|| match name {
        "bare" | "bare-sorted" => (bare(directory, asked, name == "bare-sorted"), None),
        "open" => (0, Some(read())),
        "write" | "unclean" => (0, Some(Store::open(&path).expect("a store"))),
        "stats" => {
            let store = read();
            (store.stats().map(|_| 0).expect("an answer"), Some(store))
        }
        "artifacts" => {
            let store = read();
            (store.artifacts(&asked).expect("an answer").len(), Some(store))
        }
        _ => {
            let store = ready.unwrap_or_else(read);
            (store.present(&asked).expect("an answer").len(), Some(store))
        }
    });
    println!("{} {hits}", time.as_nanos());
}

/// The number of hits in the bare table.
fn bare(directory: &Path, mut keys: Vec<BuildKey>, sorted: bool) -> usize {
    let database = open(&directory.join("bare.db"));
    let mut query = database.prepare("SELECT 1 FROM present WHERE key = ?1").expect("a query");
    if sorted {
        keys.sort_unstable();
    }
    keys.iter().filter(|key| query.exists([key.digest().as_bytes()]).expect("an answer")).count()
}

/// Runs a task in a process of its own.
fn child(name: &str, directory: &Path, artifacts: usize) -> Duration {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    let output = command.arg(directory).arg(artifacts.to_string()).env(TASK, name).output();
    let output = output.expect("a process");
    let text = String::from_utf8_lossy(&output.stdout);
    let (nanos, hits) = text.trim().split_once(' ').unwrap_or_else(|| panic!("{name}: {output:?}"));
    let asks = !["open", "write", "unclean", "stats"].contains(&name);
    assert!(!asks || hits.parse() == Ok(ASKED / 2), "{name} found {hits}");
    Duration::from_nanos(nanos.parse().expect("nanoseconds"))
}

fn main() {
    if let Ok(name) = std::env::var(TASK) {
        let mut args = std::env::args_os().skip(1);
        let directory = args.next().expect("a directory");
        let artifacts = args.next().and_then(|text| text.to_str()?.parse().ok()).expect("a number");
        return task(&name, Path::new(&directory), artifacts);
    }
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
    let stores = SIZES.map(|artifacts| (directory.path().join(artifacts.to_string()), artifacts));
    for (path, artifacts) in &stores {
        println!("{artifacts} artifacts, filled in {}", shown(fill(path, *artifacts)));
    }
    println!("{ASKED} keys asked for, half of them hits");
    let row = |name: &'static str, size: usize, text: &str| {
        let (path, artifacts) = &stores[size];
        Row::new(format!("{artifacts:>9}  {text}"), move || child(name, path, *artifacts))
    };
    let medians = measure(
        ROUNDS,
        vec![
            row("present", 0, "ours: open and present"),
            row("present", 1, "ours: open and present"),
            row("bare", 0, "limit: bare SQLite, open and look up"),
            row("open", 0, "  of ours: open for reading"),
            row("open", 1, "  of ours: open for reading"),
            row("again", 0, "ours: present, once more in one process"),
            row("again", 1, "ours: present, once more in one process"),
            row("artifacts", 0, "ours: open and artifacts (with all metadata)"),
            row("artifacts", 1, "ours: open and artifacts (with all metadata)"),
            row("bare-sorted", 0, "bare SQLite, keys sorted"),
            row("bare", 1, "bare SQLite, open and look up"),
            row("write", 1, "ours: open for writing"),
            row("stats", 1, "ours: open and stats"),
        ],
    );
    let (path, artifacts) = &stores[1];
    println!("opened after a crash, all checked: {}", shown(child("unclean", path, *artifacts)));
    println!("opened for writing = {} (goal: at most 100 ms)", shown(medians[11]));
    let ratio = medians[1].as_secs_f64() / medians[0].as_secs_f64();
    println!("ours at {} / ours at {} = {ratio:.2} (goal: at most 2)", SIZES[1], SIZES[0]);
    verdict(medians[0], medians[2], "at most 0.5");
}
