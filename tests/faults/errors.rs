//! Every step of every operation fails, with every kind of error, once and for good.
//!
//! Whoever asked must be told, every promise must be kept, and as soon as steps succeed again everything must work,
//! in the same process.

use std::sync::Mutex;

use buildswarm_store::faults::{self, At, Fault, Kind, Then, Watched, Weakness};
use buildswarm_store::{Error, Result, Store};

use crate::acts::{Act, copy_all};
use crate::load::{Load, Verb, verbs};
use crate::plan::{Plan, Report};
use crate::promises::{Promises, whole};
use crate::scratch;

/// What puts something.
const PUTS: [&str; 8] = ["put-", "commit", "batch", "tree", "root", "sign", "heal", "generation"];

/// What tells of single files in a report, or as the reason why a tree was not made.
const REPORTS: [&str; 4] = ["verify/", "rebuild/", "restore/", "materialise/"];

/// What reads directories of trees.
const READS_TREES: [&str; 3] = ["materialise/read-file/", "root-tree/read-file/", "collect/read-file/"];

/// Cases after which a new store takes the place of one that has grown.
const CASES_OF_A_STORE: u64 = 150;

/// Cases that there must be, in the short and in the long tier.
const CASES_MIN: (u64, u64) = (600, 3000);

pub(crate) fn run(plan: &Plan) -> Report {
    let mut report = Report::default();
    let mut bench = Bench::default();
    for (way, distance) in ways(plan) {
        bench.distance = distance;
        for verb in verbs() {
            bench.every_step(plan, &verb, way, &mut report);
        }
        for act in Act::ALL {
            bench.every_step_of(plan, act, way, &mut report);
        }
    }
    report.count_of(plan, "I/O errors: cases", bench.cases, plan.of(CASES_MIN.0, CASES_MIN.1));
    swallowed(&mut report);
    report
}

/// A kind of error, and whether it stays.
type Way = (Kind, bool);

/// Each with the distance of the steps that fail: the short tier leaves out some.
fn ways(plan: &Plan) -> Vec<(Way, u64)> {
    if !plan.is_long() {
        return vec![((Kind::Io, false), 1), ((Kind::NoSpace, true), 5), ((Kind::ShortWrite, false), 5)];
    }
    Kind::ALL.into_iter().flat_map(|kind| [((kind, false), 1), ((kind, true), 1)]).collect()
}

#[derive(Default)]
struct Bench {
    cases: u64,
    /// How far the steps are apart that fail.
    distance: u64,
}

impl Bench {
    /// Lets step after step of a verb fail, until it is through.
    fn every_step(&mut self, plan: &Plan, verb: &Verb<'_>, way: Way, report: &mut Report) {
        let mut number = 0;
        while !plan.is_over() {
            let dir = scratch();
            let store = Store::open(dir.path().join("store")).unwrap();
            let promises = Mutex::new(Promises::default());
            let say = |line: &str| promises.lock().unwrap().hear(line);
            let mut load = Load::new(&store, 0, 0, &say);
            load.everything().unwrap();
            for _ in 0..CASES_OF_A_STORE {
                let when = format!("{} when step {number} fails with {way:?}", verb.0);
                load.prepare(verb.0).unwrap();
                faults::label(verb.0);
                let (outcome, watched) = failing(way, number, || verb_by_name(verb.0)(&mut load));
                load = load.successor();
                report.violate(&when, unlike(way, &outcome, &watched));
                report.violate(&when, promises.lock().unwrap().broken(&store));
                load.prepare(verb.0).unwrap();
                if let Err(error) = verb_by_name(verb.0)(&mut load) {
                    report.violations.push(format!("{when}: it fails afterwards too: {}", whole(&error)));
                }
                if watched.struck.is_none() {
                    return;
                }
                self.cases += 1;
                number += self.distance;
            }
        }
    }

