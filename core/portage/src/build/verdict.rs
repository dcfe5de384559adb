//! Whether what a build left is what was planned.
//!
//! A build that quietly turned into another (a different version, other flags, an undeclared library) would
//! be a wrong cache hit for everyone after it, so it is refused here.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::Build;
use crate::gpkg::{Gpkg, Repacked, sonames};

/// File names of shared objects in the directories where a base's linker looks.
#[derive(Debug, Clone, Default)]
pub struct Sonames(BTreeSet<String>);

impl Sonames {
    /// Those of the base root at `base`; directories that cannot be read have none.
    #[must_use]
    pub fn of_base(base: &Path) -> Self {
        let mut names = BTreeSet::new();
        for top in ["lib", "lib32", "lib64", "usr/lib", "usr/lib32", "usr/lib64"] {
            let directory = base.join(top);
            collect(&directory, &mut names);
            // Debian keeps each architecture's libraries one level down, as GCC keeps its own.
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().contains("-linux-") {
                    collect(&entry.path(), &mut names);
                }
            }
        }
        collect_gcc(&base.join("usr/lib/gcc"), &mut names);
        Self(names)
    }

    fn contains(&self, name: &str) -> bool {
        self.0.contains(name)
    }
}

fn collect(directory: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.contains(".so") {
            names.insert(name);
        }
    }
}

/// `usr/lib/gcc/CHOST/VERSION`, which Gentoo puts on the linker's path.
fn collect_gcc(directory: &Path, names: &mut BTreeSet<String>) {
    for host in fs::read_dir(directory).into_iter().flatten().flatten() {
        for version in fs::read_dir(host.path()).into_iter().flatten().flatten() {
            collect(&version.path(), names);
        }
    }
}

/// Compares a package with its plan.
///
/// # Errors
/// One sentence for a person.
pub(super) fn is_as_planned(build: &Build<'_>, package: &Gpkg, repacked: &Repacked) -> Result<(), String> {
    let text = |key: &str| {
        package.text(key).map(|value| value.unwrap_or_default().to_owned()).map_err(|error| error.to_string())
    };
    let planned = build.package();
    let found = format!("{}/{}", text("CATEGORY")?, text("PF")?);
    if found != planned.as_str() {
        return Err(format!("the build left {found} instead of {planned}"));
    }
    let repository = text("repository")?;
    if repository != build.node.repo {
        return Err(format!("{planned} was built from ::{repository} instead of ::{}", build.node.repo));
    }
    same_slot(build, &text("SLOT")?)?;
    same_use(build, &text("IUSE")?, &text("USE")?)?;
    // CFLAGS and their like are no evidence: what a package records is what its ebuild made of them.
    let chost = build.inputs.surroundings.environment.get("CHOST").map_or("", |chost| chost.trim());
    let found = text("CHOST")?;
    if found != chost {
        return Err(format!("{planned} was built for CHOST {found:?} instead of {chost:?}"));
    }
    if repacked.payload.is_empty_image() && has_reason_to_install(build) {
        return Err(format!("{planned} has sources but installs nothing"));
    }
    libraries_are_declared(build, repacked)
}

fn same_slot(build: &Build<'_>, found: &str) -> Result<(), String> {
    match found.parse::<buildswarm_core::package::Slot>() {
        Ok(slot) if slot == build.inputs.slot => Ok(()),
        _ => Err(format!("{} came out in slot {found} instead of {}", build.package(), build.inputs.slot)),
    }
}

/// `USE` of a package holds more than its own flags; `IUSE` and the planned flags say which are.
fn same_use(build: &Build<'_>, declared: &str, found: &str) -> Result<(), String> {
    let planned = build.planned_use();
    let found: BTreeSet<&str> = found.split_ascii_whitespace().collect();
    let mut own = declared.split_ascii_whitespace().map(|flag| flag.trim_start_matches(['+', '-']));
    if let Some(flag) = own.find(|flag| planned.contains(flag) != found.contains(flag)) {
        let sign = |enabled| if enabled { '+' } else { '-' };
        let (is, was) = (sign(found.contains(flag)), sign(planned.contains(flag)));
        return Err(format!("{} was built with USE {is}{flag} instead of {was}{flag}", build.package()));
    }
    Ok(())
}

/// Meta packages and accounts install nothing by design: they have neither sources nor an install phase.
fn has_reason_to_install(build: &Build<'_>) -> bool {
    !build.inputs.distfiles.is_empty() || build.node.defined_phases.iter().any(|phase| phase == "install")
}

/// Every shared object it requires must come from itself, the base, or a dependency it declares to run with.
fn libraries_are_declared(build: &Build<'_>, repacked: &Repacked) -> Result<(), String> {
    for (abi, required) in &repacked.payload.requires {
        let own = repacked.payload.provides.get(abi);
        for name in required {
            let provides = |metadata: &std::collections::BTreeMap<String, String>| {
                let provided = sonames(metadata.get("PROVIDES").map_or("", String::as_str));
                provided.get(abi).is_some_and(|names| names.contains(name))
            };
            if own.is_some_and(|own| own.contains(name))
                || build.base_sonames.contains(name)
                || build.runtime_dependencies().any(|dependency| provides(&dependency.metadata))
            {
                continue;
            }
            let culprit = build.dependencies.iter().find(|dependency| provides(&dependency.metadata));
            let from = culprit.map_or_else(String::new, |dependency| format!(" of {}", dependency.package));
            return Err(format!(
                "{} is linked to {name}{from}, which it does not declare as a dependency at run time",
                build.package()
            ));
        }
    }
    Ok(())
}
