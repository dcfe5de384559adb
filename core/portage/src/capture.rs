//! A machine's Portage state as content that stands still while builds run from it.
//!
//! `/etc/portage` is copied before anything is planned; of the repositories only what the plan uses is
//! copied, after it was made. Both copies are checked against what the keys were computed from, so a key
//! never names one state while the build saw another.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use buildswarm_core::Digest;
use buildswarm_core::canonical::Encoder;

use crate::export::Export;
use crate::inputs::Recipes;
use crate::repositories::{Repositories, RepositoriesError};
use crate::root::PrivateRoot;

/// Why a state cannot be captured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// A file or directory cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The path.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// There is no configuration.
    #[error(
        "{path} does not exist; on a machine that is not Gentoo, name a configuration with --config-root"
    )]
    NoConfiguration {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// No profile is selected.
    #[error("{path}: no profile is selected ({source}); select one with `eselect profile`, or link it there")]
    NoProfile {
        /// The missing or broken link.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The configuration holds far more than configuration.
    #[error("{path} holds more than {limit} bytes; move what is not configuration elsewhere")]
    TooLarge {
        /// The directory.
        path: PathBuf,
        /// [`MAX_CONFIGURATION`].
        limit: u64,
    },
    /// A file is not the one the keys were computed from.
    #[error("{path} changed while the plan was made; run the command again")]
    Changed {
        /// The file or directory.
        path: PathBuf,
    },
    /// The repositories are not known.
    #[error(transparent)]
    Repositories(#[from] RepositoriesError),
}

/// Bound on a copied `/etc/portage` in bytes: real ones, patches and saved kernel configurations included,
/// stay below a tenth of it.
pub const MAX_CONFIGURATION: u64 = 256 << 20;

/// What of `/etc/portage` says how to fetch and install, which a build neither needs nor should see.
const NOT_OF_BUILDS: [&str; 5] = ["binrepos.conf", "gnupg", "make.profile", "repos.conf", "secureboot"];

/// A copied `/etc/portage` and the places it refers to.
#[derive(Debug)]
pub struct Configuration {
    directory: PathBuf,
    repositories: Repositories,
    /// Places shown at their own path: the repositories, and the profile if it is in none of them.
    places: Vec<PathBuf>,
    stamp: Digest,
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> CaptureError + use<> {
    let path = path.to_owned();
    move |source| CaptureError::Io { path, source }
}

impl Configuration {
    /// Copies `config_root/etc/portage` into the new directory `into`.
    ///
    /// # Errors
    /// A [`CaptureError`] naming the path.
    pub fn capture(config_root: &Path, base: &Path, into: &Path) -> Result<Self, CaptureError> {
        let source = config_root.join("etc/portage");
        if !source.is_dir() {
            return Err(CaptureError::NoConfiguration { path: source });
        }
        let repositories = Repositories::read(config_root, base)?;
        let stamp = stamp(&repositories)?;
        fs::create_dir_all(into).map_err(at(into))?;
        let mut budget = MAX_CONFIGURATION;
        for entry in fs::read_dir(&source).map_err(at(&source))? {
            let entry = entry.map_err(at(&source))?;
            if !NOT_OF_BUILDS.iter().any(|name| entry.file_name() == **name) {
                copy(&entry.path(), &into.join(entry.file_name()), &mut budget).map_err(
                    |error| match error {
                        CopyError::Budget => {
                            CaptureError::TooLarge { path: source.clone(), limit: MAX_CONFIGURATION }
                        }
                        CopyError::Io(error) => error,
                    },
                )?;
            }
        }
        let mut places: Vec<PathBuf> = repositories.iter().map(|repo| repo.location.clone()).collect();
        places.extend(link_profile(&source.join("make.profile"), &repositories, into)?);
        Ok(Self { directory: into.to_owned(), repositories, places, stamp })
    }

    /// The copy.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The configured repositories.
    #[must_use]
    pub const fn repositories(&self) -> &Repositories {
        &self.repositories
    }

    /// The places outside `/etc/portage` that it refers to.
    #[must_use]
    pub fn places(&self) -> &[PathBuf] {
        &self.places
    }

    /// Shows the copy and, as they are now, the places it refers to.
    #[must_use]
    pub fn show_live(&self, root: PrivateRoot) -> PrivateRoot {
        let root = root.with_read_only(&self.directory, Path::new("/etc/portage"));
        self.places.iter().fold(root, |root, place| root.with_read_only(place, place))
    }
}

/// Links the copy's `make.profile` to where the profile is, which must be shown if it is in no repository.
fn link_profile(
    link: &Path,
    repositories: &Repositories,
    into: &Path,
) -> Result<Option<PathBuf>, CaptureError> {
    let no_profile = |source| CaptureError::NoProfile { path: link.to_owned(), source };
    let profile = fs::canonicalize(link).map_err(no_profile)?;
    if fs::symlink_metadata(link).is_ok_and(|meta| meta.is_dir()) {
        let mut budget = MAX_CONFIGURATION;
        return match copy(link, &into.join("make.profile"), &mut budget) {
            Ok(()) => Ok(None),
            Err(CopyError::Io(error)) => Err(error),
            Err(CopyError::Budget) => {
                Err(CaptureError::TooLarge { path: link.to_owned(), limit: MAX_CONFIGURATION })
            }
        };
    }
    let in_repository = repositories.iter().find_map(|repository| {
        let location = fs::canonicalize(&repository.location).ok()?;
        Some(repository.location.join(profile.strip_prefix(location).ok()?))
    });
    let target = in_repository.as_ref().unwrap_or(&profile);
    let link = into.join("make.profile");
    std::os::unix::fs::symlink(target, &link).map_err(at(&link))?;
    Ok(in_repository.is_none().then_some(profile))
}

enum CopyError {
    Io(CaptureError),
    Budget,
}

impl From<CaptureError> for CopyError {
    fn from(error: CaptureError) -> Self {
        Self::Io(error)
    }
}

/// Copies a file or tree, following links, spending `budget` bytes.
fn copy(from: &Path, to: &Path, budget: &mut u64) -> Result<(), CopyError> {
    let mut pending = vec![(from.to_owned(), to.to_owned())];
    while let Some((from, to)) = pending.pop() {
        let meta = fs::metadata(&from).map_err(at(&from))?;
        if meta.is_dir() {
            fs::create_dir_all(&to).map_err(at(&to))?;
            for entry in fs::read_dir(&from).map_err(at(&from))? {
                let entry = entry.map_err(at(&from))?;
                pending.push((entry.path(), to.join(entry.file_name())));
            }
        } else if meta.is_file() {
            *budget = budget.checked_sub(meta.len()).ok_or(CopyError::Budget)?;
            fs::copy(&from, &to).map_err(at(&from))?;
        }
    }
    Ok(())
}

/// What of a repository all its packages share: path below it.
const SHARED: [&str; 5] =
    ["eclass", "metadata/install-qa-check.d", "metadata/layout.conf", "profiles", "Manifest"];

/// What tells whether the shared part of any repository changed: names, sizes and times of its files.
fn stamp(repositories: &Repositories) -> Result<Digest, CaptureError> {
    let mut lines = BTreeSet::new();
    for repository in repositories.iter() {
        let mut pending: Vec<PathBuf> = SHARED.iter().map(|name| repository.location.join(name)).collect();
        while let Some(path) = pending.pop() {
            let meta = match fs::metadata(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                meta => meta.map_err(at(&path))?,
            };
            if meta.is_dir() {
                for entry in fs::read_dir(&path).map_err(at(&path))? {
                    pending.push(entry.map_err(at(&path))?.path());
                }
            } else {
                let (time, nanos) = (meta.ctime(), meta.ctime_nsec());
                lines.insert(format!("{}\0{} {} {time}.{nanos}", path.display(), meta.size(), meta.ino()));
            }
        }
    }
    let mut encoder = Encoder::new();
    encoder.set(1, lines);
    Ok(Digest::of(&encoder.finish()))
}

/// The part of the repositories that a plan uses, copied.
#[derive(Debug)]
pub struct Trees {
    /// Original place and copy.
    copies: Vec<(PathBuf, PathBuf)>,
}

impl Trees {
    /// Copies what builds from `export` read into the new directory `into`.
    ///
    /// # Errors
    /// [`CaptureError::Changed`] if any of it is not what `recipes` read, [`CaptureError::Io`].
    pub fn capture(
        configuration: &Configuration,
        export: &Export,
        recipes: &Recipes<'_>,
        into: &Path,
    ) -> Result<Self, CaptureError> {
        let mut copies = Vec::new();
        for (number, place) in configuration.places.iter().enumerate() {
            let copy = into.join(number.to_string());
            for part in parts(place, export) {
                copy_part(place, &part, &copy)?;
            }
            copies.push((place.clone(), copy));
        }
        let trees = Self { copies };
        for (path, digest) in recipes.files() {
            let Some(copy) = trees.copy_of(path) else { continue };
            if fs::read(&copy).map_err(at(&copy)).map(|bytes| Digest::of(&bytes))? != digest {
                return Err(CaptureError::Changed { path: path.to_owned() });
            }
        }
        if stamp(&configuration.repositories)? != configuration.stamp {
            let path = configuration.places.first().cloned().unwrap_or_default();
            return Err(CaptureError::Changed { path });
        }
        Ok(trees)
    }

    fn copy_of(&self, path: &Path) -> Option<PathBuf> {
        self.copies.iter().find_map(|(place, copy)| Some(copy.join(path.strip_prefix(place).ok()?)))
    }

    /// Shows the copies where the repositories are.
    #[must_use]
    pub fn show(&self, root: PrivateRoot) -> PrivateRoot {
        self.copies.iter().fold(root, |root, (place, copy)| root.with_read_only(copy, place))
    }
}

/// What of `place` is copied: the shared part, and each planned package with its cached metadata.
fn parts(place: &Path, export: &Export) -> BTreeSet<PathBuf> {
    let mut parts: BTreeSet<PathBuf> = SHARED.iter().map(PathBuf::from).collect();
    if !place.join("profiles").is_dir() {
        // A profile outside all repositories: it is its own whole.
        return [PathBuf::new()].into();
    }
    for node in &export.nodes {
        let Some(ebuild) = &node.ebuild else { continue };
        let Some(package) = ebuild.path.parent().and_then(|package| package.strip_prefix(place).ok()) else {
            continue;
        };
        parts.insert(package.to_owned());
        parts.insert(Path::new("metadata/md5-cache").join(&node.cpv));
        parts.extend(package.parent().map(|category| category.join("metadata.xml")));
    }
    parts
}

fn copy_part(place: &Path, part: &Path, copy_to: &Path) -> Result<(), CaptureError> {
    let (from, to) = (place.join(part), copy_to.join(part));
    if !from.exists() {
        return Ok(());
    }
    let parent = if part.as_os_str().is_empty() { copy_to } else { to.parent().unwrap_or(copy_to) };
    fs::create_dir_all(parent).map_err(at(parent))?;
    let mut budget = u64::MAX;
    match copy(&from, &to, &mut budget) {
        Ok(()) => Ok(()),
        Err(CopyError::Io(error)) => Err(error),
        Err(CopyError::Budget) => unreachable!("a file is smaller than u64::MAX bytes"),
    }
}
