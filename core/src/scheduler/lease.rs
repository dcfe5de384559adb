//! The fenced, expiring right to build a key.
//!
//! Transitions are fenced, artifacts are not: a result is judged by whether its fence was ever issued to that
//! drone for that key. A success is then taken whenever it comes; a failure only from the live lease.

use std::fmt;

use crate::BuildKey;
use crate::time::Instant;

use super::command::{Command, Failure, KillReason, Workspace};
use super::event::{DroneId, FailureClass, Fence, MESSAGE_MAX_BYTES, Outcome, Phase, Refusal};
use super::fault::Fault;
use super::job::{JobIx, State};
use super::retry::Verdict;
use super::{KILL_GRACE, LEASE_TERM, STALL, Scheduler, estimate};

/// What the next wake-up is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wakeup {
    /// A lease that is not renewed until then expires.
    LeaseExpires {
        /// Its fence.
        fence: Fence,
    },
    /// An attempt that was told to die is taken for dead.
    KillOverdue {
        /// Its fence.
        fence: Fence,
    },
    /// A job is tried again.
    RetryDue {
        /// Its key.
        key: BuildKey,
    },
    /// A drone that failed several jobs gets work again.
    DroneRested {
        /// Which.
        drone: DroneId,
    },
}

impl fmt::Display for Wakeup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeaseExpires { fence } => write!(f, "the lease under {fence} expires"),
            Self::KillOverdue { fence } => write!(f, "the end of {fence} is overdue"),
            Self::RetryDue { key } => write!(f, "key {} is tried again", key.short()),
            Self::DroneRested { drone } => write!(f, "{drone} gets work again"),
        }
    }
}

/// What holds a slot.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) fence: Fence,
    pub(super) key: BuildKey,
    pub(super) drone: DroneId,
    pub(super) slot: u32,
    pub(super) granted: Instant,
    pub(super) started: Option<Instant>,
    pub(super) phase: Option<Phase>,
    pub(super) workspace: Workspace,
    /// When it expires; or, once it is ending, when the slot is taken back.
    pub(super) until: Instant,
    /// It has ended, and the drone was told to kill the attempt for this reason.
    pub(super) ending: Option<KillReason>,
}

impl Lease {
    /// Since when the build runs, as far as is known.
    pub(super) fn since(&self) -> Instant {
        self.started.unwrap_or(self.granted)
    }

    pub(super) const fn timer(&self) -> (Instant, Wakeup) {
        let wakeup = match self.ending {
            None => Wakeup::LeaseExpires { fence: self.fence },
            Some(_) => Wakeup::KillOverdue { fence: self.fence },
        };
        (self.until, wakeup)
    }
}

/// What a fence was issued for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grant {
    pub(super) drone: DroneId,
    pub(super) key: BuildKey,
}

impl Scheduler {
    /// Whether `fence` was issued to `drone`, and for what.
    fn check_fence(&self, drone: DroneId, fence: Fence) -> Result<Grant, Refusal> {
        let grant = *self.grants.get(&fence).ok_or(Refusal::UnknownFence { fence })?;
        if grant.drone == drone { Ok(grant) } else { Err(Refusal::ForeignFence { fence, drone }) }
    }

    /// Gives a lease a fresh term. What is heard of without a live lease is to be killed.
    pub(super) fn renew(&mut self, drone: DroneId, fence: Fence) -> Result<Option<&mut Lease>, Refusal> {
        self.check_fence(drone, fence)?;
        self.heard(drone);
        let ended = match self.leases.get(&fence) {
            Some(lease) => lease.ending,
            None => Some(KillReason::Stale),
        };
        if let Some(reason) = ended {
            if self.drones.contains_key(&drone) {
                self.commands.push_back(Command::Kill { drone, fence, reason });
            }
            return Ok(None);
        }
        let until = self.now.after(LEASE_TERM);
        let Some(lease) = self.leases.get_mut(&fence) else { return Ok(None) };
        self.timers.remove(&lease.timer());
        lease.until = until;
        self.timers.insert(lease.timer());
        Ok(Some(lease))
    }

    pub(super) fn started(&mut self, drone: DroneId, fence: Fence) -> Result<(), Refusal> {
        let now = self.now;
        if let Some(lease) = self.renew(drone, fence)? {
            lease.started.get_or_insert(now);
        }
        Ok(())
    }

    pub(super) fn entered(&mut self, drone: DroneId, fence: Fence, phase: Phase) -> Result<(), Refusal> {
        if let Some(lease) = self.renew(drone, fence)? {
            lease.phase = Some(phase);
        }
        Ok(())
    }

    /// Ends a live lease: the attempt is to be killed, and keeps its slot until it is known to be gone.
    pub(super) fn end_lease(&mut self, fence: Fence, reason: KillReason) {
        let until = self.now.after(KILL_GRACE);
        if let Some(lease) = self.leases.get_mut(&fence)
            && lease.ending.is_none()
        {
            self.timers.remove(&lease.timer());
            (lease.ending, lease.until) = (Some(reason), until);
            self.timers.insert(lease.timer());
            self.commands.push_back(Command::Kill { drone: lease.drone, fence, reason });
        }
    }

    /// Takes a lease away and frees its slot.
    pub(super) fn remove_lease(&mut self, fence: Fence) -> Option<Lease> {
        let lease = self.leases.remove(&fence)?;
        self.timers.remove(&lease.timer());
        let leak = self.is_faulty(Fault::SlotLeak) && lease.ending.is_some();
        if let Some(drone) = self.drones.get_mut(&lease.drone) {
            if let Some(slot) = drone.slots.get_mut(lease.slot as usize) {
                *slot = None;
            }
            drone.in_use -= u32::from(!leak);
        }
        self.list_drone(lease.drone);
        Some(lease)
    }

