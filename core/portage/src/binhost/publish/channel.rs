//! One channel's directory: its generations, which of them is current, and the lock on changing that.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::str::FromStr;

use rustix::fs::FlockOperation;

use super::super::error::BinhostError;
use super::super::generation::Generation;
use super::super::index::PackagesIndex;
use super::super::pool::{file_error, lock, make_directory, sync_directory};

/// The name of a channel, `stable`: also a directory's name and part of a URL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelName(String);

impl ChannelName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ChannelName {
    type Err = BinhostError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
        if name.is_empty()
            || name.len() > 64
            || name.starts_with(['-', '_', '.'])
            || !name.bytes().all(allowed)
        {
            return Err(BinhostError::ChannelName { name: name.chars().take(100).collect() });
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Largest `generation.json` that is read: 500,000 entries of 250 bytes.
const MOST_RECORD_BYTES: u64 = 128 << 20;
/// Largest `Packages` that is read.
const MOST_INDEX_BYTES: u64 = 256 << 20;

pub(super) struct Channel {
    pub(super) directory: PathBuf,
    pub(super) name: ChannelName,
    _lock: Option<File>,
}

impl Channel {
    /// For reading: generations never change once they have their name.
    pub(super) fn unlocked(directory: PathBuf, name: &ChannelName) -> Self {
        Self { directory, name: name.clone(), _lock: None }
    }

    /// For changing; waits for whoever else is changing it.
    pub(super) fn lock(directory: PathBuf, name: &ChannelName) -> Result<Self, BinhostError> {
        make_directory(&directory.join("generations"))?;
        let lock = lock(&directory, FlockOperation::LockExclusive)?;
        Ok(Self { directory, name: name.clone(), _lock: Some(lock) })
    }

    pub(super) fn generation(&self, number: u64) -> PathBuf {
        self.directory.join("generations").join(number.to_string())
    }

    /// Numbers of all generations, ascending. Unfinished ones have names that are not numbers.
    pub(super) fn numbers(&self) -> Result<Vec<u64>, BinhostError> {
        let path = self.directory.join("generations");
        let mut numbers = Vec::new();
        let listing = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(numbers),
            other => other.map_err(file_error(&path, "listing it"))?,
        };
        for entry in listing {
            let name = entry.map_err(file_error(&path, "listing it"))?.file_name();
            numbers.extend(name.to_str().and_then(|name| name.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The number that `current` points to.
    pub(super) fn current(&self) -> Result<Option<u64>, BinhostError> {
        let path = self.directory.join("current");
        let target = match fs::read_link(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(file_error(&path, "reading the link"))?,
        };
        let number = target.strip_prefix("generations").ok().and_then(|name| name.to_str()?.parse().ok());
        number.map(Some).ok_or_else(|| self.missing(format!("{target:?}, where the link points")))
    }

    pub(super) fn before_current(&self) -> Result<u64, BinhostError> {
        let current = self.current()?.ok_or_else(|| self.missing("at all".to_owned()))?;
        let numbers = self.numbers()?;
        let before = numbers.into_iter().rfind(|number| *number < current);
        before.ok_or_else(|| self.missing(format!("before {current}")))
    }

    pub(super) fn read(&self, number: u64) -> Result<Generation, BinhostError> {
        let path = self.generation(number).join("generation.json");
        let bytes = self.read_file(number, "generation.json", MOST_RECORD_BYTES)?;
        serde_json::from_slice(&bytes).map_err(|source| BinhostError::Generation { path, source })
    }

    pub(super) fn index(&self, number: u64) -> Result<PackagesIndex, BinhostError> {
        Ok(PackagesIndex::parse(&self.read_file(number, "Packages", MOST_INDEX_BYTES)?)?)
    }

    fn read_file(&self, number: u64, name: &str, most: u64) -> Result<Vec<u8>, BinhostError> {
        let directory = self.generation(number);
        if !directory.is_dir() {
            return Err(self.missing(number.to_string()));
        }
        let path = directory.join(name);
        let mut bytes = Vec::new();
        let file = File::open(&path).map_err(file_error(&path, "opening it"))?;
        file.take(most).read_to_end(&mut bytes).map_err(file_error(&path, "reading it"))?;
        Ok(bytes)
    }

    fn missing(&self, wanted: String) -> BinhostError {
        BinhostError::NoGeneration { channel: self.name.to_string(), wanted }
    }

    /// Removes all but the newest `keep` generations and the current one.
    pub(super) fn prune(&self, keep: usize) -> Result<usize, BinhostError> {
        let current = self.current()?;
        let mut numbers = self.numbers()?;
        numbers.truncate(numbers.len().saturating_sub(keep));
        numbers.retain(|number| Some(*number) != current);
        for number in &numbers {
            let path = self.generation(*number);
            fs::remove_dir_all(&path).map_err(file_error(&path, "removing it"))?;
        }
        sync_directory(&self.directory.join("generations"))?;
        Ok(numbers.len())
    }
}
