//! What is handed out: everything the scheduler wants done, and what it tells.

use std::fmt;

use crate::BuildKey;
use crate::package::Cpv;
use crate::time::Instant;

use super::event::{DroneId, FailureClass, Fence, PlanId, Question};

/// Where a build's temporary files go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Workspace {
    /// In memory.
    Tmpfs,
    /// On disk: slower, larger.
    Disk,
}

/// Why an attempt is to be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KillReason {
    /// No plan wants it any more.
    Cancelled,
    /// Its lease expired: nothing was heard of it for [`LEASE_TERM`](super::LEASE_TERM).
    LeaseExpired,
    /// Another attempt's artifact was committed first.
    Superseded,
    /// It was heard of although its lease has ended.
    Stale,
}

/// The state of a job, as far as others need to tell states apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JobState {
    /// Some of what it waits for is not built. Every job begins so.
    Waiting,
    /// Everything it waits for is built; the caller looks whether an earlier build does.
    Resolving,
    /// Will be tried again at a set time.
    Delayed,
    /// Can be started.
    Ready,
    /// Leased to a drone.
    Running,
    /// Its key resolves in the store.
    Built,
    /// Not built: an earlier build does. As good as built for what waits for it.
    Reused,
    /// Tried in vain, and not tried again.
    Failed,
    /// Waits for a job that failed.
    Blocked,
    /// No plan that is still being built wants it.
    Dropped,
}

impl JobState {
    /// Whether nothing more happens to it of itself.
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::Waiting | Self::Resolving | Self::Delayed | Self::Ready | Self::Running => false,
            Self::Built | Self::Reused | Self::Failed | Self::Blocked | Self::Dropped => true,
        }
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waiting",
            Self::Resolving => "resolving",
            Self::Delayed => "delayed",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Built => "built",
            Self::Reused => "reused",
            Self::Failed => "failed",
            Self::Blocked => "blocked",
            Self::Dropped => "dropped",
        })
    }
}

/// An attempt that ended without an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Whose fault.
    pub class: FailureClass,
    /// For people.
    pub message: String,
    /// Where.
    pub drone: DroneId,
    /// Which attempt.
    pub fence: Fence,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.class, self.drone)?;
        if self.message.is_empty() { Ok(()) } else { write!(f, ": {}", self.message) }
    }
}

/// A job by key and package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobName {
    /// Its key.
    pub key: BuildKey,
    /// Its package.
    pub label: Cpv,
}

/// Why a job is in its state. Its text is what a person is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Waiting.
    WaitsFor {
        /// One of what is not built.
        first: JobName,
        /// How many there are.
        count: usize,
    },
    /// Resolving.
    LookedUp,
    /// Delayed.
    RetryAt {
        /// When.
        at: Instant,
        /// What went wrong last.
        last: Failure,
    },
    /// Ready, for the first time or after a try that says nothing against it.
    DependenciesBuilt,
    /// Ready again at once.
    Retry {
        /// What went wrong last.
        last: Failure,
    },
    /// Running.
    Leased {
        /// Where.
        drone: DroneId,
        /// Under which fence.
        fence: Fence,
        /// Since when.
        since: Instant,
    },
    /// Built.
    Committed,
    /// Reused.
    EarlierBuild,
    /// Failed.
    GaveUp {
        /// The failure that was one too many.
        last: Failure,
    },
    /// Blocked.
    BlockedBy {
        /// The failed job at the root of it.
        root: JobName,
        /// Its failure.
        failure: Failure,
    },
    /// Dropped.
    Unwanted,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WaitsFor { first, count: 1 } => write!(f, "waits for {}", first.label),
            Self::WaitsFor { first, count } => write!(f, "waits for {} and {} more", first.label, count - 1),
            Self::LookedUp => f.write_str("everything it waits for is built; an earlier build may do"),
            Self::RetryAt { last, .. } => write!(f, "will be tried again; last attempt: {last}"),
            Self::DependenciesBuilt => f.write_str("everything it waits for is built"),
            Self::Retry { last } => write!(f, "is tried again; last attempt: {last}"),
            Self::Leased { drone, fence, .. } => write!(f, "running on {drone} under {fence}"),
            Self::Committed => f.write_str("is in the store"),
            Self::EarlierBuild => f.write_str("an earlier build does"),
            Self::GaveUp { last } => write!(f, "failed: {last}"),
            Self::BlockedBy { root, failure } => write!(f, "blocked by {}: {failure}", root.label),
            Self::Unwanted => f.write_str("no plan that is still being built wants it"),
        }
    }
}

/// Why a plan is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PlanEnd {
    /// Nothing is left to do for it.
    Finished,
    /// It stopped at its first failure.
    Stopped {
        /// The job that failed.
        by: BuildKey,
    },
    /// Somebody cancelled it.
    Cancelled,
}

/// What became of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanSummary {
    /// Why it is done.
    pub end: PlanEnd,
    /// Jobs whose keys resolve.
    pub built: usize,
    /// Jobs for which an earlier build does.
    pub reused: usize,
    /// Jobs tried in vain.
    pub failed: usize,
    /// Jobs that wait for failed ones.
    pub blocked: usize,
    /// Jobs not tried to the end.
    pub dropped: usize,
    /// Jobs that were asked for themselves.
    pub goals: usize,
    /// Those of them that are built or reused.
    pub goals_built: usize,
}

/// Something the caller is to do, or may show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Build a key. `next_fence` is to be durable before this leaves the node.
    Start {
        /// Where.
        drone: DroneId,
        /// Which of its slots, from 0.
        slot: u32,
        /// What.
        key: BuildKey,
        /// The right to do so; every report carries it.
        fence: Fence,
        /// Which try it is, from 1.
        attempt: u32,
        /// Where its temporary files go.
        workspace: Workspace,
    },
    /// Kill an attempt with its whole process tree, then report it `Finished` (as `Killed`, or as what it
    /// came to in the meantime). Until then its slot stays taken. Killing what is not there is fine.
    Kill {
        /// Where.
        drone: DroneId,
        /// Which attempt.
        fence: Fence,
        /// Why.
        reason: KillReason,
    },
    /// Look whether an earlier build does for a job, now that all it waits for has artifacts; answer with
    /// [`Event::Resolved`](super::Event::Resolved), always and whenever it is known. It has to do for every
    /// plan that has the job and is not done. The job holds no slot meanwhile, and pausing does not matter.
    Resolve {
        /// What.
        key: BuildKey,
        /// Which look-up this is; the answer carries it.
        question: Question,
    },
    /// A job has changed its state.
    JobStateChanged {
        /// Which.
        key: BuildKey,
        /// To what.
        state: JobState,
        /// Why.
        reason: Reason,
    },
    /// Nothing more will be done for a plan. Handed out once a plan.
    PlanDone {
        /// Which.
        plan: PlanId,
        /// What became of it.
        summary: PlanSummary,
    },
}
