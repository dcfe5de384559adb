//! Which artifact a key resolves to: the first one, as long as it is whole.

use buildswarm_core::artifact::{Artifact, BlobRef};
use buildswarm_core::{BuildKey, ReuseKey};
use rusqlite::{Connection, params};

use super::reuse::Place;
use super::{Committed, reuse, row};
use crate::error::{Error, Result};
use crate::index::rows;
use crate::index::values::{Bytes32, Unsigned};
use crate::index::{Fault, Transaction};
use crate::journal::Record;
use crate::packs::Seen;
use crate::store::{Shared, Store};

impl Store {
    /// Makes a key resolve to this artifact, unless it resolves to another, and lets `reuse` lead to what the key
    /// resolves to.
    ///
    /// The first one stays: a later one that differs is recorded as evidence ([`Store::reproductions`]) and
    /// otherwise ignored; the same one again changes nothing. Only an artifact that has lost a blob, and so
    /// resolves to nothing, makes room for a later one, which takes over its reuse keys.
    ///
    /// Reuse keys are recorded also when an earlier artifact stays, and lead to that one: they say what a build
    /// was given, never what it yielded. Whoever may have the earlier artifact for the exact key may have it for
    /// every key that any build of that exact key had.
    ///
    /// # Errors
    /// [`Error::BlobMissing`] or [`Error::WrongSize`] if one of its blobs is not in the store as declared.
    pub fn commit_artifact(&self, artifact: &Artifact, reuse: &[ReuseKey]) -> Result<Committed> {
        let committed = self.shared.index.write(|transaction| {
            self.shared.commit_within(transaction, artifact, reuse, &[], &mut Seen::default())
        })?;
        self.shared.committed(1);
        Ok(committed)
    }
}

impl Shared {
    /// [`Store::commit_artifact`] within a transaction, in which `own` was recorded before: blobs, sorted.
    pub(crate) fn commit_within(
        &self,
        transaction: &Transaction<'_>,
        artifact: &Artifact,
        reuse: &[ReuseKey],
        own: &[BlobRef],
        seen: &mut Seen,
    ) -> Result<Committed, Fault> {
        self.require_blobs(transaction, artifact, own, seen)?;
        let committed = self.settle(transaction, artifact, seen)?;
        let led = reuse::record(transaction, artifact.key, reuse)?;
        if committed == Committed::First {
            note(transaction, artifact)?;
        } else if led {
            let earlier = row::find(transaction, artifact.key)?;
            note(transaction, &earlier.ok_or(Error::ArtifactMissing { key: artifact.key })?.artifact)?;
        }
        Ok(committed)
    }

    /// Decides between an artifact and an earlier one of its key.
    fn settle(
        &self,
        transaction: &Transaction<'_>,
        artifact: &Artifact,
        seen: &mut Seen,
    ) -> Result<Committed, Fault> {
        if row::insert(transaction, artifact)? {
            return Ok(Committed::First);
        }
        let Some(earlier) = row::find(transaction, artifact.key)? else {
            return Err(Error::ArtifactMissing { key: artifact.key }.into());
        };
        if earlier.artifact == *artifact {
            return Ok(Committed::AlreadyThere);
        }
        if self.resolves(transaction, &earlier, seen)? {
            record_evidence(transaction, artifact)?;
            return Ok(Committed::AlreadyThere);
        }
        record_evidence(transaction, &earlier.artifact)?;
        replace(transaction, artifact)?;
        Ok(Committed::First)
    }

    fn require_blobs(
        &self,
        transaction: &Transaction<'_>,
        artifact: &Artifact,
        own: &[BlobRef],
        seen: &mut Seen,
    ) -> Result<(), Fault> {
        for blob in [artifact.file, artifact.log, artifact.preimage] {
            if own.binary_search(&blob).is_ok() {
                continue;
            }
            let stored = rows::require(transaction, blob)?;
            if !self.is_there_within(transaction, &stored, seen)? {
                return Err(Error::BlobMissing { id: blob.id }.into());
            }
        }
        Ok(())
    }
}

/// Notes what a key resolves to by now, with all that leads to it: records stand for themselves.
fn note(transaction: &Transaction<'_>, artifact: &Artifact) -> Result<(), Fault> {
    let places = numbered(reuse::places(transaction, artifact.key)?);
    transaction.note(&Record::Artifact { artifact: Box::new(artifact.clone()), places });
    Ok(())
}

fn numbered(places: Vec<Place>) -> Vec<(ReuseKey, u64)> {
    places.into_iter().map(|(key, position)| (key, position.0)).collect()
}

/// Hands every artifact to `each` with its places, in the order in which they were committed.
pub(crate) fn each<E: From<rusqlite::Error>>(
    connection: &Connection,
    mut each: impl FnMut(Artifact, Vec<(ReuseKey, u64)>) -> Result<(), E>,
) -> Result<(), E> {
    row::each(connection, |artifact| {
        let places = reuse::places(connection, artifact.key)?;
        each(artifact, numbered(places))
    })
}

/// Makes a key resolve to an artifact as a record has it, whatever it resolved to before.
pub(crate) fn reinstate(
    transaction: &Transaction<'_>,
    artifact: &Artifact,
    places: &[(ReuseKey, u64)],
) -> rusqlite::Result<()> {
    let same = row::find(transaction, artifact.key)?.is_some_and(|earlier| earlier.artifact == *artifact);
    if !same {
        remove(transaction, artifact.key)?;
        row::insert(transaction, artifact)?;
    }
    let known = reuse::places(transaction, artifact.key)?;
    let mut places: Vec<Place> = places.iter().map(|(key, position)| (*key, Unsigned(*position))).collect();
    places.retain(|place| !known.contains(place));
    reuse::restore(transaction, artifact.key, &places)
}

/// Forgets the artifact of a key; whether there was one.
pub(crate) fn remove(transaction: &Transaction<'_>, key: BuildKey) -> rusqlite::Result<bool> {
    Ok(transaction.execute("DELETE FROM artifacts WHERE key = ?1", [Bytes32::from(key)])? > 0)
}

/// Puts an artifact in the place of another: what is signed of that one goes with it, its reuse keys stay.
fn replace(transaction: &Transaction<'_>, artifact: &Artifact) -> rusqlite::Result<()> {
    let places = reuse::places(transaction, artifact.key)?;
    remove(transaction, artifact.key)?;
    row::insert(transaction, artifact)?;
    reuse::restore(transaction, artifact.key, &places)
}

fn record_evidence(transaction: &Transaction<'_>, artifact: &Artifact) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("INSERT INTO reproductions (key, payload, seen_at, builder) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            Bytes32::from(artifact.key),
            Bytes32(artifact.payload),
            Unsigned::from(artifact.built_at),
            artifact.builder,
        ])
        .map(drop)
}
