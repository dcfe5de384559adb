//! The one event loop: the scheduler decides, this carries out and reports.
//!
//! Attempts run on threads of their own, each of which lives as long as the processes it started (they die
//! with it). Everything that happens comes to this loop through one channel.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::Scope;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use buildswarm_core::plan::PackageIndex;
use buildswarm_core::scheduler::{
    Command, DroneId, Estimates, Event, Fence, JobRequest, JobState, Limits, Offer, Outcome, Phase, PlanId,
    Reason, Scheduler, Workspace,
};
use buildswarm_core::{BuildKey, time};
use buildswarm_portage::build::{Bounds, Canceller, Sonames, cancellation};
use buildswarm_portage::distfiles::Distfiles;
use buildswarm_store::{JobRow, Run, RunId, Store};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::attempt::{Order, Workshop, now};
use crate::config::Config;
use crate::planning::{Fate, Planned};
use crate::report::{Report, in_words};
use crate::state::State;

mod resources;

const PLAN: PlanId = PlanId(1);
const LOCAL: DroneId = DroneId(1);
/// What a package that was never built is taken to take: the median over a desktop's world is about that.
const UNKNOWN_BUILD: Duration = Duration::from_secs(60);
/// How often a terminal's status line is drawn while nothing happens.
const REDRAW: Duration = Duration::from_secs(1);

/// What a run has on this machine.
#[derive(Debug, Clone, Copy)]
pub struct Local<'a> {
    /// How to build.
    pub config: &'a Config,
    /// Where things are kept.
    pub state: &'a State,
    /// The store.
    pub store: &'a Store,
    /// A directory for temporary files.
    pub work: &'a Path,
}

/// What became of a run.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Summary {
    /// Packages of the plan that have a key.
    pub packages: usize,
    /// Built by this run.
    pub built: usize,
    /// Not built because their keys resolved.
    pub hits: usize,
    /// Tried in vain.
    pub failed: usize,
    /// Not tried, because they need a failed one.
    pub blocked: usize,
    /// Not there and not needed.
    pub unneeded: usize,
    /// Not tried, because the run was interrupted or stopped.
    pub dropped: usize,
    /// From start to end.
    pub seconds: f64,
    /// Whether it was interrupted.
    pub interrupted: bool,
}

impl Summary {
    /// Whether every wanted key resolves.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        self.failed + self.blocked + self.dropped == 0 && !self.interrupted
    }
}

enum Message {
    Entered { fence: Fence, phase: Phase },
    Ended { fence: Fence, key: BuildKey, outcome: Outcome },
    Interrupt,
}

/// A running attempt.
struct Running {
    key: BuildKey,
    canceller: Option<Canceller>,
}

struct Loop<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    workshop: &'env Workshop<'env>,
    scheduler: Scheduler,
    start: Instant,
    running: BTreeMap<Fence, Running>,
    by_key: &'env BTreeMap<BuildKey, PackageIndex>,
    sender: Sender<Message>,
    report: &'env mut Report,
    rows: BTreeMap<BuildKey, JobRow>,
    changed: Vec<BuildKey>,
    done: bool,
    interrupted: bool,
}

