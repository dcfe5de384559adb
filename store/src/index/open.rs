//! Opening connections with every setting the guarantees rest on.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{migrate, schema};
use crate::error::{Error, Result};
use crate::layout::Layout;

/// Versions before this one can lose committed transactions when the log is reset (SQLite 3.51.3 release
/// notes), as number and as text.
const SQLITE_NEEDED: (i32, &str) = (3_051_003, "3.51.3");

/// How long a connection waits for a lock. Writers queue inside this process, so all that can hold one is
/// another process reading the log for the first time: a moment, and this is a bound on it.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The log is cut back to this many bytes after a checkpoint that follows a burst.
const LOG_BYTES_MAX: i64 = 64 * 1024 * 1024;

/// Pages the writer keeps in memory, in KiB: what a batch of some thousand artifacts changes. With SQLite's 2 MiB the same
/// pages went to the log again and again within one transaction.
const WRITER_CACHE_KIB: i64 = 16 * 1024;

/// The connection that writes, and whether the index was of an earlier format, or none, until now: a journal beside it is
/// then of what was given up for it.
pub(super) fn writer(layout: &Layout, path: &Path) -> Result<(Connection, bool)> {
    check_version()?;
    let named = |error| Error::index(path, error);
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(named)?;
    configure(&connection).map_err(named)?;
    // Before anything is changed: it may be the database of another program, or of a later version.
    let format = if schema::is_empty(&connection).map_err(named)? {
        refuse_lost_index(layout, path)?;
        None
    } else {
        Some(check_format(layout, path, &connection)?)
    };
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0)).map_err(named)?;
    if mode != "wal" {
        let finding = format!("its journal mode stays {mode}");
        return Err(Error::IndexDamaged { path: path.to_owned(), finding });
    }
    connection.pragma_update(None, "synchronous", "full").map_err(named)?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB).map_err(named)?;
    connection
        .pragma_update_and_check(None, "journal_size_limit", LOG_BYTES_MAX, |_| Ok(()))
        .map_err(named)?;
    match format {
        None => {
            schema::create(&mut connection).map_err(named)?;
            crate::disk::sync_dir(layout.root())?;
        }
        Some(format) => migrate::to_current(layout, path, &mut connection, format)?,
    }
    Ok((connection, format != Some(schema::FORMAT)))
}

pub(super) fn reader(path: &Path) -> Result<Connection> {
    check_version()?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)
        .and_then(|connection| configure(&connection).map(|()| connection));
    connection.map_err(|error| match error.sqlite_error_code() {
        Some(ErrorCode::CannotOpen) if !path.exists() => {
            Error::NoStore { path: path.parent().unwrap_or(path).to_owned() }
        }
        _ => Error::index(path, error),
    })
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    // Statements are prepared once: otherwise every new key makes SQLite plan the same look-up again.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // The log and its index stay when the last connection closes: a reader without the right to create them
    // could otherwise not open a store at rest. And only the writer checkpoints.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update_and_check(None, "mmap_size", 0, |_| Ok(()))
}

fn check_version() -> Result<()> {
    if rusqlite::version_number() < SQLITE_NEEDED.0 {
        return Err(Error::SqliteTooOld { found: rusqlite::version().to_owned(), needed: SQLITE_NEEDED.1 });
    }
    Ok(())
}

/// An empty index in a file of its own, as fast to fill as can be: it is thrown away unless all goes well.
pub(crate) fn create_apart(path: &Path) -> Result<Connection> {
    check_version()?;
    let named = |error| Error::index(path, error);
    let mut connection = Connection::open(path).map_err(named)?;
    configure(&connection).map_err(named)?;
    schema::create(&mut connection).map_err(named)?;
    connection.pragma_update(None, "synchronous", "off").map_err(named)?;
    connection.pragma_update_and_check(None, "journal_mode", "memory", |_| Ok(())).map_err(named)?;
    Ok(connection)
}

/// Opens an index that nobody else uses, in a file that stays one file.
pub(crate) fn open_apart(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags)
        .and_then(|connection| configure(&connection).map(|()| connection))
        .map_err(|error| Error::index(path, error))
}

/// Writes an index as it is at this moment to a new file, while others use it. What they write meanwhile waits for
/// nothing; their log grows until this is done. The file is one that can be read without a log beside it.
pub(crate) fn snapshot(from: &Path, to: &Path) -> Result<()> {
    let reader = reader(from)?;
    let to_text = to.to_str().ok_or_else(|| {
        let source = std::io::Error::other("the database takes names that are text only");
        Error::Io { action: "create", path: to.to_owned(), source }
    })?;
    crate::faults::reach(crate::faults::Step::WriteTemp).map_err(Error::io("write", to))?;
    reader.execute("VACUUM INTO ?1", [to_text]).map(drop).map_err(|error| Error::index(to, error))
}

/// Writes the log of an index that nobody uses into it, so that it is one file.
pub(crate) fn fold_log(path: &Path) -> Result<()> {
    if !crate::disk::exists(path)? {
        return Ok(());
    }
    let named = |error| Error::index(path, error);
    let connection = open_apart(path)?;
    let mode: String = connection
        .pragma_update_and_check(None, "journal_mode", "delete", |row| row.get(0))
        .map_err(named)?;
    if mode != "delete" {
        let finding = format!("its journal mode stays {mode}");
        return Err(Error::IndexDamaged { path: path.to_owned(), finding });
    }
    connection.close().map_err(|(_, error)| named(error))
}

/// An index is made anew only for a store without blobs: a new one beside old blobs would call all of them
/// garbage.
fn refuse_lost_index(layout: &Layout, path: &Path) -> Result<()> {
    if is_needed(layout)? {
        return Err(Error::IndexMissing { path: path.to_owned() });
    }
    Ok(())
}

/// Whether there is something that an index tells about.
pub(crate) fn is_needed(layout: &Layout) -> Result<bool> {
    let shards = (0..=u8::MAX).map(|shard| layout.shard(shard));
    for dir in shards.chain([layout.packs(), layout.journal()]) {
        if !crate::disk::list(&dir)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Refuses an index of another format than this version's: a reader cannot convert it.
pub(super) fn require_current(layout: &Layout, path: &Path, connection: &Connection) -> Result<()> {
    let found = check_format(layout, path, connection)?;
    if found < schema::FORMAT {
        let path = layout.root().to_owned();
        return Err(Error::OlderFormat { path, found, known: schema::FORMAT });
    }
    Ok(())
}

/// The format of an index; refuses one that is not ours, or of a format not known here.
fn check_format(layout: &Layout, path: &Path, connection: &Connection) -> Result<u32> {
    let named = |error| Error::index(path, error);
    if schema::is_empty(connection).map_err(named)? {
        return Err(Error::NoStore { path: layout.root().to_owned() });
    }
    let (application, found) = schema::markers(connection).map_err(named)?;
    if application != schema::APPLICATION_ID || found == 0 {
        return Err(Error::NotAStore { path: path.to_owned() });
    }
    if found > schema::FORMAT {
        let path = layout.root().to_owned();
        return Err(Error::NewerFormat { path, found, known: schema::FORMAT });
    }
    Ok(found)
}
