//! What is started next, and where.
//!
//! First in line is the job with the most work behind it; it goes where it finishes earliest among the slots
//! that are free now. While a job is ready no slot stays empty; waiting for a faster drone is not considered.

use super::command::{Command, Workspace};
use super::event::{DroneId, Fence};
use super::fault::Fault;
use super::job::{JobIx, State};
use super::lease::{Grant, Lease};
use super::{GRANTS_MAX, LEASE_TERM, Scheduler};

impl Scheduler {
    /// Starts the first job in line, if anything can be started.
    pub(super) fn place_next(&mut self) {
        if self.paused {
            return;
        }
        if let Some(ix) = self.ready.first().map(|key| key.ix)
            && let Some(drone) = self.choose(ix)
        {
            self.grant(ix, drone);
        }
    }

    /// The drone on which `ix` finishes earliest: of those free now the fastest, and among equals the one
    /// with the least to do. One on which it failed is taken only if there is no other.
    fn choose(&self, ix: JobIx) -> Option<DroneId> {
        let avoid = &self.jobs[ix].tally.avoid;
        let mut free = self.free.iter().map(|(_, _, drone)| *drone);
        let first = free.clone().next();
        free.find(|drone| !avoid.contains(drone)).or(first)
    }

    fn grant(&mut self, ix: JobIx, id: DroneId) {
        let Some(drone) = self.drones.get_mut(&id) else { return };
        let Some(place) = drone.slots.iter().position(Option::is_none) else { return };
        let fence = self.next_fence;
        drone.slots[place] = Some(fence);
        drone.in_use += 1;
        let tmpfs = drone.offer.tmpfs;
        // Slots are bounded by SLOTS_MAX.
        let slot = u32::try_from(place).unwrap_or(u32::MAX);
        self.list_drone(id);
        if !self.is_faulty(Fault::FenceReuse) {
            self.next_fence = Fence(fence.0 + 1);
        }

        let job = &mut self.jobs[ix];
        job.attempts += 1;
        let (key, attempt) = (job.key, job.attempts);
        let workspace = if tmpfs { job.workspace } else { Workspace::Disk };
        let lease = Lease {
            fence,
            key,
            drone: id,
            slot,
            granted: self.now,
            started: None,
            phase: None,
            workspace,
            until: self.now.after(LEASE_TERM),
            ending: None,
        };
        self.timers.insert(lease.timer());
        self.leases.insert(fence, lease);
        self.grants.insert(fence, Grant { drone: id, key });
        if self.grants.len() > GRANTS_MAX {
            self.grants.pop_first();
        }
        self.commands.push_back(Command::Start { drone: id, slot, key, fence, attempt, workspace });
        self.transition(ix, State::Running { fence }, &mut Vec::new());
    }
}
