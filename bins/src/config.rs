//! Configuration: what is built in, then files, then the command line.
//!
//! `/etc/swarmd/swarmd.toml`, then `/etc/swarmd/swarmd.toml.d/*.toml` by name, then the file named by
//! `--config`, which may be given more than once; later ones override earlier ones key by key. A key that
//! is not known is refused.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use buildswarm_core::policy::Policy;
use buildswarm_portage::environment::TOOLCHAIN;
use serde::Deserialize;
use toml::Table;

/// All settings.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Where everything is kept; `None`: `/var/lib/buildswarm` for root, else below the user's data directory.
    pub state: Option<PathBuf>,
    /// Where Portage is.
    pub portage: Portage,
    /// How to build.
    pub build: Build,
    /// What is kept.
    pub store: Store,
    /// What is published.
    pub publish: Publish,
    /// Where it is served.
    pub serve: Serve,
}

impl Config {
    /// The same, with this policy if there is one.
    #[must_use]
    pub fn with_policy(&self, policy: Option<Policy>) -> Self {
        let mut config = self.clone();
        config.build.policy = policy.unwrap_or(config.build.policy);
        config
    }
}

/// Where Portage, its configuration and its sources are.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Portage {
    /// The root with `etc/portage`.
    pub config_root: PathBuf,
    /// The root that builds start from.
    pub base: PathBuf,
    /// A Python prefix with Portage, where the base has none.
    pub prefix: Option<PathBuf>,
    /// Prefixes with further tools.
    pub tools: Vec<PathBuf>,
    /// Directories with sources.
    pub distfiles: Vec<PathBuf>,
}

impl Default for Portage {
    fn default() -> Self {
        Self {
            config_root: PathBuf::from("/"),
            base: PathBuf::from("/"),
            prefix: None,
            tools: Vec::new(),
            distfiles: vec![PathBuf::from("/var/cache/distfiles")],
        }
    }
}

/// How to build.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Build {
    /// Builds at once; 0: half the processors, at least 2, at most 8 and one for every 2 GiB of free memory.
    pub slots: u32,
    /// Jobs of make in each build; 0: twice the processors divided by the slots, at most the processors.
    pub jobs: usize,
    /// Whether builds write to memory while it suffices.
    pub tmpfs: bool,
    /// Longest time of one build, in seconds; a day: the largest packages take half of one on small machines.
    pub timeout_seconds: u64,
    /// Longest time without output, in seconds; linking a browser is silent for half an hour.
    pub silence_seconds: u64,
    /// Largest log of one build, in bytes.
    pub log_bytes: u64,
    /// A directory for ccache; unset: none.
    pub ccache: Option<PathBuf>,
    /// Whether to go on with what does not need a failed package.
    pub keep_going: bool,
    /// Which earlier builds may be reused: `exact`, `interface` or `slot`.
    pub policy: Policy,
    /// Packages whose every byte counts for those that build with them, beside the compilers, linkers and generators
    /// of code that are known ([`TOOLCHAIN`]); with a `-` in front, one that is known and shall not.
    pub toolchain: Vec<String>,
}

impl Default for Build {
    fn default() -> Self {
        Self {
            slots: 0,
            jobs: 0,
            tmpfs: true,
            timeout_seconds: 24 * 3600,
            silence_seconds: 2 * 3600,
            log_bytes: 256 << 20,
            ccache: None,
            keep_going: true,
            policy: Policy::default(),
            toolchain: Vec::new(),
        }
    }
}

impl Build {
    /// All packages of the toolchain, by category and name.
    #[must_use]
    pub fn toolchain(&self) -> BTreeSet<String> {
        let mut all: BTreeSet<String> = TOOLCHAIN.map(str::to_owned).into();
        for name in &self.toolchain {
            match name.strip_prefix('-') {
                Some(name) => drop(all.remove(name)),
                None => drop(all.insert(name.clone())),
            }
        }
        all
    }

    /// [`timeout_seconds`](Self::timeout_seconds).
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds)
    }

    /// [`silence_seconds`](Self::silence_seconds).
    #[must_use]
    pub const fn silence(&self) -> Duration {
        Duration::from_secs(self.silence_seconds)
    }
}

/// Days that logs of attempts are kept, if nothing else is said: long enough to look into a failure after a holiday.
pub const KEEP_DAYS: u32 = 30;

/// What is kept.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Store {
    /// Bytes that the blobs may take before collection evicts what nothing refers to; unset: no bound.
    pub quota_bytes: Option<u64>,
}

/// What is published, and under whose name.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Publish {
    /// The channel that `finalize` switches.
    pub channel: String,
    /// User id of the signing key, made when it is first needed.
    pub user_id: String,
    /// Generations kept of a channel: enough to roll back a week of daily ones.
    pub keep_generations: usize,
}

impl Default for Publish {
    fn default() -> Self {
        Self { channel: "default".to_owned(), user_id: "buildswarm binhost".to_owned(), keep_generations: 10 }
    }
}