    /// The same for what is done to a store that nobody has open.
    fn every_step_of(&mut self, plan: &Plan, act: Act, way: Way, report: &mut Report) {
        let template = scratch();
        let prepared = template.path().join("store");
        let promises = act.prepare(&prepared);
        faults::label(act.name());
        for number in (0..).step_by(self.distance as usize) {
            if plan.is_over() {
                return;
            }
            let dir = scratch();
            let path = dir.path().join("store");
            copy_all(&prepared, &path);
            let (outcome, watched) = failing(way, number, || act.carry_out(&path));
            let when = format!("{} when step {number} fails with {way:?}", act.name());
            report.violate(&when, unlike(way, &outcome, &watched));
            match act.finish(&path) {
                Ok(store) => report.violate(&when, promises.clone().broken(&store)),
                Err(error) => report.violations.push(format!("{when}: for good: {}", whole(&error))),
            }
            if watched.struck.is_none() {
                break;
            }
            self.cases += 1;
        }
    }
}

/// The verb again, for a load of another store.
fn verb_by_name<'a>(name: &str) -> fn(&mut Load<'a>) -> Result<()> {
    verbs().into_iter().find(|(found, _)| *found == name).unwrap().1
}

/// Does something while the step with this number fails.
fn failing<T>(way: Way, number: u64, act: impl FnOnce() -> Result<T>) -> (Result<T>, Watched) {
    let (kind, sticky) = way;
    faults::arm(Fault { at: At::Number(number), then: Then::Fail(kind), sticky });
    let outcome = act();
    (outcome, faults::disarm())
}

/// What is wrong with what somebody was told.
fn unlike(way: Way, outcome: &Result<()>, watched: &Watched) -> Option<String> {
    match (outcome, &watched.struck) {
        (Ok(()), None) => None,
        (Err(error), None) => Some(format!("it fails though nothing does: {}", whole(error))),
        // A stored copy that cannot be read is replaced by a put, which has the right bytes.
        (Ok(()), Some(at)) if at.contains("-file/") && PUTS.iter().any(|verb| at.starts_with(verb)) => None,
        // A directory of a tree in a pack is read a second time, as any blob.
        (Ok(()), Some(at)) if READS_TREES.iter().any(|verb| at.starts_with(verb)) => None,
        // It only spares work.
        (Ok(()), Some(at)) if at.contains("/write-cache/") => None,
        // It is copied where it cannot get a second name.
        (Ok(()), Some(at)) if at.contains("/link/") => None,
        // Whoever reads damaged bytes is told that they are, whether or not they could be set aside.
        (Ok(()), Some(at)) if at.starts_with("damage/") => None,
        (Ok(()), Some(at)) => Some(format!("nobody was told of {at}")),
        // A restoration says which blobs it could not carry, not why.
        (Err(error), Some(at)) if !at.starts_with("restore/") && !tells(error, way.0) => {
            Some(format!("{:?} is told as: {}", way.0, whole(error)))
        }
        (Err(Error::NoSpace { .. }), Some(_)) => match way.0 {
            Kind::NoSpace | Kind::Quota => None,
            other => Some(format!("{other:?} is told as a full disk")),
        },
        (Err(error), Some(at)) => match way.0 {
            Kind::NoSpace | Kind::Quota if !REPORTS.iter().any(|act| at.starts_with(act)) => {
                Some(format!("a full disk is told as: {}", whole(error)))
            }
            _ => None,
        },
    }
}

/// Whether an error says what happened.
fn tells(error: &Error, kind: Kind) -> bool {
    let said = match kind {
        Kind::Io => "os error 5)",
        Kind::NoSpace => "os error 28)",
        Kind::Quota => "os error 122)",
        Kind::TooManyFiles => "os error 24)",
        Kind::ShortWrite => "a write ended halfway",
    };
    whole(error).contains(said)
}

/// The suite itself: errors that nobody is told of must be seen.
fn swallowed(report: &mut Report) {
    faults::weaken(&[Weakness::SwallowedErrors]);
    let (mut seen, mut cases) = (0, 0);
    loop {
        let dir = scratch();
        let store = Store::open(dir.path()).unwrap();
        let promises = Mutex::new(Promises::default());
        let say = |line: &str| promises.lock().unwrap().hear(line);
        let mut load = Load::new(&store, 0, 0, &say);
        faults::label("put-large");
        let way = (Kind::ShortWrite, false);
        let (outcome, watched) = failing(way, cases, || verb_by_name("put-large")(&mut load));
        if watched.struck.is_none() {
            break;
        }
        cases += 1;
        let broken = promises.lock().unwrap().broken(&store);
        seen += u64::from(unlike(way, &outcome, &watched).is_some() || !broken.is_empty());
    }
    faults::weaken(&[]);
    report.control("errors swallowed", seen, cases);
}
