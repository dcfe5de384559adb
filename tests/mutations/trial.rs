//! How a row is tried: a machine that is put back, changed, and asked for its plan.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::specimens;
use crate::world::{BUILD_SWARM, Ran, World, copy, setup};

/// Which keys move.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Keys {
    /// None.
    None,
    /// Those of every package of the plan.
    All,
    /// Those of these packages (`category/name`); one that comes or goes moves too.
    Of(&'static [&'static str]),
}

/// The machine that a row starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Start {
    /// The machine's own base.
    Plain,
    /// A base and tools of its own; see [`specimens::add_base`].
    Base,
}

type Change = Box<dyn Fn(&mut Trial<'_>) + Send + Sync>;

/// One change.
pub(crate) struct Row {
    /// Which classes of `docs/address.md` it shows; the first is the one it is listed under.
    pub(crate) classes: Vec<String>,
    change: String,
    keys: Keys,
    start: Start,
    given: Option<Change>,
    apply: Change,
}

/// The row of a class: `apply` makes the change, and `keys` move.
pub(crate) fn row(
    class: &str,
    change: impl Into<String>,
    keys: Keys,
    apply: impl Fn(&mut Trial<'_>) + Send + Sync + 'static,
) -> Row {
    let (classes, change) = (vec![class.to_owned()], change.into());
    Row { classes, change, keys, start: Start::Plain, given: None, apply: Box::new(apply) }
}

impl Row {
    /// It shows this class too.
    pub(crate) fn also(mut self, class: &str) -> Self {
        self.classes.push(class.to_owned());
        self
    }

    /// It needs a base of its own.
    pub(crate) fn based(mut self) -> Self {
        self.start = Start::Base;
        self
    }

    /// What is compared with is the machine after `given`.
    pub(crate) fn given(mut self, given: impl Fn(&mut Trial<'_>) + Send + Sync + 'static) -> Self {
        self.given = Some(Box::new(given));
        self
    }
}

/// What a row changes: the machine's files, and how the plan is asked for.
pub(crate) struct Trial<'a> {
    pub(crate) world: &'a World,
    /// What is asked for.
    pub(crate) atoms: Vec<String>,
    /// Options of `build-swarm plan`.
    pub(crate) options: Vec<String>,
    /// The caller's environment, beside what it has.
    pub(crate) environment: Vec<(String, String)>,
    /// A program that runs `build-swarm`, with its arguments; none: it is run as it is.
    pub(crate) runner: Vec<String>,
}

impl Trial<'_> {
    /// Adds a line to `make.conf`.
    pub(crate) fn make_conf(&self, line: &str) {
        self.world.append("config/etc/portage/make.conf", &format!("{line}\n"));
    }

    /// Writes a file of `/etc/portage`.
    pub(crate) fn etc(&self, below: &str, text: &str) {
        self.world.append(format!("config/etc/portage/{below}"), text);
    }

    /// Adds to a file of the profile.
    pub(crate) fn profile(&self, below: &str, text: &str) {
        self.world.append(format!("overlay/profiles/default/linux/amd64/{below}"), text);
    }

    /// Keys by `category/name`.
    fn keys(&self) -> Result<BTreeMap<String, String>, String> {
        let mut command = match self.runner.split_first() {
            Some((runner, arguments)) => {
                let mut command = Command::new(runner);
                command.args(arguments).arg(BUILD_SWARM);
                command.arg("--config").arg(self.world.path("swarmd.toml"));
                command
            }
            None => self.world.command::<&str>([]),
        };
        command.args(["plan", "--json"]).args(&self.options).args(&self.atoms);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let ran = Ran::of(&mut command);
        if ran.code != Some(0) {
            return Err(format!("there is no plan: {ran}"));
        }
        let document: serde_json::Value =
            serde_json::from_str(&ran.out).map_err(|error| error.to_string())?;
        let packages = document["packages"].as_array().ok_or("the plan has no packages")?;
        let keyed = packages.iter().filter_map(|package| {
            let (name, _) = specimens::split(package["package"].as_str()?);
            Some((name.to_owned(), package["key"].as_str()?.to_owned()))
        });
        Ok(keyed.collect())
    }
}

/// A machine that lives through one change after another. Its state, and so Portage's cache of metadata, stays;
/// everything else is put back before each.
pub(crate) struct Machine {
    world: World,
    baselines: BTreeMap<Start, BTreeMap<String, String>>,
}

/// What a change may touch.
const CHANGEABLE: [&str; 5] = ["overlay", "config", "swarmd.toml", "base", "kit"];

impl Machine {
    pub(crate) fn new() -> Self {
        let world = World::new();
        specimens::add_to(&world);
        specimens::add_base(&world);
        fs::create_dir(world.path("pristine")).unwrap();
        for name in CHANGEABLE {
            copy(&world.path(name), &world.path("pristine").join(name));
        }
        Self { world, baselines: BTreeMap::new() }
    }

    /// Removes whatever is there but the state, and puts the first files in its place.
    fn put_back(&self) {
        for entry in fs::read_dir(self.world.path("")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap_or_default();
            if name == "state" || name == "pristine" {
                continue;
            }
            if path.is_dir() { fs::remove_dir_all(&path).unwrap() } else { fs::remove_file(&path).unwrap() }
        }
        for name in CHANGEABLE {
            copy(&self.world.path("pristine").join(name), &self.world.path(name));
        }
    }

    /// Tries a row; its line of the table, or what is wrong with it.
    pub(crate) fn try_row(&mut self, row: &Row) -> Result<String, String> {
        let name = format!("{} ({})", row.change, row.classes.join(", "));
        let moved = self.moved(row).map_err(|error| format!("{name}: {error}"))?;
        let (before, moved) = moved;
        let expected: BTreeSet<&str> = match row.keys {
            Keys::None => BTreeSet::new(),
            Keys::All => before.keys().map(String::as_str).collect(),
            Keys::Of(names) => names.iter().copied().collect(),
        };
        let moved: BTreeSet<&str> = moved.iter().map(String::as_str).collect();
        if moved != expected {
            let listed = |names: BTreeSet<&&str>| names.into_iter().copied().collect::<Vec<_>>().join(" ");
            let stay = listed(moved.difference(&expected).collect());
            let must = listed(expected.difference(&moved).collect());
            return Err(format!("{name}: must stay: {stay}; must move: {must}"));
        }
        let which = match row.keys {
            Keys::None => "none".to_owned(),
            Keys::All => "all".to_owned(),
            Keys::Of(names) => names.join(", "),
        };
        Ok(format!("| {} | {} | {which} |", row.classes.join("; "), row.change.replace('|', "\\|")))
    }

    /// The keys before the change, and the names of the packages whose keys it moved.
    fn moved(&mut self, row: &Row) -> Result<(BTreeMap<String, String>, BTreeSet<String>), String> {
        self.put_back();
        let mut trial = specimens::trial(&self.world, row.start);
        let before = match (&row.given, self.baselines.get(&row.start)) {
            (None, Some(known)) => known.clone(),
            (given, _) => {
                if let Some(given) = given {
                    given(&mut trial);
                }
                let keys = trial.keys()?;
                if given.is_none() {
                    self.baselines.insert(row.start, keys.clone());
                }
                keys
            }
        };
        (row.apply)(&mut trial);
        let after = trial.keys()?;
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let moved = names.into_iter().filter(|name| before.get(*name) != after.get(*name)).cloned().collect();
        Ok((before, moved))
    }
}

/// A file of the setup's tools or prefix.
pub(crate) fn tools() -> std::path::PathBuf {
    setup().join("tools")
}

/// The Portage of the setup; none on Gentoo, where it is the system's.
pub(crate) fn prefix() -> Option<std::path::PathBuf> {
    let prefix = setup().join("portage");
    prefix.is_dir().then_some(prefix)
}

/// Makes a file a program.
pub(crate) fn executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
