//! From an exported package to the inputs of its build: every file behind it hashed where it lies.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use buildswarm_core::Digest;
use buildswarm_core::canonical::Encoder;
use buildswarm_core::package::{Cpv, ParsePackageError, Slot};
use buildswarm_core::plan::reuse::VersionQueries;
use buildswarm_core::sorted::SortedMap;
use buildswarm_core::spec::{BuildInputs, Distfile, Recipe, Surroundings};
use sha2::{Digest as _, Sha256};

use crate::environment;
use crate::export::{self, BuildRoot, Ebuild, Eclass, Generator, Node};
use crate::machine::Machine;
use crate::queries;
use crate::root::Rights;

/// Why the inputs of a build are not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputsError {
    /// A file of the recipe cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file, on the outside.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A file is not the one Portage read a moment ago.
    #[error("{path} changed while the plan was made; run the command again")]
    Changed {
        /// The file, on the outside.
        path: PathBuf,
    },
    /// A package has no ebuild, or none of its files are known.
    #[error("{package}: Portage did not say which files it is built from; this Portage is not supported")]
    NoRecipe {
        /// The package.
        package: String,
    },
    /// A source that the Manifest does not list.
    #[error(
        "{package}: {distfile} is not in the Manifest, so it cannot be told from another file; \
         run `ebuild {ebuild} manifest`"
    )]
    NoDigest {
        /// The package.
        package: String,
        /// The file.
        distfile: String,
        /// The ebuild.
        ebuild: PathBuf,
    },
    /// Nothing says what the base holds.
    #[error(
        "{base} has no package database (Portage's, dpkg's or RPM's) that says what it holds, so builds in it \
         cannot be told from builds in another; use an unpacked stage3 as --base"
    )]
    UnknownBase {
        /// The base.
        base: PathBuf,
    },
    /// A package whose build has inputs that nobody can know beforehand.
    #[error(
        "{package} {reason}, so no key can stand for it; build it with emerge itself and leave it out \
         with --exclude={package}"
    )]
    Undetermined {
        /// The package.
        package: String,
        /// What makes it so.
        reason: &'static str,
    },
    /// Portage named a package in a form we do not know.
    #[error(transparent)]
    Package(#[from] ParsePackageError),
}

/// BLAKE3 and SHA-256 of a file.
#[derive(Debug, Clone, Copy)]
struct FileDigest {
    blake3: Digest,
    sha256: [u8; 32],
}

/// Reads and remembers the files of one plan; eclasses are shared by hundreds of packages.
#[derive(Debug)]
pub struct Recipes<'a> {
    /// The captured `/etc/portage`.
    configuration: &'a Path,
    base: &'a Path,
    places: &'a [PathBuf],
    files: BTreeMap<PathBuf, FileDigest>,
    /// Of the files that are shell code.
    queries: BTreeMap<PathBuf, VersionQueries>,
    /// Those of packages met so far.
    surroundings: BTreeSet<Arc<Surroundings>>,
    toolchain: BTreeMap<String, String>,
    build_root: Digest,
}

impl<'a> Recipes<'a> {
    /// A reader of files as the private root that made the export showed them: `configuration` at
    /// `/etc/portage`, each of `places` where it is, everything else from the machine's base.
    ///
    /// # Errors
    /// [`InputsError::Io`] if one of the machine's further tools cannot be read.
    pub fn new(
        configuration: &'a Path,
        machine: &'a Machine,
        places: &'a [PathBuf],
        build_root: &BuildRoot,
        provided: &[String],
        generator: &Generator,
    ) -> Result<Self, InputsError> {
        if build_root.packages.is_empty() && provided.is_empty() {
            return Err(InputsError::UnknownBase { base: machine.base.clone() });
        }
        let mut toolchain = toolchain(build_root, generator);
        if machine.rights == Rights::UserNamespace {
            // Changes of owner fail there, and not every package minds.
            toolchain.insert("users".to_owned(), "one".to_owned());
        }
        if !machine.tools.is_empty() {
            toolchain.insert("tools".to_owned(), tools_identity(&machine.tools)?.to_string());
        }
        Ok(Self {
            configuration,
            base: &machine.base,
            places,
            files: BTreeMap::new(),
            queries: BTreeMap::new(),
            surroundings: BTreeSet::new(),
            toolchain,
            build_root: identity(build_root, provided),
        })
    }

    /// Every file read so far, as named inside the private root, with its BLAKE3.
    pub fn files(&self) -> impl Iterator<Item = (&Path, Digest)> {
        self.files.iter().map(|(path, digest)| (path.as_path(), digest.blake3))
    }

    /// Where on the outside a file of the private root is.
    #[must_use]
    pub fn outside(&self, path: &Path) -> PathBuf {
        if let Ok(below) = path.strip_prefix("/etc/portage") {
            return self.configuration.join(below);
        }
        if self.places.iter().any(|place| path.starts_with(place)) {
            return path.to_owned();
        }
        self.base.join(path.strip_prefix("/").unwrap_or(path))
    }

