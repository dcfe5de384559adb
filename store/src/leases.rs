//! Leases: whoever was told that a blob is there may count on it for a time.

use std::collections::BTreeSet;

use buildswarm_core::BlobId;
use buildswarm_core::time::UnixSeconds;
use rusqlite::params;

use crate::error::Result;
use crate::index::rows;
use crate::index::values::{Bytes32, Unsigned};
use crate::pins::Hold;
use crate::store::{Shared, Store};

/// Expired leases removed in one transaction: some milliseconds' worth.
const STEP: i64 = 1000;

impl Store {
    /// Those of the blobs that are there. They are kept for so many `seconds` from `now`, so that whoever asked
    /// need not send them and can still refer to them.
    ///
    /// Asking again extends a lease and never shortens it.
    ///
    /// # Errors
    /// An error means that the question could not be answered: nothing is promised then.
    pub fn have(&self, now: UnixSeconds, ids: &[BlobId], seconds: u64) -> Result<BTreeSet<BlobId>> {
        self.shared.require_writable()?;
        // Between the look, which may take a file system's time, and the promise nothing may be collected.
        let _held = self.shared.hold(ids, Hold::Transfer);
        let there = self.shared.there(ids)?;
        let until = now.0.saturating_add(seconds).min(i64::MAX.unsigned_abs());
        self.shared.index.write(|transaction| {
            let mut promised = BTreeSet::new();
            let mut lease = transaction.prepare_cached(
                "INSERT INTO leases (blob, until) VALUES (?1, ?2)
                 ON CONFLICT (blob) DO UPDATE SET until = max(until, excluded.until)",
            )?;
            for id in &there {
                // Found damaged since.
                if rows::find(transaction, *id)?.is_some_and(|stored| stored.sound) {
                    lease.execute(params![Bytes32::from(*id), Unsigned(until)])?;
                    promised.insert(*id);
                }
            }
            Ok(promised)
        })
    }
}

impl Shared {
    /// Removes the leases that have expired; how many.
    pub(crate) fn expire_leases(&self, now: UnixSeconds) -> Result<u64> {
        let mut removed = 0;
        let mut after: Option<Bytes32> = None;
        loop {
            let page: Vec<Bytes32> = self.index.read(|reader| {
                let mut query = reader.prepare_cached(
                    "SELECT blob FROM leases WHERE blob > ifnull(?1, x'') AND until <= ?2
                     ORDER BY blob LIMIT ?3",
                )?;
                let found = query.query_map(params![after, Unsigned::from(now), STEP], |row| row.get(0))?;
                Ok(found.collect::<rusqlite::Result<_>>()?)
            })?;
            let Some(last) = page.last() else { return Ok(removed) };
            after = Some(*last);
            removed += self.index.write(|transaction| {
                let mut delete =
                    transaction.prepare_cached("DELETE FROM leases WHERE blob = ?1 AND until <= ?2")?;
                let mut count = 0;
                for blob in &page {
                    count += delete.execute(params![blob, Unsigned::from(now)])? as u64;
                }
                Ok(count)
            })?;
        }
    }
}
