//! Reading directory objects.

use std::sync::Arc;

use buildswarm_core::BlobId;

use super::directory::{DIRECTORY_BYTES_MAX, Directory};
use crate::blobs;
use crate::error::{Error, Result};
use crate::index::rows::{self, PackNumber, Place, Stored};
use crate::packs::PackReader;
use crate::store::Shared;

/// Packs that are read at a time: the objects of a tree lie in the few that its latest snapshots wrote.
const READERS_MAX: usize = 4;

/// Reads directory objects, which lie together: a frame of a pack that holds many is unpacked once.
#[derive(Debug)]
pub(super) struct Objects<'a> {
    shared: &'a Arc<Shared>,
    /// The one used last comes last.
    readers: Vec<(PackNumber, PackReader)>,
}

impl<'a> Objects<'a> {
    pub(super) const fn new(shared: &'a Arc<Shared>) -> Self {
        Self { shared, readers: Vec::new() }
    }

    /// The directory with this address, verified.
    pub(super) fn directory(&mut self, id: BlobId) -> Result<Directory> {
        let bytes = match self.packed(id)? {
            Some(bytes) => bytes,
            // Elsewhere, or moved, or damaged: that is for the reader of any blob to find out.
            None => blobs::read_whole(self.shared, id, DIRECTORY_BYTES_MAX)?,
        };
        Directory::decode(&bytes).map_err(|source| Error::NotADirectory { id, source })
    }

    /// The bytes of an object that is in a pack and sound.
    fn packed(&mut self, id: BlobId) -> Result<Option<Vec<u8>>> {
        let found = self.shared.index.read(|reader| Ok(rows::find(reader, id)?))?;
        let Some(Stored { blob, sound: true, place: Place::Packed { pack, position }, .. }) = found else {
            return Ok(None);
        };
        let size = match usize::try_from(blob.size) {
            Ok(size) if blob.size <= DIRECTORY_BYTES_MAX => size,
            _ => return Ok(None),
        };
        let Some(reader) = self.reader(pack)? else { return Ok(None) };
        let mut bytes = vec![0; size];
        let whole = reader.read_at(position, &mut bytes).is_ok() && BlobId::of(&bytes) == id;
        Ok(whole.then_some(bytes))
    }

    fn reader(&mut self, pack: PackNumber) -> Result<Option<&mut PackReader>> {
        let reader = match self.readers.iter().position(|(number, _)| *number == pack) {
            Some(at) => self.readers.remove(at),
            None => {
                let Some(file) = self.shared.open_pack(pack)? else { return Ok(None) };
                if self.readers.len() == READERS_MAX {
                    self.readers.remove(0);
                }
                (pack, PackReader::new(file))
            }
        };
        self.readers.push(reader);
        Ok(self.readers.last_mut().map(|(_, reader)| reader))
    }
}
