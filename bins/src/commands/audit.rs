//! `audit`: earlier builds that stand for others, or for themselves, built again and compared.
//!
//! What a policy lets stand for a package is built from scratch as the exact policy would; the payloads must be the
//! same. Where they are not, a second build from scratch tells a false reuse from a package that never comes out
//! the same twice.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use buildswarm_core::artifact::Artifact;
use buildswarm_core::plan::PackageIndex;
use buildswarm_core::policy::Policy;
use buildswarm_core::spec::difference::differences;
use buildswarm_portage::gpkg::{self, Limits, PayloadDifference};
use buildswarm_portage::resolve::Resolution;
use buildswarm_store::{Purpose, Run, Store};

use super::why::{explained, spec_of};
use crate::attempt::now;
use crate::cli::Audit;
use crate::config::Config;
use crate::planning::{self, Demand, Planned};
use crate::report::{Colors, Report};
use crate::state::State;
use crate::swarm::{self, Local};

/// What came of one package.
#[derive(Debug, serde::Serialize)]
struct Finding {
    package: String,
    verdict: Verdict,
    /// The artifact in question.
    artifact: buildswarm_core::BuildKey,
    /// The key it was built again under.
    rebuilt: buildswarm_core::BuildKey,
    /// Which inputs differ between the two.
    inputs: Vec<String>,
    /// Which files differ.
    files: Vec<PayloadDifference>,
    /// Why it could not be built again.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// The same payload.
    Same,
    /// Two builds from the very same inputs differ: nothing can be said of its reuse.
    NotReproducible,
    /// Built from scratch it is another payload, and always the same other one.
    FalseReuse,
    /// It does not build from scratch.
    NotBuilt,
}

impl Verdict {
    const fn words(self) -> &'static str {
        match self {
            Self::Same => "the same",
            Self::NotReproducible => "not reproducible",
            Self::FalseReuse => "FALSE REUSE",
            Self::NotBuilt => "not built",
        }
    }
}

