//! What a failure leads to: another try, or none.

use std::time::Duration;

use super::command::Workspace;
use super::event::FailureClass;

/// How often what is tried. Attempts count over all drones, from the last time the job was submitted afresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Attempts that may fail by the package's own fault. Further ones are made only on a drone where it has
    /// not failed yet.
    pub package_attempts: u32,
    /// Attempts that may fail to fetch a source.
    pub fetch_attempts: u32,
    /// Attempts that may fail by the fault of a drone, the network or the store.
    pub infrastructure_attempts: u32,
    /// Attempts that may be lost with their drone.
    pub lost_attempts: u32,
    /// Attempts that may time out, and attempts that may run out of memory.
    pub resource_attempts: u32,
}

impl Limits {
    /// What is right where nobody asked for something else.
    pub const STANDARD: Self = Self {
        // A compiler error is the same anywhere: a second try costs a build and tells nothing.
        package_attempts: 1,
        // A mirror that is down now is up in a minute; one that lacks a file will lack it for hours.
        fetch_attempts: 3,
        // Enough for a drone or a store to be restarted in the meantime (5 s + 10 s + 20 s + 40 s).
        infrastructure_attempts: 5,
        // Drones come and go, but a build that takes its machine down must not take down the swarm.
        lost_attempts: 8,
        // Once for a neighbour's load; the second time it is the package.
        resource_attempts: 2,
    };

    /// The highest sensible [`package_attempts`](Self::package_attempts): by the third drone it is the package.
    pub const PACKAGE_ATTEMPTS_MAX: u32 = 3;
}

const _: () = assert!(Limits::STANDARD.package_attempts <= Limits::PACKAGE_ATTEMPTS_MAX);

/// Pause before a second try: a service restarts in so long.
pub(super) const BACKOFF_FIRST: Duration = Duration::from_secs(5);

/// Longest pause before a try: a person who mends something does not want to wait longer.
pub(super) const BACKOFF_MAX: Duration = Duration::from_secs(300);

const _: () = assert!(BACKOFF_FIRST.as_secs() < BACKOFF_MAX.as_secs());

/// Failures by its own fault, one behind the other, after which a drone is let rest: a broken drone is always
/// free and would otherwise fail the whole line.
pub(super) const DRONE_FAULTS: u32 = 3;

/// The pause after the `failures`th failure: doubled each time.
pub(super) fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    BACKOFF_FIRST.saturating_mul(1 << doublings).min(BACKOFF_MAX)
}

/// Failed attempts of one job by class.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) package: u32,
    pub(super) fetch: u32,
    pub(super) infrastructure: u32,
    pub(super) lost: u32,
    pub(super) timeout: u32,
    pub(super) memory: u32,
    /// Drones it failed on, which are avoided while there is another.
    pub(super) avoid: std::collections::BTreeSet<super::DroneId>,
}

/// What comes next for a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Retry {
        after: Duration,
        /// The workspace in memory was too small.
        to_disk: bool,
    },
    GiveUp,
}

impl Tally {
    /// Counts a failure and decides. `elsewhere`: whether there is a drone on which it has not failed.
    pub(super) fn judge(
        &mut self,
        limits: &Limits,
        class: FailureClass,
        workspace: Workspace,
        elsewhere: bool,
    ) -> Verdict {
        let within = |count: &mut u32, limit: u32, after: fn(u32) -> Duration| {
            *count += 1;
            if *count < limit {
                Verdict::Retry { after: after(*count), to_disk: false }
            } else {
                Verdict::GiveUp
            }
        };
        let at_once: fn(u32) -> Duration = |_| Duration::ZERO;
        match class {
            FailureClass::Package { .. } => {
                let verdict = within(&mut self.package, limits.package_attempts, at_once);
                if elsewhere { verdict } else { Verdict::GiveUp }
            }
            FailureClass::Fetch => within(&mut self.fetch, limits.fetch_attempts, backoff),
            // Not counted: it happens once, the next attempt is on disk.
            FailureClass::NoSpace if workspace == Workspace::Tmpfs => {
                Verdict::Retry { after: Duration::ZERO, to_disk: true }
            }
            FailureClass::Infrastructure | FailureClass::Killed | FailureClass::NoSpace => {
                within(&mut self.infrastructure, limits.infrastructure_attempts, backoff)
            }
            FailureClass::Timeout => within(&mut self.timeout, limits.resource_attempts, at_once),
            FailureClass::OutOfMemory => match within(&mut self.memory, limits.resource_attempts, at_once) {
                // What is in a tmpfs is in memory.
                Verdict::Retry { after, .. } => Verdict::Retry { after, to_disk: true },
                Verdict::GiveUp => Verdict::GiveUp,
            },
            FailureClass::InputsChanged => Verdict::GiveUp,
        }
    }

    /// Counts an attempt that was lost with its drone, and decides.
    pub(super) const fn lose(&mut self, limits: &Limits) -> Verdict {
        self.lost += 1;
        if self.lost < limits.lost_attempts {
            Verdict::Retry { after: Duration::ZERO, to_disk: false }
        } else {
            Verdict::GiveUp
        }
    }
}
