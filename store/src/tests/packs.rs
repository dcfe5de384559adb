//! Batches and packs: the order of steps, a failure and a death at each of them.

use super::*;
use crate::Compression;
use crate::index::rows::{self, Place};

/// Bytes that go into a pack and do not compress to nothing.
fn packed(seed: u8) -> Vec<u8> {
    (0..30_000_u32).flat_map(|number| blake3::hash(&[seed, number as u8]).as_bytes()[..4].to_vec()).collect()
}

const LIVE: [u8; 2] = [1, 9];

/// A batch of nine blobs, of which artifacts need the first and the last: it is to be written anew once the rest is gone.
fn put_batch(store: &Store) -> crate::Result<()> {
    let batch = store.batch(Compression::Zstd)?;
    for seed in 1..=9 {
        batch.put_bytes(&packed(seed))?;
    }
    for seed in LIVE {
        let blobs = [&packed(seed)[..], b"log", b"preimage"].map(|bytes| batch.put_bytes(bytes));
        let [file, log, preimage] = blobs;
        batch.commit_artifact(artifact(seed, [file?, log?, preimage?]), &[]);
    }
    batch.commit().map(drop)
}

fn key(seed: u8) -> BuildKey {
    BuildKey::from_digest(Digest::of(&[seed]))
}

/// Whether both artifacts are there, and readable; refuses anything between that and nothing.
fn is_whole(store: &Store) -> bool {
    let found = LIVE.map(|seed| store.artifact(key(seed)).unwrap());
    for (seed, artifact) in LIVE.into_iter().zip(&found) {
        if let Some(artifact) = artifact {
            assert_eq!(store.read_blob(artifact.file.id, 1 << 20).unwrap(), packed(seed));
        }
    }
    assert_eq!(found[0].is_some(), found[1].is_some(), "all or nothing");
    found[0].is_some()
}

fn packs_in(dir: &Path) -> usize {
    files_in(&dir.join("packs"))
}

/// After a collection that nothing disturbed: one pack with what is needed, and nothing else.
fn is_tidy(dir: &Path, store: &Store, when: &str) {
    store.gc(ruthless()).unwrap();
    assert!(is_whole(store), "{when}");
    assert_eq!((packs_in(dir), files_in(&dir.join("tmp"))), (1, 0), "{when}");
    let stored = |seed| {
        let found = store.shared.index.read(|reader| Ok(rows::find(reader, BlobId::of(&packed(seed)))?));
        found.unwrap().unwrap()
    };
    assert_eq!(LIVE.map(|seed| stored(seed).place), [place(store, 512), place(store, 121_344)], "{when}");
    assert!(store.verify().unwrap().is_clean(), "{when}");
    assert_eq!(store.shared.index.damage().unwrap(), Vec::<String>::new(), "{when}");
}

/// A position in the only pack.
fn place(store: &Store, position: u64) -> Place {
    let pack = store
        .shared
        .index
        .read(|reader| Ok(crate::packs::rows::in_use(reader, crate::index::rows::PackNumber::FIRST, 2)?));
    Place::Packed { pack: pack.unwrap()[0], position }
}

#[test]
fn frames_then_table_then_name_then_rows() {
    use Step::{Commit, Committed, CreateTemp, Publish, SyncDirectory, SyncTemp, WriteTemp};
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    script(None);
    put_batch(&store).unwrap();
    // Two frames and the table.
    let writes = [CreateTemp, WriteTemp, WriteTemp, WriteTemp, SyncTemp];
    assert_eq!(trace(), [&writes[..], &[Publish, SyncDirectory, Commit, Committed]].concat());
}

#[test]
fn blobs_move_before_their_pack_goes() {
    use Step::{Commit, Committed, CreateTemp, Publish, SyncDirectory, SyncTemp, Unlink, WriteTemp};
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    put_batch(&store).unwrap();
    script(None);
    store.gc(ruthless()).unwrap();
    let steps = [
        // Condemned, and their rows removed: there are no files of their own.
        &[Commit, Committed, Commit, Committed][..],
        &[CreateTemp, WriteTemp, WriteTemp, SyncTemp, Publish, SyncDirectory, Commit, Committed],
        &[Commit, Committed, Unlink, SyncDirectory, Commit, Committed],
    ];
    assert_eq!(trace(), steps.concat());
    is_tidy(dir.path(), &store, "after a collection");
}

