//! Reading a blob, verified.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use buildswarm_core::BlobId;
use buildswarm_core::artifact::BlobRef;

use crate::disk;
use crate::error::{Error, READ, Result};
use crate::index::rows::{self, Place};
use crate::packs::PackReader;
use crate::store::Shared;

/// Reads a blob from its beginning and verifies it on the way.
///
/// If the stored bytes are not those of the address, or end early, the read that would have completed them
/// fails with [`io::ErrorKind::InvalidData`], and the stored copy is taken out of service. So bytes may be passed
/// on as they come, but what is made of them must be thrown away unless the end is reached without an error.
///
/// Keeps the store open as long as it lives.
#[derive(Debug)]
pub struct BlobReader {
    shared: Arc<Shared>,
    blob: BlobRef,
    bytes: Bytes,
    hasher: blake3::Hasher,
    position: u64,
    failed: bool,
}

#[derive(Debug)]
enum Bytes {
    Inline(io::Cursor<Vec<u8>>),
    File(File),
    Packed { pack: PackReader, position: u64 },
}

/// How often a blob that has moved since its row was read is looked for again: collection moves one rarely.
const TRIES: usize = 3;

pub(super) fn open(shared: &Arc<Shared>, id: BlobId) -> Result<Option<BlobReader>> {
    for _ in 0..TRIES {
        let found = shared.index.read(|reader| {
            let Some(stored) = rows::find(reader, id)?.filter(|stored| stored.sound) else { return Ok(None) };
            let inline = stored.inline().map(|row| rows::inline_bytes(reader, row)).transpose()?;
            Ok(Some((stored, inline)))
        })?;
        let Some((stored, inline)) = found else { return Ok(None) };
        let blob = stored.blob;
        let bytes = match stored.place {
            Place::Inline(_) => inline.map(io::Cursor::new).map(Bytes::Inline),
            Place::File => open_file(shared, blob)?.map(Bytes::File),
            Place::Packed { pack, position } => {
                shared.open_pack(pack)?.map(|file| Bytes::Packed { pack: PackReader::new(file), position })
            }
        };
        if let Some(bytes) = bytes {
            let (shared, hasher) = (Arc::clone(shared), blake3::Hasher::new());
            return Ok(Some(BlobReader { shared, blob, bytes, hasher, position: 0, failed: false }));
        }
        if shared.condemn(id)? {
            return Ok(None);
        }
    }
    Ok(None)
}

/// `None` if there is no file of the right length.
fn open_file(shared: &Shared, blob: BlobRef) -> Result<Option<File>> {
    let path = shared.layout.blob(&blob.id);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(READ, &path)(error)),
    };
    let length = file.metadata().map_err(Error::io(READ, &path))?.len();
    Ok((length == blob.size).then_some(file))
}

impl BlobReader {
    /// What is being read: its address and its full length.
    #[must_use]
    pub const fn blob(&self) -> BlobRef {
        self.blob
    }

    fn damaged(&mut self) -> io::Error {
        if !self.failed {
            self.failed = true;
            if let Err(error) = self.shared.condemn(self.blob.id) {
                return io::Error::new(io::ErrorKind::InvalidData, error);
            }
        }
        io::Error::new(io::ErrorKind::InvalidData, Error::BlobDamaged { id: self.blob.id })
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.failed {
            return Err(self.damaged());
        }
        let left = self.blob.size - self.position;
        if buffer.is_empty() || left == 0 && self.blob.size > 0 {
            return Ok(0);
        }
        let window = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let window = &mut buffer[..window];
        let count = match &mut self.bytes {
            Bytes::Inline(bytes) => bytes.read(window)?,
            Bytes::File(file) => file.read(window)?,
            Bytes::Packed { pack, position } => match pack.at(*position + self.position) {
                Ok(found) => {
                    let count = found.len().min(window.len());
                    window[..count].copy_from_slice(&found[..count]);
                    count
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(self.damaged()),
                Err(error) => return Err(error),
            },
        };
        self.hasher.update(&window[..count]);
        self.position += count as u64;
        let complete = self.position == self.blob.size;
        // The last bytes are held back until all are known to be right: a caller that counts bytes and never
        // asks for the end is told too.
        if (count == 0 && !complete) || (complete && disk::id_of(&self.hasher) != self.blob.id) {
            return Err(self.damaged());
        }
        Ok(count)
    }
}
