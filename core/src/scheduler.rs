//! Which key is built where and when: a state machine without I/O.
//!
//! A [`Scheduler`] owns every decision about jobs. It is told what happened and says what is to be done; it
//! sleeps, locks, reads and draws nothing, so the same events at the same times give the same commands.
//!
//! | file | concern |
//! |---|---|
//! | `event`, `command` | what goes in and what comes out |
//! | `submit` | taking a plan, or refusing it |
//! | `job`, `settle` | a job, and the one place where its state is derived and changed |
//! | `drone`, `lease` | slots, grants and fences |
//! | `placement`, `estimate` | what is started where, and how long it may take |
//! | `resolve` | whether an earlier build stands for a job |
//! | `retry` | what a failure leads to |
//! | `explain` | why, how far, how long yet |
//! | `invariants` | what must hold after every event |
//!
//! ```
//! use std::time::Duration;
//! use buildswarm_core::scheduler::*;
//! use buildswarm_core::{BuildKey, Digest, time::Instant};
//!
//! let key = BuildKey::from_digest(Digest::of(b"a specification"));
//! let mut scheduler = Scheduler::new(Limits::STANDARD, Estimates::new(), Fence(1));
//! let job = JobRequest {
//!     key,
//!     label: "app-misc/hello-2.10".parse().unwrap(),
//!     waits_for: vec![],
//!     estimate: Duration::from_secs(60),
//!     goal: true,
//!     resolve: false,
//! };
//! let now = Instant::START;
//! scheduler.handle(now, Event::Submit { plan: PlanId(1), keep_going: true, jobs: vec![job] }).unwrap();
//! let offer = Offer { name: "local".into(), slots: 1, speed_permille: 1_000, tmpfs: false };
//! scheduler.handle(now, Event::DroneJoined { drone: DroneId(1), offer }).unwrap();
//!
//! let started = std::iter::from_fn(|| scheduler.poll()).find_map(|command| match command {
//!     Command::Start { drone, fence, key, .. } => Some((drone, fence, key)),
//!     _ => None,
//! });
//! let (drone, fence, key) = started.unwrap();
//! scheduler.handle(now, Event::Finished { drone, fence, key, outcome: Outcome::Built }).unwrap();
//! assert_eq!(scheduler.explain(key).unwrap().state, JobState::Built);
//! ```
#![warn(clippy::wildcard_enum_match_arm)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::time::Instant;

mod command;
mod drone;
mod estimate;
mod event;
mod explain;
mod fault;
pub mod invariants;
mod job;
mod lease;
mod placement;
mod plan;
mod progress;
mod resolve;
mod retry;
mod settle;
mod submit;

pub use command::{Command, Failure, JobName, JobState, KillReason, PlanEnd, PlanSummary, Reason, Workspace};
pub use estimate::Estimates;
pub use event::{
    DroneId, Event, FailureClass, Fence, JobRequest, MESSAGE_MAX_BYTES, Offer, Outcome, Phase, PlanId,
    Question, Refusal, SLOTS_MAX,
};
pub use explain::{DroneStatus, Explanation, Hold, Line};
pub use lease::Wakeup;
pub use progress::Progress;
pub use retry::Limits;
pub use submit::{EDGES_MAX, JOBS_MAX, SubmitError};

use drone::{Drone, FreeKey};
use job::{Jobs, ReadyKey};
use lease::{Grant, Lease};
use plan::Plan;

/// A lease that is not renewed for so long has expired: long enough for a connection to be made anew, short
/// beside the build that is repeated if the drone is gone for good.
pub const LEASE_TERM: Duration = Duration::from_secs(60);

/// How often an attempt is to report that it is alive.
pub const HEARTBEAT: Duration = Duration::from_secs(10);

// Two lost heartbeats and a third that is late must not cost a build.
const _: () = assert!(LEASE_TERM.as_secs() >= 4 * HEARTBEAT.as_secs());

/// How long a slot stays taken by an attempt that was told to die and does not report its end: ten seconds
/// to kill a process tree, and as much for the message.
pub const KILL_GRACE: Duration = Duration::from_secs(20);

/// A wake-up so late means that the caller was not running; leases then get a fresh term instead of expiring.
pub const STALL: Duration = Duration::from_secs(30);

// A stall that could eat a whole lease has to count as one.
const _: () = assert!(STALL.as_secs() <= LEASE_TERM.as_secs());

/// Grants whose fences are remembered, so that late results are known for what they are; about 100 bytes each.
/// Drones offer a finished artifact for a week: this is two builds a second for so long.
const GRANTS_MAX: usize = 1_200_000;

