//! What builds yielded, by either key.

mod commit;
mod reuse;
mod row;
mod table;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use buildswarm_core::artifact::Artifact;
use buildswarm_core::time::UnixSeconds;
use buildswarm_core::{BuildKey, Digest};
use rusqlite::{Connection, params};

use crate::error::Result;
use crate::index::rows::Stored;
use crate::index::values::{Bytes32, Unsigned};
use crate::index::{Fault, Transaction};
use crate::journal::Record;
use crate::packs::Seen;
use crate::store::{Shared, Store};
use row::Recorded;

pub(crate) use commit::{each, reinstate, remove};
pub(crate) use table::State as TableState;
#[cfg(any(test, feature = "faults"))]
pub(crate) use table::read_all as read_table_block;

/// What became of an artifact handed to [`Store::commit_artifact`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Committed {
    /// The key resolves to it.
    First,
    /// The key resolves to an earlier one, which stays. If this one differs, it is recorded as evidence.
    AlreadyThere,
}

/// Another build of a key, as evidence of whether it is reproducible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reproduction {
    /// The key.
    pub key: BuildKey,
    /// Digest of the payload it yielded.
    pub payload: Digest,
    /// When it was built.
    pub seen_at: UnixSeconds,
    /// Which drone built it.
    pub builder: String,
}

/// Keys looked up, or rows read, in one read transaction: a fraction of a millisecond's worth.
const PAGE: usize = 256;

impl Store {
    /// The artifact a key resolves to; `None` if there is none, or if one of its blobs is not there.
    ///
    /// # Errors
    /// An error means that the question could not be answered, not that there is no artifact.
    pub fn artifact(&self, key: BuildKey) -> Result<Option<Artifact>> {
        Ok(self.artifacts(&[key])?.remove(&key))
    }