#[test]
fn a_batch_that_fails_anywhere_leaves_nothing_half_done() {
    for at in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        script(Some((at, Then::Fail)));
        let outcome = put_batch(&store);
        let steps = trace();
        script(None);
        let when = format!("step {at} of {steps:?}");
        assert_eq!(files_in(&dir.path().join("tmp")), 0, "{when}");
        assert!(store.verify().unwrap().is_clean(), "{when}");
        assert_eq!(is_whole(&store), steps.contains(&Step::Committed), "{when}");
        if outcome.is_ok() {
            assert!(at >= steps.len() && at > 7);
            return;
        }
        // Whatever is left is adopted, or goes.
        if at % 2 == 0 {
            put_batch(&store).unwrap();
            assert_eq!(packs_in(dir.path()), 1, "{when}");
            is_tidy(dir.path(), &store, &when);
        } else if !is_whole(&store) {
            store.gc(ruthless()).unwrap();
            assert_eq!(packs_in(dir.path()), 0, "{when}");
        }
    }
}

#[test]
fn a_collection_that_fails_anywhere_loses_nothing_that_is_needed() {
    for at in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        put_batch(&store).unwrap();
        script(Some((at, Then::Fail)));
        let outcome = store.gc(ruthless());
        let steps = trace();
        script(None);
        let when = format!("step {at} of {steps:?}");
        assert!(is_whole(&store), "{when}");
        assert!(store.verify().unwrap().is_clean(), "{when}");
        if outcome.is_ok() {
            assert!(at > 15);
            return;
        }
        if at % 2 == 0 {
            // The very pack that is being removed is put again.
            put_batch(&store).unwrap();
            assert!(is_whole(&store), "{when}");
            for seed in 1..=9 {
                assert_eq!(store.read_blob(BlobId::of(&packed(seed)), 1 << 20).unwrap(), packed(seed));
            }
        }
        is_tidy(dir.path(), &store, &when);
    }
}

#[test]
fn a_batch_wins_against_the_removal_of_the_same_pack() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    put_batch(&store).unwrap();
    for seed in LIVE {
        store.remove_artifact(key(seed)).unwrap();
    }
    // Stops between the file and the row.
    for stop in [Step::Unlink, Step::SyncDirectory] {
        script(None);
        let at = {
            let other = tempfile::tempdir().unwrap();
            let other = Store::open(other.path()).unwrap();
            put_batch(&other).unwrap();
            for seed in LIVE {
                other.remove_artifact(key(seed)).unwrap();
            }
            script(None);
            other.gc(ruthless()).unwrap();
            trace().iter().position(|step| *step == stop).unwrap()
        };
        script(Some((at, Then::Fail)));
        store.gc(ruthless()).unwrap_err();
        script(None);
        put_batch(&store).unwrap();
        assert!(is_whole(&store));
        assert_eq!(packs_in(dir.path()), 1);
        assert!(store.verify().unwrap().is_clean());
        for seed in LIVE {
            store.remove_artifact(key(seed)).unwrap();
        }
    }
    store.gc(ruthless()).unwrap();
    assert_eq!(packs_in(dir.path()), 0);
}

/// Not a test by itself: dies at the step it was told.
#[test]
fn child_that_dies_in_a_batch() {
    let Some(path) = std::env::var_os(STORE) else { return };
    let store = Store::open(path).unwrap();
    script(Some((std::env::var(AT).unwrap().parse().unwrap(), Then::Die)));
    put_batch(&store).unwrap();
    println!("\nput\n");
    std::io::stdout().flush().unwrap();
    store.gc(ruthless()).unwrap();
    println!("\nlived\n");
}

#[test]
fn a_death_at_any_step_of_a_batch_or_a_collection_breaks_no_promise() {
    for at in 0_usize.. {
        let dir = tempfile::tempdir().unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::packs::child_that_dies_in_a_batch", "--nocapture"])
            .env(STORE, dir.path())
            .env(AT, at.to_string())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        let when = format!("died at {at}");
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(files_in(&dir.path().join("tmp")), 0, "{when}");
        assert!(store.verify().unwrap().is_clean(), "{when}");
        assert!(is_whole(&store) || !said.contains("\nput\n"), "{when}");
        put_batch(&store).unwrap();
        is_tidy(dir.path(), &store, &when);
        if said.contains("\nlived\n") {
            assert!(child.status.success() && at > 20, "{at}");
            return;
        }
        assert!(!child.status.success(), "{when}: {child:?}");
    }
}
