//! What must stand before what: closures, cycles, the order of building, and what has to be built at all.

use super::{Edge, Origin, PackageIndex, Plan, PlanError};
use crate::spec::DependencyClasses;

/// Needed at run time, in the wide sense: without these an installed package cannot be counted on.
const RUNTIME: DependencyClasses =
    DependencyClasses::RDEPEND.union(DependencyClasses::PDEPEND).union(DependencyClasses::IDEPEND);

/// What one package needs in its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// The package that must stand there.
    pub package: PackageIndex,
    /// How it reaches the build.
    pub classes: DependencyClasses,
    /// Whether its slot and sub-slot are written into the dependent (`:=`).
    pub binds_slot: bool,
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
    needs: Needs,
    order: Vec<PackageIndex>,
    /// Where each level of `order` ends: packages of one level do not require each other.
    levels: Vec<usize>,
    /// By position: its level plus one; 0 for what stands in the build root.
    level: Vec<u32>,
}

/// Needs of all packages in one piece; `starts[i]..starts[i + 1]` are those of package `i`.
#[derive(Debug, Clone)]
struct Needs {
    all: Vec<Need>,
    starts: Vec<usize>,
}

impl Needs {
    fn of(&self, index: usize) -> &[Need] {
        &self.all[self.starts[index]..self.starts[index + 1]]
    }

    fn packages(&self) -> usize {
        self.starts.len() - 1
    }

    fn retain(&mut self, keep: impl Fn(usize, &Need) -> bool) {
        let mut kept = 0;
        for index in 0..self.packages() {
            let range = std::mem::replace(&mut self.starts[index], kept)..self.starts[index + 1];
            for at in range {
                if keep(index, &self.all[at]) {
                    self.all[kept] = self.all[at];
                    kept += 1;
                }
            }
        }
        self.all.truncate(kept);
        if let Some(end) = self.starts.last_mut() {
            *end = kept;
        }
    }
}

impl Requirements {
    /// Every package that has an ebuild, each after all that it requires.
    #[must_use]
    pub fn order(&self) -> &[PackageIndex] {
        &self.order
    }

    /// [`order`](Self::order) in pieces: what a package requires is in an earlier piece.
    pub fn levels(&self) -> impl Iterator<Item = &[PackageIndex]> {
        let starts = std::iter::once(&0).chain(&self.levels);
        starts.zip(&self.levels).map(|(start, end)| &self.order[*start..*end])
    }

    /// How far up in the order a package is; 0 for what stands in the build root.
    pub(super) fn level(&self, index: PackageIndex) -> u32 {
        self.level[index.get()]
    }

    /// What must stand in the root when `index` is built, ascending by position.
    #[must_use]
    pub fn of(&self, index: PackageIndex) -> &[Need] {
        self.needs.of(index.get())
    }

    /// For each package those that require it.
    #[must_use]
    pub fn dependents(&self) -> Dependents {
        let mut starts = vec![0; self.needs.packages() + 1];
        self.needs.all.iter().for_each(|need| starts[need.package.get() + 1] += 1);
        (1..starts.len()).for_each(|at| starts[at] += starts[at - 1]);
        let mut next = starts.clone();
        let mut all = vec![PackageIndex::new(0); self.needs.all.len()];
        for index in 0..self.needs.packages() {
            for need in self.needs.of(index) {
                all[next[need.package.get()]] = PackageIndex::new(index);
                next[need.package.get()] += 1;
            }
        }
        Dependents { all, starts }
    }

    /// What must stand in the root when `index` is built, in an order of installation: each after what it needs
    /// at run time, as far as they do not need each other.
    #[must_use]
    pub fn installation_order(&self, plan: &Plan, index: PackageIndex) -> Vec<PackageIndex> {
        let needs = self.needs.of(index.get());
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
        self.demand_of(plan, plan.run_time_closure(plan.requested().iter().copied()), resolves)
    }

