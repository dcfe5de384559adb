//! What is damaged in a pack, and what becomes of it.

use std::fs;
use std::path::PathBuf;

use buildswarm_core::BlobId;
use buildswarm_core::artifact::BlobRef;
use buildswarm_store::{Compression, Error, Store};

use crate::support::{bytes, files_in, key, ruthless, store, tamper, with_blobs};

const COUNT: u64 = 60;
const SIZE: usize = 100_000;
const BOTH: [Compression; 2] = [Compression::None, Compression::Zstd];

/// What a zstd frame begins with.
const FRAME: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// A store with one pack of some six frames, and its blobs.
fn with_pack(compression: Compression) -> (tempfile::TempDir, Store, Vec<BlobRef>) {
    let (dir, store) = store();
    let blobs = put_all(&store, compression);
    (dir, store, blobs)
}

fn put_all(store: &Store, compression: Compression) -> Vec<BlobRef> {
    let batch = store.batch(compression).unwrap();
    let blobs = (0..COUNT).map(|seed| batch.put_bytes(&bytes(seed, SIZE)).unwrap()).collect();
    batch.commit().unwrap();
    blobs
}

fn pack_of(store: &Store) -> PathBuf {
    let mut found = fs::read_dir(store.path().join("packs")).unwrap();
    let pack = found.next().unwrap().unwrap().path();
    assert!(found.next().is_none());
    pack
}

/// How many of the blobs can be read; those that can are what they should be.
fn readable(store: &Store, blobs: &[BlobRef]) -> usize {
    let read = |(seed, blob): (u64, &BlobRef)| match store.read_blob(blob.id, 1 << 20) {
        Ok(read) => {
            assert!(read == bytes(seed, SIZE));
            1
        }
        Err(Error::BlobDamaged { id } | Error::BlobMissing { id }) => {
            assert_eq!(id, blob.id);
            assert!(!store.contains(id).unwrap(), "it is out of service");
            0
        }
        Err(other) => panic!("{other}"),
    };
    (0..).zip(blobs).map(read).sum()
}

fn is_healed_by_a_put(store: &Store, blobs: &[BlobRef], compression: Compression) {
    assert_eq!(put_all(store, compression), blobs);
    assert_eq!(readable(store, blobs), blobs.len());
    let report = store.verify().unwrap();
    // What is damaged of the old pack stays until the next collection.
    assert!(report.damaged.is_empty() && report.missing.is_empty(), "{report:?}");
    store.gc(ruthless()).unwrap();
    assert!(store.verify().unwrap().is_clean());
    assert_eq!((files_in(&store.path().join("packs")), store.stats().unwrap().bad_blobs), (0, 0));
}

#[test]
fn damage_takes_those_blobs_out_of_service_that_it_reaches_and_no_others() {
    // A byte of a plain pack is one of one blob; a frame that does not unpack has ten blobs and parts of others.
    for (compression, reached) in BOTH.into_iter().zip([1..=1, 10..=12]) {
        for by_verify in [false, true] {
            let (_dir, store, blobs) = with_pack(compression);
            tamper(&pack_of(&store), |bytes| {
                let frame = bytes[1_000_000..].windows(4).position(|window| window == FRAME);
                bytes[1_000_000 + frame.unwrap_or(500_000)] ^= 1;
            });
            if by_verify {
                let report = store.verify().unwrap();
                assert_eq!((report.checked, report.missing.len()), (COUNT, 0));
                assert!(reached.contains(&report.damaged.len()), "{report:?}");
                assert_eq!(report.damaged_packs.len(), 1);
            }
            let bad = blobs.len() - readable(&store, &blobs);
            assert!(reached.contains(&bad), "{bad}");
            assert_eq!(store.stats().unwrap().bad_blobs, bad as u64);
            is_healed_by_a_put(&store, &blobs, compression);
        }
    }
}

#[test]
fn a_pack_that_is_missing_or_cut_short_takes_all_its_blobs_with_it() {
    for compression in BOTH {
        for (by_verify, cut) in [(false, false), (true, false), (false, true), (true, true)] {
            let (_dir, store, blobs) = with_pack(compression);
            assert_eq!(readable(&store, &blobs[..3]), 3, "it has been open");
            let pack = pack_of(&store);
            if cut {
                tamper(&pack, |bytes| bytes.truncate(bytes.len() - 1));
            } else {
                fs::remove_file(&pack).unwrap();
            }
            assert!(blobs.iter().all(|blob| !store.contains(blob.id).unwrap()));
            if by_verify {
                let report = store.verify().unwrap();
                let found = if cut { report.damaged.len() } else { report.missing.len() };
                assert_eq!((found, report.damaged_packs.len()), (blobs.len(), usize::from(cut)));
            }
            assert_eq!(readable(&store, &blobs[..1]), 0);
            assert_eq!(store.stats().unwrap().bad_blobs, COUNT, "all, not only the one that was read");
            assert_eq!(files_in(&store.path().join("quarantine")), usize::from(cut));
            is_healed_by_a_put(&store, &blobs, compression);
        }
    }
}

