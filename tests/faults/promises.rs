//! What a store has promised, and whether it keeps it.
//!
//! A load says a line before it does something that takes a promise back (`will …`) and after something that makes
//! one (`did …`). Whoever hears the lines up to a crash knows what must be there after it.

use std::collections::{BTreeMap, BTreeSet};

use buildswarm_core::BlobId;
use buildswarm_core::artifact::BlobRef;
use buildswarm_store::{AttemptFilter, Store, TreeOptions};

use rusqlite::Connection;

use crate::content::{artifact, blob, content, files_in, key, make_tree, parts, reuse, ruthless};
use crate::scratch;

/// More than any blob here has, in bytes.
const BYTES_MAX: u64 = 1 << 20;

/// The signer of every signed package.
pub(crate) const SIGNER: &str = "FINGERPRINT";

/// What must be there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Promises {
    /// Blobs that nothing refers to, with the number of collections begun when they were put.
    puts: BTreeMap<u64, u64>,
    collections: u64,
    /// Trees that nothing refers to: the number of one file's content, and as above.
    trees: BTreeMap<BlobId, (u64, u64)>,
    /// By channel: a blob that is kept for good, and a tree with the number of one file's content.
    roots: BTreeMap<u64, u64>,
    tree_roots: BTreeMap<u64, (BlobId, u64)>,
    artifacts: BTreeSet<u64>,
    signed: BTreeSet<u64>,
    attempts: BTreeSet<u64>,
    generations: BTreeMap<(u64, u64), Vec<u64>>,
    /// For each channel the generation that is current, and the one that may be.
    current: BTreeMap<u64, (Option<u64>, Option<u64>)>,
    /// Artifacts whose file the load itself damaged.
    damaged: BTreeSet<u64>,
    /// How often the load said that something failed.
    pub(crate) failures: u64,
}

impl Promises {
    /// Takes in one line of a load.
    pub(crate) fn hear(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let said = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let rest: Vec<&str> = words.collect();
        let numbers: Vec<u64> = rest.iter().map_while(|word| word.parse().ok()).collect();
        match (said, &numbers[..]) {
            (("will", "collect"), [collection]) => self.collections = self.collections.max(*collection),
            (("did", "put"), [seed, collections]) => drop(self.puts.insert(*seed, *collections)),
            (("did", "tree"), [seed, collections]) => {
                self.trees.insert(rest[2].parse().unwrap(), (*seed, *collections));
            }
            (("will", "root"), [channel]) => drop(self.roots.remove(channel)),
            (("did", "root"), [channel, seed]) => drop(self.roots.insert(*channel, *seed)),
            (("will", "root-tree"), [channel]) => drop(self.tree_roots.remove(channel)),
            (("did", "root-tree"), [channel, seed]) => {
                self.tree_roots.insert(*channel, (rest[2].parse().unwrap(), *seed));
            }
            (("did", "commit"), [seed]) => drop(self.artifacts.insert(*seed)),
            (("will", "remove"), [seed]) => {
                self.artifacts.remove(seed);
                self.signed.remove(seed);
                self.damaged.remove(seed);
            }
            (("did", "sign"), [seed]) => drop(self.signed.insert(*seed)),
            (("did", "attempt"), [seed]) => drop(self.attempts.insert(*seed)),
            (("will", "damage"), [seed]) => drop(self.damaged.insert(*seed)),
            (("did", "heal"), [seed]) => drop(self.damaged.remove(seed)),
            (("did", "generation"), [channel, number, entries @ ..]) => {
                self.generations.insert((*channel, *number), entries.to_vec());
            }
            (("will", "current"), [channel, number]) => {
                self.current.entry(*channel).or_default().1 = Some(*number);
            }
            (("did", "current"), [channel, number]) => {
                self.current.insert(*channel, (Some(*number), None));
            }
            (("will", "forget"), [channel, number]) => drop(self.generations.remove(&(*channel, *number))),
            (("failed", _), _) => self.failures += 1,
            (("warm", _), _) => {}
            other => panic!("no such promise: {other:?}"),
        }
    }

    /// The numbers of all blobs that must be there, but for those of trees.
    fn blobs(&self) -> BTreeSet<u64> {
        let mut blobs: BTreeSet<u64> =
            self.puts.iter().filter(|(_, at)| **at >= self.collections).map(|(seed, _)| *seed).collect();
        blobs.extend(self.artifacts.iter().flat_map(|seed| parts(*seed).into_iter().take(3)));
        blobs.extend(self.roots.values().chain(self.tree_roots.values().map(|(_, changed)| changed)));
        blobs.extend(self.signed.iter().map(|seed| parts(*seed)[3]));
        for ((channel, number), entries) in &self.generations {
            blobs.insert(manifest(*channel, *number));
            blobs.extend(entries.iter().map(|seed| parts(*seed)[0]));
        }
        blobs
    }

