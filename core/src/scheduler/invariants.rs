//! What must hold after every event, checked by looking at everything. For tests and simulation: it costs
//! as much as there is.

use std::collections::{BTreeMap, BTreeSet};

use super::Scheduler;
use super::drone::FreeKey;
use super::event::{DroneId, Fence, PlanId, Question};
use super::job::{Job, JobIx, Standing, State};
use super::plan::PlanPhase;
use crate::BuildKey;

/// An invariant that does not hold: a defect of the scheduler, never of its caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// Two live leases for one key.
    #[error("{key} has two live leases, the second under {fence}")]
    TwoLeases {
        /// The key.
        key: BuildKey,
        /// The second lease.
        fence: Fence,
    },
    /// A live lease whose job does not run under it, or a running job without a live lease.
    #[error("job and lease under {fence} disagree")]
    LeaseMismatch {
        /// The lease.
        fence: Fence,
    },
    /// Leases, slots and the number in use differ.
    #[error("{drone} has {leases} leases, {taken} slots taken and counts {in_use}")]
    Slots {
        /// The drone.
        drone: DroneId,
        /// Leases on it.
        leases: usize,
        /// Slots with a fence in them.
        taken: usize,
        /// Its own count.
        in_use: u32,
    },
    /// A fence at or above the next one, or a lease that was never granted.
    #[error("{fence} is out of order")]
    FenceOrder {
        /// The fence.
        fence: Fence,
    },
    /// A job's counts differ from what it waits for.
    #[error("{key} miscounts what it waits for")]
    Counts {
        /// The job.
        key: BuildKey,
    },
    /// A job's state does not follow from what it waits for and who wants it.
    #[error("{key} is {state:?} without reason")]
    State {
        /// The job.
        key: BuildKey,
        /// Its state.
        state: super::JobState,
    },
    /// Edges or plans of a job that the other side does not know.
    #[error("{key} is linked one way only")]
    Links {
        /// The job.
        key: BuildKey,
    },
    /// The line, the list of free drones or the timers differ from what they are an index of.
    #[error("the index of {of} is out of date")]
    Index {
        /// What of.
        of: &'static str,
    },
    /// A plan's count of open jobs is wrong, or it is done with open ones or open without.
    #[error("{plan} miscounts its open jobs")]
    Plan {
        /// The plan.
        plan: PlanId,
    },
    /// Two jobs asking one question, or one that was never asked.
    #[error("{key} is looked up under a {question} that is not its own")]
    Question {
        /// The job.
        key: BuildKey,
        /// The question.
        question: Question,
    },
    /// A job is ready and a slot free, after `poll` yielded nothing.
    #[error("a job is ready and a slot is free")]
    Idle,
}

/// Checks what must hold after every event.
///
/// # Errors
/// The first [`Violation`] found.
pub fn check(scheduler: &Scheduler) -> Result<(), Violation> {
    leases(scheduler)?;
    slots(scheduler)?;
    for (ix, job) in scheduler.jobs.iter() {
        links(scheduler, ix, job)?;
        state(scheduler, ix, job)?;
    }
    questions(scheduler)?;
    indices(scheduler)?;
    plans(scheduler)
}

/// Checks what must hold besides, once `poll` has yielded nothing.
///
/// # Errors
/// As [`check`]; [`Violation::Idle`] if work and a place for it are left.
pub fn check_drained(scheduler: &Scheduler) -> Result<(), Violation> {
    check(scheduler)?;
    let takes =
        scheduler.drones.values().any(|drone| drone.takes_work() && drone.slots.iter().any(Option::is_none));
    let ready = scheduler.jobs.iter().any(|(_, job)| job.state == State::Ready);
    if ready && takes && !scheduler.paused { Err(Violation::Idle) } else { Ok(()) }
}

fn leases(scheduler: &Scheduler) -> Result<(), Violation> {
    let mut live = BTreeSet::new();
    for (fence, lease) in &scheduler.leases {
        let granted = scheduler
            .grants
            .get(fence)
            .is_some_and(|grant| (grant.drone, grant.key) == (lease.drone, lease.key));
        if *fence != lease.fence || *fence >= scheduler.next_fence || !granted {
            return Err(Violation::FenceOrder { fence: *fence });
        }
        if lease.ending.is_some() {
            continue;
        }
        if !live.insert(lease.key) {
            return Err(Violation::TwoLeases { key: lease.key, fence: *fence });
        }
        let job = scheduler.jobs.find(lease.key).map(|ix| &scheduler.jobs[ix].state);
        if job != Some(&State::Running { fence: *fence }) {
            return Err(Violation::LeaseMismatch { fence: *fence });
        }
    }
    for (_, job) in scheduler.jobs.iter() {
        if let State::Running { fence } = job.state {
            let lease = scheduler.leases.get(&fence);
            if !lease.is_some_and(|lease| lease.ending.is_none() && lease.key == job.key) {
                return Err(Violation::LeaseMismatch { fence });
            }
        }
    }
    Ok(())
}

fn slots(scheduler: &Scheduler) -> Result<(), Violation> {
    let mut leased: BTreeMap<DroneId, usize> = BTreeMap::new();
    for (fence, lease) in &scheduler.leases {
        *leased.entry(lease.drone).or_default() += 1;
        let slot = scheduler.drones.get(&lease.drone).and_then(|drone| drone.slots.get(lease.slot as usize));
        if slot != Some(&Some(*fence)) {
            return Err(Violation::LeaseMismatch { fence: *fence });
        }
    }
    for (id, drone) in &scheduler.drones {
        let leases = leased.get(id).copied().unwrap_or_default();
        let taken = drone.slots.iter().flatten().count();
        if leases != taken || taken != drone.in_use as usize {
            return Err(Violation::Slots { drone: *id, leases, taken, in_use: drone.in_use });
        }
    }
    Ok(())
}

