//! Which artifact a key resolves to: the first one, as long as it is whole.

use buildswarm_core::artifact::Artifact;
use rusqlite::{Transaction, params};

use super::{Committed, row};
use crate::error::{Error, Result};
use crate::index::Fault;
use crate::index::rows;
use crate::index::values::{Bytes32, Unsigned};
use crate::store::{Shared, Store};

impl Store {
    /// Makes a key resolve to this artifact, unless it resolves to another.
    ///
    /// The first one stays: a later one that differs is recorded as evidence ([`Store::reproductions`]) and
    /// otherwise ignored; the same one again changes nothing. Only an artifact that has lost a blob, and so
    /// resolves to nothing, makes room for a later one.
    ///
    /// # Errors
    /// [`Error::BlobMissing`] or [`Error::WrongSize`] if one of its blobs is not in the store as declared.
    pub fn commit_artifact(&self, artifact: &Artifact) -> Result<Committed> {
        self.shared.index.write(|transaction| {
            self.shared.require_blobs(transaction, artifact)?;
            if row::insert(transaction, artifact)? {
                return Ok(Committed::First);
            }
            let Some(earlier) = row::find(transaction, artifact.key)? else {
                return Err(Error::ArtifactMissing { key: artifact.key }.into());
            };
            if earlier.artifact == *artifact {
                return Ok(Committed::AlreadyThere);
            }
            if self.shared.resolves(&earlier)? {
                record_evidence(transaction, artifact)?;
                return Ok(Committed::AlreadyThere);
            }
            record_evidence(transaction, &earlier.artifact)?;
            transaction.execute("DELETE FROM artifacts WHERE key = ?1", [Bytes32::from(artifact.key)])?;
            row::insert(transaction, artifact)?;
            Ok(Committed::First)
        })
    }
}

impl Shared {
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
