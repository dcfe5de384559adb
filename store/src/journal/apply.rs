//! Making true in an index what a record says.

use buildswarm_core::BlobId;
use buildswarm_core::artifact::BlobRef;
use rusqlite::{ErrorCode, params};

use super::Record;
use crate::clock::now;
use crate::disk::{self, Copy};
use crate::error::{Error, Result};
use crate::index::values::{Bytes32, Unsigned};
use crate::index::{Transaction, rows};
use crate::layout::{Layout, shard_of};
use crate::{artifacts, generations, signed};

/// What is done about a blob that a record refers to and the index does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Its file is adopted, or else the record has no effect: nobody was told of it.
    Skips,
    /// It is recorded as bad, since it was there once: whatever refers to it is there again when the blob is.
    Counts,
}

/// Whether a record had its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applied {
    Yes,
    No,
}

impl Applied {
    const fn when(applied: bool) -> Self {
        if applied { Self::Yes } else { Self::No }
    }
}

/// Applies a record. One that the index has already changes nothing.
pub(crate) fn apply(
    layout: &Layout,
    transaction: &Transaction<'_>,
    record: Record,
    missing: Missing,
) -> Result<Applied> {
    let named = |error| Error::index(&layout.index(), error);
    let there = |blobs: &[BlobRef]| {
        for blob in blobs {
            if !is_there(layout, transaction, *blob, missing)? {
                return Ok(false);
            }
        }
        Ok::<_, Error>(true)
    };
    let applied = match record {
        Record::Store { .. } => Ok(true),
        Record::Restored { at, noted } => transaction
            .execute(
                "INSERT INTO restores (at, noted) VALUES (?1, ?2)",
                params![Unsigned::from(at), Unsigned(noted)],
            )
            .map(|_| true),
        Record::Inline { bytes } => {
            // Computed here, so that no record can put bytes under an address that is not theirs.
            let blob = BlobRef { id: BlobId::of(&bytes), size: bytes.len() as u64 };
            rows::insert(transaction, blob, Some(&bytes), now()).map(|()| true)
        }
        Record::Forgotten { blobs } => forget(transaction, &blobs).map(|()| true),
        Record::Artifact { artifact, places } => {
            if !there(&[artifact.file, artifact.log, artifact.preimage])? {
                return Ok(Applied::No);
            }
            artifacts::reinstate(transaction, &artifact, &places).map(|()| true)
        }
        Record::ArtifactRemoved { key } => artifacts::remove(transaction, key).map(|_| true),
        Record::Signed { key, signer, package } => {
            if !there(&[package.file])? {
                return Ok(Applied::No);
            }
            signed::reinstate(transaction, key, &signer, &package)
        }
        Record::Generation { channel, generation, blobs } => {
            if !there(&blobs)? || !there(&[generation.manifest])? {
                return Ok(Applied::No);
            }
            generations::reinstate(transaction, &channel, &generation, &blobs).map(|()| true)
        }
        Record::GenerationRemoved { channel, number } => {
            generations::remove(transaction, &channel, number).map(|_| true)
        }
        Record::Current { channel, number } => generations::make_current(transaction, &channel, number),
        Record::Root { name, blob, kind, made } => {
            if !there(&[blob])? {
                return Ok(Applied::No);
            }
            transaction
                .execute(
                    "INSERT OR REPLACE INTO roots (name, blob, kind, made) VALUES (?1, ?2, ?3, ?4)",
                    params![name, Bytes32::from(blob.id), kind, Unsigned::from(made)],
                )
                .map(|_| true)
        }
        Record::RootRemoved { name } => {
            transaction.execute("DELETE FROM roots WHERE name = ?1", [name]).map(|_| true)
        }
    };
    applied.map(Applied::when).map_err(named)
}

fn is_there(layout: &Layout, transaction: &Transaction<'_>, blob: BlobRef, missing: Missing) -> Result<bool> {
    let named = |error| Error::index(&layout.index(), error);
    let known = rows::find(transaction, blob.id).map_err(named)?;
    if known.is_some_and(|stored| stored.sound) {
        return Ok(true);
    }
    match missing {
        Missing::Skips => {
            let path = layout.blob(&blob.id);
            if disk::inspect(&path, blob)? != Copy::Sound {
                return Ok(false);
            }
            disk::sync_file(&path)?;
            disk::sync_dir(&layout.shard(shard_of(&blob.id)))?;
            rows::insert(transaction, blob, None, now()).map_err(named)?;
        }
        Missing::Counts if known.is_none() => rows::insert_bad(transaction, blob).map_err(named)?,
        Missing::Counts => {}
    }
    Ok(true)
}

/// Removes blobs that were collected. One that something refers to was put again since.
fn forget(transaction: &Transaction<'_>, blobs: &[BlobId]) -> rusqlite::Result<()> {
    for id in blobs {
        let inline = rows::find(transaction, *id)?.and_then(|stored| stored.inline());
        match transaction.execute("DELETE FROM blobs WHERE id = ?1", [Bytes32::from(*id)]) {
            Ok(_) => {}
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => continue,
            Err(error) => return Err(error),
        }
        if let Some(row) = inline {
            transaction.execute("DELETE FROM inline_bytes WHERE id = ?1", [row])?;
        }
    }
    Ok(())
}
