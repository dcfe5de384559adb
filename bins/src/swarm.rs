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
use buildswarm_core::artifact::Artifact;
use buildswarm_core::plan::PackageIndex;
use buildswarm_core::policy::Policy;
use buildswarm_core::scheduler::{
    Command, DroneId, Estimates, Event, Fence, JobRequest, JobState, Limits, Offer, Outcome, Phase, PlanId,
    Question, Reason, Scheduler, Workspace,
};
use buildswarm_core::spec::BuildSpec;
use buildswarm_core::{BuildKey, address, time};
use buildswarm_portage::build::{Bounds, Canceller, Failure, Sonames, cancellation};
use buildswarm_portage::capture::Trees;
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
    /// Not built because an earlier build stands for them.
    pub reused: usize,
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
    Ended { fence: Fence, key: BuildKey, result: Result<Box<Artifact>, Failure> },
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
    /// Jobs are named by the planned key, whatever the artifact's turns out to be.
    by_key: &'env BTreeMap<BuildKey, PackageIndex>,
    /// What stands for each package, by position.
    standing: Vec<Option<Artifact>>,
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
    begins: &Run,
    start: Instant,
    report: &mut Report,
) -> Result<Summary> {
    let Local { config, store, .. } = local;
    let run = store.begin_run(begins)?;
    let rows = first_rows(planned);
    store.update_jobs(run, &rows.values().cloned().collect::<Vec<_>>())?;
    let mut summary = Summary {
        packages: rows.len(),
        hits: rows.values().filter(|row| row.state == "hit").count(),
        reused: rows.values().filter(|row| row.state == "reused").count(),
        unneeded: rows.values().filter(|row| row.state == "unneeded").count(),
        ..Summary::default()
    };
    if let (Some(trees), false) = (&planned.trees, planned.demand.is_empty()) {
        let resources = resources::Resources::of(&config.build);
        let workshop = workshop(local, planned, trees, run, &resources);
        let finished = build_all(config, &workshop, &resources, rows, report)?;
        count(&finished, &mut summary);
    }
    summary.seconds = (start.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
    let text = serde_json::to_string(&summary)?;
    store.finish_run(run, now(), &text)?;
    Ok(summary)
}

fn workshop<'a>(
    local: Local<'a>,
    planned: &'a Planned,
    trees: &'a Trees,
    run: RunId,
    resources: &resources::Resources,
) -> Workshop<'a> {
    let Local { config, state, store, work } = local;
    Workshop {
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
    }
}

/// Builds packages anew that are there, one after the other, to compare them with what is there; `done` is told of
/// each. What they require must be there.
///
/// # Errors
/// What keeps a run from starting, and what `done` returns; failed builds are handed to it.
pub(crate) fn rebuild(
    local: Local<'_>,
    planned: &Planned,
    packages: &[PackageIndex],
    begins: &Run,
    mut done: impl FnMut(PackageIndex, Result<Artifact, Failure>) -> Result<()>,
) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let trees = planned.trees.as_ref().context("a plan of hits was made without its repositories")?;
    let standing = planned.planned_artifacts(local.store)?;
    let run = local.store.begin_run(begins)?;
    let mut resources = resources::Resources::of(&local.config.build);
    // They run alone.
    resources.jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let workshop = workshop(local, planned, trees, run, &resources);
    for (number, index) in packages.iter().enumerate() {
        let key = |at: PackageIndex| Some(standing[at.get()].as_ref()?.key);
        let spec = planned.resolution.exact_spec(*index, key);
        let order = Order {
            index: *index,
            key: planned.resolution.keys.of(*index).context("what stands in the build root is not built")?,
            spec: spec.context("what a package is built with is not there")?,
            reuse: Vec::new(),
            dependencies: standing.iter().map(|artifact| Some(artifact.as_ref()?.key)).collect(),
            commits: false,
            fence: number as u64 + 1,
            slot: 0,
            workspace: Workspace::Disk,
        };
        // Nobody cancels it: an interrupt ends this process, and its builds die with it.
        let (_canceller, cancellation) = cancellation().context("a build cannot be started")?;
        done(*index, workshop.attempt(&order, &cancellation, &mut |_| {}))?;
    }
    local.store.finish_run(run, now(), "{}")?;
    Ok(())
}

struct Finished {
    rows: BTreeMap<BuildKey, JobRow>,
    interrupted: bool,
}

fn count(finished: &Finished, summary: &mut Summary) {
    summary.reused = 0;
    for row in finished.rows.values() {
        match row.state.as_str() {
            "built" => summary.built += 1,
            "failed" => summary.failed += 1,
            "blocked" => summary.blocked += 1,
            "reused" => summary.reused += 1,
            "hit" | "unneeded" => {}
            _ => summary.dropped += 1,
        }
    }
    summary.interrupted = finished.interrupted;
}