/// Where the binhost is served.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Serve {
    /// Address and port; loopback unless somebody says otherwise.
    pub listen: String,
}

impl Default for Serve {
    fn default() -> Self {
        Self { listen: "127.0.0.1:7080".to_owned() }
    }
}

const SYSTEM: &str = "/etc/swarmd/swarmd.toml";

impl Config {
    /// Reads the system's files, if there are any, and then `files`, which must be there.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn read(files: &[PathBuf]) -> Result<Self> {
        let mut all = system_files()?;
        all.extend(files.iter().cloned());
        let mut merged = Table::new();
        for path in all {
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let table: Table = text.parse().map_err(|error| refused(&path, &error))?;
            // Each file is checked by itself, so that what is refused can be named with its file and line.
            toml::from_str::<Self>(&text).map_err(|error| refused(&path, &error))?;
            merge(&mut merged, relative_to(table, path.parent().unwrap_or(Path::new("/"))));
        }
        merged.try_into().context("the configuration files together")
    }
}

/// What serde says, with the nearest known key if one is misspelt.
fn refused(path: &Path, error: &toml::de::Error) -> anyhow::Error {
    let message = error.message();
    let nearest = message
        .strip_prefix("unknown field `")
        .and_then(|rest| rest.split_once("`, expected "))
        .and_then(|(unknown, expected)| {
            let known = expected.split('`').skip(1).step_by(2);
            known.min_by_key(|known| distance(unknown, known)).map(str::to_owned)
        });
    match nearest {
        Some(nearest) => anyhow!("{}: {message}; did you mean `{nearest}`?", path.display()),
        None => anyhow!("{}: {}", path.display(), error.to_string().trim_end()),
    }
}

/// Levenshtein's distance, in one row.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

fn system_files() -> Result<Vec<PathBuf>> {
    let system = PathBuf::from(SYSTEM);
    let mut files: Vec<PathBuf> = system.is_file().then_some(system).into_iter().collect();
    let directory = PathBuf::from(format!("{SYSTEM}.d"));
    if directory.is_dir() {
        let mut drop_ins = Vec::new();
        for entry in std::fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                drop_ins.push(path);
            }
        }
        drop_ins.sort();
        files.extend(drop_ins);
    }
    Ok(files)
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(toml::Value::Table(into)), toml::Value::Table(from)) => merge(into, from),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// Keys whose values are paths; relative ones count from the file they stand in.
const PATHS: [&str; 7] = ["state", "config-root", "base", "prefix", "tools", "distfiles", "ccache"];

fn relative_to(table: Table, directory: &Path) -> Table {
    let absolute = |value: toml::Value| match value {
        toml::Value::String(path) => toml::Value::String(directory.join(path).to_string_lossy().into_owned()),
        other => other,
    };
    table
        .into_iter()
        .map(|(key, value)| {
            let value = match value {
                toml::Value::Table(table) => toml::Value::Table(relative_to(table, directory)),
                toml::Value::Array(list) if PATHS.contains(&key.as_str()) => {
                    toml::Value::Array(list.into_iter().map(absolute).collect())
                }
                value if PATHS.contains(&key.as_str()) => absolute(value),
                value => value,
            };
            (key, value)
        })
        .collect()
}

/// The default state directory of whoever runs this.
///
/// # Errors
/// If a user has neither `XDG_DATA_HOME` nor `HOME`.
pub fn default_state() -> Result<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/buildswarm"));
    }
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(data) = variable("XDG_DATA_HOME") {
        return Ok(data.join("buildswarm"));
    }
    match variable("HOME") {
        Some(home) => Ok(home.join(".local/share/buildswarm")),
        None => bail!("neither XDG_DATA_HOME nor HOME is set; name a state directory with --state"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_files_override_and_paths_count_from_their_file() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a.toml"), dir.path().join("b.toml"));
        std::fs::write(&a, "state = \"state\"\n[build]\nslots = 3\njobs = 4\n").unwrap();
        std::fs::write(&b, "[build]\njobs = 5\n[portage]\ntools = [\"t\", \"/u\"]\n").unwrap();
        let config = Config::read(&[a, b]).unwrap();
        assert_eq!(config.state, Some(dir.path().join("state")));
        assert_eq!((config.build.slots, config.build.jobs), (3, 5));
        assert_eq!(config.portage.tools, [dir.path().join("t"), PathBuf::from("/u")]);
        assert_eq!(config.serve.listen, "127.0.0.1:7080");
    }

    #[test]
    fn a_value_of_another_type_is_refused_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.toml");
        std::fs::write(&path, "[build]\nslots = \"many\"\n").unwrap();
        let text = format!("{:#}", Config::read(std::slice::from_ref(&path)).unwrap_err());
        assert!(text.contains("line 2") && text.contains("slots = \"many\""), "{text}");
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.toml");
        std::fs::write(&path, "[build]\nslot = 3\n").unwrap();
        let text = format!("{:#}", Config::read(std::slice::from_ref(&path)).unwrap_err());
        assert!(text.contains("a.toml") && text.contains("did you mean `slots`?"), "{text}");
    }
}
