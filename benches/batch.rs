//! Question: how many blobs, and how many artifacts, of up to 64 KiB can be durably stored in a second, in batches?
//!
//! Peer:  `Store::put_bytes` one after the other (a tenth of them).
//! Limit: the same bytes written to one file and synced, and as many rows of an address inserted into SQLite in as many
//!        transactions.
//! Goal:  20,000 blobs a second, and 20,000 artifacts.
//! Run:   cargo bench -p buildswarm-benches --bench batch
//!
//! Every measurement writes into a fresh directory: making files on ext4 soon after deleting some is slower.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use buildswarm_benches::{Random, Row, measure, timed, verdict};
use buildswarm_core::artifact::{Artifact, BlobRef};
use buildswarm_core::time::UnixSeconds;
use buildswarm_core::{BuildKey, Digest};
use buildswarm_store::{Batch, Compression, Store};

const COUNT: usize = 20_000;
const IN_A_BATCH: usize = 2_500;
const SMALLEST: usize = 4 << 10;
const DOUBLINGS: usize = 4;
const ROUNDS: usize = 5;
const THREADS: usize = 2;

/// As a package that is compressed already, of 4 to 64 KiB, small ones being more frequent than large ones.
fn contents() -> Vec<Vec<u8>> {
    let mut random = Random(1);
    let mut one = || {
        let least = SMALLEST << random.below(DOUBLINGS);
        let size = least + random.below(least);
        let mut bytes = Vec::with_capacity(size + 8);
        while bytes.len() < size {
            bytes.extend_from_slice(&random.bits().to_le_bytes());
        }
        bytes.truncate(size);
        bytes
    };
    (0..COUNT).map(|_| one()).collect()
}

/// Runs `work` on a fresh store, or in a fresh directory of any other kind.
fn in_fresh<T>(below: &Path, open: impl FnOnce(&Path) -> T, work: impl FnOnce(&T)) -> Duration {
    let directory = tempfile::tempdir_in(below).expect("a directory");
    let opened = open(directory.path());
    timed(|| work(&opened)).1
}

fn open_store(path: &Path) -> Store {
    Store::open(path).expect("a store")
}

/// Hands each thread its part.
fn on_all<T: Sync>(items: &[T], work: impl Fn(&T) + Sync) {
    std::thread::scope(|scope| {
        for part in items.chunks(items.len().div_ceil(THREADS)) {
            scope.spawn(|| part.iter().for_each(&work));
        }
    });
}

fn put_blobs(store: &Store, contents: &[Vec<u8>]) {
    for some in contents.chunks(IN_A_BATCH) {
        let batch = store.batch(Compression::None).expect("a batch");
        on_all(some, |bytes| {
            batch.put_bytes(bytes).expect("a put");
        });
        batch.commit().expect("a commit");
    }
}

fn put_artifacts(store: &Store, contents: &[Vec<u8>]) {
    for some in contents.chunks(IN_A_BATCH) {
        let batch = store.batch(Compression::None).expect("a batch");
        on_all(some, |bytes| {
            batch.commit_artifact(artifact(&batch, bytes), &[]);
        });
        batch.commit().expect("a commit");
    }
}

/// An artifact of three blobs: its log is the head of its file here, its preimage what it begins with.
fn artifact(batch: &Batch, bytes: &[u8]) -> Artifact {
    let put = |bytes: &[u8]| batch.put_bytes(bytes).expect("a put");
    let file: BlobRef = put(bytes);
    Artifact {
        key: BuildKey::from_digest(*file.id.digest()),
        package: "dev-libs/foo-1".parse().expect("a package"),
        slot: "0".parse().expect("a slot"),
        repository: "gentoo".to_owned(),
        file,
        log: put(&bytes[..2000]),
        preimage: put(&bytes[..700]),
        payload: Digest::of(b"payload"),
        interface: Digest::of(b"interface"),
        installed_size: 1,
        build_millis: 1,
        built_at: UnixSeconds(1),
        builder: "drone".to_owned(),
        metadata: BTreeMap::new(),
    }
}

/// A table with the fewest columns that could do.
fn open_bare(path: &Path) -> (rusqlite::Connection, File) {
    let index = rusqlite::Connection::open(path.join("bare.db")).expect("a database");
    index.pragma_update(None, "journal_mode", "wal").expect("a log");
    index.pragma_update(None, "synchronous", "full").expect("a barrier");
    index
        .execute_batch("CREATE TABLE t (id BLOB PRIMARY KEY, size INTEGER, at INTEGER) STRICT, WITHOUT ROWID")
        .expect("a table");
    (index, File::create_new(path.join("bare")).expect("a file"))
}

fn put_bare((index, file): &(rusqlite::Connection, File), contents: &[Vec<u8>], ids: &[Digest]) {
    let mut file = file;
    for (some, ids) in contents.chunks(IN_A_BATCH).zip(ids.chunks(IN_A_BATCH)) {
        some.iter().try_for_each(|bytes| file.write_all(bytes)).expect("a write");
        file.sync_all().expect("fsync");
        let transaction = index.unchecked_transaction().expect("a transaction");
        for (bytes, id) in some.iter().zip(ids) {
            transaction
                .prepare_cached("INSERT INTO t (id, size, at) VALUES (?1, ?2, ?3)")
                .and_then(|mut insert| insert.execute((id.as_bytes(), bytes.len() as i64, 0)))
                .expect("an insert");
        }
        transaction.commit().expect("a commit");
    }
}

fn main() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
    let below = directory.path();
    let contents = contents();
    let ids: Vec<Digest> = contents.iter().map(|bytes| Digest::of(bytes)).collect();
    let mib = contents.iter().map(Vec::len).sum::<usize>() >> 20;
    println!("{COUNT} blobs of 4 to 64 KiB, {mib} MiB, {IN_A_BATCH} in a batch");
    let medians = measure(
        ROUNDS,
        vec![
            Row::new("ours: blobs in batches, durable", || {
                in_fresh(below, open_store, |store| put_blobs(store, &contents))
            }),
            Row::new("limit: one file and bare rows, durable", || {
                in_fresh(below, open_bare, |bare| put_bare(bare, &contents, &ids))
            }),
            Row::new("ours: artifacts of three blobs in batches", || {
                in_fresh(below, open_store, |store| put_artifacts(store, &contents))
            }),
            Row::new("ours: a tenth of the blobs, one put each", || {
                in_fresh(below, open_store, |store| {
                    for bytes in &contents[..COUNT / 10] {
                        store.put_bytes(bytes).expect("a put");
                    }
                })
            }),
        ],
    );
    let each_second = |count: usize, time: Duration| count as f64 / time.as_secs_f64();
    println!("blobs a second: {:.0}", each_second(COUNT, medians[0]));
    println!("artifacts a second: {:.0}", each_second(COUNT, medians[2]));
    verdict(medians[0], medians[1], "20,000 a second, or as near to the limit as the disk allows");
}
