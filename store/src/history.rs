//! What was tried and what came of it.

use std::collections::BTreeMap;

use buildswarm_core::BuildKey;
use buildswarm_core::artifact::BlobRef;
use buildswarm_core::package::Cpv;
use buildswarm_core::time::UnixSeconds;
use rusqlite::types::ToSql;
use rusqlite::{Row, params};

use crate::error::Result;
use crate::index::rows;
use crate::index::values::{Bytes32, Parsed, Unsigned};
use crate::runs::RunId;
use crate::store::Store;

/// The outcome of an attempt that yielded an artifact.
const BUILT: &str = "built";

/// How many of the last successful attempts an estimate rests on: few, so that it follows a new machine or
/// version soon; more than one, so that a single odd build does not set it.
const ESTIMATE_FROM: usize = 5;

/// One finished try at a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The run it was part of.
    pub run: RunId,
    /// What was built.
    pub key: BuildKey,
    /// The package.
    pub package: Cpv,
    /// Number of the builder's slot it ran in.
    pub slot: u32,
    /// When it began.
    pub started: UnixSeconds,
    /// When it ended.
    pub finished: UnixSeconds,
    /// How long it took, in milliseconds of a monotonic clock.
    pub duration_millis: u64,
    /// What came of it: `built`, `failed`, `killed`, …
    pub outcome: String,
    /// The class of the failure, if it was one.
    pub failure_class: Option<String>,
    /// The phase it failed in, if known.
    pub phase: Option<String>,
    /// What to tell a person; may be empty.
    pub message: String,
    /// The log; `None` if there is none or if it has been collected.
    pub log: Option<BlobRef>,
}

/// Which attempts to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptFilter<'a> {
    /// All.
    All,
    /// Those of a package by category and name, `dev-libs/foo`.
    Cp(&'a str),
    /// Those of one version of a package.
    Cpv(&'a Cpv),
    /// Those at one key.
    Key(BuildKey),
}

impl Store {
    /// Records an attempt.
    ///
    /// # Errors
    /// [`Error::BlobMissing`](crate::Error::BlobMissing) or [`Error::WrongSize`](crate::Error::WrongSize) if its log
    /// is not in the store as declared, [`Error::RunMissing`](crate::Error::RunMissing) if its run is not known.
    pub fn record_attempt(&self, attempt: &Attempt) -> Result<()> {
        self.shared.index.write(|transaction| {
            crate::runs::require(transaction, attempt.run)?;
            if let Some(log) = attempt.log {
                rows::require(transaction, log)?;
            }
            transaction
                .prepare_cached(
                    "INSERT INTO attempts (run, key, cp, package, slot, started, finished, duration_millis,
                         outcome, failure_class, phase, message, log)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
                )?
                .execute(params![
                    attempt.run.number(),
                    Bytes32::from(attempt.key),
                    attempt.package.cp(),
                    attempt.package.as_str(),
                    attempt.slot,
                    Unsigned::from(attempt.started),
                    Unsigned::from(attempt.finished),
                    Unsigned(attempt.duration_millis),
                    attempt.outcome,
                    attempt.failure_class,
                    attempt.phase,
                    attempt.message,
                    attempt.log.map(|log| Bytes32::from(log.id)),
                ])?;
            Ok(())
        })
    }

    /// The last `limit` attempts that the filter lets pass, newest first.
    ///
    /// # Errors
    /// Those of the index.
    pub fn attempts(&self, limit: usize, filter: AttemptFilter<'_>) -> Result<Vec<Attempt>> {
        let (condition, value): (_, Box<dyn ToSql + '_>) = match filter {
            AttemptFilter::All => ("?1 IS NULL", Box::new(rusqlite::types::Null)),
            AttemptFilter::Cp(cp) => ("a.cp = ?1", Box::new(cp)),
            AttemptFilter::Cpv(cpv) => ("a.package = ?1", Box::new(cpv.as_str())),
            AttemptFilter::Key(key) => ("a.key = ?1", Box::new(Bytes32::from(key))),
        };
        self.shared.index.read(|reader| {
            let mut query = reader.prepare_cached(&format!(
                "SELECT a.run, a.key, a.package, a.slot, a.started, a.finished, a.duration_millis, a.outcome,
                     a.failure_class, a.phase, a.message, b.id, b.size
                 FROM attempts AS a LEFT JOIN blobs AS b ON b.id = a.log
                 WHERE {condition} ORDER BY a.id DESC LIMIT ?2"
            ))?;
            let limit = Unsigned(limit.try_into().unwrap_or(u64::MAX).min(i64::MAX as u64));
            let found = query.query_map(params![value, limit], attempt_from_row)?;
            Ok(found.collect::<Result<_, _>>()?)
        })
    }

    /// How long a build of each of these packages (`dev-libs/foo`) took, in milliseconds: the median of its last
    /// successful attempts. A package that was never built here is not in the answer.
    ///
    /// # Errors
    /// Those of the index.
    pub fn duration_estimates<S: AsRef<str>>(&self, cps: &[S]) -> Result<BTreeMap<String, u64>> {
        self.shared.index.read(|reader| {
            let mut query = reader.prepare_cached(
                "SELECT duration_millis FROM attempts WHERE cp = ?1 AND outcome = ?2 ORDER BY id DESC LIMIT ?3",
            )?;
            let mut estimates = BTreeMap::new();
            for cp in cps.iter().map(AsRef::as_ref) {
                let last = query.query_map(params![cp, BUILT, ESTIMATE_FROM as i64], |row| {
                    row.get::<_, Unsigned>(0).map(|millis| millis.0)
                })?;
                if let Some(median) = median(last.collect::<Result<_, _>>()?) {
                    estimates.insert(cp.to_owned(), median);
                }
            }
            Ok(estimates)
        })
    }
}

/// The middle one; of an even number the longer of the two in the middle, since too short an estimate costs more.
fn median(mut values: Vec<u64>) -> Option<u64> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

fn attempt_from_row(row: &Row<'_>) -> rusqlite::Result<Attempt> {
    let log = row.get::<_, Option<Bytes32>>(11)?.zip(row.get::<_, Option<Unsigned>>(12)?);
    Ok(Attempt {
        run: RunId::new(row.get(0)?),
        key: row.get::<_, Bytes32>(1)?.into(),
        package: row.get::<_, Parsed<_>>(2)?.0,
        slot: row.get(3)?,
        started: row.get::<_, Unsigned>(4)?.into(),
        finished: row.get::<_, Unsigned>(5)?.into(),
        duration_millis: row.get::<_, Unsigned>(6)?.0,
        outcome: row.get(7)?,
        failure_class: row.get(8)?,
        phase: row.get(9)?,
        message: row.get(10)?,
        log: log.map(|(id, size)| BlobRef { id: id.into(), size: size.0 }),
    })
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_of_few_and_of_many() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![7]), Some(7));
        assert_eq!(median(vec![9, 1]), Some(9));
        assert_eq!(median(vec![5, 900, 1, 4, 6]), Some(5));
    }
}
