//! What `python/plan.py` prints, as types; the schema is `python/PLAN.md`.
//!
//! Fields that buildswarm does not use are not read; fields it needs are required, so that a Portage whose
//! private parts moved is an error that names the field and never a key with something left out.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

/// The version of the document that this module reads.
pub const SCHEMA: u32 = 1;

/// One exported plan, or the refusals that stand in its place.
#[derive(Debug, Clone, Deserialize)]
pub struct Export {
    /// Version of the document.
    pub schema: u32,
    /// By what it was made.
    pub generator: Generator,
    /// Whether Portage found a plan.
    pub success: bool,
    /// The evaluated configuration.
    #[serde(default)]
    pub settings: Option<Settings>,
    /// Packages of the graph.
    #[serde(default)]
    pub nodes: Vec<Node>,
    /// Dependencies between them.
    #[serde(default)]
    pub edges: Vec<Edge>,
    /// What was asked for and which packages it led to.
    #[serde(default)]
    pub arguments: Vec<Argument>,
    /// What would be done, in Portage's order.
    #[serde(default)]
    pub merge: Vec<Merge>,
    /// Packages that may not stand beside each other.
    #[serde(default)]
    pub blockers: Vec<Blocker>,
    /// Why there is no plan.
    #[serde(default)]
    pub refusals: Vec<Refusal>,
    /// What is odd but not fatal.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// What stands in the build root.
    #[serde(default)]
    pub build_root: Option<BuildRoot>,
    /// What emerge itself would have printed about a failure.
    #[serde(default)]
    pub text: Option<String>,
}

/// Versions of the programs behind an export.
#[derive(Debug, Clone, Deserialize)]
pub struct Generator {
    /// Version of Portage.
    pub portage: String,
    /// Version of Python.
    pub python: String,
    /// Which of Portage's private parts could be read: `true`, or why not.
    #[serde(default)]
    pub probes: BTreeMap<String, serde_json::Value>,
}

/// The part of the evaluated configuration that concerns all packages.
#[derive(Debug, Clone, Deserialize)]
pub struct Settings {
    /// `ARCH`.
    pub arch: Option<String>,
    /// `CHOST`.
    pub chost: Option<String>,
    /// The selected profile.
    pub profile: Option<PathBuf>,
    /// Enabled `FEATURES`.
    pub features: Vec<String>,
    /// Packages that the profile says are there without Portage (`package.provided`).
    #[serde(default)]
    pub package_provided: Vec<String>,
}

/// A package of the graph.
#[derive(Debug, Clone, Deserialize)]
pub struct Node {
    /// Its name in this document.
    pub id: String,
    /// Whether it has to be built.
    pub kind: NodeKind,
    /// `category/name-version`.
    pub cpv: String,
    /// Slot.
    pub slot: String,
    /// Sub-slot.
    pub sub_slot: String,
    /// Repository.
    pub repo: String,
    /// EAPI.
    pub eapi: String,
    /// Keywords.
    #[serde(default)]
    pub keywords: Vec<String>,
    /// Declared flags.
    #[serde(default, rename = "iuse")]
    pub declared_use: Vec<String>,
    /// Enabled flags among the valid ones.
    #[serde(rename = "use")]
    pub use_flags: Vec<String>,
    /// Of these the ones that belong to `USE_EXPAND`, by variable.
    #[serde(default)]
    pub use_expand: BTreeMap<String, Vec<String>>,
    /// `PROPERTIES`.
    #[serde(default)]
    pub properties: Vec<String>,
    /// `RESTRICT`.
    #[serde(default)]
    pub restrict: Vec<String>,
    /// Phases that the ebuild defines.
    #[serde(default)]
    pub defined_phases: Vec<String>,
    /// What only an ebuild has.
    #[serde(default)]
    pub ebuild: Option<Ebuild>,
    /// What phases get.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Variables whose `native` was made concrete.
    #[serde(default)]
    pub native: BTreeMap<String, Native>,
    /// Of an installed package: what identifies its build.
    #[serde(default)]
    pub metadata_sha256: Option<String>,
}

/// Whether a node has to be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeKind {
    /// From an ebuild.
    Ebuild,
    /// It stands in the build root.
    Installed,
    /// A binary package; never in a plan of ours.
    Binary,
}

