//! `why`: hit or miss, and on a miss which input differs from the nearest earlier build.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::{Context, Result};
use buildswarm_core::BuildKey;
use buildswarm_core::artifact::Artifact;
use buildswarm_core::plan::PackageIndex;
use buildswarm_core::spec::BuildSpec;
use buildswarm_core::spec::difference::{Difference, differences};
use buildswarm_store::Store;

use super::plan::existing_store;
use crate::cli::Why;
use crate::config::Config;
use crate::planning::{self, Fate, Planned};
use crate::report::Colors;
use crate::state::State;

/// A preimage is a few kilobytes; more than this is not one.
const PREIMAGE_MAX: u64 = 16 << 20;
/// Earlier builds compared to find the nearest: the newest ones, of which there are rarely more.
const COMPARED: usize = 50;

pub(super) fn run(config: &Config, options: &Why) -> Result<ExitCode> {
    let state = State::of(config)?;
    let store = existing_store(&state)?;
    let work = state.work_directory()?;
    let config = config.with_policy(options.request.policy);
    let planned =
        planning::plan(&config, &state, store.as_ref(), &options.request.to_portage(), work.path())?;
    let requested: BTreeSet<PackageIndex> = planned.resolution.plan.requested().iter().copied().collect();
    let mut answers = Vec::new();
    for (index, _) in planned.resolution.keyed() {
        if options.all || requested.contains(&index) {
            answers.push(Answer::of(&planned, store.as_ref(), index)?);
        }
    }
    if options.json {
        println!("{}", serde_json::to_string(&answers)?);
    } else {
        let colors = Colors::of(&std::io::stdout());
        answers.iter().for_each(|answer| answer.print(colors));
    }
    Ok(ExitCode::SUCCESS)
}

/// The specification behind an artifact.
pub(super) fn spec_of(store: &Store, artifact: &Artifact) -> Result<BuildSpec> {
    let bytes = store.read_blob(artifact.preimage.id, PREIMAGE_MAX)?;
    BuildSpec::decode(&bytes).with_context(|| {
        let (key, package) = (artifact.key, &artifact.package);
        format!("what {key} ({package}) was made of cannot be read; another version wrote it")
    })
}

#[derive(serde::Serialize)]
struct Answer {
    package: String,
    key: BuildKey,
    fate: &'static str,
    /// When the hit, or the nearest earlier build, was built, and on what.
    #[serde(skip_serializing_if = "Option::is_none")]
    nearest: Option<Nearest>,
    /// What has to be known before it can be said.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    waits_for: Vec<String>,
    differences: Vec<Named>,
}

#[derive(serde::Serialize)]
struct Nearest {
    key: BuildKey,
    package: String,
    built_at: u64,
    builder: String,
}

#[derive(serde::Serialize)]
pub(super) struct Named {
    pub(super) text: String,
    #[serde(flatten)]
    difference: Difference,
}

impl Nearest {
    fn time(&self) -> String {
        let time = jiff::Timestamp::from_second(i64::try_from(self.built_at).unwrap_or(0));
        time.map_or_else(|_| String::new(), |time| time.to_string())
    }

    fn of(artifact: &Artifact) -> Self {
        Self {
            key: artifact.key,
            package: artifact.package.to_string(),
            built_at: artifact.built_at.0,
            builder: artifact.builder.clone(),
        }
    }
}

impl Answer {
    fn of(planned: &Planned, store: Option<&Store>, index: PackageIndex) -> Result<Self> {
        let key = planned.resolution.keys.of(index).context("it has no key")?;
        let fate = planned.fate(index);
        let package = planned.resolution.plan.package(index).package.clone();
        let mut answer = Self {
            package: package.to_string(),
            key,
            fate: fate_text(fate),
            nearest: None,
            waits_for: Vec::new(),
            differences: Vec::new(),
        };
        if let Some(artifact) = &planned.standing[index.get()] {
            answer.nearest = Some(Nearest::of(artifact));
            if let (Fate::Reuse, Some(store)) = (fate, store) {
                let spec = planned.resolution.planned_spec(index).context("it has no specification")?;
                let found = differences(&spec_of(store, artifact)?, &spec);
                answer.differences = explained(planned, store, found)?;
            }
            return Ok(answer);
        }
        if fate == Fate::Undecided {
            let needs = planned.resolution.requirements.of(index).iter();
            let open = needs.filter(|need| planned.is_demanded(need.package));
            answer.waits_for =
                open.map(|need| planned.resolution.plan.package(need.package).package.to_string()).collect();
        }
        let Some(store) = store else { return Ok(answer) };
        let spec = planned.resolution.planned_spec(index).context("it has no specification")?;
        let earlier = store.artifacts_of(package.cp())?;
        let mut nearest: Option<(Vec<Difference>, &Artifact)> = None;
        for artifact in earlier.iter().take(COMPARED) {
            // Those of an earlier format cannot be compared, nor used.
            let Ok(before) = spec_of(store, artifact) else { continue };
            let found = differences(&before, &spec);
            if nearest.as_ref().is_none_or(|(fewest, _)| found.len() < fewest.len()) {
                nearest = Some((found, artifact));
            }
        }
        if let Some((found, artifact)) = nearest {
            answer.nearest = Some(Nearest::of(artifact));
            answer.differences = explained(planned, store, found)?;
        }
        Ok(answer)
    }

