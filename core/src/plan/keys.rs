//! The exact keys of a whole plan.
//!
//! The inputs of packages do not depend on each other: they are encoded and hashed in lanes, ahead of the rest by
//! whichever threads there are. What is left is short, and goes level by level: packages of one level do not require
//! each other. Ordering, lanes and parallelism have no part in the result, which is that of
//! [`exact_key`](crate::address::exact_key) for each package.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use rayon::iter::{IndexedParallelIterator, IntoParallelRefMutIterator, ParallelIterator};
use rayon::slice::ParallelSlice;

use super::{Dependents, Need, Origin, PackageIndex, Plan, PlanPackage, Requirements};
use crate::address::{DEPENDENCY, EXACT, INPUTS, SURROUNDINGS};
use crate::canonical::Encoder;
use crate::digest::batch::{Batch, Kind, LANES};
use crate::policy::Policy;
use crate::spec::{
    BuildInputs, BuildSpec, Dependency, DependencyRecord, Identity, KeyDependencies, Surroundings,
    encode_key_message,
};
use crate::{BuildKey, Digest};

/// Packages that one thread hashes at a time: enough to fill the lanes several times over, few enough to share a
/// level between threads.
const BATCH: usize = 64;

/// Threads share a level whose packages require so many others together: to wake one up takes as long as a few thousand
/// dependencies.
const SHARED_NEEDS: usize = 4096;

/// The exact keys of a plan, with what they are made of, so that a change costs no more than what it concerns.
#[derive(Debug, Clone)]
pub struct Keys {
    /// By position: the digest of its inputs; [`NONE`] where there are none.
    inputs: Vec<Digest>,
    /// By position: what it is to those that depend on it.
    dependencies: Vec<Digest>,
    keys: Vec<Option<BuildKey>>,
}

struct Kinds {
    surroundings: Kind,
    inputs: Kind,
    dependency: Kind,
    key: Kind,
}

impl Kinds {
    fn new() -> Self {
        Self {
            surroundings: Kind::new(SURROUNDINGS),
            inputs: Kind::new(INPUTS),
            dependency: Kind::new(DEPENDENCY),
            key: Kind::new(EXACT),
        }
    }
}

const NONE: Digest = Digest::from_bytes([0; Digest::LEN]);

impl Keys {
    /// The keys of every package that has an ebuild; `inputs` holds the inputs of each such package at its
    /// position.
    ///
    /// # Panics
    /// If the inputs of a package that has an ebuild are not there: leaving something out would be a wrong key.
    #[must_use]
    pub fn of_plan(plan: &Plan, requirements: &Requirements, inputs: &[Option<BuildInputs>]) -> Self {
        let kinds = Kinds::new();
        let packages = plan.packages().len();
        assert_eq!(packages, inputs.len(), "inputs for each position");
        let mut keys = Self {
            inputs: vec![NONE; packages],
            dependencies: vec![NONE; packages],
            keys: vec![None; packages],
        };
        keys.add_installed(plan, &kinds);
        let ahead = Ahead::new(&kinds, inputs, requirements.order());
        // The levels go by this thread: to hand all of it to another takes longer than a level.
        rayon::in_place_scope(|scope| {
            (1..rayon::current_num_threads()).for_each(|_| scope.spawn(|_| ahead.digest_all()));
            keys.set_all(plan, requirements, &ahead);
        });
        keys
    }

    fn set_all(&mut self, plan: &Plan, requirements: &Requirements, ahead: &Ahead<'_>) {
        let mut desks: Vec<Desk> =
            std::iter::repeat_with(Desk::default).take(rayon::current_num_threads()).collect();
        let mut hand = Hand::default();
        let mut pieces = ahead.pieces.iter().zip(requirements.order().chunks(BATCH));
        // Packages whose levels have been reached, and whose inputs are there.
        let (mut reached, mut there) = (0, 0);
        for level in requirements.levels() {
            reached += level.len();
            while there < reached
                && let Some((piece, packages)) = pieces.next()
            {
                let digests = ahead.digest(piece, packages, &mut hand);
                for (index, digest) in packages.iter().zip(digests) {
                    self.inputs[index.get()] = *digest;
                }
                there += packages.len();
            }
            self.set(plan, requirements, ahead.kinds, level, &mut desks);
        }
    }

    /// The key of a package; `None` if it stands in the build root.
    #[must_use]
    pub fn of(&self, index: PackageIndex) -> Option<BuildKey> {
        self.keys[index.get()]
    }

