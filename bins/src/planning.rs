//! From a request to what has to be built: captured, resolved, keyed and looked up.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use buildswarm_core::artifact::Artifact;
use buildswarm_core::plan::PackageIndex;
use buildswarm_core::plan::reuse::{Outputs, Rules};
use buildswarm_core::policy::Policy;
use buildswarm_core::spec::BuildSpec;
use buildswarm_core::{BuildKey, ReuseKey, address};
use buildswarm_portage::capture::{Configuration, Trees};
use buildswarm_portage::machine::Machine;
use buildswarm_portage::resolve::{self, Request, Resolution};
use buildswarm_portage::root;
use buildswarm_store::Store;

use crate::config::Config;
use crate::report;
use crate::state::State;

/// A plan and what of it is there.
#[derive(Debug)]
pub struct Planned {
    /// The machine it was made for.
    pub machine: Machine,
    /// Its captured configuration.
    pub configuration: Configuration,
    /// The plan with its keys.
    pub resolution: Resolution,
    /// Which earlier builds may be reused.
    pub policy: Policy,
    /// Packages whose whole payload counts for those that build with them.
    pub toolchain: BTreeSet<String>,
    /// What stands for each package already, by position.
    pub standing: Vec<Option<Artifact>>,
    /// What has to be built, or may have to be, in order.
    pub demand: Vec<PackageIndex>,
    is_demanded: Vec<bool>,
    /// By position, whether there is an earlier build of this version that could stand for it.
    was_built: Vec<bool>,
    /// The repositories as builds will see them; only made when something has to be built.
    pub trees: Option<Trees>,
}

/// The machine as configured.
///
/// # Errors
/// If private roots cannot be made here, and what to do about it.
pub fn machine(config: &Config) -> Result<Machine> {
    let portage = &config.portage;
    let absolute =
        |path: &PathBuf| std::path::absolute(path).map_err(|error| anyhow!("{}: {error}", path.display()));
    let directory = |name: &str, path: &PathBuf| {
        let path = absolute(path)?;
        let error =
            || anyhow!("{} is not a directory; correct `{name}` of the configuration", path.display());
        path.is_dir().then(|| path.clone()).ok_or_else(error)
    };
    let tools = portage.tools.iter().map(|path| directory("portage.tools", path));
    Ok(Machine {
        config_root: absolute(&portage.config_root)?,
        base: directory("portage.base", &portage.base)?,
        portage: portage.prefix.as_ref().map(|path| directory("portage.prefix", path)).transpose()?,
        tools: tools.collect::<Result<_>>()?,
        rights: root::probe()?,
    })
}

/// Plans `request`, with temporary files below `work`; `store` is looked up if there is one.
///
/// # Errors
/// Portage's refusals, and whatever kept it from being asked.
pub fn plan(
    config: &Config,
    state: &State,
    store: Option<&Store>,
    request: &Request,
    work: &Path,
) -> Result<Planned> {
    plan_with(config, state, store, request, work, |resolution, standing| {
        let is_there = |index: PackageIndex| standing[index.get()].is_some();
        Demand {
            packages: resolution.requirements.demand(&resolution.plan, is_there),
            policy: config.build.policy,
            builds_more: false,
        }
    })
}

/// What is to be built of a plan, and how.
#[derive(Debug)]
pub(crate) struct Demand {
    /// The packages, in order.
    pub(crate) packages: Vec<PackageIndex>,
    /// Whether it may be found to be there after all.
    pub(crate) policy: Policy,
    /// Whether something else will be built too.
    pub(crate) builds_more: bool,
}

/// As [`plan`], but `demand` says what is to be built, given what stands for each package.
///
/// # Errors
/// As [`plan`].
pub(crate) fn plan_with(
    config: &Config,
    state: &State,
    store: Option<&Store>,
    request: &Request,
    work: &Path,
    demand: impl FnOnce(&Resolution, &mut [Option<Artifact>]) -> Demand,
) -> Result<Planned> {
    let machine = machine(config)?;
    let configuration =
        Configuration::capture(&machine.config_root, &machine.base, &work.join("configuration"))?;
    let export = report::while_waiting("Calculating dependencies", || {
        resolve::export(&machine, &configuration, request, &state.metadata_cache(), &work.join("resolve"))
    })?;
    let mut recipes = resolve::recipes(&machine, &configuration, &export)?;
    let resolution = resolve::keyed(export, &mut recipes)?;

    let toolchain = config.build.toolchain();
    let rules = Rules { policy: config.build.policy, toolchain: &toolchain };
    let mut standing = match store {
        Some(store) => look_up(store, &resolution, rules)?,
        None => vec![None; resolution.plan.packages().len()],
    };
    let Demand { packages: demand, policy, builds_more } = demand(&resolution, &mut standing);
    let mut is_demanded = vec![false; resolution.plan.packages().len()];
    demand.iter().for_each(|index| is_demanded[index.get()] = true);
    let was_built = was_built(store, &resolution, &demand)?;
    let trees = if demand.is_empty() && !builds_more {
        None
    } else {
        Some(Trees::capture(&configuration, &resolution.export, &recipes, &work.join("trees"))?)
    };
    Ok(Planned {
        machine,
        configuration,
        resolution,
        policy,
        toolchain,
        standing,
        demand,
        is_demanded,
        was_built,
        trees,
    })
}

