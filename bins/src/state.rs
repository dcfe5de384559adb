//! The state directory: what is where in it.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use buildswarm_store::Store;

use crate::config::{Config, default_state};

/// The state directory of a machine or user.
#[derive(Debug, Clone)]
pub struct State {
    directory: PathBuf,
}

impl State {
    /// The configured directory, or the default one. It need not exist.
    ///
    /// # Errors
    /// If there is neither.
    pub fn of(config: &Config) -> Result<Self> {
        let directory = match &config.state {
            Some(directory) => directory.clone(),
            None => default_state()?,
        };
        Ok(Self { directory: std::path::absolute(&directory).context("the state directory")? })
    }

    /// The directory itself.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Opens the store for reading and writing, made if there is none.
    ///
    /// # Errors
    /// The store's own; who else has it open, for one.
    pub fn open_store(&self) -> Result<Store> {
        fs::create_dir_all(&self.directory)
            .with_context(|| format!("{} cannot be used as state directory", self.directory.display()))?;
        Ok(Store::open(self.store())?)
    }

    /// Opens the store for reading, beside whoever writes to it.
    ///
    /// # Errors
    /// The store's own; that there is none yet, for one.
    pub fn read_store(&self) -> Result<Store> {
        Ok(Store::open_read_only(self.store())?)
    }

    /// The store, which need not be there.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.directory.join("store")
    }

    /// Verified sources.
    #[must_use]
    pub fn distfiles(&self) -> PathBuf {
        self.directory.join("distfiles")
    }

    /// Metadata of ebuilds, kept by Portage from one plan to the next.
    #[must_use]
    pub fn metadata_cache(&self) -> PathBuf {
        self.directory.join("metadata")
    }

    /// What is served.
    #[must_use]
    pub fn binhost(&self) -> PathBuf {
        self.directory.join("binhost")
    }

    /// The signing key.
    #[must_use]
    pub fn signing_key(&self) -> PathBuf {
        self.directory.join("gnupg")
    }

    /// Logs of what is being built; finished ones are in the store.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.directory.join("logs")
    }

    fn work(&self) -> PathBuf {
        self.directory.join("work")
    }

    /// An empty directory for this process, removed with the value. What killed processes left is removed
    /// first.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn work_directory(&self) -> Result<WorkDirectory> {
        let work = self.work();
        fs::create_dir_all(&work).with_context(|| work.display().to_string())?;
        // Held while a directory has no lock of its own yet.
        let registry = File::create(work.join("lock")).with_context(|| work.display().to_string())?;
        registry.lock().with_context(|| work.display().to_string())?;
        remove_abandoned(&work);
        let directory = tempfile::Builder::new()
            .prefix(&format!("{}-", std::process::id()))
            .tempdir_in(&work)
            .with_context(|| work.display().to_string())?;
        let path = directory.path().join(LOCK);
        let lock = File::create(&path).with_context(|| path.display().to_string())?;
        lock.lock().with_context(|| path.display().to_string())?;
        Ok(WorkDirectory { directory, _lock: lock })
    }
}

/// Locked for as long as the process lives that a work directory belongs to.
const LOCK: &str = "in-use";

/// A directory for one process.
#[derive(Debug)]
pub struct WorkDirectory {
    directory: tempfile::TempDir,
    _lock: File,
}

impl WorkDirectory {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// Removes work directories whose process is gone, which is who held the lock. One that cannot be removed is
/// left for next time.
fn remove_abandoned(work: &Path) {
    for entry in fs::read_dir(work).into_iter().flatten().flatten() {
        if !entry.path().is_dir() {
            continue;
        }
        let is_in_use = File::open(entry.path().join(LOCK))
            .is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)));
        if !is_in_use {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_abandoned_work_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let state = State { directory: dir.path().to_owned() };
        let mine = state.work_directory().unwrap();
        let left = dir.path().join("work/1-left");
        fs::create_dir_all(left.join("deep")).unwrap();
        let other = state.work_directory().unwrap();
        assert!(mine.path().is_dir() && other.path().is_dir() && !left.exists());
        let path = other.path().to_owned();
        drop(other);
        assert!(!path.exists());
    }
}
