//! Replays the corpora of the fuzz targets that need nothing but this crate; a new finding is committed there.

#![expect(clippy::disallowed_methods, reason = "the corpora are files; the functions they go to are pure")]

use std::collections::BTreeSet;
use std::fs;

use buildswarm_core::spec::BuildSpec;

#[expect(unreachable_pub, reason = "a module of the fuzz package, where it is public")]
#[path = "../../fuzz/src/pure.rs"]
mod pure;
#[expect(unreachable_pub, reason = "a module of the fuzz package, where it is public")]
#[path = "../../fuzz/src/replay.rs"]
mod replay;
#[expect(unreachable_pub, reason = "a module of the fuzz package, where it is public")]
#[path = "../../fuzz/src/scheduling.rs"]
mod scheduling;

use replay::{files, replay};

#[test]
fn cpv() {
    replay("cpv", pure::cpv);
}

#[test]
fn canonical_decode() {
    replay("canonical_decode", pure::canonical_decode);
}

#[test]
fn build_spec_decode() {
    replay("build_spec_decode", pure::build_spec_decode);
}

/// Seeds that are refused at their first field find nothing behind it: a new format takes new ones.
#[test]
fn a_specification_of_every_policy_is_among_the_seeds() {
    let seeds = files("build_spec_decode");
    let specs =
        seeds.iter().filter_map(|path| BuildSpec::decode(&fs::read(path).expect("it can be read")).ok());
    let policies: BTreeSet<_> = specs.map(|spec| spec.policy.name()).collect();
    assert_eq!(policies.into_iter().collect::<Vec<_>>(), ["exact", "interface", "slot"]);
}

#[test]
fn scheduler_ops() {
    replay("scheduler_ops", scheduling::scheduler_ops);
}
