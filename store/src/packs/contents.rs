//! What a pack tells of itself, for whoever has no index that does.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use buildswarm_core::artifact::BlobRef;

use super::reader::{PackFile, PackReader, ZSTD};
use super::walk::Walked;
use super::{FRAME_BYTES, Pack, tar};
use crate::error::{Error, READ, Result};
use crate::index::rows::{PackNumber, Place, Stored};

/// A pack that was read from its beginning to its end.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) pack: Pack,
    /// Whether its bytes are those of its address.
    pub(crate) intact: bool,
    /// Its blobs, each hashed, in the order of their positions.
    pub(crate) members: Vec<Stored>,
}

/// Reads a pack by itself. `None` if it cannot be told where its frames are.
pub(crate) fn contents(path: &Path, file: BlobRef) -> Result<Option<Contents>> {
    let named = |error| Error::io(READ, path)(error);
    let unpacked = File::open(path).and_then(|open| unpacked(&open, file.size)).map_err(named)?;
    let Some(unpacked) = unpacked else { return Ok(None) };
    let pack = Pack { id: file.id, size: file.size, unpacked };
    let Some(open) = PackFile::open(path, PackNumber::FIRST, pack)? else { return Ok(None) };
    let mut reader = PackReader::new(Arc::new(open));
    let members = members(&mut reader, unpacked).map_err(named)?;
    let Walked { intact, members } = reader.walk(members, |_| {}).map_err(named)?;
    let members = members.into_iter().filter(|(_, copy)| *copy == crate::disk::Copy::Sound);
    Ok(Some(Contents { pack, intact, members: members.map(|(stored, _)| stored).collect() }))
}

/// The length of the stream by the count of frames and the last entry of the table at the end of the file.
fn unpacked(file: &File, size: u64) -> io::Result<Option<u64>> {
    /// The last entry's length, a descriptor between the count and the magic number.
    const TAIL_BYTES: u64 = 4 + 4 + 1 + 4;
    let mut magic = [0; ZSTD.len()];
    if size < TAIL_BYTES {
        return Ok(None);
    }
    file.read_exact_at(&mut magic, 0)?;
    if magic != ZSTD {
        return Ok(Some(size));
    }
    let mut tail = [0; TAIL_BYTES as usize];
    file.read_exact_at(&mut tail, size - TAIL_BYTES)?;
    let [l0, l1, l2, l3, c0, c1, c2, c3, ..] = tail;
    let (last, count) = (u32::from_le_bytes([l0, l1, l2, l3]), u32::from_le_bytes([c0, c1, c2, c3]));
    Ok(count.checked_sub(1).map(|whole| u64::from(whole) * FRAME_BYTES + u64::from(last)))
}

/// The blobs that the headers in a stream name. Where one is damaged, the next is looked for block by block: what is taken
/// for one in the midst of a blob does no harm, since whatever follows is hashed.
fn members(reader: &mut PackReader, unpacked: u64) -> io::Result<Vec<Stored>> {
    let mut members: Vec<Stored> = Vec::new();
    let mut at = 0;
    while at + tar::BLOCK_BYTES <= unpacked {
        let mut header = [0; tar::BLOCK_BYTES as usize];
        match reader.read_at(at, &mut header) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                at = (at / FRAME_BYTES + 1) * FRAME_BYTES;
                continue;
            }
            Err(error) => return Err(error),
        }
        let blob = tar::blob_of(&header);
        let Some(blob) = blob.filter(|blob| blob.size <= unpacked - at - tar::BLOCK_BYTES) else {
            at += tar::BLOCK_BYTES;
            continue;
        };
        let place = Place::Packed { pack: PackNumber::FIRST, position: at + tar::BLOCK_BYTES };
        members.push(Stored { blob, sound: true, place, stored_at: 0 });
        at += tar::member_bytes(blob.size);
    }
    Ok(members)
}
