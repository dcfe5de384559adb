//! What a store is made to do while something goes wrong: everything it can.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use buildswarm_core::BlobId;
use buildswarm_core::artifact::Artifact;
use buildswarm_core::time::UnixSeconds;
use buildswarm_store::{
    Attempt, Compression, Error, GenerationRow, JobRow, Purpose, Result, RootKind, Run, RunId, SignedPackage,
    Store, TreeOptions, faults,
};

use crate::content::{
    artifact, blob, channel_of, content, file_of, is_same, key, make_tree, number_of, parts, reuse, ruthless,
};
use crate::promises::{SIGNER, manifest};

/// Artifacts, and generations, that a load keeps; older ones are removed.
const KEPT: usize = 4;

/// How often [`Load::files`] does what it does.
const FILES: usize = 10;

/// Collections that were begun, and that came to their end: a put beside one promises nothing.
static BEGUN: AtomicU64 = AtomicU64::new(0);
static ENDED: AtomicU64 = AtomicU64::new(0);

/// Counts collections on from those of earlier processes.
pub(crate) fn count_collections_from(number: u64) {
    BEGUN.store(number, Ordering::SeqCst);
    ENDED.store(number, Ordering::SeqCst);
}

/// That no collection is going on.
struct Quiet;

impl Quiet {
    /// How many collections have been, unless there is one now.
    fn now() -> Option<u64> {
        let begun = BEGUN.load(Ordering::SeqCst);
        (ENDED.load(Ordering::SeqCst) == begun).then_some(begun)
    }
}

/// One thing that is done to a store.
pub(crate) type Verb<'a> = (&'static str, fn(&mut Load<'a>) -> Result<()>);

/// Somebody who uses a store, and says what is promised.
pub(crate) struct Load<'a> {
    pub(crate) store: &'a Store,
    say: &'a (dyn Fn(&str) + Sync),
    /// Begins the numbers of everything it makes.
    next: u64,
    channel: u64,
    generation: u64,
    artifacts: VecDeque<u64>,
    generations: VecDeque<u64>,
    damaged: Option<u64>,
    run: Option<RunId>,
    tree: Option<BlobId>,
}

/// Everything, in an order in which each finds what it needs.
pub(crate) fn verbs<'a>() -> Vec<Verb<'a>> {
    vec![
        ("put-small", |load| load.put(0)),
        ("put-large", |load| load.put(1)),
        ("put-known", Load::put_known),
        ("put-stray", |load| load.put_beside(content)),
        ("put-rotten", |load| load.put_beside(|_| b"rot".to_vec())),
        ("commit", Load::commit),
        ("commit-second", Load::commit),
        ("commit-again", Load::commit_again),
        ("batch", |load| load.batch(Compression::Zstd)),
        ("batch-plain", |load| load.batch(Compression::None)),
        ("tree", Load::tree),
        ("tree-again", Load::tree_again),
        ("materialise", Load::materialise),
        ("root", Load::root),
        ("root-tree", Load::root_tree),
        ("root-remove", Load::root_remove),
        ("sign", Load::sign),
        ("run-begin", Load::begin_run),
        ("run-job", Load::update_job),
        ("attempt", Load::attempt),
        ("run-finish", Load::finish_run),
        ("damage", Load::damage),
        ("heal", Load::heal),
        ("generation", Load::generation),
        ("current", Load::current),
        ("forget", Load::forget),
        ("remove", Load::remove),
        ("put-doomed", |load| load.put(1)),
        ("put-doomed-small", |load| load.put(0)),
        ("collect", Load::collect),
        ("put-again", |load| load.put(1)),
        ("verify", Load::verify),
        ("backup", Load::backup),
        ("backup-again", Load::backup),
    ]
}

impl<'a> Load<'a> {
    /// `first` must leave room for thousands of numbers before that of any other load.
    pub(crate) fn new(store: &'a Store, channel: u64, first: u64, say: &'a (dyn Fn(&str) + Sync)) -> Self {
        let generation = store.current(&channel.to_string()).unwrap().unwrap_or(0);
        let all = store.generations(&channel.to_string()).unwrap();
        let generations: VecDeque<u64> = all.iter().map(|found| found.number).collect();
        let generation = generation.max(generations.back().copied().unwrap_or(0));
        let artifacts = VecDeque::new();
        let (damaged, run, tree) = (None, None, None);
        Self { tree, store, say, next: first, channel, generation, artifacts, generations, damaged, run }
    }

