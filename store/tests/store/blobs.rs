//! Bytes in and out, and damage.

use std::io::{ErrorKind, Read};
use std::sync::Barrier;
use std::thread;

use buildswarm_core::BlobId;
use buildswarm_store::{Error, INLINE_BYTES_MAX, Store};

use crate::support::{bytes, file_of, files_in, large, store, tamper};

#[test]
fn every_size_comes_back() {
    let (dir, store) = store();
    let path = dir.path().join("store");
    let mut files = 0;
    for size in [0, 1, INLINE_BYTES_MAX - 1, INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1, (1 << 20) + 1] {
        let content = bytes(1, size);
        let blob = store.put(&content[..]).unwrap();
        assert_eq!((blob.id, blob.size), (BlobId::of(&content), size as u64));
        assert!(store.contains(blob.id).unwrap());
        assert_eq!(store.read_blob(blob.id, blob.size).unwrap(), content, "{size}");
        let mut reader = store.open_blob(blob.id).unwrap().unwrap();
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        assert_eq!((reader.blob(), read), (blob, content));
        let is_file = size > INLINE_BYTES_MAX;
        files += usize::from(is_file);
        assert_eq!(store.verified_path(blob.id).unwrap(), is_file.then(|| file_of(&path, blob.id)));
        assert_eq!(files_in(&path.join("blobs")), files);
    }
    assert_eq!(files_in(&path.join("tmp")), 0);
}

#[test]
fn a_file_is_put_and_stays() {
    let (dir, store) = store();
    let source = dir.path().join("source");
    std::fs::write(&source, large(1)).unwrap();
    assert_eq!(store.put_file(&source).unwrap().id, BlobId::of(&large(1)));
    assert!(source.exists());
    assert!(matches!(store.put_file(dir.path().join("none")), Err(Error::Io { .. })));
}

#[test]
fn what_is_not_there_is_not_there() {
    let (_dir, store) = store();
    let id = BlobId::of(b"never put");
    assert!(!store.contains(id).unwrap());
    assert!(store.open_blob(id).unwrap().is_none());
    assert!(store.verified_path(id).unwrap().is_none());
    assert!(matches!(store.read_blob(id, 9), Err(Error::BlobMissing { id: named }) if named == id));
}

#[test]
fn a_limit_is_kept() {
    let (_dir, store) = store();
    let blob = store.put_bytes(b"12345").unwrap();
    assert!(matches!(store.read_blob(blob.id, 4), Err(Error::BlobTooLarge { size: 5, max: 4, .. })));
}

/// Yields some bytes and then fails.
struct Failing(usize);

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.0 == 0 {
            return Err(std::io::Error::from(ErrorKind::ConnectionReset));
        }
        let count = buffer.len().min(self.0);
        self.0 -= count;
        buffer[..count].fill(7);
        Ok(count)
    }
}

#[test]
fn a_reader_that_fails_leaves_nothing() {
    let (dir, store) = store();
    for size in [0, 100, INLINE_BYTES_MAX + 1, 1 << 20] {
        let error = store.put(Failing(size)).unwrap_err();
        assert!(matches!(&error, Error::Source { source } if source.kind() == ErrorKind::ConnectionReset));
    }
    assert_eq!(files_in(&dir.path().join("store/tmp")), 0);
    assert_eq!(files_in(&dir.path().join("store/blobs")), 0);
    assert_eq!(store.stats().unwrap().inline_blobs, 0);
}

