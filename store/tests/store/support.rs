//! What the suites share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use buildswarm_core::artifact::{Artifact, BlobRef};
use buildswarm_core::time::UnixSeconds;
use buildswarm_core::{BlobId, BuildKey, Digest, ReuseKey};
use buildswarm_store::{GcOptions, INLINE_BYTES_MAX, Store};
use tempfile::TempDir;

/// A store in a directory of its own.
pub(crate) fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    (dir, store)
}

/// Bytes that differ by `seed` and by `size`.
pub(crate) fn bytes(seed: u64, size: usize) -> Vec<u8> {
    let mut reader = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
    let mut bytes = vec![0; size];
    reader.fill(&mut bytes);
    bytes
}

/// Bytes that are kept as a file.
pub(crate) fn large(seed: u64) -> Vec<u8> {
    bytes(seed, INLINE_BYTES_MAX + 1)
}

/// Where the file of a large blob lies.
pub(crate) fn file_of(store: &Path, id: BlobId) -> PathBuf {
    let text = id.to_string();
    store.join("blobs").join(&text[..2]).join(&text[2..])
}

/// Changes a blob's file behind the store's back.
pub(crate) fn tamper(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
}

pub(crate) fn key(seed: u64) -> BuildKey {
    BuildKey::from_digest(Digest::of(&seed.to_le_bytes()))
}

pub(crate) fn reuse(seed: u64) -> ReuseKey {
    ReuseKey::from_digest(Digest::of(&seed.to_le_bytes()))
}

/// The number of files below a directory.
pub(crate) fn files_in(dir: &Path) -> usize {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| if path.is_dir() { files_in(&path) } else { 1 })
        .sum()
}

/// An artifact with blobs of its own: a large file, a small log and a small preimage.
pub(crate) fn artifact(store: &Store, package: &str, seed: u64) -> Artifact {
    let put = |bytes: Vec<u8>| store.put_bytes(&bytes).unwrap();
    with_blobs(package, seed, [put(large(seed)), put(bytes(seed, 300)), put(bytes(seed, 200))])
}

pub(crate) fn with_blobs(package: &str, seed: u64, [file, log, preimage]: [BlobRef; 3]) -> Artifact {
    Artifact {
        key: key(seed),
        package: package.parse().unwrap(),
        slot: "0/1.2".parse().unwrap(),
        repository: "gentoo".to_owned(),
        file,
        log,
        preimage,
        payload: Digest::of(&seed.to_be_bytes()),
        interface: Digest::of(&seed.to_be_bytes()[1..]),
        installed_size: 4096,
        build_millis: 1500,
        built_at: UnixSeconds(1_700_000_000 + seed),
        builder: "drone-1".to_owned(),
        metadata: BTreeMap::from([("USE".to_owned(), "a b".to_owned())]),
    }
}

/// A collection that spares nothing but what is referred to: everything is old.
pub(crate) fn ruthless() -> GcOptions {
    GcOptions {
        now: UnixSeconds(4_000_000_000),
        dry_run: false,
        keep_days: 30,
        grace_seconds: 0,
        quota: None,
        evict_artifacts: false,
    }
}
