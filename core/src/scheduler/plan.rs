//! A submitted plan: which jobs it wants, and how far it is.

use crate::{BuildKey, Digest};

use super::command::{Command, KillReason, PlanEnd, PlanSummary};
use super::event::{PlanId, Refusal};
use super::job::{JobIx, Standing, State};
use super::{JobState, Scheduler};

/// Whether a plan is still being built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PlanPhase {
    Active,
    /// After its first failure: running jobs are let finish, nothing is started.
    Stopping {
        by: BuildKey,
    },
    Done,
}

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) phase: PlanPhase,
    pub(super) keep_going: bool,
    /// Its jobs, and what they turned out to wait for.
    pub(super) members: Vec<JobIx>,
    pub(super) goals: Vec<JobIx>,
    /// Members whose state is not final.
    pub(super) open: usize,
    /// Digest of what was submitted.
    pub(super) fingerprint: Digest,
}

impl Scheduler {
    /// Whether a plan that is being built wants the job.
    pub(super) fn is_wanted(&self, ix: JobIx) -> bool {
        self.jobs[ix].plans.iter().any(|plan| self.phase(*plan) == Some(PlanPhase::Active))
    }

    pub(super) fn phase(&self, plan: PlanId) -> Option<PlanPhase> {
        self.plans.get(&plan).map(|plan| plan.phase)
    }

    /// A job failed: plans that do not go on stop here.
    pub(super) fn stop_plans(&mut self, failed: JobIx) {
        let by = self.jobs[failed].key;
        let mut dropped = Vec::new();
        for id in &self.jobs[failed].plans {
            if let Some(plan) = self.plans.get_mut(id)
                && plan.phase == PlanPhase::Active
                && !plan.keep_going
            {
                plan.phase = PlanPhase::Stopping { by };
                dropped.extend_from_slice(&plan.members);
            }
        }
        self.settle(dropped);
    }

    pub(super) fn cancel(&mut self, id: PlanId) -> Result<(), Refusal> {
        let plan = self.plans.get_mut(&id).ok_or(Refusal::UnknownPlan { plan: id })?;
        if plan.phase == PlanPhase::Done {
            return Ok(());
        }
        plan.phase = PlanPhase::Done;
        let members = plan.members.clone();
        for ix in &members {
            let fence = match self.jobs[*ix].state {
                State::Running { fence } => fence,
                State::Waiting
                | State::Resolving { .. }
                | State::Delayed { .. }
                | State::Ready
                | State::Built
                | State::Reused
                | State::Failed
                | State::Blocked { .. }
                | State::Dropped => continue,
            };
            let lets_finish = |plan: &PlanId| self.phase(*plan).is_some_and(|phase| phase != PlanPhase::Done);
            if !self.jobs[*ix].plans.iter().any(lets_finish) {
                self.end_lease(fence, KillReason::Cancelled);
                self.transition(*ix, State::Dropped, &mut Vec::new());
            }
        }
        self.settle(members);
        self.announce(id, PlanEnd::Cancelled);
        Ok(())
    }

    pub(super) fn forget(&mut self, id: PlanId) -> Result<(), Refusal> {
        match self.phase(id) {
            None => return Err(Refusal::UnknownPlan { plan: id }),
            Some(PlanPhase::Active | PlanPhase::Stopping { .. }) => {
                return Err(Refusal::PlanOpen { plan: id });
            }
            Some(PlanPhase::Done) => {}
        }
        let Some(plan) = self.plans.remove(&id) else { return Ok(()) };
        let mut unreferenced = Vec::new();
        for ix in plan.members {
            self.jobs[ix].plans.remove(&id);
            self.jobs[ix].takes_reuse.remove(&id);
            if self.jobs[ix].plans.is_empty() {
                unreferenced.push(ix);
            }
        }
        unreferenced.into_iter().for_each(|ix| self.jobs.remove(ix));
        Ok(())
    }

    /// Ends the plans that ran out of open jobs.
    pub(super) fn close_plans(&mut self) {
        while let Some(id) = self.closing.pop_first() {
            let Some(plan) = self.plans.get_mut(&id) else { continue };
            let end = match plan.phase {
                PlanPhase::Active => PlanEnd::Finished,
                PlanPhase::Stopping { by } => PlanEnd::Stopped { by },
                PlanPhase::Done => continue,
            };
            if plan.open == 0 {
                plan.phase = PlanPhase::Done;
                self.announce(id, end);
            }
        }
    }

    fn announce(&mut self, id: PlanId, end: PlanEnd) {
        let Some(plan) = self.plans.get(&id) else { return };
        let is_there = |ix: &JobIx| self.jobs[*ix].state.standing() == Standing::Built;
        let mut summary = PlanSummary {
            end,
            built: 0,
            reused: 0,
            failed: 0,
            blocked: 0,
            dropped: 0,
            goals: plan.goals.len(),
            goals_built: plan.goals.iter().filter(|ix| is_there(ix)).count(),
        };
        for ix in &plan.members {
            match self.jobs[*ix].state.public() {
                JobState::Built => summary.built += 1,
                JobState::Reused => summary.reused += 1,
                JobState::Failed => summary.failed += 1,
                JobState::Blocked => summary.blocked += 1,
                // What is still open here goes on for another plan.
                JobState::Dropped
                | JobState::Waiting
                | JobState::Resolving
                | JobState::Delayed
                | JobState::Ready
                | JobState::Running => summary.dropped += 1,
            }
        }
        self.commands.push_back(Command::PlanDone { plan: id, summary });
    }
}