    /// Takes over other inputs of some packages; returns the packages whose keys are others now, in building
    /// order.
    ///
    /// Computes the keys of these packages and of those that require them, no others.
    ///
    /// # Panics
    /// As [`of_plan`](Self::of_plan).
    pub fn change(
        &mut self,
        plan: &Plan,
        requirements: &Requirements,
        dependents: &Dependents,
        inputs: &[Option<BuildInputs>],
        changed: &[PackageIndex],
    ) -> Vec<PackageIndex> {
        let kinds = Kinds::new();
        let mut hand = Hand::default();
        for index in changed {
            let digest = std::slice::from_mut(&mut self.inputs[index.get()]);
            hand.digest_inputs(&kinds, std::iter::once(inputs[index.get()].as_ref()), digest);
        }
        // By level, so that each is computed once, after all it requires.
        let mut pending: BTreeSet<(u32, PackageIndex)> =
            changed.iter().map(|index| (requirements.level(*index), *index)).collect();
        let mut moved = Vec::new();
        let mut desks = [Desk::default()];
        while let Some((level, first)) = pending.pop_first() {
            let mut at_once = vec![first];
            while pending.first().is_some_and(|(next, _)| *next == level) {
                at_once.extend(pending.pop_first().map(|(_, index)| index));
            }
            let before: Vec<_> = at_once.iter().map(|index| self.of(*index)).collect();
            self.set(plan, requirements, &kinds, &at_once, &mut desks);
            for (index, before) in at_once.into_iter().zip(before) {
                if self.of(index) != before {
                    moved.push(index);
                    let above = dependents.of(index).iter();
                    pending.extend(above.map(|above| (requirements.level(*above), *above)));
                }
            }
        }
        moved
    }

    /// What stands in the build root is known without any key.
    fn add_installed(&mut self, plan: &Plan, kinds: &Kinds) {
        for (package, digest) in plan.packages().iter().zip(&mut self.dependencies) {
            if let Origin::Installed(identity) = package.origin {
                let mut batch = Batch::default();
                batch.add(|record| whole(package, &Identity::Installed(identity)).encode(record));
                batch.digests(&kinds.dependency, std::slice::from_mut(digest));
            }
        }
    }

    /// Computes the keys of packages that do not require each other, what they require being done.
    fn set(
        &mut self,
        plan: &Plan,
        requirements: &Requirements,
        kinds: &Kinds,
        level: &[PackageIndex],
        desks: &mut [Desk],
    ) {
        let needs: usize = level.iter().map(|index| requirements.of(*index).len()).sum();
        let threads = if needs < SHARED_NEEDS { 1 } else { desks.len() };
        let share = level.len().div_ceil(threads).next_multiple_of(LANES).max(BATCH / 2);
        if level.len() <= share {
            desks[0].compute(self, plan, requirements, kinds, level);
        } else {
            let work = level.par_chunks(share).zip(desks.par_iter_mut());
            work.for_each(|(packages, desk)| desk.compute(self, plan, requirements, kinds, packages));
        }
        for (packages, desk) in level.chunks(share).zip(desks) {
            for ((index, key), dependency) in packages.iter().zip(&desk.keys).zip(&desk.dependencies) {
                let inputs = self.inputs[index.get()];
                assert_ne!(inputs, NONE, "the inputs of every package with an ebuild are there");
                self.keys[index.get()] = Some(BuildKey::from_digest(*key));
                self.dependencies[index.get()] = *dependency;
            }
        }
    }
}

/// The digests of inputs, in pieces in the order in which they are needed, each by whoever gets to it first.
struct Ahead<'a> {
    kinds: &'a Kinds,
    inputs: &'a [Option<BuildInputs>],
    order: &'a [PackageIndex],
    pieces: Vec<OnceLock<Vec<Digest>>>,
    /// The first piece that nobody works ahead at.
    next: AtomicUsize,
}

impl<'a> Ahead<'a> {
    fn new(kinds: &'a Kinds, inputs: &'a [Option<BuildInputs>], order: &'a [PackageIndex]) -> Self {
        let pieces = std::iter::repeat_with(OnceLock::new).take(order.len().div_ceil(BATCH)).collect();
        Self { kinds, inputs, order, pieces, next: AtomicUsize::new(0) }
    }

    /// Works ahead until nothing is left.
    fn digest_all(&self) {
        let mut hand = Hand::default();
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(piece) = self.pieces.get(number) else { return };
            let end = self.order.len().min((number + 1) * BATCH);
            self.digest(piece, &self.order[number * BATCH..end], &mut hand);
        }
    }

    fn digest<'p>(
        &self,
        piece: &'p OnceLock<Vec<Digest>>,
        packages: &[PackageIndex],
        hand: &mut Hand<'a>,
    ) -> &'p [Digest] {
        piece.get_or_init(|| {
            let mut digests = vec![NONE; packages.len()];
            let inputs = packages.iter().map(|index| self.inputs[index.get()].as_ref());
            hand.digest_inputs(self.kinds, inputs, &mut digests);
            digests
        })
    }
}