    pub(super) fn finished(
        &mut self,
        drone: DroneId,
        fence: Fence,
        key: BuildKey,
        outcome: Outcome,
    ) -> Result<(), Refusal> {
        if !self.is_faulty(Fault::NoFenceCheck) && self.check_fence(drone, fence)?.key != key {
            return Err(Refusal::ForeignKey { fence, key });
        }
        self.heard(drone);
        let lease = self.remove_lease(fence);
        match outcome {
            Outcome::Built => self.built(key, lease),
            Outcome::Failed { class, message } => match lease {
                Some(lease) if lease.ending.is_none() || self.is_faulty(Fault::LateFailure) => {
                    self.failed(&lease, class, message);
                }
                // A late failure says nothing that counts.
                Some(_) | None => {}
            },
        }
        Ok(())
    }

    fn built(&mut self, key: BuildKey, lease: Option<Lease>) {
        let Some(ix) = self.jobs.find(key) else { return };
        if let Some(lease) = &lease
            && lease.ending.is_none()
        {
            self.praise_drone(lease.drone);
            if let Some(drone) = self.drones.get(&lease.drone) {
                let time = self.now.since(lease.since());
                let time = estimate::at_reference_speed(time, drone.offer.speed_permille);
                self.estimates.learn(self.jobs[ix].label.cp(), time);
            }
        }
        if self.jobs[ix].state == State::Built {
            return;
        }
        if let State::Running { fence } = self.jobs[ix].state {
            // The live lease of another attempt; of this one it is gone already.
            self.end_lease(fence, KillReason::Superseded);
        }
        let mut work = Vec::new();
        self.transition(ix, State::Built, &mut work);
        self.settle(work);
    }

    fn failed(&mut self, lease: &Lease, class: FailureClass, mut message: String) {
        let Some(ix) = self.jobs.find(lease.key) else { return };
        message.truncate(message.floor_char_boundary(MESSAGE_MAX_BYTES));
        let unfit_workspace = class == FailureClass::NoSpace && lease.workspace == Workspace::Tmpfs;
        let tally = &mut self.jobs[ix].tally;
        if !unfit_workspace {
            tally.avoid.insert(lease.drone);
        }
        let elsewhere = self.drones.keys().any(|drone| !tally.avoid.contains(drone));
        let verdict = tally.judge(&self.limits, class, lease.workspace, elsewhere);
        let failure = Failure { class, message, drone: lease.drone, fence: lease.fence };
        self.conclude(ix, verdict, failure);
        match class {
            FailureClass::NoSpace if unfit_workspace => {}
            FailureClass::Infrastructure | FailureClass::NoSpace => self.blame_drone(lease.drone),
            // The drone did its work.
            FailureClass::Package { .. } | FailureClass::InputsChanged => self.praise_drone(lease.drone),
            // Nobody knows whose fault it was.
            FailureClass::Fetch
            | FailureClass::Timeout
            | FailureClass::OutOfMemory
            | FailureClass::Killed => {}
        }
    }

    /// The attempt under a live lease is gone with its drone.
    pub(super) fn lose(&mut self, lease: &Lease, message: &str) {
        let Some(ix) = self.jobs.find(lease.key) else { return };
        let tally = &mut self.jobs[ix].tally;
        tally.avoid.insert(lease.drone);
        let verdict = tally.lose(&self.limits);
        let failure = Failure {
            class: FailureClass::Infrastructure,
            message: message.to_owned(),
            drone: lease.drone,
            fence: lease.fence,
        };
        self.conclude(ix, verdict, failure);
    }

    fn conclude(&mut self, ix: JobIx, verdict: Verdict, failure: Failure) {
        self.jobs[ix].last_failure = Some(failure);
        let mut work = Vec::new();
        match verdict {
            Verdict::Retry { after, to_disk } => {
                if to_disk {
                    self.jobs[ix].workspace = Workspace::Disk;
                }
                self.jobs[ix].retry_at = Some(self.now.after(after));
                let state = self.derived(ix);
                self.transition(ix, state, &mut work);
                self.settle(work);
            }
            Verdict::GiveUp => {
                self.transition(ix, State::Failed, &mut work);
                self.settle(work);
                self.stop_plans(ix);
            }
        }
    }

    /// The time of the first timers has come.
    pub(super) fn wake(&mut self) {
        while let Some((at, wakeup)) = self.timers.first().copied() {
            if at > self.now {
                break;
            }
            self.timers.pop_first();
            match wakeup {
                Wakeup::LeaseExpires { fence } => self.expire(fence),
                Wakeup::KillOverdue { fence } => drop(self.remove_lease(fence)),
                Wakeup::RetryDue { key } => {
                    let due = self.jobs.find(key);
                    self.settle(due.into_iter().collect());
                }
                Wakeup::DroneRested { drone } => self.drone_rested(drone),
            }
        }
    }

    fn expire(&mut self, fence: Fence) {
        let Some(lease) = self.leases.get_mut(&fence) else { return };
        if self.now.since(lease.until) > STALL {
            lease.until = self.now.after(LEASE_TERM);
            self.timers.insert(lease.timer());
            return;
        }
        if self.is_faulty(Fault::NoExpiry) {
            return;
        }
        let id = self.leases[&fence].drone;
        self.end_lease(fence, KillReason::LeaseExpired);
        if let Some(drone) = self.drones.get_mut(&id) {
            drone.silent = true;
        }
        self.list_drone(id);
        // Taken out and put back, so that the loss is told like any other.
        if let Some(lease) = self.leases.remove(&fence) {
            self.lose(&lease, "nothing was heard of it in time");
            self.leases.insert(fence, lease);
        }
    }
}
