//! Everything that determines one build, as a value, and its canonical form.
//!
//! `docs/address.md` gives for every field where Portage documents its influence, and for everything left
//! out the reason.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::package::{Cpv, Slot};
use crate::policy::Policy;
use crate::sorted::{SortedMap, SortedSet};
use crate::{BuildKey, Digest};

/// What of one package, apart from its dependencies, determines its build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildInputs {
    /// The package and its version.
    pub package: Cpv,
    /// Its slot; ebuilds read it, and it is recorded in the package.
    pub slot: Slot,
    /// Name of the repository the ebuild is from, without its path.
    pub repository: String,
    /// The EAPI, which changes the meaning of the ebuild's text.
    pub eapi: String,
    /// The ebuild and every file that shell code of the build reads.
    pub recipe: Recipe,
    /// Upstream sources that `USE` selects, by file name.
    pub distfiles: SortedMap<Distfile>,
    /// Enabled flags among those valid for the package, `USE_EXPAND` included.
    pub use_flags: SortedSet,
    /// Where it is built; the same for most packages of a plan, which share it.
    pub surroundings: Arc<Surroundings>,
}

/// Everything a build gets that does not come with the package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Surroundings {
    /// The evaluated build environment, after the exclusions of `docs/address.md`.
    pub environment: BTreeMap<String, String>,
    /// Those enabled `FEATURES` that alter what is built.
    pub features: SortedSet,
    /// Compilers, linkers, libc, interpreters: role to identity.
    pub toolchain: BTreeMap<String, String>,
    /// Everything else that stands in the build root before any dependency is installed.
    pub build_root: Digest,
}

/// The text of a build: what Portage sources or copies from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// BLAKE3 of the ebuild.
    pub ebuild: Digest,
    /// Inherited eclasses, transitively, by name.
    pub eclasses: SortedMap<Digest>,
    /// `FILESDIR`: path below it to BLAKE3 of the content.
    pub files: SortedMap<Digest>,
    /// User patches in the order in which they apply: name and BLAKE3.
    pub patches: Vec<(String, Digest)>,
    /// Shell hooks in the order in which they are sourced: kind and BLAKE3.
    pub hooks: Vec<(String, Digest)>,
    /// `install-qa-check.d` scripts, which run after `src_install` and may change the image, by name.
    pub qa_checks: SortedMap<Digest>,
    /// Saved configuration files, by path below `savedconfig`.
    pub saved_config: SortedMap<Digest>,
}

/// One upstream source by what the Manifest says of it (GLEP 74).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distfile {
    /// Size in bytes.
    pub size: u64,
    /// Hash name as in the Manifest (`BLAKE2B`, `SHA512`) to lower-case hexadecimal digits.
    pub hashes: SortedMap<String>,
}

/// How a dependency can reach a build. A package may be several of these to one dependent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DependencyClasses(u8);

impl DependencyClasses {
    /// `DEPEND`: headers and libraries compiled and linked against.
    pub const DEPEND: Self = Self(1);
    /// `BDEPEND`: tools run during the build.
    pub const BDEPEND: Self = Self(2);
    /// `RDEPEND`: needed when the package runs.
    pub const RDEPEND: Self = Self(4);
    /// `PDEPEND`: needed some time after it is installed.
    pub const PDEPEND: Self = Self(8);
    /// `IDEPEND`: run while it is installed.
    pub const IDEPEND: Self = Self(16);
    /// Not named by the dependent: needed at run time by something it may read from.
    pub const CLOSURE: Self = Self(32);
    /// Not named by the dependent: needed at run time by one of its tools.
    pub const TOOL_CLOSURE: Self = Self(64);
    /// What must stand in the root before the dependent can be built.
    pub const BUILD: Self = Self(1 | 2 | 16);

    /// What is run and not read.
    pub const TOOL: Self = Self(2 | 16);

    const NAMES: [(Self, &'static str); 7] = [
        (Self::DEPEND, "DEPEND"),
        (Self::BDEPEND, "BDEPEND"),
        (Self::RDEPEND, "RDEPEND"),
        (Self::PDEPEND, "PDEPEND"),
        (Self::IDEPEND, "IDEPEND"),
        (Self::CLOSURE, "closure"),
        (Self::TOOL_CLOSURE, "tool closure"),
    ];
    const ALL: u8 = 127;

    /// The classes as one byte, one bit each, as keys have them.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The classes with these bits; `None` if there is no such class.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        if bits <= Self::ALL { Some(Self(bits)) } else { None }
    }

    /// Whether every class of `self` is in `other`.
    #[must_use]
    pub const fn within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// The classes in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether any class is in both.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The class with this name, as in ebuilds.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(class, _)| *class)
    }

    /// The names of the classes, in a fixed order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(class, _)| self.intersects(*class)).map(|(_, name)| name)
    }
}

/// What of a dependency is identified in a key, beside its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// The whole of it, by its own exact key.
    Built(BuildKey),
    /// It stands in the build root already: by a digest of what the root's package database says of it.
    Installed(Digest),
    /// What of it can reach the build.
    Reach(Reach),
}

/// What of a dependency can reach a build; which of these there are follows from its classes and the policy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reach {
    /// Everything a build can read of it: its interface digest.
    pub interface: Option<Digest>,
    /// All it consists of: its payload digest.
    pub payload: Option<Digest>,
    /// What it does when it is run.
    pub tool: Option<Tool>,
}

/// A program that runs during the build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    /// Its enabled flags.
    pub use_flags: SortedSet,
    /// What it was made of: [`BuildInputs::sources`].
    pub sources: Digest,
}

/// One package that stands in the root when the build runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// Category and name.
    pub name: String,
    /// Version with revision; `None` where it cannot reach the build.
    pub version: Option<String>,
    /// Its slot.
    pub slot: String,
    /// Its sub-slot, which `:=` writes into the dependent; `None` where it cannot reach the build.
    pub sub_slot: Option<String>,
    /// How it reaches the build.
    pub classes: DependencyClasses,
    /// What of it counts.
    pub identity: Identity,
}

/// Inputs and dependencies: the whole preimage of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildSpec {
    /// By which rules dependencies are identified.
    pub policy: Policy,
    /// The package's own inputs.
    pub inputs: BuildInputs,
    /// What stands in the root beside it, at most once a package and slot.
    pub dependencies: Vec<Dependency>,
}

/// Version of the form below; the first field of every preimage.
pub const FORMAT: u64 = 2;

mod encoding;

pub(crate) use encoding::{DependencyRecord, KeyDependencies, encode_key_message};

pub mod difference;

#[cfg(test)]
mod tests;
