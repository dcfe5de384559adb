//! The exact keys of a whole plan.

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
    let mut keyed: Vec<Option<Keyed>> = vec![None; plan.packages().len()];
    for index in requirements.order() {
        let dependencies = requirements
            .of(*index)
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
        let spec = BuildSpec { inputs: inputs(*index)?, dependencies };
        let preimage = spec.encode();
        let key = exact_key_of_preimage(&preimage);
        keyed[index.get()] = Some(Keyed { spec, preimage, key });
    }
    Ok(keyed)
}
