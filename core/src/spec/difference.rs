//! What differs between two specifications, named as a person would name it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{BuildSpec, Dependency, Distfile, Identity};
use crate::sorted::{SortedMap, SortedSet};
use crate::{BuildKey, Digest};

/// One input that differs, from an earlier specification to a later one.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "input", rename_all = "snake_case")]
#[expect(
    clippy::large_enum_variant,
    reason = "a handful exist at a time, and boxes would be in everybody's way"
)]
#[non_exhaustive]
pub enum Difference {
    /// A USE flag was switched on or off.
    Use {
        /// The flag.
        flag: String,
        /// Whether it is on in the later one.
        enabled: bool,
    },
    /// Another value of a variable, a scalar field, a tool or a named file.
    Changed {
        /// What kind of input: `variable`, `ebuild`, `eclass`, `file`, `patch`, `hook`, `tool`, …
        kind: &'static str,
        /// Its name; empty where the kind has only one.
        name: String,
        /// The earlier value; `None` if there was none.
        before: Option<String>,
        /// The later value; `None` if there is none.
        after: Option<String>,
    },
    /// A dependency is another build, or came or went.
    Dependency {
        /// Category and name.
        package: String,
        /// The earlier version and build.
        before: Option<DependencyVersion>,
        /// The later version and build.
        after: Option<DependencyVersion>,
    },
}

/// A dependency as a specification names it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DependencyVersion {
    /// Version with revision, where it counts.
    pub version: Option<String>,
    /// Slot, and sub-slot where it counts.
    pub slot: String,
    /// Its build key, where the whole of it counts.
    pub key: Option<BuildKey>,
    /// What the build root says of it, if it stands there.
    pub installed: Option<Digest>,
    /// Its interface digest, where it counts.
    pub interface: Option<Digest>,
    /// Its payload digest, where it counts.
    pub payload: Option<Digest>,
    /// Its enabled flags, if it is a tool.
    pub use_flags: Option<SortedSet>,
    /// What it was made of, if it is a tool.
    pub sources: Option<Digest>,
    /// How it reaches the build.
    pub classes: Vec<&'static str>,
}

impl From<&Dependency> for DependencyVersion {
    fn from(dependency: &Dependency) -> Self {
        let slot = &dependency.slot;
        let mut version = Self {
            version: dependency.version.clone(),
            slot: dependency.sub_slot.as_ref().map_or_else(|| slot.clone(), |sub| format!("{slot}/{sub}")),
            key: None,
            installed: None,
            interface: None,
            payload: None,
            use_flags: None,
            sources: None,
            classes: dependency.classes.names().collect(),
        };
        match &dependency.identity {
            Identity::Built(key) => version.key = Some(*key),
            Identity::Installed(digest) => version.installed = Some(*digest),
            Identity::Reach(reach) => {
                version.interface = reach.interface;
                version.payload = reach.payload;
                version.use_flags = reach.tool.as_ref().map(|tool| tool.use_flags.clone());
                version.sources = reach.tool.as_ref().map(|tool| tool.sources);
            }
        }
        version
    }
}

impl DependencyVersion {
    /// What happened to it, as the rest of a sentence that begins with its name.
    fn became(&self, after: &Self) -> String {
        let shown = |version: &Option<String>| version.clone().unwrap_or_else(|| "any version".to_owned());
        if self.version != after.version {
            return format!("{} → {}", shown(&self.version), shown(&after.version));
        }
        if self.slot != after.slot {
            return format!("slot {} → {}", self.slot, after.slot);
        }
        let words = [
            (self.key != after.key, "is another build"),
            (self.installed != after.installed, "differs in the build root"),
            (self.payload != after.payload, "is other bytes"),
            (self.interface != after.interface, "has another interface"),
            (self.use_flags != after.use_flags, "has other USE flags"),
            (self.sources != after.sources, "is made of other sources"),
        ];
        let differing: Vec<&str> =
            words.iter().filter(|(differs, _)| *differs).map(|(_, text)| *text).collect();
        if differing.is_empty() {
            let (before, after) = (self.classes.join(" "), after.classes.join(" "));
            return format!("is needed as {after}, before as {before}");
        }
        differing.join(", ")
    }

    fn with_version(&self, package: &str) -> String {
        self.version.as_ref().map_or_else(|| package.to_owned(), |version| format!("{package}-{version}"))
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Use { flag, enabled } => write!(f, "USE {}{flag}", if *enabled { '+' } else { '-' }),
            Self::Changed { kind, name, before, after } => {
                match (*kind, name.as_str()) {
                    ("variable", name) => write!(f, "{name}")?,
                    (kind, "") => write!(f, "{kind}")?,
                    (kind, name) => write!(f, "{kind} {name}")?,
                }
                match (before, after) {
                    (None, Some(value)) if value.is_empty() => write!(f, " added"),
                    (None, Some(value)) => write!(f, " added ({value})"),
                    (Some(_), None) => write!(f, " removed"),
                    (Some(before), Some(after)) => write!(f, " {before:?} → {after:?}"),
                    (None, None) => write!(f, " changed"),
                }
            }
            Self::Dependency { package, before, after } => match (before, after) {
                (Some(before), Some(after)) => write!(f, "dependency {package} {}", before.became(after)),
                (None, Some(after)) => write!(f, "dependency {} added", after.with_version(package)),
                (Some(before), None) => write!(f, "dependency {} removed", before.with_version(package)),
                (None, None) => write!(f, "dependency {package} changed"),
            },
        }
    }
}

