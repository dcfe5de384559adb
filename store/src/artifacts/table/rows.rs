//! What the index says about the look-up table, and what goes into it.

use std::sync::LazyLock;

use buildswarm_core::BuildKey;
use buildswarm_core::artifact::BlobRef;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::block::{Entry, Need};
use super::file::Identity;
use super::hooks::{Check, is_left_out};
use crate::index::values::{Bytes32, Unsigned};

/// The table that the index knows of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) identity: Identity,
    /// The greatest number of an artifact that it has.
    pub(super) covered: u64,
    /// What [`losses`] was when it was written.
    losses: u64,
}

impl Known {
    pub(super) const fn new(identity: Identity, extent: Extent) -> Self {
        Self { identity, covered: extent.greatest, losses: extent.losses }
    }

    /// The table to be believed; `None` if there is none, or if anything was lost since it was written.
    pub(super) fn current(connection: &Connection) -> rusqlite::Result<Option<Self>> {
        let mut query =
            connection.prepare_cached("SELECT directory, blocks, covered, losses FROM look_up_table")?;
        let known = query.query_row([], |row| {
            let identity =
                Identity { directory: row.get::<_, Bytes32>(0)?.0, blocks: row.get::<_, Unsigned>(1)?.0 };
            let [covered, losses] = [row.get::<_, Unsigned>(2)?.0, row.get::<_, Unsigned>(3)?.0];
            Ok(Self { identity, covered, losses })
        });
        let Some(known) = known.optional()? else { return Ok(None) };
        let is_current = known.losses == losses(connection)? || is_left_out(Check::Losses);
        Ok(is_current.then_some(known))
    }

    /// Makes this the table to be believed, unless something was lost meanwhile.
    pub(super) fn record(&self, connection: &Connection) -> rusqlite::Result<()> {
        if losses(connection)? == self.losses {
            connection.execute(
                "INSERT OR REPLACE INTO look_up_table (one, directory, blocks, covered, losses)
                 VALUES (1, ?1, ?2, ?3, ?4)",
                params![
                    Bytes32(self.identity.directory),
                    Unsigned(self.identity.blocks),
                    Unsigned(self.covered),
                    Unsigned(self.losses)
                ],
            )?;
        }
        Ok(())
    }
}

/// What there is to be covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// The greatest number of an artifact, 0 if there is none: at least as many as there are artifacts.
    pub(super) greatest: u64,
    pub(super) losses: u64,
}

impl Extent {
    pub(super) fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let greatest = connection
            .prepare_cached("SELECT ifnull(max(number), 0) FROM artifacts")?
            .query_row([], |row| row.get::<_, Unsigned>(0))?;
        Ok(Self { greatest: greatest.0, losses: losses(connection)? })
    }
}

/// How often something was lost. While it stands still, no artifact goes and no blob of one becomes unsound.
pub(super) fn losses(connection: &Connection) -> rusqlite::Result<u64> {
    let losses = connection
        .prepare_cached("SELECT losses FROM store")?
        .query_row([], |row| row.get::<_, Unsigned>(0))?;
    Ok(losses.0)
}

/// The keys of artifacts with greater numbers, ascending; `None` if there are more than `most`.
pub(super) fn keys_after(
    connection: &Connection,
    number: u64,
    most: usize,
) -> rusqlite::Result<Option<Vec<BuildKey>>> {
    let mut query = connection.prepare_cached("SELECT key FROM artifacts WHERE number > ?1 LIMIT ?2")?;
    let limit = i64::try_from(most).unwrap_or(i64::MAX).saturating_add(1);
    let found = query.query_map(params![Unsigned(number), limit], |row| row.get::<_, Bytes32>(0))?;
    let mut keys = found.map(|key| key.map(BuildKey::from)).collect::<rusqlite::Result<Vec<_>>>()?;
    keys.sort_unstable();
    Ok((keys.len() <= most).then_some(keys))
}

