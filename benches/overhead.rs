//! Question: how much longer does a package take through `build-swarm` than by `emerge --buildpkgonly` by hand?
//!
//! Peer and limit: the same emerge, in a private root with the same mounts, environment and number of make jobs,
//!       so that the figure is Portage's own time for the package.
//! Goal: less than 5 % more per package; and a plan of which everything is a hit takes little more than
//!       Portage's own resolving.
//! Run:  cargo bench -p buildswarm-benches --bench overhead
//!
//! Five packages of the demo world without dependencies in it, each by hand and into a fresh state, alternating.
//! Ours is from the start of the attempt to the artifact in the store; planning comes once a run and is shown
//! apart. "Outside Portage" is what of ours lies before and after Portage's run, which a busy machine disturbs
//! less than the difference of two long times. `BUILDSWARM_BENCH_ROUNDS` changes the number of rounds. Takes about ten minutes.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use buildswarm_benches::{Row, measure, median, shown, timed, verdict};
use buildswarm_portage::capture::Configuration;
use buildswarm_portage::machine::Machine;
use buildswarm_portage::resolve::{self, Request};
use buildswarm_portage::root::{self, Scratch};

/// Built by itself, each needs nothing but the base.
const PACKAGES: [&str; 5] = [
    "=sys-libs/zlib-1.2.13",
    "=dev-util/byacc-20221106",
    "=app-misc/figlet-2.2.5",
    "=app-arch/lz4-1.9.4",
    "=dev-lang/lua-5.4.4",
];
const ROUNDS: usize = 5;
const JOBS: &str = "2";
/// As much as `build-swarm` gives a build at most on a small machine.
const SCRATCH: Scratch = Scratch::Memory(2 << 30);

/// One package through `build-swarm`.
struct Ours {
    /// Until the attempt starts.
    planning: Duration,
    /// From its start to the artifact in the store.
    attempt: Duration,
    /// What of it is before and after Portage's run.
    outside: Duration,
}

