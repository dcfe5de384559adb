//! Batches: what is in them is there afterwards, all of it or nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use buildswarm_core::BlobId;
use buildswarm_store::{Committed, Compression, Error, INLINE_BYTES_MAX, Store};

use crate::support::{bytes, files_in, key, large, reuse, store, with_blobs};

const BOTH: [Compression; 2] = [Compression::None, Compression::Zstd];

/// Bytes that compress, and differ by `seed`.
fn text(seed: u64, size: usize) -> Vec<u8> {
    bytes(seed, size / 2).iter().flat_map(|byte| [*byte, b' ']).chain([b'.'; 1]).take(size).collect()
}

/// The packs of a store.
fn packs(store: &Store) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(store.path().join("packs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

/// Contents of all kinds of sizes, among them those around the edges of blocks and frames.
fn contents() -> Vec<Vec<u8>> {
    let sizes = [0, 1, 511, 512, 513, 4096, INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1, 300_000];
    let edges = [(1 << 20) - 512, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (5 << 20) + 77];
    let sizes = sizes.into_iter().chain(edges);
    sizes.enumerate().map(|(seed, size)| text(seed as u64, size)).collect()
}

#[test]
fn what_was_committed_is_there_and_can_be_read() {
    for compression in BOTH {
        let (_dir, store) = store();
        let batch = store.batch(compression).unwrap();
        let blobs: Vec<_> = contents().iter().map(|bytes| batch.put(&bytes[..]).unwrap()).collect();
        assert!(blobs.iter().all(|blob| !store.contains(blob.id).unwrap()), "not before the commit");
        assert!(batch.commit().unwrap().is_empty());
        for (blob, bytes) in blobs.iter().zip(contents()) {
            assert_eq!((blob.id, blob.size), (BlobId::of(&bytes), bytes.len() as u64));
            assert_eq!(store.read_blob(blob.id, 1 << 30).unwrap(), bytes, "{} bytes", bytes.len());
            assert_eq!(store.verified_path(blob.id).unwrap(), None, "it has no file of its own");
        }
        assert_eq!((packs(&store).len(), files_in(&store.path().join("blobs"))), (1, 0));
        assert_eq!(files_in(&store.path().join("tmp")), 0);
        let stats = store.stats().unwrap();
        let sizes: u64 = blobs.iter().map(|blob| blob.size).sum();
        assert_eq!((stats.packed_blobs, stats.packed_bytes), (blobs.len() as u64, sizes));
        let file = fs::metadata(&packs(&store)[0]).unwrap().len();
        assert_eq!((stats.packs, stats.pack_bytes, stats.file_blobs), (1, file, 0));
        let report = store.verify().unwrap();
        assert!(report.is_clean() && report.checked == blobs.len() as u64, "{report:?}");
    }
}

#[test]
fn a_batch_that_is_dropped_leaves_nothing() {
    let (_dir, store) = store();
    let batch = store.batch(Compression::Zstd).unwrap();
    let blob = batch.put_bytes(&text(1, 9 << 20)).unwrap();
    assert!(files_in(&store.path().join("tmp")) > 0, "it has begun to write");
    drop(batch);
    assert!(!store.contains(blob.id).unwrap());
    assert_eq!((files_in(&store.path().join("tmp")), packs(&store).len()), (0, 0));
}

#[test]
fn a_tiny_batch_goes_into_the_index() {
    let (_dir, store) = store();
    let batch = store.batch(Compression::Zstd).unwrap();
    let blob = batch.put_bytes(b"small").unwrap();
    batch.commit().unwrap();
    assert_eq!(store.read_blob(blob.id, 9).unwrap(), b"small");
    assert_eq!((packs(&store).len(), store.stats().unwrap().inline_blobs), (0, 1));
}

#[test]
fn what_is_stored_is_not_stored_again() {
    let (_dir, store) = store();
    let known = [store.put_bytes(&large(1)).unwrap(), store.put_bytes(b"small").unwrap()];
    let first = store.batch(Compression::None).unwrap();
    let packed = first.put_bytes(&text(2, 100_000)).unwrap();
    first.commit().unwrap();
    let before = packs(&store);
    let second = store.batch(Compression::None).unwrap();
    for bytes in [large(1), b"small".to_vec(), text(2, 100_000)] {
        let _ = second.put_bytes(&bytes).unwrap();
        let _ = second.put(&bytes[..]).unwrap();
    }
    second.commit().unwrap();
    assert_eq!(packs(&store), before);
    // Nor does a put of a packed blob make a file of it.
    assert_eq!(store.put_bytes(&text(2, 100_000)).unwrap(), packed);
    assert_eq!(files_in(&store.path().join("blobs")), 1);
    assert!(known.iter().all(|blob| store.contains(blob.id).unwrap()));
}

#[test]
fn artifacts_resolve_with_the_batch_that_brought_their_blobs() {
    let (_dir, store) = store();
    let batch = store.batch(Compression::Zstd).unwrap();
    let contents = |seed: u64| [text(seed, 70_000), text(seed, 3_000), text(seed, 100)];
    let artifacts: Vec<_> = (0..20)
        .map(|seed| {
            let blobs = contents(seed).map(|bytes| batch.put_bytes(&bytes).unwrap());
            with_blobs("dev-libs/foo-1", seed, blobs)
        })
        .collect();
    for artifact in &artifacts {
        batch.commit_artifact(artifact.clone(), &[reuse(1)]);
    }
    batch.commit_artifact(artifacts[0].clone(), &[]);
    assert_eq!(store.all_artifacts().count(), 0);
    let committed = batch.commit().unwrap();
    assert_eq!(committed[..20], [Committed::First; 20]);
    assert_eq!(committed[20], Committed::AlreadyThere);
    let keys: Vec<_> = (0..20).map(key).collect();
    let found = store.artifacts(&keys).unwrap();
    assert!(artifacts.iter().all(|artifact| found[&artifact.key] == *artifact));
    assert_eq!(store.reused(&[reuse(1)]).unwrap()[&reuse(1)], artifacts[0]);
    assert_eq!(store.present(&keys).unwrap().len(), 20);
}

#[test]
fn one_artifact_without_its_blobs_refuses_the_whole_batch() {
    let (_dir, store) = store();
    let batch = store.batch(Compression::Zstd).unwrap();
    let blobs = [1, 2, 3].map(|seed| batch.put_bytes(&text(seed, 90_000)).unwrap());
    let mut broken = with_blobs("dev-libs/foo-1", 2, blobs);
    broken.log.id = BlobId::of(b"nowhere");
    batch.commit_artifact(with_blobs("dev-libs/foo-1", 1, blobs), &[]);
    batch.commit_artifact(broken.clone(), &[]);
    let error = batch.commit().unwrap_err();
    assert!(matches!(error, Error::BlobMissing { id } if id == broken.log.id), "{error}");
    assert!(!store.contains(blobs[0].id).unwrap());
    assert_eq!(store.artifact(key(1)).unwrap(), None);
}

#[test]
fn a_reader_that_fails_adds_nothing_and_the_batch_goes_on() {
    struct Broken(usize);
    impl std::io::Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let count = buffer.len().min(self.0);
            self.0 -= count;
            if count == 0 { Err(std::io::Error::other("broken")) } else { Ok(count) }
        }
    }
    let (_dir, store) = store();
    let batch = store.batch(Compression::Zstd).unwrap();
    for size in [10, 3 << 20] {
        assert!(matches!(batch.put(Broken(size)), Err(Error::Source { .. })));
    }
    let blob = batch.put_bytes(&text(1, 100_000)).unwrap();
    batch.commit().unwrap();
    assert!(store.contains(blob.id).unwrap());
    assert_eq!(files_in(&store.path().join("tmp")), 0);
}

