//! Any sequence of operations does what a map in memory would.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use buildswarm_core::BlobId;
use buildswarm_core::artifact::{Artifact, BlobRef};
use buildswarm_store::{Committed, Compression, Store};
use proptest::prelude::*;

use crate::support::{bytes, file_of, key, reuse, ruthless, tamper, with_blobs};

/// Contents to choose from: few, so that operations meet.
const CONTENTS: u64 = 6;
const KEYS: u64 = 3;
const REUSE_KEYS: u64 = 2;

#[derive(Debug, Clone)]
enum Op {
    Put(u64),
    Read(u64),
    Damage(u64),
    Delete(u64),
    /// Puts these and commits an artifact of them in one batch, unless it is dropped.
    Batch {
        key: u64,
        contents: [u64; 3],
        reuse: Vec<u64>,
        dropped: bool,
    },
    DeletePacks,
    Commit {
        key: u64,
        contents: [u64; 3],
        reuse: Vec<u64>,
    },
    Resolve(u64),
    Remove(u64),
    Gc,
    Verify,
    Reopen,
}

fn op() -> impl Strategy<Value = Op> {
    let content = 0..CONTENTS;
    let key = 0..KEYS;
    let reuse = prop::collection::vec(0..REUSE_KEYS, 0..3);
    prop_oneof![
        6 => content.clone().prop_map(Op::Put),
        3 => content.clone().prop_map(Op::Read),
        1 => content.clone().prop_map(Op::Damage),
        2 => content.clone().prop_map(Op::Delete),
        4 => (key.clone(), [content.clone(), content.clone(), content.clone()], reuse.clone(), prop::bool::weighted(0.2))
            .prop_map(|(key, contents, reuse, dropped)| Op::Batch { key, contents, reuse, dropped }),
        1 => Just(Op::DeletePacks),
        8 => (key.clone(), [content.clone(), content.clone(), content], reuse)
            .prop_map(|(key, contents, reuse)| Op::Commit { key, contents, reuse }),
        3 => key.clone().prop_map(Op::Resolve),
        1 => key.prop_map(Op::Remove),
        1 => Just(Op::Gc),
        1 => Just(Op::Verify),
        1 => Just(Op::Reopen),
    ]
}

/// Even contents are small, odd ones large.
fn content(number: u64) -> Vec<u8> {
    bytes(number, if number.is_multiple_of(2) { 100 } else { 20_000 })
}

fn blob(number: u64) -> BlobRef {
    BlobRef { id: BlobId::of(&content(number)), size: content(number).len() as u64 }
}

/// How a blob's stored copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copy {
    Sound,
    /// Damaged at full length: only reading it can tell.
    Rotten,
    /// Gone, or known to be damaged.
    Lost,
}

/// Where its bytes are, or were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Inline,
    File,
    Pack,
}

#[derive(Default)]
struct Model {
    blobs: BTreeMap<u64, Copy>,
    places: BTreeMap<u64, Place>,
    artifacts: BTreeMap<u64, ([u64; 3], Artifact)>,
    /// The keys of the artifacts each leads to, in their order.
    reuse: BTreeMap<u64, Vec<u64>>,
}

impl Model {
    fn seems_there(&self, number: u64) -> bool {
        matches!(self.blobs.get(&number), Some(Copy::Sound | Copy::Rotten))
    }

    fn put(&mut self, number: u64) {
        if self.blobs.insert(number, Copy::Sound) != Some(Copy::Sound) {
            self.places.insert(number, if number.is_multiple_of(2) { Place::Inline } else { Place::File });
        }
    }

    /// What seems to be there is not written again; small ones alone go into the index.
    fn put_together(&mut self, contents: &[u64]) {
        let tiny = contents.iter().all(|number| number.is_multiple_of(2));
        for number in contents {
            if !self.seems_there(*number) {
                self.blobs.insert(*number, Copy::Sound);
                self.places.insert(*number, if tiny { Place::Inline } else { Place::Pack });
            }
        }
    }

