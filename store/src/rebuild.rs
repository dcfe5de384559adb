//! Making the index again from what else there is: blobs, packs and the journal.

mod scan;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use buildswarm_core::artifact::BlobRef;
use rusqlite::Connection;

use crate::clock::now;
use crate::disk;
use crate::error::{Error, Result};
use crate::filesystem;
use crate::gc::Tally;
use crate::index::rows::{self, Place, Stored};
use crate::index::values::{Bytes32, Unsigned};
use crate::index::{self, Index, Transaction};
use crate::journal::{Missing, Replay, apply};
use crate::layout::Layout;
use crate::lock::ExclusiveLock;
use crate::packs::{self, Contents};
use crate::store::{Store, create_dirs};
use scan::Seen;

/// What [`Store::rebuild`] found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RebuildReport {
    /// Blobs that are there. Each was read and hashed.
    pub blobs: Tally,
    /// Records of the journal that were followed.
    pub records: u64,
    /// Artifacts of the new index.
    pub artifacts: u64,
    /// Files whose bytes are not those of their name. They are in the quarantine now, except for packs that still have
    /// sound blobs.
    pub damaged: Vec<PathBuf>,
    /// Files that could not be read, with the reason. They stay where they are, and count as missing.
    pub unreadable: Vec<(PathBuf, String)>,
    /// Blobs that something refers to and that are not there. What refers to them is there again when they are.
    pub missing: Vec<BlobRef>,
    /// What of the journal could not be followed. What only those bytes told is lost.
    pub journal: Vec<String>,
    /// Where the old index is now, if there was one.
    pub old_index: Option<PathBuf>,
}

impl RebuildReport {
    /// Whether everything is there that was.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.damaged.is_empty()
            && self.unreadable.is_empty()
            && self.missing.is_empty()
            && self.journal.is_empty()
    }
}

impl Store {
    /// Makes a new index for the store in `dir` from its blobs and its journal, whether it has one or not. Every blob is
    /// read and hashed.
    ///
    /// The old index is kept as `index-damaged-SECONDS.db`; nothing reads it any more. What no file and no record tells is
    /// not in the new one: runs, jobs, attempts, reproductions and leases. Blobs that nothing refers to count as put just
    /// now.
    ///
    /// ```
    /// use buildswarm_store::Store;
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store");
    /// let blob = Store::open(&path)?.put_bytes(b"the log of a build")?;
    /// std::fs::remove_file(path.join("index.db"))?;
    /// assert!(Store::open(&path).is_err());
    /// assert!(Store::rebuild(&path)?.is_whole());
    /// assert!(Store::open(&path)?.contains(blob.id)?);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InUse`] if it is open for writing, [`Error::NoStore`] if there is nothing to make an index from, and those
    /// of the file system. The old index is in its place then, or none is.
    pub fn rebuild(dir: impl AsRef<Path>) -> Result<RebuildReport> {
        let layout = Layout::new(dir.as_ref());
        if !index::is_needed(&layout)? {
            return Err(Error::NoStore { path: layout.root().to_owned() });
        }
        filesystem::check(layout.root())?;
        let _lock = ExclusiveLock::acquire(&layout)?;
        create_dirs(&layout)?;
        let new = layout.tmp().join("rebuilt.db");
        let mut report = make(&layout, &new)?;
        disk::sync_file(&new)?;
        report.old_index = set_aside(&layout)?;
        disk::replace(&new, &layout.index())?;
        if !report.journal.is_empty() {
            // What could not be read is lost; from here on journal and index agree again.
            Index::open(&layout, false)?.renew_journal()?;
        }
        Ok(report)
    }
}

/// Makes the index as the file `new`.
fn make(layout: &Layout, new: &Path) -> Result<RebuildReport> {
    let named = |error| Error::index(new, error);
    for left in disk::list(&layout.tmp())? {
        disk::remove(&left.path)?;
    }
    let connection = index::create_apart(new)?;
    // All at once: a file that is not whole is thrown away.
    connection.execute_batch("BEGIN").map_err(named)?;
    let transaction = Transaction::on(&connection);
    let mut report = RebuildReport::default();
    let replay = Replay::of(layout, |record| apply(layout, &transaction, record, Missing::Counts).map(drop))?;
    scan::all(layout, |seen| take(layout, &transaction, &mut report, seen))?;
    report.records = replay.records;
    report.journal = replay.damage.iter().map(ToString::to_string).collect();
    identify(&connection, &replay).map_err(named)?;
    summarise(&connection, &mut report).map_err(named)?;
    connection.execute_batch("COMMIT").map_err(named)?;
    if let Some(finding) = index::damage(&connection).map_err(named)?.into_iter().next() {
        return Err(Error::IndexDamaged { path: new.to_owned(), finding });
    }
    connection.close().map_err(|(_, error)| named(error))?;
    report.damaged.sort_unstable();
    report.unreadable.sort_unstable();
    Ok(report)
}

