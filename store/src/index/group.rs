//! One commit for many: transactions of threads that write at the same time share a disk barrier.
//!
//! A thread that has the writer makes its changes in the transaction that is open, or opens one. If others wait for
//! the writer, it leaves the commit to them and waits until the last of them has committed for all; if nobody
//! waits, or if there is much to commit already, it commits itself at once. So a lone writer waits for nobody, a crowd
//! pays for one barrier a group, and nobody who changes little waits for more than one who changes much.

use std::cell::RefCell;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

use super::Fault;
use super::values::Unsigned;
use crate::error::{Error, Result};
use crate::faults::{Step, passed, reach};
use crate::journal::{Journal, Record};
use crate::layout::Layout;

/// Operations that share one commit: enough that a barrier of some milliseconds is nothing for each, few enough that
/// the first of a group waits for no more than the changes of so many others.
const GROUP_MAX: usize = 256;

/// Rows that a group changes. So many take as long as a barrier: from there on it is better to commit at once, and to go on
/// while others change theirs, than to wait for them.
const CHANGES_MAX: u64 = 1024;

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

/// The only connection that writes.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    open: Mutex<Open>,
    /// Threads on their way to `open`. Whoever holds it and sees one here knows that the group will be committed.
    waiting: AtomicUsize,
}

#[derive(Debug)]
struct Open {
    connection: Connection,
    layout: Layout,
    journal: Journal,
    /// Those whose changes are in the open transaction; `None` if none is open.
    group: Option<Group>,
}

#[derive(Debug, Default)]
struct Group {
    members: usize,
    /// Rows that were changed over the connection before it.
    changes_before: u64,
    /// What the journal is to say of their changes.
    notes: Vec<Vec<u8>>,
    fate: Arc<Fate>,
}

/// What became of a group's commit, once that is known.
#[derive(Debug, Default)]
struct Fate {
    known: Mutex<Option<Result<()>>>,
    changed: Condvar,
}

impl Fate {
    fn settle(&self, outcome: Result<()>) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        self.changed.notify_all();
    }

    fn wait(&self) -> Result<()> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match &*known {
                Some(Ok(())) => return Ok(()),
                Some(Err(error)) => return Err(error.again()),
                None => known = self.changed.wait(known).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

impl Writer {
    pub(super) fn new(layout: &Layout, connection: Connection, journal: Journal) -> Self {
        let open = Mutex::new(Open { connection, layout: layout.clone(), journal, group: None });
        Self { path: layout.index(), open, waiting: AtomicUsize::new(0) }
    }

    /// Makes a change, durable when this returns `Ok` and without effect otherwise.
    pub(super) fn write<T>(&self, change: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>) -> Result<T> {
        let mut open = self.enter();
        let outcome = catch_unwind(AssertUnwindSafe(|| open.make(&self.path, change)));
        if !matches!(outcome, Ok(Ok(_))) {
            open.take_back(&self.path);
        }
        let passed = self.pass_on(open);
        match outcome {
            Ok(Ok(value)) => passed.map_or_else(|| Ok(()), Passed::outcome).map(|()| value),
            // What became of the others is for them to hear.
            Ok(Err(fault)) => Err(fault.named(&self.path)),
            Err(panic) => resume_unwind(panic),
        }
    }

    /// The right to use the connection, when no transaction is open.
    pub(super) fn connection<T>(&self, ask: impl FnOnce(&Connection) -> T) -> T {
        self.journal(|_, connection, _| ask(connection))
    }

    /// The right to use the journal and the connection, when no transaction is open.
    pub(super) fn journal<T>(&self, ask: impl FnOnce(&mut Journal, &Connection, &Layout) -> T) -> T {
        let mut open = self.enter();
        // A group may have been left to whoever comes next.
        if let Some(group) = open.group.take() {
            group.fate.settle(open.commit(&self.path, &group.notes));
        }
        let Open { connection, layout, journal, .. } = &mut *open;
        ask(journal, connection, layout)
    }

    fn enter(&self) -> MutexGuard<'_, Open> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        // Panics are caught before they reach the lock, and rolled back, so one that is poisoned is fine.
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        open
    }

    /// Leaves the open group to somebody who waits, or commits it. `None` if there is none.
    fn pass_on(&self, mut open: MutexGuard<'_, Open>) -> Option<Passed> {
        let group = open.group.as_ref()?;
        if self.waiting.load(Ordering::SeqCst) > 0
            && group.members < GROUP_MAX
            && open.connection.total_changes() - group.changes_before < CHANGES_MAX
        {
            return Some(Passed::Left(Arc::clone(&group.fate)));
        }
        let group = open.group.take()?;
        let outcome = open.commit(&self.path, &group.notes);
        group.fate.settle(outcome.as_ref().copied().map_err(Error::again));
        Some(Passed::Committed(outcome))
    }
}