/// The key and the number of an artifact, and what the index knows of its three blobs.
static ENTRIES: LazyLock<String> = LazyLock::new(|| {
    let blobs = ["file", "log", "preimage"];
    let columns = blobs.map(|blob| {
        format!(
            ", {blob}.id, {blob}.size, {blob}.state = 'sound', {blob}.inline IS NOT NULL, {blob}_pack.id, \
             {blob}_pack.size, {blob}_pack.state = 'sound'"
        )
    });
    let joins = blobs.map(|blob| {
        format!(
            " JOIN blobs AS {blob} ON {blob}.id = a.{blob} \
             LEFT JOIN packs AS {blob}_pack ON {blob}_pack.number = {blob}.pack"
        )
    });
    format!("SELECT a.key, a.number{} FROM artifacts AS a{}", columns.concat(), joins.concat())
});
const OWN_COLUMNS: usize = 2;
const BLOB_COLUMNS: usize = 7;

/// Every page is sought: one that were read from the first key on would take as long as all before it. The plus keeps the
/// numbers from being the order in which entries are read.
fn by_key() -> String {
    format!("{} WHERE a.key > ifnull(?1, x'') AND +a.number <= ?2 ORDER BY a.key LIMIT ?3", *ENTRIES)
}

/// A page of entries with numbers of up to `covered`, by key.
pub(super) fn entries_by_key(
    connection: &Connection,
    after: Option<BuildKey>,
    covered: u64,
    page: u32,
) -> rusqlite::Result<Vec<Entry>> {
    let mut query = connection.prepare_cached(&by_key())?;
    let found = query.query_map(params![after.map(Bytes32::from), Unsigned(covered), page], entry)?;
    found.collect()
}

/// A page of entries with numbers of more than `after` and up to `covered`, by number, and the last of these.
pub(super) fn entries_by_number(
    connection: &Connection,
    after: u64,
    covered: u64,
    page: u32,
) -> rusqlite::Result<(Vec<Entry>, Option<u64>)> {
    let text = format!("{} WHERE a.number > ?1 AND a.number <= ?2 ORDER BY a.number LIMIT ?3", *ENTRIES);
    let mut query = connection.prepare_cached(&text)?;
    let mut last = None;
    let found = query.query_map(params![Unsigned(after), Unsigned(covered), page], |row| {
        last = Some(row.get::<_, Unsigned>(1)?.0);
        entry(row)
    })?;
    let entries = found.collect::<rusqlite::Result<_>>()?;
    Ok((entries, last))
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let mut needs = Vec::new();
    for number in 0..3 {
        let Some(need) = need(row, OWN_COLUMNS + number * BLOB_COLUMNS)? else { continue };
        if need == Need::Index {
            needs = vec![need];
            break;
        }
        // The blobs of an artifact that came in one batch are in one pack.
        if !needs.contains(&need) {
            needs.push(need);
        }
    }
    Ok(Entry { key: row.get::<_, Bytes32>(0)?.into(), needs })
}

/// What must be on the disk for a blob to be there, from columns beginning with number `first`; `None` if nothing.
fn need(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<Need>> {
    let file = |first: usize| {
        let id = row.get::<_, Option<Bytes32>>(first)?;
        let size = row.get::<_, Option<Unsigned>>(first + 1)?;
        Ok::<_, rusqlite::Error>(id.zip(size).map(|(id, size)| BlobRef { id: id.into(), size: size.0 }))
    };
    let [is_sound, is_inline]: [bool; 2] = [row.get(first + 2)?, row.get(first + 3)?];
    let (blob, pack) = (file(first)?, file(first + 4)?);
    let pack_is_sound = row.get::<_, Option<bool>>(first + 6)? == Some(true);
    Ok(match (blob, pack) {
        _ if !is_sound => Some(Need::Index),
        _ if is_inline => None,
        (_, Some(pack)) if pack_is_sound => Some(Need::Pack(pack)),
        (Some(blob), None) => Some(Need::File(blob)),
        _ => Some(Need::Index),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_sought() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("../../index/schema.sql")).unwrap();
        let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", by_key())).unwrap();
        let steps = plan.query_map(params![None::<Bytes32>, 1, 1], |row| row.get::<_, String>(3)).unwrap();
        let steps: Vec<_> = steps.map(Result::unwrap).collect();
        assert_eq!(steps[0], "SEARCH a USING PRIMARY KEY (key>?)", "{steps:?}");
    }
}
