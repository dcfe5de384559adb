//! Runs and their jobs: what a process that builds tells others about itself while it does.

mod process;

use std::fmt;

use buildswarm_core::BuildKey;
use buildswarm_core::package::Cpv;
use buildswarm_core::time::UnixSeconds;
use rusqlite::{Connection, Row, params};

use crate::error::{Error, Result};
use crate::index::values::{Bytes32, Parsed, Unsigned};
use crate::index::{Fault, Transaction};
use crate::store::Store;
use process::Process;

/// Number of a run; later runs have greater ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(u32);

impl RunId {
    /// The run with this number, which need not exist.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// What was asked for is to be there afterwards.
    Build,
    /// What is there is compared with what it would be if built from scratch.
    Audit,
}

impl Purpose {
    /// Its name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Audit => "audit",
        }
    }

    /// The index holds no other names.
    fn named(name: &str) -> Self {
        if name == Self::Audit.name() { Self::Audit } else { Self::Build }
    }
}

/// A run that begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What was asked for, as a person would write it.
    pub label: String,
    /// What it is for.
    pub purpose: Purpose,
    /// When it began.
    pub started: UnixSeconds,
}

/// How a run stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunState {
    /// Its process is at it.
    Running,
    /// Its process is gone and has not finished it.
    Interrupted,
    /// It came to its end.
    Finished {
        /// When.
        at: UnixSeconds,
        /// What came of it, in one line.
        summary: String,
    },
}

/// A run as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    /// Its number.
    pub id: RunId,
    /// What was asked for.
    pub label: String,
    /// What it is, or was, for.
    pub purpose: Purpose,
    /// When it began.
    pub started: UnixSeconds,
    /// The process it is, or was, the work of.
    pub pid: u32,
    /// How it stands.
    pub state: RunState,
}

/// One job of a run as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRow {
    /// What is to be built; names the job within its run.
    pub key: BuildKey,
    /// The package.
    pub package: Cpv,
    /// What it is doing.
    pub state: String,
    /// Why it does not advance, or why it ended as it did; may be empty.
    pub reason: String,
    /// Number of the builder's slot it is running in.
    pub slot: Option<u32>,
    /// When it began to run.
    pub started: Option<UnixSeconds>,
    /// The file its log is being written to.
    pub log_path: Option<String>,
    /// The artifact that its key came to resolve to: under a policy also an earlier build with another key. `None`
    /// is the one under its own key, or that there is none yet.
    pub artifact: Option<BuildKey>,
}

impl JobRow {
    /// The key its artifact is found under, once it has one.
    #[must_use]
    pub fn artifact_key(&self) -> BuildKey {
        self.artifact.unwrap_or(self.key)
    }
}

impl Store {
    /// Records that this process begins a run.
    ///
    /// # Errors
    /// Those of the index.
    pub fn begin_run(&self, run: &Run) -> Result<RunId> {
        let process = Process::current();
        self.shared.index.write(|transaction| {
            Ok(transaction.query_row(
                "INSERT INTO runs (label, purpose, started, boot, pid, pid_started)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 RETURNING id",
                params![
                    run.label,
                    run.purpose.name(),
                    Unsigned::from(run.started),
                    process.boot,
                    process.pid,
                    Unsigned(process.started_ticks)
                ],
                |row| row.get(0).map(RunId),
            )?)
        })
    }

    /// Records how a job stands now.
    ///
    /// # Errors
    /// [`Error::RunMissing`] and those of the index.
    pub fn update_job(&self, run: RunId, job: &JobRow) -> Result<()> {
        self.update_jobs(run, std::slice::from_ref(job))
    }

    /// Records how these jobs stand now, all at once.
    ///
    /// # Errors
    /// [`Error::RunMissing`] and those of the index.
    pub fn update_jobs(&self, run: RunId, jobs: &[JobRow]) -> Result<()> {
        self.shared.index.write(|transaction| {
            require(transaction, run)?;
            for job in jobs {
                put_job(transaction, run, job)?;
            }
            Ok(())
        })
    }

