//! Does the store keep its promises when everything around it fails? `docs/reliability.md` says what is tried.
//!
//! `cargo test -p buildswarm-tests --test faults` is the short tier, `make soak` the long one. Names of suites restrict
//! it to these.

#![expect(clippy::unwrap_used, reason = "clippy sees tests in test functions only, and here are none")]

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
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use plan::{Plan, Report};
use tempfile::TempDir;

/// A suite, and whether it needs mounts of its own.
type Suite = (&'static str, fn(&Plan) -> Report);

const SUITES: &[Suite] = &[
    ("errors", errors::run),
    ("kill", kill::run),
    ("power", power::run),
    ("rot", rot::run),
    ("conversion", conversion::run),
    ("index", index::run),
    ("disks", disks::run),
];

/// The variable that tells this program to be one suite.
const SUITE: &str = "BUILDSWARM_FAULTS_SUITE";

fn main() -> ExitCode {
    if let Some(order) = child::Order::given() {
        order.carry_out();
        return ExitCode::SUCCESS;
    }
    let plan = Plan::given();
    if let Ok(wanted) = env::var(SUITE) {
        let (_, suite) = SUITES.iter().find(|(name, _)| *name == wanted).unwrap();
        return tell(&plan, &suite(&plan));
    }
    let wanted: Vec<String> = env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let mut is_red = false;
    for (name, _) in SUITES {
        if wanted.is_empty() || wanted.iter().any(|wanted| name.contains(wanted.as_str())) {
            let begun = Instant::now();
            let status =
                itself(["power", "disks"].contains(name)).env(SUITE, name).stdin(Stdio::null()).status();
            is_red |= !status.unwrap().success();
            println!("{name}: {:.1} s", begun.elapsed().as_secs_f32());
        }
    }
    if is_red { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// This program; with mounts of its own, which end with it, if it is to mount something.
fn itself(mounts: bool) -> Command {
    let program = env::current_exe().unwrap();
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--propagation", "private"]);
    let can_unshare =
        |unshare: &mut Command| unshare.arg("true").status().is_ok_and(|status| status.success());
    let _ = can_unshare;
    if mounts {
        unshare.arg(program);
        return unshare;
    }
    Command::new(program)
}

fn tell(plan: &Plan, report: &Report) -> ExitCode {
    if let Some(why) = &report.skipped {
        println!("skipped: {why}");
    }
    for (what, found, asked) in &report.figures {
        println!("{what}: {found} of {asked:?}");
    }
    for violation in report.violations.iter().take(20) {
        println!("{violation}");
    }
    if report.violations.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("{} violations; to try the same again: {} …", report.violations.len(), plan.replay());
    ExitCode::FAILURE
}

/// A directory on the fastest file system there is: what a killed process wrote stays, whatever it lies on.
fn scratch() -> TempDir {
    let shared_memory = Path::new("/dev/shm");
    let parent = if shared_memory.is_dir() { shared_memory.to_owned() } else { env::temp_dir() };
    tempfile::Builder::new().prefix("buildswarm-faults-").tempdir_in(parent).unwrap()
}
