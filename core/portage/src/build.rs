//! One build: one package, in a private root that holds the base and exactly its dependencies.
//!
//! What comes back is either a package file in our own form that is proven to be the planned one, or a
//! [`Failure`] that says whose fault it is.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use buildswarm_core::package::Cpv;
use buildswarm_core::scheduler::{FailureClass, Phase};
use buildswarm_core::spec::BuildInputs;

use crate::capture::{Configuration, Trees};
use crate::export::Node;
use crate::gpkg::{Limits, RepackOptions, Repacked};
use crate::machine::{DISTDIR, Machine};
use crate::root::{PrivateRoot, RootError, Scratch};

mod log;
mod packages;
mod process;
mod verdict;

pub use log::{LogEvent, LogLine};
pub use packages::DependencyPackage;
pub use process::{Cancellation, Canceller, cancellation};
pub use verdict::Sonames;

use process::{Ended, Limit};

const BUILD: &str = include_str!("build/build.sh");
const OUT: &str = "/run/buildswarm/out";
const PACKAGES: &str = "/run/buildswarm/packages";
const BUILD_PATH: &str = "/run/buildswarm/build.sh";

/// Bounds on one build.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Longest time from start to package.
    pub time: Duration,
    /// Longest time without a line of output.
    pub silence: Duration,
    /// Bytes of log kept; what comes after is counted and dropped.
    pub log: u64,
}

/// Everything one build needs.
#[derive(Debug)]
pub struct Build<'a> {
    /// The machine.
    pub machine: &'a Machine,
    /// Its captured configuration.
    pub configuration: &'a Configuration,
    /// The captured repositories.
    pub trees: &'a Trees,
    /// The package as Portage planned it.
    pub node: &'a Node,
    /// The same as hashed.
    pub inputs: &'a BuildInputs,
    /// What stands in the root beside the base, in the order of its installation.
    pub dependencies: &'a [DependencyPackage],
    /// Shared objects that the base has.
    pub base_sonames: &'a Sonames,
    /// A directory with the verified sources.
    pub distfiles: &'a Path,
    /// An existing empty directory for this build alone.
    pub work: &'a Path,
    /// Where what it writes goes.
    pub scratch: Scratch,
    /// Parallel jobs of make.
    pub jobs: usize,
    /// A directory for ccache, shared by all builds.
    pub ccache: Option<&'a Path>,
    /// Bounds.
    pub bounds: Bounds,
    /// `BUILD_TIME` of the package, in seconds since 1970.
    pub build_time: u64,
}

/// A package that is what was planned.
#[derive(Debug)]
pub struct Built {
    /// The package file, in our form, in the work directory.
    pub file: PathBuf,
    /// Its payload, metadata and size.
    pub repacked: Repacked,
}

/// Why there is no package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Whose fault.
    pub class: FailureClass,
    /// One or more lines for a person.
    pub message: String,
}

impl Failure {
    fn infrastructure(message: impl std::fmt::Display) -> Self {
        Self { class: FailureClass::Infrastructure, message: message.to_string() }
    }

    fn package(phase: Phase, message: String) -> Self {
        Self { class: FailureClass::Package { phase }, message }
    }
}

impl From<RootError> for Failure {
    fn from(error: RootError) -> Self {
        Self::infrastructure(error)
    }
}

fn io_failure(path: &Path) -> impl FnOnce(io::Error) -> Failure + use<> {
    let path = path.to_owned();
    move |error| {
        let class = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FailureClass::NoSpace,
            _ => FailureClass::Infrastructure,
        };
        Failure { class, message: format!("{}: {error}", path.display()) }
    }
}