#[test]
fn threads_fill_one_batch_together() {
    let (_dir, store) = store();
    let batch = store.batch(Compression::Zstd).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let batch = &batch;
            scope.spawn(move || {
                // Half of them are those of the next thread too.
                for seed in thread * 50..(thread + 2) * 50 {
                    batch.put_bytes(&text(seed, 1000 * (1 + seed as usize % 40))).unwrap();
                }
            });
        }
    });
    batch.commit().unwrap();
    for seed in 0..250 {
        let bytes = text(seed, 1000 * (1 + seed as usize % 40));
        assert_eq!(store.read_blob(BlobId::of(&bytes), 1 << 20).unwrap(), bytes);
    }
    assert_eq!(store.verify().unwrap().checked, 250);
}

#[test]
fn a_large_batch_fills_several_packs() {
    for compression in BOTH {
        let (_dir, store) = store();
        let batch = store.batch(compression).unwrap();
        let large = |seed| text(seed, 30_000).repeat(1000);
        let blobs: Vec<_> = (0..5).map(|seed| batch.put(&large(seed)[..]).unwrap()).collect();
        batch.commit().unwrap();
        assert_eq!(packs(&store).len(), 2);
        for (seed, blob) in (0..).zip(blobs) {
            assert!(store.read_blob(blob.id, 1 << 30).unwrap() == large(seed), "{seed}");
        }
    }
}

/// What stock tools make of a pack.
fn unpacked_by_stock_tools(pack: &Path, into: &Path) -> bool {
    let script = r#"case "$(head -c 4 "$1" | od -An -tx1)" in *"28 b5 2f fd"*) zstd -dc "$1" ;; *) cat "$1" ;; esac |
        tar -x -C "$2""#;
    Command::new("sh").args(["-euc", script, "sh"]).args([pack, into]).status().unwrap().success()
}

#[test]
fn stock_tools_unpack_a_pack() {
    let has =
        |tool: &str| Command::new(tool).arg("--version").output().is_ok_and(|said| said.status.success());
    if !has("zstd") || !has("tar") {
        println!("skipped: there is no zstd or no tar");
        return;
    }
    for compression in BOTH {
        let (dir, store) = store();
        let batch = store.batch(compression).unwrap();
        for bytes in contents() {
            let _ = batch.put_bytes(&bytes).unwrap();
        }
        batch.commit().unwrap();
        let into = dir.path().join("unpacked");
        fs::create_dir(&into).unwrap();
        let pack = packs(&store).pop().unwrap();
        assert_eq!(
            pack.file_name().unwrap().to_str().unwrap(),
            BlobId::of(&fs::read(&pack).unwrap()).to_string()
        );
        assert!(unpacked_by_stock_tools(&pack, &into));
        for bytes in contents() {
            assert!(fs::read(into.join(BlobId::of(&bytes).to_string())).unwrap() == bytes);
        }
        assert_eq!(files_in(&into), contents().len());
    }
}