    /// Takes over what earlier loads of this store left, to remove what is too old.
    pub(crate) fn inherit(&mut self) {
        let mut earlier: Vec<u64> = self
            .store
            .all_artifacts()
            .map(|artifact| number_of(&artifact.unwrap()))
            .filter(|seed| channel_of(*seed) == self.channel)
            .collect();
        earlier.sort_unstable();
        self.artifacts = earlier.into();
    }

    /// Somebody who goes on where this one was interrupted.
    pub(crate) fn successor(&self) -> Self {
        let mut load = Self::new(self.store, self.channel, self.next, self.say);
        load.inherit();
        load
    }

    /// Removes what is too old.
    pub(crate) fn thin_out(&mut self) -> Result<()> {
        if !self.generations.is_empty() {
            self.current()?;
        }
        self.forget()?;
        self.remove()
    }

    /// Makes sure that a verb has something to do.
    pub(crate) fn prepare(&mut self, verb: &str) -> Result<()> {
        match verb {
            "run-job" | "attempt" | "run-finish" => self.begin_run(),
            "heal" => self.damage(),
            "forget" => (0..=KEPT).try_for_each(|_| self.generation()).and_then(|()| self.current()),
            "remove" => (0..=KEPT).try_for_each(|_| self.commit()),
            "tree-again" | "materialise" => self.tree(),
            "collect" => self.put(0).and_then(|()| self.put(1)),
            "commit-again" | "sign" | "damage" | "generation" => self.commit(),
            "current" => self.generation(),
            _ => Ok(()),
        }
    }

    /// Does everything once, each part with the points named after it.
    pub(crate) fn everything(&mut self) -> Result<()> {
        for (name, verb) in verbs() {
            faults::label(name);
            verb(self)?;
        }
        Ok(())
    }

    /// Puts and commits what is kept in files, again and again.
    pub(crate) fn files(&mut self) -> Result<()> {
        for _ in 0..FILES {
            self.put(1)?;
            self.commit()?;
        }
        Ok(())
    }

    fn say(&self, line: &str) {
        (self.say)(line);
    }

    /// A number not used before, even or odd as wanted.
    const fn number(&mut self, odd: u64) -> u64 {
        self.next += 2;
        self.next - self.next % 2 + odd
    }

    fn put(&mut self, odd: u64) -> Result<()> {
        let seed = self.number(odd);
        self.put_number(seed)
    }

    fn put_number(&self, seed: u64) -> Result<()> {
        let quiet = Quiet::now();
        let put = self.store.put_bytes(&content(seed))?;
        assert_eq!(put, blob(seed), "the address is another");
        if let Some(begun) = quiet {
            self.say(&format!("did put {seed} {begun}"));
        }
        Ok(())
    }

    fn put_known(&mut self) -> Result<()> {
        let seed = self.number(1);
        self.put_number(seed)?;
        self.put_number(seed)
    }

    /// Puts what has a file already that the index does not know.
    fn put_beside(&mut self, file: fn(u64) -> Vec<u8>) -> Result<()> {
        let seed = self.number(1);
        let path = file_of(self.store.path(), blob(seed).id);
        fs::write(&path, file(seed)).unwrap();
        self.put_number(seed)
    }

    fn put_parts(&self, seed: u64) -> Result<Artifact> {
        for part in &parts(seed)[..3] {
            self.store.put_bytes(&content(*part))?;
        }
        Ok(artifact(seed))
    }

    fn commit(&mut self) -> Result<()> {
        let seed = self.number(0);
        let _ = self.store.commit_artifact(&self.put_parts(seed)?, &[reuse(seed)])?;
        self.say(&format!("did commit {seed}"));
        self.artifacts.push_back(seed);
        Ok(())
    }

    /// Two blobs and an artifact at once, in a pack.
    fn batch(&mut self, compression: Compression) -> Result<()> {
        let (small, large, built) = (self.number(0), self.number(1), self.number(0));
        let quiet = Quiet::now();
        let batch = self.store.batch(compression)?;
        for seed in [small, large].iter().chain(&parts(built)[..3]) {
            assert_eq!(batch.put_bytes(&content(*seed))?, blob(*seed), "the address is another");
        }
        batch.commit_artifact(artifact(built), &[reuse(built)]);
        let _ = batch.commit()?;
        self.say(&format!("did commit {built}"));
        if let Some(begun) = quiet {
            self.say(&format!("did put {small} {begun}"));
            self.say(&format!("did put {large} {begun}"));
        }
        self.artifacts.push_back(built);
        Ok(())
    }

    /// Makes sure that there is a pack.
    pub(crate) fn pack(&mut self) -> Result<()> {
        self.batch(Compression::Zstd)?;
        self.thin_out()
    }

