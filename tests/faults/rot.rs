//! Bytes that change on the disk by themselves: in blobs, in packs, in the index, its log and the journal.
//!
//! Never may a wrong byte be served. What is damaged is found by the next verification, and put again, or fetched
//! from somebody who has it, it is whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use buildswarm_store::{Error, Store, VerifyOptions, VerifyReport};
use tempfile::TempDir;

use crate::acts::copy_all;
use crate::content::{Random, artifact, blob, content, file_of, parts, ruthless};
use crate::load::Load;
use crate::plan::{Plan, Report};
use crate::promises::{Promises, whole};
use crate::scratch;

/// What can happen to a file.
#[derive(Debug, Clone, Copy)]
enum Rot {
    FlipBit,
    Truncate,
    Append,
    Delete,
    Zero,
    /// Another file's bytes.
    Swap,
}

const ROTS: [Rot; 6] = [Rot::FlipBit, Rot::Truncate, Rot::Append, Rot::Delete, Rot::Zero, Rot::Swap];

/// Bytes that [`Rot::Zero`] clears: a page.
const ZEROED_BYTES: usize = 4096;

/// Who meets the damage first; healed it is afterwards in any case.
#[derive(Debug, Clone, Copy)]
enum Met {
    Reading,
    Verifying,
    Linking,
    Healing,
}

const MET: [Met; 4] = [Met::Reading, Met::Verifying, Met::Linking, Met::Healing];

pub(crate) fn run(plan: &Plan) -> Report {
    let mut report = Report::default();
    let mut random = plan.random();
    let asked = plan.of(150, 4000);
    let done = blobs(plan, &mut random, asked, &mut report);
    report.count_of(plan, "rot in blobs: cases", done, asked);
    let asked = plan.of(40, 800);
    let done = packs(plan, &mut random, asked, &mut report);
    report.count_of(plan, "rot in packs: cases", done, asked);
    indexes(plan, &mut random, &mut report);
    report
}

/// Does to the file what happened to it.
fn befall(path: &Path, rot: Rot, other: &[u8], random: &mut Random) {
    let mut bytes = fs::read(path).unwrap();
    let at = random.below(bytes.len() as u64) as usize;
    match rot {
        Rot::FlipBit => bytes[at] ^= 1 << random.below(8),
        Rot::Truncate => bytes.truncate(at),
        Rot::Append => bytes.push(0),
        Rot::Delete => {}
        Rot::Zero => {
            let end = bytes.len().min(at + ZEROED_BYTES);
            bytes[at..end].fill(0);
        }
        Rot::Swap => bytes = other.to_vec(),
    }
    // The file is read-only.
    fs::remove_file(path).unwrap();
    if !matches!(rot, Rot::Delete) {
        fs::write(path, bytes).unwrap();
    }
}

/// How many cases there were.
fn blobs(plan: &Plan, random: &mut Random, cases: u64, report: &mut Report) -> u64 {
    let (dir, store, mut promises) = stocked();
    let elsewhere = dir.path().join("elsewhere");
    Store::restore(store.path(), &elsewhere).unwrap();
    let elsewhere = Store::open_read_only(elsewhere).unwrap();
    let is_file = |seed: &u64| file_of(store.path(), blob(parts(*seed)[0]).id).exists();
    let seeds: Vec<u64> = promises.artifacts().filter(is_file).collect();
    for case in 0..cases {
        if plan.is_over() {
            return case;
        }
        let seed = seeds[random.below(seeds.len() as u64) as usize];
        let other = seeds[random.below(seeds.len() as u64) as usize];
        let rot = ROTS[random.below(ROTS.len() as u64) as usize];
        let met = MET[random.below(MET.len() as u64) as usize];
        let rot = if other == seed && matches!(rot, Rot::Swap) { Rot::Zero } else { rot };
        let part = parts(seed)[0];
        befall(&file_of(store.path(), blob(part).id), rot, &content(parts(other)[0]), random);
        let when = format!("case {case}, {rot:?} met by {met:?}");
        report.violate(&when, meet(&store, met, seed));
        if random.below(2) == 0 {
            store.put_bytes(&content(part)).unwrap();
        } else {
            let peer = elsewhere.peer();
            let options = VerifyOptions { repair: Some(&peer), ..VerifyOptions::default() };
            report.violate(&when, unrepaired(&store.verify_with(&options).unwrap(), part));
        }
        report.violate(&when, promises.broken(&store));
    }
    cases
}