/// Records what is at a place where blobs are.
fn take(
    layout: &Layout,
    transaction: &Transaction<'_>,
    report: &mut RebuildReport,
    seen: Seen,
) -> Result<()> {
    let named = |error| Error::index(&layout.index(), error);
    match seen {
        Seen::Blob(blob) => rows::insert(transaction, blob, None, now()).map_err(named),
        Seen::Pack(contents) => {
            // The next collection moves what is sound in it to another.
            if !contents.intact {
                report.damaged.push(layout.pack(&contents.pack.id));
            }
            take_pack(transaction, &contents).map_err(named)
        }
        Seen::Damaged(path, id) => {
            disk::move_aside(&path, &layout.quarantined(&id))?;
            report.damaged.push(path);
            Ok(())
        }
        Seen::Unreadable(path, error) => {
            report.unreadable.push((path, error.whole()));
            Ok(())
        }
    }
}

/// Takes packs into an index that does not know them: of a batch that was not committed, or because the index has lost what
/// it knew.
pub(crate) fn adopt_packs(layout: &Layout, transaction: &Transaction<'_>) -> Result<()> {
    let named = |error| Error::index(&layout.index(), error);
    let mut known = transaction.prepare_cached("SELECT 1 FROM packs WHERE id = ?1").map_err(named)?;
    for file in disk::list(&layout.packs())? {
        let Ok(id) = file.name.parse() else { continue };
        if known.exists([Bytes32::from(id)]).map_err(named)? {
            continue;
        }
        // One that is damaged is for a new index, which says so.
        if let Some(contents) = packs::contents(&file.path, BlobRef { id, size: file.size })?
            && contents.intact
        {
            disk::sync_file(&file.path)?;
            disk::sync_dir(&layout.packs())?;
            take_pack(transaction, &contents).map_err(named)?;
        }
    }
    Ok(())
}

fn take_pack(transaction: &Transaction<'_>, contents: &Contents) -> rusqlite::Result<()> {
    let pack = packs::rows::insert(transaction, contents.pack)?;
    if !contents.intact {
        packs::rows::mark_bad(transaction, pack)?;
    }
    for member in &contents.members {
        let Place::Packed { position, .. } = member.place else { continue };
        let stored = Stored { place: Place::Packed { pack, position }, stored_at: now(), ..*member };
        // It may be somewhere else, too: one place is enough.
        if !rows::insert_new(transaction, &stored)?
            && !rows::find(transaction, member.blob.id)?.is_some_and(|known| known.sound)
        {
            rows::replace(transaction, &stored)?;
        }
    }
    Ok(())
}

/// Lets the new index be that of the store it belongs to.
fn identify(connection: &Connection, replay: &Replay) -> rusqlite::Result<()> {
    if let Some(uuid) = replay.uuid {
        connection.execute("UPDATE store SET uuid = ?1", [uuid])?;
    }
    connection.execute("UPDATE store SET noted = ?1", [Unsigned(replay.last)])?;
    leap(connection)
}

/// Counts so many losses that whoever remembers an earlier number sees another one now: how many there were is not known,
/// but fewer than microseconds since 1970.
pub(crate) fn leap(connection: &Connection) -> rusqlite::Result<()> {
    let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    let micros = Unsigned(u64::try_from(micros).unwrap_or_default());
    connection.execute("UPDATE store SET losses = max(losses + 1, ?1)", [micros]).map(drop)
}

fn summarise(connection: &Connection, report: &mut RebuildReport) -> rusqlite::Result<()> {
    let number =
        |query| connection.query_row(query, [], |row| row.get::<_, Unsigned>(0)).map(|number| number.0);
    report.artifacts = number("SELECT count(*) FROM artifacts")?;
    report.blobs = Tally {
        count: number("SELECT count(*) FROM blobs WHERE state = 'sound'")?,
        bytes: number("SELECT ifnull(sum(size), 0) FROM blobs WHERE state = 'sound'")?,
    };
    let mut missing = connection.prepare("SELECT id, size FROM blobs WHERE state <> 'sound' ORDER BY id")?;
    let found = missing.query_map([], |row| {
        Ok(BlobRef { id: row.get::<_, Bytes32>(0)?.into(), size: row.get::<_, Unsigned>(1)?.0 })
    })?;
    report.missing = found.collect::<Result<_, _>>()?;
    Ok(())
}

/// Moves the old index out of the way. Its log follows it, so that together they are still a database: first the index,
/// since a log beside an index that it is not of would change that one.
fn set_aside(layout: &Layout) -> Result<Option<PathBuf>> {
    let to = layout.damaged_index(now());
    let mut moved = None;
    // What an attempt to open a store without an index leaves.
    if disk::has_size(&layout.index(), 0)? {
        disk::remove(&layout.index())?;
    }
    for suffix in ["", "-wal", "-shm"] {
        let [from, to] = [layout.index(), to.clone()].map(|path| with_suffix(&path, suffix));
        if disk::exists(&from)? {
            disk::move_aside(&from, &to)?;
            if suffix.is_empty() {
                moved = Some(to);
            }
        }
    }
    Ok(moved)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests;