/// Builds what `planned` demands, records the run, and reports as it goes. Time counts from `start`.
///
/// # Errors
/// What keeps a run from starting or from being recorded; failed builds are in the summary.
pub fn run(
    local: Local<'_>,
    planned: &Planned,
    label: &str,
    start: Instant,
    report: &mut Report,
) -> Result<Summary> {
    let Local { config, state, store, work } = local;
    let run = store.begin_run(&Run { label: label.to_owned(), started: now() })?;
    let rows = first_rows(planned);
    store.update_jobs(run, &rows.values().cloned().collect::<Vec<_>>())?;
    let mut summary = Summary {
        packages: rows.len(),
        hits: rows.values().filter(|row| row.state == "hit").count(),
        unneeded: rows.values().filter(|row| row.state == "unneeded").count(),
        ..Summary::default()
    };
    if let Some(trees) = &planned.trees {
        let resources = resources::Resources::of(&config.build);
        let workshop = Workshop {
            planned,
            trees,
            store,
            run,
            distfiles: Distfiles::new(state.distfiles(), config.portage.distfiles.clone()),
            base_sonames: Sonames::of_base(&planned.machine.base),
            work,
            logs: state.logs(),
            jobs: resources.jobs,
            tmpfs_bytes: resources.tmpfs_bytes,
            ccache: config.build.ccache.clone(),
            bounds: Bounds {
                time: config.build.timeout(),
                silence: config.build.silence(),
                log: config.build.log_bytes,
            },
            builder: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        };
        let finished = build_all(config, &workshop, &resources, rows, report)?;
        count(&finished, &mut summary);
    }
    summary.seconds = (start.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
    let text = serde_json::to_string(&summary)?;
    store.finish_run(run, now(), &text)?;
    Ok(summary)
}

struct Finished {
    rows: BTreeMap<BuildKey, JobRow>,
    interrupted: bool,
}

fn count(finished: &Finished, summary: &mut Summary) {
    for row in finished.rows.values() {
        match row.state.as_str() {
            "built" => summary.built += 1,
            "failed" => summary.failed += 1,
            "blocked" => summary.blocked += 1,
            "hit" | "unneeded" => {}
            _ => summary.dropped += 1,
        }
    }
    summary.interrupted = finished.interrupted;
}

fn first_rows(planned: &Planned) -> BTreeMap<BuildKey, JobRow> {
    planned
        .resolution
        .keyed()
        .map(|(index, keyed)| {
            let state = match planned.fate(index) {
                Fate::Hit => "hit",
                Fate::Build => "waiting",
                Fate::Unneeded | Fate::Installed => "unneeded",
            };
            let row = JobRow {
                key: keyed.key,
                package: keyed.spec.inputs.package.clone(),
                state: state.to_owned(),
                reason: String::new(),
                slot: None,
                started: None,
                log_path: None,
            };
            (keyed.key, row)
        })
        .collect()
}

fn build_all(
    config: &Config,
    workshop: &Workshop<'_>,
    resources: &resources::Resources,
    rows: BTreeMap<BuildKey, JobRow>,
    report: &mut Report,
) -> Result<Finished> {
    let by_key: BTreeMap<BuildKey, PackageIndex> =
        workshop.planned.resolution.keyed().map(|(index, keyed)| (keyed.key, index)).collect();
    let (sender, receiver) = channel();
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("signals cannot be caught")?;
    let handle = signals.handle();
    let for_signals = sender.clone();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for (number, _) in signals.forever().enumerate() {
                if number > 0 {
                    // Asked twice: the builds die with this process.
                    std::process::exit(130);
                }
                let _ = for_signals.send(Message::Interrupt);
            }
        });
        let mut events = Loop {
            scope,
            workshop,
            scheduler: Scheduler::new(Limits::STANDARD, Estimates::new(), Fence(1)),
            start: Instant::now(),
            running: BTreeMap::new(),
            by_key: &by_key,
            sender,
            report,
            rows,
            changed: Vec::new(),
            done: false,
            interrupted: false,
        };
        let result = events.run(config, resources, &receiver);
        handle.close();
        // Whatever still runs after an error must not outlive the loop.
        events.running.clear();
        result.map(|()| Finished { rows: events.rows, interrupted: events.interrupted })
    })
}

impl Loop<'_, '_> {
    fn now(&self) -> time::Instant {
        time::Instant::at(self.start.elapsed())
    }

    fn handle(&mut self, event: Event) -> Result<()> {
        self.scheduler
            .handle(self.now(), event)
            .map_err(|refusal| anyhow!("the scheduler refused: {refusal}"))
    }

    fn run(
        &mut self,
        config: &Config,
        resources: &resources::Resources,
        receiver: &Receiver<Message>,
    ) -> Result<()> {
        let offer = Offer {
            name: "local".to_owned(),
            slots: resources.slots,
            speed_permille: 1_000,
            tmpfs: resources.tmpfs_bytes > 0,
        };
        let jobs = self.requests()?;
        self.report.plan(jobs.len());
        self.handle(Event::Submit { plan: PLAN, keep_going: config.build.keep_going, jobs })?;
        self.handle(Event::DroneJoined { drone: LOCAL, offer })?;
        loop {
            while let Some(command) = self.scheduler.poll() {
                self.carry_out(command)?;
            }
            self.save()?;
            if self.done && self.running.is_empty() {
                return Ok(());
            }
            self.wait(receiver)?;
        }
    }

