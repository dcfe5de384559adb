//! Keys of whole plans are the keys of their packages, however they are computed.

use std::sync::Arc;

use proptest::prelude::*;

use super::super::keys::{Keys, exact_spec};
use super::super::reuse::{Outputs, Rules, VersionQueries, reuse_spec};
use super::*;
use crate::address::{exact_key, reuse_key};
use crate::policy::Policy;
use crate::spec::{BuildInputs, Identity, Reach, Recipe, Surroundings};

fn digest(seed: usize) -> Digest {
    Digest::of(&seed.to_le_bytes())
}

/// Inputs of every package of the plan; `long` makes them too long for one chunk of BLAKE3.
fn inputs(plan: &Plan, long: bool) -> Vec<Option<BuildInputs>> {
    let surroundings = |seed| Surroundings {
        environment: [("CFLAGS".to_owned(), format!("-O{seed}"))].into(),
        features: [].into(),
        toolchain: [].into(),
        build_root: digest(0),
    };
    let shared = [0, 1].map(|seed| Arc::new(surroundings(seed)));
    let of = |at: usize, package: &PlanPackage| BuildInputs {
        package: package.package.clone(),
        slot: package.slot.clone(),
        repository: "test".to_owned(),
        eapi: "8".repeat(if long && at.is_multiple_of(3) { 1500 } else { at + 1 }),
        recipe: Recipe {
            ebuild: digest(at),
            eclasses: [].into(),
            files: [].into(),
            patches: vec![],
            hooks: vec![],
            qa_checks: [].into(),
            saved_config: [].into(),
        },
        distfiles: [].into(),
        use_flags: [].into(),
        surroundings: Arc::clone(&shared[at % 2]),
    };
    let packages = plan.packages().iter().enumerate();
    packages.map(|(at, package)| (package.origin == Origin::Build).then(|| of(at, package))).collect()
}

/// The definition that everything else must agree with.
fn one_by_one(
    plan: &Plan,
    requirements: &Requirements,
    inputs: &[Option<BuildInputs>],
) -> Vec<Option<BuildKey>> {
    let mut keys = vec![None; inputs.len()];
    for index in requirements.order() {
        let own = inputs[index.get()].as_ref().unwrap();
        let spec = exact_spec(plan, requirements, own, *index, |at| keys[at.get()]).unwrap();
        keys[index.get()] = Some(exact_key(&spec));
    }
    keys
}

fn all(keys: &Keys, plan: &Plan) -> Vec<Option<BuildKey>> {
    plan.indices().map(|index| keys.of(index)).collect()
}

const CLASSES: [Classes; 4] = [Classes::DEPEND, Classes::BDEPEND, Classes::RDEPEND, Classes::IDEPEND];

prop_compose! {
    /// Without cycles; some packages stand in the build root.
    fn any_plan()(
        count in 1..90_usize,
        installed in prop::collection::vec(any::<bool>(), 90),
        edges in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..4_usize), 0..300),
    ) -> Plan {
        let names: Vec<String> =
            (0..count).map(|at| format!("{}p{at}", if installed[at] && at % 5 == 0 { "=" } else { "" })).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let edges: Vec<_> = edges
            .into_iter()
            .map(|(a, b, class)| (a.index(count), b.index(count), CLASSES[class]))
            .filter(|(a, b, _)| a != b)
            .map(|(a, b, class)| (a.max(b), a.min(b), class))
            .collect();
        plan(&names, &edges, &[count - 1])
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn keys_of_a_plan_are_those_of_its_packages(plan in any_plan(), long in any::<bool>()) {
        let requirements = plan.requirements().unwrap();
        let inputs = inputs(&plan, long);
        let keys = Keys::of_plan(&plan, &requirements, &inputs);
        prop_assert_eq!(all(&keys, &plan), one_by_one(&plan, &requirements, &inputs));
    }

    #[test]
    fn a_change_moves_the_keys_that_computing_all_anew_moves(
        plan in any_plan(),
        changed in prop::collection::btree_set(0..90_usize, 0..4),
    ) {
        let requirements = plan.requirements().unwrap();
        let before = inputs(&plan, false);
        let mut keys = Keys::of_plan(&plan, &requirements, &before);
        let old = all(&keys, &plan);
        let mut after = before;
        let mut told = Vec::new();
        for index in changed.into_iter().map(|at| PackageIndex::new(at % plan.packages().len())) {
            if let Some(inputs) = &mut after[index.get()] {
                inputs.repository.push('z');
                told.push(index);
            }
        }
        let moved = keys.change(&plan, &requirements, &requirements.dependents(), &after, &told);
        let new = all(&keys, &plan);
        prop_assert_eq!(&new, &one_by_one(&plan, &requirements, &after));
        let mut differing: Vec<_> = plan.indices().filter(|at| old[at.get()] != new[at.get()]).collect();
        let mut moved = moved;
        moved.sort();
        differing.sort();
        prop_assert_eq!(moved, differing);
    }

    #[test]
    fn levels_hold_no_two_packages_that_require_each_other(plan in any_plan()) {
        let requirements = plan.requirements().unwrap();
        let mut done = vec![false; plan.packages().len()];
        for level in requirements.levels() {
            for index in level {
                for need in requirements.of(*index) {
                    prop_assert!(done[need.package.get()] || plan.package(need.package).origin != Origin::Build);
                }
            }
            level.iter().for_each(|index| done[index.get()] = true);
        }
        let count = |done: &[bool]| done.iter().filter(|done| **done).count();
        prop_assert_eq!(count(&done), requirements.order().len());
    }
}

