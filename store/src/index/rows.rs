//! The rows of `blobs`, read and changed only here.

use buildswarm_core::BlobId;
use buildswarm_core::artifact::BlobRef;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::values::{Bytes32, Unsigned};
use super::{Fault, Transaction};
use crate::error::{Error, Result};
use crate::gc::GRACE_SECONDS;

/// A blob as the index knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) blob: BlobRef,
    /// Not known to be bad and not about to be removed.
    pub(crate) sound: bool,
    pub(crate) place: Place,
    /// When it was last put, in seconds since 1970.
    pub(crate) stored_at: u64,
}

/// Where the bytes of a blob are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a row of `inline_bytes`.
    Inline(i64),
    /// In a file of its own.
    File,
    /// In a pack, beginning with this byte of what it unpacks to.
    Packed { pack: PackNumber, position: u64 },
}

/// A row of `packs`. Never used twice, so whoever knows a number knows the pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PackNumber(pub(crate) i64);

impl PackNumber {
    /// Before every pack.
    pub(crate) const FIRST: Self = Self(0);
}

impl Place {
    /// Its columns `inline`, `pack` and `position`.
    fn columns(self) -> (Option<i64>, Option<i64>, Option<Unsigned>) {
        match self {
            Self::Inline(row) => (Some(row), None, None),
            Self::File => (None, None, None),
            Self::Packed { pack, position } => (None, Some(pack.0), Some(Unsigned(position))),
        }
    }
}

/// The columns of [`Stored`] in a query over `blobs AS b`; `alias` replaces the `b`.
pub(crate) fn columns(alias: &str) -> String {
    format!(
        "{alias}.id, {alias}.size, {alias}.state = 'sound', {alias}.inline, {alias}.stored_at, {alias}.pack,
         {alias}.position"
    )
}

impl Stored {
    /// How many columns it takes.
    pub(crate) const COLUMNS: usize = 7;

    /// Reads it from the columns beginning with number `first`.
    pub(crate) fn from_row(row: &Row<'_>, first: usize) -> rusqlite::Result<Self> {
        let place = match (row.get(first + 3)?, row.get(first + 5)?) {
            (Some(row), _) => Place::Inline(row),
            (None, None) => Place::File,
            (None, Some(pack)) => {
                let position = row.get::<_, Unsigned>(first + 6)?.0;
                Place::Packed { pack: PackNumber(pack), position }
            }
        };
        Ok(Self {
            blob: BlobRef {
                id: row.get::<_, Bytes32>(first)?.into(),
                size: row.get::<_, Unsigned>(first + 1)?.0,
            },
            sound: row.get(first + 2)?,
            place,
            stored_at: row.get::<_, Unsigned>(first + 4)?.0,
        })
    }

    /// The row of its bytes, if they are in the index.
    pub(crate) const fn inline(&self) -> Option<i64> {
        match self.place {
            Place::Inline(row) => Some(row),
            Place::File | Place::Packed { .. } => None,
        }
    }
}

/// What is known of a blob.
pub(crate) fn find(connection: &Connection, id: BlobId) -> rusqlite::Result<Option<Stored>> {
    connection
        .prepare_cached(&format!("SELECT {} FROM blobs AS b WHERE id = ?1", columns("b")))?
        .query_row([Bytes32::from(id)], |row| Stored::from_row(row, 0))
        .optional()
}

/// The bytes of a small blob.
pub(crate) fn inline_bytes(connection: &Connection, row: i64) -> rusqlite::Result<Vec<u8>> {
    connection
        .prepare_cached("SELECT bytes FROM inline_bytes WHERE id = ?1")?
        .query_row([row], |row| row.get(0))
}

/// Records a blob as sound: its file is durable, or `bytes` are to be kept in the index.
pub(crate) fn insert(
    transaction: &Transaction<'_>,
    blob: BlobRef,
    bytes: Option<&[u8]>,
    now: u64,
) -> rusqlite::Result<()> {
    let place = match bytes {
        Some(bytes) => {
            transaction.prepare_cached("INSERT INTO inline_bytes (bytes) VALUES (?1)")?.execute([bytes])?;
            Place::Inline(transaction.last_insert_rowid())
        }
        None => Place::File,
    };
    let stored = Stored { blob, sound: true, place, stored_at: now };
    if !insert_new(transaction, &stored)? {
        replace(transaction, &stored)?;
    }
    Ok(())
}

