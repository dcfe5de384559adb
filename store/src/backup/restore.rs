//! From a backup back to a store.

use std::path::Path;

use buildswarm_core::time::UnixSeconds;
use rusqlite::{Connection, params};

use super::{BackupReport, Carrier, How, Progress, install, prepare};
use crate::clock::now;
use crate::disk;
use crate::error::{Error, Result};
use crate::filesystem;
use crate::index::values::Unsigned;
use crate::journal;
use crate::layout::Layout;
use crate::lock::{ExclusiveLock, Removals};
use crate::rebuild::leap;
use crate::store::{Store, create_dirs};

/// One time that a store was brought back from a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// When.
    pub at: UnixSeconds,
    /// Number of the last record of the journal that the backup had. What happened after that one is not known to the
    /// store, though others may have seen it.
    pub noted: u64,
}

impl Store {
    /// Makes a store in `to` from the backup, or the store, in `from`. Every blob is copied, and hashed on the way.
    ///
    /// The new store has the identity of the one that was backed up, and it knows that it was brought back: whatever was
    /// published from the other one after the backup was made may have been seen, but this one does not know of it.
    /// [`restored`](Self::restored) says so. Whoever publishes must not let a channel go back silently: publish anew
    /// before serving, under a higher epoch if there is one.
    ///
    /// # Errors
    /// [`Error::NotEmpty`] if there is anything in `to`, otherwise as [`open_read_only`](Self::open_read_only) and those of
    /// the file system. What was copied by then is left in `to`; the backup is not changed.
    pub fn restore(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<BackupReport> {
        Self::restore_with(from, to, &|_| {})
    }

    /// As [`restore`](Self::restore), telling `progress` from time to time how far it is.
    ///
    /// # Errors
    /// As [`restore`](Self::restore).
    pub fn restore_with(
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
        progress: &dyn Fn(Progress),
    ) -> Result<BackupReport> {
        // Opened to learn whether it is a store that this version can read.
        let source = Self::open_read_only(from)?;
        let from = &source.shared.layout;
        let to = Layout::new(to.as_ref());
        disk::create_dir_all(to.root())?;
        if !disk::is_empty_dir(to.root())? {
            return Err(Error::NotEmpty { path: to.root().to_owned() });
        }
        filesystem::check(to.root())?;
        let _lock = ExclusiveLock::acquire(&to)?;
        let _removals = Removals::stop(from)?;
        create_dirs(&to)?;
        let snapshot = to.tmp().join("index.db");
        let connection = prepare(from, &to, &snapshot)?;
        let mut report = Carrier::new(from, &to, How::Copy, progress).carry(&connection)?;
        record(&connection).map_err(|error| Error::index(&snapshot, error))?;
        report.index_bytes = install(&to, &snapshot, connection)?;
        Ok(report)
    }

    /// Each time that this store was brought back from a backup, oldest first.
    ///
    /// # Errors
    /// Those of the index.
    pub fn restored(&self) -> Result<Vec<Restored>> {
        self.shared.index.read(|reader| {
            let mut query = reader.prepare("SELECT at, noted FROM restores ORDER BY number")?;
            let found = query.query_map([], |row| {
                let (at, noted) = (row.get::<_, Unsigned>(0)?, row.get::<_, Unsigned>(1)?.0);
                Ok(Restored { at: at.into(), noted })
            })?;
            Ok(found.collect::<Result<_, _>>()?)
        })
    }
}

fn record(index: &Connection) -> rusqlite::Result<()> {
    let (_, noted) = journal::identity(index)?;
    index.execute(
        "INSERT INTO restores (at, noted) VALUES (?1, ?2)",
        params![Unsigned(now()), Unsigned(noted)],
    )?;
    // Whoever remembers what the other store had must not believe it of this one.
    leap(index)
}
