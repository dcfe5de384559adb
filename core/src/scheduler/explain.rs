//! Why a job is where it is, in a person's words.

use std::fmt;

use crate::BuildKey;
use crate::package::Cpv;
use crate::time::Instant;

use super::command::{JobState, Reason};
use super::event::{DroneId, Phase, PlanId};
use super::job::State;
use super::{Offer, Scheduler};

/// Why nothing is started although something is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hold {
    /// `Pause` was handed in.
    Paused,
    /// There is no drone.
    NoDrone,
    /// There are drones, but all are draining, silent, or resting after failures.
    NoDroneTakesWork,
    /// All slots are taken.
    SlotsTaken,
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Paused => "starting is paused",
            Self::NoDrone => "no drone is connected",
            Self::NoDroneTakesWork => "every drone is draining, silent, or resting after failures",
            Self::SlotsTaken => "all slots are taken",
        })
    }
}

/// Place of a ready job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// From 1.
    pub position: usize,
    /// How many are ready.
    pub length: usize,
    /// Why the first in line is not started; `None` if `poll` has yet to be called.
    pub hold: Option<Hold>,
}

/// State and reason of one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Its key.
    pub key: BuildKey,
    /// Its package.
    pub label: Cpv,
    /// Its state.
    pub state: JobState,
    /// Why.
    pub reason: Reason,
    /// Where it stands, if it is ready.
    pub line: Option<Line>,
    /// What it does, if it is running and has said so.
    pub phase: Option<Phase>,
    /// How often it was started.
    pub attempts: u32,
    /// Plans that refer to it.
    pub plans: Vec<PlanId>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}, {}", self.label, self.state, self.reason)?;
        if let Some(Line { position, length, hold }) = self.line {
            write!(f, "; number {position} of {length} in line")?;
            hold.map_or(Ok(()), |hold| write!(f, ", {hold}"))?;
        }
        self.phase.map_or(Ok(()), |phase| write!(f, ", in phase {phase}"))
    }
}

/// One drone, as the scheduler sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DroneStatus {
    /// Which.
    pub drone: DroneId,
    /// What it brought.
    pub offer: Offer,
    /// Slots taken.
    pub in_use: u32,
    /// Whether it gets nothing new on somebody's word.
    pub draining: bool,
    /// Whether a lease of it expired and nothing was heard of it since.
    pub silent: bool,
    /// Until when it gets nothing new after failures by its own fault.
    pub rests_until: Option<Instant>,
}

impl Scheduler {
    /// Asking: state and reason of a job; `None` if no plan that is known refers to it.
    #[must_use]
    pub fn explain(&self, key: BuildKey) -> Option<Explanation> {
        let ix = self.jobs.find(key)?;
        let job = &self.jobs[ix];
        let line = (job.state == State::Ready).then(|| Line {
            position: self.ready.range(..=self.jobs.ready_key(ix)).count(),
            length: self.ready.len(),
            hold: self.hold(),
        });
        let leased = |state: &State| match state {
            State::Running { fence } => self.leases.get(fence),
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
        Some(Explanation {
            key,
            label: job.label.clone(),
            state: job.state.public(),
            reason: self.reason(ix),
            line,
            phase: leased(&job.state).and_then(|lease| lease.phase),
            attempts: job.attempts,
            plans: job.plans.iter().copied().collect(),
        })
    }

    /// Asking: why nothing is started although something is ready.
    #[must_use]
    pub fn hold(&self) -> Option<Hold> {
        if self.paused {
            Some(Hold::Paused)
        } else if self.drones.is_empty() {
            Some(Hold::NoDrone)
        } else if !self.free.is_empty() {
            None
        } else if self.drones.values().any(super::drone::Drone::takes_work) {
            Some(Hold::SlotsTaken)
        } else {
            Some(Hold::NoDroneTakesWork)
        }
    }

    /// Asking: every drone, by number.
    pub fn drones(&self) -> impl Iterator<Item = DroneStatus> {
        self.drones.iter().map(|(id, drone)| DroneStatus {
            drone: *id,
            offer: drone.offer.clone(),
            in_use: drone.in_use,
            draining: drone.draining,
            silent: drone.silent,
            rests_until: drone.rests_until,
        })
    }
}