    fn is_at(&self, number: u64, place: Place) -> bool {
        self.seems_there(number) && self.places.get(&number) == Some(&place)
    }

    fn resolves(&self, key: u64) -> Option<&Artifact> {
        let (contents, artifact) = self.artifacts.get(&key)?;
        contents.iter().all(|number| self.seems_there(*number)).then_some(artifact)
    }

    fn reused(&self, reuse: u64) -> Option<&Artifact> {
        self.reuse.get(&reuse)?.iter().find_map(|key| self.resolves(*key))
    }

    fn reuse_keys_of(&self, key: u64) -> BTreeSet<u64> {
        self.reuse.iter().filter(|(_, keys)| keys.contains(&key)).map(|(reuse, _)| *reuse).collect()
    }

    fn remove(&mut self, key: u64) -> bool {
        for keys in self.reuse.values_mut() {
            keys.retain(|other| *other != key);
        }
        self.artifacts.remove(&key).is_some()
    }

    fn referred(&self) -> BTreeSet<u64> {
        self.artifacts.values().flat_map(|(contents, _)| *contents).collect()
    }

    fn find_rot(&mut self) {
        for copy in self.blobs.values_mut().filter(|copy| **copy == Copy::Rotten) {
            *copy = Copy::Lost;
        }
    }
}

struct Pair {
    dir: tempfile::TempDir,
    store: Option<Store>,
    model: Model,
}

impl Pair {
    fn apply(&mut self, op: &Op) {
        let path = self.dir.path().to_owned();
        let store = self.store.as_ref().unwrap();
        let model = &mut self.model;
        match *op {
            Op::Put(number) => {
                assert_eq!(store.put_bytes(&content(number)).unwrap(), blob(number));
                model.put(number);
            }
            Op::Read(number) => {
                let read = store.read_blob(blob(number).id, 1 << 20);
                match model.blobs.get(&number) {
                    Some(Copy::Sound) => assert_eq!(read.unwrap(), content(number)),
                    Some(_) => {
                        read.unwrap_err();
                        model.blobs.insert(number, Copy::Lost);
                    }
                    None => drop(read.unwrap_err()),
                }
            }
            // Only files can be reached from outside.
            Op::Damage(number) if model.is_at(number, Place::File) => {
                tamper(&file_of(&path, blob(number).id), |bytes| bytes[77] = !content(number)[77]);
                model.blobs.insert(number, Copy::Rotten);
            }
            Op::Damage(number) if model.is_at(number, Place::Pack) => {
                damage_in_packs(&path, &content(number));
                model.blobs.insert(number, Copy::Rotten);
            }
            Op::Delete(number) if model.is_at(number, Place::File) => {
                std::fs::remove_file(file_of(&path, blob(number).id)).unwrap();
                model.blobs.insert(number, Copy::Lost);
            }
            Op::Damage(_) | Op::Delete(_) => {}
            Op::DeletePacks => {
                packs_in(&path).for_each(|pack| std::fs::remove_file(pack).unwrap());
                let packed = (0..CONTENTS).filter(|number| model.is_at(*number, Place::Pack));
                for number in packed.collect::<Vec<_>>() {
                    model.blobs.insert(number, Copy::Lost);
                }
            }
            Op::Batch { key: number, contents, ref reuse, dropped } => {
                commit_batch(store, model, number, contents, reuse, dropped);
            }
            Op::Commit { key: number, contents, ref reuse } => {
                commit(store, model, number, contents, reuse);
            }
            Op::Resolve(number) => {
                assert_eq!(store.artifact(key(number)).unwrap().as_ref(), model.resolves(number));
            }
            Op::Remove(number) => {
                let removed = store.remove_artifact(key(number)).unwrap();
                assert_eq!(removed, model.remove(number));
            }
            Op::Gc => {
                // What a collection writes anew it reads, so it may find rot too.
                store.verify().unwrap();
                model.find_rot();
                store.gc(ruthless()).unwrap();
                let referred = model.referred();
                model.blobs.retain(|number, _| referred.contains(number));
            }
            Op::Verify => {
                store.verify().unwrap();
                model.find_rot();
            }
            Op::Reopen => {
                self.store = None;
                self.store = Some(Store::open(&path).unwrap());
            }
        }
    }

