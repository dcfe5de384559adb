//! Reading directory objects.

use buildswarm_core::BlobId;

use super::directory::{DIRECTORY_BYTES_MAX, Directory};
use crate::error::{Error, READ, Result};
use crate::index::rows;
use crate::store::Shared;

/// The directory with this address, verified.
pub(super) fn directory(shared: &Shared, id: BlobId) -> Result<Directory> {
    let bytes = object(shared, id)?;
    Directory::decode(&bytes).map_err(|source| Error::NotADirectory { id, source })
}

fn object(shared: &Shared, id: BlobId) -> Result<Vec<u8>> {
    let stored = shared.sound_row(id)?.ok_or(Error::BlobMissing { id })?;
    if stored.blob.size > DIRECTORY_BYTES_MAX {
        return Err(Error::BlobTooLarge { id, size: stored.blob.size, max: DIRECTORY_BYTES_MAX });
    }
    let bytes = match stored.inline {
        Some(row) => shared.index.read(|reader| Ok(rows::inline_bytes(reader, row)?))?,
        None => {
            let path = shared.layout.blob(&id);
            std::fs::read(&path).map_err(Error::io(READ, &path))?
        }
    };
    if BlobId::of(&bytes) != id {
        shared.condemn(stored.blob)?;
        return Err(Error::BlobDamaged { id });
    }
    Ok(bytes)
}