    fn print(&self, colors: Colors) {
        let package = colors.name(&self.package);
        let fate = self.fate;
        match &self.nearest {
            Some(nearest) if fate == "hit" => {
                println!("{package} {}: built {} on {}", colors.good(fate), nearest.time(), nearest.builder);
            }
            Some(nearest) if fate == "reuse" => {
                let (time, builder, key) = (nearest.time(), &nearest.builder, nearest.key.short());
                println!(
                    "{package} {}: the build {key}, made {time} on {builder}, stands for it; of what differs \
                     nothing can reach it",
                    colors.good(fate)
                );
            }
            Some(nearest) => {
                println!("{package} {}: differs from the build {}", colors.notice(fate), nearest.key.short());
            }
            None => println!("{package} {}: never built before", colors.notice(fate)),
        }
        self.differences.iter().for_each(|difference| println!("  {}", difference.text));
        if !self.waits_for.is_empty() {
            println!(
                "  is reused if what others see of this is as it was before: {}",
                self.waits_for.join(", ")
            );
        }
    }
}

const fn fate_text(fate: Fate) -> &'static str {
    match fate {
        Fate::Hit => "hit",
        Fate::Reuse => "reuse",
        Fate::Build => "miss",
        Fate::Undecided => "undecided",
        Fate::Unneeded => "not needed",
        Fate::Installed => "installed",
    }
}

/// Follows a rebuilt dependency to what differs in it, and in what it was built with, to the root of it; and says
/// whether that can reach who depends on it.
pub(super) fn explained(planned: &Planned, store: &Store, found: Vec<Difference>) -> Result<Vec<Named>> {
    let mut named = Vec::new();
    for difference in found {
        let mut text = difference.to_string();
        if let Difference::Dependency { package, before: Some(before), after: Some(after) } = &difference
            && let (Some(before_key), Some(after_key)) = (before.key, after.key)
        {
            if let Some(outcome) = outcome(planned, store, package, &after.slot, before_key)? {
                text = format!("{text} with {outcome}");
            }
            if before.version == after.version
                && let Some(cause) = cause(planned, store, before_key, after_key)?
            {
                text = format!("{text}: {cause}");
            }
        }
        named.push(Named { text, difference });
    }
    Ok(named)
}

/// What became of the interface of a dependency, if it has been built again already.
fn outcome(
    planned: &Planned,
    store: &Store,
    package: &str,
    slot: &str,
    before: BuildKey,
) -> Result<Option<&'static str>> {
    let plan = &planned.resolution.plan;
    let is_it = |index: &PackageIndex| {
        let candidate = plan.package(*index);
        candidate.package.cp() == package && candidate.slot.to_string() == slot
    };
    let Some(index) = plan.indices().find(is_it) else { return Ok(None) };
    let (Some(after), Some(before)) = (&planned.standing[index.get()], store.artifact(before)?) else {
        return Ok(None);
    };
    Ok(Some(if before.payload == after.payload {
        "the same bytes"
    } else if before.interface == after.interface {
        "the same interface"
    } else {
        "another interface"
    }))
}

/// The first input that differs between two builds of a dependency and is not itself a dependency, looked for
/// along dependencies.
fn cause(planned: &Planned, store: &Store, before: BuildKey, after: BuildKey) -> Result<Option<String>> {
    let mut seen = BTreeSet::new();
    let mut pending = vec![(before, after)];
    while let Some(pair) = pending.pop() {
        if !seen.insert(pair) {
            continue;
        }
        let Some(artifact) = store.artifact(pair.0)? else { continue };
        let Some(spec) = spec_behind(planned, store, pair.1)? else { continue };
        let found = differences(&spec_of(store, &artifact)?, &spec);
        let is_other_build = |difference: &&Difference| matches!(difference, Difference::Dependency { before: Some(a), after: Some(b), .. } if a.version == b.version);
        if let Some(own) = found.iter().find(|difference| !is_other_build(difference)) {
            return Ok(Some(format!("{}: {own}", spec.inputs.package)));
        }
        pending.extend(found.iter().filter_map(|difference| match difference {
            Difference::Dependency { before: Some(before), after: Some(after), .. } => {
                Some((before.key?, after.key?))
            }
            _ => None,
        }));
    }
    Ok(None)
}

/// The specification of a key that is in the plan or in the store.
fn spec_behind(planned: &Planned, store: &Store, key: BuildKey) -> Result<Option<BuildSpec>> {
    if let Some((index, _)) = planned.resolution.keyed().find(|(_, planned)| *planned == key) {
        return Ok(planned.resolution.planned_spec(index));
    }
    store.artifact(key)?.map(|artifact| spec_of(store, &artifact)).transpose()
}
