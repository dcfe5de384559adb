//! The index: one writer connection, a few readers, all access in short transactions.

mod group;
mod migrate;
mod open;
pub(crate) mod rows;
mod schema;
pub(crate) mod values;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rusqlite::Connection;

use crate::error::{Error, Result};
use crate::layout::Layout;
use group::Writer;

pub(crate) use group::Transaction;

/// Idle read connections kept: as many as threads usually ask at once. More are opened when needed and closed
/// after use.
const IDLE_READERS_MAX: usize = 4;

/// A store's SQLite database.
#[derive(Debug)]
pub(crate) struct Index {
    path: PathBuf,
    readers: Mutex<Vec<Connection>>,
    writer: Option<Writer>,
}

/// Why a transaction was given up: the database failed, or the operation was refused.
#[derive(Debug)]
pub(crate) enum Fault {
    Sql(rusqlite::Error),
    Refused(Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl Fault {
    fn named(self, path: &Path) -> Error {
        match self {
            Self::Sql(error) => Error::index(path, error),
            Self::Refused(error) => error,
        }
    }
}

impl Index {
    /// Opens for writing, creating or checking what is there; the caller holds the store's lock.
    pub(crate) fn open(layout: &Layout, check: bool) -> Result<Self> {
        let path = layout.index();
        let writer = open::writer(layout, &path)?;
        if check
            && let Some(finding) = damage(&writer).map_err(|e| Error::index(&path, e))?.into_iter().next()
        {
            return Err(Error::IndexDamaged { path, finding });
        }
        Ok(Self { readers: Mutex::default(), writer: Some(Writer::new(&path, writer)), path })
    }

    /// Opens beside a writer, or without one.
    pub(crate) fn open_read_only(layout: &Layout) -> Result<Self> {
        let path = layout.index();
        let reader = open::reader(&path)?;
        open::require_current(layout, &path, &reader)?;
        Ok(Self { path, readers: Mutex::new(vec![reader]), writer: None })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) const fn is_writable(&self) -> bool {
        self.writer.is_some()
    }

    /// Runs `ask` on one consistent state of the index.
    pub(crate) fn read<T>(&self, ask: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T> {
        let idle = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut reader = match idle {
            Some(reader) => reader,
            None => open::reader(&self.path)?,
        };
        let answer = match reader.transaction() {
            Ok(snapshot) => ask(&snapshot),
            Err(error) => Err(Fault::Sql(error)),
        };
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < IDLE_READERS_MAX {
            readers.push(reader);
        }
        drop(readers);
        answer.map_err(|fault| fault.named(&self.path))
    }

    /// Runs `change` in one transaction, durable when this returns `Ok`, without effect otherwise.
    pub(crate) fn write<T>(&self, change: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>) -> Result<T> {
        let Some(writer) = &self.writer else {
            let path = self.path.parent().unwrap_or(&self.path).to_owned();
            return Err(Error::ReadOnly { path });
        };
        writer.write(change)
    }

    /// What the database's own checks find.
    pub(crate) fn damage(&self) -> Result<Vec<String>> {
        self.read(|reader| Ok(damage(reader)?))
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        if let Some(writer) = &self.writer {
            // Only spares the next opener some work: the log is complete without it.
            let _ = writer
                .connection(|writer| writer.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())));
        }
    }
}

/// Findings kept of a damaged index: enough to see what kind of damage it is.
const FINDINGS_MAX: usize = 20;

fn damage(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut findings = Vec::new();
    let mut check = connection.prepare(&format!("PRAGMA quick_check({FINDINGS_MAX})"))?;
    for line in check.query_map([], |row| row.get::<_, String>(0))? {
        let line = line?;
        if line != "ok" {
            findings.push(line);
        }
    }
    let mut dangling = connection.prepare("PRAGMA foreign_key_check")?;
    let lines = dangling.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(2)?)))?;
    for line in lines.take(FINDINGS_MAX) {
        let (from, to) = line?;
        findings.push(format!("a row of {from} refers to a missing row of {to}"));
    }
    Ok(findings)
}