    /// Where the tree is that this load puts.
    fn tree_path(&self) -> PathBuf {
        self.store.path().with_file_name(format!("tree-{}", self.channel))
    }

    /// A new tree.
    fn tree(&mut self) -> Result<()> {
        let seed = self.number(0);
        let path = self.tree_path();
        if path.exists() {
            fs::remove_dir_all(&path).unwrap();
        }
        make_tree(&path, seed);
        self.put_tree(&path, seed)
    }

    /// The same tree with one file changed.
    fn tree_again(&mut self) -> Result<()> {
        let seed = self.number(0);
        let path = self.tree_path();
        make_tree(&path, seed);
        self.put_tree(&path, seed)
    }

    fn put_tree(&mut self, path: &Path, changed: u64) -> Result<()> {
        let quiet = Quiet::now();
        let snapshot = self.store.put_tree(path, &TreeOptions { skip_special: false })?;
        self.tree = Some(snapshot.root);
        if let Some(begun) = quiet {
            self.say(&format!("did tree {changed} {begun} {}", snapshot.root));
        }
        Ok(())
    }

    fn materialise(&mut self) -> Result<()> {
        let Some(root) = self.tree else { return Ok(()) };
        let to = self.tree_path().with_extension("made");
        if to.exists() {
            fs::remove_dir_all(&to).unwrap();
        }
        self.store.materialise(root, &to)?;
        assert!(is_same(&self.tree_path(), &to), "the tree is another");
        Ok(())
    }

    /// Keeps a blob for good.
    fn root(&mut self) -> Result<()> {
        let (channel, seed) = (self.channel, self.number(1));
        let (put, pin) = self.store.put_pinned(&content(seed)[..])?;
        self.say(&format!("will root {channel}"));
        self.store.set_root(&format!("blob-{channel}"), RootKind::Blob, put.id)?;
        self.say(&format!("did root {channel} {seed}"));
        drop(pin);
        Ok(())
    }

    /// Keeps a tree for good.
    fn root_tree(&mut self) -> Result<()> {
        let (channel, seed) = (self.channel, self.number(0));
        let path = self.tree_path();
        make_tree(&path, seed);
        let snapshot = self.store.put_tree(&path, &TreeOptions { skip_special: false })?;
        self.say(&format!("will root-tree {channel}"));
        self.store.set_root(&format!("tree-{channel}"), RootKind::Tree, snapshot.root)?;
        self.say(&format!("did root-tree {channel} {seed} {}", snapshot.root));
        Ok(())
    }

    /// Keeps a blob, and gives it up.
    fn root_remove(&mut self) -> Result<()> {
        let seed = self.number(0);
        let (put, pin) = self.store.put_pinned(&content(seed)[..])?;
        let name = format!("short-{}", self.channel);
        self.store.set_root(&name, RootKind::Blob, put.id)?;
        drop(pin);
        self.store.remove_root(&name).map(drop)
    }

    /// Another build of the last artifact, which changes nothing.
    fn commit_again(&mut self) -> Result<()> {
        let Some(seed) = self.artifacts.back() else { return Ok(()) };
        let again = Artifact { builder: "drone-2".to_owned(), ..artifact(*seed) };
        let _ = self.store.commit_artifact(&again, &[reuse(*seed)])?;
        Ok(())
    }

    fn sign(&mut self) -> Result<()> {
        let Some(seed) = self.artifacts.back() else { return Ok(()) };
        let file = self.store.put_bytes(&content(parts(*seed)[3]))?;
        let signed = SignedPackage { file, index_entry: "{}".to_owned() };
        self.store.put_signed(key(*seed), SIGNER, &signed)?;
        self.say(&format!("did sign {seed}"));
        Ok(())
    }

    fn begin_run(&mut self) -> Result<()> {
        let label = "=dev-libs/foo-1".to_owned();
        let run = Run { label, purpose: Purpose::Build, started: UnixSeconds(1) };
        self.run = Some(self.store.begin_run(&run)?);
        Ok(())
    }

    fn update_job(&mut self) -> Result<()> {
        let Some(run) = self.run else { return Ok(()) };
        let job = JobRow {
            key: key(self.number(0)),
            package: "dev-libs/foo-1".parse().unwrap(),
            state: "ready".to_owned(),
            reason: String::new(),
            slot: None,
            started: None,
            log_path: None,
            artifact: None,
        };
        self.store.update_job(run, &job)
    }

