//! The classes of inputs, and of what is none, as `docs/address.md` lists them.
//!
//! This is the proof of completeness: the document is read, not copied, so a row that is added to one of its tables
//! without a mutation here turns the suite red.

use std::collections::BTreeSet;

use crate::trial::Row;

/// The document.
pub(crate) const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/address.md");

const ENCODING: &str = "core/src/spec/tests.rs";
const REUSE: &str = "core/src/plan/tests/keys.rs";
const EVERY_FIELD: &str = "fn every_field_reaches_the_key_and_is_named_when_it_differs(";
const WHAT_REACHES: &str = "fn what_can_reach_a_build_moves_its_reuse_key_and_nothing_else(";

/// What no change to a machine can change alone, or no exact key has, with the test that changes it.
const ENCODED: [(&str, &str, &str); 7] = [
    ("specification: format", ENCODING, "fn the_first_bytes_are_pinned("),
    ("specification: policy", ENCODING, "fn keys_of_different_policies_never_meet("),
    ("specification: inputs", ENCODING, EVERY_FIELD),
    ("inputs: surroundings", ENCODING, EVERY_FIELD),
    ("dependencies: interface", REUSE, WHAT_REACHES),
    ("dependencies: payload", REUSE, WHAT_REACHES),
    ("dependencies: tool", REUSE, WHAT_REACHES),
];

/// The text from a heading to the next.
fn section<'a>(document: &'a str, heading: &str) -> &'a str {
    let start = document.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no heading {heading}"));
    let text = &document[start + heading.len() + 2..];
    text.find("\n#").map_or(text, |end| &text[..end])
}

/// The cells of a table's row; none for its head, which stands above a line of dashes.
fn cells(section: &str) -> impl Iterator<Item = (usize, Vec<&str>)> {
    let lines: Vec<&str> = section.lines().collect();
    let is_body = move |number: usize, lines: &[&str]| {
        let dashes = |line: Option<&&str>| line.is_some_and(|line| line.starts_with("|---"));
        lines[number].starts_with("| ") && !dashes(lines.get(number + 1))
    };
    let rows: Vec<(usize, Vec<&str>)> = (0..lines.len())
        .filter(|number| is_body(*number, &lines))
        .map(|number| (number, lines[number].trim_matches('|').split('|').map(str::trim).collect()))
        .collect();
    rows.into_iter()
}

/// Words in backticks.
pub(crate) fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// All classes.
fn classes(document: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let fields = section(document, "## The specification");
    let lines: Vec<&str> = fields.lines().collect();
    for (number, cells) in cells(fields) {
        // Each table but the first belongs to the record that the text above it has in bold.
        let bold = lines[..number].iter().rev().find_map(|line| line.split("**").nth(1));
        found.insert(format!("{}: {}", bold.unwrap_or("specification"), cells[1]));
    }
    let toolchain = section(document, "### The toolchain");
    let roles = toolchain.split("Roles:").nth(1).and_then(|text| text.split('.').next()).unwrap_or_default();
    found.extend(quoted(roles).iter().map(|role| format!("toolchain: {role}")));
    found.extend(cells(toolchain).map(|(_, cells)| format!("toolchain: {}", cells[0].trim_matches('`'))));
    let root = section(document, "### The build root");
    found.extend(cells(root).map(|(_, cells)| format!("build root: {}", cells[1])));
    let left_out = section(document, "## What is left out, and why");
    found.extend(cells(left_out).map(|(_, cells)| format!("left out: {}", cells[0])));
    assert!(left_out.contains("\nAlso out"), "where is the rest of what is left out?");
    found.insert("also out".to_owned());
    let gaps = section(document, "## Known gaps");
    let numbered = gaps.lines().filter_map(|line| line.split_once(". **").map(|(_, rest)| rest));
    found.extend(
        numbered
            .filter_map(|rest| rest.split("**").next())
            .map(|title| format!("gap: {}", title.trim_end_matches('.'))),
    );
    assert!(found.len() > 60, "the tables of {DOCUMENT} are looked for in the wrong place: {found:?}");
    found
}

/// The names of variables that a class of the left-out table lists; one that ends with `*` stands for many.
pub(crate) fn left_out(document: &str) -> Vec<(String, Vec<String>)> {
    let rows = cells(section(document, "## What is left out, and why"));
    rows.map(|(_, cells)| (cells[0].to_owned(), quoted(cells[1]))).collect()
}

/// The `FEATURES` that count.
pub(crate) fn features(document: &str) -> Vec<String> {
    let text = section(document, "## What is left out, and why");
    let list = text.split("that count:").nth(1).and_then(|text| text.split('.').next()).unwrap_or_default();
    quoted(list)
}

/// Classes that no row shows, and rows of classes that are not there.
pub(crate) fn uncovered(document: &str, rows: &[Row]) -> Vec<String> {
    let classes = classes(document);
    let mut shown: BTreeSet<&str> =
        rows.iter().flat_map(|row| row.classes.iter().map(String::as_str)).collect();
    for (class, file, test) in ENCODED {
        let path = format!("{}/../{file}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(text.contains(test), "{path} has no {test}");
        shown.insert(class);
    }
    let without = classes
        .iter()
        .filter(|class| !shown.contains(class.as_str()))
        .map(|class| format!("docs/address.md has `{class}`; no row of tests/mutations changes it"));
    let unknown = shown
        .iter()
        .filter(|class| !classes.contains(**class))
        .map(|class| format!("rows of tests/mutations show `{class}`; docs/address.md does not have it"));
    without.chain(unknown).collect()
}
