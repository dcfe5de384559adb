//! From atoms to keys: Portage resolves, we hash.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use buildswarm_core::package::ParsePackageError;
use buildswarm_core::plan::keys::{self, Keys};
use buildswarm_core::plan::reuse::{self, Outputs, Rules, VersionQueries};
use buildswarm_core::plan::{self, Origin, PackageIndex, Plan, PlanError, PlanPackage, Requirements};
use buildswarm_core::spec::{BuildInputs, BuildSpec, DependencyClasses};
use buildswarm_core::{BuildKey, Digest};

use crate::capture::{CaptureError, Configuration};
use crate::export::{Edge, Export, Node, NodeKind, Refusal, SCHEMA};
use crate::inputs::{InputsError, Recipes};
use crate::machine::Machine;
use crate::root::{RootError, Scratch};

const EXPORTER: &str = include_str!("../python/plan.py");
/// Where it stands in the private root.
const EXPORTER_PATH: &str = "/run/buildswarm/plan.py";
/// Memory for what Portage writes while it plans, in bytes: logs and locks, no metadata.
const SCRATCH: Scratch = Scratch::Memory(512 << 20);
/// The oldest Portage whose plans are tested.
pub const OLDEST_PORTAGE: [u64; 3] = [3, 0, 50];

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// Portage refused, for stated reasons.
    #[error("{}", Refusals(.0))]
    Refused(Vec<Refusal>),
    /// The exporter did not answer.
    #[error(
        "Portage could not be asked for a plan ({status}): {stderr}\nit needs Python 3.9 and Portage {} or \
         later; on a machine that is not Gentoo, name a prefix that has them with --portage",
        oldest()
    )]
    NoAnswer {
        /// How it ended.
        status: ExitStatus,
        /// The last lines it printed.
        stderr: String,
    },
    /// Python ran and found no Portage.
    #[error(
        "the Python that is to run Portage has no module `portage`; install Portage {} or later there, or name \
         a prefix that has it with --portage",
        oldest()
    )]
    NoPortage,
    /// The answer is not what this version reads.
    #[error("the plan of Portage {portage} cannot be read: {source}")]
    Answer {
        /// Version of Portage, if it said.
        portage: String,
        /// The reason.
        source: serde_json::Error,
    },
    /// A part of Portage is not where it was.
    #[error(
        "Portage {portage} cannot be read ({probe}: {reason}), so its plan may lack something; report this"
    )]
    Probe {
        /// Version of Portage.
        portage: String,
        /// The part.
        probe: String,
        /// What happened.
        reason: String,
    },
    /// Portage is too old.
    #[error("Portage {found} is older than {}, the oldest that is supported", oldest())]
    TooOld {
        /// Its version.
        found: String,
    },
    /// A file or program cannot be used.
    #[error("{path}: {source}")]
    Io {
        /// The file or program.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The private root cannot be made.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The configuration cannot be captured.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The inputs of a build are not known.
    #[error(transparent)]
    Inputs(#[from] InputsError),
    /// The graph is not a plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A package's name is not of the known form.
    #[error(transparent)]
    Package(#[from] ParsePackageError),
}

fn oldest() -> String {
    OLDEST_PORTAGE.map(|part| part.to_string()).join(".")
}

struct Refusals<'a>(&'a [Refusal]);

impl std::fmt::Display for Refusals<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (number, refusal) in self.0.iter().enumerate() {
            write!(f, "{}{}", if number > 0 { "\n" } else { "" }, refusal.message)?;
            if !refusal.required_by.is_empty() {
                write!(f, "\n  required by {}", refusal.required_by.join(", "))?;
            }
            if let Some(remedy) = &refusal.remedy {
                write!(f, "\n  {remedy}")?;
            }
        }
        Ok(())
    }
}

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Atoms and sets, as emerge takes them.
    pub arguments: Vec<String>,
    /// Options of emerge that change the plan (`--update`, `--newuse`, `--emptytree`, …).
    pub options: Vec<String>,
}

/// A plan with all its keys.
#[derive(Debug)]
pub struct Resolution {
    /// What Portage said.
    pub export: Export,
    /// The graph; positions are those of `export.nodes`.
    pub plan: Plan,
    /// What must stand in which root.
    pub requirements: Requirements,
    /// What each build is made of, by position; `None` for what stands in the build root.
    pub inputs: Vec<Option<BuildInputs>>,
    /// Which versions each recipe asks for, by position.
    pub queries: Vec<VersionQueries>,
    /// The exact key of each build, every dependency being the planned one.
    pub keys: Keys,
}

impl Resolution {
    /// The exported node of a package.
    #[must_use]
    pub fn node(&self, index: PackageIndex) -> &Node {
        &self.export.nodes[index.get()]
    }

