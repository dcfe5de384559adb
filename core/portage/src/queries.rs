//! Which installed versions a recipe asks for while it builds: `has_version` and `best_version` (PMS 12.3.15).
//!
//! Shell is not understood, only read: where a query is not spelt out, it counts as one for anything. Too many
//! queries cost a rebuild, a missed one could be a wrong hit.

use std::collections::BTreeSet;

use buildswarm_core::package::Cpv;
use buildswarm_core::plan::reuse::VersionQueries;

const COMMANDS: [&str; 2] = ["has_version", "best_version"];

/// The queries in a piece of shell code.
pub(crate) fn in_text(text: &str) -> VersionQueries {
    let mut names = BTreeSet::new();
    // A command may go on in the next line.
    for line in text.replace("\\\n", " ").lines().map(without_comment) {
        for command in COMMANDS {
            for (at, _) in line.match_indices(command) {
                let (before, after) = (&line[..at], &line[at + command.len()..]);
                let is_part = |c: char| c.is_alphanumeric() || c == '_';
                if before.ends_with(is_part) || after.starts_with(is_part) {
                    continue;
                }
                match argument(after).and_then(name_of) {
                    Some(name) => names.insert(name),
                    None => return VersionQueries::Anything,
                };
            }
        }
    }
    if names.is_empty() { VersionQueries::Nothing } else { VersionQueries::Of(names) }
}

/// The queries of either.
pub(crate) fn union(a: VersionQueries, b: &VersionQueries) -> VersionQueries {
    match (a, b) {
        (VersionQueries::Anything, _) | (_, VersionQueries::Anything) => VersionQueries::Anything,
        (VersionQueries::Nothing, other) => other.clone(),
        (this, VersionQueries::Nothing) => this,
        (VersionQueries::Of(mut names), VersionQueries::Of(others)) => {
            names.extend(others.iter().cloned());
            VersionQueries::Of(names)
        }
    }
}

fn without_comment(line: &str) -> &str {
    if line.trim_start().starts_with('#') { "" } else { line }
}

/// The atom after the options.
fn argument(after: &str) -> Option<&str> {
    let mut words = after.split_whitespace().map(|word| word.trim_matches(['"', '\'', ';', ')', '(']));
    words.find(|word| !matches!(*word, "-b" | "-d" | "-r" | "--host-root"))
}

/// Category and name of an atom (PMS 8.3.1).
fn name_of(atom: &str) -> Option<String> {
    let bare = atom.trim_start_matches(['!', '~', '<', '>', '=']);
    let has_version = bare.len() < atom.len();
    let end = bare.find([':', '[', '*']).unwrap_or(bare.len());
    let bare = &bare[..end];
    if has_version {
        return bare.parse::<Cpv>().ok().map(|cpv| cpv.cp().to_owned());
    }
    // With any version it is a package of that name, and nothing else is.
    format!("{bare}-0").parse::<Cpv>().ok().filter(|cpv| cpv.cp() == bare).map(|cpv| cpv.cp().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> VersionQueries {
        VersionQueries::Of(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn queries_are_found_as_they_are_written() {
        let cases = [
            ("src_compile() { emake; }", VersionQueries::Nothing),
            ("# has_version dev-libs/foo", VersionQueries::Nothing),
            ("python_has_version foo", VersionQueries::Nothing),
            ("has_versions=1", VersionQueries::Nothing),
            ("if has_version dev-libs/foo; then", of(&["dev-libs/foo"])),
            ("has_version -b '>=dev-build/automake-1.16.5:1.16[doc]' && x", of(&["dev-build/automake"])),
            ("v=$(best_version sys-libs/zlib)", of(&["sys-libs/zlib"])),
            ("has_version \\\n\t\"=dev-lang/lua-5.1*\"", of(&["dev-lang/lua"])),
            ("has_version a/b || has_version -d \"~c/d-1\"", of(&["a/b", "c/d"])),
            ("has_version \"${atom}\"", VersionQueries::Anything),
            ("has_version \"dev-lang/python:${slot}\"", of(&["dev-lang/python"])),
            ("has_version dev-lang/python$x", VersionQueries::Anything),
            ("has_version", VersionQueries::Anything),
            ("eval 'has_version '$x", VersionQueries::Anything),
        ];
        for (text, expected) in cases {
            assert_eq!(in_text(text), expected, "{text}");
        }
    }

    #[test]
    fn a_union_holds_both() {
        assert_eq!(union(of(&["a/b"]), &of(&["c/d"])), of(&["a/b", "c/d"]));
        assert_eq!(union(of(&["a/b"]), &VersionQueries::Anything), VersionQueries::Anything);
        assert_eq!(union(VersionQueries::Nothing, &of(&["a/b"])), of(&["a/b"]));
    }
}
