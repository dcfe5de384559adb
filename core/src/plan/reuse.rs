//! Reuse keys: which earlier builds may stand for a package, once it is known what its dependencies came to.

use std::collections::BTreeSet;

use super::{Need, Origin, PackageIndex, Plan, Requirements};
use crate::Digest;
use crate::policy::Policy;
use crate::spec::{BuildInputs, BuildSpec, Dependency, DependencyClasses, Identity, Reach, Tool};

/// What may be read: headers, libraries, modules, data.
const READ: DependencyClasses = DependencyClasses::DEPEND
    .union(DependencyClasses::RDEPEND)
    .union(DependencyClasses::PDEPEND)
    .union(DependencyClasses::CLOSURE);

/// What is known of an artifact that stands for a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outputs {
    /// Digest of everything a build can read of it.
    pub interface: Digest,
    /// Digest of all it consists of.
    pub payload: Digest,
}

/// For which packages a recipe asks which version stands in the root (`has_version`, `best_version`; PMS 12.3.15).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum VersionQueries {
    /// For none.
    #[default]
    Nothing,
    /// For these, by category and name.
    Of(BTreeSet<String>),
    /// It cannot be told.
    Anything,
}

impl VersionQueries {
    fn concern(&self, name: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Of(names) => names.contains(name),
            Self::Anything => true,
        }
    }
}

/// How reuse keys are made.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// By which policy.
    pub policy: Policy,
    /// Packages whose whole payload counts, by category and name: compilers, linkers, code generators.
    pub toolchain: &'a BTreeSet<String>,
}

impl Rules<'_> {
    /// Whether it is a package of the toolchain that is run.
    fn is_toolchain(&self, name: &str, classes: DependencyClasses) -> bool {
        let run = DependencyClasses::TOOL.union(DependencyClasses::TOOL_CLOSURE);
        classes.intersects(run) && self.toolchain.contains(name)
    }
}

/// What of a dependency counts.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    /// What can be read of it.
    interface: bool,
    /// Every byte.
    payload: bool,
    /// What it does when it is run: version, flags and sources.
    tool: bool,
}

/// One package whose dependencies are judged.
struct Dependent<'a> {
    plan: &'a Plan,
    inputs: &'a [Option<BuildInputs>],
    queries: &'a VersionQueries,
    rules: Rules<'a>,
    /// Before EAPI 7 `DEPEND` named tools too (PMS 8.1).
    runs_depend: bool,
    /// What packages of the toolchain run with, ascending.
    beneath_toolchain: Vec<PackageIndex>,
}

impl Dependent<'_> {
    fn counted(&self, need: &Need) -> Counted {
        let name = self.plan.package(need.package).package.cp();
        if self.rules.policy != Policy::Interface {
            return Counted::default();
        }
        if self.rules.is_toolchain(name, need.classes) {
            return Counted { payload: true, ..Counted::default() };
        }
        // What only an ordinary tool runs with counts as little as Portage makes of it: the tool has to get along.
        let tool = need.classes.intersects(DependencyClasses::TOOL)
            || self.runs_depend && need.classes.intersects(DependencyClasses::DEPEND)
            || self.beneath_toolchain.binary_search(&need.package).is_ok()
            || self.queries.concern(name)
            || self.acts_when_installed(need.package);
        Counted { interface: need.classes.intersects(READ), tool, payload: false }
    }

    /// Whether its ebuild has phases that run when it is installed into the root: what they leave there is in no
    /// payload (PMS 9.1).
    fn acts_when_installed(&self, index: PackageIndex) -> bool {
        let Some(inputs) = &self.inputs[index.get()] else { return false };
        let phases = inputs.surroundings.environment.get("DEFINED_PHASES").map_or("", String::as_str);
        phases.split_ascii_whitespace().any(|phase| matches!(phase, "setup" | "preinst" | "postinst"))
    }

    /// A dependency as the reuse key names it; `None` if `outputs` lacks what counts of it.
    fn dependency(
        &self,
        need: &Need,
        outputs: impl Fn(PackageIndex) -> Option<Outputs>,
    ) -> Option<Dependency> {
        let package = self.plan.package(need.package);
        let counted = self.counted(need);
        let (identity, is_whole) = match package.origin {
            Origin::Installed(digest) if self.rules.policy == Policy::Interface => {
                (Identity::Installed(digest), true)
            }
            Origin::Installed(_) => (Identity::Reach(Reach::default()), false),
            Origin::Build => {
                let waits = counted.interface || counted.payload;
                let known = if waits { Some(outputs(need.package)?) } else { None };
                let inputs = self.inputs[need.package.get()].as_ref()?;
                let tool = || Tool { use_flags: inputs.use_flags.clone(), sources: inputs.sources() };
                let reach = Reach {
                    interface: known.filter(|_| counted.interface).map(|known| known.interface),
                    payload: known.filter(|_| counted.payload).map(|known| known.payload),
                    tool: counted.tool.then(tool),
                };
                (Identity::Reach(reach), counted.tool)
            }
        };
        let slot = &package.slot;
        let has_sub_slot = is_whole || need.binds_slot;
        Some(Dependency {
            name: package.package.cp().to_owned(),
            version: is_whole.then(|| package.package.version().to_owned()),
            slot: slot.slot().to_owned(),
            sub_slot: has_sub_slot.then(|| slot.sub_slot().to_owned()),
            classes: need.classes,
            identity,
        })
    }
}

/// The reuse specification of the package at `index`; `None` as long as `outputs` knows nothing of a package
/// that it depends on.
///
/// `inputs` are those of the whole plan; `queries` those of this package.
#[must_use]
pub fn reuse_spec(
    plan: &Plan,
    requirements: &Requirements,
    inputs: &[Option<BuildInputs>],
    queries: &VersionQueries,
    rules: Rules<'_>,
    index: PackageIndex,
    outputs: impl Fn(PackageIndex) -> Option<Outputs>,
) -> Option<BuildSpec> {
    let own = inputs[index.get()].as_ref()?;
    let needs = requirements.of(index).iter();
    let is_toolchain =
        |need: &&Need| rules.is_toolchain(plan.package(need.package).package.cp(), need.classes);
    let dependent = Dependent {
        plan,
        inputs,
        queries,
        rules,
        runs_depend: matches!(own.eapi.as_str(), "0" | "1" | "2" | "3" | "4" | "5" | "6"),
        beneath_toolchain: plan.run_time_closure(needs.clone().filter(is_toolchain).map(|need| need.package)),
    };
    let dependencies = needs.map(|need| dependent.dependency(need, &outputs)).collect::<Option<_>>()?;
    Some(BuildSpec { policy: rules.policy, inputs: own.clone(), dependencies })
}