    /// Every package that has a key, with it, in building order.
    pub fn keyed(&self) -> impl Iterator<Item = (PackageIndex, BuildKey)> {
        self.requirements.order().iter().filter_map(|index| Some((*index, self.keys.of(*index)?)))
    }

    /// The planned build of a package.
    #[must_use]
    pub fn planned_spec(&self, index: PackageIndex) -> Option<BuildSpec> {
        self.exact_spec(index, |dependency| self.keys.of(dependency))
    }

    /// The build of a package with other builds of its dependencies: `key` says which.
    #[must_use]
    pub fn exact_spec(
        &self,
        index: PackageIndex,
        key: impl Fn(PackageIndex) -> Option<BuildKey>,
    ) -> Option<BuildSpec> {
        let inputs = self.inputs[index.get()].as_ref()?;
        keys::exact_spec(&self.plan, &self.requirements, inputs, index, key)
    }

    /// The specification under whose key earlier builds may stand for a package; `None` while something it
    /// depends on has no outputs.
    #[must_use]
    pub fn reuse_spec(
        &self,
        index: PackageIndex,
        rules: Rules<'_>,
        outputs: impl Fn(PackageIndex) -> Option<Outputs>,
    ) -> Option<BuildSpec> {
        let queries = &self.queries[index.get()];
        reuse::reuse_spec(&self.plan, &self.requirements, &self.inputs, queries, rules, index, outputs)
    }
}

/// Has the machine's Portage make a plan, in a private root whose files are below `work`.
///
/// `cache` keeps the metadata of ebuilds from one plan to the next.
///
/// # Errors
/// [`ResolveError::Refused`] with Portage's reasons, or what kept it from being asked.
pub fn export(
    machine: &Machine,
    configuration: &Configuration,
    request: &Request,
    cache: &Path,
    work: &Path,
) -> Result<Export, ResolveError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| ResolveError::Io { path, source }
    };
    fs::create_dir_all(cache).map_err(at(cache))?;
    fs::create_dir_all(work).map_err(at(work))?;
    let exporter = work.join("plan.py");
    fs::write(&exporter, EXPORTER).map_err(at(&exporter))?;
    let mut root = configuration
        .show_live(machine.root(work, SCRATCH)?)
        .with_read_only(&exporter, Path::new(EXPORTER_PATH))
        .with_writable(cache, Path::new("/var/cache/edb/dep"));
    let world = machine.config_root.join("var/lib/portage");
    if machine.config_root != machine.base && world.is_dir() {
        root = root.with_read_only(&world, Path::new("/var/lib/portage"));
    }
    let mut command = root.command(machine.python())?;
    machine.set_environment(&mut command, configuration.repositories());
    command.env("FEATURES", machine.features()).arg(EXPORTER_PATH).args(&request.options);
    command.arg("--").args(&request.arguments).stdin(Stdio::null());
    let output = command.output().map_err(at(Path::new("setpriv")))?;
    decode(&output.stdout).unwrap_or_else(|| {
        let text = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = text.lines().rev().take(20).collect();
        let stderr = lines.into_iter().rev().collect::<Vec<_>>().join("\n");
        Err(ResolveError::NoAnswer { status: output.status, stderr })
    })
}

/// Reads a document; `None` if there is none.
fn decode(bytes: &[u8]) -> Option<Result<Export, ResolveError>> {
    let head: Head = serde_json::from_slice(bytes).ok()?;
    let Some(portage) = head.generator?.portage else { return Some(Err(ResolveError::NoPortage)) };
    if is_too_old(&portage) {
        return Some(Err(ResolveError::TooOld { found: portage }));
    }
    if head.schema != SCHEMA {
        let source = serde::de::Error::custom(format!("its schema is {}, not {SCHEMA}", head.schema));
        return Some(Err(ResolveError::Answer { portage, source }));
    }
    let export: Export = match serde_json::from_slice(bytes) {
        Ok(export) => export,
        Err(source) => return Some(Err(ResolveError::Answer { portage, source })),
    };
    let failed = export.generator.probes.iter().find(|(_, answer)| **answer != serde_json::Value::Bool(true));
    Some(match failed {
        _ if !export.success => Err(ResolveError::Refused(export.refusals)),
        Some((probe, reason)) => {
            Err(ResolveError::Probe { portage, probe: probe.clone(), reason: reason.to_string() })
        }
        None => Ok(export),
    })
}

/// What every version of the document begins with.
#[derive(serde::Deserialize)]
struct Head {
    schema: u32,
    #[serde(default)]
    generator: Option<HeadGenerator>,
}

#[derive(serde::Deserialize)]
struct HeadGenerator {
    portage: Option<String>,
}

/// A version that cannot be read as numbers is a development version, which is never old.
fn is_too_old(version: &str) -> bool {
    let parts: Vec<u64> = version.split('.').map_while(|part| part.parse().ok()).collect();
    parts.len() >= 3 && parts.as_slice() < OLDEST_PORTAGE.as_slice()
}

