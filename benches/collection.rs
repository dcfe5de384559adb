//! Question: how long does a collection of a store of 200,000 blobs hold up those who put and read meanwhile?
//!
//! Limit: the same puts and reads with nothing beside them.
//! Goal: no read and no put waits more than 50 ms longer than without a collection.
//! Run:  cargo bench -p buildswarm-benches --bench collection
//!
//! Half of the blobs are of artifacts, half are loose and go. All are small ones, since what is in question is the
//! index; the puts are small too, so each is a commit of its own. Whatever transaction of the collection is the
//! longest, a put that meets it waits for the rest of it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use buildswarm_core::time::UnixSeconds;
use buildswarm_core::{BlobId, Digest};
use buildswarm_store::{GcOptions, Store};
use rusqlite::{Connection, params};

const BLOBS: usize = 200_000;
/// Puts and reads are measured for so long where nothing is beside them.
const ALONE: Duration = Duration::from_secs(5);
/// Between two puts, and two reads: they are to meet the collection, not to take the processors from it.
const PAUSE: Duration = Duration::from_millis(1);

fn main() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    drop(Store::open(&path).expect("a store"));
    let blobs = fill(&path);
    let store = Store::open(&path).expect("a store");
    let alone = beside(&store, &blobs, || std::thread::sleep(ALONE));
    let start = Instant::now();
    let mut removed = 0;
    let collecting =
        beside(&store, &blobs, || removed = store.gc(options()).expect("a collection").blobs.count);
    println!("collected {removed} of {BLOBS} blobs in {:.1} s", start.elapsed().as_secs_f64());
    println!("{:<22} {:>8} {:>10} {:>10} {:>10}", "", "count", "median", "99 %", "longest");
    for (name, times) in ["puts", "reads"].into_iter().zip(alone.iter().zip(&collecting)) {
        row(&format!("{name} alone"), times.0);
        row(&format!("{name} beside"), times.1);
    }
}

fn options() -> GcOptions {
    GcOptions {
        now: UnixSeconds(1_000_000_000),
        dry_run: false,
        keep_days: 0,
        grace_seconds: 0,
        quota: None,
        evict_artifacts: false,
    }
}

/// Rows as puts and commits write them, but in one transaction. Those of artifacts are returned.
fn fill(store: &Path) -> Vec<BlobId> {
    let index = Connection::open(store.join("index.db")).expect("the index");
    index.execute_batch("BEGIN").expect("a transaction");
    let mut bytes =
        index.prepare("INSERT INTO inline_bytes (id, bytes) VALUES (?1, ?2)").expect("the schema");
    let mut blob = index
        .prepare("INSERT INTO blobs (id, size, state, inline, stored_at) VALUES (?1, ?2, 'sound', ?3, 1)")
        .expect("the schema");
    let mut artifact = index
        .prepare(
            "INSERT INTO artifacts (key, cp, package, slot, repository, file, log, preimage, payload, interface,
                 installed_size, build_millis, built_at, builder, metadata, number)
             VALUES (?1, 'cat/p', 'cat/p-1', '0', 'gentoo', ?1, ?2, ?3, ?1, ?1, 1, 1, 1, 'bench', '{}', ?4)",
        )
        .expect("the schema");
    let mut of_artifacts = Vec::new();
    let mut waiting: Vec<BlobId> = Vec::new();
    for number in 0..BLOBS {
        let content = Digest::of(&number.to_le_bytes()).as_bytes().repeat(16);
        let (row, size) = (number as i64, content.len() as i64);
        let id = BlobId::of(&content);
        let raw = id.digest().as_bytes();
        bytes.execute(params![row, content]).expect("a row");
        blob.execute(params![raw, size, row]).expect("a row");
        if number % 2 == 0 {
            waiting.push(id);
        }
        if let &[file, log, preimage] = waiting.as_slice() {
            let [file, log, preimage] = [file, log, preimage].map(|id| *id.digest().as_bytes());
            artifact.execute(params![file, log, preimage, row]).expect("a row");
            of_artifacts.append(&mut waiting);
        }
    }
    drop((bytes, blob, artifact));
    index.execute_batch("COMMIT").expect("a commit");
    of_artifacts
}

/// How long puts and reads take, each on a thread of its own, while `work` goes on.
fn beside(store: &Store, blobs: &[BlobId], work: impl FnOnce()) -> [Vec<Duration>; 2] {
    let ended = AtomicBool::new(false);
    let repeat = |once: &dyn Fn(usize)| {
        let mut times = Vec::new();
        for number in 0.. {
            if ended.load(Ordering::Relaxed) {
                break;
            }
            let start = Instant::now();
            once(number);
            times.push(start.elapsed());
            std::thread::sleep(PAUSE);
        }
        times
    };
    let put = |number: usize| {
        let unique = Instant::now();
        store.put_bytes(format!("{unique:?} {number}").as_bytes()).expect("a put");
    };
    let read = |number: usize| {
        // In no order that the index has.
        let id = blobs[number.wrapping_mul(7_919) % blobs.len()];
        store.read_blob(id, 1 << 20).expect("a blob of an artifact");
    };
    std::thread::scope(|scope| {
        let putting = scope.spawn(|| repeat(&put));
        let reading = scope.spawn(|| repeat(&read));
        work();
        ended.store(true, Ordering::Relaxed);
        [putting.join().expect("puts"), reading.join().expect("reads")]
    })
}

fn row(name: &str, times: &[Duration]) {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let at = |part: usize| sorted[(sorted.len() - 1) * part / 100].as_secs_f64() * 1e3;
    println!("{name:<22} {:>8} {:>7.2} ms {:>7.2} ms {:>7.2} ms", sorted.len(), at(50), at(99), at(100));
}
