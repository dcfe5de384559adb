//! Opening a store, and what its operations share.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use buildswarm_core::BlobId;
use rusqlite::Connection;

use crate::artifacts::TableState;
use crate::error::{Error, Result};
use crate::index::rows::{self, Place, Stored};
use crate::index::{self, Fault, Index};
use crate::layout::{Layout, SHARDS, shard_of};
use crate::lock::ExclusiveLock;
use crate::packs::{Packs, Seen};
use crate::pins::Pins;
use crate::room::Room;
use crate::uses::Uses;
use crate::{disk, filesystem};

/// A store, open in this process.
///
/// - Blobs: [`put`](Self::put), [`put_bytes`](Self::put_bytes), [`put_file`](Self::put_file),
///   [`put_pinned`](Self::put_pinned), [`put_within`](Self::put_within), [`open_blob`](Self::open_blob),
///   [`read_blob`](Self::read_blob), [`read_range`](Self::read_range), [`verified_path`](Self::verified_path),
///   [`pinned_path`](Self::pinned_path), [`contains`](Self::contains)
/// - Many at once: [`batch`](Self::batch)
/// - Trees: [`put_tree`](Self::put_tree), [`materialise`](Self::materialise),
///   [`read_directory`](Self::read_directory), [`walk_tree`](Self::walk_tree), [`tree_blobs`](Self::tree_blobs)
/// - What stays: [`pin`](Self::pin), [`have`](Self::have), [`set_root`](Self::set_root),
///   [`remove_root`](Self::remove_root), [`roots`](Self::roots)
/// - Room: [`reserve`](Self::reserve), [`set_quota`](Self::set_quota)
/// - Artifacts: [`commit_artifact`](Self::commit_artifact), [`artifact`](Self::artifact),
///   [`artifacts`](Self::artifacts), [`present`](Self::present), [`reused`](Self::reused),
///   [`reuse_keys_of`](Self::reuse_keys_of), [`artifacts_of`](Self::artifacts_of),
///   [`all_artifacts`](Self::all_artifacts), [`remove_artifact`](Self::remove_artifact),
///   [`reproductions`](Self::reproductions)
/// - Signed packages: [`put_signed`](Self::put_signed), [`signed_package`](Self::signed_package)
/// - Runs: [`begin_run`](Self::begin_run), [`update_job`](Self::update_job), [`update_jobs`](Self::update_jobs),
///   [`finish_run`](Self::finish_run), [`runs`](Self::runs), [`jobs`](Self::jobs)
/// - History: [`record_attempt`](Self::record_attempt), [`attempts`](Self::attempts),
///   [`duration_estimates`](Self::duration_estimates)
/// - Channels: [`record_generation`](Self::record_generation), [`generations`](Self::generations),
///   [`set_current`](Self::set_current), [`current`](Self::current), [`remove_generation`](Self::remove_generation)
/// - Upkeep: [`gc`](Self::gc), [`verify`](Self::verify), [`stats`](Self::stats)
///
/// A store opened for reading refuses what changes it with [`Error::ReadOnly`].
#[derive(Debug)]
pub struct Store {
    pub(crate) shared: Arc<Shared>,
}

/// What a [`Store`] and the readers it has handed out hold together.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) layout: Layout,
    pub(crate) index: Index,
    pub(crate) pins: Arc<Pins>,
    pub(crate) room: Arc<Room>,
    pub(crate) uses: Uses,
    pub(crate) packs: Packs,
    pub(crate) table: TableState,
    /// Whoever changes the file of a blob holds the mutex of its shard, from looking at the file until the
    /// index agrees with it. Taken before the index's writer, never while holding it.
    shards: Box<[Mutex<()>]>,
    /// Last, so that it is given up after the index is closed. `None` in a store opened for reading.
    _lock: Option<ExclusiveLock>,
}