/// app is built with lib (which runs with low), tool (which runs with deep) and yacc, a generator, which runs with
/// skeleton; it binds bound.
fn reuse_plan() -> Plan {
    let mut plan = plan(
        &["app", "lib", "low", "tool", "deep", "yacc", "bound", "=root", "skeleton"],
        &[
            (0, 1, Classes::DEPEND),
            (1, 2, Classes::RDEPEND),
            (0, 3, Classes::BDEPEND),
            (3, 4, Classes::RDEPEND),
            (0, 5, Classes::BDEPEND),
            (0, 6, Classes::RDEPEND),
            (0, 7, Classes::BDEPEND),
            (5, 8, Classes::RDEPEND),
        ],
        &[0],
    );
    let bound = plan.edges.iter_mut().find(|edge| edge.to == PackageIndex::new(6)).unwrap();
    bound.binds_slot = true;
    plan
}

struct Reuse {
    plan: Plan,
    inputs: Vec<Option<BuildInputs>>,
    outputs: Vec<Option<Outputs>>,
    queries: VersionQueries,
    policy: Policy,
}

impl Reuse {
    fn new(policy: Policy) -> Self {
        let plan = reuse_plan();
        let inputs = inputs(&plan, false);
        let output = |at: usize| Outputs { interface: digest(100 + at), payload: digest(200 + at) };
        let outputs = (0..inputs.len()).map(|at| Some(output(at))).collect();
        Self { plan, inputs, outputs, queries: VersionQueries::Nothing, policy }
    }

    fn spec(&self) -> Option<crate::spec::BuildSpec> {
        let toolchain = ["cat/yacc".to_owned()].into();
        let rules = Rules { policy: self.policy, toolchain: &toolchain };
        let requirements = self.plan.requirements().unwrap();
        let app = PackageIndex::new(0);
        let outputs = |at: PackageIndex| self.outputs[at.get()];
        reuse_spec(&self.plan, &requirements, &self.inputs, &self.queries, rules, app, outputs)
    }

    /// Whether the key of app is another after `change`.
    fn moves(policy: Policy, change: impl FnOnce(&mut Self)) -> bool {
        let before = Self::new(policy);
        let mut after = Self::new(policy);
        change(&mut after);
        reuse_key(&before.spec().unwrap()) != reuse_key(&after.spec().unwrap())
    }
}