/// What is wrong with how damage is taken.
fn meet(store: &Store, met: Met, seed: u64) -> Vec<String> {
    let part = parts(seed)[0];
    let (id, bytes) = (blob(part).id, content(part));
    let mut wrong = Vec::new();
    match met {
        Met::Reading => match store.read_blob(id, bytes.len() as u64) {
            Err(Error::BlobDamaged { .. } | Error::BlobMissing { .. }) => {}
            other => wrong.push(format!("reading says {:?}", other.map(|found| found == bytes))),
        },
        Met::Verifying => {
            let report = store.verify().unwrap();
            if report.damaged.len() + report.missing.len() != 1 || report.unresolvable != [artifact(seed).key]
            {
                wrong.push(format!("verification says {report:?}"));
            }
        }
        Met::Linking => match store.verified_path(id) {
            Ok(None) => {}
            other => wrong.push(format!("there is a file to link: {other:?}")),
        },
        Met::Healing => {}
    }
    if !matches!(met, Met::Healing) && store.artifact(artifact(seed).key).unwrap().is_some() {
        wrong.push("its artifact resolves".to_owned());
    }
    wrong
}

/// That a peer's copy of the one damaged blob was not taken.
fn unrepaired(found: &VerifyReport, part: u64) -> Option<String> {
    let is_repaired = found.is_clean() && found.repaired == [blob(part)];
    (!is_repaired).then(|| format!("a peer did not repair it: {found:?}"))
}

/// A store with some artifacts.
fn stocked() -> (TempDir, Store, Promises) {
    let dir = scratch();
    let store = Store::open(dir.path().join("store")).unwrap();
    let promises = Mutex::new(Promises::default());
    let say = |line: &str| promises.lock().unwrap().hear(line);
    Load::new(&store, 0, 0, &say).everything().unwrap();
    Load::new(&store, 1, 1 << 17, &say).everything().unwrap();
    let promises = promises.into_inner().unwrap();
    (dir, store, promises)
}

/// Damages packs; what was in them is put again.
fn packs(plan: &Plan, random: &mut Random, cases: u64, report: &mut Report) -> u64 {
    let (_dir, store, promises) = stocked();
    let promises = Mutex::new(promises);
    let say = |line: &str| promises.lock().unwrap().hear(line);
    let mut load = Load::new(&store, 2, 1 << 18, &say);
    let (mut effects, mut found) = (0, 0);
    for case in 0..cases {
        if plan.is_over() {
            return case;
        }
        load.pack().unwrap();
        let mut files: Vec<PathBuf> =
            fs::read_dir(store.path().join("packs")).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let file = &files[random.below(files.len() as u64) as usize];
        let rot = ROTS[random.below(ROTS.len() as u64) as usize];
        befall(file, rot, b"another file", random);
        let when = format!("case {case}, {rot:?} in a pack");
        let mut promises = promises.lock().unwrap();
        if random.below(2) == 0 {
            report.violate(&when, promises.served_wrong(&store));
        }
        let is_noticed = !store.verify().unwrap().is_clean();
        let is_harmful = !promises.clone().broken(&store).is_empty();
        effects += u64::from(is_harmful);
        found += u64::from(is_noticed);
        report.violate(&when, promises.served_wrong(&store));
        promises.put_again(&store).unwrap();
        let broken = promises.broken(&store).into_iter();
        report.violate(&when, broken.filter(|broken| !broken.starts_with("verify")));
        // The pack is damaged still. What is left in it is moved out of it, and the pack goes.
        promises.collected();
        store.gc(ruthless()).unwrap();
        report.violate(&when, promises.broken_even_after_collection(&store));
    }
    report.count("rot in packs: blobs out of service", effects);
    report.count("rot in packs: found by verification", found);
    cases
}

