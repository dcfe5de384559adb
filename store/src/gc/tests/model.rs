//! Any sequence of operations, and after each collection exactly that is left which the model says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use buildswarm_core::artifact::{Artifact, BlobRef};
use buildswarm_core::time::UnixSeconds;
use buildswarm_core::{BlobId, BuildKey, Digest};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use rusqlite::params;

use crate::gc::reasons::blinded::be_blind_to;
use crate::gc::{GcOptions, GcReport, KeptBecause};
use crate::index::values::{Bytes32, Unsigned};
use crate::{
    Attempt, BlobReader, GenerationRow, INLINE_BYTES_MAX, Pin, Purpose, RootKind, Run, RunId, SignedPackage,
    Store,
};
use crate::{Directory, Entry, Mode, Name, Node};

const DAY_SECONDS: u64 = 24 * 60 * 60;
const KEEP_DAYS: u32 = 1;

/// Blobs to choose from: few, so that operations meet. The last two are directories: one with the first two blobs,
/// and one with that directory and the third blob.
const BLOBS: usize = 8;
const TREES: [(usize, &[usize]); 2] = [(6, &[0, 1]), (7, &[6, 2])];
const KEYS: usize = 3;
const CHANNEL: &str = "stable";

static CONTENTS: LazyLock<[Vec<u8>; BLOBS]> = LazyLock::new(|| {
    // Even ones are small, odd ones are files.
    let plain = |number: usize| {
        let size = if number.is_multiple_of(2) { 100 } else { INLINE_BYTES_MAX + 1 };
        vec![u8::try_from(number).unwrap(); size + number]
    };
    let blob = |bytes: &[u8]| BlobRef { id: BlobId::of(bytes), size: bytes.len() as u64 };
    let entry = |name: &str, node| Entry { name: Name::new(name.as_bytes()).unwrap(), node };
    let file = |number| Node::File { mode: Mode::of(0o644), content: blob(&plain(number)) };
    let inner = Directory::new(vec![entry("a", file(0)), entry("b", file(1))]).unwrap().encode();
    let below = Node::Directory { mode: Mode::of(0o755), object: blob(&inner).id };
    let outer = Directory::new(vec![entry("c", file(2)), entry("inner", below)]).unwrap().encode();
    [plain(0), plain(1), plain(2), plain(3), plain(4), plain(5), inner, outer]
});

fn blob(number: usize) -> BlobRef {
    BlobRef { id: BlobId::of(&CONTENTS[number]), size: CONTENTS[number].len() as u64 }
}

fn key(number: usize) -> BuildKey {
    BuildKey::from_digest(Digest::of(&number.to_le_bytes()))
}

#[derive(Debug, Clone)]
enum Op {
    Put(usize),
    Open(usize),
    Close,
    Pin(usize),
    Unpin,
    Lease(usize, u64),
    Root(usize, RootKind, usize),
    RemoveRoot(usize),
    Commit(usize, [usize; 3]),
    Remove(usize),
    Sign(usize, usize),
    Generation { entry: usize, manifest: usize },
    RemoveGeneration,
    Attempt(usize),
    Pass(u64),
    Gc { grace: u64, quota: Option<u64>, evict_artifacts: bool },
}

fn op() -> impl Strategy<Value = Op> {
    let blob = || 0..BLOBS;
    let plain = || 0..BLOBS - TREES.len();
    let kind = prop_oneof![Just(RootKind::Blob), Just(RootKind::Tree)];
    let times = prop::sample::select(vec![10, 4_000, 100_000]);
    let quota = prop_oneof![Just(None), (0_u64..60_000).prop_map(Some)];
    prop_oneof![
        12 => blob().prop_map(Op::Put),
        2 => blob().prop_map(Op::Open),
        1 => Just(Op::Close),
        2 => blob().prop_map(Op::Pin),
        1 => Just(Op::Unpin),
        2 => (blob(), times.clone()).prop_map(|(blob, seconds)| Op::Lease(blob, seconds)),
        3 => (0..2_usize, kind, blob()).prop_map(|(name, kind, blob)| Op::Root(name, kind, blob)),
        1 => (0..2_usize).prop_map(Op::RemoveRoot),
        4 => (0..KEYS, [plain(), plain(), plain()]).prop_map(|(key, blobs)| Op::Commit(key, blobs)),
        1 => (0..KEYS).prop_map(Op::Remove),
        1 => (0..KEYS, plain()).prop_map(|(key, file)| Op::Sign(key, file)),
        2 => (0..KEYS, plain()).prop_map(|(entry, manifest)| Op::Generation { entry, manifest }),
        1 => Just(Op::RemoveGeneration),
        1 => plain().prop_map(Op::Attempt),
        2 => times.clone().prop_map(Op::Pass),
        5 => (times, quota, any::<bool>())
            .prop_map(|(grace, quota, evict_artifacts)| Op::Gc { grace, quota, evict_artifacts }),
    ]
}

