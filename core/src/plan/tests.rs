use super::*;
use crate::BuildKey;
use crate::spec::DependencyClasses as Classes;

mod keys;

fn plan(names: &[&str], edges: &[(usize, usize, Classes)], requested: &[usize]) -> Plan {
    let packages = names
        .iter()
        .map(|name| PlanPackage {
            package: format!("cat/{}-1", name.trim_start_matches('=')).parse().unwrap(),
            slot: "0".parse().unwrap(),
            repository: "test".to_owned(),
            origin: if name.starts_with('=') {
                Origin::Installed(Digest::of(name.as_bytes()))
            } else {
                Origin::Build
            },
        })
        .collect();
    let edges = edges
        .iter()
        .map(|(from, to, classes)| Edge {
            from: PackageIndex::new(*from),
            to: PackageIndex::new(*to),
            classes: *classes,
            binds_slot: false,
            satisfied: false,
        })
        .collect();
    let requested = requested.iter().map(|at| PackageIndex::new(*at)).collect();
    Plan::new(packages, edges, requested).unwrap()
}

fn needs(plan: &Plan, at: usize) -> Vec<usize> {
    plan.requirements().unwrap().of(PackageIndex::new(at)).iter().map(|need| need.package.get()).collect()
}

#[test]
fn a_build_needs_its_tools_with_all_they_need_to_run() {
    // app -DEPEND-> lib -RDEPEND-> low, lib -BDEPEND-> tool; only what lib needs to run reaches app.
    let plan = plan(
        &["app", "lib", "low", "tool"],
        &[(0, 1, Classes::DEPEND), (1, 2, Classes::RDEPEND), (1, 3, Classes::BDEPEND)],
        &[0],
    );
    assert_eq!(needs(&plan, 0), [1, 2]);
    assert_eq!(needs(&plan, 1), [3], "a run-time dependency alone does not stand in the root");
    let order: Vec<_> = plan.requirements().unwrap().order().iter().map(|at| at.get()).collect();
    let position = |at: usize| order.iter().position(|x| *x == at).unwrap();
    assert!(position(3) < position(1) && position(1) < position(0) && position(2) < position(0));
}

#[test]
fn a_slot_binding_needs_its_target_whatever_the_class() {
    let mut plan = plan(&["app", "lib"], &[(0, 1, Classes::RDEPEND)], &[0]);
    assert!(needs(&plan, 0).is_empty());
    plan.edges[0].binds_slot = true;
    assert_eq!(needs(&plan, 0), [1]);
}

#[test]
fn a_run_time_cycle_is_cut_where_only_it_reaches_the_build() {
    // a is built and runs with b; b runs with c; c is built with a.
    let both = Classes::DEPEND.union(Classes::RDEPEND);
    let plan =
        plan(&["a", "b", "c"], &[(0, 1, both), (1, 2, Classes::RDEPEND), (2, 0, Classes::DEPEND)], &[0]);
    assert_eq!(needs(&plan, 0), [1]);
    assert_eq!(needs(&plan, 2), [0, 1]);
}

#[test]
fn asking_for_more_changes_no_requirement() {
    let edges = [
        (0, 1, Classes::DEPEND),
        (1, 2, Classes::RDEPEND),
        (2, 1, Classes::PDEPEND),
        (2, 0, Classes::BDEPEND),
        (3, 0, Classes::DEPEND),
        (3, 2, Classes::DEPEND),
    ];
    let small = plan(&["a", "b", "c"], &edges[..4], &[0]);
    let large = plan(&["a", "b", "c", "d"], &edges, &[0, 3]);
    for at in 0..3 {
        assert_eq!(needs(&small, at), needs(&large, at));
    }
}

#[test]
fn a_build_cycle_is_named() {
    let plan = plan(
        &["a", "b", "c", "d"],
        &[
            (0, 1, Classes::DEPEND),
            (1, 2, Classes::BDEPEND),
            (2, 0, Classes::DEPEND),
            (3, 0, Classes::DEPEND),
        ],
        &[3],
    );
    let text = plan.requirements().unwrap_err().to_string();
    assert!(text.starts_with("dependency cycle: cat/"), "{text}");
    for name in ["cat/a-1", "cat/b-1", "cat/c-1"] {
        assert!(text.contains(name), "{text}");
    }
    assert!(!text.contains("cat/d-1"), "{text}");
}

#[test]
fn a_build_cycle_is_entered_where_the_root_has_what_is_needed() {
    let edges = [(0, 1, Classes::BDEPEND), (1, 0, Classes::DEPEND)];
    let mut plan = plan(&["a", "b"], &edges, &[0]);
    assert!(plan.requirements().is_err());
    plan.edges[0].satisfied = true;
    assert_eq!((needs(&plan, 0), needs(&plan, 1)), (vec![], vec![0]));
}

#[test]
fn what_is_installed_is_needed_but_never_built() {
    let plan = plan(&["a", "=tool"], &[(0, 1, Classes::BDEPEND)], &[0, 1]);
    let requirements = plan.requirements().unwrap();
    assert_eq!(needs(&plan, 0), [1]);
    assert_eq!(requirements.order(), [PackageIndex::new(0)]);
    assert_eq!(requirements.demand(&plan, |_| false), [PackageIndex::new(0)]);
}

