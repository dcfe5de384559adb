//! The rows of `packs`.

use buildswarm_core::BlobId;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::Pack;
use crate::index::Transaction;
use crate::index::rows::{PackNumber, Place, Stored, columns};
use crate::index::values::{Bytes32, Unsigned};

fn from_row(row: &Row<'_>) -> rusqlite::Result<Pack> {
    Ok(Pack {
        id: row.get::<_, Bytes32>(0)?.into(),
        size: row.get::<_, Unsigned>(1)?.0,
        unpacked: row.get::<_, Unsigned>(2)?.0,
    })
}

/// The pack with this number, whatever its state.
pub(crate) fn find(connection: &Connection, number: PackNumber) -> rusqlite::Result<Option<Pack>> {
    connection
        .prepare_cached("SELECT id, size, unpacked FROM packs WHERE number = ?1")?
        .query_row([number.0], from_row)
        .optional()
}

/// Records a pack as sound: its file is durable.
pub(crate) fn insert(transaction: &Transaction<'_>, pack: Pack) -> rusqlite::Result<PackNumber> {
    transaction
        .prepare_cached(
            "INSERT INTO packs (id, size, unpacked, state) VALUES (?1, ?2, ?3, 'sound')
             ON CONFLICT (id) DO UPDATE SET state = 'sound' RETURNING number",
        )?
        .query_row(params![Bytes32::from(pack.id), Unsigned(pack.size), Unsigned(pack.unpacked)], |row| {
            row.get(0).map(PackNumber)
        })
}

/// Takes all blobs of a pack out of service.
pub(crate) fn mark_members_bad(transaction: &Transaction<'_>, number: PackNumber) -> rusqlite::Result<usize> {
    transaction
        .prepare_cached("UPDATE blobs SET state = 'bad' WHERE pack = ?1 AND state = 'sound'")?
        .execute([number.0])
}

/// Takes the place from blobs that are bad, if the pack has no others. Whether it has none.
///
/// Blobs that are condemned are others: they may be put again until their rows are gone.
pub(crate) fn take_out_bad_members(
    transaction: &Transaction<'_>,
    number: PackNumber,
) -> rusqlite::Result<bool> {
    let useful = transaction
        .prepare_cached("SELECT 1 FROM blobs WHERE pack = ?1 AND state <> 'bad'")?
        .exists([number.0])?;
    if !useful {
        transaction
            .prepare_cached("UPDATE blobs SET pack = NULL, position = NULL WHERE pack = ?1")?
            .execute([number.0])?;
    }
    Ok(!useful)
}

/// Marks a pack whose bytes are not those of its address: it is no place to stay for its blobs.
pub(crate) fn mark_bad(transaction: &Transaction<'_>, number: PackNumber) -> rusqlite::Result<usize> {
    transaction
        .prepare_cached("UPDATE packs SET state = 'bad' WHERE number = ?1 AND state = 'sound'")?
        .execute([number.0])
}

/// The packs after a number that are not about to be removed, in the order of their numbers.
pub(crate) fn in_use(
    connection: &Connection,
    after: PackNumber,
    limit: i64,
) -> rusqlite::Result<Vec<PackNumber>> {
    connection
        .prepare_cached(
            "SELECT number FROM packs WHERE number > ?1 AND state <> 'condemned' ORDER BY number LIMIT ?2",
        )?
        .query_map([after.0, limit], |row| row.get(0).map(PackNumber))?
        .collect()
}

/// The sound blobs of a pack in the order of their positions.
pub(crate) fn members(connection: &Connection, number: PackNumber) -> rusqlite::Result<Vec<Stored>> {
    connection
        .prepare_cached(&format!(
            "SELECT {} FROM blobs AS b WHERE b.pack = ?1 AND b.state = 'sound' ORDER BY b.position",
            columns("b")
        ))?
        .query_map([number.0], |row| Stored::from_row(row, 0))?
        .collect()
}

/// Whether there is a row of the pack with this address.
pub(crate) fn is_known(connection: &Connection, id: BlobId) -> rusqlite::Result<bool> {
    connection.prepare_cached("SELECT 1 FROM packs WHERE id = ?1")?.exists([Bytes32::from(id)])
}

/// Condemns packs that no blob is in; blobs that are bad and have only others of their kind beside them lose their
/// place first.
pub(crate) fn condemn_empty(transaction: &Transaction<'_>) -> rusqlite::Result<usize> {
    transaction.execute(
        "UPDATE blobs AS b SET pack = NULL, position = NULL
         WHERE b.state = 'bad' AND b.pack IS NOT NULL
             AND NOT EXISTS (SELECT 1 FROM blobs AS o WHERE o.pack = b.pack AND o.state <> 'bad')",
        [],
    )?;
    transaction.execute(
        "UPDATE packs SET state = 'condemned'
         WHERE state <> 'condemned' AND NOT EXISTS (SELECT 1 FROM blobs WHERE pack = number)",
        [],
    )
}

/// Packs that are about to be removed.
pub(crate) fn condemned(connection: &Connection) -> rusqlite::Result<Vec<(PackNumber, Pack)>> {
    connection
        .prepare_cached(
            "SELECT id, size, unpacked, number FROM packs WHERE state = 'condemned' ORDER BY number",
        )?
        .query_map([], |row| Ok((PackNumber(row.get(3)?), from_row(row)?)))?
        .collect()
}

/// Whether a pack is still about to be removed.
pub(crate) fn is_condemned(connection: &Connection, number: PackNumber) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM packs WHERE number = ?1 AND state = 'condemned'")?
        .exists([number.0])
}

/// Removes the row of a pack that is still condemned; whether it was.
pub(crate) fn forget(transaction: &Transaction<'_>, number: PackNumber) -> rusqlite::Result<bool> {
    let removed = transaction
        .prepare_cached("DELETE FROM packs WHERE number = ?1 AND state = 'condemned'")?
        .execute([number.0])?;
    Ok(removed == 1)
}

/// Packs that are to be written anew: those that are damaged, and those of which less than half is in use, with the
/// bytes that are.
pub(crate) fn wasteful(connection: &Connection) -> rusqlite::Result<Vec<(PackNumber, u64)>> {
    connection
        .prepare_cached(&format!(
            "SELECT number, used FROM (
                 SELECT p.number, p.unpacked, p.state, ({}) AS used FROM packs AS p WHERE p.state <> 'condemned'
             ) WHERE used > 0 AND (used < unpacked / 2 OR state = 'bad') ORDER BY number",
            "SELECT coalesce(sum(512 + (b.size + 511) / 512 * 512), 0) FROM blobs AS b
             WHERE b.pack = p.number AND b.state = 'sound'"
        ))?
        .query_map([], |row| Ok((PackNumber(row.get(0)?), row.get::<_, Unsigned>(1)?.0)))?
        .collect()
}

/// Lets a sound blob have another place, if it is still at the old one; whether it was.
pub(crate) fn move_member(
    transaction: &Transaction<'_>,
    from: &Stored,
    pack: PackNumber,
    position: u64,
) -> rusqlite::Result<bool> {
    let Place::Packed { pack: old_pack, position: old_position } = from.place else { return Ok(false) };
    let moved = transaction
        .prepare_cached(
            "UPDATE blobs SET pack = ?2, position = ?3
             WHERE id = ?1 AND state = 'sound' AND pack = ?4 AND position = ?5",
        )?
        .execute(params![
            Bytes32::from(from.blob.id),
            pack.0,
            Unsigned(position),
            old_pack.0,
            Unsigned(old_position),
        ])?;
    Ok(moved == 1)
}