/// The files behind an ebuild; paths are those inside the private root.
#[derive(Debug, Clone, Deserialize)]
pub struct Ebuild {
    /// The ebuild.
    pub path: PathBuf,
    /// Its SHA-256.
    pub sha256: String,
    /// `files/`, if there is one.
    pub filesdir: Option<PathBuf>,
    /// Inherited eclasses, transitively.
    pub eclasses: Vec<Eclass>,
    /// Sources that `USE` selects.
    pub distfiles: Vec<Distfile>,
    /// User patches in the order in which they apply.
    pub user_patches: Vec<PathBuf>,
    /// Shell files sourced around the ebuild, in order.
    pub hooks: Vec<Hook>,
    /// Checks that run after `src_install`.
    pub qa_checks: Vec<PathBuf>,
    /// Saved configuration.
    pub savedconfig: Vec<PathBuf>,
}

/// One eclass.
#[derive(Debug, Clone, Deserialize)]
pub struct Eclass {
    /// Name.
    pub name: String,
    /// Path.
    pub path: PathBuf,
    /// SHA-256 of the file.
    pub sha256: String,
}

/// One source file as the Manifest has it.
#[derive(Debug, Clone, Deserialize)]
pub struct Distfile {
    /// File name.
    pub name: String,
    /// Size in bytes; `None` if the Manifest does not know the file.
    pub size: Option<u64>,
    /// Hash name to hexadecimal digits.
    pub hashes: BTreeMap<String, String>,
    /// Where it can be fetched.
    #[serde(default)]
    pub uris: Vec<String>,
}

/// One shell hook.
#[derive(Debug, Clone, Deserialize)]
pub struct Hook {
    /// `bashrc`, `env`, `profile.bashrc`, …
    pub kind: String,
    /// Path.
    pub path: PathBuf,
}

/// What `native` stood for.
#[derive(Debug, Clone, Deserialize)]
pub struct Native {
    /// The value as configured.
    pub from: String,
    /// The value with concrete flags; `None` where no compiler could say and none is used.
    pub to: Option<String>,
}

/// A dependency.
#[derive(Debug, Clone, Deserialize)]
pub struct Edge {
    /// The dependent's node.
    pub from: String,
    /// The dependency's node.
    pub to: String,
    /// By which variables.
    pub classes: Vec<String>,
    /// The atoms behind it.
    #[serde(default)]
    pub atoms: Vec<EdgeAtom>,
    /// Whether what stands in the build root satisfies it.
    #[serde(default)]
    pub satisfied_by_installed: bool,
}

/// One atom of a dependency.
#[derive(Debug, Clone, Deserialize)]
pub struct EdgeAtom {
    /// The atom as evaluated.
    pub atom: String,
    /// `=` or `*`, if there is one.
    pub slot_operator: Option<String>,
}

/// What was asked for.
#[derive(Debug, Clone, Deserialize)]
pub struct Argument {
    /// As given, or the set it came from.
    pub argument: String,
    /// The nodes it selects.
    pub nodes: Vec<String>,
}

/// One step of Portage's merge list.
#[derive(Debug, Clone, Deserialize)]
pub struct Merge {
    /// The node.
    pub node: String,
    /// `merge`, `nomerge` or `uninstall`.
    pub operation: String,
}

/// A blocker.
#[derive(Debug, Clone, Deserialize)]
pub struct Blocker {
    /// The atom.
    pub atom: String,
    /// Whose dependencies have it.
    pub parents: Vec<String>,
    /// What it blocks.
    pub blocked: Vec<String>,
}

/// Why Portage found no plan.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, serde::Serialize)]
pub struct Refusal {
    /// `masked`, `keyword`, `use_change`, `circular`, …; PLAN.md lists them.
    pub kind: String,
    /// What it is about, if it is about one atom.
    #[serde(default)]
    pub atom: Option<String>,
    /// Who needs it.
    #[serde(default)]
    pub required_by: Vec<String>,
    /// One sentence.
    pub message: String,
    /// What to do.
    #[serde(default)]
    pub remedy: Option<String>,
    /// Packages that could be meant.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub candidates: serde_json::Value,
}

/// What is odd but not fatal.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, serde::Serialize)]
pub struct Warning {
    /// Kind.
    pub kind: String,
    /// One sentence.
    pub message: String,
}

/// What stands in the build root.
#[derive(Debug, Clone, Deserialize)]
pub struct BuildRoot {
    /// One line for each installed package.
    pub packages: Vec<String>,
    /// Role to tool.
    pub toolchain: BTreeMap<String, Option<Tool>>,
    /// Files of `/etc` that shape every process: path to SHA-256.
    pub environment_files: BTreeMap<String, String>,
}

/// One tool of the build root.
#[derive(Debug, Clone, Deserialize)]
pub struct Tool {
    /// First line of what it says of its version.
    #[serde(default)]
    pub version: Option<String>,
    /// SHA-256 of the program.
    #[serde(default)]
    pub sha256: Option<String>,
}
