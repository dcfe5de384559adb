//! From the formats of earlier versions to this one. `docs/on-disk.md` says what becomes of what.

use std::path::Path;

use rusqlite::backup::Progress;
use rusqlite::config::DbConfig;
use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::{Batch, Connection, MAIN_DB, Transaction, TransactionBehavior};

use super::values::Unsigned;
use super::{damage, schema};
use crate::disk;
use crate::error::{Error, Result};
use crate::faults::{Step, passed, reach};
use crate::layout::Layout;

/// What leads from each format, the first being 1, to the next.
const STEPS: [&str; 1] = [include_str!("from_1.sql")];
const _: () = assert!(STEPS.len() + 1 == schema::FORMAT as usize);

/// Converts an index of format `from`, unless it is this version's: first a copy of it is laid beside it, then
/// everything changes in one transaction. Whoever dies meanwhile leaves the one format or the other, whole.
pub(super) fn to_current(layout: &Layout, path: &Path, connection: &mut Connection, from: u32) -> Result<()> {
    if from == schema::FORMAT {
        return Ok(());
    }
    let named = |error| Error::index(path, error);
    refuse_damage(path, damage(connection).map_err(named)?)?;
    keep_copy(layout, path, connection, from)?;
    // A table that others refer to is replaced without them noticing, and they are checked afterwards ("Making
    // Other Kinds Of Table Schema Changes", sqlite.org/lang_altertable.html).
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false).map_err(named)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(named)?;
    for step in &STEPS[from as usize - 1..] {
        take(path, &transaction, step)?;
    }
    transaction.pragma_update(None, "user_version", schema::FORMAT).map_err(named)?;
    refuse_damage(path, damage(&transaction).map_err(named)?)?;
    reach(Step::Commit).map_err(Error::io("commit to", path))?;
    transaction.commit().map_err(named)?;
    reach(Step::Committed).map_err(Error::io("commit to", path))?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true).map_err(named)?;
    Ok(())
}

fn refuse_damage(path: &Path, findings: Vec<String>) -> Result<()> {
    match findings.into_iter().next() {
        Some(finding) => Err(Error::IndexDamaged { path: path.to_owned(), finding }),
        None => Ok(()),
    }
}

/// Keeps the index as it is. An earlier copy of that format is replaced: it is of a conversion that was not
/// finished, or that was undone since.
fn keep_copy(layout: &Layout, path: &Path, connection: &Connection, format: u32) -> Result<()> {
    let named = |error| Error::index(path, error);
    let bytes: Unsigned = connection
        .query_row("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size", [], |row| {
            row.get(0)
        })
        .map_err(named)?;
    disk::create_dir(&layout.tmp())?;
    disk::require_room(layout.root(), bytes.0)?;
    let copy = layout.tmp().join("index.db");
    disk::remove(&copy)?;
    reach(Step::CopyIndex).map_err(Error::io("write", &copy))?;
    connection.backup(MAIN_DB, &copy, None::<fn(Progress)>).map_err(named)?;
    passed(Step::CopyIndex).map_err(Error::io("write", &copy))?;
    disk::sync_file(&copy)?;
    disk::replace(&copy, &layout.index_of_format(format))
}

fn take(path: &Path, transaction: &Transaction<'_>, step: &str) -> Result<()> {
    let named = |error| Error::index(path, error);
    let mut batch = Batch::new(transaction, step);
    while let Some(mut statement) = batch.next().map_err(named)? {
        reach(Step::Migrate).map_err(Error::io("convert", path))?;
        statement.execute([]).map_err(named)?;
        passed(Step::Migrate).map_err(Error::io("convert", path))?;
    }
    Ok(())
}
