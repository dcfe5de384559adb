//! A process that is killed at every point there is, and at moments that nobody chose.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use buildswarm_store::Store;
use buildswarm_store::faults::Weakness;
use tempfile::TempDir;

use crate::acts::{Act, copy_all};
use crate::child::Order;
use crate::content::files_in;
use crate::load::Load;
use crate::plan::{Plan, Report};
use crate::promises::{Promises, whole};
use crate::scratch;

/// Points that there must be, by name.
const POINTS_MIN: u64 = 60;

/// Times that a point is visited in the long tier, if it is reached that often by one load.
const VISITS_MAX: u64 = 6;

/// Kills after which a store is also collected, and those after which a new one takes its place: its index grows.
const COLLECT_EVERY: u64 = 10;
const STORE_KILLS_MAX: u64 = 300;

/// Loads in which a point is waited for.
const TRIES_MAX: u64 = 8;

/// How many use one store at most.
const CHANNELS_USED: u64 = 3;

/// A store whose users are killed one after the other.
struct Victim {
    _dir: TempDir,
    path: PathBuf,
    promises: Promises,
    round: u64,
}

/// When a child is killed from outside.
pub(crate) struct Moment {
    after_lines: u64,
    and: Duration,
}

/// How a child ended.
struct Ended {
    lived: bool,
    reached: BTreeMap<String, u64>,
}

impl Victim {
    fn new() -> Self {
        let dir = scratch();
        let path = dir.path().join("store");
        Self { _dir: dir, path, promises: Promises::default(), round: 0 }
    }

    fn order(&self) -> Order {
        Order::new(&self.path, self.round)
    }

    /// Lets a child use the store until it dies, and looks what is left.
    fn next(&mut self, order: &Order, moment: Option<&Moment>, report: &mut Report, when: &str) -> Ended {
        // Something that every opening has to remove.
        let left = self.path.join("tmp/left");
        if left.parent().is_some_and(Path::exists) {
            fs::write(left, b"left").unwrap();
        }
        let child = order.command().spawn().unwrap();
        let (child, reached) = hear(child, moment, &mut self.promises);
        let lived = child.success();
        if let Some(code) = child.code().filter(|code| *code != 0) {
            report.violations.push(format!("{when}: the child failed with {code}"));
        }
        report.violate(when, self.broken());
        self.round += 1;
        Ended { lived, reached }
    }

    fn broken(&mut self) -> Vec<String> {
        let store = match Store::open(&self.path) {
            Ok(store) => store,
            Err(error) => return vec![format!("the store does not open: {}", whole(&error))],
        };
        let mut broken = Vec::new();
        if files_in(&self.path.join("tmp")) > 0 {
            broken.push("something is left in tmp/".to_owned());
        }
        if self.round.is_multiple_of(COLLECT_EVERY) {
            self.thin_out(&store);
            broken.extend(self.promises.broken_even_after_collection(&store));
        } else {
            broken.extend(self.promises.broken(&store));
        }
        broken
    }

    /// Removes what loads that were killed early did not come to remove.
    fn thin_out(&mut self, store: &Store) {
        let promises = Mutex::new(std::mem::take(&mut self.promises));
        let say = |line: &str| promises.lock().unwrap().hear(line);
        for channel in 0..CHANNELS_USED {
            let mut load = Load::new(store, channel, 0, &say);
            load.inherit();
            load.thin_out().unwrap();
        }
        self.promises = promises.into_inner().unwrap();
    }
}

/// Hears a child until it ends, by itself or because of `moment`.
pub(crate) fn hear(
    mut child: Child,
    moment: Option<&Moment>,
    promises: &mut Promises,
) -> (ExitStatus, BTreeMap<String, u64>) {
    let mut reached = BTreeMap::new();
    let mut heard = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        match line.strip_prefix("reached ").and_then(|rest| rest.rsplit_once(' ')) {
            Some((name, times)) => drop(reached.insert(name.to_owned(), times.parse().unwrap())),
            None => promises.hear(&line),
        }
        heard += 1;
        if let Some(moment) = moment
            && moment.after_lines == heard
        {
            thread::sleep(moment.and);
            child.kill().unwrap();
        }
    }
    (child.wait().unwrap(), reached)
}

pub(crate) fn run(plan: &Plan) -> Report {
    let mut report = Report::default();
    let (points, mut kills) = at_every_point(plan, &mut report);
    report.count_of(plan, "points to be killed at", points, POINTS_MIN);
    row_first(&mut report);
    kills += at_any_moment(plan, plan.of(25, 2000 - kills.min(1500)), &mut report);
    report.count_of(plan, "kills", kills, plan.of(150, 2000));
    report
}

