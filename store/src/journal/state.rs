//! A new segment: the whole state of an index as records.

use std::io::{BufWriter, Write};

use buildswarm_core::artifact::BlobRef;
use buildswarm_core::time::UnixSeconds;
use rusqlite::Connection;
use tempfile::NamedTempFile;

use super::frame::{self, Frames};
use super::{Journal, Place, Record, identity, remove_others};
use crate::artifacts;
use crate::disk;
use crate::error::{Error, Result};
use crate::generations;
use crate::index::Fault;
use crate::index::values::{Bytes32, Unsigned};
use crate::layout::Layout;
use crate::signed::SignedPackage;

/// The state, in a file that nothing refers to yet.
#[derive(Debug)]
pub(crate) struct Written {
    file: NamedTempFile,
    base: u64,
    bytes: u64,
}

/// Writes the state of `index`, which is one snapshot for as long as this takes.
pub(crate) fn write(layout: &Layout, index: &Connection) -> Result<Written> {
    disk::create_dir(&layout.tmp())?;
    let file = disk::create_temp(&layout.tmp(), "journal-")?;
    let path = file.path().to_owned();
    let (uuid, base) = identity(index).map_err(|error| Error::index(&layout.index(), error))?;
    let mut out = Out { file: BufWriter::new(file), base, bytes: 0, frame: Vec::new() };
    let written = out.record(&Record::Store { uuid }).and_then(|()| out.all(index));
    written.map_err(|fault| match fault {
        Trouble::Index(Fault::Sql(error)) => Error::index(&layout.index(), error),
        Trouble::Index(Fault::Refused(error)) => error,
        Trouble::File(error) => Error::io("write", &path)(error),
    })?;
    let bytes = out.bytes;
    let file = out.file.into_inner().map_err(|error| Error::io("write", &path)(error.into_error()))?;
    Ok(Written { file, base, bytes })
}

enum Trouble {
    Index(Fault),
    File(std::io::Error),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Index(error.into())
    }
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self::Index(fault)
    }
}

struct Out {
    file: BufWriter<NamedTempFile>,
    base: u64,
    bytes: u64,
    frame: Vec<u8>,
}

impl Out {
    fn record(&mut self, record: &Record) -> Result<(), Trouble> {
        self.frame.clear();
        frame::frame(self.base, &record.encode(), &mut self.frame)
            .and_then(|()| self.file.write_all(&self.frame))
            .map_err(Trouble::File)?;
        self.bytes += self.frame.len() as u64;
        Ok(())
    }

    /// Everything but the identity, each thing after what it refers to.
    fn all(&mut self, index: &Connection) -> Result<(), Trouble> {
        each(index, "SELECT at, noted FROM restores ORDER BY number", |row| {
            let (at, noted) = (row.get::<_, Unsigned>(0)?, row.get::<_, Unsigned>(1)?.0);
            self.record(&Record::Restored { at: at.into(), noted })
        })?;
        // What is not sound will be known by whatever refers to it.
        each(
            index,
            "SELECT i.bytes FROM blobs AS b JOIN inline_bytes AS i ON i.id = b.inline
             WHERE b.state = 'sound' ORDER BY b.id",
            |row| self.record(&Record::Inline { bytes: row.get(0)? }),
        )?;
        artifacts::each(index, |artifact, places| {
            self.record(&Record::Artifact { artifact: Box::new(artifact), places })
        })?;
        each(
            index,
            "SELECT s.key, s.signer, s.index_entry, b.id, b.size
             FROM signed AS s JOIN blobs AS b ON b.id = s.file ORDER BY s.key, s.signer",
            |row| {
                let file =
                    BlobRef { id: row.get::<_, Bytes32>(3)?.into(), size: row.get::<_, Unsigned>(4)?.0 };
                let package = SignedPackage { file, index_entry: row.get(2)? };
                let key = row.get::<_, Bytes32>(0)?.into();
                self.record(&Record::Signed { key, signer: row.get(1)?, package })
            },
        )?;
        self.channels(index)?;
        each(
            index,
            "SELECT r.name, b.id, b.size, r.kind, r.made
             FROM roots AS r JOIN blobs AS b ON b.id = r.blob ORDER BY r.name",
            |row| {
                let blob =
                    BlobRef { id: row.get::<_, Bytes32>(1)?.into(), size: row.get::<_, Unsigned>(2)?.0 };
                let made: UnixSeconds = row.get::<_, Unsigned>(4)?.into();
                self.record(&Record::Root { name: row.get(0)?, blob, kind: row.get(3)?, made })
            },
        )
    }

