//! What lies below a directory. (Stands in for what branch `trees` brings.)

use std::collections::HashSet;

use buildswarm_core::BlobId;

use crate::error::{Error, Result};
use crate::store::Shared;

pub(crate) fn reachable(shared: &Shared, root: BlobId, seen: &mut HashSet<BlobId>) -> Result<()> {
    if shared.there(&[root])?.is_empty() {
        return Err(Error::BlobMissing { id: root });
    }
    seen.insert(root);
    Ok(())
}
