//! The exact key, mutated: every input of a build that `docs/address.md` names is changed alone, and so is
//! everything it leaves out; real Portage plans before and after, and exactly the expected keys differ.
//!
//! `tests/README.md` says how a row is made. The table is printed into `target/mutations.md`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

#[path = "cli/tiny.rs"]
mod tiny;
#[path = "cli/world.rs"]
#[expect(dead_code, reason = "the suite that builds needs more of a world")]
mod world;

#[path = "mutations/classes.rs"]
mod classes;
#[path = "mutations/rows.rs"]
mod rows;
#[path = "mutations/specimens.rs"]
mod specimens;
#[path = "mutations/trial.rs"]
mod trial;

use trial::{Keys, Machine, Row, row};

/// Tries every row, on two machines at once; the lines of the table, or what is wrong with each wrong row.
fn try_all(rows: &[Row]) -> Result<Vec<String>, Vec<String>> {
    let next = Mutex::new(rows.iter().enumerate());
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut machine = Machine::new();
                loop {
                    let Some((number, row)) = next.lock().unwrap().next() else { break };
                    let outcome = machine.try_row(row);
                    outcomes.lock().unwrap().push((number, outcome));
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap();
    outcomes.sort_by_key(|(number, _)| *number);
    let wrong: Vec<String> = outcomes.iter().filter_map(|(_, outcome)| outcome.clone().err()).collect();
    if wrong.is_empty() {
        Ok(outcomes.into_iter().filter_map(|(_, outcome)| outcome.ok()).collect())
    } else {
        Err(wrong)
    }
}

/// Prints the table into `target/mutations.md`.
#[test]
fn each_input_moves_the_keys_it_concerns_and_nothing_else_moves_any() {
    let rows = rows::all();
    let lines = try_all(&rows).unwrap_or_else(|wrong| {
        panic!("{} of {} rows are wrong:\n{}", wrong.len(), rows.len(), wrong.join("\n"))
    });
    let mut table = format!(
        "Which keys of {} packages move with a change of …\n\n| class in address.md | change | keys that move |\n\
         |---|---|---|\n",
        specimens::PACKAGES.len()
    );
    lines.iter().for_each(|line| writeln!(table, "{line}").unwrap());
    fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("../mutations.md"), table).unwrap();
}

#[test]
fn every_class_that_address_md_names_has_a_row_and_every_row_a_class() {
    let document = fs::read_to_string(classes::DOCUMENT).unwrap();
    let wrong = classes::uncovered(&document, &rows::all());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_class_without_a_row_is_found() {
    let document = fs::read_to_string(classes::DOCUMENT).unwrap();
    let fields = "| 2 | features |";
    assert!(document.contains(fields));
    let more = document
        .replace(fields, &format!("| 0 | phase of the moon | text | |\n{fields}"))
        .replace("| merging |", "| weather | `RAIN` | why not |\n| merging |")
        .replace("`pkg-config`. They", "`pkg-config` `fortune`. They");
    let mut fewer = rows::all();
    fewer.retain(|row| !row.classes.iter().any(|class| class == "recipe: eclasses"));
    let wrong = classes::uncovered(&more, &fewer);
    let expected =
        ["surroundings: phase of the moon", "left out: weather", "toolchain: fortune", "recipe: eclasses"];
    assert_eq!(wrong.len(), expected.len(), "{wrong:?}");
    for class in expected {
        assert!(wrong.iter().any(|text| text.contains(class)), "{class}: {wrong:?}");
    }
    let gone = classes::uncovered(&document.replace(fields, "| 2 | fashions |"), &rows::all());
    assert!(gone.iter().any(|text| text.contains("surroundings: features")), "{gone:?}");
}

#[test]
fn a_row_that_says_something_else_is_found() {
    let changes = |world: &mut trial::Trial<'_>| world.make_conf("BRANDING=\"ours\"");
    let rows = [
        row("surroundings: environment", "too few", Keys::None, changes),
        row("surroundings: environment", "not all", Keys::Of(&["key-apps/plain"]), changes),
        row("surroundings: environment", "nothing happens", Keys::All, |_| {}),
        row("surroundings: environment", "another happens", Keys::Of(&["key-apps/plain"]), |trial| {
            trial.world.append("overlay/key-apps/heir/heir-1.ebuild", "# another\n");
        }),
        row("surroundings: environment", "right", Keys::All, changes),
    ];
    let wrong = try_all(&rows).unwrap_err();
    assert_eq!(wrong.len(), 4, "{wrong:?}");
    assert!(wrong[0].contains("too few") && wrong[0].contains("must stay: key-apps/binder"), "{}", wrong[0]);
    assert!(wrong[3].contains("must stay: key-apps/heir; must move: key-apps/plain"), "{}", wrong[3]);
}
