//! Taking a plan: checked as a whole first, then joined with what is known already.
//!
//! A plan's jobs wait only for jobs of the same plan, and the latest plan to name a job says what it waits
//! for. So a cycle can only be within one plan, and checking each plan by itself is enough.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::package::Cpv;
use crate::{BuildKey, Digest};

use super::Scheduler;
use super::event::{JobRequest, PlanId};
use super::job::{Job, JobIx, State};
use super::plan::{Plan, PlanPhase};

/// Jobs of one plan: five times the packages of the Gentoo repository; bounds what a submitter can make us hold.
pub const JOBS_MAX: usize = 100_000;

/// Edges of one plan: ten for each job.
pub const EDGES_MAX: usize = 1_000_000;

const _: () = assert!(EDGES_MAX >= JOBS_MAX);

/// BLAKE3 context of a plan's fingerprint, which never leaves memory.
const FINGERPRINT: &str = "buildswarm 2026-11-21 submitted plan";

/// Why a plan is refused. Nothing of it is taken then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// Another plan has this number.
    #[error("{plan} exists already and is another plan")]
    PlanExists {
        /// The number.
        plan: PlanId,
    },
    /// More jobs than [`JOBS_MAX`].
    #[error("the plan has {jobs} jobs, more than {JOBS_MAX}")]
    TooManyJobs {
        /// How many.
        jobs: usize,
    },
    /// More edges than [`EDGES_MAX`].
    #[error("the plan has {edges} edges, more than {EDGES_MAX}")]
    TooManyEdges {
        /// How many.
        edges: usize,
    },
    /// A key is listed twice.
    #[error("{label} is listed twice under key {key}")]
    Duplicate {
        /// The key.
        key: BuildKey,
        /// Its package.
        label: Cpv,
    },
    /// A job waits for a key that is not in the plan.
    #[error("{label} waits for key {missing}, which is not in the plan")]
    UnknownDependency {
        /// The package that waits.
        label: Cpv,
        /// What is not there.
        missing: BuildKey,
    },
    /// A job waits for itself.
    #[error("{label} waits for itself")]
    SelfDependency {
        /// The package.
        label: Cpv,
    },
    /// Jobs wait for each other.
    #[error("packages wait for each other in a circle: {}", circle(.packages))]
    Cycle {
        /// The circle, each waiting for the next and the last for the first.
        packages: Vec<Cpv>,
    },
}

/// A circle as text, cut in the middle of a long one.
fn circle(packages: &[Cpv]) -> String {
    const SHOWN: usize = 12;
    let mut names: Vec<&str> = packages.iter().take(SHOWN).map(Cpv::as_str).collect();
    if packages.len() > SHOWN {
        names.push("…");
    }
    names.extend(packages.first().map(Cpv::as_str));
    names.join(" → ")
}

/// A plan's edges by place in the request.
struct Graph {
    /// What each job waits for, ascending, each once.
    waits_for: Vec<Vec<usize>>,
    /// Every job behind all it waits for.
    order: Vec<usize>,
}

impl Graph {
    fn check(jobs: &[JobRequest]) -> Result<Self, SubmitError> {
        if jobs.len() > JOBS_MAX {
            return Err(SubmitError::TooManyJobs { jobs: jobs.len() });
        }
        let edges = jobs.iter().map(|job| job.waits_for.len()).sum();
        if edges > EDGES_MAX {
            return Err(SubmitError::TooManyEdges { edges });
        }
        let mut places = BTreeMap::new();
        for (at, job) in jobs.iter().enumerate() {
            if places.insert(job.key, at).is_some() {
                return Err(SubmitError::Duplicate { key: job.key, label: job.label.clone() });
            }
        }
        let waits_for = jobs.iter().map(|job| dependencies(job, &places)).collect::<Result<Vec<_>, _>>()?;
        let order = order(&waits_for).map_err(|circle| SubmitError::Cycle {
            packages: circle.into_iter().map(|at| jobs[at].label.clone()).collect(),
        })?;
        Ok(Self { waits_for, order })
    }
}

fn dependencies(job: &JobRequest, places: &BTreeMap<BuildKey, usize>) -> Result<Vec<usize>, SubmitError> {
    let mut found = BTreeSet::new();
    for key in &job.waits_for {
        if *key == job.key {
            return Err(SubmitError::SelfDependency { label: job.label.clone() });
        }
        let unknown = || SubmitError::UnknownDependency { label: job.label.clone(), missing: *key };
        found.insert(*places.get(key).ok_or_else(unknown)?);
    }
    Ok(found.into_iter().collect())
}

/// Every node behind all it waits for (Kahn), or one circle.
fn order(waits_for: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut dependents = vec![Vec::new(); waits_for.len()];
    for (at, list) in waits_for.iter().enumerate() {
        list.iter().for_each(|dependency| dependents[*dependency].push(at));
    }
    let mut missing: Vec<usize> = waits_for.iter().map(Vec::len).collect();
    let mut order: Vec<usize> = (0..waits_for.len()).filter(|at| missing[*at] == 0).collect();
    let mut next = 0;
    while let Some(at) = order.get(next).copied() {
        next += 1;
        for dependent in &dependents[at] {
            missing[*dependent] -= 1;
            if missing[*dependent] == 0 {
                order.push(*dependent);
            }
        }
    }
    let Some(stuck) = missing.iter().position(|count| *count > 0) else { return Ok(order) };
    // What is left over waits for something left over: following that must come back to where it was.
    let mut path = Vec::new();
    let mut position = BTreeMap::new();
    let mut at = stuck;
    while !position.contains_key(&at) {
        position.insert(at, path.len());
        path.push(at);
        at = waits_for[at].iter().copied().find(|dependency| missing[*dependency] > 0).unwrap_or(at);
    }
    Err(path.split_off(position[&at]))
}