/// Finds what stands for each package: its own key's artifact, else, dependencies first, another of which the
/// policy says that it would come out the same.
fn look_up(store: &Store, resolution: &Resolution, rules: Rules<'_>) -> Result<Vec<Option<Artifact>>> {
    let keys: Vec<BuildKey> = resolution.keyed().map(|(_, key)| key).collect();
    let mut found = store.artifacts(&keys)?;
    let mut standing = vec![None; resolution.plan.packages().len()];
    for (index, key) in resolution.keyed() {
        standing[index.get()] = found.remove(&key);
    }
    if rules.policy == Policy::Exact {
        return Ok(standing);
    }
    for level in resolution.requirements.levels() {
        let open = level.iter().copied().filter(|index| standing[index.get()].is_none());
        let keyed: Vec<(PackageIndex, ReuseKey)> = open
            .filter_map(|index| {
                let spec = resolution.reuse_spec(index, rules, |at| outputs(&standing, at))?;
                Some((index, address::reuse_key(&spec)))
            })
            .collect();
        let keys: Vec<ReuseKey> = keyed.iter().map(|(_, key)| *key).collect();
        let found = store.reused(&keys)?;
        for (index, key) in keyed {
            standing[index.get()] = found.get(&key).cloned();
        }
    }
    Ok(standing)
}

/// For each demanded package, whether the store has any build of this version of it.
fn was_built(store: Option<&Store>, resolution: &Resolution, demand: &[PackageIndex]) -> Result<Vec<bool>> {
    let mut found = vec![false; resolution.plan.packages().len()];
    let Some(store) = store else { return Ok(found) };
    for index in demand {
        let package = &resolution.plan.package(*index).package;
        found[index.get()] =
            store.artifacts_of(package.cp())?.iter().any(|artifact| artifact.package == *package);
    }
    Ok(found)
}

fn outputs(standing: &[Option<Artifact>], index: PackageIndex) -> Option<Outputs> {
    let artifact = standing[index.get()].as_ref()?;
    Some(Outputs { interface: artifact.interface, payload: artifact.payload })
}

/// What becomes of one package of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Its key resolves.
    Hit,
    /// An earlier build stands for it: what differs cannot reach it.
    Reuse,
    /// It has to be built.
    Build,
    /// It is built, unless what it depends on comes out such that an earlier build stands for it.
    Undecided,
    /// It is not there and not needed: only builds that are hits would use it.
    Unneeded,
    /// It stands in the build root.
    Installed,
}

impl Fate {
    /// Its name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Reuse => "reuse",
            Self::Build => "build",
            Self::Undecided => "undecided",
            Self::Unneeded => "unneeded",
            Self::Installed => "installed",
        }
    }
}

impl Planned {
    /// What becomes of the package at `index`.
    #[must_use]
    pub fn fate(&self, index: PackageIndex) -> Fate {
        let key = self.resolution.keys.of(index);
        match &self.standing[index.get()] {
            _ if key.is_none() => Fate::Installed,
            Some(artifact) if Some(artifact.key) == key => Fate::Hit,
            Some(_) => Fate::Reuse,
            None if !self.is_demanded[index.get()] => Fate::Unneeded,
            None if self.policy == Policy::Exact || !self.was_built[index.get()] => Fate::Build,
            None if self.reuse_spec(index, self.policy, &self.standing).is_some() => Fate::Build,
            None => Fate::Undecided,
        }
    }

    /// What each planned key resolves to now, by position.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn planned_artifacts(&self, store: &Store) -> Result<Vec<Option<Artifact>>> {
        let rules = Rules { policy: Policy::Exact, toolchain: &self.toolchain };
        look_up(store, &self.resolution, rules)
    }

    /// Whether an attempt at the package at `index` may have to be made.
    #[must_use]
    pub fn is_demanded(&self, index: PackageIndex) -> bool {
        self.is_demanded[index.get()]
    }

    /// The specification by which an earlier build may stand for a package, given what stands for the others.
    #[must_use]
    pub fn reuse_spec(
        &self,
        index: PackageIndex,
        policy: Policy,
        standing: &[Option<Artifact>],
    ) -> Option<BuildSpec> {
        let rules = Rules { policy, toolchain: &self.toolchain };
        self.resolution.reuse_spec(index, rules, |dependency| outputs(standing, dependency))
    }

    /// The reuse keys of a package, one for each policy that has any.
    #[must_use]
    pub fn reuse_keys(&self, index: PackageIndex, standing: &[Option<Artifact>]) -> Vec<ReuseKey> {
        let policies = Policy::ALL.into_iter().filter(|policy| *policy != Policy::Exact);
        policies
            .filter_map(|policy| Some(address::reuse_key(&self.reuse_spec(index, policy, standing)?)))
            .collect()
    }
}