    fn finish_run(&mut self) -> Result<()> {
        let Some(run) = self.run else { return Ok(()) };
        self.store.finish_run(run, UnixSeconds(2), "built 1")
    }

    fn attempt(&mut self) -> Result<()> {
        let Some(run) = self.run else { return Ok(()) };
        let seed = self.number(0);
        let log = self.store.put_bytes(&content(seed))?;
        let attempt = Attempt {
            run,
            key: key(seed),
            package: "dev-libs/foo-1".parse().unwrap(),
            slot: 0,
            started: UnixSeconds(seed),
            finished: UnixSeconds(seed + 1),
            duration_millis: 1000,
            outcome: "failed".to_owned(),
            failure_class: None,
            phase: None,
            message: String::new(),
            log: Some(log),
        };
        self.store.record_attempt(&attempt)?;
        self.say(&format!("did attempt {seed}"));
        Ok(())
    }

    /// Damages the file of the last artifact that has one and reads it.
    fn damage(&mut self) -> Result<()> {
        let path = |seed: u64| file_of(self.store.path(), blob(parts(seed)[0]).id);
        let mut with_file = self.artifacts.iter().rev().filter(|seed| path(**seed).exists());
        let Some(seed) = with_file.next().copied() else { return Ok(()) };
        let (file, path) = (blob(parts(seed)[0]), path(seed));
        self.say(&format!("will damage {seed}"));
        self.damaged = Some(seed);
        fs::remove_file(&path).unwrap();
        let mut rotten = content(parts(seed)[0]);
        rotten[1] ^= 1;
        fs::write(&path, rotten).unwrap();
        match self.store.read_blob(file.id, file.size) {
            Err(Error::BlobDamaged { .. }) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => panic!("wrong bytes were served"),
        }
    }

    fn heal(&mut self) -> Result<()> {
        let Some(seed) = self.damaged else { return Ok(()) };
        self.store.put_bytes(&content(parts(seed)[0]))?;
        self.say(&format!("did heal {seed}"));
        self.damaged = None;
        Ok(())
    }

    fn generation(&mut self) -> Result<()> {
        let number = self.generation + 1;
        let manifest = self.store.put_bytes(&content(manifest(self.channel, number)))?;
        let seeds: Vec<u64> = self.artifacts.iter().rev().take(2).copied().collect();
        let entries = seeds.iter().map(|seed| key(*seed)).collect();
        let generation = GenerationRow { number, created: UnixSeconds(1), entries, manifest };
        self.store.record_generation(&self.channel.to_string(), &generation)?;
        let entries: String = seeds.iter().map(|seed| format!(" {seed}")).collect();
        self.say(&format!("did generation {} {number}{entries}", self.channel));
        self.generation = number;
        self.generations.push_back(number);
        Ok(())
    }

    fn current(&mut self) -> Result<()> {
        let (channel, number) = (self.channel, self.generation);
        self.say(&format!("will current {channel} {number}"));
        self.store.set_current(&channel.to_string(), number)?;
        self.say(&format!("did current {channel} {number}"));
        Ok(())
    }

    fn forget(&mut self) -> Result<()> {
        while self.generations.len() > KEPT {
            self.say(&format!("will forget {} {}", self.channel, self.generations[0]));
            match self.store.remove_generation(&self.channel.to_string(), self.generations[0]) {
                Ok(()) | Err(Error::GenerationMissing { .. }) => {}
                Err(error) => return Err(error),
            }
            self.generations.pop_front();
        }
        Ok(())
    }

    fn remove(&mut self) -> Result<()> {
        while self.artifacts.len() > KEPT {
            self.say(&format!("will remove {}", self.artifacts[0]));
            self.store.remove_artifact(key(self.artifacts[0]))?;
            self.artifacts.pop_front();
        }
        Ok(())
    }

    fn collect(&mut self) -> Result<()> {
        let collection = BEGUN.fetch_add(1, Ordering::SeqCst) + 1;
        self.say(&format!("will collect {collection}"));
        let collected = self.store.gc(ruthless());
        ENDED.fetch_add(1, Ordering::SeqCst);
        collected.map(drop)
    }

    /// A backup, or the next into the same directory.
    fn backup(&mut self) -> Result<()> {
        let to = self.store.path().with_file_name(format!("backup-{}", self.channel));
        self.store.backup(to).map(drop)
    }

    fn verify(&mut self) -> Result<()> {
        let report = self.store.verify()?;
        match report.unreadable.into_iter().next() {
            Some((path, error)) => {
                Err(Error::Io { action: "read", path, source: std::io::Error::other(error) })
            }
            None => Ok(()),
        }
    }
}
