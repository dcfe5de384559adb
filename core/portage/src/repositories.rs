//! The ebuild repositories that a configuration names (`repos.conf`, portage(5)).
//!
//! Only what has to be known before Portage can run in a private root: names and places, so that the places
//! can be shown there. Everything else about repositories is Portage's to read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why the repositories are not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepositoriesError {
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A line that is neither a section, a setting nor a comment.
    #[error("{path}:{line}: expected [section] or key = value, found {text:?}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line number from 1.
        line: usize,
        /// The line.
        text: String,
    },
    /// No section names a place.
    #[error(
        "no ebuild repository is configured below {config_root}; add one to \
         {config_root}/etc/portage/repos.conf: a section [name] with location = /path"
    )]
    None {
        /// The configuration's root.
        config_root: PathBuf,
    },
    /// A configured place is not a directory.
    #[error("repository {name}: {location} is not a directory; sync it or correct repos.conf")]
    Missing {
        /// The repository.
        name: String,
        /// Its place.
        location: PathBuf,
    },
}

/// One repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// The section's name.
    pub name: String,
    /// Where it is, on the outside and in every private root alike.
    pub location: PathBuf,
    settings: BTreeMap<String, String>,
}

/// All configured repositories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repositories {
    defaults: BTreeMap<String, String>,
    list: Vec<Repository>,
}

/// Settings that say how to fetch a repository, which a build has no business with.
const OF_SYNCING: [&str; 3] = ["sync-", "auto-sync", "clone-depth"];

impl Repositories {
    /// Reads Portage's defaults below `base` and the configuration below `config_root`, as Portage does.
    ///
    /// # Errors
    /// A [`RepositoriesError`] naming the file, line or repository.
    pub fn read(config_root: &Path, base: &Path) -> Result<Self, RepositoriesError> {
        let mut sections = BTreeMap::new();
        read_into(&base.join("usr/share/portage/config/repos.conf"), &mut sections)?;
        let mut own = BTreeMap::new();
        read_into(&config_root.join("etc/portage/repos.conf"), &mut own)?;
        let placed: BTreeSet<String> = own
            .iter()
            .filter(|(_, settings)| settings.contains_key("location"))
            .map(|(name, _)| name.clone())
            .collect();
        for (name, settings) in own {
            sections.entry(name).or_insert_with(BTreeMap::new).extend(settings);
        }
        let defaults = sections.remove("DEFAULT").unwrap_or_default();
        let mut list = Vec::new();
        for (name, mut settings) in sections {
            let Some(location) = settings.remove("location").map(PathBuf::from) else { continue };
            if !location.is_dir() {
                // Gentoo's defaults name a place that a machine may never have synced. One that somebody
                // configured is not left out: the plan would be another.
                if placed.contains(&name) || defaults.get("main-repo") == Some(&name) {
                    return Err(RepositoriesError::Missing { name, location });
                }
                continue;
            }
            settings.retain(|key, _| !OF_SYNCING.iter().any(|prefix| key.starts_with(prefix)));
            list.push(Repository { name, location, settings });
        }
        if list.is_empty() {
            return Err(RepositoriesError::None { config_root: config_root.to_owned() });
        }
        Ok(Self { defaults, list })
    }

    /// The repositories, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Repository> {
        self.list.iter()
    }

    /// The text of a `repos.conf`, for the variable `PORTAGE_REPOSITORIES`.
    #[must_use]
    pub fn as_configuration(&self) -> String {
        let section = |name: &str, settings: &BTreeMap<String, String>| {
            let lines: String = settings.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
            format!("[{name}]\n{lines}")
        };
        let repositories = self.list.iter().map(|repository| {
            let location = repository.location.display();
            section(&repository.name, &repository.settings)
                + &format!("location = {location}\nauto-sync = no\n")
        });
        section("DEFAULT", &self.defaults) + &repositories.collect::<String>()
    }
}

type Sections = BTreeMap<String, BTreeMap<String, String>>;

/// A file, or a directory of files in the order of their names without hidden ones and backups.
fn read_into(path: &Path, sections: &mut Sections) -> Result<(), RepositoriesError> {
    let at = |source| RepositoriesError::Io { path: path.to_owned(), source };
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(at(error)),
        Ok(meta) if meta.is_dir() => {
            let mut files: Vec<PathBuf> = fs::read_dir(path)
                .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
                .map_err(at)?;
            files.retain(|file| {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                !name.starts_with('.') && !name.ends_with('~')
            });
            files.sort();
            files.iter().try_for_each(|file| read_into(file, sections))
        }
        Ok(_) => parse_into(path, &fs::read_to_string(path).map_err(at)?, sections),
    }
}

fn parse_into(path: &Path, text: &str, sections: &mut Sections) -> Result<(), RepositoriesError> {
    let mut section = "DEFAULT".to_owned();
    let mut last_key: Option<String> = None;
    for (number, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        let settings = sections.entry(section.clone()).or_default();
        if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
            last_key = None;
        } else if let (true, Some(key)) = (line.starts_with([' ', '\t']), &last_key) {
            // configparser: an indented line goes on with the value above it.
            let value = settings.entry(key.clone()).or_default();
            *value = format!("{value} {trimmed}");
        } else if let Some((key, value)) = trimmed.split_once('=').or_else(|| trimmed.split_once(':')) {
            let key = key.trim().to_lowercase();
            settings.insert(key.clone(), value.trim().to_owned());
            last_key = Some(key);
        } else {
            let text = line.to_owned();
            return Err(RepositoriesError::Syntax { path: path.to_owned(), line: number + 1, text });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn later_files_override_and_sync_settings_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let (root, tree) = (dir.path(), dir.path().join("tree"));
        fs::create_dir(&tree).unwrap();
        write(
            root,
            "usr/share/portage/config/repos.conf",
            "[DEFAULT]\nmain-repo = gentoo\n[gentoo]\nlocation = /nowhere\nsync-uri = rsync://x\n",
        );
        write(root, "etc/portage/repos.conf/a", &format!("[gentoo]\nlocation = {}\n", tree.display()));
        write(root, "etc/portage/repos.conf/b~", "nonsense");
        write(
            root,
            "etc/portage/repos.conf/c",
            "# note\n[gentoo]\nmasters = a\n  b\npriority=3\n[off]\nx = 1\n",
        );
        let repositories = Repositories::read(root, root).unwrap();
        assert_eq!(
            repositories.as_configuration(),
            format!(
                "[DEFAULT]\nmain-repo = gentoo\n[gentoo]\nmasters = a b\npriority = 3\nlocation = {}\n\
                 auto-sync = no\n",
                tree.display()
            )
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let read = || Repositories::read(dir.path(), dir.path()).unwrap_err().to_string();
        assert!(read().contains("no ebuild repository is configured"));
        write(dir.path(), "etc/portage/repos.conf", "[a]\nlocation\n");
        assert!(read().contains("repos.conf:2: expected"));
        write(dir.path(), "etc/portage/repos.conf", "[DEFAULT]\nmain-repo = a\n[a]\nlocation = /nowhere\n");
        assert!(read().contains("repository a: /nowhere is not a directory"));
        let tree = dir.path().display();
        let text = format!("[DEFAULT]\nmain-repo = a\n[a]\nlocation = {tree}\n[b]\nlocation = /nowhere\n");
        write(dir.path(), "etc/portage/repos.conf", &text);
        assert!(read().contains("repository b: /nowhere is not a directory"));
    }
}
