//! Backups of a store that is in use, and stores made from them.

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use buildswarm_store::{Error, Store};

use crate::load::Load;
use crate::plan::{Plan, Report};
use crate::promises::{Promises, whole};
use crate::scratch;

pub(crate) fn run(plan: &Plan) -> Report {
    let mut report = Report::default();
    let dir = scratch();
    let store = Store::open(dir.path().join("store")).unwrap();
    let promises = Mutex::new(Promises::default());
    let say = |line: &str| promises.lock().unwrap().hear(line);
    let mut load = Load::new(&store, 0, 0, &say);
    let asked = plan.of(5, 100);
    let mut done = 0;
    while done < asked && !plan.is_over() {
        load.everything().unwrap();
        let at_that_time = promises.lock().unwrap().clone();
        let (to, back) = (dir.path().join("copy"), dir.path().join("back"));
        let outcome = beside_another(&store, 1 + done, || {
            store.backup(&to)?;
            Store::restore(&to, &back)
        });
        let when = format!("backup {done}");
        match outcome {
            Ok(_) => report.violate(&when, unlike(&back, at_that_time)),
            Err(error) => report.violations.push(format!("{when}: {}", whole(&error))),
        }
        fs::remove_dir_all(&back).unwrap();
        done += 1;
    }
    report.count_of(plan, "backups under load, brought back", done, asked);
    report
}

/// What of the promises does not hold in a store that was brought back, nor when its index is made again.
fn unlike(back: &std::path::Path, mut promises: Promises) -> Vec<String> {
    let mut found = Vec::new();
    match Store::open(back) {
        Ok(store) => found.extend(promises.broken(&store)),
        Err(error) => return vec![format!("not opened: {}", whole(&error))],
    }
    promises.forget_history();
    match Store::rebuild(back).and_then(|_| Store::open(back)) {
        Ok(store) => found.extend(promises.broken(&store)),
        Err(error) => found.push(format!("no new index: {}", whole(&error))),
    }
    found
}

/// Does something while somebody else uses the store.
fn beside_another<T>(store: &Store, round: u64, act: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut other = Load::new(store, 1, round << 20, &|_| ());
            while !is_over.load(Ordering::Acquire) {
                match other.everything() {
                    // Collections are refused while a backup is made.
                    Ok(()) | Err(Error::GcRefused { .. }) => {}
                    Err(error) => panic!("{}", whole(&error)),
                }
            }
        });
        let outcome = act();
        is_over.store(true, Ordering::Release);
        outcome
    })
}