/// What differs from `before` to `after`, in the order of the fields.
///
/// Empty if and only if the specifications are equal as builds.
#[must_use]
pub fn differences(before: &BuildSpec, after: &BuildSpec) -> Vec<Difference> {
    let (a, b) = (&before.inputs, &after.inputs);
    let mut found = Collector(Vec::new());
    found.scalar("policy", before.policy.name(), after.policy.name());
    found.scalar("version", a.package.as_str(), b.package.as_str());
    found.scalar("slot", &a.slot.to_string(), &b.slot.to_string());
    found.scalar("repository", &a.repository, &b.repository);
    found.scalar("EAPI", &a.eapi, &b.eapi);
    found.scalar("ebuild", &a.recipe.ebuild.short(), &b.recipe.ebuild.short());
    found.digests("eclass", &a.recipe.eclasses, &b.recipe.eclasses);
    found.digests("file", &a.recipe.files, &b.recipe.files);
    found.ordered("user patch", &a.recipe.patches, &b.recipe.patches);
    found.ordered("hook", &a.recipe.hooks, &b.recipe.hooks);
    found.digests("QA check", &a.recipe.qa_checks, &b.recipe.qa_checks);
    found.digests("saved configuration", &a.recipe.saved_config, &b.recipe.saved_config);
    found.distfiles(&a.distfiles, &b.distfiles);
    found.flags(&a.use_flags, &b.use_flags);
    let (a, b) = (&a.surroundings, &b.surroundings);
    found.map("variable", &a.environment, &b.environment);
    let features = |set: &SortedSet| -> BTreeMap<String, String> {
        set.iter().map(|feature| (feature.to_owned(), String::new())).collect()
    };
    found.map("FEATURES", &features(&a.features), &features(&b.features));
    found.map("tool", &a.toolchain, &b.toolchain);
    found.scalar("build root", &a.build_root.short(), &b.build_root.short());
    found.dependencies(before, after);
    found.0
}

struct Collector(Vec<Difference>);

impl Collector {
    fn changed(&mut self, kind: &'static str, name: &str, before: Option<String>, after: Option<String>) {
        self.0.push(Difference::Changed { kind, name: name.to_owned(), before, after });
    }

    fn scalar(&mut self, kind: &'static str, before: &str, after: &str) {
        if before != after {
            self.changed(kind, "", Some(before.to_owned()), Some(after.to_owned()));
        }
    }

    fn map(&mut self, kind: &'static str, a: &BTreeMap<String, String>, b: &BTreeMap<String, String>) {
        let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        for name in names {
            let (before, after) = (a.get(name), b.get(name));
            if before != after {
                self.changed(kind, name, before.cloned(), after.cloned());
            }
        }
    }

    fn digests(&mut self, kind: &'static str, a: &SortedMap<Digest>, b: &SortedMap<Digest>) {
        let short = |map: &SortedMap<Digest>| -> BTreeMap<String, String> {
            map.iter().map(|(name, digest)| (name.to_owned(), digest.short())).collect()
        };
        self.map(kind, &short(a), &short(b));
    }

    fn distfiles(&mut self, a: &SortedMap<Distfile>, b: &SortedMap<Distfile>) {
        let text = |file: &Distfile| {
            let hashes =
                file.hashes.iter().map(|(name, hex)| format!(" {name} {}", hex.get(..12).unwrap_or(hex)));
            format!("{} bytes{}", file.size, hashes.collect::<String>())
        };
        let names: BTreeSet<&str> = a.keys().chain(b.keys()).collect();
        for name in names {
            let (before, after) = (a.get(name), b.get(name));
            if before != after {
                self.changed("distfile", name, before.map(text), after.map(text));
            }
        }
    }

    /// Files whose order counts: by name first, and as an order only if the names do not tell them apart.
    fn ordered(&mut self, kind: &'static str, a: &[(String, Digest)], b: &[(String, Digest)]) {
        if a == b {
            return;
        }
        let before = self.0.len();
        let map = |list: &[(String, Digest)]| -> SortedMap<Digest> { list.iter().cloned().collect() };
        self.digests(kind, &map(a), &map(b));
        if self.0.len() == before {
            // Files of one name are told apart by what they hold.
            let has_duplicates = map(b).len() < b.len();
            let names = |list: &[(String, Digest)]| {
                let name = |(name, digest): &(String, Digest)| match has_duplicates {
                    true => format!("{name} ({})", digest.short()),
                    false => name.clone(),
                };
                list.iter().map(name).collect::<Vec<_>>().join(" ")
            };
            self.changed(kind, "order", Some(names(a)), Some(names(b)));
        }
    }

    fn flags(&mut self, a: &SortedSet, b: &SortedSet) {
        let (before, after): (BTreeSet<&str>, BTreeSet<&str>) = (a.iter().collect(), b.iter().collect());
        for flag in before.symmetric_difference(&after) {
            self.0.push(Difference::Use { flag: (*flag).to_owned(), enabled: b.contains(flag) });
        }
    }

    fn dependencies(&mut self, before: &BuildSpec, after: &BuildSpec) {
        // One package may stand in the root in several slots.
        type Versions<'a> = BTreeMap<(&'a str, &'a str), &'a Dependency>;
        fn by_slot(spec: &BuildSpec) -> Versions<'_> {
            spec.dependencies.iter().map(|dep| ((dep.name.as_str(), dep.slot.as_str()), dep)).collect()
        }
        let (a, b) = (by_slot(before), by_slot(after));
        let names: BTreeSet<_> = a.keys().chain(b.keys()).copied().collect();
        for name in names {
            let (before, after) = (a.get(&name), b.get(&name));
            if before != after {
                self.0.push(Difference::Dependency {
                    package: name.0.to_owned(),
                    before: before.map(|dep| DependencyVersion::from(*dep)),
                    after: after.map(|dep| DependencyVersion::from(*dep)),
                });
            }
        }
    }
}
