//! Any sequence of operations does what a map in memory would.

use std::collections::{BTreeMap, BTreeSet};

use buildswarm_core::BlobId;
use buildswarm_core::artifact::{Artifact, BlobRef};
use buildswarm_store::{Committed, Store};
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
    Commit { key: u64, contents: [u64; 3], reuse: Vec<u64> },
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

#[derive(Default)]
struct Model {
    blobs: BTreeMap<u64, Copy>,
    artifacts: BTreeMap<u64, ([u64; 3], Artifact)>,
    /// The keys of the artifacts each leads to, in their order.
    reuse: BTreeMap<u64, Vec<u64>>,
}

impl Model {
    fn seems_there(&self, number: u64) -> bool {
        matches!(self.blobs.get(&number), Some(Copy::Sound | Copy::Rotten))
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
                model.blobs.insert(number, Copy::Sound);
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
            Op::Damage(number) if number % 2 == 1 && model.seems_there(number) => {
                tamper(&file_of(&path, blob(number).id), |bytes| bytes[77] = !content(number)[77]);
                model.blobs.insert(number, Copy::Rotten);
            }
            Op::Delete(number) if number % 2 == 1 && model.seems_there(number) => {
                std::fs::remove_file(file_of(&path, blob(number).id)).unwrap();
                model.blobs.insert(number, Copy::Lost);
            }
            Op::Damage(_) | Op::Delete(_) => {}
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

fn commit(store: &Store, model: &mut Model, number: u64, contents: [u64; 3], leading: &[u64]) {
    let mut artifact = with_blobs("dev-libs/foo-1", number, contents.map(blob));
    artifact.build_millis = contents.iter().sum();
    let keys: Vec<_> = leading.iter().map(|number| reuse(*number)).collect();
    let outcome = store.commit_artifact(&artifact, &keys);
    if !contents.iter().all(|content| model.seems_there(*content)) {
        outcome.unwrap_err();
        return;
    }
    if model.resolves(number).is_some() {
        assert_eq!(outcome.unwrap(), Committed::AlreadyThere);
    } else {
        assert_eq!(outcome.unwrap(), Committed::First);
        model.artifacts.insert(number, (contents, artifact));
    }
    for reuse in leading {
        let keys = model.reuse.entry(*reuse).or_default();
        if !keys.contains(&number) {
            keys.push(number);
        }
    }
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
