//! Disks that are really full, in bytes or in files, and a process that may not write more.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use buildswarm_store::{Error, Store};

use crate::child::Order;
use crate::content::content;
use crate::kill::hear;
use crate::load::Load;
use crate::plan::{Plan, Report};
use crate::promises::{Promises, whole};
use crate::scratch;

/// Sizes of the disks that are filled, in MiB: too small to begin with, too small to use, and one that fills up.
const SIZES_MIB: [u64; 3] = [1, 8, 64];

/// Files that a disk may have which does not even have room for the directories of a store.
const FILES: &str = "nr_inodes=20";

/// What a file may have in a process that is limited, in units of 512 bytes: enough to make a store.
const BLOCKS: u64 = 2000;

pub(crate) fn run(_: &Plan) -> Report {
    let mut report = Report::default();
    limited(&mut report);
    let dir = scratch();
    if !mount(dir.path(), "size=1m") {
        report.skipped = Some("full disks: mounting a small one takes root".to_owned());
        return report;
    }
    assert!(unmount(dir.path()));
    for size in SIZES_MIB {
        full(dir.path(), &format!("size={size}m"), &mut report);
    }
    full(dir.path(), FILES, &mut report);
    report.count("disks filled", SIZES_MIB.len() as u64 + 1);
    report
}

fn mount(at: &Path, option: &str) -> bool {
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", option, "tmpfs"])
        .arg(at)
        .stderr(Stdio::null())
        .status();
    mount.is_ok_and(|status| status.success())
}

fn unmount(at: &Path) -> bool {
    Command::new("umount").arg(at).status().is_ok_and(|status| status.success())
}

fn enlarge(at: &Path) {
    let option = "remount,size=256m,nr_inodes=100000";
    assert!(Command::new("mount").args(["-o", option]).arg(at).status().unwrap().success());
}

/// Fills a disk, and makes it larger.
fn full(at: &Path, option: &str, report: &mut Report) {
    assert!(mount(at, option));
    let path = at.join("store");
    let promises = Mutex::new(Promises::default());
    let say = |line: &str| promises.lock().unwrap().hear(line);
    match Store::open(&path) {
        Ok(store) => {
            let mut load = Load::new(&store, 0, 0, &say);
            report.violate(option, load.everything().err().and_then(|error| not_full(&error)));
            let error = (1 << 20..).find_map(|seed| store.put_bytes(&content(seed)).err()).unwrap();
            report.violate(option, not_full(&error));
            report.violate(option, promises.lock().unwrap().broken(&store));
            // Nothing at all is left.
            let ballast = at.join("ballast");
            fs::write(&ballast, vec![1; 256 << 20]).unwrap_err();
            for error in (0..20).filter_map(|_| load.successor().everything().err()) {
                report.violate(option, not_full(&error));
            }
            fs::remove_file(ballast).unwrap();
            enlarge(at);
            if let Err(error) = load.successor().everything() {
                report.violations.push(format!("{option}: not after there is room: {}", whole(&error)));
            }
            report.violate(option, promises.lock().unwrap().broken(&store));
        }
        Err(error) => {
            report.violate(option, not_full(&error));
            enlarge(at);
            if let Err(error) = Store::open(&path) {
                report.violations.push(format!("{option}: not opened when there is room: {}", whole(&error)));
            }
        }
    }
    if !unmount(at) {
        report.violations.push(format!("{option}: something is still open"));
    }
}

fn not_full(error: &Error) -> Option<String> {
    (!matches!(error, Error::NoSpace { .. })).then(|| format!("a full disk is told as: {}", whole(error)))
}

/// A process whose files may not grow: it fails and goes on, and what it was promised is there.
fn limited(report: &mut Report) {
    let dir = scratch();
    let order = Order { times: 5, goes_on: true, ..Order::new(&dir.path().join("store"), 0) };
    let mut shell = Command::new("sh");
    // A process that does not ignore the signal would be killed by it.
    let script = format!("trap '' XFSZ; ulimit -f {BLOCKS}; exec \"$0\"");
    shell.arg("-c").arg(script).arg(env::current_exe().unwrap());
    let child = order.command_through(shell).spawn().unwrap();
    let mut promises = Promises::default();
    let (status, _) = hear(child, None, &mut promises);
    if !status.success() {
        report.violations.push(format!("files may not grow: the process ended with {status}"));
    }
    let store = Store::open(dir.path().join("store")).unwrap();
    report.violate("files may not grow", promises.broken(&store));
    if promises.failures == 0 {
        report.violations.push("files may not grow: nothing failed".to_owned());
    }
}