    fn digest(&mut self, path: &Path) -> Result<FileDigest, InputsError> {
        if let Some(known) = self.files.get(path) {
            return Ok(*known);
        }
        let outside = self.outside(path);
        let bytes = fs::read(&outside).map_err(|source| InputsError::Io { path: outside, source })?;
        let digest = FileDigest { blake3: Digest::of(&bytes), sha256: Sha256::digest(&bytes).into() };
        self.files.insert(path.to_owned(), digest);
        Ok(digest)
    }

    /// The digest of a file that Portage hashed too: both must have seen the same.
    fn confirmed(&mut self, path: &Path, sha256: &str) -> Result<Digest, InputsError> {
        let digest = self.digest(path)?;
        let hex: String = digest.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        if hex == sha256 { Ok(digest.blake3) } else { Err(InputsError::Changed { path: self.outside(path) }) }
    }

    /// The inputs of the build of `node`.
    ///
    /// # Errors
    /// An [`InputsError`] naming the file or package.
    pub fn inputs(&mut self, node: &Node) -> Result<BuildInputs, InputsError> {
        let no_recipe = || InputsError::NoRecipe { package: node.cpv.clone() };
        let ebuild = node.ebuild.as_ref().ok_or_else(no_recipe)?;
        if node.environment.is_empty() {
            return Err(no_recipe());
        }
        is_determined(node)?;
        let mut toolchain = self.toolchain.clone();
        if ebuild.eclasses.iter().any(|eclass| eclass.name.starts_with("linux-mod")) {
            toolchain.insert("kernel".to_owned(), self.kernel(node)?);
        }
        let features = node.environment.get("FEATURES").or(node.environment.get("PORTAGE_FEATURES"));
        Ok(BuildInputs {
            package: node.cpv.parse::<Cpv>()?,
            slot: format!("{}/{}", node.slot, node.sub_slot).parse::<Slot>()?,
            repository: node.repo.clone(),
            eapi: node.eapi.clone(),
            recipe: self.recipe(ebuild)?,
            distfiles: distfiles(node, ebuild)?,
            use_flags: node.use_flags.iter().cloned().collect(),
            surroundings: self.shared(Surroundings {
                environment: environment::of_build(&node.environment),
                features: environment::altering_features(
                    features.map(String::as_str).unwrap_or_default().split_whitespace(),
                ),
                toolchain,
                build_root: self.build_root,
            }),
        })
    }

    /// The same for all packages that have the same.
    fn shared(&mut self, surroundings: Surroundings) -> Arc<Surroundings> {
        if let Some(known) = self.surroundings.get(&surroundings) {
            return Arc::clone(known);
        }
        let shared = Arc::new(surroundings);
        self.surroundings.insert(Arc::clone(&shared));
        shared
    }

    /// Which versions the shell code of `node` asks for.
    ///
    /// # Errors
    /// [`InputsError::Io`] if one of its files cannot be read.
    pub fn queries(&mut self, node: &Node) -> Result<VersionQueries, InputsError> {
        let Some(ebuild) = &node.ebuild else { return Ok(VersionQueries::Nothing) };
        let code = ebuild.eclasses.iter().map(|eclass| &eclass.path);
        let code = code.chain(ebuild.hooks.iter().map(|hook| &hook.path)).chain([&ebuild.path]);
        code.chain(&ebuild.qa_checks).try_fold(VersionQueries::Nothing, |found, path| {
            if !self.queries.contains_key(path) {
                let outside = self.outside(path);
                let bytes = fs::read(&outside).map_err(|source| InputsError::Io { path: outside, source })?;
                self.queries.insert(path.clone(), queries::in_text(&String::from_utf8_lossy(&bytes)));
            }
            Ok(queries::union(found, &self.queries[path]))
        })
    }