#[test]
fn a_pack_without_a_sound_blob_goes_to_the_quarantine() {
    for compression in BOTH {
        let (_dir, store, blobs) = with_pack(compression);
        tamper(&pack_of(&store), |bytes| {
            // Every blob, but not the table.
            for at in (1_000..6_020_000).step_by(10_000) {
                bytes[at] ^= 1;
            }
        });
        let report = store.verify().unwrap();
        assert_eq!((report.damaged.len(), report.damaged_packs.len()), (blobs.len(), 1));
        assert_eq!(files_in(&store.path().join("packs")), 0);
        assert_eq!(files_in(&store.path().join("quarantine")), 1);
        assert_eq!(readable(&store, &blobs), 0);
        is_healed_by_a_put(&store, &blobs, compression);
    }
}

#[test]
fn damage_outside_of_blobs_is_found_and_healed_by_a_collection() {
    for compression in BOTH {
        let (_dir, store, blobs) = with_pack(compression);
        let pack = pack_of(&store);
        // The owner in the first header of a plain pack; a byte between two blobs cannot be reached in a compressed one,
        // and its table is checked when it is opened.
        if compression == Compression::Zstd {
            continue;
        }
        tamper(&pack, |bytes| bytes[110] = b'7');
        let report = store.verify().unwrap();
        assert_eq!((report.damaged_packs.len(), report.damaged.len(), report.is_clean()), (1, 0, false));
        assert_eq!(readable(&store, &blobs), blobs.len());
        let artifact = with_blobs("dev-libs/foo-1", 1, [blobs[0], blobs[1], blobs[2]]);
        let _ = store.commit_artifact(&artifact, &[]).unwrap();
        let before = files_in(&store.path().join("packs"));
        store.gc(ruthless()).unwrap();
        assert_eq!((before, files_in(&store.path().join("packs"))), (1, 1));
        assert_eq!(readable(&store, &blobs[..3]), 3);
        assert!(store.verify().unwrap().is_clean());
        let name = pack_of(&store).file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(BlobId::of(&fs::read(pack_of(&store)).unwrap()).to_string(), name);
    }
}

#[test]
fn rot_anywhere_is_found_and_never_served() {
    for compression in BOTH {
        let (_dir, store, blobs) = with_pack(compression);
        let pack = pack_of(&store);
        let sound = fs::read(&pack).unwrap();
        for round in 0..12_u64 {
            let at = u64::from_le_bytes(bytes(round, 8).try_into().unwrap()) as usize % sound.len();
            tamper(&pack, |bytes| bytes[at] ^= 1 << (round % 8));
            let report = store.verify().unwrap();
            assert!(!report.is_clean(), "byte {at}");
            let left = readable(&store, &blobs);
            assert!(left + 12 >= blobs.len() || left == 0, "byte {at}: {left}");
            store.gc(ruthless()).unwrap();
            assert_eq!(put_all(&store, compression), blobs);
            assert_eq!(readable(&store, &blobs), blobs.len(), "byte {at}");
            assert!(store.verify().unwrap().is_clean(), "byte {at}");
        }
    }
}

#[test]
fn what_is_kept_moves_and_what_is_not_goes() {
    for compression in BOTH {
        let (_dir, store, blobs) = with_pack(compression);
        let before = fs::metadata(pack_of(&store)).unwrap().len();
        let artifact = with_blobs("dev-libs/foo-1", 1, [blobs[3], blobs[30], blobs[59]]);
        let _ = store.commit_artifact(&artifact, &[]).unwrap();
        let report = store.gc(ruthless()).unwrap();
        assert_eq!((report.blobs.count, report.packs.count, report.packs.bytes), (COUNT - 3, 1, before));
        assert!(fs::metadata(pack_of(&store)).unwrap().len() < before / 15);
        assert_eq!(store.artifact(key(1)).unwrap(), Some(artifact));
        for seed in [3, 30, 59] {
            assert!(store.read_blob(blobs[seed].id, 1 << 20).unwrap() == bytes(seed as u64, SIZE));
        }
        // More than half of it is in use now: it stays as it is.
        let pack = pack_of(&store);
        let report = store.gc(ruthless()).unwrap();
        assert_eq!((report.packs.count, pack_of(&store)), (0, pack));
    }
}