fn fingerprint(keep_going: bool, jobs: &[JobRequest]) -> Digest {
    let mut lines: Vec<Vec<u8>> = jobs
        .iter()
        .map(|job| {
            let mut waits_for = job.waits_for.clone();
            waits_for.sort_unstable();
            waits_for.dedup();
            let mut line = job.key.digest().as_bytes().to_vec();
            line.extend([u8::from(job.goal), u8::from(job.resolve)]);
            waits_for.iter().for_each(|key| line.extend_from_slice(key.digest().as_bytes()));
            line
        })
        .collect();
    lines.sort_unstable();
    let mut encoder = crate::canonical::Encoder::new();
    encoder.number(1, u64::from(keep_going));
    encoder.list(2, lines.iter());
    Digest::derive(FINGERPRINT, &encoder.finish())
}

impl Scheduler {
    pub(super) fn submit(
        &mut self,
        id: PlanId,
        keep_going: bool,
        jobs: Vec<JobRequest>,
    ) -> Result<(), SubmitError> {
        let graph = Graph::check(&jobs)?;
        let fingerprint = fingerprint(keep_going, &jobs);
        if let Some(known) = self.plans.get(&id) {
            let same = known.fingerprint == fingerprint;
            return if same { Ok(()) } else { Err(SubmitError::PlanExists { plan: id }) };
        }
        let plan = Plan {
            phase: PlanPhase::Active,
            keep_going,
            members: Vec::with_capacity(jobs.len()),
            goals: Vec::new(),
            open: 0,
            fingerprint,
        };
        self.plans.insert(id, plan);
        self.closing.insert(id);

        let places = self.take_jobs(id, jobs);
        let work = self.take_edges(&places, &graph);
        for at in graph.order.iter().rev() {
            self.share_plans(places[*at]);
            self.rank(places[*at]);
        }
        self.settle(work);
        Ok(())
    }

    /// Finds or makes the job of each request.
    fn take_jobs(&mut self, plan: PlanId, jobs: Vec<JobRequest>) -> Vec<JobIx> {
        let mut places = Vec::with_capacity(jobs.len());
        for request in jobs {
            let known = self.jobs.find(request.key);
            let ix = known.unwrap_or_else(|| self.jobs.insert(Job::new(request.key, request.label)));
            let learned = self.estimates.of(self.jobs[ix].label.cp());
            self.jobs[ix].estimate = learned.unwrap_or(request.estimate);
            self.attach(ix, plan);
            if request.resolve {
                self.jobs[ix].takes_reuse.insert(plan);
            }
            if request.goal
                && let Some(plan) = self.plans.get_mut(&plan)
            {
                plan.goals.push(ix);
            }
            places.push(ix);
        }
        places
    }

    fn attach(&mut self, ix: JobIx, id: PlanId) {
        if let Some(plan) = self.plans.get_mut(&id)
            && self.jobs[ix].plans.insert(id)
        {
            plan.members.push(ix);
            plan.open += usize::from(!self.jobs[ix].state.public().is_final());
        }
    }

    /// Replaces what each job waits for, starts those afresh that had come to nothing or only to a reuse, and
    /// has those asked about anew that were being looked up for other plans. Returns what is to be settled.
    fn take_edges(&mut self, places: &[JobIx], graph: &Graph) -> Vec<JobIx> {
        let mut work = places.to_vec();
        for (ix, waits_for) in places.iter().zip(&graph.waits_for) {
            let old = std::mem::take(&mut self.jobs[*ix].waits_for);
            for dependency in old {
                self.jobs[dependency].dependents.remove(ix);
            }
            for dependency in waits_for {
                self.jobs[places[*dependency]].dependents.insert(*ix);
            }
            self.jobs[*ix].waits_for = waits_for.iter().map(|at| places[*at]).collect();
        }
        places.iter().for_each(|ix| self.jobs.recount(*ix));
        for ix in places {
            match self.jobs[*ix].state {
                State::Resolving { .. } => self.transition(*ix, State::Waiting, &mut work),
                State::Reused | State::Failed => {
                    self.jobs[*ix].start_afresh();
                    self.transition(*ix, State::Waiting, &mut work);
                }
                State::Blocked { .. } | State::Dropped => self.jobs[*ix].start_afresh(),
                State::Waiting
                | State::Delayed { .. }
                | State::Ready
                | State::Running { .. }
                | State::Built => {}
            }
        }
        work
    }

    /// Whoever wants a job wants what it waits for, however he came to it.
    fn share_plans(&mut self, ix: JobIx) {
        for at in 0..self.jobs[ix].waits_for.len() {
            let dependency = self.jobs[ix].waits_for[at];
            let missing: Vec<PlanId> =
                self.jobs[ix].plans.difference(&self.jobs[dependency].plans).copied().collect();
            missing.into_iter().for_each(|plan| self.attach(dependency, plan));
        }
    }

    /// Computes how much is to be done from the beginning of this job to the end of the longest chain behind
    /// it. What waits for it has been ranked before.
    fn rank(&mut self, ix: JobIx) {
        let behind = self.jobs[ix].dependents.iter().map(|dependent| self.jobs[*dependent].rank).max();
        let rank = self.jobs[ix].estimate.saturating_add(behind.unwrap_or(Duration::ZERO));
        if self.jobs[ix].rank != rank {
            let queued = self.ready.remove(&self.jobs.ready_key(ix));
            self.jobs[ix].rank = rank;
            if queued {
                self.ready.insert(self.jobs.ready_key(ix));
            }
        }
    }
}