/// Records a sound blob that the index does not know; `false` if it does.
pub(crate) fn insert_new(transaction: &Transaction<'_>, stored: &Stored) -> rusqlite::Result<bool> {
    let (inline, pack, position) = stored.place.columns();
    let inserted = transaction
        .prepare_cached(
            "INSERT INTO blobs (id, size, state, inline, stored_at, pack, position)
             VALUES (?1, ?2, 'sound', ?3, ?4, ?5, ?6) ON CONFLICT (id) DO NOTHING",
        )?
        .execute(params![
            Bytes32::from(stored.blob.id),
            Unsigned(stored.blob.size),
            inline,
            Unsigned(stored.stored_at),
            pack,
            position,
        ])?;
    Ok(inserted == 1)
}

/// Records a known blob as sound, and forgets the bytes that were kept of it in the index.
pub(crate) fn replace(transaction: &Transaction<'_>, stored: &Stored) -> rusqlite::Result<()> {
    let before = find(transaction, stored.blob.id)?;
    let (inline, pack, position) = stored.place.columns();
    transaction
        .prepare_cached(
            "UPDATE blobs SET size = ?2, state = 'sound', inline = ?3, stored_at = ?4, pack = ?5, position = ?6
             WHERE id = ?1",
        )?
        .execute(params![
            Bytes32::from(stored.blob.id),
            Unsigned(stored.blob.size),
            inline,
            Unsigned(stored.stored_at),
            pack,
            position,
        ])?;
    if let Some(row) = before.as_ref().and_then(Stored::inline) {
        transaction.prepare_cached("DELETE FROM inline_bytes WHERE id = ?1")?.execute([row])?;
    }
    Ok(())
}

/// A put of a known blob renews the time it was last put, unless that is at most this many seconds ago: an hour
/// less of grace saves a commit for each blob that is put again and again.
const RENEW_SECONDS: u64 = 60 * 60;
const _: () = assert!(RENEW_SECONDS * 10 <= GRACE_SECONDS);

impl Stored {
    /// Whether the time it was last put should be renewed.
    pub(crate) const fn is_stale(&self, now: u64) -> bool {
        now.saturating_sub(self.stored_at) > RENEW_SECONDS
    }
}

/// Keeps a known blob from being collected as one that nobody asked for lately.
pub(crate) fn renew(transaction: &Transaction<'_>, stored: &Stored, now: u64) -> rusqlite::Result<()> {
    if stored.is_stale(now) {
        transaction
            .prepare_cached("UPDATE blobs SET stored_at = ?2 WHERE id = ?1 AND state = 'sound'")?
            .execute(params![Bytes32::from(stored.blob.id), Unsigned(now)])?;
    }
    Ok(())
}

/// Takes a blob out of service, if its bytes are still at the place where they were found to be bad.
pub(crate) fn mark_bad(transaction: &Transaction<'_>, stored: &Stored) -> rusqlite::Result<usize> {
    let (inline, pack, position) = stored.place.columns();
    transaction
        .prepare_cached(
            "UPDATE blobs SET state = 'bad'
             WHERE id = ?1 AND state = 'sound' AND inline IS ?2 AND pack IS ?3 AND position IS ?4",
        )?
        .execute(params![Bytes32::from(stored.blob.id), inline, pack, position])
}

/// Refuses what names a blob that is not there, or is there with another length.
pub(crate) fn require(connection: &Connection, blob: BlobRef) -> Result<Stored, Fault> {
    match find(connection, blob.id)? {
        Some(stored) if stored.sound && stored.blob == blob => Ok(stored),
        Some(stored) if stored.sound => {
            let (id, stored) = (blob.id, stored.blob.size);
            Err(Error::WrongSize { id, stored, declared: blob.size }.into())
        }
        _ => Err(Error::BlobMissing { id: blob.id }.into()),
    }
}
