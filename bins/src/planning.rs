//! From a request to what has to be built: captured, resolved, keyed and looked up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use buildswarm_core::BuildKey;
use buildswarm_core::artifact::Artifact;
use buildswarm_core::plan::PackageIndex;
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
    /// What the keys resolve to.
    pub hits: BTreeMap<BuildKey, Artifact>,
    /// What has to be built, in order.
    pub demand: Vec<PackageIndex>,
    is_demanded: Vec<bool>,
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
    let machine = machine(config)?;
    let configuration =
        Configuration::capture(&machine.config_root, &machine.base, &work.join("configuration"))?;
    let export = report::while_waiting("Calculating dependencies", || {
        resolve::export(&machine, &configuration, request, &state.metadata_cache(), &work.join("resolve"))
    })?;
    let mut recipes = resolve::recipes(&machine, &configuration, &export)?;
    let resolution = resolve::keyed(export, &mut recipes)?;

    let keys: Vec<BuildKey> = resolution.keyed().map(|(_, keyed)| keyed.key).collect();
    let hits = store.map(|store| store.artifacts(&keys)).transpose()?.unwrap_or_default();
    let demand = resolution.requirements.demand(&resolution.plan, |index| {
        resolution.keyed[index.get()].as_ref().is_some_and(|keyed| hits.contains_key(&keyed.key))
    });
    let mut is_demanded = vec![false; resolution.plan.packages().len()];
    demand.iter().for_each(|index| is_demanded[index.get()] = true);
    let trees = if demand.is_empty() {
        None
    } else {
        Some(Trees::capture(&configuration, &resolution.export, &recipes, &work.join("trees"))?)
    };
    Ok(Planned { machine, configuration, resolution, hits, demand, is_demanded, trees })
}

/// What becomes of one package of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Its key resolves.
    Hit,
    /// It has to be built.
    Build,
    /// It is not there and not needed: only builds that are hits would use it.
    Unneeded,
    /// It stands in the build root.
    Installed,
}

impl Planned {
    /// What becomes of the package at `index`.
    #[must_use]
    pub fn fate(&self, index: PackageIndex) -> Fate {
        match &self.resolution.keyed[index.get()] {
            None => Fate::Installed,
            Some(keyed) if self.hits.contains_key(&keyed.key) => Fate::Hit,
            Some(_) if self.is_demanded[index.get()] => Fate::Build,
            Some(_) => Fate::Unneeded,
        }
    }
}