    fn channels(&mut self, index: &Connection) -> Result<(), Trouble> {
        let mut channels: Vec<String> = Vec::new();
        each(index, "SELECT DISTINCT channel FROM generations ORDER BY channel", |row| {
            channels.push(row.get(0)?);
            Ok::<_, Trouble>(())
        })?;
        for channel in channels {
            for generation in generations::list(index, &channel)? {
                let blobs = generations::blobs(index, &channel, generation.number)?;
                self.record(&Record::Generation { channel: channel.clone(), generation, blobs })?;
            }
            if let Some(number) = generations::current(index, &channel)? {
                self.record(&Record::Current { channel, number })?;
            }
        }
        Ok(())
    }
}

/// Hands every row of a query to `take`.
fn each<E: From<rusqlite::Error>>(
    index: &Connection,
    query: &str,
    mut take: impl FnMut(&rusqlite::Row<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut query = index.prepare(query)?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        take(row)?;
    }
    Ok(())
}

/// About how many bytes a segment of this index would have: what is large in it, without reading it.
pub(crate) fn estimate(index: &Connection) -> rusqlite::Result<u64> {
    /// More than an artifact usually takes with its metadata and reuse keys, in bytes.
    const ARTIFACT_BYTES: u64 = 2048;
    /// Frame and fields around the bytes of a blob.
    const AROUND_BYTES: u64 = 64;
    let sum = |query| index.query_row(query, [], |row| row.get::<_, Unsigned>(0)).map(|sum| sum.0);
    let (count, bytes) = (
        sum("SELECT count(*) FROM blobs WHERE inline IS NOT NULL")?,
        sum("SELECT ifnull(sum(size), 0) FROM blobs WHERE inline IS NOT NULL")?,
    );
    let entries = sum("SELECT count(*) FROM generation_entries")?;
    let artifacts = sum("SELECT count(*) FROM artifacts")?;
    Ok(bytes + count * AROUND_BYTES + artifacts * ARTIFACT_BYTES + entries * 2 * AROUND_BYTES)
}

impl Written {
    /// Makes this the segment in use: with the records that the one before got since the state was read, durable, by its
    /// name, in this order. Older ones go when it is there.
    pub(crate) fn install(mut self, layout: &Layout, before: Option<(&Journal, Place)>) -> Result<Journal> {
        let (mut last, base_bytes) = (self.base, self.bytes);
        if let Some((journal, since)) = before {
            last = self.take_over(journal, since)?;
        }
        disk::create_dir(&layout.journal())?;
        let path = layout.segment(self.base);
        disk::publish_over(self.file, &path)?;
        remove_others(layout, self.base)?;
        let file = disk::open_to_append(&path)?;
        Ok(Journal {
            path,
            file,
            base: self.base,
            base_bytes,
            last,
            length: self.bytes,
            before: (self.bytes, last),
            doubtful: false,
        })
    }

    /// Copies the records after the state from the segment in use; the number of the last one.
    fn take_over(&mut self, journal: &Journal, since: Place) -> Result<u64> {
        let mut frames = Frames::open(journal.path())?;
        frames.go_to(since.at);
        let mut last = since.last;
        while frames.at() < journal.length {
            let Some(frame::Found::Whole { number, payload }) = frames.next()? else {
                return Err(Error::Io {
                    action: crate::error::READ,
                    path: journal.path().to_owned(),
                    source: std::io::Error::other("a record that was just written is damaged"),
                });
            };
            last = number;
            if number <= self.base {
                continue;
            }
            let mut bytes = Vec::new();
            let path = self.file.path().to_owned();
            frame::frame(number, &payload, &mut bytes)
                .and_then(|()| self.file.write_all(&bytes))
                .map_err(Error::io("write", &path))?;
            self.bytes += bytes.len() as u64;
        }
        Ok(last.max(self.base))
    }
}