    /// Kernel modules are built against the sources and configuration that stand in the base
    /// (`linux-info.eclass`).
    fn kernel(&self, node: &Node) -> Result<String, InputsError> {
        let mut text = String::new();
        for name in [".config", "Makefile", "Module.symvers"] {
            let path = self.base.join("usr/src/linux").join(name);
            match fs::read(&path) {
                Ok(bytes) => text += &format!("{name}:{} ", Digest::of(&bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(InputsError::Io { path, source }),
            }
        }
        if text.is_empty() {
            let reason = "needs kernel sources in /usr/src/linux of the base, and there are none";
            return Err(InputsError::Undetermined { package: node.cpv.clone(), reason });
        }
        Ok(text)
    }

    fn recipe(&mut self, ebuild: &Ebuild) -> Result<Recipe, InputsError> {
        let digest =
            |eclass: &Eclass| Ok((eclass.name.clone(), self.confirmed(&eclass.path, &eclass.sha256)?));
        let eclasses = ebuild.eclasses.iter().map(digest).collect::<Result<_, InputsError>>()?;
        let mut hooks = Vec::new();
        for hook in &ebuild.hooks {
            hooks.push((hook.kind.clone(), self.digest(&hook.path)?.blake3));
        }
        let mut patches = Vec::new();
        for patch in &ebuild.user_patches {
            patches.push((file_name(patch), self.digest(patch)?.blake3));
        }
        let mut named = |paths: &[PathBuf]| -> Result<SortedMap<Digest>, InputsError> {
            paths.iter().map(|path| Ok((file_name(path), self.digest(path)?.blake3))).collect()
        };
        let qa_checks = named(&ebuild.qa_checks)?;
        let saved = |path: &PathBuf| {
            let below = path.strip_prefix("/etc/portage/savedconfig").unwrap_or(path);
            Ok((below.to_string_lossy().into_owned(), self.digest(path)?.blake3))
        };
        let saved_config = ebuild.savedconfig.iter().map(saved).collect::<Result<_, InputsError>>()?;
        let files = match &ebuild.filesdir {
            Some(directory) => self.tree(directory)?,
            None => SortedMap::default(),
        };
        let ebuild = self.confirmed(&ebuild.path, &ebuild.sha256)?;
        Ok(Recipe { ebuild, eclasses, files, patches, hooks, qa_checks, saved_config })
    }

    /// Every file below a directory: path below it to digest.
    fn tree(&mut self, directory: &Path) -> Result<SortedMap<Digest>, InputsError> {
        let mut found = Vec::new();
        let mut pending = vec![directory.to_owned()];
        while let Some(path) = pending.pop() {
            let outside = self.outside(&path);
            let at = |source| InputsError::Io { path: outside.clone(), source };
            for entry in fs::read_dir(&outside).map_err(at)? {
                let entry = entry.map_err(at)?;
                let inside = path.join(entry.file_name());
                // Followed: what an ebuild reads is the content.
                if fs::metadata(entry.path()).map_err(at)?.is_dir() {
                    pending.push(inside);
                } else {
                    let below = inside.strip_prefix(directory).unwrap_or(&inside);
                    found.push((below.to_string_lossy().into_owned(), self.digest(&inside)?.blake3));
                }
            }
        }
        Ok(found.into_iter().collect())
    }
}

/// PMS 7.3.6 and 7.3.7: what is fetched or answered while it builds is in no input.
fn is_determined(node: &Node) -> Result<(), InputsError> {
    let has = |property: &str| node.properties.iter().any(|known| known == property);
    let reason = if has("live") {
        "is a live ebuild and fetches its sources while it builds"
    } else if has("interactive") {
        "asks questions while it builds"
    } else {
        return Ok(());
    };
    Err(InputsError::Undetermined { package: node.cpv.clone(), reason })
}

/// What stands in the `bin` directories of further tools: name to content, so that two machines agree.
fn tools_identity(tools: &[PathBuf]) -> Result<Digest, InputsError> {
    let mut found = BTreeMap::new();
    for directory in tools.iter().map(|prefix| prefix.join("bin")) {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| InputsError::Io { path, source }
        };
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.map_err(at(&directory))?,
        };
        for entry in entries {
            let path = entry.map_err(at(&directory))?.path();
            let mut hasher = blake3::Hasher::new();
            // A link that leads nowhere is no tool.
            if path.is_file() {
                hasher.update_mmap_rayon(&path).map_err(at(&path))?;
                // The first prefix with a name wins on PATH.
                let digest = Digest::from_bytes(*hasher.finalize().as_bytes());
                found.entry(file_name(&path)).or_insert(digest);
            }
        }
    }
    let mut encoder = Encoder::new();
    encoder.map(1, &found);
    Ok(Digest::derive("buildswarm 2026-11-21 tools", &encoder.finish()))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn distfiles(node: &Node, ebuild: &Ebuild) -> Result<SortedMap<Distfile>, InputsError> {
    let distfile = |file: &export::Distfile| {
        let hashes: SortedMap<String> = file
            .hashes
            .iter()
            .filter(|(name, _)| ["BLAKE2B", "SHA512"].contains(&name.as_str()))
            .map(|(name, hex)| (name.clone(), hex.to_lowercase()))
            .collect();
        let (Some(size), false) = (file.size, hashes.is_empty()) else {
            return Err(InputsError::NoDigest {
                package: node.cpv.clone(),
                distfile: file.name.clone(),
                ebuild: ebuild.path.clone(),
            });
        };
        Ok((file.name.clone(), Distfile { size, hashes }))
    };
    ebuild.distfiles.iter().map(distfile).collect()
}

fn toolchain(build_root: &BuildRoot, generator: &Generator) -> BTreeMap<String, String> {
    let mut tools: BTreeMap<String, String> = build_root
        .toolchain
        .iter()
        .filter_map(|(role, tool)| {
            let tool = tool.as_ref()?;
            let version = tool.version.as_deref().unwrap_or("");
            let digest = tool.sha256.as_deref().unwrap_or("");
            Some((role.clone(), format!("{version} sha256:{digest}")))
        })
        .collect();
    tools.entry("portage".to_owned()).or_insert_with(|| generator.portage.clone());
    tools
}

/// What stands in the build root beside the tools named one by one.
fn identity(build_root: &BuildRoot, provided: &[String]) -> Digest {
    let mut encoder = Encoder::new();
    encoder.set(1, &build_root.packages);
    encoder.map(2, &build_root.environment_files);
    encoder.set(3, provided);
    Digest::derive("buildswarm 2026-11-21 build root", &encoder.finish())
}
