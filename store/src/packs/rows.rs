//! The rows of `packs`.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::Pack;
use crate::index::Transaction;
use crate::index::rows::PackNumber;
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