    /// Blobs that are served with wrong bytes. That they are not served is no matter here.
    pub(crate) fn served_wrong(&self, store: &Store) -> Vec<String> {
        let wrong = |seed: &u64| match store.read_blob(blob(*seed).id, BYTES_MAX) {
            Ok(bytes) if bytes != content(*seed) => Some(format!("blob {seed} is served with wrong bytes")),
            _ => None,
        };
        self.blobs().iter().filter_map(wrong).collect()
    }

    /// Puts everything again.
    pub(crate) fn put_again(&self, store: &Store) -> buildswarm_store::Result<()> {
        self.blobs().iter().try_for_each(|seed| store.put_bytes(&content(*seed)).map(drop))?;
        let loose = self.trees.iter().map(|(root, (changed, _))| (*root, *changed));
        for (root, changed) in loose.chain(self.tree_roots.values().copied()) {
            let dir = scratch();
            make_tree(dir.path(), changed);
            let put = store.put_tree(dir.path(), &TreeOptions { skip_special: false })?;
            assert_eq!(put.root, root, "the tree is another");
        }
        Ok(())
    }

    /// The artifacts that must be there.
    pub(crate) fn artifacts(&self) -> impl Iterator<Item = u64> {
        self.artifacts.iter().copied()
    }

    /// What is not as it was promised, each in a sentence. Heals what the load itself damaged.
    pub(crate) fn broken(&mut self, store: &Store) -> Vec<String> {
        match self.examine(store) {
            Ok(broken) => broken,
            Err(error) => vec![format!("the store could not be examined: {}", whole(&error))],
        }
    }

    fn examine(&mut self, store: &Store) -> buildswarm_store::Result<Vec<String>> {
        for seed in std::mem::take(&mut self.damaged) {
            store.put_bytes(&content(parts(seed)[0]))?;
        }
        let mut broken = Vec::new();
        let report = store.verify()?;
        if !report.is_clean() {
            broken.push(format!("verify found something: {report:?}"));
        }
        for seed in self.puts.iter().filter(|(_, at)| **at >= self.collections).map(|(seed, _)| *seed) {
            broken.extend(unreadable(store, "put", seed));
        }
        self.examine_trees(store, &mut broken);
        self.examine_roots(store, &mut broken)?;
        self.examine_artifacts(store, &mut broken)?;
        self.examine_channels(store, &mut broken)?;
        let attempts = store.attempts(1 << 20, AttemptFilter::All)?;
        let found: BTreeSet<u64> = attempts.iter().map(|attempt| attempt.started.0).collect();
        broken.extend(self.attempts.difference(&found).map(|seed| format!("attempt {seed} is lost")));
        Ok(broken)
    }

    fn examine_trees(&self, store: &Store, broken: &mut Vec<String>) {
        let loose = self.trees.iter().filter(|(_, (_, at))| *at >= self.collections);
        let loose = loose.map(|(root, (changed, _))| (root, changed));
        for (root, changed) in loose.chain(self.tree_roots.values().map(|(root, changed)| (root, changed))) {
            broken.extend(unreadable(store, "file of a tree", *changed));
            match store.tree_blobs(*root) {
                Ok(blobs) => {
                    let unreadable = |id: &BlobId| store.read_blob(*id, BYTES_MAX).err();
                    let found = blobs.iter().filter_map(unreadable);
                    broken.extend(found.map(|error| format!("tree {root} is not whole: {}", whole(&error))));
                }
                Err(error) => broken.push(format!("tree {root} is lost: {}", whole(&error))),
            }
        }
    }

    fn examine_roots(&self, store: &Store, broken: &mut Vec<String>) -> buildswarm_store::Result<()> {
        let found: BTreeMap<String, BlobId> =
            store.roots()?.into_iter().map(|root| (root.name, root.id)).collect();
        for (channel, seed) in &self.roots {
            if found.get(&format!("blob-{channel}")) != Some(&blob(*seed).id) {
                broken.push(format!("root {channel} is not {seed}"));
            }
            broken.extend(unreadable(store, "root", *seed));
        }
        for (channel, (root, _)) in &self.tree_roots {
            if found.get(&format!("tree-{channel}")) != Some(root) {
                broken.push(format!("the root of a tree {channel} is not {root}"));
            }
        }
        Ok(())
    }