#[test]
fn only_what_is_missing_and_wanted_is_built() {
    let plan = plan(
        &["app", "lib", "tool", "other"],
        &[(0, 1, Classes::DEPEND), (0, 1, Classes::RDEPEND), (1, 2, Classes::BDEPEND)],
        &[0],
    );
    let requirements = plan.requirements().unwrap();
    let demand = |resolved: &[usize]| -> Vec<usize> {
        requirements
            .demand(&plan, |index| resolved.contains(&index.get()))
            .iter()
            .map(|index| index.get())
            .collect()
    };
    assert_eq!(demand(&[]), [2, 1, 0]);
    assert_eq!(demand(&[0, 1]), [0; 0], "the tool is not needed when nothing is built with it");
    assert_eq!(demand(&[0]), [2, 1], "a client needs lib at run time");
    assert_eq!(demand(&[1, 2]), [0]);
}

#[test]
fn a_long_chain_does_not_exhaust_the_stack() {
    const LENGTH: usize = 2_000;
    let names: Vec<String> = (0..LENGTH).map(|at| format!("p{at}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let edges: Vec<_> = (1..LENGTH).map(|at| (at - 1, at, Classes::DEPEND)).collect();
    let plan = plan(&names, &edges, &[0]);
    assert_eq!(plan.requirements().unwrap().order().len(), LENGTH);
}

#[test]
fn a_plan_refuses_what_is_not_in_it() {
    let edge = Edge {
        from: PackageIndex::new(0),
        to: PackageIndex::new(7),
        classes: Classes::DEPEND,
        binds_slot: false,
        satisfied: false,
    };
    let refusal = Plan::new(Vec::new(), vec![edge], Vec::new()).unwrap_err();
    assert_eq!(refusal, PlanError::UnknownPackage { index: 0, packages: 0 });
}

#[test]
fn dependencies_are_installed_before_what_runs_with_them() {
    // app is built with tool and lib; tool runs with lib and low, which need each other.
    let edges = [
        (0, 1, Classes::BDEPEND),
        (0, 2, Classes::DEPEND),
        (1, 3, Classes::RDEPEND),
        (1, 2, Classes::RDEPEND),
        (2, 3, Classes::RDEPEND),
        (3, 2, Classes::PDEPEND),
    ];
    let plan = plan(&["app", "tool", "lib", "low"], &edges, &[0]);
    let order = plan.requirements().unwrap().installation_order(&plan, PackageIndex::new(0));
    let order: Vec<_> = order.iter().map(|at| at.get()).collect();
    assert_eq!(order.len(), 3);
    let position = |at: usize| order.iter().position(|x| *x == at).unwrap();
    assert!(position(2) < position(1) && position(3) < position(1), "{order:?}");
}

fn classes(plan: &Plan, at: usize) -> Vec<(usize, Vec<&'static str>)> {
    let requirements = plan.requirements().unwrap();
    let needs = requirements.of(PackageIndex::new(at)).iter();
    needs.map(|need| (need.package.get(), need.classes.names().collect())).collect()
}

#[test]
fn what_a_library_brings_is_told_from_what_a_tool_brings() {
    // app is built with lib and tool; lib runs with low, tool with low and deep; both is a tool that lib runs with.
    let plan = plan(
        &["app", "lib", "tool", "low", "deep", "both"],
        &[
            (0, 1, Classes::DEPEND),
            (0, 2, Classes::BDEPEND),
            (0, 5, Classes::BDEPEND),
            (1, 3, Classes::RDEPEND),
            (1, 5, Classes::RDEPEND),
            (2, 3, Classes::RDEPEND),
            (2, 4, Classes::RDEPEND),
        ],
        &[0],
    );
    let expected = [
        (1, vec!["DEPEND"]),
        (2, vec!["BDEPEND"]),
        (3, vec!["closure"]),
        (4, vec!["tool closure"]),
        (5, vec!["BDEPEND", "closure"]),
    ];
    assert_eq!(classes(&plan, 0), expected);
}

#[test]
fn who_names_a_virtual_names_what_it_stands_for() {
    let mut plan = plan(
        &["app", "virtual", "inner", "provider", "low"],
        &[
            (0, 1, Classes::BDEPEND),
            (1, 2, Classes::RDEPEND),
            (2, 3, Classes::RDEPEND),
            (3, 4, Classes::RDEPEND),
        ],
        &[0],
    );
    let tool = |at| (at, vec!["BDEPEND"]);
    let below = |at| (at, vec!["tool closure"]);
    assert_eq!(classes(&plan, 0), [tool(1), below(2), below(3), below(4)]);
    for at in [1, 2] {
        let name = format!("virtual/{}", plan.packages[at].package.pf());
        plan.packages[at].package = name.parse().unwrap();
    }
    assert_eq!(classes(&plan, 0), [tool(1), tool(2), tool(3), below(4)]);
}