pub(super) fn run(config: &Config, options: &Audit) -> Result<ExitCode> {
    let start = Instant::now();
    let config = config.with_policy(options.request.policy);
    if config.build.policy == Policy::Exact && !options.hits {
        bail!("under the policy exact nothing is reused; say --hits to build hits again");
    }
    let state = State::of(&config)?;
    let store = state.open_store()?;
    let work = state.work_directory()?;
    let request = options.request.to_portage();
    let mut chosen = Vec::new();
    let planned =
        planning::plan_with(&config, &state, Some(&store), &request, work.path(), |plan, standing| {
            chosen = choose(plan, standing, options);
            demand(plan, standing, &chosen)
        })?;
    let local = Local { config: &config, state: &state, store: &store, work: work.path() };
    let begins = || {
        let label = format!("audit {}", request.arguments.join(" "));
        Run { label, purpose: Purpose::Audit, started: now() }
    };
    let mut report = Report::new(super::style(options.json, options.quiet));
    let summary = swarm::run(local, &planned, &begins(), start, &mut report);
    report.end();
    if summary?.interrupted {
        return Ok(ExitCode::from(130));
    }
    let findings = compare(local, &planned, &begins(), &chosen, options)?;
    print(&findings, options)?;
    // What could not be built again was not audited.
    let is_fine = |finding: &Finding| matches!(finding.verdict, Verdict::Same | Verdict::NotReproducible);
    Ok(if findings.iter().all(is_fine) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The packages in question, with what stands for them.
fn choose(
    resolution: &Resolution,
    standing: &[Option<Artifact>],
    options: &Audit,
) -> Vec<(PackageIndex, Artifact)> {
    let mut chosen: Vec<(PackageIndex, Artifact)> = resolution
        .keyed()
        .filter_map(|(index, key)| Some((index, key, standing[index.get()].clone()?)))
        .filter(|(_, key, artifact)| options.hits || artifact.key != *key)
        .map(|(index, _, artifact)| (index, artifact))
        .collect();
    if let Some(sample) = options.sample {
        // By key: as good as drawn, and the same when asked again.
        chosen.sort_by_key(|(_, artifact)| artifact.key);
        chosen.truncate(sample);
        chosen.sort_by_key(|(index, _)| *index);
    }
    chosen
}

/// Everything the packages in question are built with, and they themselves where their own key resolves to nothing.
fn demand(
    resolution: &Resolution,
    standing: &mut [Option<Artifact>],
    chosen: &[(PackageIndex, Artifact)],
) -> Demand {
    for (index, key) in resolution.keyed() {
        let place = &mut standing[index.get()];
        if place.as_ref().is_some_and(|artifact| artifact.key != key) {
            *place = None;
        }
    }
    let below = |index: &PackageIndex| resolution.requirements.of(*index).iter().map(|need| need.package);
    let goals = chosen.iter().flat_map(|(index, _)| below(index).chain([*index]));
    let is_there = |index: PackageIndex| standing[index.get()].is_some();
    let packages = resolution.requirements.demand_of(&resolution.plan, goals, is_there);
    Demand { packages, policy: Policy::Exact, builds_more: !chosen.is_empty() }
}

fn compare(
    local: Local<'_>,
    planned: &Planned,
    begins: &Run,
    chosen: &[(PackageIndex, Artifact)],
    options: &Audit,
) -> Result<Vec<Finding>> {
    let rebuilt = planned.planned_artifacts(local.store)?;
    let mut findings = BTreeMap::new();
    let mut again = Vec::new();
    for (index, artifact) in chosen {
        let key = planned.resolution.keys.of(*index).context("it has no key")?;
        let mut finding = Finding {
            package: artifact.package.to_string(),
            verdict: Verdict::Same,
            artifact: artifact.key,
            rebuilt: key,
            inputs: Vec::new(),
            files: Vec::new(),
            failure: None,
        };
        match &rebuilt[index.get()] {
            None => {
                finding.verdict = Verdict::NotBuilt;
                finding.failure = Some(
                    "it or what it needs does not build from scratch; `build-swarm logs` says why".to_owned(),
                );
            }
            Some(exact) if exact.key == artifact.key => again.push(*index),
            Some(exact) if exact.payload != artifact.payload => {
                let spec = planned.resolution.planned_spec(*index).context("it has no specification")?;
                let found = differences(&spec_of(local.store, artifact)?, &spec);
                let named = explained(planned, local.store, found)?;
                finding.inputs = named.into_iter().map(|difference| difference.text).collect();
                finding.files = files(local.store, artifact, exact)?;
                again.push(*index);
            }
            Some(_) => {}
        }
        findings.insert(*index, finding);
    }
    if !again.is_empty() && !options.quiet && !options.json {
        let name = |index: &PackageIndex| planned.resolution.plan.package(*index).package.to_string();
        let names: Vec<String> = again.iter().map(name).collect();
        eprintln!(
            ">>> Building once more, to see whether it always comes out the same: {}",
            names.join(", ")
        );
    }
    swarm::rebuild(local, planned, &again, begins, |index, second| {
        let (Some(finding), Some(first)) = (findings.get_mut(&index), &rebuilt[index.get()]) else {
            return Ok(());
        };
        let is_reuse = finding.artifact != finding.rebuilt;
        match second {
            Err(failure) => {
                finding.verdict = Verdict::NotBuilt;
                finding.failure = Some(failure.message);
            }
            Ok(second) if second.payload != first.payload => {
                finding.verdict = Verdict::NotReproducible;
                finding.files = files(local.store, first, &second)?;
            }
            Ok(_) if is_reuse => finding.verdict = Verdict::FalseReuse,
            Ok(_) => {}
        }
        Ok(())
    })?;
    Ok(findings.into_values().collect())
}

fn files(store: &Store, before: &Artifact, after: &Artifact) -> Result<Vec<PayloadDifference>> {
    let open = |artifact: &Artifact| -> Result<File> {
        let reader = store.open_blob(artifact.file.id)?;
        let mut reader = reader.with_context(|| format!("the package of {} is not there", artifact.key))?;
        let mut file = tempfile::tempfile().context("a temporary file cannot be made")?;
        io::copy(&mut reader, &mut file)?;
        file.rewind()?;
        Ok(file)
    };
    Ok(gpkg::compare(open(before)?, open(after)?, &Limits::STANDARD)?)
}

fn print(findings: &[Finding], options: &Audit) -> Result<()> {
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    if options.json {
        println!(
            "{}",
            serde_json::json!({
                "audited": findings.len(),
                "same": count(Verdict::Same),
                "false_reuse": count(Verdict::FalseReuse),
                "not_reproducible": count(Verdict::NotReproducible),
                "not_built": count(Verdict::NotBuilt),
                "packages": findings,
            })
        );
        return Ok(());
    }
    if findings.is_empty() {
        let what = if options.hits { "in the store" } else { "reused; say --hits to build hits again" };
        println!("nothing to audit: nothing of this is {what}");
        return Ok(());
    }
    let colors = Colors::of(&std::io::stdout());
    for finding in findings {
        let words = finding.verdict.words();
        let words = match finding.verdict {
            Verdict::Same => colors.good(words),
            Verdict::NotReproducible | Verdict::NotBuilt => colors.notice(words),
            Verdict::FalseReuse => colors.bad(words),
        };
        println!("{} {words}", colors.name(&finding.package));
        if finding.verdict == Verdict::FalseReuse {
            finding.inputs.iter().for_each(|input| println!("  {input}"));
        }
        finding.files.iter().for_each(|file| println!("  {file}"));
        finding
            .failure
            .iter()
            .for_each(|failure| println!("  {}", failure.lines().next().unwrap_or_default()));
    }
    println!(
        "{} audited: {} the same, {} false reuse, {} not reproducible, {} not built",
        findings.len(),
        count(Verdict::Same),
        count(Verdict::FalseReuse),
        count(Verdict::NotReproducible),
        count(Verdict::NotBuilt),
    );
    if count(Verdict::FalseReuse) > 0 {
        println!("What was built from scratch is a hit from now on: build again before you publish.");
    }
    Ok(())
}
