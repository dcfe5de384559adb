//! Whether what a snapshot relies on, unread, is in the store.

use std::collections::HashSet;

use buildswarm_core::BlobId;
use rusqlite::Connection;

use crate::error::Result;
use crate::index::values::Unsigned;
use crate::store::Shared;

/// Which store it is, and how often it has lost something: as long as this is the same, whatever was found in it is
/// still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) store: [u8; 16],
    pub(super) losses: u64,
}

pub(super) fn standing(connection: &Connection) -> rusqlite::Result<Standing> {
    connection
        .prepare_cached("SELECT uuid, losses FROM store")?
        .query_row([], |row| Ok(Standing { store: row.get(0)?, losses: row.get::<_, Unsigned>(1)?.0 }))
}

impl Shared {
    /// Those of the blobs that are not there.
    pub(super) fn missing(&self, mut blobs: Vec<BlobId>) -> Result<HashSet<BlobId>> {
        blobs.sort_unstable();
        blobs.dedup();
        let stored = self.stored(blobs.clone())?;
        Ok(blobs.into_iter().filter(|id| stored.binary_search(id).is_err()).collect())
    }
}
