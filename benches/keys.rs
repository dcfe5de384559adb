//! Question: how long does it take from decoded inputs to the exact keys of a whole plan?
//!
//! 20,000 packages, 200,000 edges, 149 levels, 735 bytes of input each.
//! Peer:  BLAKE3 of the same messages, one at a time, on one thread.
//! Limit: the same in 16 lanes (`lanes`), on one thread, which no dependency between packages allows for whole
//!        plans.
//! Goal:  at most 3 × limit, all threads; at most 0.5 × one at a time. One thread is measured beside it.
//! Run:   cargo bench -p buildswarm-benches --bench keys
//!
//! Two plans: in `direct` every edge is a build tool, so a root holds the ten direct dependencies; in `closure`
//! half of the edges are libraries of a core that need each other at run time, as in Gentoo, so that a root holds
//! hundreds of packages and a preimage names them all.

use std::time::Duration;

use buildswarm_benches::{Random, Row, lanes, measure, timed, verdict};
use buildswarm_core::Digest;
use buildswarm_core::plan::keys::{self, Keys};
use buildswarm_core::plan::{Edge, Origin, PackageIndex, Plan, PlanPackage, Requirements};
use buildswarm_core::policy::Policy;
use buildswarm_core::spec::{BuildInputs, BuildSpec, DependencyClasses, Distfile, Recipe, Surroundings};
use std::sync::Arc;

const PACKAGES: usize = 20_000;
const EDGES_EACH: usize = 10;
const LEVELS: usize = 149;
/// Libraries that nearly everything reaches at run time.
const CORE: usize = 300;
const ROUNDS: usize = 31;

fn level(package: usize) -> usize {
    package * LEVELS / PACKAGES
}

/// The first package of a level.
fn start(level: usize) -> usize {
    (level * PACKAGES).div_ceil(LEVELS)
}

fn plan(at_run_time: usize) -> Plan {
    let mut random = Random(1);
    let packages = (0..PACKAGES)
        .map(|number| PlanPackage {
            package: format!("category/package{number:05}-1.2.3").parse().expect("a package"),
            slot: "0/1".parse().expect("a slot"),
            repository: "gentoo".to_owned(),
            origin: Origin::Build,
        })
        .collect();
    let mut edges = Vec::new();
    for from in start(1)..PACKAGES {
        let below = start(level(from));
        for edge in 0..EDGES_EACH {
            let library = edge > 0 && edge <= at_run_time;
            let to = match edge {
                // What gives it its level.
                0 => start(level(from) - 1) + random.below(below - start(level(from) - 1)),
                _ if library => random.below(below.min(CORE)),
                _ => random.below(below),
            };
            let classes = if library {
                DependencyClasses::DEPEND.union(DependencyClasses::RDEPEND)
            } else {
                DependencyClasses::BDEPEND
            };
            let (from, to) = (PackageIndex::new(from), PackageIndex::new(to));
            edges.push(Edge { from, to, classes, binds_slot: false, satisfied: false });
        }
    }
    let requested = (start(LEVELS - 1)..PACKAGES).map(PackageIndex::new).collect();
    Plan::new(packages, edges, requested).expect("a plan")
}