/// What is there, and what keeps it.
#[derive(Debug, Default, Clone)]
struct Model {
    now: u64,
    /// When each blob that is there was last used.
    blobs: BTreeMap<usize, u64>,
    pinned: Vec<usize>,
    opened: Vec<usize>,
    leases: BTreeMap<usize, u64>,
    roots: BTreeMap<usize, (RootKind, usize)>,
    artifacts: BTreeMap<usize, [usize; 3]>,
    signed: BTreeMap<usize, usize>,
    generations: BTreeMap<u64, BTreeSet<usize>>,
    attempts: Vec<(usize, u64)>,
}

impl Model {
    fn has(&self, blobs: impl IntoIterator<Item = usize>) -> bool {
        blobs.into_iter().all(|blob| self.blobs.contains_key(&blob))
    }

    fn tree(top: usize) -> Option<BTreeSet<usize>> {
        let (_, below) = TREES.iter().find(|(number, _)| *number == top)?;
        let mut all = BTreeSet::from([top]);
        for number in *below {
            all.insert(*number);
            all.extend(Self::tree(*number).unwrap_or_default());
        }
        Some(all)
    }

    /// Kept by something that no eviction touches, builds aside.
    fn is_held(&self, blob: usize) -> bool {
        let rooted = self.roots.values().any(|(kind, top)| match kind {
            RootKind::Blob => *top == blob,
            RootKind::Tree => Self::tree(*top).is_some_and(|tree| tree.contains(&blob)),
        });
        let since = self.now.saturating_sub(u64::from(KEEP_DAYS) * DAY_SECONDS);
        rooted
            || self.pinned.contains(&blob)
            || self.opened.contains(&blob)
            || self.leases.get(&blob).is_some_and(|until| *until > self.now)
            || self.generations.values().any(|blobs| blobs.contains(&blob))
            || self.attempts.iter().any(|(log, finished)| *log == blob && *finished >= since)
    }

    fn is_of_builds(&self, blob: usize) -> bool {
        self.artifacts.values().any(|blobs| blobs.contains(&blob))
            || self.signed.values().any(|file| *file == blob)
    }

    fn used(&self) -> u64 {
        self.blobs.keys().map(|number| blob(*number).size).sum()
    }

    fn drop_blob(&mut self, blob: usize) {
        self.blobs.remove(&blob);
        self.attempts.retain(|(log, _)| *log != blob);
    }

    fn remove(&mut self, key: usize) -> bool {
        self.signed.remove(&key);
        self.artifacts.remove(&key).is_some()
    }

    fn collect(&mut self, grace: u64, quota: Option<u64>, evict_artifacts: bool) {
        let loose = |model: &Self, blob: usize| !model.is_held(blob) && !model.is_of_builds(blob);
        let graceless = self.now.saturating_sub(grace);
        for (number, used_at) in self.blobs.clone() {
            if loose(self, number) && used_at < graceless {
                self.drop_blob(number);
            }
        }
        if let Some(quota) = quota {
            let mut oldest: Vec<_> = self.blobs.iter().map(|(n, at)| (*at, blob(*n).id, *n)).collect();
            oldest.retain(|(.., number)| loose(self, *number));
            oldest.sort();
            for (.., number) in oldest {
                if self.used() > quota {
                    self.drop_blob(number);
                }
            }
            if evict_artifacts {
                self.evict_artifacts(quota);
            }
        }
        self.leases.retain(|_, until| *until > self.now);
    }