impl Store {
    /// Opens the store in `dir` for reading and writing, creating it if there is none.
    ///
    /// One process at a time may do so; its right ends with it. What an interrupted process left half-written
    /// is removed.
    ///
    /// # Errors
    /// [`Error::InUse`] if it is open elsewhere, [`Error::NewerFormat`] if a later version wrote it,
    /// [`Error::UnsuitableFilesystem`] on a network or FUSE file system, [`Error::IndexMissing`] and
    /// [`Error::IndexDamaged`] if the index is lost or broken, and those of the file system.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        let layout = Layout::new(dir.as_ref());
        disk::create_dir_all(layout.root())?;
        filesystem::check(layout.root())?;
        let lock = ExclusiveLock::acquire(&layout)?;
        // The index comes before the directories for blobs: blobs without an index are then always a loss.
        let index = Index::open(&layout, lock.was_unclean())?;
        create_dirs(&layout)?;
        for left in disk::list(&layout.tmp())? {
            disk::remove(&left.path)?;
        }
        Ok(Self::new(layout, index, Some(lock)))
    }

    /// Opens the store in `dir` for reading, also while another process writes to it.
    ///
    /// # Errors
    /// [`Error::NoStore`] if there is none, otherwise as [`open`](Self::open).
    pub fn open_read_only(dir: impl AsRef<Path>) -> Result<Self> {
        let layout = Layout::new(dir.as_ref());
        if !layout.index().is_file() {
            return Err(if index::is_needed(&layout)? {
                Error::IndexMissing { path: layout.index() }
            } else {
                Error::NoStore { path: layout.root().to_owned() }
            });
        }
        filesystem::check(layout.root())?;
        let index = Index::open_read_only(&layout)?;
        Ok(Self::new(layout, index, None))
    }

    fn new(layout: Layout, index: Index, lock: Option<ExclusiveLock>) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        let room = Arc::new(Room::new(layout.root()));
        let (packs, pins, uses, table) = Default::default();
        Self {
            shared: Arc::new(Shared { layout, index, packs, pins, room, uses, table, shards, _lock: lock }),
        }
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.shared.layout.root()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.leave_table();
    }
}

impl Shared {
    /// The right to change the files of a shard.
    pub(crate) fn shard(&self, shard: u8) -> MutexGuard<'_, ()> {
        self.shards[usize::from(shard)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The right to change the file of a blob.
    pub(crate) fn turn(&self, id: &BlobId) -> MutexGuard<'_, ()> {
        self.shard(shard_of(id))
    }

    pub(crate) fn require_writable(&self) -> Result<()> {
        if self.index.is_writable() {
            return Ok(());
        }
        Err(Error::ReadOnly { path: self.layout.root().to_owned() })
    }

    /// Whether a blob is there, as far as can be told without reading it.
    pub(crate) fn is_there(&self, stored: &Stored) -> Result<bool> {
        self.is_there_as_seen(stored, &mut Seen::default())
    }

    /// As [`is_there`](Self::is_there), looking for each pack once.
    pub(crate) fn is_there_as_seen(&self, stored: &Stored, seen: &mut Seen) -> Result<bool> {
        match stored.place {
            Place::Packed { pack, .. } if stored.sound && seen.get(pack) != Some(true) => {
                self.index.read(|reader| self.is_there_within(reader, stored, seen))
            }
            Place::Packed { .. } => Ok(stored.sound),
            Place::Inline(_) | Place::File => self.has_own_copy(stored),
        }
    }

    /// As [`is_there_as_seen`](Self::is_there_as_seen), within a transaction, which may have rows that nobody else sees.
    pub(crate) fn is_there_within(
        &self,
        connection: &Connection,
        stored: &Stored,
        seen: &mut Seen,
    ) -> Result<bool, Fault> {
        let Place::Packed { pack, .. } = stored.place else { return Ok(self.has_own_copy(stored)?) };
        if !stored.sound || self.pack_is_there(connection, pack, seen)? {
            return Ok(stored.sound);
        }
        // Collection moves blobs from pack to pack.
        match rows::find(connection, stored.blob.id)? {
            Some(now) if now.place != stored.place => self.is_there_within(connection, &now, seen),
            _ => Ok(false),
        }
    }

    /// Whether a blob that is in no pack is there.
    fn has_own_copy(&self, stored: &Stored) -> Result<bool> {
        if stored.sound && stored.place == Place::File {
            return disk::has_size(&self.layout.blob(&stored.blob.id), stored.blob.size);
        }
        Ok(stored.sound)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Nobody is left to tell, and a note that is lost costs a blob its place in a queue.
        let _ = self.write_uses();
    }
}

pub(crate) fn create_dirs(layout: &Layout) -> Result<()> {
    for dir in [layout.blobs(), layout.packs(), layout.tmp(), layout.quarantine(), layout.caches()] {
        disk::create_dir(&dir)?;
    }
    // All shards at once and one sync, here rather than in the first put of each: a name that a killed process
    // made and did not sync would look durable to the next one.
    for shard in 0..=u8::MAX {
        disk::create_shard(&layout.shard(shard))?;
    }
    disk::sync_dir(&layout.blobs())?;
    disk::sync_dir(layout.root())
}
