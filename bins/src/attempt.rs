//! One try at one build on this machine, from its sources to its artifact in the store.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use buildswarm_core::artifact::{Artifact, BlobRef};
use buildswarm_core::package::Cpv;
use buildswarm_core::plan::{Origin, PackageIndex};
use buildswarm_core::scheduler::{FailureClass, Phase, Workspace};
use buildswarm_core::spec::BuildSpec;
use buildswarm_core::time::UnixSeconds;
use buildswarm_core::{BuildKey, ReuseKey, address};
use buildswarm_portage::build::{
    Bounds, Build, Built, Cancellation, DependencyPackage, Failure, LogEvent, Sonames,
};
use buildswarm_portage::capture::Trees;
use buildswarm_portage::distfiles::Distfiles;
use buildswarm_portage::root::Scratch;
use buildswarm_store::{Attempt as AttemptRow, Committed, Error as StoreError, RunId, Store};

use crate::planning::Planned;

/// Level at which logs are kept: they are read rarely and compress twentyfold.
const LOG_ZSTD_LEVEL: i32 = 9;

/// What all attempts of a run share.
#[derive(Debug)]
pub(crate) struct Workshop<'a> {
    pub(crate) planned: &'a Planned,
    pub(crate) trees: &'a Trees,
    pub(crate) store: &'a Store,
    pub(crate) run: RunId,
    pub(crate) distfiles: Distfiles,
    pub(crate) base_sonames: Sonames,
    pub(crate) work: &'a Path,
    pub(crate) logs: PathBuf,
    pub(crate) jobs: usize,
    pub(crate) tmpfs_bytes: u64,
    pub(crate) ccache: Option<PathBuf>,
    pub(crate) bounds: Bounds,
    pub(crate) builder: String,
}

/// What is to be tried.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) index: PackageIndex,
    /// The job's.
    pub(crate) key: BuildKey,
    /// What is built, against what stands for the dependencies.
    pub(crate) spec: BuildSpec,
    /// Under which other keys it can be found.
    pub(crate) reuse: Vec<ReuseKey>,
    /// Which artifact stands for each package, by position.
    pub(crate) dependencies: Vec<Option<BuildKey>>,
    /// Whether the key is to resolve to what is built; else it is only there to be compared.
    pub(crate) commits: bool,
    pub(crate) fence: u64,
    pub(crate) slot: u32,
    pub(crate) workspace: Workspace,
}

pub(crate) fn now() -> UnixSeconds {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    UnixSeconds(since.as_secs())
}

/// Whatever goes wrong with a file or the store, the package is not to blame.
fn infrastructure(error: impl std::fmt::Display) -> Failure {
    Failure { class: FailureClass::Infrastructure, message: error.to_string() }
}

fn storing(error: StoreError) -> Failure {
    let class = match &error {
        StoreError::NoSpace { .. } => FailureClass::NoSpace,
        _ => FailureClass::Infrastructure,
    };
    Failure { class, message: format!("the artifact could not be stored: {error}") }
}

