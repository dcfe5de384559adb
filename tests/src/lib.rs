//! What the suites of this package share: where the workspace is and how its files are read.
//!
//! The suite that runs the real programs is `tests/cli.rs`; it is declared in `bins/Cargo.toml`, since only that
//! package is told where they are.

use std::fs;
use std::path::{Path, PathBuf};

/// The workspace's directory.
///
/// # Panics
/// If this package is not one level below it.
#[must_use]
pub fn workspace() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().expect("the tests are one level below the workspace").to_owned()
}

/// The text of a file of the workspace.
///
/// # Panics
/// If it cannot be read.
#[must_use]
pub fn text(path: impl AsRef<Path>) -> String {
    let path = workspace().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every file below `directory` (relative to the workspace) whose name ends with `ending`, sorted, relative to
/// the workspace. Hidden directories and what cargo makes are left out.
///
/// # Panics
/// If a directory cannot be read.
#[must_use]
pub fn files(directory: &str, ending: &str) -> Vec<PathBuf> {
    let root = workspace();
    let mut found = Vec::new();
    let mut pending = vec![root.join(directory)];
    while let Some(path) = pending.pop() {
        let entries = fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for entry in entries.map(|entry| entry.expect("a directory can be read to its end")) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_directory && !name.starts_with('.') && name != "target" {
                pending.push(entry.path());
            } else if !is_directory && name.ends_with(ending) {
                found.push(entry.path().strip_prefix(&root).unwrap_or(&entry.path()).to_owned());
            }
        }
    }
    found.sort();
    found
}