/// What became of a store whose index or journal is damaged.
#[derive(Default)]
struct Tally {
    refused: u64,
    /// Opened, and verification found something.
    found: u64,
    /// Opened, and everything is there.
    harmless: u64,
    /// Opened, and something is gone or another, without a word.
    unnoticed: u64,
}

/// Files that are damaged while nobody has the store open, by the beginnings of their paths.
const FILES: [&str; 4] = ["index.db", "index.db-wal", "journal", "lookup.table"];

/// Damages the index, its log, or the journal of a store that was left in disorder. Opened, it serves nothing wrong; and
/// made again, the index has everything.
fn indexes(plan: &Plan, random: &mut Random, report: &mut Report) {
    let (_dir, store, promises) = stocked();
    let mut tallies = FILES.map(|_| Tally::default());
    let asked = plan.of(60, 1200);
    let mut done = 0;
    while done < asked && !plan.is_over() {
        let which = random.below(FILES.len() as u64) as usize;
        // Not every store has a look-up table.
        if !store.path().join(FILES[which]).exists() {
            continue;
        }
        let dir = scratch();
        let copy = dir.path().join("store");
        copy_all(store.path(), &copy);
        if which == 0 {
            // Everything is in the index itself, and its log is gone.
            drop(Store::open(&copy).unwrap());
            fs::remove_file(copy.join("index.db-wal")).unwrap();
            fs::remove_file(copy.join("index.db-shm")).unwrap();
            fs::write(copy.join("lock"), b"1\n").unwrap();
        }
        let rot = ROTS[random.below(ROTS.len() as u64) as usize];
        befall(&file_at(&copy.join(FILES[which])), rot, b"another file", random);
        let when = format!("case {done}, {rot:?} in {}", FILES[which]);
        let again = dir.path().join("again");
        copy_all(&copy, &again);
        report.violate(&when, opened(&copy, FILES[which] == "index.db-wal", &promises, &mut tallies[which]));
        if FILES[which].starts_with("index") {
            report.violate(&when, rebuilt(&again, promises.clone()));
        }
        done += 1;
    }
    report.count_of(plan, "rot in index and journal: cases", done, asked);
    for (name, tally) in FILES.iter().zip(tallies) {
        let Tally { refused, found, harmless, unnoticed } = tally;
        if refused + found + harmless + unnoticed == 0 {
            continue;
        }
        report.tell(
            format!("rot in {name}"),
            format!("{refused} refused, {found} found, {harmless} without effect, {unnoticed} not noticed"),
        );
    }
}

/// A file, or the only one in a directory.
fn file_at(path: &Path) -> PathBuf {
    if path.is_file() {
        return path.to_owned();
    }
    fs::read_dir(path).unwrap().next().unwrap().unwrap().path()
}

fn opened(path: &Path, is_log: bool, promises: &Promises, tally: &mut Tally) -> Vec<String> {
    let Ok(store) = Store::open(path) else {
        tally.refused += 1;
        return Vec::new();
    };
    let wrong = promises.served_wrong(&store);
    let is_found = store.verify().map_or(true, |report| !report.is_clean());
    // That attempts are gone with the log nobody can notice: nothing else tells of them.
    let mut promises = promises.clone();
    promises.forget_history();
    match (is_found, promises.broken(&store).is_empty()) {
        (true, _) => tally.found += 1,
        (false, true) => tally.harmless += 1,
        (false, false) => tally.unnoticed += 1,
    }
    // What was lost with the log of the index is in the journal, but for blobs that nothing refers to.
    promises.collected();
    let lost = promises.broken(&store).into_iter().filter(|_| is_log && !is_found);
    wrong.into_iter().chain(lost).collect()
}

fn rebuilt(path: &Path, mut promises: Promises) -> Vec<String> {
    promises.forget_history();
    match Store::rebuild(path).and_then(|_| Store::open(path)) {
        Ok(store) => {
            let broken = promises.broken(&store).into_iter();
            broken.map(|broken| format!("with a new index: {broken}")).collect()
        }
        Err(error) => vec![format!("no new index: {}", whole(&error))],
    }
}