/// Damage to a file, and whether its length still matches.
type Damage = (&'static str, fn(&mut Vec<u8>), bool);

const DAMAGES: [Damage; 5] = [
    ("bit flip at the start", |bytes| bytes[0] ^= 1, true),
    ("bit flip at the end", |bytes| *bytes.last_mut().unwrap() ^= 0x80, true),
    ("zeroes", |bytes| bytes[100..4196].fill(0), true),
    ("truncation", |bytes| bytes.truncate(1000), false),
    ("extension", |bytes| bytes.push(0), false),
];

#[test]
fn damage_is_never_served_and_a_put_heals_it() {
    for (name, damage, same_length) in DAMAGES {
        let (dir, store) = store();
        let path = dir.path().join("store");
        let blob = store.put_bytes(&large(1)).unwrap();
        tamper(&file_of(&path, blob.id), damage);
        assert_eq!(store.contains(blob.id).unwrap(), same_length, "{name}: only a read can tell");
        match store.open_blob(blob.id).unwrap() {
            Some(mut reader) => {
                // A reader of exactly as many bytes as there should be never asks for the end.
                let mut read = vec![0; large(1).len()];
                assert_eq!(
                    reader.read_exact(&mut read).unwrap_err().kind(),
                    ErrorKind::InvalidData,
                    "{name}"
                );
                assert_eq!(reader.read(&mut read).unwrap_err().kind(), ErrorKind::InvalidData, "{name}");
            }
            None => assert!(!same_length, "{name}"),
        }
        assert!(!store.contains(blob.id).unwrap(), "{name}");
        assert!(store.open_blob(blob.id).unwrap().is_none(), "{name}");
        assert_eq!(files_in(&path.join("quarantine")), 1, "{name}");
        assert_eq!(store.stats().unwrap().bad_blobs, 1, "{name}");
        assert_eq!(store.put_bytes(&large(1)).unwrap(), blob);
        assert_eq!(store.read_blob(blob.id, 1 << 20).unwrap(), large(1), "{name}");
        assert_eq!(store.stats().unwrap().bad_blobs, 0, "{name}");
    }
}

#[test]
fn a_put_heals_damage_that_nobody_noticed() {
    for damage in DAMAGES.iter().map(|(_, damage, _)| *damage) {
        let (dir, store) = store();
        let blob = store.put_bytes(&large(1)).unwrap();
        tamper(&file_of(&dir.path().join("store"), blob.id), damage);
        store.put_bytes(&large(1)).unwrap();
        assert_eq!(store.read_blob(blob.id, 1 << 20).unwrap(), large(1));
    }
}

#[test]
fn a_deleted_file_or_shard_is_missing_and_healed() {
    let (dir, store) = store();
    let blob = store.put_bytes(&large(1)).unwrap();
    let file = file_of(&dir.path().join("store"), blob.id);
    for remove_shard in [false, true] {
        std::fs::remove_file(&file).unwrap();
        if remove_shard {
            std::fs::remove_dir(file.parent().unwrap()).unwrap();
        }
        assert!(!store.contains(blob.id).unwrap());
        assert!(store.open_blob(blob.id).unwrap().is_none());
        store.put_bytes(&large(1)).unwrap();
        assert_eq!(store.read_blob(blob.id, 1 << 20).unwrap(), large(1));
    }
}

#[test]
fn a_read_only_store_reports_damage_and_leaves_it() {
    let (dir, store) = store();
    let path = dir.path().join("store");
    let blob = store.put_bytes(&large(1)).unwrap();
    tamper(&file_of(&path, blob.id), |bytes| bytes[0] ^= 1);
    let reader = Store::open_read_only(&path).unwrap();
    assert!(matches!(reader.read_blob(blob.id, 1 << 20), Err(Error::BlobDamaged { .. })));
    assert_eq!(files_in(&path.join("quarantine")), 0);
    assert_eq!(reader.verify().unwrap().damaged, [blob]);
    assert_eq!(reader.stats().unwrap().bad_blobs, 0);
}

#[test]
fn verify_finds_all_damage_at_once() {
    let (dir, store) = store();
    let path = dir.path().join("store");
    let blobs: Vec<_> = (0..200).map(|seed| store.put_bytes(&large(seed)).unwrap()).collect();
    let small = store.put_bytes(b"small").unwrap();
    assert!(store.verify().unwrap().is_clean());
    tamper(&file_of(&path, blobs[3].id), |bytes| bytes[9] ^= 4);
    std::fs::remove_file(file_of(&path, blobs[7].id)).unwrap();
    let report = store.verify().unwrap();
    assert_eq!((report.checked, report.damaged, report.missing), (201, vec![blobs[3]], vec![blobs[7]]));
    assert_eq!(report.bytes, 200 * blobs[0].size + small.size);
    assert!(!store.contains(blobs[3].id).unwrap() && !store.contains(blobs[7].id).unwrap());
    let again = store.verify().unwrap();
    assert_eq!((again.checked, again.is_clean()), (199, true));
}

#[test]
fn eight_threads_put_the_same_bytes() {
    let (dir, store) = store();
    let start = Barrier::new(8);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                start.wait();
                for seed in 0..10 {
                    assert_eq!(store.put_bytes(&large(seed)).unwrap().id, BlobId::of(&large(seed)));
                    store.put_bytes(&bytes(seed, 10)).unwrap();
                }
            });
        }
    });
    assert_eq!(files_in(&dir.path().join("store/blobs")), 10);
    assert_eq!(files_in(&dir.path().join("store/tmp")), 0);
    assert_eq!(files_in(&dir.path().join("store/quarantine")), 0);
    assert_eq!(store.verify().unwrap().checked, 20);
}