    /// The artifacts these keys resolve to; as [`artifact`](Self::artifact), for many at once.
    ///
    /// # Errors
    /// As [`artifact`](Self::artifact).
    pub fn artifacts(&self, keys: &[BuildKey]) -> Result<BTreeMap<BuildKey, Artifact>> {
        let mut found = BTreeMap::new();
        let mut seen = Seen::default();
        self.shared.look_up(keys, row::find, |key, recorded| {
            if self.shared.are_there(&recorded.blobs, &mut seen)? {
                found.insert(key, recorded.artifact);
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Those of the keys that resolve; see [`artifact`](Self::artifact).
    ///
    /// # Errors
    /// As [`artifact`](Self::artifact).
    pub fn present(&self, keys: &[BuildKey]) -> Result<BTreeSet<BuildKey>> {
        self.shared.present(keys)
    }

    /// All artifacts of a package by category and name, `dev-libs/foo`, newest first.
    ///
    /// As they were committed, whether or not their blobs are still there.
    ///
    /// # Errors
    /// Those of the index.
    pub fn artifacts_of(&self, cp: &str) -> Result<Vec<Artifact>> {
        self.shared.index.read(|reader| {
            let mut query =
                reader.prepare_cached(&row::select("WHERE a.cp = ?1 ORDER BY a.built_at DESC, a.key"))?;
            let found = query.query_map([cp], Recorded::from_row)?;
            Ok(found.map(|recorded| recorded.map(|recorded| recorded.artifact)).collect::<Result<_, _>>()?)
        })
    }

    /// All artifacts by key, as they were committed, whether or not their blobs are still there.
    ///
    /// Read in pages: what is committed or removed meanwhile may or may not be seen.
    #[must_use]
    pub const fn all_artifacts(&self) -> Artifacts<'_> {
        Artifacts { store: self, page: VecDeque::new(), after: None, done: false }
    }

    /// Forgets the artifact of a key, its reuse keys and its signed packages; whether there was one.
    ///
    /// Its blobs go with the next collection, unless something else refers to them: a generation does.
    ///
    /// # Errors
    /// Those of the index.
    pub fn remove_artifact(&self, key: BuildKey) -> Result<bool> {
        self.shared.index.write(|transaction| Ok(forget(transaction, key)?))
    }

    /// The other builds of a key, oldest first.
    ///
    /// # Errors
    /// Those of the index.
    pub fn reproductions(&self, key: BuildKey) -> Result<Vec<Reproduction>> {
        self.shared.index.read(|reader| {
            let mut query = reader.prepare_cached(
                "SELECT payload, seen_at, builder FROM reproductions WHERE key = ?1 ORDER BY id",
            )?;
            let found = query.query_map([Bytes32::from(key)], |row| {
                Ok(Reproduction {
                    key,
                    payload: row.get::<_, Bytes32>(0)?.0,
                    seen_at: row.get::<_, Unsigned>(1)?.into(),
                    builder: row.get(2)?,
                })
            })?;
            Ok(found.collect::<Result<_, _>>()?)
        })
    }
}

impl Shared {
    /// Hands what `find` finds for each key to `each`, outside of the transactions that it is found in.
    fn look_up<T>(
        &self,
        keys: &[BuildKey],
        find: impl Fn(&Connection, BuildKey) -> rusqlite::Result<Option<T>>,
        mut each: impl FnMut(BuildKey, T) -> Result<()>,
    ) -> Result<()> {
        // Sorted, so that neighbours in the index are looked up one after the other.
        let mut sorted = keys.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        for page in sorted.chunks(PAGE) {
            let rows = self.index.read(|reader| {
                let rows: rusqlite::Result<Vec<_>> = page.iter().map(|key| find(reader, *key)).collect();
                Ok(rows?)
            })?;
            for (key, row) in page.iter().zip(rows) {
                if let Some(row) = row {
                    each(*key, row)?;
                }
            }
        }
        Ok(())
    }

    /// Those of the keys that resolve, by the index alone.
    fn present_by_index(&self, keys: &[BuildKey]) -> Result<BTreeSet<BuildKey>> {
        let mut found = BTreeSet::new();
        let mut seen = Seen::default();
        self.look_up(keys, row::find_blobs, |key, blobs| {
            if self.are_there(&blobs, &mut seen)? {
                found.insert(key);
            }
            Ok(())
        })?;
        Ok(found)
    }

    fn are_there(&self, blobs: &[Stored; 3], seen: &mut Seen) -> Result<bool> {
        for stored in blobs {
            if !self.is_there_as_seen(stored, seen)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether what is recorded resolves, within a transaction.
    fn resolves(&self, connection: &Connection, recorded: &Recorded, seen: &mut Seen) -> Result<bool, Fault> {
        for stored in &recorded.blobs {
            if !self.is_there_within(connection, stored, seen)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What a key resolves to, within a transaction.
    pub(crate) fn resolve(&self, connection: &Connection, key: BuildKey) -> Result<Option<Artifact>, Fault> {
        let Some(recorded) = row::find(connection, key)? else { return Ok(None) };
        Ok(self.resolves(connection, &recorded, &mut Seen::default())?.then_some(recorded.artifact))
    }
}

/// Removes the row of an artifact and those that hang on it; whether there was one.
pub(crate) fn forget(transaction: &Transaction<'_>, key: BuildKey) -> rusqlite::Result<bool> {
    let removed = commit::remove(transaction, key)?;
    if removed {
        transaction.note(&Record::ArtifactRemoved { key });
    }
    Ok(removed)
}

/// The artifacts of a store; see [`Store::all_artifacts`].
#[derive(Debug)]
pub struct Artifacts<'a> {
    store: &'a Store,
    page: VecDeque<Artifact>,
    after: Option<BuildKey>,
    done: bool,
}

impl Artifacts<'_> {
    fn turn_page(&mut self) -> Result<()> {
        let after = self.after.map(Bytes32::from);
        self.page = self.store.shared.index.read(|reader| {
            let mut query = reader
                .prepare_cached(&row::select("WHERE a.key > ifnull(?1, x'') ORDER BY a.key LIMIT ?2"))?;
            let found = query.query_map(params![after, PAGE as i64], Recorded::from_row)?;
            Ok(found.map(|recorded| recorded.map(|recorded| recorded.artifact)).collect::<Result<_, _>>()?)
        })?;
        self.after = self.page.back().map(|artifact| artifact.key);
        self.done = self.page.len() < PAGE;
        Ok(())
    }
}

impl Iterator for Artifacts<'_> {
    type Item = Result<Artifact>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.is_empty()
            && !self.done
            && let Err(error) = self.turn_page()
        {
            self.done = true;
            return Some(Err(error));
        }
        self.page.pop_front().map(Ok)
    }
}
