//! `plan`, and how a plan is shown.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::Result;
use buildswarm_core::plan::{Origin, PackageIndex};
use buildswarm_portage::export::Node;
use buildswarm_store::Store;

use crate::cli::{PlanArgs, Request};
use crate::config::Config;
use crate::planning::{self, Fate, Planned};
use crate::report::Colors;
use crate::state::State;

pub(super) fn run(config: &Config, options: &PlanArgs) -> Result<ExitCode> {
    show(config, &options.request, options.verbose, options.json)
}

/// Plans and shows the plan, beside whoever uses the store.
pub(super) fn show(config: &Config, request: &Request, verbose: bool, json: bool) -> Result<ExitCode> {
    let state = State::of(config)?;
    let store = existing_store(&state)?;
    let work = state.work_directory()?;
    let config = config.with_policy(request.policy);
    let planned = planning::plan(&config, &state, store.as_ref(), &request.to_portage(), work.path())?;
    if json {
        println!("{}", as_json(&planned)?);
    } else {
        print_tree(&planned, verbose);
    }
    Ok(ExitCode::SUCCESS)
}

/// The store, for reading. Without one nothing is a hit; a plan needs no more than that.
pub(super) fn existing_store(state: &State) -> Result<Option<Store>> {
    match state.read_store() {
        Ok(store) => Ok(Some(store)),
        Err(error) if is_no_store(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_no_store(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(buildswarm_store::Error::NoStore { .. }))
}

/// The plan as one document.
pub(super) fn as_json(planned: &Planned) -> Result<String> {
    let resolution = &planned.resolution;
    let plan = &resolution.plan;
    let packages: Vec<serde_json::Value> = plan
        .indices()
        .map(|index| {
            let node = resolution.node(index);
            let artifact = planned.standing[index.get()].as_ref().map(|artifact| artifact.key);
            let dependencies: Vec<serde_json::Value> = plan
                .dependencies(index)
                .iter()
                .map(|edge| {
                    serde_json::json!({
                        "package": plan.package(edge.to).package,
                        "classes": edge.classes.names().collect::<Vec<_>>(),
                        "slot_operator": edge.binds_slot,
                    })
                })
                .collect();
            serde_json::json!({
                "package": plan.package(index).package,
                "slot": plan.package(index).slot,
                "repository": node.repo,
                "eapi": node.eapi,
                "use": node.use_flags,
                "iuse": node.declared_use,
                "use_expand": node.use_expand,
                "keywords": node.keywords,
                "fate": planned.fate(index).name(),
                "key": resolution.keys.of(index),
                "artifact": artifact,
                "dependencies": dependencies,
            })
        })
        .collect();
    let export = &resolution.export;
    let count = |fate| plan.indices().filter(|index| planned.fate(*index) == fate).count();
    Ok(serde_json::to_string(&serde_json::json!({
        "schema": 1,
        "policy": planned.policy,
        "portage": export.generator.portage,
        "requested": plan.requested().iter().map(|at| &plan.package(*at).package).collect::<Vec<_>>(),
        "packages": packages,
        "blockers": export.blockers.iter().map(|blocker| &blocker.atom).collect::<Vec<_>>(),
        "warnings": export.warnings,
        "summary": {
            "packages": resolution.keyed().count(),
            "build": count(Fate::Build),
            "undecided": count(Fate::Undecided),
            "hits": count(Fate::Hit),
            "reused": count(Fate::Reuse),
            "unneeded": count(Fate::Unneeded),
            "installed": count(Fate::Installed),
        },
    }))?)
}

/// The plan as a tree, every package below the first that needs it.
pub(super) fn print_tree(planned: &Planned, verbose: bool) {
    let mut tree = Tree { planned, verbose, colors: Colors::of(&std::io::stdout()), shown: BTreeSet::new() };
    let plan = &planned.resolution.plan;
    for index in plan.requested() {
        tree.print(*index);
    }
    // What nothing requested reaches through an edge, for instance a provider chosen by hand.
    for index in plan.indices().filter(|index| plan.package(*index).origin == Origin::Build) {
        tree.print(index);
    }
    let count = |fate| plan.indices().filter(|index| planned.fate(*index) == fate).count();
    let mut parts = vec![format!("{} to build", count(Fate::Build)), format!("{} hits", count(Fate::Hit))];
    let rare = [
        (Fate::Reuse, "reused"),
        (Fate::Undecided, "to build unless their dependencies come out the same"),
        (Fate::Unneeded, "not needed"),
    ];
    let rare = rare.into_iter().map(|(fate, what)| (count(fate), what)).filter(|(count, _)| *count > 0);
    parts.extend(rare.map(|(count, what)| format!("{count} {what}")));
    for warning in &planned.resolution.export.warnings {
        eprintln!(" *  {}", warning.message);
    }
    println!("\nTotal: {} packages ({})", planned.resolution.keyed().count(), parts.join(", "));
}

struct Tree<'a> {
    planned: &'a Planned,
    verbose: bool,
    colors: Colors,
    shown: BTreeSet<PackageIndex>,
}

impl Tree<'_> {
    /// Depth first, with a stack of its own: plans are deep.
    fn print(&mut self, root: PackageIndex) {
        let plan = &self.planned.resolution.plan;
        let mut pending = vec![(root, 0)];
        while let Some((index, depth)) = pending.pop() {
            if plan.package(index).origin != Origin::Build || !self.shown.insert(index) {
                continue;
            }
            self.print_package(index, depth);
            let next = plan.dependencies(index).iter().rev().map(|edge| (edge.to, depth + 1));
            pending.extend(next.filter(|(to, _)| !self.shown.contains(to)));
        }
    }

    fn print_package(&self, index: PackageIndex, depth: usize) {
        let package = self.planned.resolution.plan.package(index);
        let node = self.planned.resolution.node(index);
        let colors = self.colors;
        let state = match self.planned.fate(index) {
            Fate::Hit => colors.good("hit  "),
            Fate::Reuse => colors.good("reuse"),
            Fate::Build => colors.notice("build"),
            Fate::Undecided => colors.notice("maybe"),
            Fate::Unneeded | Fate::Installed => colors.faint("-    "),
        };
        let slot =
            if package.slot.to_string() == "0/0" { String::new() } else { format!(":{}", package.slot) };
        let name = format!("{}{slot}::{}", package.package, node.repo);
        let mut line = format!("[{state}] {:indent$}{}", "", colors.name(&name), indent = depth * 2);
        if self.verbose {
            line += &flags(node, colors);
            if let Some(key) = self.planned.resolution.keys.of(index) {
                line += &format!("  {}", colors.faint(&key.short()));
            }
        }
        println!("{line}");
    }
}

/// `USE="on -off" VARIABLE="value"`, as emerge shows them.
fn flags(node: &Node, colors: Colors) -> String {
    let is_on = |flag: &str| node.use_flags.iter().any(|on| on == flag);
    let expanded: Vec<String> =
        node.use_expand.keys().map(|variable| format!("{}_", variable.to_lowercase())).collect();
    let own: Vec<String> = node
        .declared_use
        .iter()
        .map(|flag| flag.trim_start_matches(['+', '-']))
        .filter(|flag| !expanded.iter().any(|prefix| flag.starts_with(prefix.as_str())))
        .map(|flag| if is_on(flag) { colors.bad(flag) } else { colors.faint(&format!("-{flag}")) })
        .collect();
    let mut text = String::new();
    if !own.is_empty() {
        text += &format!("  USE=\"{}\"", own.join(" "));
    }
    for (variable, values) in &node.use_expand {
        text += &format!(" {variable}=\"{}\"", values.join(" "));
    }
    text
}
