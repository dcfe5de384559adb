//! Copies of a whole store: out while it is in use, and back.
//!
//! A backup is a store directory itself. Files of blobs come first and the index that refers to them last, by one rename, so
//! a backup that was interrupted is still the one before.

mod carry;
mod restore;

use std::path::Path;

use buildswarm_core::artifact::BlobRef;
use rusqlite::Connection;

use crate::disk;
use crate::error::{Error, Result};
use crate::filesystem;
use crate::gc::Tally;
use crate::index;
use crate::journal::{self, Journal};
use crate::layout::Layout;
use crate::lock::{ExclusiveLock, Removals};
use crate::store::{Store, create_dirs};
use carry::{Carrier, How};
pub use restore::Restored;

/// What a backup or a restoration did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct BackupReport {
    /// Files that were there already, from an earlier backup.
    pub unchanged: Tally,
    /// Files that are now known by two names: one copy of the bytes, which is no help against a failing disk.
    pub linked: Tally,
    /// Files that were copied, and hashed while they were.
    pub copied: Tally,
    /// Files that the earlier backup needed and this one does not.
    pub removed: Tally,
    /// Bytes of the index, with the small blobs in it.
    pub index_bytes: u64,
    /// Blobs that the store could not give: they were damaged, or gone. In the copy they count as missing.
    pub missing: Vec<BlobRef>,
}

/// How far a long operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// What is done.
    pub done: Tally,
    /// What there is to do in all, as far as that is known.
    pub total: Tally,
}

impl Store {
    /// Copies the whole store to the directory `to`, which is new, empty, or holds an earlier backup of this store: then
    /// only what is new is copied, and what this store has no more is removed there.
    ///
    /// The store may be in use meanwhile, by this process and by others, and also be open for reading only. What was
    /// acknowledged before this is called is in the backup. Collections are refused until it returns. On the same file
    /// system blobs get a second name rather than being copied.
    ///
    /// A backup is a store: it can be opened, read, verified and even rebuilt. To go on with one, bring it back with
    /// [`restore`](Self::restore).
    ///
    /// ```
    /// use buildswarm_store::Store;
    /// # let dir = tempfile::tempdir()?;
    /// # let (path, to, back) = (dir.path().join("store"), dir.path().join("backup"), dir.path().join("back"));
    /// let store = Store::open(&path)?;
    /// let blob = store.put_bytes(b"the log of a build")?;
    /// assert!(store.backup(&to)?.missing.is_empty());
    /// Store::restore(&to, &back)?;
    /// assert!(Store::open(&back)?.contains(blob.id)?);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NotABackup`] if the directory holds something else, [`Error::InUse`] if somebody has it open for writing,
    /// and those of the index and of the file systems. What was there before can still be used then.
    pub fn backup(&self, to: impl AsRef<Path>) -> Result<BackupReport> {
        self.backup_with(to, &|_| {})
    }

    /// As [`backup`](Self::backup), telling `progress` from time to time how far it is.
    ///
    /// # Errors
    /// As [`backup`](Self::backup).
    pub fn backup_with(&self, to: impl AsRef<Path>, progress: &dyn Fn(Progress)) -> Result<BackupReport> {
        let from = &self.shared.layout;
        let to = Layout::new(to.as_ref());
        let uuid = self.shared.index.read(|reader| Ok(journal::identity(reader)?.0))?;
        claim(&to, uuid)?;
        filesystem::check(to.root())?;
        let _lock = ExclusiveLock::acquire(&to)?;
        let _removals = Removals::stop(from)?;
        create_dirs(&to)?;
        let snapshot = to.tmp().join("index.db");
        let connection = prepare(from, &to, &snapshot)?;
        let mut report = Carrier::new(from, &to, How::LinkOrCopy, progress).carry(&connection)?;
        report.index_bytes = install(&to, &snapshot, connection)?;
        report.removed = prune(&to)?;
        Ok(report)
    }
}

/// Makes the directory one for backups of the store, or finds that it is.
fn claim(to: &Layout, uuid: [u8; 16]) -> Result<()> {
    let mark = format!("backup of store {:032x}\n", u128::from_be_bytes(uuid));
    disk::create_dir_all(to.root())?;
    match disk::read_small(&to.backup_mark())? {
        Some(found) if found == mark.as_bytes() => Ok(()),
        None if disk::is_empty_dir(to.root())? => disk::write_small(&to.backup_mark(), mark.as_bytes()),
        _ => Err(Error::NotABackup { path: to.root().to_owned() }),
    }
}

/// Writes the index as it is at this moment to a file of its own and opens that.
fn prepare(from: &Layout, to: &Layout, snapshot: &Path) -> Result<Connection> {
    for left in disk::list(&to.tmp())? {
        disk::remove(&left.path)?;
    }
    index::snapshot(&from.index(), snapshot)?;
    index::open_apart(snapshot)
}

/// Puts the new index in the place of the old one, and a journal beside it; its bytes.
fn install(to: &Layout, snapshot: &Path, connection: Connection) -> Result<u64> {
    connection.close().map_err(|(_, error)| Error::index(snapshot, error))?;
    disk::sync_file(snapshot)?;
    // A log beside an index that it is not of would change that one, and a journal that is ahead of its index would be
    // followed. Without the journal the old index is still a whole one.
    index::fold_log(&to.index())?;
    let old = disk::list(&to.journal())?;
    for segment in &old {
        disk::remove(&segment.path)?;
    }
    if !old.is_empty() {
        disk::sync_dir(&to.journal())?;
    }
    disk::replace(snapshot, &to.index())?;
    let connection = index::open_apart(&to.index())?;
    Journal::begin(to, &connection)?;
    disk::size(&to.index())
}

/// Removes files that the index in `to` does not refer to.
fn prune(to: &Layout) -> Result<Tally> {
    let connection = index::open_apart(&to.index())?;
    let mut removed = Tally::default();
    for file in carry::unknown_files(to, &connection)? {
        if disk::remove(&file.path)? {
            removed.add(file.size);
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests;
