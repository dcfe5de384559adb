//! One key to be built, and the arena that holds them all.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Index, IndexMut};
use std::time::Duration;

use crate::BuildKey;
use crate::package::Cpv;
use crate::time::Instant;

use super::command::{Failure, JobName, JobState, Workspace};
use super::event::{Fence, PlanId, Question};
use super::retry::Tally;

/// Place of a job in the arena; valid until the job is removed, which [`Jobs::remove`] does only when no
/// plan refers to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct JobIx(u32);

/// State of a job with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    Waiting,
    Resolving { question: Question },
    Delayed { until: Instant },
    Ready,
    Running { fence: Fence },
    Built,
    Reused,
    Failed,
    Blocked { root: JobIx },
    Dropped,
}

/// What a job's state means to those that wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Open,
    Built,
    Dead,
}

impl State {
    pub(super) const fn public(&self) -> JobState {
        match self {
            Self::Waiting => JobState::Waiting,
            Self::Resolving { .. } => JobState::Resolving,
            Self::Delayed { .. } => JobState::Delayed,
            Self::Ready => JobState::Ready,
            Self::Running { .. } => JobState::Running,
            Self::Built => JobState::Built,
            Self::Reused => JobState::Reused,
            Self::Failed => JobState::Failed,
            Self::Blocked { .. } => JobState::Blocked,
            Self::Dropped => JobState::Dropped,
        }
    }

    pub(super) const fn standing(&self) -> Standing {
        match self {
            Self::Waiting
            | Self::Resolving { .. }
            | Self::Delayed { .. }
            | Self::Ready
            | Self::Running { .. }
            | Self::Dropped => Standing::Open,
            Self::Built | Self::Reused => Standing::Built,
            Self::Failed | Self::Blocked { .. } => Standing::Dead,
        }
    }
}

#[derive(Debug)]
pub(super) struct Job {
    pub(super) key: BuildKey,
    pub(super) label: Cpv,
    pub(super) state: State,
    pub(super) waits_for: Vec<JobIx>,
    pub(super) dependents: BTreeSet<JobIx>,
    /// How many of `waits_for` are neither built nor reused.
    pub(super) unbuilt: u32,
    /// How many of `waits_for` are failed or blocked.
    pub(super) dead: u32,
    /// Plans that list it, or list what waits for it; finished ones too, until they are forgotten.
    pub(super) plans: BTreeSet<PlanId>,
    /// Those of `plans` that take an earlier build for it.
    pub(super) takes_reuse: BTreeSet<PlanId>,
    /// An earlier build was looked for and not found.
    pub(super) missed: bool,
    /// Expected time on a drone of speed 1,000.
    pub(super) estimate: Duration,
    /// Expected time of the longest chain of jobs that begins with this one.
    pub(super) rank: Duration,
    pub(super) tally: Tally,
    pub(super) attempts: u32,
    pub(super) workspace: Workspace,
    pub(super) retry_at: Option<Instant>,
    pub(super) last_failure: Option<Failure>,
}

impl Job {
    pub(super) fn new(key: BuildKey, label: Cpv) -> Self {
        Self {
            key,
            label,
            state: State::Waiting,
            waits_for: Vec::new(),
            dependents: BTreeSet::new(),
            unbuilt: 0,
            dead: 0,
            plans: BTreeSet::new(),
            takes_reuse: BTreeSet::new(),
            missed: false,
            estimate: Duration::ZERO,
            rank: Duration::ZERO,
            tally: Tally::default(),
            attempts: 0,
            workspace: Workspace::Tmpfs,
            retry_at: None,
            last_failure: None,
        }
    }

    pub(super) fn name(&self) -> JobName {
        JobName { key: self.key, label: self.label.clone() }
    }

    /// Forgets earlier attempts and look-ups: somebody asked for it anew.
    pub(super) fn start_afresh(&mut self) {
        self.missed = false;
        self.tally = Tally::default();
        self.workspace = Workspace::Tmpfs;
        self.retry_at = None;
        self.last_failure = None;
    }
}

/// Place in the line: longest chain of remaining work first, ties by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ReadyKey {
    rank: Reverse<Duration>,
    label: Cpv,
    key: BuildKey,
    pub(super) ix: JobIx,
}

/// Jobs in places that are used again, found by key.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    places: Vec<Option<Job>>,
    vacant: Vec<JobIx>,
    by_key: BTreeMap<BuildKey, JobIx>,
}

impl Jobs {
    pub(super) fn find(&self, key: BuildKey) -> Option<JobIx> {
        self.by_key.get(&key).copied()
    }

    /// All jobs, by key.
    pub(super) fn iter(&self) -> impl Iterator<Item = (JobIx, &Job)> {
        self.by_key.values().map(|ix| (*ix, &self[*ix]))
    }

    pub(super) fn insert(&mut self, job: Job) -> JobIx {
        let key = job.key;
        let ix = self.vacant.pop().unwrap_or_else(|| {
            self.places.push(None);
            // A u32 holds more jobs than memory does.
            JobIx(u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX))
        });
        self.places[ix.0 as usize] = Some(job);
        self.by_key.insert(key, ix);
        ix
    }

    /// Takes a job out that no plan refers to; by the rule that whoever refers to a job refers to all it
    /// waits for, nothing that stays waits for it.
    pub(super) fn remove(&mut self, ix: JobIx) {
        let Some(job) = self.places[ix.0 as usize].take() else { return };
        self.by_key.remove(&job.key);
        self.vacant.push(ix);
        for dependency in job.waits_for {
            if let Some(dependency) = &mut self.places[dependency.0 as usize] {
                dependency.dependents.remove(&ix);
            }
        }
    }

    pub(super) fn ready_key(&self, ix: JobIx) -> ReadyKey {
        let job = &self[ix];
        ReadyKey { rank: Reverse(job.rank), label: job.label.clone(), key: job.key, ix }
    }

    /// Counts anew how many of what `ix` waits for are not built, and how many are dead.
    pub(super) fn recount(&mut self, ix: JobIx) {
        let (mut unbuilt, mut dead) = (0, 0);
        for dependency in &self[ix].waits_for {
            let standing = self[*dependency].state.standing();
            unbuilt += u32::from(standing != Standing::Built);
            dead += u32::from(standing == Standing::Dead);
        }
        let job = &mut self[ix];
        (job.unbuilt, job.dead) = (unbuilt, dead);
    }
}

impl Index<JobIx> for Jobs {
    type Output = Job;

    fn index(&self, ix: JobIx) -> &Job {
        self.places[ix.0 as usize].as_ref().expect("a job's place is used only while the job is there")
    }
}

impl IndexMut<JobIx> for Jobs {
    fn index_mut(&mut self, ix: JobIx) -> &mut Job {
        self.places[ix.0 as usize].as_mut().expect("a job's place is used only while the job is there")
    }
}