#[test]
fn what_is_kept_moves_though_the_quota_is_full() {
    for compression in BOTH {
        let (_dir, store, blobs) = with_pack(compression);
        let artifact = with_blobs("dev-libs/foo-1", 1, [blobs[3], blobs[30], blobs[59]]);
        let _ = store.commit_artifact(&artifact, &[]).unwrap();
        store.set_quota(Some(1)).unwrap();
        let batch = store.batch(compression).unwrap();
        batch.put_bytes(&bytes(COUNT, SIZE)).unwrap();
        assert!(matches!(batch.commit(), Err(Error::QuotaFull { quota: 1, .. })));
        assert_eq!(store.gc(ruthless()).unwrap().packs.count, 1);
        assert!(!store.contains(blobs[0].id).unwrap());
        assert_eq!(store.artifact(key(1)).unwrap(), Some(artifact));
        // Counted anew: what fits by now is taken, in a batch too.
        store.set_quota(Some(5 * SIZE as u64)).unwrap();
        let batch = store.batch(compression).unwrap();
        batch.put_bytes(&bytes(COUNT, SIZE)).unwrap();
        batch.commit().unwrap();
    }
}

#[test]
fn a_reader_goes_on_while_its_pack_is_written_anew() {
    use std::io::Read;
    let (_dir, store, blobs) = with_pack(Compression::Zstd);
    let mut reader = store.open_blob(blobs[0].id).unwrap().unwrap();
    let mut begun = [0; 10];
    reader.read_exact(&mut begun).unwrap();
    // What is being read stays, in another pack than the one that is open.
    let report = store.gc(ruthless()).unwrap();
    assert_eq!((report.blobs.count, report.packs.count), (COUNT - 1, 1));
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert!([&begun[..], &rest].concat() == bytes(0, SIZE));
}

#[test]
fn puts_and_reads_go_on_while_packs_are_written_anew() {
    let (_dir, store) = store();
    std::thread::scope(|scope| {
        let collector = scope.spawn(|| {
            for _ in 0..15 {
                store.gc(ruthless()).unwrap();
            }
        });
        while !collector.is_finished() {
            let batch = store.batch(Compression::None).unwrap();
            let kept: Vec<_> =
                [1, 2, 3].into_iter().map(|seed| batch.put_bytes(&bytes(seed, SIZE)).unwrap()).collect();
            for seed in 10..20 {
                let _ = batch.put_bytes(&bytes(seed, SIZE)).unwrap();
            }
            let artifact = with_blobs("dev-libs/foo-1", 1, [kept[0], kept[1], kept[2]]);
            batch.commit_artifact(artifact.clone(), &[]);
            match batch.commit() {
                Ok(_) => {
                    assert_eq!(store.artifact(key(1)).unwrap(), Some(artifact), "kept, wherever it is");
                    for (seed, blob) in (1..).zip(&kept) {
                        assert!(store.read_blob(blob.id, 1 << 20).unwrap() == bytes(seed, SIZE));
                    }
                    store.remove_artifact(key(1)).unwrap();
                }
                // Known when it was looked up and collected since, as without a grace time it may be.
                Err(Error::BlobMissing { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
    });
    let report = store.verify().unwrap();
    assert!(report.is_clean(), "{report:?}");
    store.gc(ruthless()).unwrap();
    assert_eq!(files_in(&store.path().join("packs")), 0);
}

#[test]
fn a_pack_that_no_row_names_is_removed() {
    let (_dir, store) = store();
    let orphan = store.path().join("packs").join(BlobId::of(b"orphan").to_string());
    fs::write(&orphan, b"orphan").unwrap();
    let stranger = store.path().join("packs/README");
    fs::write(&stranger, b"not ours").unwrap();
    let report = store.gc(ruthless()).unwrap();
    assert_eq!((report.orphans.count, orphan.exists(), stranger.exists()), (1, false, true));
}

#[test]
fn ranges_are_verified() {
    for packed in [false, true] {
        let (_dir, store) = store();
        let content = bytes(1, 3_000_000);
        let blob = if packed {
            let batch = store.batch(Compression::Zstd).unwrap();
            let blob = batch.put_bytes(&content).unwrap();
            batch.commit().unwrap();
            blob
        } else {
            store.put_bytes(&content).unwrap()
        };
        for (from, to) in [(0, 0), (0, 10), (1_048_000, 1_049_000), (2_999_999, 3_000_000), (10, 3_000_000)] {
            assert!(store.read_range(blob.id, from..to).unwrap() == content[from as usize..to as usize]);
        }
        assert_eq!(store.read_range(blob.id, 2_999_999..9_000_000).unwrap(), content[2_999_999..]);
        assert_eq!(store.read_range(blob.id, 3_000_000..9_000_000).unwrap(), b"");
        let file = if packed { pack_of(&store) } else { crate::support::file_of(store.path(), blob.id) };
        tamper(&file, |bytes| bytes[2_900_000] ^= 1);
        assert!(matches!(store.read_range(blob.id, 0..10), Err(Error::BlobDamaged { .. })));
        assert!(matches!(store.read_range(blob.id, 0..10), Err(Error::BlobMissing { .. })));
    }
}
