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

pub(super) fn writer(layout: &Layout, path: &Path) -> Result<Connection> {
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
    Ok(connection)
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

/// An index is made anew only for a store without blobs: a new one beside old blobs would call all of them
/// garbage.
fn refuse_lost_index(layout: &Layout, path: &Path) -> Result<()> {
    let shards = (0..=u8::MAX).map(|shard| layout.shard(shard));
    for dir in shards.chain([layout.packs()]) {
        if !crate::disk::list(&dir)?.is_empty() {
            return Err(Error::IndexMissing { path: path.to_owned() });
        }
    }
    Ok(())
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