/// The scheduler.
///
/// Methods are of three kinds:
///
/// - **In**: [`handle`](Self::handle) takes one [`Event`]. It refuses what makes no sense and has then changed
///   nothing.
/// - **Out**: [`poll`](Self::poll) yields one [`Command`] at a time, [`deadline`](Self::deadline) the time at
///   which `handle(_, Event::Wake)` is due.
/// - **Asking**: [`explain`](Self::explain), [`progress`](Self::progress) and the rest take `&self`.
///
/// Order of calls: after every `handle`, `poll` until it yields nothing (jobs are placed there, so many events
/// may be handed in before), then wait for the next event or for `deadline`, whichever is first. Time must not
/// run backwards; where it does, the latest time seen is taken.
#[derive(Debug)]
pub struct Scheduler {
    limits: Limits,
    now: Instant,
    paused: bool,
    jobs: Jobs,
    plans: BTreeMap<PlanId, Plan>,
    /// Plans that may have run out of open jobs in the current event.
    closing: BTreeSet<PlanId>,
    drones: BTreeMap<DroneId, Drone>,
    /// Drones that take work now, best first.
    free: BTreeSet<FreeKey>,
    /// Jobs that can be started, first in line first.
    ready: BTreeSet<ReadyKey>,
    /// What holds a slot: live leases, and ended ones whose processes are not known to be gone.
    leases: BTreeMap<Fence, Lease>,
    /// Every fence issued and not forgotten.
    grants: BTreeMap<Fence, Grant>,
    next_fence: Fence,
    next_question: Question,
    timers: BTreeSet<(Instant, Wakeup)>,
    commands: VecDeque<Command>,
    estimates: Estimates,
    #[cfg(test)]
    fault: Option<fault::Fault>,
}

impl Scheduler {
    /// A scheduler without plans or drones. `next_fence` is above every fence issued before.
    #[must_use]
    pub fn new(limits: Limits, estimates: Estimates, next_fence: Fence) -> Self {
        Self {
            limits,
            now: Instant::START,
            paused: false,
            jobs: Jobs::default(),
            plans: BTreeMap::new(),
            closing: BTreeSet::new(),
            drones: BTreeMap::new(),
            free: BTreeSet::new(),
            ready: BTreeSet::new(),
            leases: BTreeMap::new(),
            grants: BTreeMap::new(),
            next_fence,
            next_question: Question(1),
            timers: BTreeSet::new(),
            commands: VecDeque::new(),
            estimates,
            #[cfg(test)]
            fault: None,
        }
    }

    /// In: something happened.
    ///
    /// # Errors
    /// A [`Refusal`] if the event makes no sense; nothing has changed then.
    pub fn handle(&mut self, now: Instant, event: Event) -> Result<(), Refusal> {
        self.now = self.now.max(now);
        let handled = self.dispatch(event);
        self.close_plans();
        handled
    }

    fn dispatch(&mut self, event: Event) -> Result<(), Refusal> {
        match event {
            Event::Submit { plan, keep_going, jobs } => self.submit(plan, keep_going, jobs)?,
            Event::Cancel { plan } => self.cancel(plan)?,
            Event::Forget { plan } => self.forget(plan)?,
            Event::Pause => self.paused = true,
            Event::Resume => self.paused = false,
            Event::DroneJoined { drone, offer } => self.drone_joined(drone, offer)?,
            Event::DroneLeft { drone } => self.drone_left(drone)?,
            Event::Drain { drone } => self.set_draining(drone, true)?,
            Event::Undrain { drone } => self.set_draining(drone, false)?,
            Event::Started { drone, fence } => self.started(drone, fence)?,
            Event::Progress { drone, fence, phase } => self.entered(drone, fence, phase)?,
            Event::Heartbeat { drone, fence } => self.renew(drone, fence).map(drop)?,
            Event::Finished { drone, fence, key, outcome } => self.finished(drone, fence, key, outcome)?,
            Event::Resolved { key, question, found } => self.resolved(key, question, found)?,
            Event::Wake => self.wake(),
        }
        Ok(())
    }

    /// Out: the next thing to do; `None` until another event is handed in.
    pub fn poll(&mut self) -> Option<Command> {
        if self.commands.is_empty() {
            self.place_next();
        }
        self.commands.pop_front()
    }

    /// Out: when to hand in [`Event::Wake`] at the latest, and what for.
    #[must_use]
    pub fn deadline(&self) -> Option<(Instant, Wakeup)> {
        self.timers.first().copied()
    }

    /// Asking: the fence of the next grant. To be durable before a [`Command::Start`] leaves the node.
    #[must_use]
    pub const fn next_fence(&self) -> Fence {
        self.next_fence
    }

    /// Asking: what was learned of build times, to be kept for the next run.
    #[must_use]
    pub const fn estimates(&self) -> &Estimates {
        &self.estimates
    }
}

#[cfg(test)]
mod tests;
