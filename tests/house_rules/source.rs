//! The form of the source.

use std::path::{Path, PathBuf};

use buildswarm_tests::{files, text};

use super::none_of;

/// Longest source file without its tests, in lines: what runs away is nearly always the central state machine.
const LONGEST: usize = 800;

/// What is never left in the source, with the reason. Put together here, so that this file has none of it.
const UNFINISHED: [(&str, &str); 4] = [
    (concat!("to", "do!("), "finish it or say what is missing in an error"),
    (concat!("unimple", "mented!("), "finish it or say what is missing in an error"),
    (concat!("FIX", "ME"), "fix it, or write an issue"),
    (concat!("#[", "ignore"), "a test that does not run holds nothing"),
];

fn sources() -> Vec<(PathBuf, String)> {
    let crates = ["core", "store", "net", "bins", "tests", "benches", "fuzz"];
    crates.iter().flat_map(|name| files(name, ".rs")).map(|path| (path.clone(), text(&path))).collect()
}

/// Whether a file holds tests only: `tests.rs`, or anything in a directory `tests`.
fn is_tests(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "tests.rs") || path.iter().any(|part| part == "tests")
}

/// Every file begins by saying what it is for; a module of tests may leave that to the module it tests.
fn without_header(path: &Path, text: &str) -> Option<String> {
    (!text.starts_with("//!") && !is_tests(path)).then(|| format!("{} has no //! header", path.display()))
}

fn too_long(path: &Path, text: &str) -> Option<String> {
    let code = text.split_once("#[cfg(test)]\nmod tests {").map_or(text, |(code, _)| code);
    let lines = code.lines().count();
    (lines > LONGEST && !is_tests(path))
        .then(|| format!("{} has {lines} lines without its tests; split it by concern", path.display()))
}

fn unfinished(path: &Path, text: &str) -> Vec<String> {
    let found = |line: &str| UNFINISHED.iter().find(|(what, _)| line.contains(what));
    let lines = text.lines().enumerate();
    lines
        .filter_map(|(number, line)| {
            let (what, instead) = found(line)?;
            Some(format!("{}:{}: {what} ({instead})", path.display(), number + 1))
        })
        .collect()
}

fn is_mod_rs(path: &Path) -> Option<String> {
    let is_mod = path.file_name().is_some_and(|name| name == "mod.rs");
    is_mod.then(|| format!("{}: name it after the module, beside its directory", path.display()))
}

fn all(rule: impl Fn(&Path, &str) -> Vec<String>) {
    let sources = sources();
    assert!(sources.len() > 50, "the source is looked for in the wrong place");
    none_of(&sources.iter().flat_map(|(path, text)| rule(path, text)).collect::<Vec<_>>());
}

#[test]
fn every_file_says_what_it_is_for() {
    all(|path, text| without_header(path, text).into_iter().collect());
}

#[test]
fn no_file_runs_away() {
    all(|path, text| too_long(path, text).into_iter().collect());
}

#[test]
fn nothing_is_left_unfinished() {
    all(unfinished);
}

#[test]
fn no_module_is_called_mod() {
    all(|path, _| is_mod_rs(path).into_iter().collect());
}

#[test]
fn a_missing_header_is_found() {
    assert!(without_header(Path::new("core/src/a.rs"), "use std::fs;\n").is_some());
    assert!(without_header(Path::new("core/src/a.rs"), "//! A.\n").is_none());
    assert!(without_header(Path::new("core/src/a/tests.rs"), "use super::*;\n").is_none());
}

#[test]
fn a_long_file_is_found() {
    let code = "//! Long.\n".repeat(LONGEST + 1);
    assert!(too_long(Path::new("core/src/a.rs"), &code).is_some());
    let tested = format!("//! Short.\n#[cfg(test)]\nmod tests {{\n{code}}}\n");
    assert!(too_long(Path::new("core/src/a.rs"), &tested).is_none());
}

#[test]
fn what_is_unfinished_is_found() {
    for (what, _) in UNFINISHED {
        let found = unfinished(Path::new("a.rs"), &format!("//! A.\n{what}\n"));
        assert!(found.len() == 1 && found[0].starts_with("a.rs:2: "), "{found:?}");
    }
}

#[test]
fn a_module_called_mod_is_found() {
    assert!(is_mod_rs(Path::new("core/src/a/mod.rs")).is_some());
    assert!(is_mod_rs(Path::new("core/src/a.rs")).is_none());
}
