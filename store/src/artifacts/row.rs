//! An artifact as a row.

use std::sync::LazyLock;

use buildswarm_core::BuildKey;
use buildswarm_core::artifact::Artifact;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::index::Transaction;
use crate::index::rows::{self, Stored};
use crate::index::values::{Bytes32, Parsed, Unsigned};

/// An artifact with what the index knows of its three blobs.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) artifact: Artifact,
    pub(super) blobs: [Stored; 3],
}

/// Columns of the artifact itself; those of its blobs follow.
const OWN_COLUMNS: usize = 11;

/// The columns of the three blobs, and where all columns come from.
static BLOBS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{}, {}, {}
         FROM artifacts AS a
             JOIN blobs AS f ON f.id = a.file
             JOIN blobs AS l ON l.id = a.log
             JOIN blobs AS p ON p.id = a.preimage ",
        rows::columns("f"),
        rows::columns("l"),
        rows::columns("p"),
    )
});

static FIND: LazyLock<String> = LazyLock::new(|| select("WHERE a.key = ?1"));
static FIND_BLOBS: LazyLock<String> = LazyLock::new(|| format!("SELECT {}WHERE a.key = ?1", *BLOBS));

/// A query that yields rows for [`Recorded::from_row`].
pub(super) fn select(tail: &str) -> String {
    format!(
        "SELECT a.key, a.package, a.slot, a.repository, a.payload, a.installed_size, a.build_millis,
             a.built_at, a.builder, a.metadata, a.interface, {}{tail}",
        *BLOBS
    )
}

/// What the index knows of an artifact's blobs, in columns beginning with number `first`.
fn blobs_from_row(row: &Row<'_>, first: usize) -> rusqlite::Result<[Stored; 3]> {
    let stored = |number| Stored::from_row(row, first + number * Stored::COLUMNS);
    Ok([stored(0)?, stored(1)?, stored(2)?])
}

impl Recorded {
    pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let blobs = blobs_from_row(row, OWN_COLUMNS)?;
        let metadata: String = row.get(9)?;
        let metadata = serde_json::from_str(&metadata)
            .map_err(|error| rusqlite::Error::FromSqlConversionFailure(9, Type::Text, Box::new(error)))?;
        let artifact = Artifact {
            key: row.get::<_, Bytes32>(0)?.into(),
            package: row.get::<_, Parsed<_>>(1)?.0,
            slot: row.get::<_, Parsed<_>>(2)?.0,
            repository: row.get(3)?,
            file: blobs[0].blob,
            log: blobs[1].blob,
            preimage: blobs[2].blob,
            payload: row.get::<_, Bytes32>(4)?.0,
            interface: row.get::<_, Bytes32>(10)?.0,
            installed_size: row.get::<_, Unsigned>(5)?.0,
            build_millis: row.get::<_, Unsigned>(6)?.0,
            built_at: row.get::<_, Unsigned>(7)?.into(),
            builder: row.get(8)?,
            metadata,
        };
        Ok(Self { artifact, blobs })
    }
}

/// What is recorded under a key, whether or not its blobs are there.
pub(super) fn find(connection: &Connection, key: BuildKey) -> rusqlite::Result<Option<Recorded>> {
    connection.prepare_cached(&FIND)?.query_row([Bytes32::from(key)], Recorded::from_row).optional()
}

/// The blobs of what is recorded under a key: all it takes to tell whether it resolves.
pub(super) fn find_blobs(connection: &Connection, key: BuildKey) -> rusqlite::Result<Option<[Stored; 3]>> {
    connection
        .prepare_cached(&FIND_BLOBS)?
        .query_row([Bytes32::from(key)], |row| blobs_from_row(row, 0))
        .optional()
}

/// Records an artifact unless its key has one; whether it did.
pub(super) fn insert(transaction: &Transaction<'_>, artifact: &Artifact) -> rusqlite::Result<bool> {
    let metadata = serde_json::to_string(&artifact.metadata)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    let inserted = transaction
        .prepare_cached(
            "INSERT INTO artifacts (key, cp, package, slot, repository, file, log, preimage, payload,
                 interface, installed_size, build_millis, built_at, builder, metadata, number)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15,
                 (SELECT ifnull(max(number), 0) + 1 FROM artifacts))
             ON CONFLICT (key) DO NOTHING",
        )?
        .execute(params![
            Bytes32::from(artifact.key),
            artifact.package.cp(),
            artifact.package.as_str(),
            artifact.slot.to_string(),
            artifact.repository,
            Bytes32::from(artifact.file.id),
            Bytes32::from(artifact.log.id),
            Bytes32::from(artifact.preimage.id),
            Bytes32(artifact.payload),
            Bytes32(artifact.interface),
            Unsigned(artifact.installed_size),
            Unsigned(artifact.build_millis),
            Unsigned::from(artifact.built_at),
            artifact.builder,
            metadata,
        ])?;
    Ok(inserted == 1)
}