    /// Records that a run has come to its end.
    ///
    /// # Errors
    /// [`Error::RunMissing`] and those of the index.
    pub fn finish_run(&self, run: RunId, finished: UnixSeconds, summary: &str) -> Result<()> {
        self.shared.index.write(|transaction| {
            require(transaction, run)?;
            transaction.execute(
                "UPDATE runs SET finished = ?2, summary = ?3 WHERE id = ?1",
                params![run.0, Unsigned::from(finished), summary],
            )?;
            Ok(())
        })
    }

    /// The last `limit` runs, newest first.
    ///
    /// # Errors
    /// Those of the index.
    pub fn runs(&self, limit: usize) -> Result<Vec<RunRow>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let found: Vec<(RunRow, Process)> = self.shared.index.read(|reader| {
            let mut query = reader.prepare_cached(
                "SELECT id, label, started, boot, pid, pid_started, finished, summary, purpose FROM runs
                 ORDER BY id DESC LIMIT ?1",
            )?;
            let found = query.query_map([limit], run_from_row)?;
            Ok(found.collect::<Result<_, _>>()?)
        })?;
        let judged = found.into_iter().map(|(mut run, process)| {
            if run.state == RunState::Running && process.is_gone() {
                run.state = RunState::Interrupted;
            }
            run
        });
        Ok(judged.collect())
    }

    /// The jobs of a run, by key.
    ///
    /// # Errors
    /// [`Error::RunMissing`] and those of the index.
    pub fn jobs(&self, run: RunId) -> Result<Vec<JobRow>> {
        self.shared.index.read(|reader| {
            require(reader, run)?;
            let mut query = reader.prepare_cached(
                "SELECT key, package, state, reason, slot, started, log_path, artifact FROM jobs
                 WHERE run = ?1 ORDER BY key",
            )?;
            let found = query.query_map([run.0], job_from_row)?;
            Ok(found.collect::<Result<_, _>>()?)
        })
    }
}

/// Refuses a run that does not exist.
pub(crate) fn require(connection: &Connection, run: RunId) -> Result<(), Fault> {
    let exists = connection.prepare_cached("SELECT 1 FROM runs WHERE id = ?1")?.exists([run.0])?;
    if exists { Ok(()) } else { Err(Error::RunMissing { run }.into()) }
}

fn put_job(transaction: &Transaction<'_>, run: RunId, job: &JobRow) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO jobs (run, key, package, state, reason, slot, started, log_path, artifact)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (run, key) DO UPDATE SET package = excluded.package, state = excluded.state,
                 reason = excluded.reason, slot = excluded.slot, started = excluded.started,
                 log_path = excluded.log_path, artifact = excluded.artifact",
        )?
        .execute(params![
            run.0,
            Bytes32::from(job.key),
            job.package.as_str(),
            job.state,
            job.reason,
            job.slot,
            job.started.map(Unsigned::from),
            job.log_path,
            job.artifact.map(Bytes32::from),
        ])
        .map(drop)
}

fn run_from_row(row: &Row<'_>) -> rusqlite::Result<(RunRow, Process)> {
    let process =
        Process { boot: row.get(3)?, pid: row.get(4)?, started_ticks: row.get::<_, Unsigned>(5)?.0 };
    let state = match row.get::<_, Option<Unsigned>>(6)? {
        None => RunState::Running,
        Some(at) => {
            RunState::Finished { at: at.into(), summary: row.get::<_, Option<_>>(7)?.unwrap_or_default() }
        }
    };
    let run = RunRow {
        id: RunId(row.get(0)?),
        label: row.get(1)?,
        purpose: Purpose::named(&row.get::<_, String>(8)?),
        started: row.get::<_, Unsigned>(2)?.into(),
        pid: process.pid,
        state,
    };
    Ok((run, process))
}

fn job_from_row(row: &Row<'_>) -> rusqlite::Result<JobRow> {
    Ok(JobRow {
        key: row.get::<_, Bytes32>(0)?.into(),
        package: row.get::<_, Parsed<_>>(1)?.0,
        state: row.get(2)?,
        reason: row.get(3)?,
        slot: row.get(4)?,
        started: row.get::<_, Option<Unsigned>>(5)?.map(Into::into),
        log_path: row.get(6)?,
        artifact: row.get::<_, Option<Bytes32>>(7)?.map(Into::into),
    })
}
