//! The index: one writer connection, a few readers, all access in short transactions.

mod migrate;
mod open;
pub(crate) mod rows;
mod schema;
pub(crate) mod values;

use std::cell::RefCell;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, TransactionBehavior};

use crate::error::{Error, Result};
use crate::faults::{Step, reach};
use crate::journal::{self, Journal, Record};
use crate::layout::Layout;
pub(crate) use open::{create_apart, fold_log, is_needed, open_apart, snapshot};
use values::Unsigned;

/// Idle read connections kept: as many as threads usually ask at once. More are opened when needed and closed
/// after use.
const IDLE_READERS_MAX: usize = 4;

/// A store's SQLite database.
#[derive(Debug)]
pub(crate) struct Index {
    path: PathBuf,
    readers: Mutex<Vec<Connection>>,
    layout: Layout,
    writer: Option<Mutex<Writer>>,
}

/// The connection that writes, and what is told of each transaction before it is committed.
#[derive(Debug)]
struct Writer {
    connection: Connection,
    journal: Journal,
}

/// What an operation changes: all of it or nothing. Reads see what has been changed so far.
#[derive(Debug)]
pub(crate) struct Transaction<'a> {
    connection: &'a Connection,
    notes: RefCell<Vec<Vec<u8>>>,
}

impl<'a> Transaction<'a> {
    /// One that the caller has begun on `connection` and will commit.
    pub(crate) const fn on(connection: &'a Connection) -> Self {
        Self { connection, notes: RefCell::new(Vec::new()) }
    }

    /// Has the journal say, should this be committed, what no file tells.
    pub(crate) fn note(&self, record: &Record) {
        self.notes.borrow_mut().push(record.encode());
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
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

impl Index {
    /// Opens for writing, creating or checking what is there; the caller holds the store's lock.
    pub(crate) fn open(layout: &Layout, check: bool) -> Result<Self> {
        let path = layout.index();
        let (mut writer, is_new) = open::writer(layout, &path)?;
        if check
            && let Some(finding) = damage(&writer).map_err(|e| Error::index(&path, e))?.into_iter().next()
        {
            return Err(Error::IndexDamaged { path, finding });
        }
        let journal =
            if is_new { Journal::begin(layout, &writer)? } else { Journal::open(layout, &mut writer)? };
        let writer = Some(Mutex::new(Writer { connection: writer, journal }));
        Ok(Self { path, readers: Mutex::default(), layout: layout.clone(), writer })
    }

    /// Opens beside a writer, or without one.
    pub(crate) fn open_read_only(layout: &Layout) -> Result<Self> {
        let path = layout.index();
        let reader = open::reader(&path)?;
        open::require_current(layout, &path, &reader)?;
        Ok(Self { path, readers: Mutex::new(vec![reader]), layout: layout.clone(), writer: None })
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
        answer.map_err(|fault| self.named(fault))
    }

    /// Runs `change` in one transaction, durable when this returns `Ok`, without effect otherwise.
    pub(crate) fn write<T>(&self, change: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>) -> Result<T> {
        let Some(writer) = &self.writer else {
            let path = self.path.parent().unwrap_or(&self.path).to_owned();
            return Err(Error::ReadOnly { path });
        };
        // A panic in `change` rolled its transaction back, so the connection behind a poisoned lock is fine.
        let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.transact(&mut writer, change).map_err(|fault| self.named(fault))
    }

    fn transact<T>(
        &self,
        writer: &mut Writer,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let Writer { connection, journal } = writer;
        if journal.is_doubtful() {
            journal.renew(&self.layout, connection)?;
        }
        let open = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let transaction = Transaction::on(&open);
        let outcome = change(&transaction)?;
        let notes = transaction.notes.into_inner();
        if notes.is_empty() {
            self.commit(open)?;
        } else {
            journal.append(&notes)?;
            if let Err(fault) = self.commit_noted(open, journal.last()) {
                journal.take_back();
                return Err(fault);
            }
        }
        reach(Step::Committed).map_err(Error::io("commit to", &self.path))?;
        Ok(outcome)
    }

    /// What was noted is durable by now.
    fn commit_noted(&self, open: rusqlite::Transaction<'_>, noted: u64) -> Result<(), Fault> {
        open.prepare_cached("UPDATE store SET noted = ?1")?.execute([Unsigned(noted)])?;
        self.commit(open)
    }

    fn commit(&self, open: rusqlite::Transaction<'_>) -> Result<(), Fault> {
        reach(Step::Commit).map_err(Error::io("commit to", &self.path))?;
        Ok(open.commit()?)
    }

    fn named(&self, fault: Fault) -> Error {
        match fault {
            Fault::Sql(error) => Error::index(&self.path, error),
            Fault::Refused(error) => error,
        }
    }

    /// Writes the journal anew if it has grown far beyond what the index holds, while others write.
    ///
    /// `thoroughly` asks the index what it holds; otherwise what it held when the segment was begun is good enough.
    pub(crate) fn compact_journal(&self, thoroughly: bool) -> Result<()> {
        let Some(writer) = &self.writer else { return Ok(()) };
        let fresh = if thoroughly { Some(self.read(|reader| Ok(journal::estimate(reader)?))?) } else { None };
        let place = {
            let writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
            if !writer.journal.is_due(fresh) {
                return Ok(());
            }
            writer.journal.place()
        };
        // The state is read beside the writers, who wait only while what they noted since is copied.
        let written = self.read(|reader| Ok(journal::write(&self.layout, reader)?))?;
        let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.journal.replace(&self.layout, written, place)
    }

    #[cfg(test)]
    pub(crate) fn journal<T>(&self, ask: impl FnOnce(&mut Journal) -> T) -> T {
        ask(&mut self.writer.as_ref().unwrap().lock().unwrap().journal)
    }

    /// Writes the journal anew, whatever it holds.
    pub(crate) fn renew_journal(&self) -> Result<()> {
        let Some(writer) = &self.writer else { return Ok(()) };
        let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
        let Writer { connection, journal } = &mut *writer;
        journal.renew(&self.layout, connection)
    }

    /// What the database's own checks find.
    pub(crate) fn damage(&self) -> Result<Vec<String>> {
        self.read(|reader| Ok(damage(reader)?))
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        if let Some(writer) = &self.writer {
            // Otherwise the next to open this, or a collection, will see to it.
            let _ = self.compact_journal(false);
            let writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
            // Only spares the next opener some work: the log is complete without it.
            let _ = writer.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        }
    }
}

/// Findings kept of a damaged index: enough to see what kind of damage it is.
const FINDINGS_MAX: usize = 20;

pub(crate) fn damage(connection: &Connection) -> rusqlite::Result<Vec<String>> {
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
