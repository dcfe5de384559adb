//! Does the store keep its promises when everything around it fails? `docs/reliability.md` says what is tried.
//!
//! `cargo test -p buildswarm-tests --test faults` is the short tier, `make soak` the long one. Names of suites restrict
//! it to these.

#![expect(clippy::unwrap_used, reason = "clippy sees tests in test functions only, and here are none")]

#[path = "faults/acts.rs"]
mod acts;
#[path = "faults/backup.rs"]
mod backup;
#[path = "faults/child.rs"]
mod child;
#[path = "faults/content.rs"]
mod content;
#[path = "faults/conversion.rs"]
mod conversion;
#[path = "faults/disks.rs"]
mod disks;
#[path = "faults/errors.rs"]
mod errors;
#[path = "faults/index.rs"]
mod index;
#[path = "faults/kill.rs"]
mod kill;
#[path = "faults/load.rs"]
mod load;
#[path = "faults/plan.rs"]
mod plan;
#[path = "faults/power.rs"]
mod power;
#[path = "faults/promises.rs"]
mod promises;
#[path = "faults/recorder.rs"]
mod recorder;
#[path = "faults/rot.rs"]
mod rot;

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Instant;

use plan::{Plan, Report};
use tempfile::TempDir;

struct Suite {
    name: &'static str,
    run: fn(&Plan) -> Report,
    /// Mounts something: it gets mounts of its own, which end with it however it ends.
    mounts: bool,
}

/// By themselves on one processor each.
const LANES: [&[Suite]; 2] = [
    &[Suite { name: "power", run: power::run, mounts: true }],
    &[
        Suite { name: "kill", run: kill::run, mounts: false },
        Suite { name: "errors", run: errors::run, mounts: false },
        Suite { name: "disks", run: disks::run, mounts: true },
        Suite { name: "rot", run: rot::run, mounts: false },
        Suite { name: "backup", run: backup::run, mounts: false },
        Suite { name: "conversion", run: conversion::run, mounts: false },
        Suite { name: "index", run: index::run, mounts: false },
    ],
];

/// The variable that tells this program to be one suite.
const SUITE: &str = "BUILDSWARM_FAULTS_SUITE";

/// The variable that tells where temporary directories are made.
const SCRATCH: &str = "BUILDSWARM_FAULTS_SCRATCH";

/// What stands before a figure that a suite tells.
const FIGURE: &str = "figure\t";

/// Violations of a suite that are told: the first ones say it.
const TOLD_MAX: usize = 20;

fn main() -> ExitCode {
    if let Some(order) = child::Order::given() {
        order.carry_out();
        return ExitCode::SUCCESS;
    }
    let plan = Plan::given();
    if let Ok(wanted) = env::var(SUITE) {
        let suite = LANES.into_iter().flatten().find(|suite| suite.name == wanted).unwrap();
        return tell(&plan, &(suite.run)(&plan));
    }
    let wanted: Vec<String> = env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let is_wanted = |suite: &&Suite| wanted.is_empty() || wanted.iter().any(|name| suite.name.contains(name));
    let scratch = scratch();
    let lane = |suites: &[Suite]| -> Vec<Told> {
        suites.iter().filter(is_wanted).map(|suite| run(suite, &plan, scratch.path())).collect()
    };
    let told: Vec<Told> = thread::scope(|scope| {
        let lanes = LANES.map(|suites| scope.spawn(move || lane(suites)));
        lanes.into_iter().flat_map(|lane| lane.join().unwrap()).collect()
    });
    print_figures(&told);
    if told.iter().all(|told| told.is_green) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What a suite told.
struct Told {
    is_green: bool,
    figures: Vec<(String, String)>,
}

/// Runs a suite in a process of its own.
fn run(suite: &Suite, plan: &Plan, scratch: &Path) -> Told {
    let begun = Instant::now();
    let program = env::current_exe().unwrap();
    let mut command = if suite.mounts && can_unshare() { unshare(&program) } else { Command::new(&program) };
    let output = command
        .env(SUITE, suite.name)
        .env(SCRATCH, scratch)
        .envs(plan.variables())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let (figures, others): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with(FIGURE));
    let outcome = if output.status.success() { "ok" } else { "FAILED" };
    println!("{}: {outcome}, {:.1} s", suite.name, begun.elapsed().as_secs_f32());
    others.iter().for_each(|line| println!("    {line}"));
    let figures = figures
        .iter()
        .filter_map(|line| line.strip_prefix(FIGURE)?.split_once('\t'))
        .map(|(what, number)| (what.to_owned(), number.to_owned()))
        .collect();
    Told { is_green: output.status.success(), figures }
}

fn unshare(program: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]).arg(program);
    command
}

fn can_unshare() -> bool {
    let probe = unshare(Path::new("true")).stderr(Stdio::null()).status();
    probe.is_ok_and(|status| status.success())
}

fn print_figures(told: &[Told]) {
    println!("\n| what | how many |\n|---|---|");
    for (what, number) in told.iter().flat_map(|told| &told.figures) {
        println!("| {what} | {number} |");
    }
}

/// Says what a suite found, to the process that started it.
fn tell(plan: &Plan, report: &Report) -> ExitCode {
    if let Some(why) = &report.skipped {
        println!("skipped: {why}");
    }
    for (what, number) in &report.figures {
        println!("{FIGURE}{what}\t{number}");
    }
    for violation in report.violations.iter().take(TOLD_MAX) {
        println!("{violation}");
    }
    println!("{FIGURE}**violations**\t{}", report.violations.len());
    if report.violations.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("{} violations; the same again: {}", report.violations.len(), plan.replay());
    ExitCode::FAILURE
}

/// A directory on the fastest file system there is: what a killed process wrote stays, whatever it lies on.
fn scratch() -> TempDir {
    let shared_memory = || Some(PathBuf::from("/dev/shm")).filter(|path| path.is_dir());
    let parent = env::var_os(SCRATCH).map(PathBuf::from).or_else(shared_memory).unwrap_or_else(env::temp_dir);
    tempfile::Builder::new().prefix("buildswarm-faults-").tempdir_in(parent).unwrap()
}
