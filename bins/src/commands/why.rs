//! `why`: hit or miss, and on a miss which input differs from the nearest earlier build.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::{Context, Result};
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
    let planned = planning::plan(config, &state, store.as_ref(), &options.request.to_portage(), work.path())?;
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
    BuildSpec::decode(&bytes)
        .with_context(|| format!("the preimage of {} ({})", artifact.key, artifact.package))
}

#[derive(serde::Serialize)]
struct Answer {
    package: String,
    key: buildswarm_core::BuildKey,
    fate: &'static str,
    /// When the hit, or the nearest earlier build, was built, and on what.
    #[serde(skip_serializing_if = "Option::is_none")]
    nearest: Option<Nearest>,
    differences: Vec<Named>,
}

#[derive(serde::Serialize)]
struct Nearest {
    key: buildswarm_core::BuildKey,
    package: String,
    built_at: u64,
    builder: String,
}

#[derive(serde::Serialize)]
struct Named {
    text: String,
    #[serde(flatten)]
    difference: Difference,
}

impl Nearest {
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
        let keyed = planned.resolution.keyed[index.get()].as_ref().context("it has no key")?;
        let fate = planned.fate(index);
        let package = keyed.spec.inputs.package.to_string();
        let mut answer =
            Self { package, key: keyed.key, fate: fate_text(fate), nearest: None, differences: Vec::new() };
        if let Some(artifact) = planned.hits.get(&keyed.key) {
            answer.nearest = Some(Nearest::of(artifact));
            return Ok(answer);
        }
        let Some(store) = store else { return Ok(answer) };
        let earlier = store.artifacts_of(keyed.spec.inputs.package.cp())?;
        let mut nearest: Option<(Vec<Difference>, &Artifact)> = None;
        for artifact in earlier.iter().take(COMPARED) {
            let found = differences(&spec_of(store, artifact)?, &keyed.spec);
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
        match (&self.nearest, self.fate) {
            (Some(nearest), "hit") => {
                let time = jiff::Timestamp::from_second(i64::try_from(nearest.built_at).unwrap_or(0));
                let time = time.map_or_else(|_| String::new(), |time| time.to_string());
                println!("{package} {}: built {time} on {}", colors.good("hit"), nearest.builder);
            }
            (None, fate) => println!("{package} {}: never built before", colors.notice(fate)),
            (Some(nearest), fate) => {
                println!("{package} {}: differs from the build {}", colors.notice(fate), nearest.key.short());
                for difference in &self.differences {
                    println!("  {}", difference.text);
                }
            }
        }
    }
}

const fn fate_text(fate: Fate) -> &'static str {
    match fate {
        Fate::Hit => "hit",
        Fate::Build => "miss",
        Fate::Unneeded => "not needed",
        Fate::Installed => "installed",
    }
}

/// Follows a rebuilt dependency to what differs in it, and in what it was built with, to the root of it.
fn explained(planned: &Planned, store: &Store, found: Vec<Difference>) -> Result<Vec<Named>> {
    let mut named = Vec::new();
    for difference in found {
        let mut text = difference.to_string();
        if let Difference::Dependency { before: Some(before), after: Some(after), .. } = &difference
            && before.version == after.version
            && let (Some(before), Some(after)) = (before.key, after.key)
            && let Some(cause) = cause(planned, store, before, after)?
        {
            text = format!("{text}: {cause}");
        }
        named.push(Named { text, difference });
    }
    Ok(named)
}

/// The first input that differs between two builds of a dependency and is not itself a dependency, looked for
/// along dependencies.
fn cause(
    planned: &Planned,
    store: &Store,
    before: buildswarm_core::BuildKey,
    after: buildswarm_core::BuildKey,
) -> Result<Option<String>> {
    let mut seen = BTreeSet::new();
    let mut pending = vec![(before, after)];
    while let Some(pair) = pending.pop() {
        if !seen.insert(pair) {
            continue;
        }
        let Some(artifact) = store.artifact(pair.0)? else { continue };
        let Some(spec) = spec_behind(planned, store, pair.1)? else { continue };
        let found = differences(&spec_of(store, &artifact)?, &spec);
        let own = found.iter().find(|difference| {
            !matches!(difference, Difference::Dependency { before: Some(a), after: Some(b), .. } if a.version == b.version)
        });
        if let Some(own) = own {
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
fn spec_behind(
    planned: &Planned,
    store: &Store,
    key: buildswarm_core::BuildKey,
) -> Result<Option<BuildSpec>> {
    if let Some((_, keyed)) = planned.resolution.keyed().find(|(_, keyed)| keyed.key == key) {
        return Ok(Some(keyed.spec.clone()));
    }
    store.artifact(key)?.map(|artifact| spec_of(store, &artifact)).transpose()
}
