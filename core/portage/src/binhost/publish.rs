//! Channels and their generations.

mod channel;
mod stage;
mod sweep;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use buildswarm_core::package::Cpv;
use buildswarm_core::time::UnixSeconds;
use buildswarm_core::{BlobId, BuildKey};
use rustix::fs::FlockOperation;

use crate::openpgp::SigningSession;

use super::error::BinhostError;
use super::generation::Generation;
use super::index::PackagesIndex;
use super::pool::{self, pool_path, sync_directory};

use channel::Channel;
pub use channel::ChannelName;
use stage::Draft;

/// How far the `TIMESTAMP` of successive indexes is apart at least, in seconds. A client asks for changes since
/// `TIMESTAMP + 5` (Portage, `util/_urlopen.py`), and a static web server compares that with the time of the
/// file, which we set to `TIMESTAMP`: a smaller step would make it answer "not modified".
pub(super) const TIMESTAMP_STEP_SECONDS: u64 = 6;
const _: () = assert!(TIMESTAMP_STEP_SECONDS > 5);

/// A directory of channels.
#[derive(Debug, Clone)]
pub struct Binhost {
    directory: PathBuf,
}

/// A package file to be offered.
#[derive(Debug, Clone)]
pub struct PublishedPackage {
    /// The package, as the index names it.
    pub cpv: Cpv,
    /// The key it was built for, if known; goes into [`Generation`].
    pub key: Option<BuildKey>,
    /// Address of the file's bytes.
    pub digest: BlobId,
    /// Where the file is now. It becomes a hard link in the pool, so it must never be written to again.
    pub source: PathBuf,
}

/// What [`Binhost::publish`] is to publish.
#[derive(Debug)]
pub struct Publication {
    /// Header and entries. `timestamp` is ignored and each `path` replaced by the one in the pool.
    pub index: PackagesIndex,
    /// One for each entry.
    pub packages: Vec<PublishedPackage>,
    /// The wall clock.
    pub now: UnixSeconds,
}

/// What publishing did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// A new generation is visible.
    New(Generation),
    /// The current generation offers the same already; nothing was written.
    Unchanged(Generation),
}

impl Published {
    /// The generation that is visible now.
    #[must_use]
    pub const fn generation(&self) -> &Generation {
        match self {
            Self::New(generation) | Self::Unchanged(generation) => generation,
        }
    }
}

fn package_error(cpv: &Cpv, reason: &'static str) -> BinhostError {
    BinhostError::Package { cpv: cpv.clone(), reason }
}

impl Binhost {
    /// The binhost in `directory`, which is made by the first publication.
    #[must_use]
    pub const fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes `publication` the current generation of `channel`, signed by `session` if there is one.
    ///
    /// Every package is put into the pool, read back and made durable before the generation appears, and the
    /// generation is complete and durable before the channel's link is switched to it. A crash at any point
    /// leaves the old generation current.
    ///
    /// # Errors
    /// [`BinhostError::Index`] for an index that cannot be written, also if it offers one `cpv` twice (Portage
    /// could choose the wrong one); [`BinhostError::Package`] if entries and packages do not belong together;
    /// [`BinhostError::Content`] if a file does not have its digest; [`BinhostError::File`],
    /// [`BinhostError::Sign`].
    pub fn publish(
        &self,
        channel: &ChannelName,
        publication: Publication,
        session: Option<&mut SigningSession<'_>>,
    ) -> Result<Published, BinhostError> {
        let Publication { mut index, packages, now } = publication;
        let mut packages: BTreeMap<Cpv, PublishedPackage> =
            packages.into_iter().map(|package| (package.cpv.clone(), package)).collect();
        one_entry_each(&index)?;
        let _offering = pool::lock(&self.directory, FlockOperation::LockShared)?;
        let durable = self.current(channel)?.map(|generation| generation.digests()).unwrap_or_default();
        let mut keys = BTreeMap::new();
        let mut directories = BTreeSet::new();
        for entry in &mut index.entries {
            let package = packages.remove(&entry.cpv);
            let package = package.ok_or_else(|| package_error(&entry.cpv, "no file was given for it"))?;
            entry.path = pool_path(&package.digest);
            keys.extend(package.key.map(|key| (entry.cpv.clone(), key)));
            let directory = pool::add(&self.directory, &package.digest, entry.size, &package.source)?;
            if !durable.contains(&package.digest) {
                directories.insert(directory);
            }
        }
        if let Some(cpv) = packages.into_keys().next() {
            return Err(package_error(&cpv, "a file was given for it but the index does not list it"));
        }
        directories.iter().try_for_each(|directory| sync_directory(directory))?;
        self.channel(channel)?.commit(Draft { index, keys, now, rollback_to: None }, session)
    }

