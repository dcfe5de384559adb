//! What is handed in: everything the scheduler learns of the world.

use std::fmt;
use std::time::Duration;

use crate::BuildKey;
use crate::package::Cpv;

use super::submit::SubmitError;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $noun:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($noun, " {}"), self.0)
            }
        }
    };
}

number! {
    /// A submitted plan; chosen by the caller, never used twice.
    PlanId, "plan"
}

number! {
    /// A drone; the caller maps it to the node's identity, the same one for good.
    DroneId, "drone"
}

number! {
    /// One grant of one job to one drone. Strictly increasing, also over restarts of the caller, who persists
    /// it ([`Scheduler::next_fence`](super::Scheduler::next_fence)).
    Fence, "fence"
}

number! {
    /// One look-up of one job ([`Command::Resolve`](super::Command::Resolve)). Strictly increasing; means
    /// nothing to another run of the caller.
    Question, "question"
}

/// How far a build is, or where it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// The build root is put together and dependencies are installed into it.
    Root,
    /// Sources are fetched.
    Fetch,
    /// `pkg_pretend` and `pkg_setup`.
    Setup,
    /// `src_unpack`.
    Unpack,
    /// `src_prepare`.
    Prepare,
    /// `src_configure`.
    Configure,
    /// `src_compile`.
    Compile,
    /// `src_test`.
    Test,
    /// `src_install`, with its checks.
    Install,
    /// The package file is written.
    Package,
    /// The artifact goes to the store.
    Upload,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "root",
            Self::Fetch => "fetch",
            Self::Setup => "setup",
            Self::Unpack => "unpack",
            Self::Prepare => "prepare",
            Self::Configure => "configure",
            Self::Compile => "compile",
            Self::Test => "test",
            Self::Install => "install",
            Self::Package => "package",
            Self::Upload => "upload",
        })
    }
}

/// Whose fault a failure is; decides what happens next (`scheduler/retry.rs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureClass {
    /// The package does not build.
    Package {
        /// The phase that ended in an error.
        phase: Phase,
    },
    /// A source could not be fetched, or is not what the Manifest says.
    Fetch,
    /// The drone, the network or the store failed; nothing is known of the package.
    Infrastructure,
    /// The workspace was full.
    NoSpace,
    /// It ran, or was silent, for longer than allowed.
    Timeout,
    /// It needed more memory than it was given.
    OutOfMemory,
    /// It was killed: by the scheduler's own [`Command::Kill`](super::Command::Kill), or by somebody else.
    Killed,
    /// An input is no longer what the key says: the plan is out of date.
    InputsChanged,
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Package { phase } => write!(f, "does not build ({phase})"),
            Self::Fetch => f.write_str("source could not be fetched"),
            Self::Infrastructure => f.write_str("infrastructure failed"),
            Self::NoSpace => f.write_str("no space left in the workspace"),
            Self::Timeout => f.write_str("timed out"),
            Self::OutOfMemory => f.write_str("out of memory"),
            Self::Killed => f.write_str("killed"),
            Self::InputsChanged => f.write_str("an input changed since the plan was made"),
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The key resolves in the store: the artifact is verified and durable there.
    Built,
    /// There is no artifact.
    Failed {
        /// Whose fault.
        class: FailureClass,
        /// For people; cut to [`MESSAGE_MAX_BYTES`].
        message: String,
    },
}

/// Bytes kept of a failure's message: a screenful. Logs are in the store.
pub const MESSAGE_MAX_BYTES: usize = 2_048;

/// One job of a plan: a key that does not resolve yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRequest {
    /// What is to be built.
    pub key: BuildKey,
    /// The package, for people and for what was learned of its build time.
    pub label: Cpv,
    /// Jobs of the same plan that must be built first. Keys that resolve already are not listed.
    pub waits_for: Vec<BuildKey>,
    /// How long it may take on a drone of speed 1,000, if the scheduler has not learned better.
    pub estimate: Duration,
    /// Whether it was asked for itself, and is not merely needed by another.
    pub goal: bool,
    /// Whether the plan takes an earlier build for it. Then, once all it waits for is built, the caller is
    /// asked to look for one ([`Command::Resolve`](super::Command::Resolve)) before it is started. Counts
    /// only while every other plan that has the job, and is not done, takes one too.
    pub resolve: bool,
}

/// What a drone brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its name, for people.
    pub name: String,
    /// How many builds it runs at once; from 1 to [`SLOTS_MAX`].
    pub slots: u32,
    /// How fast it builds; 1,000 is the reference all estimates are for, 2,000 takes half as long.
    pub speed_permille: u32,
    /// Whether it can build in memory.
    pub tmpfs: bool,
}

