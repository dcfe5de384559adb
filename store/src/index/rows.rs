//! The rows of `blobs`, read and changed only here.

use buildswarm_core::BlobId;
use buildswarm_core::artifact::BlobRef;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::Fault;
use super::values::{Bytes32, Unsigned};
use crate::error::{Error, Result};
use crate::gc::GRACE_SECONDS;

/// A blob as the index knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) blob: BlobRef,
    /// Not known to be bad and not about to be removed.
    pub(crate) sound: bool,
    /// The row of its bytes; `None` for a file.
    pub(crate) inline: Option<i64>,
    /// When it was last put or opened, in seconds since 1970.
    pub(crate) stored_at: u64,
}

/// The columns of [`Stored`] in a query over `blobs AS b`; `alias` replaces the `b`.
pub(crate) fn columns(alias: &str) -> String {
    format!("{alias}.id, {alias}.size, {alias}.state = 'sound', {alias}.inline, {alias}.stored_at")
}

/// A use of a blob renews the time it was last used, unless that is at most this many seconds ago: an hour less of
/// grace saves a commit for each blob that is used again and again.
const RENEW_SECONDS: u64 = 60 * 60;
const _: () = assert!(RENEW_SECONDS * 10 <= GRACE_SECONDS);

impl Stored {
    /// Whether a use now is to be recorded.
    pub(crate) const fn is_stale(&self, now: u64) -> bool {
        now.saturating_sub(self.stored_at) > RENEW_SECONDS
    }

    /// How many columns it takes.
    pub(crate) const COLUMNS: usize = 5;

    /// Reads it from the columns beginning with number `first`.
    pub(crate) fn from_row(row: &Row<'_>, first: usize) -> rusqlite::Result<Self> {
        Ok(Self {
            blob: BlobRef {
                id: row.get::<_, Bytes32>(first)?.into(),
                size: row.get::<_, Unsigned>(first + 1)?.0,
            },
            sound: row.get(first + 2)?,
            inline: row.get(first + 3)?,
            stored_at: row.get::<_, Unsigned>(first + 4)?.0,
        })
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
    let before = find(transaction, blob.id)?;
    let inline = match bytes {
        Some(bytes) => {
            transaction.prepare_cached("INSERT INTO inline_bytes (bytes) VALUES (?1)")?.execute([bytes])?;
            Some(transaction.last_insert_rowid())
        }
        None => None,
    };
    transaction
        .prepare_cached(
            "INSERT INTO blobs (id, size, state, inline, stored_at) VALUES (?1, ?2, 'sound', ?3, ?4)
             ON CONFLICT (id) DO UPDATE SET size = excluded.size, state = excluded.state,
                 inline = excluded.inline, stored_at = excluded.stored_at",
        )?
        .execute(params![Bytes32::from(blob.id), Unsigned(blob.size), inline, Unsigned(now)])?;
    if let Some(row) = before.and_then(|stored| stored.inline) {
        transaction.prepare_cached("DELETE FROM inline_bytes WHERE id = ?1")?.execute([row])?;
    }
    Ok(())
}

/// Keeps a known blob from being collected as one that nobody used lately. Never back in time: a note of a use may be
/// written after a put that came later.
pub(crate) fn touch(transaction: &Transaction<'_>, id: BlobId, now: u64) -> rusqlite::Result<usize> {
    transaction
        .prepare_cached("UPDATE blobs SET stored_at = max(stored_at, ?2) WHERE id = ?1 AND state = 'sound'")?
        .execute(params![Bytes32::from(id), Unsigned(now)])
}

/// Takes a blob out of service.
pub(crate) fn mark_bad(transaction: &Transaction<'_>, id: BlobId) -> rusqlite::Result<usize> {
    transaction
        .prepare_cached("UPDATE blobs SET state = 'bad' WHERE id = ?1 AND state = 'sound'")?
        .execute([Bytes32::from(id)])
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
