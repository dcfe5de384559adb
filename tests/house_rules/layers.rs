//! Which crate may use which, and whether ARCHITECTURE.md draws it so.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use buildswarm_tests::{text, workspace};
use serde_json::Value;

use super::{between, none_of};

/// Package to the packages of the workspace it uses, by whatever kind of dependency.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// Who may use whom. A new line here is a decision about the architecture.
const ALLOWED: [(&str, &[&str]); 5] = [
    ("buildswarm-core", &[]),
    ("buildswarm-store", &["buildswarm-core"]),
    ("buildswarm-net", &["buildswarm-core", "buildswarm-store"]),
    ("buildswarm-portage", &["buildswarm-core", "buildswarm-store"]),
    ("buildswarm", &["buildswarm-core", "buildswarm-net", "buildswarm-portage", "buildswarm-store"]),
];

/// Packages that may use any other, and that no other may use.
const ON_TOP: [&str; 3] = ["buildswarm-benches", "buildswarm-fuzz", "buildswarm-tests"];

/// Names that say nothing of what is inside.
const EMPTY_NAMES: [&str; 7] = ["base", "common", "core", "misc", "shared", "util", "utils"];

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(workspace())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}

fn graph(metadata: &Value) -> Graph {
    let packages = || metadata["packages"].as_array().into_iter().flatten();
    let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let ours: BTreeSet<String> = packages().map(name).collect();
    packages()
        .map(|package| {
            let uses = package["dependencies"].as_array().into_iter().flatten().map(name);
            (name(package), uses.filter(|used| ours.contains(used)).collect())
        })
        .collect()
}

fn not_allowed(graph: &Graph) -> Vec<String> {
    let mut wrong = Vec::new();
    for (package, uses) in graph {
        let allowed = ALLOWED.iter().find(|(name, _)| name == package).map(|(_, allowed)| *allowed);
        if allowed.is_none() && !ON_TOP.contains(&package.as_str()) {
            wrong.push(format!("{package} is not in the list of who may use whom"));
        }
        for used in uses {
            if allowed.is_some_and(|allowed| !allowed.contains(&used.as_str()))
                || ON_TOP.contains(&used.as_str())
            {
                wrong.push(format!("{package} may not use {used}"));
            }
        }
    }
    wrong
}

/// The graph that ARCHITECTURE.md draws: `package -> used used`.
fn drawn(block: &str) -> Graph {
    let lines = block.lines().filter_map(|line| line.split_once("->"));
    lines
        .map(|(package, uses)| {
            (package.trim().to_owned(), uses.split_whitespace().map(str::to_owned).collect())
        })
        .collect()
}

fn drawn_wrong(drawn: &Graph, graph: &Graph) -> Vec<String> {
    let mut wrong = Vec::new();
    for (package, uses) in graph.iter().filter(|(package, _)| !ON_TOP.contains(&package.as_str())) {
        match drawn.get(package) {
            None => wrong.push(format!("ARCHITECTURE.md does not draw {package}")),
            Some(shown) if shown != uses => {
                wrong.push(format!("ARCHITECTURE.md draws {package} -> {shown:?}, but it uses {uses:?}"));
            }
            Some(_) => {}
        }
    }
    wrong.extend(
        drawn
            .keys()
            .filter(|name| !graph.contains_key(*name))
            .map(|name| format!("ARCHITECTURE.md draws {name}, which there is not")),
    );
    wrong
}

fn empty_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let is_empty = |name: &&str| EMPTY_NAMES.contains(name);
    names.into_iter().filter(is_empty).map(|name| format!("a crate is called {name}")).collect()
}

#[test]
fn crates_use_only_what_is_below_them() {
    none_of(&not_allowed(&graph(&metadata())));
}

#[test]
fn a_forbidden_edge_and_an_unknown_crate_are_found() {
    let graph =
        drawn("buildswarm-core -> buildswarm-store\nbuildswarm-new ->\nbuildswarm -> buildswarm-tests");
    assert_eq!(
        not_allowed(&graph),
        [
            "buildswarm may not use buildswarm-tests",
            "buildswarm-core may not use buildswarm-store",
            "buildswarm-new is not in the list of who may use whom",
        ]
    );
}

#[test]
fn architecture_draws_the_graph_there_is() {
    let architecture = text("ARCHITECTURE.md");
    none_of(&drawn_wrong(&drawn(between(&architecture, "crate graph")), &graph(&metadata())));
}

#[test]
fn a_wrong_drawing_is_found() {
    let graph = drawn("buildswarm-core ->\nbuildswarm-store -> buildswarm-core");
    let wrong = drawn_wrong(&drawn("buildswarm-store ->\nbuildswarm-gone ->"), &graph);
    assert_eq!(wrong.len(), 3, "{wrong:?}");
}

#[test]
fn no_crate_has_an_empty_name() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    let targets = packages.iter().flat_map(|package| package["targets"].as_array().into_iter().flatten());
    none_of(&empty_names(packages.iter().chain(targets).filter_map(|named| named["name"].as_str())));
}

#[test]
fn an_empty_name_is_found() {
    assert_eq!(empty_names(["buildswarm-core", "util"]), ["a crate is called util"]);
}