    fn examine_artifacts(&self, store: &Store, broken: &mut Vec<String>) -> buildswarm_store::Result<()> {
        let keys: Vec<_> = self.artifacts.iter().map(|seed| key(*seed)).collect();
        let found = store.artifacts(&keys)?;
        let present = store.present(&keys)?;
        let reuse_keys: Vec<_> = self.artifacts.iter().map(|seed| reuse(*seed)).collect();
        let reused = store.reused(&reuse_keys)?;
        for seed in &self.artifacts {
            let expected = artifact(*seed);
            match found.get(&expected.key) {
                None => broken.push(format!("artifact {seed} is lost")),
                Some(_) if !present.contains(&expected.key) => {
                    broken.push(format!("artifact {seed} is said not to be there"));
                }
                Some(other) if *other != expected => broken.push(format!("artifact {seed} is another")),
                Some(_) => {}
            }
            if reused.get(&reuse(*seed)) != Some(&expected) {
                broken.push(format!("the reuse key of artifact {seed} does not lead to it"));
            }
            for part in &parts(*seed)[..3] {
                broken.extend(unreadable(store, "part", *part));
            }
        }
        for seed in &self.signed {
            let signed = store.signed_package(key(*seed), SIGNER)?.map(|signed| signed.file);
            if signed != Some(blob(parts(*seed)[3])) {
                broken.push(format!("the signed package of {seed} is lost"));
            }
            broken.extend(unreadable(store, "signed package", parts(*seed)[3]));
        }
        Ok(())
    }

    fn examine_channels(&mut self, store: &Store, broken: &mut Vec<String>) -> buildswarm_store::Result<()> {
        for ((channel, number), entries) in &self.generations {
            let name = channel.to_string();
            let found = store.generations(&name)?.into_iter().find(|found| found.number == *number);
            let Some(found) = found else {
                broken.push(format!("generation {number} of {channel} is lost"));
                continue;
            };
            if found.entries != entries.iter().map(|seed| key(*seed)).collect::<Vec<_>>() {
                broken.push(format!("generation {number} of {channel} is another"));
            }
            broken.extend(unreadable(store, "manifest", manifest(*channel, *number)));
            for seed in entries {
                broken.extend(unreadable(store, "file served", parts(*seed)[0]));
            }
        }
        for (channel, (promised, possible)) in &mut self.current {
            let found = store.current(&channel.to_string())?;
            if found != *promised && (possible.is_none() || found != *possible) {
                broken.push(format!("generation {found:?} of {channel} is current, not {promised:?}"));
            }
            // Whichever it is, it stays.
            (*promised, *possible) = (found, None);
        }
        Ok(())
    }

    /// Drops what an index that was made again does not have: attempts.
    pub(crate) fn forget_history(&mut self) {
        self.attempts.clear();
    }

    /// Drops what nothing refers to.
    pub(crate) fn collected(&mut self) {
        self.puts.clear();
        self.trees.clear();
    }

    /// [`Self::broken`], and again after a collection that leaves nothing which is not needed.
    pub(crate) fn broken_even_after_collection(&mut self, store: &Store) -> Vec<String> {
        let mut broken = self.broken(store);
        self.collected();
        let collected = store.gc(ruthless());
        if let Err(error) = collected {
            broken.push(format!("the store could not be collected: {}", whole(&error)));
        }
        broken.extend(self.broken(store).into_iter().map(|found| format!("after a collection: {found}")));
        let index = Connection::open(store.path().join("index.db")).unwrap();
        for (directory, rows) in [
            ("blobs", "blobs WHERE state = 'sound' AND inline IS NULL AND pack IS NULL"),
            ("packs", "packs WHERE state = 'sound'"),
        ] {
            let query = format!("SELECT count(*) FROM {rows}");
            let known: u32 = index.query_row(&query, [], |row| row.get(0)).unwrap();
            let there = files_in(&store.path().join(directory));
            if known as usize != there {
                broken.push(format!("{there} files lie in {directory}/, of which {known} are known"));
            }
        }
        broken
    }
}

/// The number of the blob that is the manifest of a generation.
pub(crate) const fn manifest(channel: u64, number: u64) -> u64 {
    (1 << 50) + ((channel << 20) + number) * 2
}

fn unreadable(store: &Store, what: &str, seed: u64) -> Option<String> {
    let BlobRef { id, .. } = blob(seed);
    match store.read_blob(id, BYTES_MAX) {
        Ok(bytes) if bytes == content(seed) => None,
        Ok(_) => Some(format!("{what} {seed} was served with wrong bytes")),
        Err(error) => Some(format!("{what} {seed} cannot be read: {}", whole(&error))),
    }
}

/// An error with its causes.
pub(crate) fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
