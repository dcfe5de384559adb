//! Which packages a request needs and what must stand before what.
//!
//! A [`Plan`] is what Portage resolved, as a dense graph with typed edges. [`Plan::requirements`] derives
//! from it the set of packages that must stand in the root when a package is built: its build dependencies
//! and what those need at run time. [`keys`] hashes along that order, [`reuse`] says which earlier builds may stand for a package; [`Requirements::demand`] says which
//! packages have to be built when some keys resolve already.

use std::fmt;

use crate::Digest;
use crate::package::{Cpv, Slot};
use crate::spec::DependencyClasses;

pub mod keys;
mod order;
pub mod reuse;

pub use order::{Dependents, Need, Requirements};

/// Position of a package in its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageIndex(u32);

impl PackageIndex {
    /// The package at `position` of the list the plan was made from.
    ///
    /// # Panics
    /// If `position` exceeds [`MAX_PACKAGES`].
    #[must_use]
    pub fn new(position: usize) -> Self {
        assert!(position < MAX_PACKAGES, "a plan holds at most {MAX_PACKAGES} packages");
        #[expect(clippy::cast_possible_truncation, reason = "asserted just above")]
        Self(position as u32)
    }

    /// Its position, for indexing.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

/// Bound on a plan: five times all of Gentoo's ebuilds in one version each.
pub const MAX_PACKAGES: usize = 100_000;
/// Bound on a plan's edges; real graphs have about ten a package.
pub const MAX_EDGES: usize = 1_000_000;
const _: () = assert!(MAX_EDGES >= MAX_PACKAGES);

/// Where a package of the plan comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It has an ebuild and a key; it is built unless the key resolves.
    Build,
    /// It stands in the build root already; the digest is what its package database says of it.
    Installed(Digest),
}

/// One package of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanPackage {
    /// Name and version.
    pub package: Cpv,
    /// Slot and sub-slot.
    pub slot: Slot,
    /// Name of its repository.
    pub repository: String,
    /// Built or already there.
    pub origin: Origin,
}

/// `from` depends on `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// The dependent.
    pub from: PackageIndex,
    /// The dependency.
    pub to: PackageIndex,
    /// By which dependency variables.
    pub classes: DependencyClasses,
    /// Whether one of them carries `:=`, which is resolved against the root when the package is built
    /// (PMS 8.3.3), so the dependency must stand there whatever its class.
    pub binds_slot: bool,
    /// Whether what stands in the build root satisfies it already. Such an edge gives way where packages
    /// would otherwise need each other, which is how a system rebuilds the tools it was built with.
    pub satisfied: bool,
}

/// Why a graph is not a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// More packages or edges than a plan may hold.
    #[error("the plan has {found} {what}, more than the {limit} allowed")]
    TooLarge {
        /// `packages` or `edges`.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// An edge or request names a package that is not in the plan.
    #[error("the plan names package number {index}, but holds only {packages}")]
    UnknownPackage {
        /// The number it names.
        index: usize,
        /// How many packages there are.
        packages: usize,
    },
    /// Packages that need each other to be built.
    #[error("dependency cycle: {}", CyclePath(.packages))]
    Cycle {
        /// The cycle: each needs the next, the last the first.
        packages: Vec<Cpv>,
    },
}

struct CyclePath<'a>(&'a [Cpv]);

impl fmt::Display for CyclePath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for package in self.0 {
            write!(f, "{package} → ")?;
        }
        f.write_str(self.0.first().map_or("", Cpv::as_str))
    }
}

/// What Portage resolved for one request: packages, typed edges, and which packages were asked for.
#[derive(Debug, Clone)]
pub struct Plan {
    packages: Vec<PlanPackage>,
    /// Edges sorted by dependent; `starts[i]..starts[i + 1]` are those of package `i`.
    edges: Vec<Edge>,
    starts: Vec<usize>,
    requested: Vec<PackageIndex>,
}

impl Plan {
    /// A plan of these packages. Edges between the same two packages are joined, edges to oneself dropped.
    ///
    /// # Errors
    /// [`PlanError::TooLarge`] and [`PlanError::UnknownPackage`]; a cycle is found by
    /// [`requirements`](Self::requirements).
    pub fn new(
        packages: Vec<PlanPackage>,
        edges: Vec<Edge>,
        requested: Vec<PackageIndex>,
    ) -> Result<Self, PlanError> {
        let too_large = |what, found, limit| Err(PlanError::TooLarge { what, found, limit });
        if packages.len() > MAX_PACKAGES {
            return too_large("packages", packages.len(), MAX_PACKAGES);
        }
        if edges.len() > MAX_EDGES {
            return too_large("edges", edges.len(), MAX_EDGES);
        }
        let mut named = edges.iter().flat_map(|edge| [edge.from, edge.to]).chain(requested.iter().copied());
        if let Some(unknown) = named.find(|index| index.get() >= packages.len()) {
            return Err(PlanError::UnknownPackage { index: unknown.get(), packages: packages.len() });
        }
        let edges = joined(edges);
        let mut starts = Vec::with_capacity(packages.len() + 1);
        let mut at = 0;
        for package in 0..=packages.len() {
            at += edges[at..].partition_point(|edge| edge.from.get() < package);
            starts.push(at);
        }
        Ok(Self { packages, edges, starts, requested })
    }

    /// The packages, in the order they were given.
    #[must_use]
    pub fn packages(&self) -> &[PlanPackage] {
        &self.packages
    }

    /// One package.
    ///
    /// # Panics
    /// If `index` is of a larger plan.
    #[must_use]
    pub fn package(&self, index: PackageIndex) -> &PlanPackage {
        &self.packages[index.get()]
    }

    /// All positions.
    pub fn indices(&self) -> impl Iterator<Item = PackageIndex> + use<> {
        (0..self.packages.len()).map(PackageIndex::new)
    }

    /// What was asked for.
    #[must_use]
    pub fn requested(&self) -> &[PackageIndex] {
        &self.requested
    }

    /// What `index` depends on, by whatever class.
    #[must_use]
    pub fn dependencies(&self, index: PackageIndex) -> &[Edge] {
        &self.edges[self.starts[index.get()]..self.starts[index.get() + 1]]
    }

    /// These packages and all they need at run time: what a client installs of them. Ascending by position.
    #[must_use]
    pub fn run_time_closure(&self, of: impl IntoIterator<Item = PackageIndex>) -> Vec<PackageIndex> {
        order::run_time_closure(self, of.into_iter())
    }

    /// What must stand in the root when each package is built, and in which order packages can be built.
    ///
    /// # Errors
    /// [`PlanError::Cycle`] if packages need each other to be built.
    pub fn requirements(&self) -> Result<Requirements, PlanError> {
        order::requirements(self)
    }
}

fn joined(mut edges: Vec<Edge>) -> Vec<Edge> {
    edges.retain(|edge| edge.from != edge.to);
    edges.sort_by_key(|edge| (edge.from, edge.to));
    edges.dedup_by(|next, kept| {
        let same = next.from == kept.from && next.to == kept.to;
        if same {
            kept.classes = kept.classes.union(next.classes);
            kept.binds_slot |= next.binds_slot;
            kept.satisfied &= next.satisfied;
        }
        same
    });
    edges
}

#[cfg(test)]
mod tests;
