//! Which artifact a key resolves to: the first one, as long as it is whole.

use buildswarm_core::ReuseKey;
use buildswarm_core::artifact::Artifact;
use rusqlite::{Transaction, params};

use super::{Committed, reuse, row};
use crate::error::{Error, Result};
use crate::index::Fault;
use crate::index::rows;
use crate::index::values::{Bytes32, Unsigned};
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
            self.shared.require_blobs(transaction, artifact)?;
            let committed = self.shared.settle(transaction, artifact)?;
            reuse::record(transaction, artifact.key, reuse)?;
            Ok(committed)
        })?;
        self.committed(1);
        Ok(committed)
    }
}

impl Shared {
    /// Decides between an artifact and an earlier one of its key.
    fn settle(&self, transaction: &Transaction<'_>, artifact: &Artifact) -> Result<Committed, Fault> {
        if row::insert(transaction, artifact)? {
            return Ok(Committed::First);
        }
        let Some(earlier) = row::find(transaction, artifact.key)? else {
            return Err(Error::ArtifactMissing { key: artifact.key }.into());
        };
        if earlier.artifact == *artifact {
            return Ok(Committed::AlreadyThere);
        }
        if self.resolves(&earlier)? {
            record_evidence(transaction, artifact)?;
            return Ok(Committed::AlreadyThere);
        }
        record_evidence(transaction, &earlier.artifact)?;
        replace(transaction, artifact)?;
        Ok(Committed::First)
    }

    fn require_blobs(&self, transaction: &Transaction<'_>, artifact: &Artifact) -> Result<(), Fault> {
        for blob in [artifact.file, artifact.log, artifact.preimage] {
            let stored = rows::require(transaction, blob)?;
            if !self.is_there(&stored)? {
                return Err(Error::BlobMissing { id: blob.id }.into());
            }
        }
        Ok(())
    }
}

/// Puts an artifact in the place of another: what is signed of that one goes with it, its reuse keys stay.
fn replace(transaction: &Transaction<'_>, artifact: &Artifact) -> rusqlite::Result<()> {
    let places = reuse::places(transaction, artifact.key)?;
    transaction.execute("DELETE FROM artifacts WHERE key = ?1", [Bytes32::from(artifact.key)])?;
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
