//! Question: how long does it take from decoded inputs to the exact keys of a whole plan?
//!
//! 20,000 packages, 200,000 edges, 149 levels, 735 bytes of input each.
//! Peer:  BLAKE3 of the same messages, one at a time, on one thread.
//! Limit: the same in 16 lanes (`lanes`), which no dependency between packages allows for whole plans.
//! Goal:  at most 3 × limit; for now at most 0.5 × one at a time.
//! Run:   cargo bench -p buildswarm-benches --bench keys
//!
//! Two plans: in `direct` every edge is a build tool, so a root holds the ten direct dependencies; in `closure`
//! half of the edges are libraries of a core that need each other at run time, as in Gentoo, so that a root holds
//! hundreds of packages and a preimage names them all.

use std::convert::Infallible;
use std::time::Duration;

use buildswarm_benches::{Random, Row, lanes, measure, timed, verdict};
use buildswarm_core::Digest;
use buildswarm_core::plan::keys::{self, Keyed};
use buildswarm_core::plan::{Edge, Origin, PackageIndex, Plan, PlanPackage, Requirements};
use buildswarm_core::spec::{BuildInputs, BuildSpec, DependencyClasses, Distfile, Recipe};

const PACKAGES: usize = 20_000;
const EDGES_EACH: usize = 10;
const LEVELS: usize = 149;
/// Libraries that nearly everything reaches at run time.
const CORE: usize = 300;
const ROUNDS: usize = 7;

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
            environment: [("CFLAGS", "-O2 -pipe -march=x86-64-v3"), ("CHOST", "x86_64-pc-linux-gnu")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            features: [].into(),
            toolchain: [("gcc".to_owned(), "gcc (Gentoo 15.2.0) 15.2.0".to_owned())].into(),
            build_root: text(1),
        }
    };
    plan.indices().map(|index| Some(of(index))).collect()
}

fn exact(
    plan: &Plan,
    requirements: &Requirements,
    mut inputs: Vec<Option<BuildInputs>>,
) -> Vec<Option<Keyed>> {
    let inputs =
        |index: PackageIndex| Ok::<_, Infallible>(inputs[index.get()].take().expect("asked for once"));
    let Ok(keyed) = keys::exact(plan, requirements, inputs);
    keyed
}

/// How many packages have other keys when the first one has.
fn cone(plan: &Plan, requirements: &Requirements, before: &[Option<Keyed>]) -> usize {
    let mut changed = inputs(plan);
    changed[0].as_mut().expect("inputs").eapi = "7".to_owned();
    let after = exact(plan, requirements, changed);
    let key = |keyed: &Option<Keyed>| keyed.as_ref().map(|keyed| keyed.key);
    before.iter().zip(&after).filter(|(before, after)| key(before) != key(after)).count()
}

/// Measures one plan; returns the medians of ours and of one at a time.
fn measure_plan(name: &str, plan: &Plan) -> (Duration, Duration) {
    let inputs = inputs(plan);
    let bare: usize = inputs
        .iter()
        .flatten()
        .map(|inputs| BuildSpec { inputs: inputs.clone(), dependencies: Vec::new() }.encode().len())
        .sum();
    let requirements = plan.requirements().expect("no cycle");
    let needs: usize = plan.indices().map(|index| requirements.of(index).count()).sum();
    let edges: usize = plan.indices().map(|index| plan.dependencies(index).len()).sum();
    let keyed = exact(plan, &requirements, inputs.clone());
    let preimages: Vec<&[u8]> = keyed.iter().flatten().map(|keyed| keyed.preimage.as_slice()).collect();
    let bytes: usize = preimages.iter().map(|preimage| preimage.len()).sum();
    println!(
        "\n{name}: {PACKAGES} packages, {edges} edges, {LEVELS} levels, {} bytes of input each; {} packages in a \
         root, {} bytes of preimage; changing one leaf moves {} keys, and costs as much as all",
        bare / PACKAGES,
        needs / PACKAGES,
        bytes / PACKAGES,
        cone(plan, &requirements, &keyed),
    );
    let medians = measure(
        ROUNDS,
        vec![
            Row::new("ours: requirements, specifications, encoding, digests", || {
                let inputs = inputs.clone();
                timed(|| exact(plan, &plan.requirements().expect("no cycle"), inputs)).1
            }),
            Row::timed("  of which requirements", || plan.requirements()),
            Row::timed("  of which encoding", || {
                keyed.iter().flatten().map(|keyed| keyed.spec.encode().len()).sum::<usize>()
            }),
            Row::timed("  of which digests", || {
                preimages
                    .iter()
                    .map(|preimage| buildswarm_core::address::exact_key_of_preimage(preimage))
                    .collect::<Vec<_>>()
            }),
            Row::timed("BLAKE3 of the preimages, one at a time", || {
                preimages.iter().map(|preimage| blake3::hash(preimage)).collect::<Vec<_>>()
            }),
        ],
    );
    (medians[0], medians[4])
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

    let (closure, closure_peer) = measure_plan("closure", &plan(5));
    let (direct, _) = measure_plan("direct", &plan(0));
    println!();
    println!(
        "closure: ours / BLAKE3 of its preimages = {:.2}",
        closure.as_secs_f64() / closure_peer.as_secs_f64()
    );
    println!(
        "direct: ours / one at a time = {:.2} (goal for now: at most 0.5)",
        direct.as_secs_f64() / one_at_a_time.as_secs_f64()
    );
    verdict(direct, limit, "at most 3");
}
