//! Channels: named sequences of immutable generations, one of them current.

use buildswarm_core::artifact::BlobRef;
use buildswarm_core::time::UnixSeconds;
use buildswarm_core::{BlobId, BuildKey};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::{Error, Result};
use crate::index::rows;
use crate::index::values::{Bytes32, Unsigned};
use crate::index::{Fault, Transaction};
use crate::store::{Shared, Store};

/// One immutable state of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerationRow {
    /// Its number within the channel.
    pub number: u64,
    /// When it was made.
    pub created: UnixSeconds,
    /// The keys whose packages it offers.
    pub entries: Vec<BuildKey>,
    /// Its package index.
    pub manifest: BlobRef,
}

impl Store {
    /// Records a generation. It is not current before [`set_current`](Self::set_current).
    ///
    /// From here on collection keeps its manifest, the package file of each entry and every signed form recorded so
    /// far, until [`remove_generation`](Self::remove_generation), whatever becomes of the artifacts.
    ///
    /// # Errors
    /// [`Error::GenerationExists`] if the number is taken, [`Error::ArtifactMissing`] if an entry does not resolve,
    /// [`Error::BlobMissing`] or [`Error::WrongSize`] if the manifest is not in the store as declared.
    pub fn record_generation(&self, channel: &str, generation: &GenerationRow) -> Result<()> {
        let number = generation.number;
        self.shared.index.write(|transaction| {
            if exists(transaction, channel, number)? {
                return Err(Error::GenerationExists { channel: channel.to_owned(), number }.into());
            }
            rows::require(transaction, generation.manifest)?;
            transaction.execute(
                "INSERT INTO generations (channel, number, created, manifest) VALUES (?1, ?2, ?3, ?4)",
                params![
                    channel,
                    Unsigned(number),
                    Unsigned::from(generation.created),
                    Bytes32::from(generation.manifest.id)
                ],
            )?;
            protect(transaction, channel, number, generation.manifest.id)?;
            for (position, key) in generation.entries.iter().enumerate() {
                self.shared.put_entry(transaction, (channel, number), position, *key)?;
            }
            Ok(())
        })
    }

    /// The generations of a channel, oldest first.
    ///
    /// # Errors
    /// Those of the index.
    pub fn generations(&self, channel: &str) -> Result<Vec<GenerationRow>> {
        self.shared.index.read(|reader| Ok(list(reader, channel)?))
    }

    /// Makes a generation the current one of its channel, atomically.
    ///
    /// # Errors
    /// [`Error::GenerationMissing`] and those of the index.
    pub fn set_current(&self, channel: &str, number: u64) -> Result<()> {
        self.shared.index.write(|transaction| {
            if !exists(transaction, channel, number)? {
                return Err(Error::GenerationMissing { channel: channel.to_owned(), number }.into());
            }
            transaction.execute(
                "INSERT INTO current_generations (channel, number) VALUES (?1, ?2)
                 ON CONFLICT (channel) DO UPDATE SET number = excluded.number",
                params![channel, Unsigned(number)],
            )?;
            Ok(())
        })
    }

    /// The number of the current generation of a channel.
    ///
    /// # Errors
    /// Those of the index.
    pub fn current(&self, channel: &str) -> Result<Option<u64>> {
        self.shared.index.read(|reader| Ok(current(reader, channel)?))
    }

    /// Forgets a generation that is not current, so that what only it refers to can be collected.
    ///
    /// # Errors
    /// [`Error::GenerationMissing`], [`Error::GenerationCurrent`] and those of the index.
    pub fn remove_generation(&self, channel: &str, number: u64) -> Result<()> {
        self.shared.index.write(|transaction| {
            if current(transaction, channel)? == Some(number) {
                return Err(Error::GenerationCurrent { channel: channel.to_owned(), number }.into());
            }
            let removed = transaction.execute(
                "DELETE FROM generations WHERE channel = ?1 AND number = ?2",
                params![channel, Unsigned(number)],
            )?;
            if removed == 0 {
                return Err(Error::GenerationMissing { channel: channel.to_owned(), number }.into());
            }
            Ok(())
        })
    }
}

impl Shared {
    fn put_entry(
        &self,
        transaction: &Transaction<'_>,
        (channel, number): (&str, u64),
        position: usize,
        key: BuildKey,
    ) -> Result<(), Fault> {
        let Some(artifact) = self.resolve(transaction, key)? else {
            return Err(Error::ArtifactMissing { key }.into());
        };
        transaction
            .prepare_cached(
                "INSERT INTO generation_entries (channel, number, position, key) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![channel, Unsigned(number), Unsigned(position as u64), Bytes32::from(key)])?;
        protect(transaction, channel, number, artifact.file.id)?;
        transaction
            .prepare_cached(
                "INSERT OR IGNORE INTO generation_blobs (channel, number, blob)
                 SELECT ?1, ?2, file FROM signed WHERE key = ?3",
            )?
            .execute(params![channel, Unsigned(number), Bytes32::from(key)])?;
        Ok(())
    }
}

fn protect(transaction: &Transaction<'_>, channel: &str, number: u64, blob: BlobId) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("INSERT OR IGNORE INTO generation_blobs (channel, number, blob) VALUES (?1, ?2, ?3)")?
        .execute(params![channel, Unsigned(number), Bytes32::from(blob)])
        .map(drop)
}

fn exists(connection: &Connection, channel: &str, number: u64) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM generations WHERE channel = ?1 AND number = ?2")?
        .exists(params![channel, Unsigned(number)])
}

fn current(connection: &Connection, channel: &str) -> rusqlite::Result<Option<u64>> {
    connection
        .prepare_cached("SELECT number FROM current_generations WHERE channel = ?1")?
        .query_row([channel], |row| row.get::<_, Unsigned>(0).map(|number| number.0))
        .optional()
}

fn list(connection: &Connection, channel: &str) -> rusqlite::Result<Vec<GenerationRow>> {
    let mut generations = connection.prepare_cached(
        "SELECT g.number, g.created, b.id, b.size FROM generations AS g JOIN blobs AS b ON b.id = g.manifest
         WHERE g.channel = ?1 ORDER BY g.number",
    )?;
    let mut entries = connection.prepare_cached(
        "SELECT key FROM generation_entries WHERE channel = ?1 AND number = ?2 ORDER BY position",
    )?;
    let mut found = Vec::new();
    let mut rows = generations.query([channel])?;
    while let Some(row) = rows.next()? {
        let number = row.get::<_, Unsigned>(0)?;
        let keys = entries.query_map(params![channel, number], |row| row.get::<_, Bytes32>(0))?;
        found.push(GenerationRow {
            number: number.0,
            created: row.get::<_, Unsigned>(1)?.into(),
            entries: keys.map(|key| key.map(BuildKey::from)).collect::<Result<_, _>>()?,
            manifest: BlobRef { id: row.get::<_, Bytes32>(2)?.into(), size: row.get::<_, Unsigned>(3)?.0 },
        });
    }
    Ok(found)
}