/// A reader of the files behind `export`, which `machine` made from `configuration`.
///
/// # Errors
/// [`ResolveError::Answer`] if the export does not say what the build root holds.
pub fn recipes<'a>(
    machine: &'a Machine,
    configuration: &'a Configuration,
    export: &Export,
) -> Result<Recipes<'a>, ResolveError> {
    let Some(build_root) = &export.build_root else {
        let source = serde::de::Error::custom("it does not say what the build root holds");
        return Err(ResolveError::Answer { portage: export.generator.portage.clone(), source });
    };
    let (directory, places) = (configuration.directory(), configuration.places());
    let provided = export.settings.as_ref().map_or(&[][..], |settings| &settings.package_provided);
    Ok(Recipes::new(directory, machine, places, build_root, provided, &export.generator)?)
}

/// Computes the keys of an exported plan, reading every file behind it with `recipes`.
///
/// # Errors
/// A [`ResolveError`] naming the file or package.
pub fn keyed(export: Export, recipes: &mut Recipes<'_>) -> Result<Resolution, ResolveError> {
    let plan = graph(&export)?;
    let requirements = plan.requirements()?;
    let mut inputs = vec![None; plan.packages().len()];
    let mut queries = vec![VersionQueries::default(); plan.packages().len()];
    for index in requirements.order() {
        let node = &export.nodes[index.get()];
        inputs[index.get()] = Some(recipes.inputs(node)?);
        queries[index.get()] = recipes.queries(node)?;
    }
    let keys = Keys::of_plan(&plan, &requirements, &inputs);
    Ok(Resolution { export, plan, requirements, inputs, queries, keys })
}

/// Warnings of the exporter that mean an input it could not read.
const LOST: [&str; 2] = ["ebuild_missing", "eclass_missing"];

/// The graph of an exported plan; positions are those of `export.nodes`.
///
/// # Errors
/// [`ResolveError::Package`] and [`ResolveError::Plan`]; [`ResolveError::Inputs`] for an installed package that
/// has no identity.
pub fn graph(export: &Export) -> Result<Plan, ResolveError> {
    let positions: BTreeMap<&str, PackageIndex> = export
        .nodes
        .iter()
        .enumerate()
        .map(|(position, node)| (node.id.as_str(), PackageIndex::new(position)))
        .collect();
    let packages = export.nodes.iter().map(package).collect::<Result<Vec<_>, _>>()?;
    let unreadable = |what: String| {
        let source = serde::de::Error::custom(what);
        ResolveError::Answer { portage: export.generator.portage.clone(), source }
    };
    let position = |id: &str| {
        positions.get(id).copied().ok_or_else(|| unreadable(format!("it names {id}, which it does not hold")))
    };
    // A dependency left out would be a wrong key, so whatever is not understood is an error.
    let edges = export
        .edges
        .iter()
        .map(|edge| {
            let classes =
                classes(edge).map_err(|name| unreadable(format!("it has dependencies of class {name}")))?;
            Ok(plan::Edge {
                from: position(&edge.from)?,
                to: position(&edge.to)?,
                classes,
                binds_slot: edge.atoms.iter().any(|atom| atom.slot_operator.as_deref() == Some("=")),
                satisfied: edge.satisfied_by_installed,
            })
        })
        .collect::<Result<Vec<_>, ResolveError>>()?;
    if let Some(lost) = export.warnings.iter().find(|warning| LOST.contains(&warning.kind.as_str())) {
        return Err(unreadable(lost.message.clone()));
    }
    let requested: Vec<PackageIndex> = export
        .arguments
        .iter()
        .flat_map(|argument| &argument.nodes)
        .map(|node| position(node))
        .collect::<Result<_, _>>()?;
    Ok(Plan::new(packages, edges, requested)?)
}

fn package(node: &Node) -> Result<PlanPackage, ResolveError> {
    let origin = match (node.kind, &node.metadata_sha256) {
        (NodeKind::Ebuild, _) => Origin::Build,
        (NodeKind::Installed | NodeKind::Binary, Some(digest)) => {
            Origin::Installed(Digest::of(digest.as_bytes()))
        }
        (NodeKind::Installed | NodeKind::Binary, None) => {
            return Err(InputsError::NoRecipe { package: node.cpv.clone() }.into());
        }
    };
    Ok(PlanPackage {
        package: node.cpv.parse()?,
        slot: format!("{}/{}", node.slot, node.sub_slot).parse()?,
        repository: node.repo.clone(),
        origin,
    })
}

/// The classes of an edge, or the name of one that is not known.
fn classes(edge: &Edge) -> Result<DependencyClasses, &str> {
    edge.classes.iter().try_fold(DependencyClasses::default(), |classes, name| {
        DependencyClasses::from_name(name).map(|class| classes.union(class)).ok_or(name.as_str())
    })
}
