//! A node that builds: its slots, and whether it takes work.

use std::cmp::Reverse;

use crate::time::Instant;

use super::Scheduler;
use super::event::{DroneId, Fence, Offer, Refusal, SLOTS_MAX};
use super::lease::Wakeup;
use super::retry;

/// Place among the drones that take work: fastest first, then the one with the least to do.
pub(super) type FreeKey = (Reverse<u32>, u32, DroneId);

#[derive(Debug)]
pub(super) struct Drone {
    pub(super) offer: Offer,
    /// Who holds each slot.
    pub(super) slots: Vec<Option<Fence>>,
    pub(super) in_use: u32,
    pub(super) draining: bool,
    /// A lease of it expired and nothing was heard of it since.
    pub(super) silent: bool,
    /// Failures by its own fault, one behind the other.
    pub(super) faults: u32,
    pub(super) rests_until: Option<Instant>,
    /// Its entry among the drones that take work.
    pub(super) listed: Option<FreeKey>,
}

impl Drone {
    /// Whether it may be given work, if it has a free slot.
    pub(super) const fn takes_work(&self) -> bool {
        !self.draining && !self.silent && self.rests_until.is_none()
    }

    fn free_key(&self, id: DroneId) -> Option<FreeKey> {
        let open = self.takes_work() && self.in_use < self.offer.slots;
        open.then_some((Reverse(self.offer.speed_permille), self.in_use, id))
    }
}

impl Scheduler {
    pub(super) fn drone_joined(&mut self, id: DroneId, offer: Offer) -> Result<(), Refusal> {
        let Offer { slots, speed_permille, .. } = offer;
        if slots == 0 || slots > SLOTS_MAX || speed_permille == 0 {
            return Err(Refusal::Offer { drone: id, slots, speed_permille });
        }
        let draining = self.drones.get(&id).is_some_and(|drone| drone.draining);
        if self.drones.contains_key(&id) {
            self.drop_drone(id);
        }
        let drone = Drone {
            slots: vec![None; slots as usize],
            offer,
            in_use: 0,
            draining,
            silent: false,
            faults: 0,
            rests_until: None,
            listed: None,
        };
        self.drones.insert(id, drone);
        self.list_drone(id);
        Ok(())
    }

    pub(super) fn drone_left(&mut self, id: DroneId) -> Result<(), Refusal> {
        if !self.drones.contains_key(&id) {
            return Err(Refusal::UnknownDrone { drone: id });
        }
        self.drop_drone(id);
        Ok(())
    }

    /// Takes a drone and all its leases away.
    fn drop_drone(&mut self, id: DroneId) {
        let Some(drone) = self.drones.remove(&id) else { return };
        if let Some(key) = drone.listed {
            self.free.remove(&key);
        }
        if let Some(until) = drone.rests_until {
            self.timers.remove(&(until, Wakeup::DroneRested { drone: id }));
        }
        for fence in drone.slots.into_iter().flatten() {
            if let Some(lease) = self.remove_lease(fence)
                && lease.ending.is_none()
            {
                self.lose(&lease, "its drone went away");
            }
        }
    }

    pub(super) fn set_draining(&mut self, id: DroneId, draining: bool) -> Result<(), Refusal> {
        let drone = self.drones.get_mut(&id).ok_or(Refusal::UnknownDrone { drone: id })?;
        drone.draining = draining;
        self.list_drone(id);
        Ok(())
    }

    /// Something was heard of a drone.
    pub(super) fn heard(&mut self, id: DroneId) {
        if let Some(drone) = self.drones.get_mut(&id)
            && drone.silent
        {
            drone.silent = false;
            self.list_drone(id);
        }
    }

    /// An attempt failed by the drone's own fault.
    pub(super) fn blame_drone(&mut self, id: DroneId) {
        let Some(drone) = self.drones.get_mut(&id) else { return };
        drone.faults += 1;
        if drone.faults >= retry::DRONE_FAULTS {
            if let Some(until) = drone.rests_until {
                self.timers.remove(&(until, Wakeup::DroneRested { drone: id }));
            }
            let until = self.now.after(retry::backoff(drone.faults - retry::DRONE_FAULTS + 1));
            drone.rests_until = Some(until);
            self.timers.insert((until, Wakeup::DroneRested { drone: id }));
            self.list_drone(id);
        }
    }

    pub(super) fn praise_drone(&mut self, id: DroneId) {
        if let Some(drone) = self.drones.get_mut(&id) {
            drone.faults = 0;
        }
    }

    pub(super) fn drone_rested(&mut self, id: DroneId) {
        if let Some(drone) = self.drones.get_mut(&id) {
            drone.rests_until = None;
            self.list_drone(id);
        }
    }

    /// Brings a drone's entry among those that take work up to date. To be called after any change of it.
    pub(super) fn list_drone(&mut self, id: DroneId) {
        let Some(drone) = self.drones.get_mut(&id) else { return };
        let key = drone.free_key(id);
        if key != drone.listed {
            if let Some(old) = std::mem::replace(&mut drone.listed, key) {
                self.free.remove(&old);
            }
            self.free.extend(key);
        }
    }
}
