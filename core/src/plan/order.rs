//! What must stand before what: closures, cycles, the order of building, and what has to be built at all.

use super::{Edge, Origin, PackageIndex, Plan, PlanError};
use crate::spec::DependencyClasses;

/// Needed at run time, in the wide sense: without these an installed package cannot be counted on.
const RUNTIME: DependencyClasses =
    DependencyClasses::RDEPEND.union(DependencyClasses::PDEPEND).union(DependencyClasses::IDEPEND);

/// What one package needs in its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Need {
    package: PackageIndex,
    classes: DependencyClasses,
    /// Named by the package itself, and not satisfied by the build root: cannot be left out.
    hard: bool,
}

/// For each package what must stand in the root when it is built.
///
/// That is its build dependencies (`DEPEND`, `BDEPEND`, `IDEPEND`, and whatever it binds with `:=`) and
/// what those need at run time, transitively. Gentoo has cycles at run time; a package that only reaches a
/// build by way of one, and could not be built without that build, is left out of it, as it is when Portage
/// merges in order. That depends on nothing but what can be reached from the package, so asking for more
/// never changes the requirements, nor the key, of what was asked before.
#[derive(Debug, Clone)]
pub struct Requirements {
    needs: Vec<Vec<Need>>,
    order: Vec<PackageIndex>,
}

impl Requirements {
    /// Every package that has an ebuild, each after all that it requires.
    #[must_use]
    pub fn order(&self) -> &[PackageIndex] {
        &self.order
    }

    /// What must stand in the root when `index` is built: package and classes, ascending by position.
    pub fn of(&self, index: PackageIndex) -> impl Iterator<Item = (PackageIndex, DependencyClasses)> {
        self.needs[index.get()].iter().map(|need| (need.package, need.classes))
    }

    /// What must stand in the root when `index` is built, in an order of installation: each after what it needs
    /// at run time, as far as they do not need each other.
    #[must_use]
    pub fn installation_order(&self, plan: &Plan, index: PackageIndex) -> Vec<PackageIndex> {
        let needs = &self.needs[index.get()];
        let inside = |package| needs.binary_search_by_key(&package, |need| need.package).ok();
        let mut seen = vec![false; needs.len()];
        let mut order = Vec::with_capacity(needs.len());
        for root in 0..needs.len() {
            let mut frames = vec![(root, 0)];
            while let Some(&mut (at, ref mut edge)) = frames.last_mut() {
                if *edge == 0 && std::mem::replace(&mut seen[at], true) {
                    frames.pop();
                    continue;
                }
                let edges = plan.dependencies(needs[at].package);
                match edges[*edge..].iter().position(|edge| edge.classes.intersects(RUNTIME)) {
                    Some(skipped) => {
                        let to = edges[*edge + skipped].to;
                        *edge += skipped + 1;
                        frames.extend(inside(to).filter(|to| !seen[*to]).map(|to| (to, 0)));
                    }
                    None => {
                        order.push(needs[at].package);
                        frames.pop();
                    }
                }
            }
        }
        order
    }

    /// What must be built, in order, so that every package in the run-time closure of the request resolves.
    ///
    /// A package that is only a build dependency of packages that resolve already is not among it.
    #[must_use]
    pub fn demand(&self, plan: &Plan, resolves: impl Fn(PackageIndex) -> bool) -> Vec<PackageIndex> {
        let is_open = |index: PackageIndex| plan.package(index).origin == Origin::Build && !resolves(index);
        let mut wanted = vec![false; plan.packages().len()];
        let goals = plan.run_time_closure(plan.requested().iter().copied());
        let mut pending: Vec<_> = goals.into_iter().filter(|goal| is_open(*goal)).collect();
        while let Some(index) = pending.pop() {
            if !std::mem::replace(&mut wanted[index.get()], true) {
                pending.extend(self.of(index).map(|(need, _)| need).filter(|need| is_open(*need)));
            }
        }
        self.order.iter().copied().filter(|index| wanted[index.get()]).collect()
    }
}

/// See [`Plan::run_time_closure`].
pub(super) fn run_time_closure(plan: &Plan, of: impl Iterator<Item = PackageIndex>) -> Vec<PackageIndex> {
    let mut seen = vec![false; plan.packages().len()];
    reach(plan, of, &mut seen);
    plan.indices().filter(|index| seen[index.get()]).collect()
}

/// Marks what can be reached from `from` by edges that count at run time, `from` included, and returns it.
fn reach(plan: &Plan, from: impl Iterator<Item = PackageIndex>, seen: &mut [bool]) -> Vec<PackageIndex> {
    let mut found = Vec::new();
    let mut pending: Vec<_> = from.collect();
    while let Some(index) = pending.pop() {
        if std::mem::replace(&mut seen[index.get()], true) {
            continue;
        }
        found.push(index);
        // What stands in the build root already stands there with all that it needs.
        if plan.package(index).origin == Origin::Build {
            let edges = plan.dependencies(index).iter();
            pending.extend(edges.filter(|edge| edge.classes.intersects(RUNTIME)).map(|edge| edge.to));
        }
    }
    found
}

