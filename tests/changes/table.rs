//! The tests, and the tables they write.

use std::fmt::Write as _;
use std::fs;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::Mutex;

use super::catalogue::{self, Change};
use super::measure::{Names, Outcome, PACKAGES, measure};

/// Whether the whole catalogue was asked for.
fn everything() -> bool {
    std::env::var("BUILDSWARM_CHANGES").is_ok_and(|value| value == "all")
}

/// Only changes whose name contains one of these, which stand between `|`.
fn only() -> String {
    std::env::var("BUILDSWARM_CHANGE").unwrap_or_default()
}

fn chosen() -> Vec<&'static Change> {
    let (everything, only) = (everything(), only());
    let is_chosen = |change: &&Change| {
        (everything || change.is_short) && only.split('|').any(|text| change.name.contains(text))
    };
    catalogue::all().filter(is_chosen).collect()
}

/// Measures two at a time; a change that cannot be measured is named, and the others go on.
fn measure_all(changes: &[&'static Change]) -> (Vec<Outcome>, Vec<String>) {
    let next = Mutex::new(changes.iter().enumerate());
    let outcomes = Mutex::new(Vec::new());
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some((number, change)) = next.lock().unwrap().next() else { break };
                    match catch_unwind(|| measure(change)) {
                        Ok(outcome) => {
                            eprintln!("{}", table(std::slice::from_ref(&outcome)).lines().nth(5).unwrap());
                            outcomes.lock().unwrap().push((number, outcome));
                        }
                        Err(_) => failures.lock().unwrap().push(format!("{}: panicked", change.name)),
                    }
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap();
    outcomes.sort_unstable_by_key(|(number, _)| *number);
    let outcomes = outcomes.into_iter().map(|(_, outcome)| outcome).collect();
    (outcomes, failures.into_inner().unwrap())
}

fn listed(names: &Names) -> String {
    match names.len() {
        0 => "–".to_owned(),
        PACKAGES => "all".to_owned(),
        _ => names.iter().map(String::as_str).collect::<Vec<_>>().join(" "),
    }
}

fn table(outcomes: &[Outcome]) -> String {
    let mut table = format!(
        "What is built again of {PACKAGES} packages after a change, under each policy and by stock emerge;\n\
         and what comes out different from a build from scratch.\n\n\
         | change | exact | interface | slot | emerge | different | which are different | \
         kept by emerge though different | built by interface though the same | \
         reused by interface though different | why |\n\
         |---|---:|---:|---:|---:|---:|---|---|---|---|---|\n"
    );
    for Outcome { change, exact, interface, slot, emerge, needed, wrong } in outcomes {
        let counts =
            [exact, interface, slot, emerge, needed].map(|names| names.len().to_string()).join(" | ");
        let without = |from: &Names, names: &Names| -> Names { from.difference(names).cloned().collect() };
        let sets =
            [needed, &without(needed, emerge), &without(interface, needed), wrong].map(listed).join(" | ");
        writeln!(table, "| {} | {counts} | {sets} | {} |", change.name, change.reason).unwrap();
    }
    let sum = |count: fn(&Outcome) -> usize| outcomes.iter().map(count).sum::<usize>();
    writeln!(
        table,
        "\nTogether {} changes: built again {} (exact), {} (interface), {} (slot), {} (emerge); different {}.\n\
         Reused though different: {} (interface), {} (slot), {} (emerge).",
        outcomes.len(),
        sum(|outcome| outcome.exact.len()),
        sum(|outcome| outcome.interface.len()),
        sum(|outcome| outcome.slot.len()),
        sum(|outcome| outcome.emerge.len()),
        sum(|outcome| outcome.needed.len()),
        sum(|outcome| outcome.wrong.len()),
        sum(|outcome| outcome.needed.difference(&outcome.slot).count()),
        sum(|outcome| outcome.needed.difference(&outcome.emerge).count()),
    )
    .unwrap();
    table
}

fn write(name: &str, text: &str) {
    fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("..").join(name), text).unwrap();
}

fn expected(said: &str, all: &Names) -> Names {
    if said == catalogue::ALL { all.clone() } else { names(said) }
}

/// Prints the table into `target/comparison.md`, or `target/soundness.md` if it is of the whole catalogue.
#[test]
fn what_differs_is_built_again() {
    let (outcomes, mut wrong) = measure_all(&chosen());
    write(if everything() { "soundness.md" } else { "comparison.md" }, &table(&outcomes));
    for outcome in &outcomes {
        wrong.extend(faults(outcome).into_iter().map(|fault| format!("{}: {fault}", outcome.change.name)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is not as it must be.
fn faults(outcome: &Outcome) -> Vec<String> {
    let Outcome { change, exact, interface, emerge, needed, wrong, .. } = outcome;
    let surplus: Names =
        interface.difference(needed).filter(|name| !emerge.contains(*name)).cloned().collect();
    let beyond: Names = interface.difference(exact).cloned().collect();
    let mut faults = Vec::new();
    let mut held = |what: &str, found: &Names, said: &Names| {
        if found != said {
            faults.push(format!("{what}: {}; expected {}", listed(found), listed(said)));
        }
    };
    held("built again under exact", exact, &expected(change.exact, exact));
    held("different", needed, &expected(change.needed, exact));
    held("reused under interface though different", wrong, &Names::new());
    held(
        "built again under interface though neither different nor built by emerge",
        &surplus,
        &expected(change.surplus, exact),
    );
    held("built again under interface and not under exact", &beyond, &Names::new());
    faults
}

fn names(text: &str) -> Names {
    text.split_whitespace().map(str::to_owned).collect()
}

/// An outcome that is as it must be.
fn outcome() -> Outcome {
    const ADDED: &Change =
        &catalogue::change("a function added", |_| {}, "library user other", "library user")
            .surplus("other", "…");
    Outcome {
        change: ADDED,
        exact: names("library user other"),
        interface: names("library user other"),
        slot: names("library"),
        emerge: Names::new(),
        needed: names("library user"),
        wrong: Names::new(),
    }
}

#[test]
fn a_key_that_is_not_sound_is_a_fault() {
    assert_eq!(faults(&outcome()), Vec::<String>::new());
    let wrong = Outcome { wrong: names("user"), ..outcome() };
    assert_eq!(faults(&wrong), ["reused under interface though different: user; expected –"]);
    let unnoticed = Outcome { needed: names("library"), ..outcome() };
    assert!(faults(&unnoticed)[0].starts_with("different: library; expected library user"));
}

#[test]
fn a_build_for_nothing_is_a_fault_unless_a_reason_is_stated() {
    const WITHOUT: &Change =
        &catalogue::change("a function added", |_| {}, "library user other", "library user");
    let unstated = Outcome { change: WITHOUT, ..outcome() };
    assert_eq!(faults(&unstated).len(), 1, "{:?}", faults(&unstated));
    let emerge_too = Outcome { change: WITHOUT, emerge: names("other"), ..outcome() };
    assert_eq!(faults(&emerge_too), Vec::<String>::new());
    let beyond = Outcome { exact: names("library user"), ..outcome() };
    assert!(faults(&beyond).iter().any(|fault| fault.ends_with("not under exact: other; expected –")));
}

#[test]
fn every_change_has_a_name_of_its_own_and_says_why() {
    let all: Vec<&Change> = catalogue::all().collect();
    let distinct: std::collections::BTreeSet<&str> = all.iter().map(|change| change.name).collect();
    assert!(distinct.len() == all.len() && all.len() >= 60, "{}", all.len());
    for change in all {
        assert_eq!(change.surplus.is_empty(), change.reason.is_empty(), "{}", change.name);
    }
}
