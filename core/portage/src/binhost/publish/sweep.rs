//! Removing packages that no generation offers any more.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use buildswarm_core::BlobId;
use rustix::fs::FlockOperation;

use super::super::error::BinhostError;
use super::super::pool::{file_error, lock, pool_id};
use super::Binhost;
use super::channel::ChannelName;

impl Binhost {
    /// Names of all channels, sorted.
    ///
    /// # Errors
    /// [`BinhostError::File`], [`BinhostError::ChannelName`] if a directory there has another kind of name.
    pub fn channels(&self) -> Result<Vec<ChannelName>, BinhostError> {
        let path = self.directory().join("channels");
        let mut names =
            list(&path)?.iter().map(|name| name.parse()).collect::<Result<Vec<ChannelName>, _>>()?;
        names.sort();
        Ok(names)
    }

    /// Removes files of the pool that no generation of any channel offers and that have been in the pool (or
    /// had their links changed) for at least `grace`, by the time `now`. Returns how many and how many bytes.
    ///
    /// Fails closed: if any generation cannot be read, nothing is removed.
    ///
    /// # Errors
    /// [`BinhostError::Generation`], [`BinhostError::File`].
    pub fn sweep(&self, now: SystemTime, grace: Duration) -> Result<(usize, u64), BinhostError> {
        let _sweeping = lock(self.directory(), FlockOperation::LockExclusive)?;
        let mut offered: BTreeSet<BlobId> = BTreeSet::new();
        for channel in self.channels()? {
            for generation in self.generations(&channel)? {
                offered.extend(generation.digests());
            }
        }
        let pool = self.directory().join("pool");
        let (mut count, mut bytes) = (0, 0);
        for group in list(&pool)? {
            let directory = pool.join(group);
            for name in list(&directory)? {
                let path = directory.join(&name);
                if pool_id(&name).is_some_and(|id| !offered.contains(&id)) && is_old(&path, now, grace)? {
                    bytes += fs::symlink_metadata(&path).map_err(file_error(&path, "looking at it"))?.len();
                    count += 1;
                    fs::remove_file(&path).map_err(file_error(&path, "removing it"))?;
                }
            }
        }
        Ok((count, bytes))
    }
}

/// The change time moves when a link is made, so it tells since when a file has been in the pool.
fn is_old(path: &Path, now: SystemTime, grace: Duration) -> Result<bool, BinhostError> {
    use std::os::unix::fs::MetadataExt as _;
    let found = fs::symlink_metadata(path).map_err(file_error(path, "looking at it"))?;
    let since = Duration::from_secs(u64::try_from(found.ctime()).unwrap_or(0));
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Ok(now.saturating_sub(since) >= grace)
}

fn list(directory: &Path) -> Result<Vec<String>, BinhostError> {
    let listing = match fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(file_error(directory, "listing it"))?,
    };
    let mut names = Vec::new();
    for entry in listing {
        let entry = entry.map_err(file_error(directory, "listing it"))?;
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}