    fn evict_artifacts(&mut self, quota: u64) {
        let served = |blob: &usize| self.generations.values().any(|blobs| blobs.contains(blob));
        let mut oldest: Vec<_> = self
            .artifacts
            .iter()
            .filter(|(key, blobs)| !self.is_held(blobs[0]) && !self.signed.get(key).is_some_and(served))
            .map(|(number, blobs)| (self.blobs[&blobs[0]], key(*number), *number))
            .collect();
        oldest.sort();
        for (.., number) in oldest {
            if self.used() <= quota {
                return;
            }
            let hanging = self.artifacts[&number].into_iter().chain(self.signed.get(&number).copied());
            let hanging: Vec<usize> = hanging.collect();
            self.remove(number);
            for blob in hanging {
                if !self.is_held(blob) && !self.is_of_builds(blob) {
                    self.drop_blob(blob);
                }
            }
        }
    }
}

struct Pair {
    store: Store,
    run: RunId,
    pins: Vec<Pin>,
    readers: Vec<BlobReader>,
    generation: u64,
    model: Model,
}

type Outcome = Result<(), TestCaseError>;

impl Pair {
    fn new(dir: &std::path::Path) -> Self {
        let store = Store::open(dir).unwrap();
        let run = Run { label: String::new(), purpose: Purpose::Build, started: UnixSeconds(1) };
        let run = store.begin_run(&run).unwrap();
        let model = Model { now: 1_000_000, ..Model::default() };
        Self { store, run, pins: Vec::new(), readers: Vec::new(), generation: 0, model }
    }

    fn apply(&mut self, op: &Op) -> Outcome {
        let (store, model) = (&self.store, &mut self.model);
        match *op {
            Op::Put(number) => {
                prop_assert_eq!(store.put_bytes(&CONTENTS[number]).unwrap(), blob(number));
                model.blobs.insert(number, model.now);
            }
            Op::Open(number) => {
                let reader = store.open_blob(blob(number).id).unwrap();
                prop_assert_eq!(reader.is_some(), model.has([number]));
                if let Some(reader) = reader {
                    self.readers.push(reader);
                    model.opened.push(number);
                    model.blobs.insert(number, model.now);
                }
            }
            Op::Close => drop((self.readers.pop(), model.opened.pop())),
            Op::Pin(number) => {
                let pin = store.pin(&[blob(number).id]);
                prop_assert_eq!(pin.is_ok(), model.has([number]));
                if let Ok(pin) = pin {
                    self.pins.push(pin);
                    model.pinned.push(number);
                }
            }
            Op::Unpin => drop((self.pins.pop(), model.pinned.pop())),
            Op::Lease(number, seconds) => {
                let have = store.have(UnixSeconds(model.now), &[blob(number).id], seconds).unwrap();
                prop_assert_eq!(!have.is_empty(), model.has([number]));
                if model.has([number]) {
                    let until = model.leases.entry(number).or_default();
                    *until = (*until).max(model.now + seconds);
                }
            }
            Op::Root(name, kind, number) => {
                let set = store.set_root(&name.to_string(), kind, blob(number).id);
                let needed = match kind {
                    RootKind::Blob => Some(BTreeSet::from([number])),
                    RootKind::Tree => Model::tree(number),
                };
                let may = needed.is_some_and(|needed| model.has(needed));
                prop_assert_eq!(set.is_ok(), may);
                if may {
                    model.roots.insert(name, (kind, number));
                }
            }
            Op::RemoveRoot(name) => {
                let removed = store.remove_root(&name.to_string()).unwrap();
                prop_assert_eq!(removed, model.roots.remove(&name).is_some());
            }
            _ => self.apply_to_builds(op)?,
        }
        Ok(())
    }