struct World {
    directory: tempfile::TempDir,
    machine: Machine,
    configuration: Configuration,
    distfiles: PathBuf,
    build_swarm: PathBuf,
    atoms: Vec<String>,
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl World {
    fn new() -> Self {
        let repository =
            fs::canonicalize(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).expect("the repository");
        let target = fs::canonicalize(Path::new(env!("CARGO_TARGET_TMPDIR")).join("..")).expect("target");
        let (world, ready) = (repository.join("tests/world"), target.join("world"));
        succeed(Command::new(world.join("setup")).arg(&ready));
        let cargo = ["build", "--release", "--quiet", "--package", "buildswarm"];
        succeed(Command::new(env!("CARGO")).args(cargo).current_dir(&repository));

        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
        let config_root = directory.path().join("config");
        let etc = config_root.join("etc");
        fs::create_dir_all(&etc).expect("a directory");
        succeed(Command::new("cp").arg("-R").arg(world.join("etc-portage")).arg(etc.join("portage")));
        let overlay = world.join("overlay");
        let profile = overlay.join("profiles/default/linux/amd64");
        std::os::unix::fs::symlink(profile, etc.join("portage/make.profile")).expect("a link");
        let repositories =
            format!("[DEFAULT]\nmain-repo = swarmworld\n[swarmworld]\nlocation = {}\n", overlay.display());
        fs::write(etc.join("portage/repos.conf"), repositories).expect("a file");
        let portage = Some(ready.join("portage")).filter(|portage| portage.is_dir());
        let machine = Machine {
            config_root,
            base: PathBuf::from("/"),
            portage,
            tools: vec![ready.join("tools")],
            rights: root::probe().expect("the right to make private roots"),
        };
        let captured = directory.path().join("captured");
        let configuration =
            Configuration::capture(&machine.config_root, &machine.base, &captured).expect("a configuration");
        let text = fs::read_to_string(world.join("demo.atoms")).expect("the demo's atoms");
        let atoms = text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
        Self {
            directory,
            machine,
            configuration,
            distfiles: ready.join("distfiles"),
            build_swarm: target.join("release/build-swarm"),
            atoms,
        }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.directory.path().join(below)
    }

    /// By hand: emerge's own time.
    fn by_hand(&self, atom: &str) -> Duration {
        let work = self.path("by-hand");
        let packages = work.join("packages");
        fs::create_dir_all(&packages).expect("a directory");
        let root = self.machine.root(&work, SCRATCH).expect("a root");
        let root = self
            .configuration
            .show_live(root)
            .with_read_only(&self.distfiles, Path::new("/var/cache/distfiles"))
            .with_writable(&packages, Path::new("/run/packages"));
        let mut command = root.command("emerge").expect("a root");
        self.machine.set_environment(&mut command, self.configuration.repositories());
        command
            .env("FEATURES", format!("{} -distlocks buildpkg", self.machine.features()))
            .env("MAKEOPTS", format!("-j{JOBS}"))
            .env("PKGDIR", "/run/packages")
            .args(["--oneshot", "--nodeps", "--buildpkgonly", "--color=n", "--quiet-build=n"])
            .args(["--ignore-default-opts", "--", atom])
            .stdin(Stdio::null());
        let time = timed(|| succeed(&mut command)).1;
        fs::remove_dir_all(&work).expect("a directory to remove");
        time
    }

    fn command(&self, state: &Path) -> Command {
        let mut command = Command::new(&self.build_swarm);
        command.env_remove("BUILDSWARM_CONFIG").arg("--state").arg(state);
        command.arg("--config-root").arg(&self.machine.config_root);
        command.arg("--distfiles").arg(&self.distfiles);
        if let Some(prefix) = &self.machine.portage {
            command.arg("--portage").arg(prefix);
        }
        for prefix in &self.machine.tools {
            command.arg("--tools").arg(prefix);
        }
        command.stdin(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Through `build-swarm`, from the events it prints.
    fn ours(&self, atom: &str) -> Ours {
        let state = self.path("fresh");
        let config = self.path("jobs.toml");
        fs::write(&config, format!("[build]\nslots = 1\njobs = {JOBS}\n")).expect("a file");
        let mut command = self.command(&state);
        command.arg("--config").arg(config).args(["build", "--json", atom]).stdout(Stdio::piped());
        let start = Instant::now();
        let mut child = command.spawn().expect("build-swarm");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let (mut planning, mut root, mut ended, mut built) = Default::default();
        for line in lines {
            let line: serde_json::Value =
                serde_json::from_str(&line.expect("a line")).expect("a JSON object a line");
            let place: &mut Duration = match (line["event"].as_str(), &line["phase"], &line["state"]) {
                (Some("started"), ..) => &mut planning,
                (Some("phase"), phase, _) if phase == "root" => &mut root,
                // Said by Portage, and once more when Portage has ended: the last one counts.
                (Some("phase"), phase, _) if phase == "package" => &mut ended,
                (Some("state"), _, state) if state == "built" => &mut built,
                _ => continue,
            };
            *place = start.elapsed();
        }
        assert!(child.wait().expect("build-swarm").success(), "{atom} was not built");
        fs::remove_dir_all(state).expect("a directory to remove");
        Ours { planning, attempt: built - planning, outside: (root - planning) + (built - ended) }
    }
}

/// All of the demo when everything is a hit, against Portage's resolving alone.
fn no_op(world: &World, rounds: usize) {
    let state = world.path("state");
    let build = || succeed(world.command(&state).args(["build", "--quiet"]).args(&world.atoms));
    println!("\nall {} atoms of the demo; building them once…", world.atoms.len());
    println!("took {}", shown(timed(build).1));
    let request = Request { arguments: world.atoms.clone(), options: Vec::new() };
    let (cache, work) = (state.join("metadata"), world.path("resolve"));
    let medians = measure(
        rounds,
        vec![
            Row::timed("ours: build, everything a hit", build),
            Row::timed("limit: Portage's resolving alone", || {
                resolve::export(&world.machine, &world.configuration, &request, &cache, &work)
                    .expect("a plan")
            }),
        ],
    );
    println!("no-op / resolving = {:.2}", medians[0].as_secs_f64() / medians[1].as_secs_f64());
}

fn main() {
    let rounds = std::env::var("BUILDSWARM_BENCH_ROUNDS").ok().and_then(|text| text.parse().ok());
    let rounds = rounds.unwrap_or(ROUNDS);
    let world = World::new();
    // What is slow only the first time is nobody's overhead.
    world.by_hand(PACKAGES[0]);
    let mut times: Vec<(Vec<Duration>, Vec<Ours>)> = PACKAGES.iter().map(|_| Default::default()).collect();
    for _ in 0..rounds {
        for (atom, times) in PACKAGES.iter().zip(&mut times) {
            times.0.push(world.by_hand(atom));
            times.1.push(world.ours(atom));
        }
    }
    println!(
        "{:26}  {:>10}  {:>10}  {:>9}  {:>15}  {:>10}",
        "", "by hand", "ours", "overhead", "outside Portage", "planning"
    );
    let mut sums = (Duration::ZERO, Duration::ZERO);
    for (atom, (by_hand, ours)) in PACKAGES.iter().zip(&times) {
        let of = |part: fn(&Ours) -> Duration| median(&ours.iter().map(part).collect::<Vec<_>>());
        let (by_hand, attempt) = (median(by_hand), of(|ours| ours.attempt));
        let percent = (attempt.as_secs_f64() / by_hand.as_secs_f64() - 1.0) * 100.0;
        let (outside, planning) = (of(|ours| ours.outside), of(|ours| ours.planning));
        println!(
            "{atom:26}  {:>10}  {:>10}  {percent:>8.1}%  {:>15}  {:>10}",
            shown(by_hand),
            shown(attempt),
            shown(outside),
            shown(planning)
        );
        sums = (sums.0 + by_hand, sums.1 + attempt);
    }
    no_op(&world, rounds);
    verdict(sums.1, sums.0, "less than 1.05");
}