fn is_build_edge(edge: &Edge) -> bool {
    edge.classes.intersects(DependencyClasses::BUILD) || edge.binds_slot
}

fn needs_of(plan: &Plan, index: PackageIndex, seen: &mut [bool]) -> Vec<Need> {
    if plan.package(index).origin != Origin::Build {
        return Vec::new();
    }
    let direct: Vec<&Edge> = plan.dependencies(index).iter().filter(|edge| is_build_edge(edge)).collect();
    let found = reach(plan, direct.iter().map(|edge| edge.to), seen);
    let mut needs: Vec<Need> = found
        .into_iter()
        .inspect(|package| seen[package.get()] = false)
        .filter(|package| *package != index)
        .map(|package| match direct.binary_search_by_key(&package, |edge| edge.to) {
            Ok(at) => Need { package, classes: direct[at].classes, hard: !direct[at].satisfied },
            Err(_) => Need { package, classes: DependencyClasses::CLOSURE, hard: false },
        })
        .collect();
    needs.sort_unstable_by_key(|need| need.package);
    needs
}

pub(super) fn requirements(plan: &Plan) -> Result<Requirements, PlanError> {
    let mut seen = vec![false; plan.packages().len()];
    let mut needs: Vec<Vec<Need>> = plan.indices().map(|index| needs_of(plan, index, &mut seen)).collect();
    let (component, _) = components(&needs);
    for (index, needs) in needs.iter_mut().enumerate() {
        needs.retain(|need| need.hard || component[need.package.get()] != component[index]);
    }
    let (component, order) = components(&needs);
    let mut members = vec![0_u32; needs.len()];
    component.iter().for_each(|component| members[*component as usize] += 1);
    if let Some(on_cycle) = order.iter().find(|index| members[component[index.get()] as usize] > 1) {
        return Err(PlanError::Cycle { packages: cycle(plan, &needs, &component, *on_cycle) });
    }
    let order = order.into_iter().filter(|index| plan.package(*index).origin == Origin::Build).collect();
    Ok(Requirements { needs, order })
}

/// One shortest cycle through `start` inside its component.
fn cycle(
    plan: &Plan,
    needs: &[Vec<Need>],
    component: &[u32],
    start: PackageIndex,
) -> Vec<crate::package::Cpv> {
    let mut came_from = vec![None; needs.len()];
    let mut pending = std::collections::VecDeque::from([start]);
    let mut last = start;
    'search: while let Some(index) = pending.pop_front() {
        for need in &needs[index.get()] {
            if need.package == start {
                last = index;
                break 'search;
            }
            let inside = component[need.package.get()] == component[start.get()];
            if inside && came_from[need.package.get()].is_none() {
                came_from[need.package.get()] = Some(index);
                pending.push_back(need.package);
            }
        }
    }
    let mut path = vec![last];
    while let Some(index) = came_from[path[path.len() - 1].get()] {
        path.push(index);
    }
    path.iter().rev().map(|index| plan.package(*index).package.clone()).collect()
}

/// Strongly connected components by Tarjan's algorithm (1972), with a stack of its own: plans are deep.
///
/// Returns each package's component and all packages in an order where dependencies come first.
fn components(needs: &[Vec<Need>]) -> (Vec<u32>, Vec<PackageIndex>) {
    const NEW: u32 = u32::MAX;
    let mut number = vec![NEW; needs.len()];
    let mut low = vec![NEW; needs.len()];
    let mut component = vec![NEW; needs.len()];
    let mut open: Vec<usize> = Vec::new();
    let mut order = Vec::with_capacity(needs.len());
    let (mut next_number, mut next_component) = (0_u32, 0_u32);
    for root in 0..needs.len() {
        if number[root] != NEW {
            continue;
        }
        let mut frames = vec![(root, 0)];
        while let Some(&mut (node, ref mut edge)) = frames.last_mut() {
            if *edge == 0 {
                (number[node], low[node]) = (next_number, next_number);
                next_number += 1;
                open.push(node);
            }
            let next = needs[node].get(*edge).map(|need| need.package.get());
            *edge += 1;
            match next {
                Some(child) if number[child] == NEW => frames.push((child, 0)),
                Some(child) if component[child] == NEW => low[node] = low[node].min(number[child]),
                Some(_) => {}
                None => {
                    frames.pop();
                    if let Some((parent, _)) = frames.last() {
                        low[*parent] = low[*parent].min(low[node]);
                    }
                    if low[node] == number[node] {
                        while let Some(member) = open.pop() {
                            component[member] = next_component;
                            order.push(PackageIndex::new(member));
                            if member == node {
                                break;
                            }
                        }
                        next_component += 1;
                    }
                }
            }
        }
    }
    (component, order)
}