impl Build<'_> {
    /// Runs the build, blocking this thread, which must live as long as the build does.
    ///
    /// Every line of its output goes to `log`.
    ///
    /// # Errors
    /// A [`Failure`].
    pub fn run(&self, cancel: &Cancellation, log: &mut dyn FnMut(LogEvent<'_>)) -> Result<Built, Failure> {
        let out = self.work.join("out");
        fs::create_dir_all(out.join("packages")).map_err(io_failure(&out))?;
        log(LogEvent::Phase(Phase::Root));
        let root = self.root(&out)?;
        let mut command = root.command("/bin/bash")?;
        self.set_environment(&mut command);
        command.arg(BUILD_PATH).arg(self.atom());
        command.args(self.dependencies.iter().map(DependencyPackage::atom));
        let mut reader = log::Reader::new(self.bounds.log);
        let limit = Limit { time: self.bounds.time, silence: self.bounds.silence };
        let ended = process::run(&mut command, cancel, limit, &mut |bytes| reader.read(bytes, log))
            .map_err(io_failure(Path::new("setpriv")))?;
        reader.finish(log);
        let step = fs::read_to_string(out.join("step")).unwrap_or_default();
        match ended {
            Ended::Exited(status) if status.success() => {}
            ended => return Err(self.failure(ended, step.trim(), &reader)),
        }
        log(LogEvent::Phase(Phase::Package));
        self.accept(&out)
    }

    fn atom(&self) -> String {
        format!("={}::{}", self.node.cpv, self.node.repo)
    }

    fn root(&self, out: &Path) -> Result<PrivateRoot, Failure> {
        // A copy for each build: installing a package may write there.
        let configuration = self.work.join("etc-portage");
        packages::copy_tree(self.configuration.directory(), &configuration)?;
        let packages = self.work.join("packages");
        packages::lay_out(self.dependencies, &packages)?;
        let script = self.work.join("build.sh");
        fs::write(&script, BUILD).map_err(io_failure(&script))?;
        let mut root = self
            .machine
            .root(self.work, self.scratch)?
            .with_writable(&configuration, Path::new("/etc/portage"))
            .with_read_only(self.distfiles, Path::new(DISTDIR))
            .with_read_only(&packages, Path::new(PACKAGES))
            .with_read_only(&script, Path::new(BUILD_PATH))
            .with_writable(out, Path::new(OUT));
        if let Some(ccache) = self.ccache {
            root = root.with_writable(ccache, Path::new("/var/cache/ccache"));
        }
        Ok(self.trees.show(root))
    }

    fn set_environment(&self, command: &mut std::process::Command) {
        self.machine.set_environment(command, self.configuration.repositories());
        command
            .env("FEATURES", format!("{} -distlocks buildpkg", self.machine.features()))
            .env("MAKEOPTS", format!("-j{}", self.jobs.min(self.wanted_jobs())))
            // These are no part of a key, so they must be no part of a build either.
            .env("MAKEFLAGS", "")
            .env("GNUMAKEFLAGS", "")
            .env("NINJAOPTS", "")
            .stdin(std::process::Stdio::null());
        if self.ccache.is_some() {
            command.env("CCACHE_DIR", "/var/cache/ccache");
        }
        // What stands for the planning machine's own processor must not be asked of this one.
        for (variable, native) in &self.node.native {
            if let Some(concrete) = &native.to {
                command.env(variable, concrete);
            }
        }
    }

    /// What the configuration allows this package: `MAKEOPTS="-j1"` in package.env is how people get along with
    /// builds that fail when parallel.
    fn wanted_jobs(&self) -> usize {
        let options = self.node.environment.get("MAKEOPTS").map_or("", String::as_str);
        let mut words = options.split_whitespace();
        while let Some(word) = words.next() {
            let value = match word.strip_prefix("-j").or_else(|| word.strip_prefix("--jobs=")) {
                Some("") => words.next(),
                value => value,
            };
            if let Some(jobs) = value.and_then(|value| value.parse::<usize>().ok()) {
                return jobs.max(1);
            }
        }
        usize::MAX
    }

    fn failure(&self, ended: Ended, step: &str, log: &log::Reader) -> Failure {
        let tail = log.tail();
        match ended {
            Ended::Cancelled => Failure { class: FailureClass::Killed, message: "cancelled".to_owned() },
            Ended::TooLong(what) => {
                Failure { class: FailureClass::Timeout, message: format!("{what}\n{tail}") }
            }
            Ended::Exited(status) if status.code() == Some(125) || step.is_empty() => {
                Failure::infrastructure(format!("{status}\n{tail}"))
            }
            Ended::Exited(_) if matches!(self.scratch, Scratch::Memory(_)) && log.ran_out_of_space() => {
                Failure { class: FailureClass::NoSpace, message: tail }
            }
            Ended::Exited(_) if log.ran_out_of_memory() => {
                Failure { class: FailureClass::OutOfMemory, message: tail }
            }
            Ended::Exited(_) if step == "install" => {
                Failure::infrastructure(format!("installing the dependencies failed\n{tail}"))
            }
            Ended::Exited(_) => Failure::package(log.phase(), tail),
        }
    }

    /// Takes the package the build left, if it is the planned one.
    fn accept(&self, out: &Path) -> Result<Built, Failure> {
        let source = packages::only_package(&out.join("packages"))
            .map_err(|message| Failure::package(Phase::Package, message))?;
        let file = self.work.join("package.gpkg.tar");
        let mut writer = io::BufWriter::new(fs::File::create(&file).map_err(io_failure(&file))?);
        let options = RepackOptions { build_id: 1, build_time: self.build_time, limits: Limits::STANDARD };
        let repacked = crate::gpkg::repack(&source, &mut writer, &options)
            .map_err(|error| Failure::package(Phase::Package, error.to_string()))?;
        io::Write::flush(&mut writer).map_err(io_failure(&file))?;
        let package = crate::gpkg::Gpkg::open(&file, &Limits::STANDARD)
            .map_err(|error| Failure::package(Phase::Package, error.to_string()))?;
        verdict::is_as_planned(self, &package, &repacked)
            .map_err(|message| Failure::package(Phase::Package, message))?;
        Ok(Built { file, repacked })
    }

    /// Packages that stand in the root only to build, not to run.
    fn runtime_dependencies(&self) -> impl Iterator<Item = &DependencyPackage> {
        self.dependencies.iter().filter(|dependency| dependency.at_run_time)
    }

    fn planned_use(&self) -> BTreeSet<&str> {
        self.node.use_flags.iter().map(String::as_str).collect()
    }

    fn package(&self) -> &Cpv {
        &self.inputs.package
    }
}