fn first_rows(planned: &Planned) -> BTreeMap<BuildKey, JobRow> {
    let row = |(index, key): (PackageIndex, BuildKey)| {
        let state = match planned.fate(index) {
            Fate::Hit => "hit",
            Fate::Reuse => "reused",
            Fate::Build | Fate::Undecided => "waiting",
            Fate::Unneeded | Fate::Installed => "unneeded",
        };
        let row = JobRow {
            key,
            package: planned.resolution.plan.package(index).package.clone(),
            state: state.to_owned(),
            reason: String::new(),
            slot: None,
            started: None,
            log_path: None,
            artifact: planned.standing[index.get()].as_ref().map(|artifact| artifact.key),
        };
        (key, row)
    };
    planned.resolution.keyed().map(row).collect()
}

fn build_all(
    config: &Config,
    workshop: &Workshop<'_>,
    resources: &resources::Resources,
    rows: BTreeMap<BuildKey, JobRow>,
    report: &mut Report,
) -> Result<Finished> {
    let by_key: BTreeMap<BuildKey, PackageIndex> =
        workshop.planned.resolution.keyed().map(|(index, key)| (key, index)).collect();
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
            standing: workshop.planned.standing.clone(),
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
            Message::Ended { fence, key, result } => {
                self.running.remove(&fence);
                let outcome = match result {
                    Ok(artifact) => {
                        self.stands(key, *artifact)?;
                        Outcome::Built
                    }
                    Err(Failure { class, message }) => Outcome::Failed { class, message },
                };
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
            let Some(key) = resolution.keys.of(*index) else { continue };
            let waits_for = resolution
                .requirements
                .of(*index)
                .iter()
                .filter(|need| planned.is_demanded(need.package))
                .filter_map(|need| resolution.keys.of(need.package))
                .collect();
            let package = &resolution.plan.package(*index).package;
            requests.push(JobRequest {
                key,
                label: package.clone(),
                waits_for,
                estimate: estimates.get(package.cp()).map_or(UNKNOWN_BUILD, |ms| Duration::from_millis(*ms)),
                goal: goals.contains(index),
                resolve: planned.policy != Policy::Exact,
            });
        }
        Ok(requests)
    }

    /// The package a job is about.
    fn index(&self, key: BuildKey) -> Result<PackageIndex> {
        self.by_key.get(&key).copied().context("the scheduler named a key that is not in the plan")
    }

    /// From now on this artifact stands for the package of a job.
    fn stands(&mut self, key: BuildKey, artifact: Artifact) -> Result<()> {
        let index = self.index(key)?;
        if let Some(row) = self.rows.get_mut(&key) {
            row.artifact = Some(artifact.key);
            self.changed.push(key);
        }
        self.standing[index.get()] = Some(artifact);
        Ok(())
    }

    /// What is to be built for a package, given what its dependencies came to.
    fn spec(&self, index: PackageIndex) -> Result<BuildSpec> {
        let key = |dependency: PackageIndex| Some(self.standing[dependency.get()].as_ref()?.key);
        let spec = self.workshop.planned.resolution.exact_spec(index, key);
        spec.context("a dependency is not there, though it was built")
    }

    /// Looks whether a package has to be built, now that everything it depends on is there.
    fn resolve(&mut self, key: BuildKey, question: Question) -> Result<()> {
        let index = self.index(key)?;
        let (planned, store) = (self.workshop.planned, self.workshop.store);
        let mut found = store.artifact(address::exact_key(&self.spec(index)?))?;
        if found.is_none()
            && let Some(spec) = planned.reuse_spec(index, planned.policy, &self.standing)
        {
            let reuse = address::reuse_key(&spec);
            found = store.reused(&[reuse])?.remove(&reuse);
        }
        let is_found = found.is_some();
        if let Some(artifact) = found {
            self.stands(key, artifact)?;
        }
        self.handle(Event::Resolved { key, question, found: is_found })
    }

    fn carry_out(&mut self, command: Command) -> Result<()> {
        match command {
            Command::Start { slot, key, fence, attempt, workspace, .. } => {
                self.start(slot, key, fence, attempt, workspace)
            }
            Command::Resolve { key, question } => self.resolve(key, question),
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
        let index = self.index(key)?;
        let order = Order {
            index,
            fence: fence.0,
            slot,
            workspace,
            key,
            reuse: self.workshop.planned.reuse_keys(index, &self.standing),
            dependencies: self.standing.iter().map(|artifact| Some(artifact.as_ref()?.key)).collect(),
            spec: self.spec(index)?,
            commits: true,
        };
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
        self.scope.spawn(move || {
            let mut on_phase = |phase| {
                let _ = sender.send(Message::Entered { fence, phase });
            };
            let result = workshop.attempt(&order, &cancellation, &mut on_phase).map(Box::new);
            let _ = sender.send(Message::Ended { fence, key, result });
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