    fn wait(&mut self, receiver: &Receiver<Message>) -> Result<()> {
        self.report.status(self.scheduler.progress(self.now()));
        let until = self.scheduler.deadline().map(|(at, _)| at.since(self.now()));
        let redraw = self.report.is_live().then_some(REDRAW);
        let message = match [until, redraw].into_iter().flatten().min() {
            Some(timeout) => receiver.recv_timeout(timeout),
            None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match message {
            Ok(message) => self.take(message)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(anyhow!("the event channel closed")),
        }
        if self.scheduler.deadline().is_some_and(|(at, _)| at <= self.now()) {
            // An attempt of this process is alive as long as its thread is: its lease is renewed at no cost.
            for fence in self.running.keys().copied().collect::<Vec<_>>() {
                self.handle(Event::Heartbeat { drone: LOCAL, fence })?;
            }
            self.handle(Event::Wake)?;
        }
        Ok(())
    }

    fn take(&mut self, message: Message) -> Result<()> {
        match message {
            Message::Entered { fence, phase } => {
                if let Some(running) = self.running.get(&fence) {
                    self.report.phase(running.key, phase);
                }
                self.handle(Event::Progress { drone: LOCAL, fence, phase })
            }
            Message::Ended { fence, key, outcome } => {
                self.running.remove(&fence);
                self.handle(Event::Finished { drone: LOCAL, fence, key, outcome })
            }
            Message::Interrupt => {
                self.interrupted = true;
                self.report.interrupted();
                if self.done { Ok(()) } else { self.handle(Event::Cancel { plan: PLAN }) }
            }
        }
    }

    fn requests(&self) -> Result<Vec<JobRequest>> {
        let planned = self.workshop.planned;
        let resolution = &planned.resolution;
        let names: Vec<&str> =
            planned.demand.iter().map(|index| resolution.plan.package(*index).package.cp()).collect();
        let estimates = self.workshop.store.duration_estimates(&names)?;
        let goals = resolution.plan.requested();
        let mut requests = Vec::with_capacity(planned.demand.len());
        for index in &planned.demand {
            let Some(keyed) = &resolution.keyed[index.get()] else { continue };
            let waits_for = resolution
                .requirements
                .of(*index)
                .filter(|(need, _)| planned.fate(*need) == Fate::Build)
                .filter_map(|(need, _)| Some(resolution.keyed[need.get()].as_ref()?.key))
                .collect();
            let package = &resolution.plan.package(*index).package;
            requests.push(JobRequest {
                key: keyed.key,
                label: package.clone(),
                waits_for,
                estimate: estimates.get(package.cp()).map_or(UNKNOWN_BUILD, |ms| Duration::from_millis(*ms)),
                goal: goals.contains(index),
            });
        }
        Ok(requests)
    }

    fn carry_out(&mut self, command: Command) -> Result<()> {
        match command {
            Command::Start { slot, key, fence, attempt, workspace, .. } => {
                self.start(slot, key, fence, attempt, workspace)
            }
            Command::Kill { fence, .. } => {
                if let Some(canceller) = self.running.get_mut(&fence).and_then(|run| run.canceller.take()) {
                    canceller.cancel();
                }
                Ok(())
            }
            Command::JobStateChanged { key, state, reason } => {
                self.note(key, state, &reason);
                Ok(())
            }
            Command::PlanDone { .. } => {
                self.done = true;
                Ok(())
            }
        }
    }

    fn start(
        &mut self,
        slot: u32,
        key: BuildKey,
        fence: Fence,
        attempt: u32,
        workspace: Workspace,
    ) -> Result<()> {
        let index = *self.by_key.get(&key).context("the scheduler named a key that is not in the plan")?;
        let (canceller, cancellation) = cancellation().context("a build cannot be started")?;
        self.running.insert(fence, Running { key, canceller: Some(canceller) });
        let package = &self.workshop.planned.resolution.plan.package(index).package;
        let log = self.workshop.log_path(package);
        if let Some(row) = self.rows.get_mut(&key) {
            row.slot = Some(slot);
            row.started = Some(now());
            row.log_path = Some(log.display().to_string());
            self.changed.push(key);
        }
        self.report.started(key, package, slot, attempt);
        let (sender, workshop) = (self.sender.clone(), self.workshop);
        let order = Order { index, key, fence: fence.0, slot, workspace };
        self.scope.spawn(move || {
            let mut on_phase = |phase| {
                let _ = sender.send(Message::Entered { fence, phase });
            };
            let outcome = workshop.attempt(order, &cancellation, &mut on_phase);
            let _ = sender.send(Message::Ended { fence, key, outcome });
        });
        Ok(())
    }

    fn note(&mut self, key: BuildKey, state: JobState, reason: &Reason) {
        let Some(row) = self.rows.get_mut(&key) else { return };
        row.state = state.to_string();
        row.reason = in_words(reason);
        self.changed.push(key);
        self.report.state(key, &row.package, state, reason);
    }

    /// What changed since the last time, in one transaction.
    fn save(&mut self) -> Result<()> {
        self.changed.sort_unstable();
        self.changed.dedup();
        let rows: Vec<JobRow> =
            self.changed.drain(..).filter_map(|key| self.rows.get(&key).cloned()).collect();
        if !rows.is_empty() {
            let run: RunId = self.workshop.run;
            self.workshop.store.update_jobs(run, &rows)?;
        }
        Ok(())
    }
}
