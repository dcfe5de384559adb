//! The scheduler under a sequence of events read from bytes, its invariants checked after each.

use std::time::Duration;

use buildswarm_core::scheduler::{
    Command, DroneId, Estimates, Event, FailureClass, Fence, JobRequest, Limits, Offer, Outcome, Phase,
    PlanId, Question, Scheduler, invariants,
};
use buildswarm_core::time::Instant;
use buildswarm_core::{BuildKey, Digest};

/// Keys that plans choose from; a plan is a mask over them.
const KEYS: u8 = 16;
/// Longer inputs tell nothing more and cost time in the square of their length.
const EVENTS_MAX: usize = 400;

fn key(number: u8) -> BuildKey {
    BuildKey::from_digest(Digest::of(&[number]))
}

/// An attempt as its drone knows it.
#[derive(Clone, Copy)]
struct Attempt {
    drone: DroneId,
    fence: Fence,
    key: BuildKey,
}

/// What was handed out, and so can be reported on.
#[derive(Default)]
struct HandedOut {
    attempts: Vec<Attempt>,
    questions: Vec<(BuildKey, Question)>,
}

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    /// The next byte, 0 behind the end.
    fn next(&mut self) -> u8 {
        let (byte, rest) = self.0.split_first().map_or((0, self.0), |(byte, rest)| (*byte, rest));
        self.0 = rest;
        byte
    }

    fn attempt(&mut self, attempts: &[Attempt]) -> Attempt {
        let at = usize::from(self.next());
        let forged = Attempt { drone: DroneId(99), fence: Fence(9_999), key: key(KEYS) };
        if attempts.is_empty() { forged } else { attempts[at % attempts.len()] }
    }

    fn question(&mut self, questions: &[(BuildKey, Question)]) -> (BuildKey, Question) {
        let at = usize::from(self.next());
        if questions.is_empty() { (key(0), Question(9_999)) } else { questions[at % questions.len()] }
    }

    fn plan(&mut self) -> PlanId {
        PlanId(u64::from(self.next() % 8))
    }

    fn drone(&mut self) -> DroneId {
        DroneId(u64::from(self.next() % 4))
    }

    fn jobs(&mut self) -> Vec<JobRequest> {
        let chosen = u16::from_le_bytes([self.next(), self.next()]);
        let is_chosen = |number: u8| chosen >> number & 1 == 1;
        let mut jobs = Vec::new();
        for number in (0..KEYS).filter(|number| is_chosen(*number)) {
            let wanted = u16::from_le_bytes([self.next(), self.next()]);
            // Mostly what stands before, so that most plans are taken; itself and cycles too.
            let waits_for =
                (0..KEYS).filter(|other| wanted >> other & 1 == 1 && is_chosen(*other)).map(key).collect();
            let estimate = self.next();
            jobs.push(JobRequest {
                key: key(number),
                label: format!("cat/p{number}-1").parse().expect("a package"),
                waits_for,
                estimate: Duration::from_secs(u64::from(estimate)),
                goal: number.is_multiple_of(3),
                resolve: estimate.is_multiple_of(2),
            });
        }
        jobs
    }

    fn outcome(&mut self) -> Outcome {
        let class = match self.next() % 16 {
            0 => FailureClass::Package { phase: Phase::Compile },
            1 => FailureClass::Fetch,
            2 => FailureClass::Infrastructure,
            3 => FailureClass::NoSpace,
            4 => FailureClass::Timeout,
            5 => FailureClass::OutOfMemory,
            6 => FailureClass::Killed,
            7 => FailureClass::InputsChanged,
            _ => return Outcome::Built,
        };
        Outcome::Failed { class, message: "no\n".repeat(usize::from(self.next())) }
    }

    fn event(&mut self, HandedOut { attempts, questions }: &HandedOut) -> Event {
        match self.next() % 17 {
            0 => Event::Submit {
                plan: self.plan(),
                keep_going: self.next().is_multiple_of(2),
                jobs: self.jobs(),
            },
            1 => Event::Cancel { plan: self.plan() },
            2 => Event::Forget { plan: self.plan() },
            3 => Event::Pause,
            4 => Event::Resume,
            5 => Event::DroneJoined {
                drone: self.drone(),
                offer: Offer {
                    name: "drone".to_owned(),
                    slots: u32::from(self.next() % 4),
                    speed_permille: u32::from(self.next()) * 16,
                    tmpfs: self.next().is_multiple_of(2),
                },
            },
            6 => Event::DroneLeft { drone: self.drone() },
            7 => Event::Drain { drone: self.drone() },
            8 => Event::Undrain { drone: self.drone() },
            9 => {
                let Attempt { drone, fence, .. } = self.attempt(attempts);
                Event::Started { drone, fence }
            }
            10 => {
                let Attempt { drone, fence, .. } = self.attempt(attempts);
                Event::Progress { drone, fence, phase: Phase::Compile }
            }
            11 => {
                let Attempt { drone, fence, .. } = self.attempt(attempts);
                Event::Heartbeat { drone, fence }
            }
            12 => {
                // Whatever fits together, fits by chance.
                let drone = self.drone();
                let (fence, number) = (Fence(u64::from(self.next())), self.next() % (KEYS + 1));
                Event::Finished { drone, fence, key: key(number), outcome: self.outcome() }
            }
            13 | 14 => {
                let Attempt { drone, fence, key } = self.attempt(attempts);
                Event::Finished { drone, fence, key, outcome: self.outcome() }
            }
            15 => Event::Wake,
            _ => {
                let (key, question) = self.question(questions);
                Event::Resolved { key, question, found: self.next().is_multiple_of(2) }
            }
        }
    }
}

/// After every event the invariants hold, fences ascend, and nothing is left idle.
///
/// # Panics
/// If they do not.
pub fn scheduler_ops(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let mut scheduler = Scheduler::new(Limits::STANDARD, Estimates::new(), Fence(1));
    let mut now = Instant::START;
    let mut handed_out = HandedOut::default();
    for _ in 0..EVENTS_MAX {
        if bytes.0.is_empty() {
            return;
        }
        // Time may also be told to go back.
        now = match bytes.next() {
            255 => Instant::START,
            seconds @ 200.. => now.after(Duration::from_secs(u64::from(seconds - 199))),
            _ => scheduler
                .deadline()
                .map_or(now, |(at, _)| if handed_out.attempts.len().is_multiple_of(4) { at } else { now }),
        };
        let event = bytes.event(&handed_out);
        let _ = scheduler.handle(now, event);
        invariants::check(&scheduler).expect("the invariants hold after an event");
        while let Some(command) = scheduler.poll() {
            match command {
                Command::Start { drone, fence, key, .. } => {
                    let last = handed_out.attempts.last();
                    assert!(last.is_none_or(|last| last.fence < fence), "{fence} is not new");
                    handed_out.attempts.push(Attempt { drone, fence, key });
                }
                Command::Resolve { key, question } => {
                    let last = handed_out.questions.last();
                    assert!(last.is_none_or(|(_, last)| *last < question), "{question} is not new");
                    handed_out.questions.push((key, question));
                }
                Command::Kill { .. } | Command::JobStateChanged { .. } | Command::PlanDone { .. } => {}
            }
        }
        invariants::check_drained(&scheduler).expect("the invariants hold when all is said");
    }
}