impl Workshop<'_> {
    /// The live log of a package.
    pub(crate) fn log_path(&self, package: &Cpv) -> PathBuf {
        self.logs.join(package.category()).join(format!("{}.log", package.pf()))
    }

    /// Tries, and records what came of it. Blocks; the thread must live as long as this does.
    pub(crate) fn attempt(
        &self,
        order: &Order,
        cancel: &Cancellation,
        on_phase: &mut dyn FnMut(Phase),
    ) -> Result<Artifact, Failure> {
        let started = (now(), Instant::now());
        let package = &self.planned.resolution.plan.package(order.index).package;
        let work = self.work.join(format!("attempt-{}", order.fence));
        let path = self.log_path(package);
        let mut phase = Phase::Fetch;
        let result = Log::create(&path).map_err(infrastructure).and_then(|mut log| {
            let result = self.build(order, cancel, &work, &mut log, &mut |now| {
                phase = now;
                on_phase(now);
            });
            if let Err(failure) = &result {
                log.line(format!("buildswarm: {}: {}", failure.class, failure.message).as_bytes());
            }
            result
        });
        let _ = fs::remove_dir_all(&work);
        self.record(order, package, started, &path, phase, &result);
        result.map_err(|Failure { class, message }| {
            let message = format!("{message}\nthe whole log: {}", path.display());
            Failure { class, message }
        })
    }

    fn build(
        &self,
        order: &Order,
        cancel: &Cancellation,
        work: &Path,
        log: &mut Log,
        on_phase: &mut dyn FnMut(Phase),
    ) -> Result<Artifact, Failure> {
        let started = Instant::now();
        let inputs = &order.spec.inputs;
        let node = self.planned.resolution.node(order.index);
        fs::create_dir_all(work).map_err(infrastructure)?;
        on_phase(Phase::Fetch);
        let fetch = work.join("fetch");
        self.distfiles
            .fetch(
                &self.planned.machine,
                &self.planned.configuration,
                self.trees,
                node,
                &inputs.distfiles,
                &fetch,
            )
            .map_err(|error| Failure { class: FailureClass::Fetch, message: error.to_string() })?;
        let dependencies = self.dependencies(order, work)?;
        let build_time = now();
        let build = Build {
            machine: &self.planned.machine,
            configuration: &self.planned.configuration,
            trees: self.trees,
            node,
            inputs,
            dependencies: &dependencies,
            base_sonames: &self.base_sonames,
            distfiles: self.distfiles.directory(),
            work,
            scratch: match order.workspace {
                Workspace::Tmpfs => Scratch::Memory(self.tmpfs_bytes),
                Workspace::Disk => Scratch::Disk,
            },
            jobs: self.jobs,
            ccache: self.ccache.as_deref(),
            bounds: self.bounds,
            build_time: build_time.0,
        };
        let built = build.run(cancel, &mut |event| match event {
            LogEvent::Line(line) => log.line(line),
            LogEvent::Phase(phase) => on_phase(phase),
        })?;
        on_phase(Phase::Upload);
        self.keep(order, built, build_time, started, log)
    }

    /// What to install into the root, from the store.
    fn dependencies(&self, order: &Order, work: &Path) -> Result<Vec<DependencyPackage>, Failure> {
        let resolution = &self.planned.resolution;
        let plan = &resolution.plan;
        let run_time: BTreeSet<PackageIndex> = plan.run_time_closure([order.index]).into_iter().collect();
        let mut packages = Vec::new();
        for need in resolution.requirements.installation_order(plan, order.index) {
            if plan.package(need).origin != Origin::Build {
                continue;
            }
            let package = &plan.package(need).package;
            let missing = || infrastructure(format!("{package} is not there, though it was built"));
            let key = order.dependencies[need.get()].ok_or_else(missing)?;
            // Trying again would find the same; planning again builds it again.
            let lost = || Failure {
                class: FailureClass::InputsChanged,
                message: format!("the artifact of {package} is damaged or gone; run the same command again"),
            };
            let artifact = self.store.artifact(key).map_err(infrastructure)?.ok_or_else(lost)?;
            packages.push(DependencyPackage {
                package: package.clone(),
                repository: artifact.repository.clone(),
                file: self.package_file(artifact.file, work)?.ok_or_else(lost)?,
                metadata: artifact.metadata,
                at_run_time: run_time.contains(&need),
            });
        }
        Ok(packages)
    }

    /// A path to verified bytes; `None` if they are damaged or gone.
    fn package_file(&self, blob: BlobRef, work: &Path) -> Result<Option<PathBuf>, Failure> {
        match self.store.verified_path(blob.id) {
            Ok(Some(path)) => return Ok(Some(path)),
            Ok(None) => {}
            Err(StoreError::BlobMissing { .. } | StoreError::BlobDamaged { .. }) => return Ok(None),
            Err(error) => return Err(infrastructure(error)),
        }
        // Small ones are kept inside the index and have no path of their own.
        let bytes = match self.store.read_blob(blob.id, blob.size) {
            Ok(bytes) => bytes,
            Err(StoreError::BlobMissing { .. } | StoreError::BlobDamaged { .. }) => return Ok(None),
            Err(error) => return Err(infrastructure(error)),
        };
        let path = work.join(format!("{}.gpkg.tar", blob.id));
        fs::write(&path, bytes).map_err(infrastructure)?;
        Ok(Some(path))
    }

    /// Stores what was built; returns what its key resolves to now, which another may have built before.
    fn keep(
        &self,
        order: &Order,
        built: Built,
        build_time: UnixSeconds,
        started: Instant,
        log: &mut Log,
    ) -> Result<Artifact, Failure> {
        let inputs = &order.spec.inputs;
        let file = self.store.put_file(&built.file).map_err(storing)?;
        let artifact = Artifact {
            key: address::exact_key(&order.spec),
            package: inputs.package.clone(),
            slot: inputs.slot.clone(),
            repository: inputs.repository.clone(),
            file,
            log: self.put_log(&log.path)?,
            preimage: self.store.put_bytes(&order.spec.encode()).map_err(storing)?,
            payload: built.repacked.payload.digest,
            interface: built.repacked.interface.digest(),
            installed_size: built.repacked.payload.installed_size,
            build_millis: millis(started),
            built_at: build_time,
            builder: self.builder.clone(),
            metadata: built.repacked.metadata,
        };
        if !order.commits {
            return Ok(artifact);
        }
        match self.store.commit_artifact(&artifact, &order.reuse).map_err(storing)? {
            Committed::First => Ok(artifact),
            Committed::AlreadyThere => {
                let earlier = self.store.artifact(artifact.key).map_err(infrastructure)?;
                earlier.ok_or_else(|| infrastructure("an earlier build was there, and is gone"))
            }
        }
    }

    fn put_log(&self, path: &Path) -> Result<BlobRef, Failure> {
        let file = File::open(path).map_err(infrastructure)?;
        let reader = zstd::stream::read::Encoder::new(io::BufReader::new(file), LOG_ZSTD_LEVEL)
            .map_err(infrastructure)?;
        self.store.put(reader).map_err(storing)
    }

    /// Keeps what became of an attempt. That this fails is no reason to fail a build.
    fn record(
        &self,
        order: &Order,
        package: &Cpv,
        (started, clock): (UnixSeconds, Instant),
        log: &Path,
        phase: Phase,
        result: &Result<Artifact, Failure>,
    ) {
        let (outcome, class, message) = match result {
            Ok(_) => ("built", None, String::new()),
            Err(Failure { class: FailureClass::Killed, message }) => {
                ("killed", Some(FailureClass::Killed), message.clone())
            }
            Err(Failure { class, message }) => ("failed", Some(*class), message.clone()),
        };
        let row = AttemptRow {
            run: self.run,
            key: order.key,
            package: package.clone(),
            slot: order.slot,
            started,
            finished: now(),
            duration_millis: millis(clock),
            outcome: outcome.to_owned(),
            failure_class: class.map(|class| class.to_string()),
            phase: Some(phase.to_string()),
            message,
            log: self.put_log(log).ok(),
        };
        if let Err(error) = self.store.record_attempt(&row) {
            eprintln!("build-swarm: the attempt at {package} could not be recorded: {error}");
        }
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// A log that others can read while it is written.
struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    fn create(path: &Path) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        Ok(Self { path: path.to_owned(), file: File::create(path)? })
    }

    /// A log that cannot be written must not end a build that goes well.
    fn line(&mut self, line: &[u8]) {
        let _ = self.file.write_all(&[line, b"\n"].concat());
    }
}
