//! Question: how long does a fresh process take to learn which of 20,000 keys a store of 200,000 artifacts has?
//!
//! Peer and limit: bare SQLite, one `WITHOUT ROWID` table of keys, opened afresh, the same look-ups in the same
//!       order; what it leaves out is that an artifact resolves only if its blobs are on the disk.
//! Goal: at most 0.5 × limit; for now at most 10 ×.
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
use buildswarm_core::artifact::{Artifact, BlobRef};
use buildswarm_core::time::UnixSeconds;
use buildswarm_core::{BuildKey, Digest};
use buildswarm_store::Store;
use rusqlite::{Connection, OpenFlags};

const ARTIFACTS: usize = 200_000;
const ASKED: usize = 20_000;
const ROUNDS: usize = 9;
const TASK: &str = "BUILDSWARM_BENCH_TASK";

/// Keys with even numbers are in the store.
fn key(number: usize) -> BuildKey {
    BuildKey::from_digest(Digest::of(&number.to_le_bytes()))
}

fn asked() -> Vec<BuildKey> {
    (0..ASKED).map(|number| key(number * (2 * ARTIFACTS / ASKED) + number % 2)).collect()
}

fn open(database: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    Connection::open_with_flags(database, flags).expect("a database")
}

/// Fills a store and the bare table; returns how long that took.
fn fill(directory: &Path) -> Duration {
    timed(|| {
        let store = Store::open(directory.join("store")).expect("a store");
        let log = store.put_bytes(b"a log").expect("a blob");
        let small = store.put_bytes(&[7; 8_000]).expect("a blob");
        let files: Vec<BlobRef> = (0..ARTIFACTS / 100)
            .map(|number| store.put_bytes(&number.to_le_bytes().repeat(2_500)).expect("a blob"))
            .collect();
        drop(store);
        insert(directory, log, small, &files);
    })
    .1
}

/// Rows as `commit_artifact` writes them, but in one transaction: one durable commit each would take an hour.
fn insert(directory: &Path, log: BlobRef, small: BlobRef, files: &[BlobRef]) {
    let index = open(&directory.join("store/index.db"));
    let bare = open(&directory.join("bare.db"));
    bare.execute_batch(
        "PRAGMA journal_mode = WAL;
         CREATE TABLE present (key BLOB NOT NULL PRIMARY KEY) STRICT, WITHOUT ROWID;
         BEGIN",
    )
    .expect("a table");
    index.execute_batch("BEGIN").expect("a transaction");
    let artifact = template(log, small);
    let metadata = serde_json::to_string(&artifact.metadata).expect("JSON");
    let mut row = index
        .prepare(
            "INSERT INTO artifacts (key, cp, package, slot, repository, file, log, preimage, payload, \
             interface, installed_size, build_millis, built_at, builder, metadata) \
             VALUES (?1, ?2, ?3, '0/0', 'gentoo', ?4, ?5, ?5, ?6, ?6, 1000, 1000, 1700000000, 'bench', ?7)",
        )
        .expect("the schema of a store");
    let mut bare_row = bare.prepare("INSERT INTO present VALUES (?1)").expect("the table");
    for number in 0..ARTIFACTS {
        let key = key(2 * number);
        let file = if number % 10 == 0 { files[number / 10 % files.len()] } else { small };
        let bytes = |digest: &Digest| digest.as_bytes().to_vec();
        let (cp, package) = (format!("cat/p{number}"), format!("cat/p{number}-1"));
        let (file, log, payload) = (bytes(file.id.digest()), bytes(log.id.digest()), bytes(key.digest()));
        row.execute((bytes(key.digest()), cp, package, file, log, payload, &metadata)).expect("a row");
        bare_row.execute([bytes(key.digest())]).expect("a row");
    }
    for database in [&index, &bare] {
        database.execute_batch("COMMIT").expect("a commit");
    }
}

/// An artifact with about as much metadata as a real one has.
fn template(log: BlobRef, file: BlobRef) -> Artifact {
    let metadata: BTreeMap<String, String> = [
        ("RDEPEND", "sys-libs/zlib:0/1= dev-libs/openssl:0/3= virtual/libc"),
        ("USE", "amd64 nls ssl"),
        ("REQUIRES", "x86_64: libc.so.6 libz.so.1"),
        ("KEYWORDS", "amd64"),
        ("DESC", "A package like others"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    Artifact {
        key: key(0),
        package: "cat/p-1".parse().expect("a package"),
        slot: "0".parse().expect("a slot"),
        repository: "gentoo".to_owned(),
        file,
        log,
        preimage: log,
        payload: Digest::of(b""),
        interface: Digest::of(b""),
        installed_size: 0,
        build_millis: 0,
        built_at: UnixSeconds(0),
        builder: String::new(),
        metadata,
    }
}

/// What a child does; prints nanoseconds and the number of hits.
fn task(name: &str, directory: &Path) {
    let asked = asked();
    let (hits, time) = timed(|| match name {
        "bare" | "bare-sorted" => {
            let database = open(&directory.join("bare.db"));
            let mut query = database.prepare("SELECT 1 FROM present WHERE key = ?1").expect("a query");
            let mut keys = asked;
            if name == "bare-sorted" {
                keys.sort_unstable();
            }
            keys.iter().filter(|key| query.exists([key.digest().as_bytes()]).expect("an answer")).count()
        }
        "open" => Store::open_read_only(directory.join("store")).map(|_| 0).expect("a store"),
        _ => {
            let store = Store::open_read_only(directory.join("store")).expect("a store");
            match name {
                "artifacts" => store.artifacts(&asked).expect("an answer").len(),
                _ => store.present(&asked).expect("an answer").len(),
            }
        }
    });
    println!("{} {hits}", time.as_nanos());
}

/// Runs a task in a process of its own.
fn child(name: &str, directory: &Path) -> Duration {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program).arg(directory).env(TASK, name).output().expect("a process");
    let text = String::from_utf8_lossy(&output.stdout);
    let (nanos, hits) = text.trim().split_once(' ').unwrap_or_else(|| panic!("{name}: {output:?}"));
    assert!(name == "open" || hits.parse() == Ok(ASKED / 2), "{name} found {hits}");
    Duration::from_nanos(nanos.parse().expect("nanoseconds"))
}

fn main() {
    if let Ok(name) = std::env::var(TASK) {
        let directory = std::env::args_os().nth(1).expect("a directory");
        return task(&name, Path::new(&directory));
    }
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
    let path = directory.path();
    let time = fill(path);
    println!("{ARTIFACTS} artifacts, filled in {}; {ASKED} keys asked for, half of them hits", shown(time));
    let row = |name: &'static str, text: &str| Row::new(text, move || child(name, path));
    let medians = measure(
        ROUNDS,
        vec![
            row("present", "ours: open and present"),
            row("artifacts", "ours: open and artifacts (with all metadata)"),
            row("open", "  of which open"),
            row("bare", "limit: bare SQLite, open and look up"),
            row("bare-sorted", "bare SQLite, keys sorted"),
        ],
    );
    verdict(medians[0], medians[3], "at most 0.5");
}
