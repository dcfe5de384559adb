//! Bytes, artifacts and keys that are made from a number, so that both sides of a crash know what they must be.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use buildswarm_core::artifact::{Artifact, BlobRef};
use buildswarm_core::time::UnixSeconds;
use buildswarm_core::{BlobId, BuildKey, Digest, ReuseKey};
use buildswarm_store::{GcOptions, INLINE_BYTES_MAX};

/// Numbers a load may use; the next load of the same store begins after them.
pub(crate) const NUMBERS: u64 = 1 << 20;

/// How many may use the store at once; each has its part of the numbers, and a channel.
pub(crate) const CHANNELS: u64 = 8;

/// When artifact 0 was built, in seconds since 1970.
const BUILT_AT: u64 = 1_700_000_000;

/// Numbers that lead to other numbers, the same for the same seed.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// SplitMix64.
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `0..bound`.
    pub(crate) const fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

/// The content of blob number `seed`: even ones are kept in the index, odd ones as files.
pub(crate) fn content(seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let size = match seed % 2 {
        0 => random.below(3000) as usize + 1,
        _ => INLINE_BYTES_MAX + 1 + random.below(60_000) as usize,
    };
    let mut bytes = vec![0; size];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

pub(crate) fn blob(seed: u64) -> BlobRef {
    let bytes = content(seed);
    BlobRef { id: BlobId::of(&bytes), size: bytes.len() as u64 }
}

/// The blobs of artifact number `seed`, which are its alone: package file, log, preimage, and the signed package.
pub(crate) const fn parts(seed: u64) -> [u64; 4] {
    let first = (1 << 40) + seed * 8;
    [first + 1, first + 2, first + 4, first + 3]
}

pub(crate) fn key(seed: u64) -> BuildKey {
    BuildKey::from_digest(Digest::of(&seed.to_le_bytes()))
}

pub(crate) fn reuse(seed: u64) -> ReuseKey {
    ReuseKey::from_digest(Digest::of(&seed.to_le_bytes()))
}

pub(crate) fn artifact(seed: u64) -> Artifact {
    let [file, log, preimage, _] = parts(seed).map(blob);
    Artifact {
        key: key(seed),
        package: "dev-libs/foo-1".parse().unwrap(),
        slot: "0/1.2".parse().unwrap(),
        repository: "gentoo".to_owned(),
        file,
        log,
        preimage,
        payload: Digest::of(&seed.to_be_bytes()),
        interface: Digest::of(&seed.to_be_bytes()[1..]),
        installed_size: 4096,
        build_millis: 1500,
        built_at: UnixSeconds(BUILT_AT + seed),
        builder: "drone-1".to_owned(),
        metadata: BTreeMap::from([("USE".to_owned(), format!("a b{seed}"))]),
    }
}

/// The number of an artifact.
pub(crate) const fn number_of(artifact: &Artifact) -> u64 {
    artifact.built_at.0 - BUILT_AT
}

/// The channel whose load makes the artifact with this number.
pub(crate) const fn channel_of(seed: u64) -> u64 {
    seed / (NUMBERS / CHANNELS) % CHANNELS
}

/// As many bytes as the index takes of one blob.
pub(crate) fn long(seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; INLINE_BYTES_MAX];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Makes a directory tree, one file of which is blob number `seed`.
pub(crate) fn make_tree(path: &Path, seed: u64) {
    fs::create_dir_all(path.join("below/deeper")).unwrap();
    fs::write(path.join("changed"), content(seed)).unwrap();
    for (name, odd) in [("unchanged", 0), ("below/large", 1), ("below/deeper/small", 0)] {
        let path = path.join(name);
        if !path.exists() {
            fs::write(path, content(TREE_SEED + odd)).unwrap();
        }
    }
}

/// Whether two trees of [`make_tree`] have the same files.
pub(crate) fn is_same(one: &Path, other: &Path) -> bool {
    let files = ["changed", "unchanged", "below/large", "below/deeper/small"];
    files.iter().all(|name| fs::read(one.join(name)).unwrap() == fs::read(other.join(name)).unwrap())
}

/// The contents of the other files are this blob and the next, in all trees.
const TREE_SEED: u64 = 1 << 55;

/// Where the file of a large blob lies.
pub(crate) fn file_of(store: &Path, id: BlobId) -> PathBuf {
    let text = id.to_string();
    store.join("blobs").join(&text[..2]).join(&text[2..])
}

/// The number of files below a directory.
pub(crate) fn files_in(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| if entry.file_type().unwrap().is_dir() { files_in(&entry.path()) } else { 1 }).sum()
}

/// A collection that spares nothing but what is referred to: everything is old.
pub(crate) const fn ruthless() -> GcOptions {
    GcOptions {
        now: UnixSeconds(4_000_000_000),
        dry_run: false,
        keep_days: 30,
        grace_seconds: 0,
        quota: None,
        evict_artifacts: false,
    }
}
