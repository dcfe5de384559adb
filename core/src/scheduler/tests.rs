//! What the scheduler does, by behaviour. Every test goes through [`World`], which checks the invariants
//! after every event.

use super::*;
use crate::{BuildKey, Digest};

mod failures;
mod leases;
mod plans;
mod reuse;
mod simulation;

pub(super) fn key(number: usize) -> BuildKey {
    BuildKey::from_digest(Digest::of(&number.to_le_bytes()))
}

pub(super) fn job(number: usize, waits_for: &[usize], secs: u64) -> JobRequest {
    JobRequest {
        key: key(number),
        label: format!("cat/p{number:04}-1").parse().unwrap(),
        waits_for: waits_for.iter().map(|other| key(*other)).collect(),
        estimate: Duration::from_secs(secs),
        goal: true,
        resolve: false,
    }
}

/// A job for which an earlier build does, if there is one.
pub(super) fn reusable(number: usize, waits_for: &[usize], secs: u64) -> JobRequest {
    JobRequest { resolve: true, ..job(number, waits_for, secs) }
}

pub(super) fn offer(slots: u32, speed_permille: u32) -> Offer {
    Offer { name: "d".into(), slots, speed_permille, tmpfs: true }
}

pub(super) const fn failed(class: FailureClass) -> Outcome {
    Outcome::Failed { class, message: String::new() }
}

pub(super) const COMPILE: FailureClass = FailureClass::Package { phase: Phase::Compile };

/// One `Start` command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Started {
    drone: DroneId,
    key: BuildKey,
    fence: Fence,
    attempt: u32,
    workspace: Workspace,
}

/// A scheduler with a clock, and everything it said.
struct World {
    scheduler: Scheduler,
    now: Instant,
    commands: Vec<Command>,
}

impl World {
    fn new() -> Self {
        Self::with(Limits::STANDARD)
    }

    fn with(limits: Limits) -> Self {
        let scheduler = Scheduler::new(limits, Estimates::new(), Fence(1));
        Self { scheduler, now: Instant::START, commands: Vec::new() }
    }

    fn try_handle(&mut self, event: Event) -> Result<Vec<Command>, Refusal> {
        let handled = self.scheduler.handle(self.now, event);
        invariants::check(&self.scheduler).unwrap();
        let commands: Vec<Command> = std::iter::from_fn(|| self.scheduler.poll()).collect();
        invariants::check_drained(&self.scheduler).unwrap();
        self.commands.extend(commands.iter().cloned());
        handled.map(|()| commands)
    }

    fn handle(&mut self, event: Event) -> Vec<Command> {
        self.try_handle(event).unwrap()
    }

    /// Hands in an event and returns what it started.
    fn starts(&mut self, event: Event) -> Vec<Started> {
        let commands = self.handle(event);
        commands
            .into_iter()
            .filter_map(|command| match command {
                Command::Start { drone, key, fence, attempt, workspace, .. } => {
                    Some(Started { drone, key, fence, attempt, workspace })
                }
                Command::Kill { .. }
                | Command::Resolve { .. }
                | Command::JobStateChanged { .. }
                | Command::PlanDone { .. } => None,
            })
            .collect()
    }

    fn join(&mut self, drone: u64, slots: u32, speed: u32) -> Vec<Started> {
        self.starts(Event::DroneJoined { drone: DroneId(drone), offer: offer(slots, speed) })
    }

    fn submit(&mut self, plan: u64, keep_going: bool, jobs: Vec<JobRequest>) -> Vec<Started> {
        self.starts(Event::Submit { plan: PlanId(plan), keep_going, jobs })
    }

    fn finish(&mut self, started: Started, outcome: Outcome) -> Vec<Started> {
        let Started { drone, key, fence, .. } = started;
        self.starts(Event::Finished { drone, fence, key, outcome })
    }

    /// The look-ups asked for so far.
    fn questions(&self) -> Vec<(BuildKey, Question)> {
        let question = |command: &Command| match command {
            Command::Resolve { key, question } => Some((*key, *question)),
            Command::Start { .. }
            | Command::Kill { .. }
            | Command::JobStateChanged { .. }
            | Command::PlanDone { .. } => None,
        };
        self.commands.iter().filter_map(question).collect()
    }

    /// Answers the latest question.
    fn answer(&mut self, found: bool) -> Vec<Started> {
        let (key, question) = *self.questions().last().unwrap();
        self.starts(Event::Resolved { key, question, found })
    }

    /// Lets time pass, waking the scheduler whenever it asked for it.
    fn pass(&mut self, secs: u64) -> Vec<Started> {
        let end = self.now.after(Duration::from_secs(secs));
        let mut started = Vec::new();
        while let Some((at, _)) = self.scheduler.deadline().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            started.extend(self.starts(Event::Wake));
        }
        self.now = end;
        started
    }

    fn state(&self, number: usize) -> JobState {
        self.scheduler.explain(key(number)).unwrap().state
    }

    fn why(&self, number: usize) -> String {
        self.scheduler.explain(key(number)).unwrap().to_string()
    }

    fn kills(&self) -> Vec<(Fence, KillReason)> {
        let kill = |command: &Command| match command {
            Command::Kill { fence, reason, .. } => Some((*fence, *reason)),
            Command::Start { .. }
            | Command::Resolve { .. }
            | Command::JobStateChanged { .. }
            | Command::PlanDone { .. } => None,
        };
        self.commands.iter().filter_map(kill).collect()
    }

    fn summaries(&self) -> Vec<(PlanId, PlanSummary)> {
        let done = |command: &Command| match command {
            Command::PlanDone { plan, summary } => Some((*plan, *summary)),
            Command::Start { .. }
            | Command::Resolve { .. }
            | Command::JobStateChanged { .. }
            | Command::Kill { .. } => None,
        };
        self.commands.iter().filter_map(done).collect()
    }
}