/// How many points there are, and how many kills there were.
fn at_every_point(plan: &Plan, report: &mut Report) -> (u64, u64) {
    let mut victim = Victim::new();
    let first = victim.next(&victim.order(), None, report, "undisturbed");
    let second = victim.next(&victim.order(), None, report, "undisturbed again");
    assert!(first.lived && second.lived, "{:?}", report.violations);
    let visits_max = plan.of(1, VISITS_MAX);
    let mut kills = 0;
    for (name, nth) in visits(visits_max, second.reached.iter()) {
        if plan.is_over() {
            break;
        }
        kills += kill_at(&mut victim, &name, nth, report);
    }
    let mut names: BTreeSet<String> = second.reached.into_keys().collect();
    for act in Act::ALL {
        kills += at_every_point_of(plan, act, visits_max, &mut names, report);
    }
    (names.len() as u64, kills)
}

/// The same for what is done to a store that nobody has open.
fn at_every_point_of(
    plan: &Plan,
    act: Act,
    visits_max: u64,
    names: &mut BTreeSet<String>,
    report: &mut Report,
) -> u64 {
    let dir = scratch();
    let prepared = dir.path().join("prepared");
    let promises = act.prepare(&prepared);
    let mut kills = 0;
    let mut carry_out = |die: Option<(String, u64)>| {
        let path = dir.path().join(format!("store-{kills}"));
        kills += 1;
        copy_all(&prepared, &path);
        let order = Order { act: Some(act), die, ..Order::new(&path, 0) };
        let (status, reached) = hear(order.command().spawn().unwrap(), None, &mut Promises::default());
        (path, status, reached)
    };
    let (_, status, reached) = carry_out(None);
    assert!(status.success(), "{} fails by itself", act.name());
    for (name, nth) in visits(visits_max, reached.iter()) {
        if plan.is_over() {
            break;
        }
        let when = format!("killed at {name}, time {nth}");
        let (path, status, _) = carry_out(Some((name, nth)));
        if status.success() {
            report.violations.push(format!("{when}: it was not reached"));
        }
        match act.finish(&path) {
            Ok(store) => report.violate(&when, promises.clone().broken(&store)),
            Err(error) => report.violations.push(format!("{when}: for good: {}", whole(&error))),
        }
        fs::remove_dir_all(path).unwrap();
    }
    names.extend(reached.into_keys());
    kills - 1
}

/// Each point as often as it is reached, but not more often than `visits_max`.
pub(crate) fn visits<'a>(
    visits_max: u64,
    points: impl Iterator<Item = (&'a String, &'a u64)>,
) -> Vec<(String, u64)> {
    points.flat_map(|(name, times)| (1..=visits_max.min(*times)).map(|nth| (name.clone(), nth))).collect()
}

fn kill_at(victim: &mut Victim, name: &str, nth: u64, report: &mut Report) -> u64 {
    let when = format!("killed at {name}, time {nth}");
    // Whether there is a pack to be written anew, for instance, depends on what the loads before left.
    for _ in 0..TRIES_MAX {
        let order = Order { die: Some((name.to_owned(), nth)), ..victim.order() };
        if !victim.next(&order, None, report, &when).lived {
            return 1;
        }
    }
    report.violations.push(format!("{when}: it was not reached"));
    0
}

/// The suite itself: a row that is written before its file must be seen when the process dies in between.
fn row_first(report: &mut Report) {
    let mut ignored = Report::default();
    let order = |victim: &Victim| {
        let die = Some(("put-large/sync-temp/before".to_owned(), 1));
        Order { weakness: Some(Weakness::RowFirst), die, ..victim.order() }
    };
    let mut victim = Victim::new();
    victim.next(&order(&victim), None, &mut ignored, "row first");
    report.control("row before file, killed in between", u64::from(!ignored.violations.is_empty()), 1);
}

/// Several at once use one store, again and again.
fn at_any_moment(plan: &Plan, kills: u64, report: &mut Report) -> u64 {
    let mut random = plan.random();
    let mut victim = Victim::new();
    for kill in 0..kills {
        if plan.is_over() {
            return kill;
        }
        if kill % STORE_KILLS_MAX == STORE_KILLS_MAX - 1 {
            victim = Victim::new();
        }
        let order = Order { threads: 1 + kill % CHANNELS_USED, times: u64::MAX, ..victim.order() };
        let and = Duration::from_micros(random.below(4000));
        let moment = Moment { after_lines: 1 + random.below(30), and };
        let when = format!("kill {kill}, {:?} after line {}", moment.and, moment.after_lines);
        victim.next(&order, Some(&moment), report, &when);
    }
    kills
}