    fn agree(&self) {
        let store = self.store.as_ref().unwrap();
        for number in 0..CONTENTS {
            assert_eq!(store.contains(blob(number).id).unwrap(), self.model.seems_there(number), "{number}");
        }
        for number in 0..KEYS {
            assert_eq!(store.artifact(key(number)).unwrap().as_ref(), self.model.resolves(number));
            let found: BTreeSet<_> = store.reuse_keys_of(key(number)).unwrap().into_iter().collect();
            let expected: BTreeSet<_> = self.model.reuse_keys_of(number).into_iter().map(reuse).collect();
            assert_eq!(found, expected);
        }
        let present = store.present(&[0, 1, 2].map(key)).unwrap();
        let expected = (0..KEYS).filter(|number| self.model.resolves(*number).is_some()).map(key).collect();
        assert_eq!(present, expected);
        let found = store.reused(&[0, 1].map(reuse)).unwrap();
        for number in 0..REUSE_KEYS {
            assert_eq!(found.get(&reuse(number)), self.model.reused(number), "{number}");
        }
    }
}

fn packs_in(store: &Path) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(store.join("packs")).unwrap().map(|entry| entry.unwrap().path())
}

/// Damages every copy of it that lies in a pack.
fn damage_in_packs(store: &Path, content: &[u8]) {
    for pack in packs_in(store) {
        let bytes = std::fs::read(&pack).unwrap();
        if let Some(at) = bytes.windows(content.len()).position(|window| window == content) {
            tamper(&pack, |bytes| bytes[at + 77] ^= 1);
        }
    }
}

fn made_of(number: u64, contents: [u64; 3]) -> Artifact {
    let mut artifact = with_blobs("dev-libs/foo-1", number, contents.map(blob));
    artifact.build_millis = contents.iter().sum();
    artifact
}

fn commit(store: &Store, model: &mut Model, number: u64, contents: [u64; 3], leading: &[u64]) {
    let artifact = made_of(number, contents);
    let keys: Vec<_> = leading.iter().map(|number| reuse(*number)).collect();
    let outcome = store.commit_artifact(&artifact, &keys);
    if !contents.iter().all(|content| model.seems_there(*content)) {
        outcome.unwrap_err();
        return;
    }
    assert_eq!(outcome.unwrap(), expected(model, number, contents, leading));
}

fn commit_batch(
    store: &Store,
    model: &mut Model,
    number: u64,
    contents: [u64; 3],
    leading: &[u64],
    dropped: bool,
) {
    // Stored as they are, so that a copy in a pack can be found and damaged.
    let batch = store.batch(Compression::None).unwrap();
    for number in contents {
        assert_eq!(batch.put_bytes(&content(number)).unwrap(), blob(number));
    }
    let keys: Vec<_> = leading.iter().map(|number| reuse(*number)).collect();
    batch.commit_artifact(made_of(number, contents), &keys);
    if dropped {
        return;
    }
    let committed = batch.commit().unwrap();
    model.put_together(&contents);
    assert_eq!(committed, [expected(model, number, contents, leading)]);
}

/// What becomes of an artifact whose blobs are there, in the model.
fn expected(model: &mut Model, number: u64, contents: [u64; 3], leading: &[u64]) -> Committed {
    let first = model.resolves(number).is_none();
    if first {
        model.artifacts.insert(number, (contents, made_of(number, contents)));
    }
    for reuse in leading {
        let keys = model.reuse.entry(*reuse).or_default();
        if !keys.contains(&number) {
            keys.push(number);
        }
    }
    if first { Committed::First } else { Committed::AlreadyThere }
}

proptest! {
    // Each case is some forty commits to a real disk.
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_a_map_does(ops in prop::collection::vec(op(), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let store = Some(Store::open(dir.path()).unwrap());
        let mut pair = Pair { dir, store, model: Model::default() };
        for op in &ops {
            pair.apply(op);
            pair.agree();
        }
    }
}