/// Slots of one drone: more than the largest build host has threads; bounds what one message can allocate.
pub const SLOTS_MAX: u32 = 1_024;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A plan is to be built. Keys other plans want too become one job. What it says of a job replaces what an
    /// earlier plan said: it is the later view of the store. A failed, blocked or dropped job starts afresh,
    /// and so does a reused one: what did for an earlier plan need not do for this one. Submitting the same
    /// once more does nothing.
    Submit {
        /// The new plan.
        plan: PlanId,
        /// Whether jobs that do not depend on a failed one go on. Without it nothing new is started for this
        /// plan after its first failure, and what runs is let finish.
        keep_going: bool,
        /// Every key of the plan that is not in the store.
        jobs: Vec<JobRequest>,
    },
    /// A plan is no longer wanted: its jobs are dropped, running ones killed, unless another plan wants them.
    Cancel {
        /// The plan.
        plan: PlanId,
    },
    /// Nobody will ask about a finished plan again: what only it refers to is dropped from memory.
    Forget {
        /// The plan, of which `PlanDone` was handed out.
        plan: PlanId,
    },
    /// Start nothing more, anywhere.
    Pause,
    /// Undo `Pause`.
    Resume,
    /// A drone is there, with nothing running. If it was there before, this is a new session of it: whatever
    /// it was building is lost.
    DroneJoined {
        /// Which.
        drone: DroneId,
        /// What it brings.
        offer: Offer,
    },
    /// A drone is gone, and what it was building with it. A connection that is merely cut is not this: the
    /// drone may be back before its leases expire.
    DroneLeft {
        /// Which.
        drone: DroneId,
    },
    /// Give a drone nothing new; what runs there goes on.
    Drain {
        /// Which.
        drone: DroneId,
    },
    /// Undo `Drain`.
    Undrain {
        /// Which.
        drone: DroneId,
    },
    /// An attempt has begun. Renews its lease.
    Started {
        /// Where.
        drone: DroneId,
        /// Which attempt.
        fence: Fence,
    },
    /// An attempt has entered a phase. Renews its lease.
    Progress {
        /// Where.
        drone: DroneId,
        /// Which attempt.
        fence: Fence,
        /// What it does now.
        phase: Phase,
    },
    /// An attempt is alive. Renews its lease; due every [`HEARTBEAT`](super::HEARTBEAT).
    Heartbeat {
        /// Where.
        drone: DroneId,
        /// Which attempt.
        fence: Fence,
    },
    /// An attempt has ended and its process tree is gone. The answer to a `Kill` too. Accepted by key and
    /// fence whenever it arrives: a late success makes the job built, a late failure changes nothing.
    Finished {
        /// Where.
        drone: DroneId,
        /// Which attempt.
        fence: Fence,
        /// What it was building.
        key: BuildKey,
        /// How it ended.
        outcome: Outcome,
    },
    /// A look-up has ended. An answer that comes too late, because the job was built, dropped, forgotten or
    /// asked about anew in the meantime, or that comes twice, is taken and changes nothing.
    Resolved {
        /// What was looked up.
        key: BuildKey,
        /// Which look-up it was.
        question: Question,
        /// Whether an earlier build does for every plan that has the job and is not done. Then the job is
        /// done. If not, or if nobody knows, it is built.
        found: bool,
    },
    /// The time of [`deadline`](super::Scheduler::deadline) has come. Hand in what has arrived before this:
    /// only this lets leases expire, so a caller that was busy does not hold it against the drones.
    Wake,
}

/// Why an event was refused. A refused event has changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The plan cannot be taken.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// No such plan.
    #[error("{plan} is not known")]
    UnknownPlan {
        /// Which.
        plan: PlanId,
    },
    /// Only finished plans can be forgotten.
    #[error("{plan} is not finished")]
    PlanOpen {
        /// Which.
        plan: PlanId,
    },
    /// No such drone.
    #[error("{drone} is not known")]
    UnknownDrone {
        /// Which.
        drone: DroneId,
    },
    /// An offer out of bounds.
    #[error(
        "{drone} offers {slots} slots at speed {speed_permille}: from 1 to 1024 slots and a speed above 0 are taken"
    )]
    Offer {
        /// Which.
        drone: DroneId,
        /// Slots offered.
        slots: u32,
        /// Speed offered.
        speed_permille: u32,
    },
    /// The fence was never issued, or so long ago that it is forgotten.
    #[error("{fence} was never issued")]
    UnknownFence {
        /// Which.
        fence: Fence,
    },
    /// The fence was issued to another drone.
    #[error("{fence} was not issued to {drone}")]
    ForeignFence {
        /// Which.
        fence: Fence,
        /// Who used it.
        drone: DroneId,
    },
    /// The fence was issued for another key.
    #[error("{fence} was not issued for key {key}")]
    ForeignKey {
        /// Which.
        fence: Fence,
        /// What it was used for.
        key: BuildKey,
    },
    /// The question was never asked.
    #[error("{question} was never asked")]
    UnknownQuestion {
        /// Which.
        question: Question,
    },
}