    /// As [`demand`](Self::demand), so that each of `goals` resolves.
    #[must_use]
    pub fn demand_of(
        &self,
        plan: &Plan,
        goals: impl IntoIterator<Item = PackageIndex>,
        resolves: impl Fn(PackageIndex) -> bool,
    ) -> Vec<PackageIndex> {
        let is_open = |index: PackageIndex| plan.package(index).origin == Origin::Build && !resolves(index);
        let mut wanted = vec![false; plan.packages().len()];
        let mut pending: Vec<_> = goals.into_iter().filter(|goal| is_open(*goal)).collect();
        while let Some(index) = pending.pop() {
            if !std::mem::replace(&mut wanted[index.get()], true) {
                pending.extend(self.of(index).iter().map(|need| need.package).filter(|need| is_open(*need)));
            }
        }
        self.order.iter().copied().filter(|index| wanted[index.get()]).collect()
    }
}

/// Who requires whom, from the other side.
#[derive(Debug, Clone)]
pub struct Dependents {
    all: Vec<PackageIndex>,
    starts: Vec<usize>,
}

impl Dependents {
    /// The packages in whose roots `index` must stand.
    #[must_use]
    pub fn of(&self, index: PackageIndex) -> &[PackageIndex] {
        &self.all[self.starts[index.get()]..self.starts[index.get() + 1]]
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
        pending.extend(runs_with(plan, index));
    }
    found
}

/// What a package names as needed at run time. What stands in the build root already stands there with all that
/// it needs.
fn runs_with(plan: &Plan, index: PackageIndex) -> impl Iterator<Item = PackageIndex> {
    let is_built = plan.package(index).origin == Origin::Build;
    let edges = plan.dependencies(index).iter();
    edges.filter(move |edge| is_built && edge.classes.intersects(RUNTIME)).map(|edge| edge.to)
}

fn is_build_edge(edge: &Edge) -> bool {
    edge.classes.intersects(DependencyClasses::BUILD) || edge.binds_slot
}

/// Category of packages that are names for others.
const VIRTUAL: &str = "virtual";

/// Adds a need to those from `start` on, or joins it with the one that is there; whether it is new.
fn add(all: &mut Vec<Need>, start: usize, seen: &mut [bool], need: Need) -> bool {
    if !std::mem::replace(&mut seen[need.package.get()], true) {
        all.push(need);
        return true;
    }
    if let Some(known) = all[start..].iter_mut().find(|known| known.package == need.package) {
        known.classes = known.classes.union(need.classes);
        known.binds_slot |= need.binds_slot;
        known.hard |= need.hard;
    }
    false
}

/// Appends what `index` needs to `all`.
fn add_needs(plan: &Plan, index: PackageIndex, seen: &mut [bool], all: &mut Vec<Need>) {
    if plan.package(index).origin != Origin::Build {
        return;
    }
    let start = all.len();
    // What may be read first, so that what is both run and read, or needed by both kinds, counts as read.
    for (is_tool, closure) in [(false, DependencyClasses::CLOSURE), (true, DependencyClasses::TOOL_CLOSURE)] {
        let direct = || {
            let edges = plan.dependencies(index).iter();
            edges
                .filter(|edge| is_build_edge(edge) && edge.classes.within(DependencyClasses::TOOL) == is_tool)
        };
        for edge in direct() {
            let need = Need {
                package: edge.to,
                classes: edge.classes,
                binds_slot: edge.binds_slot,
                hard: !edge.satisfied,
            };
            add(all, start, seen, need);
            // A virtual stands for what it needs to run (GLEP 37): who names it names that.
            let is_virtual = |at: PackageIndex| plan.package(at).package.category() == VIRTUAL;
            let mut virtuals = if is_virtual(edge.to) { vec![edge.to] } else { Vec::new() };
            while let Some(at) = virtuals.pop() {
                let named = |package| Need { package, binds_slot: false, hard: false, ..need };
                let new = runs_with(plan, at).filter(|to| add(all, start, seen, named(*to)));
                virtuals.extend(new.filter(|to| is_virtual(*to)));
            }
        }
        let direct: Vec<PackageIndex> = all[start..].iter().map(|need| need.package).collect();
        for package in reach(plan, direct.into_iter().flat_map(|at| runs_with(plan, at)), seen) {
            all.push(Need { package, classes: closure, binds_slot: false, hard: false });
        }
    }
    all[start..].iter().for_each(|need| seen[need.package.get()] = false);
    all[start..].sort_unstable_by_key(|need| need.package);
    if let Ok(own) = all[start..].binary_search_by_key(&index, |need| need.package) {
        all.remove(start + own);
    }
}

