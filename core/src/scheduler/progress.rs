//! How far the work is, and how long it may take yet.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::time::Instant;

use super::event::PlanId;
use super::job::{JobIx, State};
use super::{JobState, Scheduler, estimate};

/// Jobs by state, and the time to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// All jobs.
    pub total: usize,
    /// Built or reused.
    pub done: usize,
    /// Those of them that are reused.
    pub reused: usize,
    /// Leased to a drone.
    pub running: usize,
    /// Ready to be started.
    pub ready: usize,
    /// Waiting for others, for a look-up, or for the time of their next try.
    pub waiting: usize,
    /// Tried in vain.
    pub failed: usize,
    /// Waiting for a failed one.
    pub blocked: usize,
    /// Wanted by no plan any more.
    pub dropped: usize,
    /// Time to go: the longest chain of open jobs on the fastest drone, or all open work over all slots,
    /// whichever is longer. `None` while there is work and no drone that takes any.
    pub eta: Option<Duration>,
}

impl Scheduler {
    /// Asking: how far everything that is known is. Looks at every job.
    #[must_use]
    pub fn progress(&self, now: Instant) -> Progress {
        self.progress_of(now, self.jobs.iter().map(|(ix, _)| ix))
    }

    /// Asking: how far one plan is; `None` if it is not known. Looks at every job of it.
    #[must_use]
    pub fn plan_progress(&self, now: Instant, plan: PlanId) -> Option<Progress> {
        let plan = self.plans.get(&plan)?;
        Some(self.progress_of(now, plan.members.iter().copied()))
    }

    fn progress_of(&self, now: Instant, jobs: impl Iterator<Item = JobIx>) -> Progress {
        let mut progress = Progress::default();
        let mut open = BTreeMap::new();
        for ix in jobs {
            progress.total += 1;
            let count = match self.jobs[ix].state.public() {
                JobState::Built | JobState::Reused => &mut progress.done,
                JobState::Running => &mut progress.running,
                JobState::Ready => &mut progress.ready,
                JobState::Waiting | JobState::Resolving | JobState::Delayed => &mut progress.waiting,
                JobState::Failed => &mut progress.failed,
                JobState::Blocked => &mut progress.blocked,
                JobState::Dropped => &mut progress.dropped,
            };
            *count += 1;
            progress.reused += usize::from(self.jobs[ix].state == State::Reused);
            if !self.jobs[ix].state.public().is_final() {
                open.insert(ix, self.remaining(now, ix));
            }
        }
        progress.eta = self.eta(&open);
        progress
    }

    /// What is left of a job's estimate.
    fn remaining(&self, now: Instant, ix: JobIx) -> Duration {
        let job = &self.jobs[ix];
        let lease = match job.state {
            State::Running { fence } => self.leases.get(&fence),
            State::Waiting
            | State::Resolving { .. }
            | State::Delayed { .. }
            | State::Ready
            | State::Built
            | State::Reused
            | State::Failed
            | State::Blocked { .. }
            | State::Dropped => None,
        };
        let elapsed = lease.and_then(|lease| {
            let drone = self.drones.get(&lease.drone)?;
            Some(estimate::at_reference_speed(now.since(lease.since()), drone.offer.speed_permille))
        });
        job.estimate.saturating_sub(elapsed.unwrap_or(Duration::ZERO))
    }

    fn eta(&self, open: &BTreeMap<JobIx, Duration>) -> Option<Duration> {
        if open.is_empty() {
            return Some(Duration::ZERO);
        }
        let drones = || self.drones.values().filter(|drone| !drone.draining && !drone.silent);
        let fastest = u64::from(drones().map(|drone| drone.offer.speed_permille).max()?);
        let all =
            drones().map(|drone| u64::from(drone.offer.speed_permille) * u64::from(drone.offer.slots)).sum();
        let work = open.values().fold(Duration::ZERO, |sum, time| sum.saturating_add(*time));
        Some(estimate::at_speed(self.longest_chain(open), fastest).max(estimate::at_speed(work, all)))
    }

    /// The longest chain of open jobs, each counted with what is left of it.
    fn longest_chain(&self, open: &BTreeMap<JobIx, Duration>) -> Duration {
        let waits_for = |ix: &JobIx| self.jobs[*ix].waits_for.iter().filter(|other| open.contains_key(other));
        let mut missing: BTreeMap<JobIx, usize> =
            open.keys().map(|ix| (*ix, waits_for(ix).count())).collect();
        let mut next: Vec<JobIx> =
            missing.iter().filter(|(_, count)| **count == 0).map(|(ix, _)| *ix).collect();
        let mut before: BTreeMap<JobIx, Duration> = BTreeMap::new();
        let mut longest = Duration::ZERO;
        while let Some(ix) = next.pop() {
            let so_far = before.get(&ix).copied().unwrap_or_default().saturating_add(open[&ix]);
            longest = longest.max(so_far);
            for dependent in &self.jobs[ix].dependents {
                let Some(count) = missing.get_mut(dependent) else { continue };
                *count -= 1;
                if *count == 0 {
                    next.push(*dependent);
                }
                let chain = before.entry(*dependent).or_default();
                *chain = so_far.max(*chain);
            }
        }
        longest
    }
}
