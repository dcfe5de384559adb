//! What a change is, and all of them.

use super::world::World;
use super::{libraries, machine, packages, tools};

/// One change to a world in which everything was built. Sets of packages are short names, or [`ALL`].
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) name: &'static str,
    pub(crate) apply: fn(&World),
    /// What the exact keys build again.
    pub(crate) exact: &'static str,
    /// What comes out different.
    pub(crate) needed: &'static str,
    /// What is built again under `interface` though it comes out as before and emerge would not build it.
    pub(crate) surplus: &'static str,
    /// Why `interface` builds more than it would have to.
    pub(crate) reason: &'static str,
    /// Whether every run of the suite tries it.
    pub(crate) is_short: bool,
}

/// A change after which `interface` builds what has to be built.
pub(crate) const fn change(
    name: &'static str,
    apply: fn(&World),
    exact: &'static str,
    needed: &'static str,
) -> Change {
    Change { name, apply, exact, needed, surplus: "", reason: "", is_short: false }
}

impl Change {
    /// Tried by every run of the suite.
    pub(crate) const fn short(self) -> Self {
        Self { is_short: true, ..self }
    }

    /// `interface` builds more than it would have to.
    pub(crate) const fn surplus(self, surplus: &'static str, reason: &'static str) -> Self {
        Self { surplus, reason, ..self }
    }
}

/// Every package.
pub(crate) const ALL: &str = "*";

/// The whole catalogue.
pub(crate) fn all() -> impl Iterator<Item = &'static Change> {
    libraries::CHANGES.iter().chain(tools::CHANGES).chain(packages::CHANGES).chain(machine::CHANGES)
}

/// Adds a user patch that replaces one line of a source file.
pub(crate) fn patch_line(world: &World, package: &str, file: &str, line: u32, from: &str, to: &str) {
    let added: String = to.lines().map(|line| format!("+{line}\n")).collect();
    let hunk = format!("@@ -{line} +{line},{} @@", to.lines().count());
    let patch = format!("--- a/{file}\n+++ b/{file}\n{hunk}\n-{from}\n{added}");
    world.write(format!("config/etc/portage/patches/{package}/ours.patch"), &patch);
}

/// Adds a version of a package: the ebuild of another, changed.
pub(crate) fn bump(world: &World, package: &str, from: &str, to: &str, changes: &[(&str, &str)]) {
    let name = package.rsplit_once('/').unwrap().1;
    let ebuild = |version| format!("overlay/{package}/{name}-{version}.ebuild");
    let mut text = std::fs::read_to_string(world.path(ebuild(from))).unwrap();
    for (from, to) in changes {
        assert_eq!(text.matches(from).count(), 1, "{from} in {text}");
        text = text.replace(from, to);
    }
    world.write(ebuild(to), &text);
}