fn links(scheduler: &Scheduler, ix: JobIx, job: &Job) -> Result<(), Violation> {
    let jobs = &scheduler.jobs;
    let one_way = job.waits_for.iter().any(|dependency| !jobs[*dependency].dependents.contains(&ix))
        || job.dependents.iter().any(|dependent| !jobs[*dependent].waits_for.contains(&ix));
    let unshared = job.waits_for.iter().any(|dependency| !jobs[*dependency].plans.is_superset(&job.plans));
    let unknown = job.plans.iter().any(|plan| !scheduler.plans.contains_key(plan));
    let stray = !job.plans.is_superset(&job.takes_reuse);
    if one_way || unshared || unknown || stray || job.plans.is_empty() {
        return Err(Violation::Links { key: job.key });
    }
    let count = |standing| job.waits_for.iter().filter(|ix| jobs[**ix].state.standing() == standing).count();
    let unbuilt = job.waits_for.len() - count(Standing::Built);
    if (job.unbuilt as usize, job.dead as usize) != (unbuilt, count(Standing::Dead)) {
        return Err(Violation::Counts { key: job.key });
    }
    Ok(())
}

/// Readiness follows from the level of what a job waits for, whatever happened before.
fn state(scheduler: &Scheduler, ix: JobIx, job: &Job) -> Result<(), Violation> {
    let wanted = scheduler.is_wanted(ix);
    let takes_it = |plan| {
        scheduler.phase(plan).is_some_and(|phase| phase == PlanPhase::Done) || job.takes_reuse.contains(&plan)
    };
    let reuse = job.plans.iter().all(|plan| takes_it(*plan));
    let right = match job.state {
        State::Waiting => wanted && job.dead == 0 && job.unbuilt > 0,
        State::Resolving { .. } => wanted && job.unbuilt == 0 && reuse && !job.missed,
        State::Ready => wanted && job.unbuilt == 0 && (!reuse || job.missed),
        // Not due, or due and not woken yet.
        State::Delayed { until } => {
            wanted && job.unbuilt == 0 && (!reuse || job.missed) && job.retry_at == Some(until)
        }
        State::Running { .. } => {
            job.plans.iter().any(|plan| scheduler.phase(*plan).is_some_and(|phase| phase != PlanPhase::Done))
        }
        State::Built => true,
        // Nobody who wants it built is given an earlier build.
        State::Reused => reuse,
        State::Failed => job.last_failure.is_some(),
        State::Blocked { root } => job.dead > 0 && scheduler.jobs[root].state == State::Failed,
        State::Dropped => !wanted,
    };
    let state = job.state.public();
    if right { Ok(()) } else { Err(Violation::State { key: job.key, state }) }
}

/// Each job that is looked up has a question of its own, which has been asked.
fn questions(scheduler: &Scheduler) -> Result<(), Violation> {
    let mut open = BTreeSet::new();
    for (_, job) in scheduler.jobs.iter() {
        if let State::Resolving { question } = job.state
            && (question >= scheduler.next_question || !open.insert(question))
        {
            return Err(Violation::Question { key: job.key, question });
        }
    }
    Ok(())
}

fn indices(scheduler: &Scheduler) -> Result<(), Violation> {
    let outdated = |of| Err(Violation::Index { of });
    let ready: BTreeSet<_> = scheduler
        .jobs
        .iter()
        .filter(|(_, job)| job.state == State::Ready)
        .map(|(ix, _)| scheduler.jobs.ready_key(ix))
        .collect();
    if ready != scheduler.ready {
        return outdated("ready jobs");
    }
    let free: BTreeSet<FreeKey> = scheduler.drones.values().filter_map(|drone| drone.listed).collect();
    let open = |(id, drone): (&DroneId, &super::drone::Drone)| {
        let takes = drone.takes_work() && drone.slots.iter().any(Option::is_none);
        takes == drone.listed.is_some()
            && drone.listed.is_none_or(|key| key.1 == drone.in_use && key.2 == *id)
    };
    if free != scheduler.free || !scheduler.drones.iter().all(open) {
        return outdated("free drones");
    }
    let leases = scheduler.leases.values().map(super::lease::Lease::timer);
    let delayed = scheduler.jobs.iter().filter_map(|(_, job)| match job.state {
        State::Delayed { until } => Some((until, super::Wakeup::RetryDue { key: job.key })),
        State::Waiting
        | State::Resolving { .. }
        | State::Ready
        | State::Running { .. }
        | State::Built
        | State::Reused
        | State::Failed
        | State::Blocked { .. }
        | State::Dropped => None,
    });
    let resting = scheduler.drones.iter().filter_map(|(id, drone)| {
        drone.rests_until.map(|until| (until, super::Wakeup::DroneRested { drone: *id }))
    });
    let timers: BTreeSet<_> = leases.chain(delayed).chain(resting).collect();
    if timers == scheduler.timers { Ok(()) } else { outdated("timers") }
}

fn plans(scheduler: &Scheduler) -> Result<(), Violation> {
    for (id, plan) in &scheduler.plans {
        let is_open = |ix: &&JobIx| !scheduler.jobs[**ix].state.public().is_final();
        let open = plan.members.iter().filter(is_open).count();
        let knows_it = plan.members.iter().all(|ix| scheduler.jobs[*ix].plans.contains(id));
        if open != plan.open || !knows_it || (open == 0 && plan.phase != PlanPhase::Done) {
            return Err(Violation::Plan { plan: *id });
        }
    }
    Ok(())
}
