//! Whether an earlier build stands for a job: asked once all it waits for is there, and before it is started.
//!
//! What a job's dependencies came to may be what they came to before, although their keys are others; then it
//! need not be built. Only the caller can look, and only once there are artifacts to look at.
//!
//! - **Who may reuse.** A plan says of each job whether it takes a reuse ([`JobRequest::resolve`]). A job is
//!   looked up only while every plan that has it and is not done says so; a plan that has it without having
//!   named it says no. So one strict plan is enough for a job to be built, and the others get that build.
//! - **Whose answer.** Each time a job enters the state it gets a new [`Question`]; only the answer to the
//!   latest one counts, and only while the job is still asking. A plan that names the job, or something that
//!   has to be built first after all, overtakes the question: its answer was about other plans or other
//!   artifacts.
//! - **For how long.** What was not found is built; it is looked up again only if it starts afresh. What was
//!   found counts for the plans that were there: a plan that names it later asks anew.
//! - **What it is not.** This is about the job itself. What is built upon a reuse is built, for every plan
//!   that has it: only the caller knows under which key that was committed. A strict plan is not misled by it
//!   as long as it takes artifacts from the store by its own keys, but it may find that one is not there.
//!
//! [`JobRequest::resolve`]: super::JobRequest::resolve

use crate::BuildKey;

use super::Scheduler;
use super::command::Command;
use super::event::{Question, Refusal};
use super::fault::Fault;
use super::job::{JobIx, State};
use super::plan::PlanPhase;

impl Scheduler {
    /// Whether a job that could be started is to be looked up first.
    pub(super) fn is_to_be_looked_up(&self, ix: JobIx) -> bool {
        let job = &self.jobs[ix];
        let takes_it = |plan| self.phase(plan) == Some(PlanPhase::Done) || job.takes_reuse.contains(&plan);
        !job.missed && (self.is_faulty(Fault::ReuseForAll) || job.plans.iter().all(|plan| takes_it(*plan)))
    }

    /// The state of a job that is to be looked up: the question that is open, or the next one.
    pub(super) fn resolving(&self, ix: JobIx) -> State {
        let State::Resolving { question } = self.jobs[ix].state else {
            return State::Resolving { question: self.next_question };
        };
        State::Resolving { question }
    }

    /// Asks the question a job has just entered its state with.
    pub(super) fn ask(&mut self, ix: JobIx, question: Question) {
        self.next_question = Question(question.0 + 1);
        self.commands.push_back(Command::Resolve { key: self.jobs[ix].key, question });
    }

    /// A look-up has ended. An answer that was overtaken changes nothing.
    pub(super) fn resolved(&mut self, key: BuildKey, question: Question, found: bool) -> Result<(), Refusal> {
        if question >= self.next_question {
            return Err(Refusal::UnknownQuestion { question });
        }
        let Some(ix) = self.jobs.find(key) else { return Ok(()) };
        let State::Resolving { question: open } = self.jobs[ix].state else { return Ok(()) };
        if question != open && !self.is_faulty(Fault::StaleAnswer) {
            return Ok(());
        }
        let mut work = Vec::new();
        if found {
            self.transition(ix, State::Reused, &mut work);
        } else {
            self.jobs[ix].missed = !self.is_faulty(Fault::MissForgotten);
            work.push(ix);
        }
        self.settle(work);
        Ok(())
    }
}