    /// Makes a new generation with the packages of an older one: of `to`, or of the one before the current.
    /// It gets a fresh number and `TIMESTAMP`, since clients ignore an index older than what they have.
    ///
    /// # Errors
    /// [`BinhostError::NoGeneration`] if there is none such; as [`publish`](Self::publish).
    pub fn rollback(
        &self,
        channel: &ChannelName,
        to: Option<u64>,
        now: UnixSeconds,
        session: Option<&mut SigningSession<'_>>,
    ) -> Result<Published, BinhostError> {
        let _offering = pool::lock(&self.directory, FlockOperation::LockShared)?;
        let channel = self.channel(channel)?;
        let to = match to {
            Some(to) => to,
            None => channel.before_current()?,
        };
        let old = channel.read(to)?;
        let index = channel.index(to)?;
        channel.commit(Draft { index, keys: old.keys(), now, rollback_to: Some(to) }, session)
    }

    /// All generations of `channel`, oldest first; none if there is no such channel.
    ///
    /// # Errors
    /// [`BinhostError::Generation`] if one is damaged, [`BinhostError::File`].
    pub fn generations(&self, channel: &ChannelName) -> Result<Vec<Generation>, BinhostError> {
        let directory = self.channel_directory(channel);
        if !directory.exists() {
            return Ok(Vec::new());
        }
        let channel = Channel::unlocked(directory, channel);
        channel.numbers()?.into_iter().map(|number| channel.read(number)).collect()
    }

    /// The generation clients see, if any.
    ///
    /// # Errors
    /// As [`generations`](Self::generations).
    pub fn current(&self, channel: &ChannelName) -> Result<Option<Generation>, BinhostError> {
        let channel = Channel::unlocked(self.channel_directory(channel), channel);
        channel.current()?.map(|number| channel.read(number)).transpose()
    }

    /// Removes all but the newest `keep` generations and the current one, and returns how many. Their packages
    /// stay until [`sweep`](Self::sweep).
    ///
    /// # Errors
    /// [`BinhostError::File`].
    pub fn prune(&self, channel: &ChannelName, keep: usize) -> Result<usize, BinhostError> {
        self.channel(channel)?.prune(keep)
    }

    /// The index of a generation, parsed.
    ///
    /// # Errors
    /// [`BinhostError::NoGeneration`], [`BinhostError::Index`], [`BinhostError::File`].
    pub fn index(&self, channel: &ChannelName, number: u64) -> Result<PackagesIndex, BinhostError> {
        Channel::unlocked(self.channel_directory(channel), channel).index(number)
    }

    fn channel_directory(&self, channel: &ChannelName) -> PathBuf {
        self.directory.join("channels").join(channel.as_str())
    }

    fn channel(&self, channel: &ChannelName) -> Result<Channel, BinhostError> {
        Channel::lock(self.channel_directory(channel), channel)
    }
}

/// Portage picks among several variants of one `cpv` by its own rules, which know nothing of build keys.
fn one_entry_each(index: &PackagesIndex) -> Result<(), BinhostError> {
    let mut seen = BTreeSet::new();
    match index.entries.iter().find(|entry| !seen.insert(&entry.cpv)) {
        Some(entry) => Err(super::error::IndexError::Duplicate { cpv: entry.cpv.clone() }.into()),
        None => Ok(()),
    }
}