/// What a thread did with the group it was in.
enum Passed {
    Committed(Result<()>),
    Left(Arc<Fate>),
}

impl Passed {
    fn outcome(self) -> Result<()> {
        match self {
            Self::Committed(outcome) => outcome,
            Self::Left(fate) => fate.wait(),
        }
    }
}

impl Open {
    /// Makes a change in the open transaction, or opens one for it.
    fn make<T>(
        &mut self,
        path: &Path,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        // The first of a group needs no savepoint: the transaction is its own as yet.
        if self.group.is_none() {
            if self.journal.is_doubtful() {
                self.journal.renew(&self.layout, &self.connection)?;
            }
            reach(Step::Begin).map_err(Error::io("write to", path))?;
            self.run("BEGIN IMMEDIATE")?;
            let changes_before = self.connection.total_changes();
            self.group = Some(Group { changes_before, ..Group::default() });
            passed(Step::Begin).map_err(Error::io("write to", path))?;
        } else {
            self.run("SAVEPOINT change")?;
        }
        let transaction = Transaction::on(&self.connection);
        let value = change(&transaction)?;
        let notes = transaction.notes.into_inner();
        if let Some(group) = &mut self.group {
            if group.members > 0 {
                self.connection.prepare_cached("RELEASE change")?.execute([])?;
            }
            group.members += 1;
            group.notes.extend(notes);
        }
        Ok(value)
    }

    /// Undoes the change that was just refused or failed, and nothing else if that is possible.
    fn take_back(&mut self, path: &Path) {
        let Some(group) = &self.group else { return };
        let alone = group.members == 0;
        let undone = !alone
            && !self.connection.is_autocommit()
            && self.run("ROLLBACK TO change").and_then(|()| self.run("RELEASE change")).is_ok();
        if undone {
            return;
        }
        // Alone, or the database gave up the whole transaction.
        let group = self.group.take().unwrap_or_default();
        self.roll_back();
        let lost = std::io::Error::other("the database gave up the transaction that was shared with others");
        group.fate.settle(Err(Error::io("commit to", path)(lost)));
    }

    /// Makes the changes of a group durable: in the journal first, then in the index.
    fn commit(&mut self, path: &Path, notes: &[Vec<u8>]) -> Result<()> {
        if let Err(error) = self.note_and_commit(path, notes) {
            self.roll_back();
            return Err(error);
        }
        reach(Step::Committed).map_err(Error::io("commit to", path))
    }

    fn note_and_commit(&mut self, path: &Path, notes: &[Vec<u8>]) -> Result<()> {
        if notes.is_empty() {
            return self.commit_index(path);
        }
        self.journal.append(notes)?;
        let noted = Unsigned(self.journal.last());
        let committed = self
            .connection
            .prepare_cached("UPDATE store SET noted = ?1")
            .and_then(|mut update| update.execute([noted]))
            .map_err(|error| Error::index(path, error))
            .and_then(|_| self.commit_index(path));
        if committed.is_err() {
            self.journal.take_back();
        }
        committed
    }

    fn commit_index(&self, path: &Path) -> Result<()> {
        reach(Step::Commit).map_err(Error::io("commit to", path))?;
        self.run("COMMIT").map_err(|error| Error::index(path, error))
    }

    fn roll_back(&self) {
        // A transaction that cannot be rolled back makes the next `BEGIN` fail, so nothing is lost in silence.
        if !self.connection.is_autocommit() {
            let _ = self.run("ROLLBACK");
        }
    }

    fn run(&self, statement: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(statement)?.execute([]).map(drop)
    }
}

#[cfg(test)]
mod tests;
