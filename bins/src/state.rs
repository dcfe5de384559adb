//! The state directory: what is where in it.

use std::fs;
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

    fn store(&self) -> PathBuf {
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
    pub fn work_directory(&self) -> Result<tempfile::TempDir> {
        let work = self.work();
        fs::create_dir_all(&work).with_context(|| work.display().to_string())?;
        self.remove_abandoned();
        tempfile::Builder::new()
            .prefix(&format!("{}-", std::process::id()))
            .tempdir_in(&work)
            .with_context(|| work.display().to_string())
    }

    /// Removes work directories whose process is gone. One that cannot be removed is left for next time.
    fn remove_abandoned(&self) {
        for entry in fs::read_dir(self.work()).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let owner = name.split_once('-').and_then(|(pid, _)| pid.parse::<u32>().ok());
            let is_alive = owner.is_some_and(|pid| Path::new(&format!("/proc/{pid}")).exists());
            if !is_alive {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}