    fn apply_to_builds(&mut self, op: &Op) -> Outcome {
        let (store, model) = (&self.store, &mut self.model);
        match *op {
            Op::Commit(number, blobs) => {
                let outcome = store.commit_artifact(&artifact(number, blobs), &[]);
                prop_assert_eq!(outcome.is_ok(), model.has(blobs));
                if outcome.is_ok() {
                    model.artifacts.entry(number).or_insert(blobs);
                }
            }
            Op::Remove(number) => {
                prop_assert_eq!(store.remove_artifact(key(number)).unwrap(), model.remove(number));
            }
            Op::Sign(number, file) => {
                let signed = SignedPackage { file: blob(file), index_entry: String::new() };
                let may = model.artifacts.contains_key(&number) && model.has([file]);
                prop_assert_eq!(store.put_signed(key(number), "signer", &signed).is_ok(), may);
                if may {
                    model.signed.insert(number, file);
                }
            }
            Op::Generation { entry, manifest } => {
                self.generation += 1;
                let row = GenerationRow {
                    number: self.generation,
                    created: UnixSeconds(1),
                    entries: vec![key(entry)],
                    manifest: blob(manifest),
                };
                let may = model.artifacts.contains_key(&entry) && model.has([manifest]);
                prop_assert_eq!(store.record_generation(CHANNEL, &row).is_ok(), may);
                if may {
                    let signed = model.signed.get(&entry).copied();
                    let blobs = [manifest, model.artifacts[&entry][0]].into_iter().chain(signed);
                    model.generations.insert(self.generation, blobs.collect());
                }
            }
            Op::RemoveGeneration => {
                if let Some((number, _)) = model.generations.pop_first() {
                    store.remove_generation(CHANNEL, number).unwrap();
                }
            }
            Op::Attempt(log) if model.has([log]) => {
                store.record_attempt(&attempt(self.run, model.now, blob(log))).unwrap();
                model.attempts.push((log, model.now));
            }
            Op::Pass(seconds) => model.now += seconds,
            Op::Gc { grace, quota, evict_artifacts } => self.collect(grace, quota, evict_artifacts)?,
            _ => {}
        }
        Ok(())
    }

    fn collect(&mut self, grace: u64, quota: Option<u64>, evict_artifacts: bool) -> Outcome {
        self.set_times();
        let options = GcOptions {
            now: UnixSeconds(self.model.now),
            dry_run: true,
            keep_days: KEEP_DAYS,
            grace_seconds: grace,
            quota,
            evict_artifacts,
        };
        let would = self.store.gc(options).unwrap();
        self.agree()?;
        let did = self.store.gc(GcOptions { dry_run: false, ..options });
        let did = did.map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(&would, &did);
        let before = self.model.clone();
        self.model.collect(grace, quota, evict_artifacts);
        self.agree()?;
        self.check_report(&did, &before)
    }

    /// The model's times in place of those of the clock.
    fn set_times(&self) {
        self.store.shared.write_uses().unwrap();
        let write = self.store.shared.index.write(|transaction| {
            for (number, at) in &self.model.blobs {
                let parameters = params![Bytes32::from(blob(*number).id), Unsigned(*at)];
                transaction.execute("UPDATE blobs SET stored_at = ?2 WHERE id = ?1", parameters)?;
            }
            Ok(())
        });
        write.unwrap();
    }

    fn agree(&self) -> Outcome {
        for number in 0..BLOBS {
            let is_there = self.store.contains(blob(number).id).unwrap();
            prop_assert_eq!(is_there, self.model.has([number]), "blob {}", number);
        }
        for number in 0..KEYS {
            let resolves = self.store.artifact(key(number)).unwrap().is_some();
            prop_assert_eq!(resolves, self.model.artifacts.contains_key(&number), "artifact {}", number);
        }
        Ok(())
    }

    fn check_report(&self, report: &GcReport, before: &Model) -> Outcome {
        prop_assert_eq!(report.used_bytes, self.model.used());
        let kept: u64 = report.kept_by_reason.values().map(|tally| tally.bytes).sum();
        prop_assert_eq!(kept, self.model.used());
        prop_assert_eq!(report.freed_bytes, before.used() - self.model.used());
        let artifacts = before.artifacts.len() - self.model.artifacts.len();
        prop_assert_eq!(report.evicted_artifacts, artifacts as u64);
        let leases = self.store.shared.index.read(|reader| {
            Ok(reader.query_row("SELECT count(*) FROM leases", [], |row| row.get::<_, Unsigned>(0))?.0)
        });
        prop_assert_eq!(leases.unwrap(), self.model.leases.len() as u64);
        Ok(())
    }
}