/// Where one thread digests inputs.
#[derive(Default)]
struct Hand<'a> {
    batch: Batch,
    shared: Shared<'a>,
}

impl<'a> Hand<'a> {
    /// The digest of each of the inputs; [`NONE`] where there are none.
    fn digest_inputs(
        &mut self,
        kinds: &Kinds,
        inputs: impl Iterator<Item = Option<&'a BuildInputs>> + Clone,
        digests: &mut [Digest],
    ) {
        let Self { batch, shared } = self;
        batch.clear();
        for inputs in inputs.clone() {
            batch.add(|record| {
                if let Some(inputs) = inputs {
                    inputs.encode_message(record, &shared.digest(&kinds.surroundings, &inputs.surroundings));
                }
            });
        }
        batch.digests(&kinds.inputs, digests);
        for (digest, _) in digests.iter_mut().zip(inputs).filter(|(_, inputs)| inputs.is_none()) {
            *digest = NONE;
        }
    }
}

/// Where one thread works: memory that is used again from level to level.
#[derive(Debug, Default)]
struct Desk {
    batch: Batch,
    keys: Vec<Digest>,
    dependencies: Vec<Digest>,
}

impl Desk {
    /// For each package its key, and what it is to those that depend on it.
    fn compute(
        &mut self,
        done: &Keys,
        plan: &Plan,
        requirements: &Requirements,
        kinds: &Kinds,
        packages: &[PackageIndex],
    ) {
        let Self { batch, keys, dependencies } = self;
        let mut needs = KeyDependencies::default();
        batch.clear();
        for index in packages {
            let of_need = |need: &Need| (&done.dependencies[need.package.get()], need.classes);
            needs.set(requirements.of(*index).iter().map(of_need));
            assert!(!needs.contains(&NONE), "requirements come first in the order");
            let inputs = &done.inputs[index.get()];
            batch.add(|record| encode_key_message(record, Policy::Exact, inputs, &mut needs));
        }
        keys.resize(packages.len(), NONE);
        batch.digests(&kinds.key, keys);
        batch.clear();
        for (index, key) in packages.iter().zip(&*keys) {
            let identity = Identity::Built(BuildKey::from_digest(*key));
            batch.add(|record| whole(plan.package(*index), &identity).encode(record));
        }
        dependencies.resize(packages.len(), NONE);
        batch.digests(&kinds.dependency, dependencies);
    }
}

/// Digests of surroundings that several packages share, each hashed once by a thread.
#[derive(Default)]
struct Shared<'a> {
    known: BTreeMap<*const Surroundings, Digest>,
    /// Neighbours share more often than not.
    last: Option<(&'a Arc<Surroundings>, Digest)>,
}

impl<'a> Shared<'a> {
    fn digest(&mut self, kind: &Kind, surroundings: &'a Arc<Surroundings>) -> Digest {
        if let Some((last, digest)) = self.last
            && Arc::ptr_eq(last, surroundings)
        {
            return digest;
        }
        let digest = *self.known.entry(Arc::as_ptr(surroundings)).or_insert_with(|| {
            let mut record = Encoder::new();
            surroundings.encode(&mut record);
            kind.digest(&record.finish_message())
        });
        self.last = Some((surroundings, digest));
        digest
    }
}

/// A package as an exact key names it.
fn whole<'a>(package: &'a PlanPackage, identity: &'a Identity) -> DependencyRecord<'a> {
    DependencyRecord {
        name: package.package.cp(),
        version: Some(package.package.version()),
        slot: package.slot.slot(),
        sub_slot: Some(package.slot.sub_slot()),
        identity,
    }
}

/// The exact specification of the package at `index`, what it requires being identified by `key`.
///
/// `key` yields for a package of the plan the key of the artifact that stands for it; `None` makes this `None`.
#[must_use]
pub fn exact_spec(
    plan: &Plan,
    requirements: &Requirements,
    inputs: &BuildInputs,
    index: PackageIndex,
    key: impl Fn(PackageIndex) -> Option<BuildKey>,
) -> Option<BuildSpec> {
    let dependency = |need: &Need| {
        let package = plan.package(need.package);
        let identity = match package.origin {
            Origin::Installed(digest) => Identity::Installed(digest),
            Origin::Build => Identity::Built(key(need.package)?),
        };
        Some(Dependency {
            name: package.package.cp().to_owned(),
            version: Some(package.package.version().to_owned()),
            slot: package.slot.slot().to_owned(),
            sub_slot: Some(package.slot.sub_slot().to_owned()),
            classes: need.classes,
            identity,
        })
    };
    let dependencies = requirements.of(index).iter().map(dependency).collect::<Option<_>>()?;
    Some(BuildSpec { policy: Policy::Exact, inputs: inputs.clone(), dependencies })
}
