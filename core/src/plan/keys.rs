//! The exact keys of a whole plan.
//!
//! Packages whose requirements are all keyed do not wait for each other: they are encoded and hashed in
//! parallel, level by level. Ordering and parallelism have no part in the result.

use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::{Origin, Plan, Requirements};
use crate::address::exact_key_of_preimage;
use crate::spec::{BuildInputs, BuildSpec, Dependency, DependencyIdentity};
use crate::{BuildKey, plan::PackageIndex};

/// One package's specification, its canonical form and its key.
#[derive(Debug, Clone)]
pub struct Keyed {
    /// The specification, dependencies identified by their keys.
    pub spec: BuildSpec,
    /// What the key is the digest of.
    pub preimage: Vec<u8>,
    /// The key.
    pub key: BuildKey,
}

/// Specification and key of every package that has an ebuild, by position; `None` for installed ones.
///
/// `inputs` yields the inputs of the package at a position; it is called once for each, dependencies first.
///
/// # Errors
/// The first error that `inputs` returns.
pub fn exact<E>(
    plan: &Plan,
    requirements: &Requirements,
    mut inputs: impl FnMut(PackageIndex) -> Result<BuildInputs, E>,
) -> Result<Vec<Option<Keyed>>, E> {
    // A package's level is one above the highest of what it requires.
    let mut above = vec![0; plan.packages().len()];
    let mut levels: Vec<Vec<(PackageIndex, BuildInputs)>> = Vec::new();
    for index in requirements.order() {
        let level = requirements.of(*index).map(|(need, _)| above[need.get()]).max().unwrap_or(0);
        above[index.get()] = level + 1;
        if level == levels.len() {
            levels.push(Vec::new());
        }
        levels[level].push((*index, inputs(*index)?));
    }
    let mut keyed: Vec<Option<Keyed>> = vec![None; plan.packages().len()];
    for level in levels {
        let made: Vec<(PackageIndex, Keyed)> = level
            .into_par_iter()
            .map(|(index, inputs)| (index, keyed_of(plan, requirements, &keyed, index, inputs)))
            .collect();
        for (index, made) in made {
            keyed[index.get()] = Some(made);
        }
    }
    Ok(keyed)
}

/// One package, everything it requires being `keyed`.
fn keyed_of(
    plan: &Plan,
    requirements: &Requirements,
    keyed: &[Option<Keyed>],
    index: PackageIndex,
    inputs: BuildInputs,
) -> Keyed {
    let dependencies = requirements
        .of(index)
        .map(|(need, classes)| {
            let package = plan.package(need);
            let identity = match (package.origin, &keyed[need.get()]) {
                (Origin::Installed(digest), _) => DependencyIdentity::Installed(digest),
                (Origin::Build, Some(dependency)) => DependencyIdentity::Built(dependency.key),
                // Leaving the dependency out would be a wrong key, the worst error there is.
                (Origin::Build, None) => unreachable!("requirements come first in the order"),
            };
            Dependency { package: package.package.clone(), slot: package.slot.clone(), classes, identity }
        })
        .collect();
    let spec = BuildSpec { inputs, dependencies };
    let preimage = spec.encode();
    let key = exact_key_of_preimage(&preimage);
    Keyed { spec, preimage, key }
}