fn artifact(number: usize, blobs: [usize; 3]) -> Artifact {
    Artifact { key: key(number), ..whole(&blobs.map(blob)) }
}

/// An artifact of these blobs.
pub(super) fn whole(&[file, log, preimage]: &[BlobRef; 3]) -> Artifact {
    Artifact {
        key: key(0),
        package: "dev-libs/foo-1".parse().unwrap(),
        slot: "0".parse().unwrap(),
        repository: "gentoo".to_owned(),
        file,
        log,
        preimage,
        payload: Digest::of(b"payload"),
        interface: Digest::of(b"interface"),
        installed_size: 1,
        build_millis: 1,
        built_at: UnixSeconds(1),
        builder: "drone".to_owned(),
        metadata: BTreeMap::new(),
    }
}

fn attempt(run: RunId, now: u64, log: BlobRef) -> Attempt {
    Attempt {
        run,
        key: key(0),
        package: "dev-libs/foo-1".parse().unwrap(),
        slot: 0,
        started: UnixSeconds(now),
        finished: UnixSeconds(now),
        duration_millis: 1,
        outcome: "failed".to_owned(),
        failure_class: None,
        phase: None,
        message: String::new(),
        log: Some(log),
    }
}

fn live(ops: &[Op]) -> Outcome {
    let dir = tempfile::tempdir().unwrap();
    let mut pair = Pair::new(dir.path());
    ops.iter().try_for_each(|op| pair.apply(op))
}

proptest! {
    // Each case is some sixty commits to a real disk.
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn exactly_what_nothing_reaches_goes(ops in prop::collection::vec(op(), 1..80)) {
        live(&ops)?;
    }
}

const GC: Op = Op::Gc { grace: 10, quota: None, evict_artifacts: false };

/// What one reason alone keeps through a collection.
fn kept_only_because(reason: KeptBecause) -> Vec<Op> {
    let puts = (0..BLOBS).map(Op::Put);
    let (keeping, passing) = match reason {
        KeptBecause::Generation => {
            (vec![Op::Commit(0, [3, 4, 5]), Op::Generation { entry: 0, manifest: 2 }, Op::Remove(0)], 4_000)
        }
        KeptBecause::Artifact => (vec![Op::Commit(0, [3, 4, 5])], 4_000),
        KeptBecause::Signed => (vec![Op::Commit(0, [3, 4, 5]), Op::Sign(0, 1)], 4_000),
        KeptBecause::Root => (vec![Op::Root(0, RootKind::Tree, 7)], 4_000),
        KeptBecause::AttemptLog => (vec![Op::Attempt(3)], 4_000),
        KeptBecause::Lease => (vec![Op::Lease(3, 100_000)], 4_000),
        KeptBecause::Pin => (vec![Op::Pin(3)], 4_000),
        KeptBecause::Transfer => (vec![Op::Open(3)], 4_000),
        KeptBecause::Grace => (Vec::new(), 1),
    };
    puts.chain(keeping).chain([Op::Pass(passing), GC]).collect()
}

#[test]
fn a_collection_that_is_blind_to_one_reason_is_found_out() {
    for reason in [
        KeptBecause::Generation,
        KeptBecause::Artifact,
        KeptBecause::Signed,
        KeptBecause::Root,
        KeptBecause::AttemptLog,
        KeptBecause::Lease,
        KeptBecause::Pin,
        KeptBecause::Transfer,
        KeptBecause::Grace,
    ] {
        let ops = kept_only_because(reason);
        live(&ops).unwrap();
        be_blind_to(Some(reason));
        let outcome = live(&ops);
        be_blind_to(None);
        assert!(outcome.is_err(), "{reason:?}");
    }
}