pub(super) fn requirements(plan: &Plan) -> Result<Requirements, PlanError> {
    let mut seen = vec![false; plan.packages().len()];
    let mut needs = Needs { all: Vec::with_capacity(plan.edges.len()), starts: vec![0] };
    for index in plan.indices() {
        add_needs(plan, index, &mut seen, &mut needs.all);
        needs.starts.push(needs.all.len());
    }
    let (mut component, mut order) = components(&needs);
    let has_cycle = |component: &[u32]| {
        // Components are numbered without gaps, so fewer than packages means that some have several.
        component.iter().max().is_some_and(|last| (*last as usize) + 1 < component.len())
    };
    if has_cycle(&component) {
        needs.retain(|index, need| need.hard || component[need.package.get()] != component[index]);
        (component, order) = components(&needs);
    }
    if has_cycle(&component) {
        let mut members = vec![0_u32; component.len()];
        component.iter().for_each(|component| members[*component as usize] += 1);
        let on_cycle = |index: &&PackageIndex| members[component[index.get()] as usize] > 1;
        if let Some(start) = order.iter().find(on_cycle) {
            return Err(PlanError::Cycle { packages: cycle(plan, &needs, &component, *start) });
        }
    }
    let (order, levels, level) = by_level(plan, &needs, &order);
    Ok(Requirements { needs, order, levels, level })
}

/// Sorts packages that have an ebuild by the length of the longest chain of needs below them.
fn by_level(plan: &Plan, needs: &Needs, order: &[PackageIndex]) -> (Vec<PackageIndex>, Vec<usize>, Vec<u32>) {
    let mut above = vec![0_u32; needs.packages()];
    let mut ends = Vec::new();
    for index in order.iter().filter(|index| plan.package(**index).origin == Origin::Build) {
        let level = needs.of(index.get()).iter().map(|need| above[need.package.get()]).max().unwrap_or(0);
        above[index.get()] = level + 1;
        if level as usize == ends.len() {
            ends.push(0);
        }
        ends[level as usize] += 1;
    }
    let mut next = Vec::with_capacity(ends.len());
    let mut total = 0;
    for end in &mut ends {
        next.push(total);
        total += *end;
        *end = total;
    }
    let mut sorted = vec![PackageIndex::new(0); total];
    for (index, level) in plan.indices().zip(&above).filter(|(_, level)| **level > 0) {
        let place = &mut next[*level as usize - 1];
        sorted[*place] = index;
        *place += 1;
    }
    (sorted, ends, above)
}

/// One shortest cycle through `start` inside its component.
fn cycle(plan: &Plan, needs: &Needs, component: &[u32], start: PackageIndex) -> Vec<crate::package::Cpv> {
    let mut came_from = vec![None; needs.packages()];
    let mut pending = std::collections::VecDeque::from([start]);
    let mut last = start;
    'search: while let Some(index) = pending.pop_front() {
        for need in needs.of(index.get()) {
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
fn components(needs: &Needs) -> (Vec<u32>, Vec<PackageIndex>) {
    const NEW: u32 = u32::MAX;
    let mut number = vec![NEW; needs.packages()];
    let mut low = vec![NEW; needs.packages()];
    let mut component = vec![NEW; needs.packages()];
    let mut open: Vec<usize> = Vec::new();
    let mut order = Vec::with_capacity(needs.packages());
    let (mut next_number, mut next_component) = (0_u32, 0_u32);
    for root in 0..needs.packages() {
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
            let next = needs.of(node).get(*edge).map(|need| need.package.get());
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