fn inputs(plan: &Plan) -> Vec<Option<BuildInputs>> {
    let text = |number: usize| Digest::of(&number.to_le_bytes());
    let surroundings = Arc::new(Surroundings {
        environment: [("CFLAGS", "-O2 -pipe -march=x86-64-v3"), ("CHOST", "x86_64-pc-linux-gnu")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        features: [].into(),
        toolchain: [("gcc".to_owned(), "gcc (Gentoo 15.2.0) 15.2.0".to_owned())].into(),
        build_root: text(1),
    });
    let of = |index: PackageIndex| {
        let (package, number) = (plan.package(index), index.get());
        BuildInputs {
            package: package.package.clone(),
            slot: package.slot.clone(),
            repository: package.repository.clone(),
            eapi: "8".to_owned(),
            recipe: Recipe {
                ebuild: text(number),
                eclasses: ["multilib", "toolchain-funcs"].map(|name| (name.to_owned(), text(7))).into(),
                files: [].into(),
                patches: Vec::new(),
                hooks: Vec::new(),
                qa_checks: [].into(),
                saved_config: [].into(),
            },
            distfiles: [(
                format!("package{number:05}-1.2.3.tar.xz"),
                Distfile { size: 1 << 20, hashes: [("BLAKE2B".to_owned(), text(number).to_string())].into() },
            )]
            .into(),
            use_flags: ["nls", "ssl"].map(str::to_owned).into(),
            surroundings: Arc::clone(&surroundings),
        }
    };
    plan.indices().map(|index| Some(of(index))).collect()
}

/// Measures one plan; returns the medians of ours on all threads and on one.
fn measure_plan(name: &str, plan: &Plan) -> (Duration, Duration) {
    let inputs = inputs(plan);
    let requirements = plan.requirements().expect("no cycle");
    let keys = Keys::of_plan(plan, &requirements, &inputs);
    let dependents = requirements.dependents();
    let bytes: usize =
        plan.indices().map(|index| spec(plan, &requirements, &inputs, &keys, index).encode().len()).sum();
    let own: usize = plan.indices().map(|index| input_bytes(&inputs, index)).sum();
    let needs: usize = plan.indices().map(|index| requirements.of(index).len()).sum();
    let edges: usize = plan.indices().map(|index| plan.dependencies(index).len()).sum();

    // A package half-way up, with other inputs: what is above it changes.
    let leaf = PackageIndex::new(PACKAGES / 2);
    let mut changed = inputs.clone();
    changed[leaf.get()].as_mut().expect("inputs").eapi = "7".to_owned();
    let cone = keys.clone().change(plan, &requirements, &dependents, &changed, &[leaf]);
    println!(
        "\n{name}: {PACKAGES} packages, {edges} edges, {LEVELS} levels, {} bytes of input each; {} packages in a \
         root, {} bytes of preimage; one change moves {} keys",
        own / PACKAGES,
        needs / PACKAGES,
        bytes / PACKAGES,
        cone.len(),
    );
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    let medians = measure(
        ROUNDS,
        vec![
            Row::timed(
                format!("ours: decoded inputs to keys, {} threads", rayon::current_num_threads()),
                || Keys::of_plan(plan, &requirements, &inputs),
            ),
            Row::new("  one thread", || {
                one_thread.install(|| timed(|| Keys::of_plan(plan, &requirements, &inputs)).1)
            }),
            Row::timed("  what must stand in which root, before that", || plan.requirements()),
            Row::new("  one package changed", || {
                let mut keys = keys.clone();
                timed(|| keys.change(plan, &requirements, &dependents, &changed, &[leaf])).1
            }),
        ],
    );
    println!(
        "one change: {:.2} of the time on one thread for {:.2} of the keys",
        medians[3].as_secs_f64() / medians[1].as_secs_f64(),
        cone.len() as f64 / PACKAGES as f64
    );
    (medians[0], medians[1])
}

fn spec(
    plan: &Plan,
    requirements: &Requirements,
    inputs: &[Option<BuildInputs>],
    keys: &Keys,
    index: PackageIndex,
) -> BuildSpec {
    let inputs = inputs[index.get()].as_ref().expect("inputs");
    keys::exact_spec(plan, requirements, inputs, index, |at| keys.of(at)).expect("all are keyed")
}

fn input_bytes(inputs: &[Option<BuildInputs>], index: PackageIndex) -> usize {
    let inputs = inputs[index.get()].clone().expect("inputs");
    BuildSpec { policy: Policy::Exact, inputs, dependencies: Vec::new() }.encode().len()
}

fn main() {
    let mut random = Random(2);
    let messages: Vec<[u8; lanes::MESSAGE_BYTES]> = (0..PACKAGES)
        .map(|_| random.bytes(lanes::MESSAGE_BYTES).try_into().expect("as long as asked for"))
        .collect();
    let messages: Vec<&[u8; lanes::MESSAGE_BYTES]> = messages.iter().collect();
    println!("{PACKAGES} independent messages of {} bytes, one thread", lanes::MESSAGE_BYTES);
    let hashes = measure(
        ROUNDS,
        vec![
            Row::timed("limit: BLAKE3 in lanes", || lanes::hash_all(&messages)),
            Row::timed("BLAKE3, one at a time", || {
                messages.iter().map(|message| blake3::hash(*message)).collect::<Vec<_>>()
            }),
        ],
    );
    let (limit, one_at_a_time) = (hashes[0], hashes[1]);

    let closure = measure_plan("closure", &plan(5));
    let (direct, one_thread) = measure_plan("direct", &plan(0));
    let times = |ours: Duration| ours.as_secs_f64() / limit.as_secs_f64();
    println!();
    println!("closure: ours / limit = {:.2}, on one thread {:.2}", times(closure.0), times(closure.1));
    println!("direct: ours on one thread / limit = {:.2}", times(one_thread));
    println!(
        "direct: ours / one at a time = {:.2} (first floor: at most 0.5)",
        direct.as_secs_f64() / one_at_a_time.as_secs_f64()
    );
    verdict(direct, limit, "at most 3");
}
