//! The harness: a world (configuration, repository, state) for each test, and running `build-swarm` in it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tempfile::TempDir;

/// The program under test.
pub(crate) const BUILD_SWARM: &str = env!("CARGO_BIN_EXE_build-swarm");

/// What the prepared state holds: the packages of [`tiny`](super::tiny), and two of real Python.
pub(crate) const PREPARED: [&str; 6] = [
    "tiny-apps/reader",
    "tiny-apps/leaf",
    "tiny-apps/other",
    "tiny-apps/patched",
    "tiny-apps/target",
    "dev-python/tabulate",
];

/// The packages that [`PREPARED`] leads to.
pub(crate) const PREPARED_PACKAGES: [&str; 8] = [
    "dev-python/tabulate-0.9.0",
    "dev-python/wcwidth-0.2.13",
    "tiny-apps/leaf-1",
    "tiny-apps/other-1",
    "tiny-apps/patched-1",
    "tiny-apps/reader-1",
    "tiny-apps/target-1",
    "tiny-libs/note-1",
];

fn repository() -> PathBuf {
    fs::canonicalize(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/world")).unwrap()
}

/// Portage, tools and sources, made by `tests/world/setup` unless they are there.
pub(crate) fn setup() -> &'static Path {
    static SETUP: OnceLock<PathBuf> = OnceLock::new();
    SETUP.get_or_init(|| {
        let target = fs::canonicalize(Path::new(env!("CARGO_TARGET_TMPDIR")).join("..")).unwrap();
        let directory = target.join("world");
        let output = Command::new(repository().join("setup")).arg(&directory).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tests/world/setup {}: {errors}", directory.display());
        fs::canonicalize(directory).unwrap()
    })
}

/// Where this process keeps its worlds. A child removes it when this process is gone, however that happens.
pub(crate) fn worlds() -> &'static Path {
    static WORLDS: OnceLock<(PathBuf, Child)> = OnceLock::new();
    let (path, _) = WORLDS.get_or_init(|| {
        let name = format!("cli-{}", std::process::id());
        let path = fs::canonicalize(env!("CARGO_TARGET_TMPDIR")).unwrap().join(name);
        fs::create_dir_all(&path).unwrap();
        // The other end of its input closes with this process.
        let remove = "trap '' INT HUP TERM; cat; rm -rf -- \"$1\"";
        let mut command = Command::new("/bin/sh");
        command.args(["-c", remove, "sh"]).arg(&path).stdin(Stdio::piped()).stdout(Stdio::null());
        let cleaner = command.spawn().unwrap();
        (path, cleaner)
    });
    path
}

/// Everything a machine has: its own configuration, repository and state.
#[derive(Debug)]
pub(crate) struct World {
    directory: TempDir,
}

impl World {
    /// A world in which nothing was built.
    pub(crate) fn new() -> Self {
        let setup = setup();
        let directory = tempfile::tempdir_in(worlds()).unwrap();
        let world = Self { directory };
        copy(&repository().join("overlay"), &world.overlay());
        fs::create_dir_all(world.path("config/etc")).unwrap();
        copy(&repository().join("etc-portage"), &world.path("config/etc/portage"));
        symlink(
            world.overlay().join("profiles/default/linux/amd64"),
            world.path("config/etc/portage/make.profile"),
        )
        .unwrap();
        world.write_repositories();
        super::tiny::add_to(&world);
        let portage = setup.join("portage");
        let prefix = if portage.is_dir() { format!("prefix = {portage:?}\n") } else { String::new() };
        let (tools, distfiles) = (setup.join("tools"), setup.join("distfiles"));
        let text = format!(
            "state = \"state\"\n[portage]\nconfig-root = \"config\"\n{prefix}tools = [{tools:?}]\n\
             distfiles = [{distfiles:?}]\n[build]\nslots = 2\n"
        );
        fs::write(world.path("swarmd.toml"), text).unwrap();
        world
    }

    /// A world in which [`PREPARED`] is built.
    pub(crate) fn prepared() -> Self {
        static PREPARATION: OnceLock<World> = OnceLock::new();
        let prepared = PREPARATION.get_or_init(|| {
            let world = Self::new();
            let summary = world.build(&PREPARED);
            assert_eq!(summary["built"], PREPARED_PACKAGES.len(), "{summary}");
            world
        });
        let world = Self::new();
        copy(&prepared.state(), &world.state());
        world
    }

    /// A path below the world's directory.
    pub(crate) fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(below)
    }

    pub(crate) fn overlay(&self) -> PathBuf {
        self.path("overlay")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// `etc/portage` and below.
    pub(crate) fn etc(&self, below: impl AsRef<Path>) -> PathBuf {
        self.path("config/etc/portage").join(below)
    }

    fn write_repositories(&self) {
        let text = format!(
            "[DEFAULT]\nmain-repo = swarmworld\n\n[swarmworld]\nlocation = {}\n",
            self.overlay().display()
        );
        fs::write(self.etc("repos.conf"), text).unwrap();
    }

    /// Writes a file of the world, and the directories it is in.
    pub(crate) fn write(&self, path: impl AsRef<Path>, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        touch(&path);
    }

    /// Adds to the end of a file of the world.
    pub(crate) fn append(&self, path: impl AsRef<Path>, text: &str) {
        let before = fs::read_to_string(self.path(&path)).unwrap_or_default();
        self.write(path, &(before + text));
    }

    /// Replaces the one place where a file of the world says `from`.
    pub(crate) fn replace(&self, path: impl AsRef<Path>, from: &str, to: &str) {
        let before = fs::read_to_string(self.path(&path)).unwrap();
        assert_eq!(before.matches(from).count(), 1, "{} in {}", from, path.as_ref().display());
        self.write(path, &before.replace(from, to));
    }

    /// `build-swarm` with the world's configuration.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(BUILD_SWARM);
        command.arg("--config").arg(self.path("swarmd.toml")).args(arguments);
        command.env_remove("BUILDSWARM_CONFIG").env_remove("BUILDSWARM_STATE").stdin(Stdio::null());
        command
    }

    /// Runs `build-swarm` to its end.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        Ran::of(&mut self.command(arguments))
    }

    /// Standard output of a run that must succeed.
    pub(crate) fn succeed<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, Some(0), "{ran}");
        ran.out
    }

    /// Standard error of a run that must be refused.
    pub(crate) fn refuse<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, Some(1), "{ran}");
        ran.err
    }

    /// The document that a run prints.
    pub(crate) fn json<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Value {
        let text = self.succeed(arguments);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The summary of a build that must succeed.
    pub(crate) fn build(&self, atoms: &[&str]) -> Value {
        let ran = self.run(["build", "--json"].iter().chain(atoms));
        assert_eq!(ran.code, Some(0), "{ran}");
        ran.lines().pop().unwrap()
    }
}

/// What became of a run.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn of(command: &mut Command) -> Self {
        command.output().unwrap().into()
    }

    /// Standard output as one JSON value a line.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.out.lines().map(parse).collect()
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit code {:?}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.out, self.err)
    }
}

/// Copies a tree as it is.
pub(crate) fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success(), "cp -a {} {}", from.display(), to.display());
}

/// Gives a file a time that no other has: Portage takes an ebuild of the same second for the same ebuild.
fn touch(path: &Path) {
    static LATER: AtomicU64 = AtomicU64::new(1);
    let time = SystemTime::now() + Duration::from_secs(LATER.fetch_add(1, Ordering::Relaxed));
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}
