//! The tables. `docs/on-disk.md` explains them; a change here is a new [`FORMAT`] with a step in `migrate.rs`.

use rusqlite::{Connection, TransactionBehavior};

/// "bsst" in ASCII, so that `file` and other programs can tell a store's index from other databases.
pub(super) const APPLICATION_ID: i32 = 0x6273_7374;

/// The format written by this version.
pub(super) const FORMAT: u32 = 2;

/// The format marker: application id and format number.
pub(super) fn markers(connection: &Connection) -> rusqlite::Result<(i32, u32)> {
    let application = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let format = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok((application, format))
}

/// Whether nothing has been created yet.
pub(super) fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(tables == 0)
}

/// Creates everything, or nothing.
pub(super) fn create(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(include_str!("schema.sql"))?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    transaction.commit()
}