#[test]
fn what_can_reach_a_build_moves_its_reuse_key_and_nothing_else() {
    type Change = Box<dyn Fn(&mut Reuse)>;
    let interface = |at: usize| -> Change {
        Box::new(move |reuse| reuse.outputs[at].as_mut().unwrap().interface = digest(9))
    };
    let payload = |at: usize| -> Change {
        Box::new(move |reuse| reuse.outputs[at].as_mut().unwrap().payload = digest(9))
    };
    let version = |at: usize| -> Change {
        Box::new(move |reuse| {
            let package = &mut reuse.plan.packages[at].package;
            *package = format!("{}-2", package.cp()).parse().unwrap();
        })
    };
    let sub_slot = |at: usize| -> Change {
        Box::new(move |reuse| reuse.plan.packages[at].slot = "0/9".parse().unwrap())
    };
    let sources = |at: usize| -> Change {
        Box::new(move |reuse| reuse.inputs[at].as_mut().unwrap().recipe.ebuild = digest(9))
    };
    let flags = |at: usize| -> Change {
        Box::new(move |reuse| {
            reuse.inputs[at].as_mut().unwrap().use_flags.extend(["zz".to_owned()]);
        })
    };
    let postinst = |at: usize| -> Change {
        Box::new(move |reuse| {
            let inputs = reuse.inputs[at].as_mut().unwrap();
            inputs.recipe.ebuild = digest(9);
            let environment = &mut Arc::make_mut(&mut inputs.surroundings).environment;
            environment.insert("DEFINED_PHASES".to_owned(), "compile postinst".to_owned());
        })
    };
    let compiled_otherwise = |at: usize| -> Change {
        Box::new(move |reuse| {
            let inputs = reuse.inputs[at].as_mut().unwrap();
            Arc::make_mut(&mut inputs.surroundings).environment.insert("CFLAGS".to_owned(), "-O9".to_owned());
        })
    };
    let (lib, low, tool, deep, yacc, bound, skeleton) = (1, 2, 3, 4, 5, 6, 8);
    // What changes, and whether that moves the key under `interface` and under `slot`.
    let rows: Vec<(&str, Change, bool, bool)> = vec![
        ("interface of a library", interface(lib), true, false),
        ("interface of what a library runs with", interface(low), true, false),
        ("interface of a tool", interface(tool), false, false),
        ("interface of what a tool runs with", interface(deep), false, false),
        ("payload of a library", payload(lib), false, false),
        ("payload of a tool", payload(tool), false, false),
        ("payload of a generator", payload(yacc), true, false),
        ("sources of what a generator runs with", sources(skeleton), true, false),
        ("version of what a generator runs with", version(skeleton), true, false),
        ("payload of what a generator runs with", payload(skeleton), false, false),
        ("sources of what a tool runs with", sources(deep), false, false),
        ("version of a library", version(lib), false, false),
        ("version of a tool", version(tool), true, false),
        ("version of what a tool runs with", version(deep), false, false),
        ("sub-slot of a library that is not bound", sub_slot(lib), false, false),
        ("sub-slot of what is bound", sub_slot(bound), true, true),
        ("sources of a library", sources(lib), false, false),
        ("sources of a tool", sources(tool), true, false),
        ("flags of a library", flags(lib), false, false),
        ("flags of a tool", flags(tool), true, false),
        ("how a tool was compiled", compiled_otherwise(tool), false, false),
        ("what a library does when it is installed", postinst(lib), true, false),
        ("what a closure does when it is installed", postinst(low), true, false),
        ("own inputs", sources(0), true, true),
        (
            "what the build root says",
            Box::new(|reuse| {
                reuse.plan.packages[7].origin = Origin::Installed(digest(9));
            }),
            true,
            false,
        ),
        (
            "a query for a library's version, and that version",
            Box::new(|reuse| {
                reuse.queries = VersionQueries::Of(["cat/lib".to_owned()].into());
            }),
            true,
            false,
        ),
    ];
    for (name, change, by_interface, by_slot) in rows {
        assert_eq!(Reuse::moves(Policy::Interface, &change), by_interface, "{name} under interface");
        assert_eq!(Reuse::moves(Policy::Slot, &change), by_slot, "{name} under slot");
    }
}

#[test]
fn versions_count_where_a_recipe_asks_for_them() {
    let mut asking = Reuse::new(Policy::Interface);
    let version = |reuse: &Reuse, name: &str| {
        let spec = reuse.spec().unwrap();
        spec.dependencies.into_iter().find(|dep| dep.name == name).unwrap().version
    };
    assert_eq!((version(&asking, "cat/lib"), version(&asking, "cat/low")), (None, None));
    asking.queries = VersionQueries::Of(["cat/lib".to_owned()].into());
    assert_eq!((version(&asking, "cat/lib"), version(&asking, "cat/low")), (Some("1".to_owned()), None));
    asking.queries = VersionQueries::Anything;
    assert_eq!(version(&asking, "cat/low"), Some("1".to_owned()));
}

#[test]
fn before_eapi_7_a_library_may_be_a_tool() {
    for (eapi, is_tool) in [("6", true), ("7", false), ("8", false)] {
        let mut reuse = Reuse::new(Policy::Interface);
        reuse.inputs[0].as_mut().unwrap().eapi = eapi.to_owned();
        let spec = reuse.spec().unwrap();
        let library = spec.dependencies.into_iter().find(|dep| dep.name == "cat/lib").unwrap();
        let Identity::Reach(reach) = library.identity else { panic!("it is built") };
        assert!(reach.interface.is_some());
        assert_eq!(reach.tool.is_some(), is_tool, "EAPI {eapi}");
    }
}

#[test]
fn a_reuse_key_waits_for_what_it_is_made_of_and_for_nothing_else() {
    for (missing, is_needed) in [(1, true), (2, true), (3, false), (4, false), (5, true), (6, true)] {
        let mut reuse = Reuse::new(Policy::Interface);
        reuse.outputs[missing] = None;
        assert_eq!(reuse.spec().is_none(), is_needed, "{missing}");
        reuse.policy = Policy::Slot;
        assert!(reuse.spec().is_some());
    }
}

#[test]
fn under_slot_nothing_but_names_and_bindings_is_told() {
    let spec = Reuse::new(Policy::Slot).spec().unwrap();
    for dependency in spec.dependencies {
        assert_eq!(dependency.identity, Identity::Reach(Reach::default()), "{}", dependency.name);
        assert_eq!(dependency.sub_slot.is_some(), dependency.name == "cat/bound");
    }
}
