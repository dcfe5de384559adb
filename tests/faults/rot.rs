//! Bytes that change on the disk by themselves: in blobs, in the index and in its log.
//!
//! Never may a wrong byte be served. What is damaged is found by the next verification, and put again, or fetched
//! from somebody who has it, it is whole.

use std::fs;
use std::path::Path;
use std::sync::Mutex;

use buildswarm_store::{Error, Store};
use tempfile::TempDir;

use crate::content::{Random, artifact, blob, content, file_of, parts};
use crate::load::Load;
use crate::plan::{Plan, Report};
use crate::promises::Promises;
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

/// Who meets the damage first.
#[derive(Debug, Clone, Copy)]
enum Met {
    Reading,
    Verifying,
    Linking,
    Putting,
}

const MET: [Met; 4] = [Met::Reading, Met::Verifying, Met::Linking, Met::Putting];

pub(crate) fn run(plan: &Plan) -> Report {
    let mut report = Report::default();
    let mut random = plan.random();
    let asked = plan.of(150, 4000);
    let done = blobs(plan, &mut random, asked, &mut report);
    report.count_of(plan, "rot in blobs: cases", done, asked);
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
    let (_dir, store, mut promises) = stocked();
    let seeds: Vec<u64> = promises.artifacts().collect();
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
        Met::Putting => {}
    }
    if !matches!(met, Met::Putting) && store.artifact(artifact(seed).key).unwrap().is_some() {
        wrong.push("its artifact resolves".to_owned());
    }
    store.put_bytes(&bytes).unwrap();
    wrong
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

/// What became of a store whose index is damaged.
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

/// Damages the index, or its log, of a copy of a store that was left in disorder.
fn indexes(plan: &Plan, random: &mut Random, report: &mut Report) {
    let (_dir, store, promises) = stocked();
    let mut tallies = [Tally::default(), Tally::default()];
    let asked = plan.of(60, 1200);
    let mut done = 0;
    while done < asked && !plan.is_over() {
        let which = random.below(2) as usize;
        let name = ["index.db", "index.db-wal"][which];
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
        befall(&copy.join(name), rot, b"another file", random);
        let when = format!("case {done}, {rot:?} in {name}");
        report.violate(&when, with_damaged_index(&copy, &promises, &mut tallies[which]));
        done += 1;
    }
    report.count_of(plan, "rot in indexes: cases", done, asked);
    for (name, tally) in ["index", "log of the index"].iter().zip(tallies) {
        report.count(format!("rot in the {name}: refused"), tally.refused);
        report.count(format!("rot in the {name}: found by verification"), tally.found);
        report.count(format!("rot in the {name}: without effect"), tally.harmless);
        report.count(format!("rot in the {name}: something gone unnoticed"), tally.unnoticed);
    }
}

fn with_damaged_index(path: &Path, promises: &Promises, tally: &mut Tally) -> Vec<String> {
    let Ok(store) = Store::open(path) else {
        tally.refused += 1;
        return Vec::new();
    };
    let broken = promises.clone().broken(&store);
    let found = store.verify().map_or(true, |report| !report.is_clean())
        || broken.iter().any(|broken| broken.starts_with("verify") || broken.contains("examined"));
    match (found, broken.is_empty()) {
        (true, _) => tally.found += 1,
        (false, true) => tally.harmless += 1,
        (false, false) => tally.unnoticed += 1,
    }
    broken.into_iter().filter(|broken| broken.contains("wrong bytes")).collect()
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
