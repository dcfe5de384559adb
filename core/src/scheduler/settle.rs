//! The one place where a job's state is derived, and the one where it is changed.
//!
//! Built, reused, failed and running are facts, set by results, answers and grants. Every other state follows
//! from the facts about the job and what it waits for: [`Scheduler::derived`] computes it from the level, not
//! from what just changed, so nothing is lost when events come late, twice or in another order.

use super::Scheduler;
use super::command::{Command, Failure, Reason};
use super::fault::Fault;
use super::job::{JobIx, Standing, State};

impl Scheduler {
    /// The state of a job about which there is no fact.
    pub(super) fn derived(&self, ix: JobIx) -> State {
        let job = &self.jobs[ix];
        if !self.is_wanted(ix) {
            return State::Dropped;
        }
        if job.dead > 0 {
            return self.root_of(ix).map_or(State::Waiting, |root| State::Blocked { root });
        }
        if job.unbuilt > 0 {
            return State::Waiting;
        }
        if self.is_to_be_looked_up(ix) {
            return self.resolving(ix);
        }
        match job.retry_at {
            Some(until) if until > self.now => State::Delayed { until },
            Some(_) | None => State::Ready,
        }
    }

    /// The failed job behind a blocked one. Stays the same as long as it is failed, so that the reason a
    /// person is told does not wander and a wide job is not searched again and again.
    fn root_of(&self, ix: JobIx) -> Option<JobIx> {
        if let State::Blocked { root } = self.jobs[ix].state
            && self.jobs[root].state == State::Failed
        {
            return Some(root);
        }
        self.jobs[ix].waits_for.iter().find_map(|dependency| match self.jobs[*dependency].state {
            State::Failed => Some(*dependency),
            State::Blocked { root } if self.jobs[root].state == State::Failed => Some(root),
            State::Blocked { .. }
            | State::Waiting
            | State::Resolving { .. }
            | State::Delayed { .. }
            | State::Ready
            | State::Running { .. }
            | State::Built
            | State::Reused
            | State::Dropped => None,
        })
    }

    /// Brings `work`, and everything that follows from it, into the derived state.
    pub(super) fn settle(&mut self, mut work: Vec<JobIx>) {
        while let Some(ix) = work.pop() {
            match self.jobs[ix].state {
                State::Running { .. } | State::Built | State::Reused | State::Failed => continue,
                State::Waiting
                | State::Resolving { .. }
                | State::Delayed { .. }
                | State::Ready
                | State::Blocked { .. }
                | State::Dropped => {}
            }
            let state = self.derived(ix);
            if state != self.jobs[ix].state {
                self.transition(ix, state, &mut work);
            }
        }
    }

    /// Changes the state of a job with everything kept beside it, and adds to `work` whom it may concern.
    pub(super) fn transition(&mut self, ix: JobIx, state: State, work: &mut Vec<JobIx>) {
        self.leave_queue(ix);
        let old = std::mem::replace(&mut self.jobs[ix].state, state);
        self.enter_queue(ix);
        let (was, is) = (old.standing(), self.jobs[ix].state.standing());
        let root_moved = was == Standing::Dead && is == Standing::Dead;
        let deaf = self.is_faulty(Fault::EdgeTriggered) && !matches!(old, State::Running { .. })
            || self.is_faulty(Fault::ReuseUntold) && self.jobs[ix].state == State::Reused;
        if (was != is || root_moved) && !deaf {
            self.tell_dependents(ix, was, is, work);
        }
        let (was_final, is_final) = (old.public().is_final(), self.jobs[ix].state.public().is_final());
        if was_final != is_final {
            for id in &self.jobs[ix].plans {
                let Some(plan) = self.plans.get_mut(id) else { continue };
                if is_final {
                    plan.open -= 1;
                    self.closing.insert(*id);
                } else {
                    plan.open += 1;
                }
            }
        }
        let (key, state) = (self.jobs[ix].key, self.jobs[ix].state.public());
        let reason = self.reason(ix);
        self.commands.push_back(Command::JobStateChanged { key, state, reason });
        if let State::Resolving { question } = self.jobs[ix].state {
            self.ask(ix, question);
        }
    }

    fn tell_dependents(&mut self, ix: JobIx, was: Standing, is: Standing, work: &mut Vec<JobIx>) {
        let dependents = std::mem::take(&mut self.jobs[ix].dependents);
        for dependent in &dependents {
            let job = &mut self.jobs[*dependent];
            job.unbuilt = job.unbuilt + u32::from(was == Standing::Built) - u32::from(is == Standing::Built);
            job.dead = job.dead + u32::from(is == Standing::Dead) - u32::from(was == Standing::Dead);
            work.push(*dependent);
        }
        self.jobs[ix].dependents = dependents;
    }

    fn leave_queue(&mut self, ix: JobIx) {
        if self.jobs[ix].state == State::Ready {
            self.ready.remove(&self.jobs.ready_key(ix));
        } else if let State::Delayed { until } = self.jobs[ix].state {
            self.timers.remove(&(until, super::Wakeup::RetryDue { key: self.jobs[ix].key }));
        }
    }

    fn enter_queue(&mut self, ix: JobIx) {
        let early =
            self.is_faulty(Fault::ResolvingInLine) && matches!(self.jobs[ix].state, State::Resolving { .. });
        if self.jobs[ix].state == State::Ready || early {
            self.ready.insert(self.jobs.ready_key(ix));
        } else if let State::Delayed { until } = self.jobs[ix].state {
            self.timers.insert((until, super::Wakeup::RetryDue { key: self.jobs[ix].key }));
        }
    }

    /// Why a job is in its state.
    pub(super) fn reason(&self, ix: JobIx) -> Reason {
        let job = &self.jobs[ix];
        match job.state {
            State::Waiting => {
                let is_open = |ix: &&JobIx| self.jobs[**ix].state.standing() != Standing::Built;
                match job.waits_for.iter().find(is_open) {
                    Some(first) => {
                        Reason::WaitsFor { first: self.jobs[*first].name(), count: job.unbuilt as usize }
                    }
                    None => Reason::DependenciesBuilt,
                }
            }
            State::Resolving { .. } => Reason::LookedUp,
            State::Delayed { until } => match &job.last_failure {
                Some(last) => Reason::RetryAt { at: until, last: last.clone() },
                None => Reason::DependenciesBuilt,
            },
            State::Ready => match &job.last_failure {
                Some(last) => Reason::Retry { last: last.clone() },
                None => Reason::DependenciesBuilt,
            },
            State::Running { fence } => match self.leases.get(&fence) {
                Some(lease) => Reason::Leased { drone: lease.drone, fence, since: lease.since() },
                None => Reason::DependenciesBuilt,
            },
            State::Built => Reason::Committed,
            State::Reused => Reason::EarlierBuild,
            State::Failed => Reason::GaveUp { last: self.failure_of(ix) },
            State::Blocked { root } => {
                Reason::BlockedBy { root: self.jobs[root].name(), failure: self.failure_of(root) }
            }
            State::Dropped => Reason::Unwanted,
        }
    }

    fn failure_of(&self, ix: JobIx) -> Failure {
        self.jobs[ix].last_failure.clone().expect("a job is failed only by a failure")
    }
}
