//! The package files a build installs from, and the one it leaves.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use buildswarm_core::package::Cpv;

use super::{Failure, io_failure};

/// One package to install into a build's root.
#[derive(Debug, Clone)]
pub struct DependencyPackage {
    /// Its name.
    pub package: Cpv,
    /// Name of its repository.
    pub repository: String,
    /// Its file in the store.
    pub file: PathBuf,
    /// Its index metadata.
    pub metadata: BTreeMap<String, String>,
    /// Whether the package that is built will also need it when it runs.
    pub at_run_time: bool,
}

impl DependencyPackage {
    pub(super) fn atom(&self) -> String {
        format!("={}::{}", self.package, self.repository)
    }
}

/// Lays out a local package directory (`PKGDIR`) with its index, so that Portage need not open the files.
pub(super) fn lay_out(packages: &[DependencyPackage], directory: &Path) -> Result<(), Failure> {
    fs::create_dir_all(directory).map_err(io_failure(directory))?;
    let mut index = format!("TIMESTAMP: 1\nVERSION: 0\nPACKAGES: {}\n\n", packages.len());
    for package in packages {
        let name = &package.package;
        let path = format!("{}/{}/{}-1.gpkg.tar", name.category(), name.name(), name.pf());
        let file = directory.join(&path);
        let parent = directory.join(name.category()).join(name.name());
        fs::create_dir_all(&parent).map_err(io_failure(&parent))?;
        // A copy, not a link: what runs in the root as user 0 could write through a link into the store.
        fs::copy(&package.file, &file).map_err(io_failure(&package.file))?;
        let meta = fs::metadata(&file).map_err(io_failure(&file))?;
        index += &format!("CPV: {name}\n");
        for (key, value) in &package.metadata {
            index += &format!("{key}: {value}\n");
        }
        index += &format!(
            "PATH: {path}\nSIZE: {}\nMTIME: {}\nREPO: {}\n\n",
            meta.size(),
            meta.mtime(),
            package.repository
        );
    }
    let path = directory.join("Packages");
    fs::File::create(&path).and_then(|mut file| file.write_all(index.as_bytes())).map_err(io_failure(&path))
}

/// The one package file below a directory.
pub(super) fn only_package(directory: &Path) -> Result<PathBuf, String> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(path) = pending.pop() {
        let entries = fs::read_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        for entry in entries {
            let entry = entry.map_err(|error| format!("{}: {error}", path.display()))?;
            let kind = entry.file_type().map_err(|error| format!("{}: {error}", path.display()))?;
            if kind.is_dir() {
                pending.push(entry.path());
            } else if kind.is_file() && entry.file_name().to_string_lossy().ends_with(".gpkg.tar") {
                found.push(entry.path());
            }
        }
    }
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err("the build ended without an error and without a package".to_owned()),
        count => Err(format!("the build left {count} packages instead of one")),
    }
}

/// Copies a small tree, links as links.
pub(super) fn copy_tree(from: &Path, to: &Path) -> Result<(), Failure> {
    let mut pending = vec![(from.to_owned(), to.to_owned())];
    while let Some((from, to)) = pending.pop() {
        fs::create_dir_all(&to).map_err(io_failure(&to))?;
        for entry in fs::read_dir(&from).map_err(io_failure(&from))? {
            let entry = entry.map_err(io_failure(&from))?;
            let (source, target) = (entry.path(), to.join(entry.file_name()));
            let kind = entry.file_type().map_err(io_failure(&source))?;
            if kind.is_dir() {
                pending.push((source, target));
            } else if kind.is_symlink() {
                let link = fs::read_link(&source).map_err(io_failure(&source))?;
                std::os::unix::fs::symlink(link, &target).map_err(io_failure(&target))?;
            } else {
                fs::copy(&source, &target).map_err(io_failure(&source))?;
            }
        }
    }
    Ok(())
}
