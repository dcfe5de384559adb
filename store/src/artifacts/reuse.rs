//! The other keys an artifact is found by: those of what its build was given, policy by policy.

use std::collections::{BTreeMap, BTreeSet};

use buildswarm_core::artifact::Artifact;
use buildswarm_core::{BuildKey, ReuseKey};
use rusqlite::{Connection, OptionalExtension, params};

use super::PAGE;
use super::row::{self, Recorded};
use crate::error::Result;
use crate::index::Transaction;
use crate::index::values::{Bytes32, Unsigned};
use crate::packs::Seen;
use crate::store::Store;

/// Where an artifact stands among those that share a reuse key: before all that were recorded later.
pub(super) type Place = (ReuseKey, Unsigned);

impl Store {
    /// For each of these reuse keys the artifact to use: the first that was committed with it and still resolves,
    /// as [`artifact`](Self::artifact) has it. A key without one is not in the answer.
    ///
    /// # Errors
    /// An error means that the question could not be answered, not that there is no artifact.
    pub fn reused(&self, keys: &[ReuseKey]) -> Result<BTreeMap<ReuseKey, Artifact>> {
        let mut found = BTreeMap::new();
        let mut seen = Seen::default();
        let sorted: Vec<ReuseKey> = BTreeSet::from_iter(keys.iter().copied()).into_iter().collect();
        for page in sorted.chunks(PAGE) {
            // A round asks each key for its next artifact; the first nearly always resolves.
            let mut asked: Vec<(ReuseKey, Option<Unsigned>)> = page.iter().map(|key| (*key, None)).collect();
            while !asked.is_empty() {
                let answers = self.shared.index.read(|reader| {
                    let next = asked.iter().map(|(key, after)| next(reader, *key, *after));
                    Ok(next.collect::<rusqlite::Result<Vec<_>>>()?)
                })?;
                let keys = std::mem::take(&mut asked);
                for ((key, _), answer) in keys.into_iter().zip(answers) {
                    let Some((recorded, position)) = answer else { continue };
                    if self.shared.are_there(&recorded.blobs, &mut seen)? {
                        found.insert(key, recorded.artifact);
                    } else {
                        asked.push((key, Some(position)));
                    }
                }
            }
        }
        Ok(found)
    }

    /// The reuse keys that lead to the artifact of a key, whether or not it resolves.
    ///
    /// # Errors
    /// Those of the index.
    pub fn reuse_keys_of(&self, key: BuildKey) -> Result<Vec<ReuseKey>> {
        let places = self.shared.index.read(|reader| Ok(places(reader, key)?))?;
        Ok(places.into_iter().map(|(key, _)| key).collect())
    }
}

/// The artifact at the first position of a reuse key, or at the one after `after`.
fn next(
    connection: &Connection,
    key: ReuseKey,
    after: Option<Unsigned>,
) -> rusqlite::Result<Option<(Recorded, Unsigned)>> {
    let place: Option<(Unsigned, Bytes32)> = connection
        .prepare_cached(
            "SELECT position, artifact FROM reuse_keys WHERE key = ?1 AND position > ifnull(?2, -1)
             ORDER BY position LIMIT 1",
        )?
        .query_row(params![Bytes32::from(key), after], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((position, artifact)) = place else { return Ok(None) };
    Ok(row::find(connection, artifact.into())?.map(|recorded| (recorded, position)))
}

/// Lets reuse keys lead to the artifact of a key; those that do already keep their place.
pub(super) fn record(
    transaction: &Transaction<'_>,
    key: BuildKey,
    reuse: &[ReuseKey],
) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO reuse_keys (key, position, artifact)
         SELECT ?1, ifnull(max(position) + 1, 0), ?2 FROM reuse_keys WHERE key = ?1
         ON CONFLICT (artifact, key) DO NOTHING",
    )?;
    for reuse in reuse {
        insert.execute(params![Bytes32::from(*reuse), Bytes32::from(key)])?;
    }
    Ok(())
}

/// Where the artifact of a key stands.
pub(super) fn places(connection: &Connection, key: BuildKey) -> rusqlite::Result<Vec<Place>> {
    let mut query =
        connection.prepare_cached("SELECT key, position FROM reuse_keys WHERE artifact = ?1 ORDER BY key")?;
    let found = query.query_map([Bytes32::from(key)], |row| {
        Ok((row.get::<_, Bytes32>(0)?.into(), row.get::<_, Unsigned>(1)?))
    })?;
    found.collect()
}

/// Gives the artifact of a key places that were just freed.
pub(super) fn restore(
    transaction: &Transaction<'_>,
    key: BuildKey,
    places: &[Place],
) -> rusqlite::Result<()> {
    let mut insert =
        transaction.prepare_cached("INSERT INTO reuse_keys (key, position, artifact) VALUES (?1, ?2, ?3)")?;
    for (reuse, position) in places {
        insert.execute(params![Bytes32::from(*reuse), position, Bytes32::from(key)])?;
    }
    Ok(())
}
